//! What goes to a client over one connection, and how that ends.

use bytes::Bytes;

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leaving {
    /// The client closed its stdin.
    Goodbye,
    /// The connection broke; the client may come back.
    Lost,
}

/// A message on its way to the client.
#[derive(Debug)]
pub(crate) struct Outgoing {
    /// The frame it answers, for good; 0 if it answers none.
    pub(crate) answers: u64,
    /// The frame under way that it is about; 0 if none. Matters where each frame has a stream of its own.
    pub(crate) about: u64,
    /// The frame that asked to hear of something and is told by this that it will; 0 if none. The client is told once.
    pub(crate) opens: u64,
    /// One line, with its line feed. Empty if there is nothing to say but that the frame is settled.
    pub(crate) json: Bytes,
}
