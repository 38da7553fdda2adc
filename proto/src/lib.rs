//! The gRPC contract between `skynetd` and its clients: the relay that carries MCP, and the typed admin API.
//! Holds generated types, the few facts both sides must agree on, and how both use their socket.

#[allow(
    missing_docs,
    clippy::all,
    clippy::pedantic,
    unreachable_pub,
    unused_qualifications,
    reason = "written by tonic"
)]
mod generated {
    tonic::include_proto!("skynet.v1");
}
pub use generated::*;

/// The version of the relay's envelope that this build speaks.
pub const ENVELOPE_VERSION: u32 = 1;

/// The largest line carried in one frame, in bytes. Longer lines are refused by the shim.
pub const MAX_FRAME_BYTES: usize = 16 << 20;

/// The gRPC message limit: one frame and its envelope. tonic's own default of 4 MiB is too small.
pub const MAX_MESSAGE_BYTES: usize = MAX_FRAME_BYTES + 4096;

/// HTTP/2 flow-control window of one stream, in bytes: wide enough that an answer of 1 MB never waits for
/// a window update (RFC 9113, section 5.2), and no wider, because a busy shim buffers as much.
pub const STREAM_WINDOW_BYTES: u32 = 1 << 20;

/// HTTP/2 flow-control window of a whole connection, in bytes. A connection has one stream that carries much, so this
/// holds nothing more in memory; but h2 ends a connection whose unread small frames (256 bytes less their length each)
/// add up to half of it, and a stream's window full of the shortest requests adds up to twelve of that window.
pub const CONNECTION_WINDOW_BYTES: u32 = 32 * STREAM_WINDOW_BYTES;

/// The largest HTTP/2 frame both sides take (RFC 9113, section 4.2): an answer of 200 kB is one frame and not
/// thirteen of the default 16 KiB; larger ones would only make the shim keep larger buffers.
pub const HTTP2_FRAME_BYTES: u32 = 256 << 10;

/// The encoded `FileDescriptorSet` of all services, for gRPC reflection.
#[cfg(feature = "descriptors")]
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/skynet.v1.bin"));

pub mod socket;
pub mod stream;
pub mod token_desk;
