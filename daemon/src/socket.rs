//! The Unix socket: private, one daemon, callers of this uid only.

use anyhow::{Context as _, Result, bail};
use rustix::fs::{FlockOperation, Mode};
use skynet_proto::{socket::check_private, stream::QuietStream};
use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
};
use tokio::net::UnixListener;
use tokio_stream::{Stream, StreamExt as _, wrappers::UnixListenerStream};
use tonic::transport::server::Connected as _;

/// Makes a directory that only this user can enter, or checks that an existing one is.
pub(crate) fn private_directory(path: &Path, uid: u32) -> Result<()> {
    match fs::DirBuilder::new().mode(0o700).recursive(true).create(path) {
        Ok(()) => {}
        Err(err) => return Err(err).with_context(|| format!("creating `{}`", path.display())),
    }
    check_private(path, uid)?;
    Ok(())
}

/// Takes the lock of the state directory; it is held while the file is open.
pub(crate) fn lock(state: &Path) -> Result<File> {
    let path = state.join("lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .with_context(|| format!("opening `{}`", path.display()))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => {
            bail!("another skynetd uses `{}`; stop it first, or give --state and --socket", state.display())
        }
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

/// The connections of this uid; others are dropped at once.
pub(crate) fn accept_own(listener: UnixListener, uid: u32) -> impl Stream<Item = io::Result<QuietStream>> {
    UnixListenerStream::new(listener).filter_map(move |connection| {
        let stream = match connection.and_then(QuietStream::new) {
            Ok(stream) => stream,
            Err(err) => return Some(Err(err)),
        };
        let peer = stream.connect_info().peer_cred.map(|peer| peer.uid());
        if peer == Some(uid) {
            return Some(Ok(stream));
        }
        tracing::warn!(uid = peer, "a connection of another user was refused");
        None
    })
}
