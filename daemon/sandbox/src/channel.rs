//! Messages over a socket of type `SOCK_SEQPACKET` (unix(7)): a packet is a message, sent and received whole.
//!
//! So nothing is framed, no lock keeps two senders apart, and any thread may wait for the next message. A packet is one
//! byte of flags and the protobuf. A message too long for a packet travels in a sealed memory file (memfd_create(2))
//! whose descriptor the packet carries, followed by the descriptors that belong to the message.
//!
//! Daemon and hands speak like this, and daemon, broker and slots.

use prost::Message;
use rustix::{
    fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, memfd_create},
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
        SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
        recvmsg, sendmsg, socket_with, socketpair,
    },
};
use std::{
    fs::File,
    io::{self, IoSlice, IoSliceMut, Write as _},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::FileExt as _,
    },
    path::Path,
};
use tokio::net::unix::pipe;

/// Packets are not longer; the kernel's default for socket buffers is 208 KiB (socket(7), `wmem_default`).
const PACKET_BYTES: usize = 128 << 10;

/// Longer messages, in bytes, are a defect of the other end.
const MAX_MESSAGE_BYTES: usize = 64 << 20;

/// The flag: the message is in the first descriptor. The number of descriptors that belong to it is in the bits above.
const IN_FILE: u8 = 1;
/// Of one packet.
const MOST_DESCRIPTORS: usize = 16;

/// A memory file with these can no longer change.
const SEALED: SealFlags = SealFlags::WRITE.union(SealFlags::SHRINK).union(SealFlags::GROW);

/// A connected pair of sockets.
///
/// # Errors
/// What socketpair(2) says.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// Connects to a listener at `path`.
///
/// # Errors
/// What connect(2) says.
pub fn connect(path: &Path) -> io::Result<OwnedFd> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

/// Where packets arrive, reused from message to message.
pub struct Buffer(Vec<u8>);

impl Default for Buffer {
    fn default() -> Self {
        Self(vec![0; PACKET_BYTES])
    }
}

/// A message and its descriptors; `None` once the other end is closed.
pub type Received<M> = Option<(M, Vec<OwnedFd>)>;

/// The end of a process whose threads wait.
pub struct BlockingSocket(OwnedFd);

impl BlockingSocket {
    /// Speaks over `socket`, one of a [`pair`].
    #[must_use]
    pub const fn new(socket: OwnedFd) -> Self {
        Self(socket)
    }

    /// Sends a message and copies of its descriptors.
    ///
    /// # Errors
    /// When the message is too long, or what sendmsg(2) says.
    pub fn send(&self, message: &impl Message, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        Packet::new(message)?.send(self.0.as_fd(), descriptors)
    }

    /// Waits for the next message.
    ///
    /// # Errors
    /// When it is not one, or what recvmsg(2) says.
    pub fn receive<M: Message + Default>(&self, buffer: &mut Buffer) -> io::Result<Received<M>> {
        receive(self.0.as_fd(), buffer)
    }
}

impl AsFd for BlockingSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The end of a process that waits for many. Like the daemon's connections (`skynet_proto::stream`) it is woken for
/// writability only while its buffer is full; here too, tokio's pipe stands for "any descriptor, one direction".
pub struct AsyncSocket {
    socket: OwnedFd,
    readable: pipe::Receiver,
}

impl AsyncSocket {
    /// Speaks over `socket`, one of a [`pair`]. Must be called in a runtime.
    ///
    /// # Errors
    /// When it cannot be watched.
    pub fn new(socket: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        let readable = pipe::Receiver::from_owned_fd_unchecked(socket.try_clone()?)?;
        Ok(Self { socket, readable })
    }

    /// Sends a message and copies of its descriptors. Cancel-safe: the message is sent or not.
    ///
    /// # Errors
    /// As [`BlockingSocket::send`].
    pub async fn send(&self, message: &impl Message, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let packet = Packet::new(message)?;
        let send = || packet.send(self.socket.as_fd(), descriptors);
        let mut sent = send();
        if is_full(&sent) {
            let writable = pipe::Sender::from_owned_fd_unchecked(self.socket.try_clone()?)?;
            while is_full(&sent) {
                writable.writable().await?;
                sent = writable.try_io(send);
            }
        }
        sent
    }

    /// Waits for the next message. Cancel-safe.
    ///
    /// # Errors
    /// As [`BlockingSocket::receive`].
    pub async fn receive<M: Message + Default>(&self, buffer: &mut Buffer) -> io::Result<Received<M>> {
        loop {
            self.readable.readable().await?;
            match self.readable.try_io(|| receive(self.socket.as_fd(), buffer)) {
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => {}
                received => return received,
            }
        }
    }

    /// Tells the other end that nothing more comes.
    pub fn close(&self) {
        // It may be gone already.
        let _ = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Write);
    }
}

fn is_full(sent: &io::Result<()>) -> bool {
    sent.as_ref().is_err_and(|err| err.kind() == io::ErrorKind::WouldBlock)
}

/// A message ready to be sent.
struct Packet {
    bytes: Vec<u8>,
    file: Option<OwnedFd>,
}

impl Packet {
    fn new(message: &impl Message) -> io::Result<Self> {
        let length = message.encoded_len();
        if length > MAX_MESSAGE_BYTES {
            return Err(invalid("a message is too long"));
        }
        if length >= PACKET_BYTES {
            let file = memfd_create("skynet-message", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
            let mut file = File::from(file);
            file.write_all(&message.encode_to_vec())?;
            fcntl_add_seals(&file, SEALED)?;
            return Ok(Self { bytes: vec![IN_FILE], file: Some(file.into()) });
        }
        let mut bytes = Vec::with_capacity(length + 1);
        bytes.push(0);
        message.encode(&mut bytes).map_err(io::Error::other)?;
        Ok(Self { bytes, file: None })
    }

    fn send(&self, socket: BorrowedFd<'_>, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let (flags, rest) = self.bytes.split_first().ok_or_else(|| invalid("an empty packet"))?;
        let count = u8::try_from(descriptors.len()).map_err(io::Error::other)?;
        let flags = [flags | count << 1];
        let descriptors: Vec<BorrowedFd<'_>> =
            self.file.iter().map(AsFd::as_fd).chain(descriptors.iter().copied()).collect();
        if descriptors.len() > MOST_DESCRIPTORS {
            return Err(invalid("too many descriptors"));
        }
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(&descriptors));
        }
        loop {
            let parts = [IoSlice::new(&flags), IoSlice::new(rest)];
            match sendmsg(socket, &parts, &mut control, SendFlags::NOSIGNAL) {
                Ok(_) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                Err(err) => return Err(err.into()),
            }
        }
    }
}

fn receive<M: Message + Default>(socket: BorrowedFd<'_>, buffer: &mut Buffer) -> io::Result<Received<M>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let got = loop {
        let mut parts = [IoSliceMut::new(&mut buffer.0)];
        match recvmsg(socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Ok(got) => break got,
            Err(rustix::io::Errno::INTR) => {}
            Err(err) => return Err(err.into()),
        }
    };
    let mut descriptors: Vec<OwnedFd> = control
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        })
        .flatten()
        .collect();
    let Some((flags, body)) = buffer.0.get(..got.bytes).and_then(<[u8]>::split_first) else {
        return Ok(None);
    };
    if got.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return Err(invalid("a packet is too long"));
    }
    let is_in_file = flags & IN_FILE != 0;
    if descriptors.len() != usize::from(flags >> 1) + usize::from(is_in_file) {
        return Err(invalid("a packet without its descriptors"));
    }
    let message = if is_in_file {
        M::decode(&*read_sealed(&File::from(descriptors.remove(0)))?)
    } else {
        M::decode(body)
    };
    Ok(Some((message.map_err(io::Error::other)?, descriptors)))
}

/// The other end is not trusted: reading anything else could wait for ever.
fn read_sealed(file: &File) -> io::Result<Vec<u8>> {
    if !fcntl_get_seals(file)?.contains(SEALED) {
        return Err(invalid("a message in a file that may change"));
    }
    let length = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
    if length > MAX_MESSAGE_BYTES {
        return Err(invalid("a message is too long"));
    }
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Request, Run, ToBroker};

    fn run(length: usize) -> ToBroker {
        let run = Run { id: 1, argv: vec![vec![b'x'; length]], ..Run::default() };
        ToBroker { request: Some(Request::Run(run)) }
    }

    #[test]
    fn messages_of_any_length_arrive_with_their_descriptors() {
        let (here, there) = pair().unwrap();
        let (here, there) = (BlockingSocket::new(here), BlockingSocket::new(there));
        let mut buffer = Buffer::default();
        let descriptor = OwnedFd::from(File::open("/dev/null").unwrap());
        for length in [0, PACKET_BYTES - 100, PACKET_BYTES, 5 << 20] {
            for count in 0..MOST_DESCRIPTORS {
                here.send(&run(length), &vec![descriptor.as_fd(); count]).unwrap();
                let (message, received) = there.receive::<ToBroker>(&mut buffer).unwrap().unwrap();
                assert!(message == run(length), "{length}");
                assert_eq!(received.len(), count, "{length}");
            }
        }
        assert!(here.send(&run(0), &[descriptor.as_fd(); MOST_DESCRIPTORS + 1]).is_err());
        drop(here);
        assert!(there.receive::<ToBroker>(&mut buffer).unwrap().is_none());
    }

    #[test]
    fn a_message_in_a_file_that_may_change_is_refused() {
        let (here, there) = pair().unwrap();
        let packet = Packet { bytes: vec![IN_FILE], file: Some(File::open("/dev/null").unwrap().into()) };
        packet.send(here.as_fd(), &[]).unwrap();
        let received = BlockingSocket::new(there).receive::<ToBroker>(&mut Buffer::default());
        assert!(received.is_err());
    }
}
