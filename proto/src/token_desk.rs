//! How the broker of a whole host is asked about tokens: one packet of a `SOCK_SEQPACKET` socket each way (unix(7)). The
//! daemon has no part in it, so one that was taken over makes no token.

use crate::{TokenDeskReply, TokenDeskRequest, token_desk_reply::Reply, token_desk_request::Request};
use prost::Message as _;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use std::{io, os::unix::net::UnixDatagram, path::Path, time::Duration};

/// No packet is longer, in bytes; the kernel's default for what a socket holds is 208 KiB (socket(7), `wmem_default`).
pub const MAX_PACKET_BYTES: usize = 128 << 10;

/// A broker that says nothing for that long is none.
const PATIENCE: Duration = Duration::from_secs(20);

/// Asks the broker at `path`. Waits for it.
///
/// # Errors
/// When nobody answers, or not in words that this release knows.
pub fn ask(path: &Path, request: Request) -> io::Result<Reply> {
    let packet = TokenDeskRequest { request: Some(request) }.encode_to_vec();
    if packet.len() > MAX_PACKET_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the request is too long"));
    }
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    connect(&socket, &SocketAddrUnix::new(path)?)?;
    // The type of the standard library that sends and receives packets; how they are kept in order is the socket's own.
    let socket = UnixDatagram::from(socket);
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.send(&packet)?;
    let mut buffer = vec![0; MAX_PACKET_BYTES];
    let length = socket.recv(&mut buffer)?;
    let reply = TokenDeskReply::decode(buffer.get(..length).unwrap_or_default()).map_err(io::Error::other)?;
    reply.reply.ok_or_else(|| io::Error::other("the broker hung up, or is of another release"))
}
