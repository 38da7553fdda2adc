//! Where clients come from: a Unix socket of this user's, private, for callers of this uid only; or the broker of the
//! whole host, which says who each of them is.

use crate::people::Peer;
use anyhow::{Context as _, Result};
use rustix::fs::{FlockOperation, Gid, Mode, OFlags, Uid};
use skynet_core::Connection;
use skynet_proto::{socket::check_private, stream::QuietStream};
use skynet_sandbox::{Arrival, Slots, peer::process_of};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, IoSlice},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::Path,
    pin::Pin,
    sync::Arc,
    task::{self, Poll},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{UnixListener, UnixStream},
    sync::mpsc,
};
use tokio_stream::{
    Stream, StreamExt as _,
    wrappers::{ReceiverStream, UnixListenerStream},
};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::Connected;

/// Makes a directory that only this user can enter, or checks that an existing one is.
pub(crate) fn private_directory(path: &Path, uid: u32) -> Result<()> {
    match fs::DirBuilder::new().mode(0o700).recursive(true).create(path) {
        Ok(()) => {}
        Err(err) => return Err(err).with_context(|| format!("creating `{}`", path.display())),
    }
    check_private(path, uid)?;
    Ok(())
}

/// Takes the lock of the state directory, which is held while the file is open; `None` if somebody else has it.
pub(crate) fn lock(state: &Path) -> Result<Option<File>> {
    let path = state.join("lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        // Not where a link leads: root takes the lock of others too.
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(&path)
        .with_context(|| format!("opening `{}`", path.display()))?;
    if rustix::process::geteuid().is_root() {
        // Its daemon opens it too.
        let owner = fs::metadata(state)?;
        let (uid, gid) = (Uid::from_raw(owner.uid()), Gid::from_raw(owner.gid()));
        rustix::fs::fchown(&file, Some(uid), Some(gid))?;
    }
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(err) => Err(err).with_context(|| format!("locking `{}`", path.display())),
    }
}

/// Listens on `path`. A socket left by a daemon that died is replaced; the lock tells that it did.
pub(crate) fn bind(path: &Path) -> Result<UnixListener> {
    match fs::remove_file(path) {
        Ok(()) => {}
        Err(err) if err.kind() == io::ErrorKind::NotFound => {}
        Err(err) => return Err(err).with_context(|| format!("removing the old socket `{}`", path.display())),
    }
    let listener = UnixListener::bind(path).with_context(|| format!("listening on `{}`", path.display()))?;
    rustix::fs::chmod(path, Mode::RUSR | Mode::WUSR).with_context(|| format!("`{}`", path.display()))?;
    Ok(listener)
}

/// Takes over a socket that somebody else listens on for this daemon.
pub(crate) fn adopt(listener: std::os::unix::net::UnixListener) -> Result<UnixListener> {
    listener.set_nonblocking(true)?;
    Ok(UnixListener::from_std(listener)?)
}

/// A client's connection, and who is at the other end.
pub(crate) struct Client {
    stream: QuietStream,
    peer: Peer,
    /// Ready when nothing can be done for the client any more.
    is_void: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Connected for Client {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Client {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut task::Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.is_void.as_mut().poll(context).is_ready() {
            // As if it had hung up: it connects again, to who knows it.
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Client {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut task::Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut task::Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut task::Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut task::Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Clients as they come.
pub(crate) type Clients = Pin<Box<dyn Stream<Item = io::Result<Client>> + Send>>;

/// The connections of this uid; others are dropped at once.
pub(crate) fn accept_own(listener: UnixListener, uid: u32) -> Clients {
    let accepted = UnixListenerStream::new(listener).filter_map(move |accepted| {
        let client = accepted.and_then(|stream| {
            let credentials = stream.peer_cred()?;
            let pid = credentials.pid().and_then(|pid| u32::try_from(pid).ok()).unwrap_or(0);
            let connection = Connection::of(process_of(&stream));
            let peer = Peer { uid: credentials.uid(), pid, connection };
            Ok(Client {
                stream: QuietStream::new(stream)?,
                peer,
                is_void: Box::pin(CancellationToken::new().cancelled_owned()),
            })
        });
        match client {
            Ok(client) if client.peer.uid != uid => {
                tracing::warn!(uid = client.peer.uid, "a connection of another user was refused");
                None
            }
            client => Some(client),
        }
    });
    Box::pin(accepted)
}

/// The connections that the broker of the whole host accepted, of whatever user.
pub(crate) fn accept_noted(arrivals: mpsc::Receiver<Arrival>, slots: &Arc<Slots>) -> Clients {
    let slots = slots.clone();
    let accepted = ReceiverStream::new(arrivals).map(move |arrival| {
        let Arrival { connection, uid, pid, process, socket, is_void } = arrival;
        let slots = slots.clone();
        let connection = Connection::noted(connection, process, move |number| {
            let slots = slots.clone();
            tokio::spawn(async move { slots.release(number).await });
        });
        let stream = std::os::unix::net::UnixStream::from(socket);
        stream.set_nonblocking(true)?;
        Ok(Client {
            stream: QuietStream::new(UnixStream::from_std(stream)?)?,
            peer: Peer { uid, pid, connection },
            is_void: Box::pin(is_void.cancelled_owned()),
        })
    });
    Box::pin(accepted)
}
