//! What leads out of a slot's network: sockets that are made in it and used by the daemon.

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use skynet_sandbox::{
    channel::{self, BlockingSocket, Buffer},
    protocol::{Dial, FromBroker, Network, Reply, Run},
};
use std::{
    io,
    net::{Ipv4Addr, TcpListener},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

/// Makes what `run` asks for and passes it out; where to hear about [`Dial`]s.
pub(super) fn open(socket: &BlockingSocket, run: &Run) -> io::Result<Option<Dialer>> {
    if run.listen.is_empty() && !run.is_published {
        return Ok(None);
    }
    let listen = |port: &u32| -> io::Result<OwnedFd> {
        let port = u16::try_from(*port).map_err(io::Error::other)?;
        Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, port))?.into())
    };
    let mut sockets = run.listen.iter().map(listen).collect::<io::Result<Vec<OwnedFd>>>()?;
    let mut dialer = None;
    if run.is_published {
        let (ours, theirs) = channel::pair()?;
        rustix::io::ioctl_fionbio(&ours, true)?;
        dialer = Some(Dialer(BlockingSocket::new(ours)));
        sockets.push(theirs);
    }
    let sockets: Vec<BorrowedFd<'_>> = sockets.iter().map(AsFd::as_fd).collect();
    let message = FromBroker::from(Reply::Network(Network { id: run.id }));
    socket.send(&message, &sockets)?;
    Ok(dialer)
}

/// Makes sockets for who wants to connect to what listens here.
pub(super) struct Dialer(BlockingSocket);

impl Dialer {
    /// Answers one [`Dial`]; false once nobody can ask any more.
    pub(super) fn answer(&self, buffer: &mut Buffer) -> bool {
        match self.0.receive::<Dial>(buffer) {
            Ok(Some(_)) => {}
            Err(err) if err.kind() == io::ErrorKind::WouldBlock => return true,
            Ok(None) | Err(_) => return false,
        }
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let Ok(socket) = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None) else {
            return false;
        };
        // Who asks and does not listen is not waited for.
        self.0.send(&Dial {}, &[socket.as_fd()]).is_ok()
    }
}

impl AsFd for Dialer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
