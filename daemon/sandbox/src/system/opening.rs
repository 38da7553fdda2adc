//! What is opened as somebody: in a process of its own that has become him, because a file server may keep it waiting for
//! ever, and because the kernel then judges by his rights.

use crate::{child::Child, identity, slot::Refusal, syscall, tokens::book::Entry};
use rustix::{
    fs::{CWD, Mode, OFlags, ResolveFlags},
    thread::CapabilitySet,
};
use skynet_core::{Error, Result as CoreResult};
use skynet_sandbox::{
    agent::{self, Loan},
    channel::{self, BlockingSocket},
    engine,
    protocol::{FromBroker, Identity, Opened, Reply},
};
use std::{
    io,
    os::fd::{AsFd as _, OwnedFd},
    path::{Path, PathBuf},
    time::Instant,
};

/// What is opened as somebody.
pub(super) enum Wish<'a> {
    Directory(&'a Path),
    Engine(&'a [PathBuf]),
    Agent(&'a Path),
}

/// What a process was made for.
pub(super) enum Purpose {
    Directory,
    Engine,
    Agent,
    /// Who the user of a token is.
    Account(Entry),
}

impl Purpose {
    const fn what(&self) -> &'static str {
        match self {
            Self::Directory => "the directory",
            Self::Engine => "the container engine",
            Self::Agent => "the SSH agent",
            Self::Account(_) => "the user of the token",
        }
    }

    /// That this cannot be done.
    pub(super) const fn failed(&self) -> &'static str {
        match self {
            Self::Directory => "the directory cannot be opened",
            Self::Engine => "the container engine cannot be opened",
            Self::Agent => "the SSH agent cannot be opened",
            Self::Account(_) => "the user of the token cannot be looked up",
        }
    }
}

impl Wish<'_> {
    pub(super) const fn purpose(&self) -> Purpose {
        match self {
            Self::Directory(_) => Purpose::Directory,
            Self::Engine(_) => Purpose::Engine,
            Self::Agent(_) => Purpose::Agent,
        }
    }

    /// What is handed over, and what is to be done for it from then on.
    fn fulfil(&self) -> CoreResult<(OwnedFd, Option<Loan>)> {
        match self {
            Self::Directory(path) => {
                let opened = open_directory(path);
                let opened = opened.map_err(|err| Error::from_io(err, &path.to_string_lossy()))?;
                Ok((opened, None))
            }
            Self::Engine(sockets) => Ok((engine::connect(sockets)?, None)),
            Self::Agent(path) => {
                let (loan, lent) = agent::lend(path)?;
                Ok((lent, Some(loan)))
            }
        }
    }
}

/// A process that opens something as somebody, or looks somebody up. It ends by itself once it has answered, unless it lends
/// an agent.
pub(super) struct Opening {
    pub(super) id: u64,
    pub(super) purpose: Purpose,
    pub(super) connection: u64,
    pub(super) child: Child,
    pub(super) socket: BlockingSocket,
    pub(super) since: Instant,
}

/// Begins to open something as `identity`.
pub(super) fn start(identity: &Identity, id: u64, wish: &Wish<'_>) -> io::Result<(Child, BlockingSocket)> {
    let (ours, theirs) = channel::pair()?;
    if let Some(pid) = syscall::clone_process(0, None)? {
        return Ok((Child::hold(pid)?, BlockingSocket::new(ours)));
    }
    drop(ours);
    // What the broker has open is not this user's.
    let Ok(socket) = syscall::keep_only(theirs) else { syscall::exit(1) };
    let socket = BlockingSocket::new(socket);
    let assumed = identity::assume(identity, CapabilitySet::empty());
    let what = wish.purpose().what();
    let opened = assumed.map_err(|err| Error::from_io(err, what)).and_then(|()| wish.fulfil());
    match opened {
        Ok((opened, loan)) => {
            let reply = Reply::Opened(Opened { id });
            let sent = socket.send(&FromBroker::from(reply), &[opened.as_fd()]);
            // Only the borrower holds it: its end is the end of the loan.
            drop(opened);
            if let (Ok(()), Some(loan)) = (sent, loan) {
                // Either end may break off, and nobody is here to be told.
                let _ = loan.serve();
            }
        }
        Err(err) => {
            let refused = Refusal::command(err.kind, err.message.into_owned()).of(id);
            // A broker that is gone learns nothing.
            let _ = socket.send(&FromBroker::from(Reply::Refused(refused)), &[]);
        }
    }
    syscall::exit(0)
}

fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    // Not through another process (proc_pid_root(5)): where it has mounts of its own, a path there is not one of the host's.
    let directory = rustix::fs::openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS)?;
    // A filesystem of a user's own tells its number of an inode when it is first asked; until then the kernel has another
    // one, and the broker would see two.
    rustix::fs::fstat(&directory)?;
    Ok(directory)
}
