//! Jobs: commands that outlive the daemon, each held by a keeper.
//!
//! A keeper is a process that the broker forks and then forgets. Whoever comes later, a daemon of another release too,
//! finds a job by its directory: [`Output`] and [`End`] are files, which are read without the keeper, and at a socket the
//! keeper itself takes [`Request`]s as long as the command is under way. It is handed all of them as descriptors and
//! opens nothing, so it may be another user than the directory's.

mod connection;
mod end;
mod output;

pub use connection::Connection;
pub use end::End;
pub use output::{From, Output, Part};

use crate::protocol::TerminalSize;
use rustix::{
    fs::{FallocateFlags, Mode, OFlags},
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType},
};
use std::{
    fs::File,
    io,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd},
    path::Path,
};

/// Of the messages between daemon and keeper. A keeper is as old as its job.
pub const VERSION: u32 = 1;

const OUTPUT: &str = "output";
const END: &str = "end";
const SOCKET: &str = "socket";

/// So many connections wait until the keeper turns to them: it has little else to do.
const BACKLOG: i32 = 64;

/// The directory of a job.
pub struct Directory(OwnedFd);

/// What a new keeper is handed.
pub struct Files {
    /// Empty, for [`Output`].
    pub output: OwnedFd,
    /// Empty, for [`End`].
    pub end: OwnedFd,
    /// A socket that listens already.
    pub listener: OwnedFd,
}

impl Directory {
    /// The one at `path`.
    ///
    /// # Errors
    /// What open(2) says.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(Self(rustix::fs::open(path, flags, Mode::empty())?))
    }

    /// Puts what a keeper needs into it.
    ///
    /// # Errors
    /// When there is something already, or no room.
    pub fn prepare(&self) -> io::Result<Files> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let output = rustix::fs::openat(&self.0, OUTPUT, flags, mode)?;
        let end = rustix::fs::openat(&self.0, END, flags, mode)?;
        // So that a full disk cannot keep the end from being recorded. Not every filesystem can.
        match rustix::fs::fallocate(&end, FallocateFlags::KEEP_SIZE, 0, end::MOST_BYTES) {
            Ok(()) | Err(rustix::io::Errno::OPNOTSUPP) => {}
            Err(err) => return Err(err.into()),
        }
        let listener = socket(SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
        rustix::net::bind(&listener, &self.address()?)?;
        rustix::net::listen(&listener, BACKLOG)?;
        Ok(Files { output, end, listener })
    }

    /// Connects to the keeper; `None` when there is none any more.
    ///
    /// # Errors
    /// When it cannot be told, or the keeper is overrun. Must be called in a runtime.
    pub fn connect(&self) -> io::Result<Option<Connection>> {
        let socket = socket(SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
        match rustix::net::connect(&socket, &self.address()?) {
            Ok(()) => Ok(Some(Connection::new(socket)?)),
            Err(rustix::io::Errno::CONNREFUSED | rustix::io::Errno::NOENT) => Ok(None),
            Err(err) => Err(err.into()),
        }
    }

    /// Whether there is a keeper.
    ///
    /// # Errors
    /// When it cannot be told.
    pub fn is_kept(&self) -> io::Result<bool> {
        let socket = socket(SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
        match rustix::net::connect(&socket, &self.address()?) {
            Ok(()) | Err(rustix::io::Errno::AGAIN) => Ok(true),
            Err(rustix::io::Errno::CONNREFUSED | rustix::io::Errno::NOENT) => Ok(false),
            Err(err) => Err(err.into()),
        }
    }

    /// What the command wrote.
    ///
    /// # Errors
    /// What open(2) says.
    pub fn output(&self) -> io::Result<Output> {
        Output::new(self.read_only(OUTPUT)?)
    }

    /// How the job ended; `None` while it has not, or if its keeper died.
    ///
    /// # Errors
    /// What the filesystem says.
    pub fn end(&self) -> io::Result<Option<End>> {
        End::read(&self.read_only(END)?)
    }

    /// Writes down that its keeper was killed before it could, so that the job has an end.
    ///
    /// # Errors
    /// What the filesystem says.
    pub fn give_up(&self, at_ms: i64) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.0, END, flags, Mode::empty())?;
        End { at_ms, ..End::default() }.write(&file.into())
    }

    fn read_only(&self, name: &str) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&self.0, name, flags, Mode::empty())?.into())
    }

    /// By the descriptor: a path to a socket has at most 107 bytes (unix(7)), and home directories may be deep.
    fn address(&self) -> io::Result<SocketAddrUnix> {
        Ok(SocketAddrUnix::new(format!("/proc/self/fd/{}/{SOCKET}", self.0.as_raw_fd()))?)
    }
}

impl Files {
    /// In the order of the message.
    #[must_use]
    pub fn as_descriptors(&self) -> [BorrowedFd<'_>; 3] {
        [self.output.as_fd(), self.end.as_fd(), self.listener.as_fd()]
    }
}

fn socket(flags: SocketFlags) -> io::Result<OwnedFd> {
    Ok(rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?)
}

/// To a keeper.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ToKeeper {
    /// [`VERSION`]. A keeper of another one refuses everything but [`Request::Kill`].
    #[prost(uint32, tag = "1")]
    pub version: u32,
    /// What it is.
    #[prost(oneof = "Request", tags = "2, 3, 4, 5, 6, 7")]
    pub request: Option<Request>,
}

/// What a keeper is asked; it answers each, in order, once the command has begun.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Request {
    /// To end everything. The number and the meaning of this one stay for ever.
    #[prost(bool, tag = "2")]
    Kill(bool),
    /// To answer once so much was written in all.
    #[prost(uint64, tag = "3")]
    Watch(u64),
    /// To pass on input.
    #[prost(message, tag = "4")]
    Write(Write),
    /// To change the size of the terminal.
    #[prost(message, tag = "5")]
    Resize(TerminalSize),
    /// To signal the command's process group.
    #[prost(int32, tag = "6")]
    Signal(i32),
    /// To hand over what leads out of the slot: with the answer come the descriptors of
    /// [`Reply::Network`](crate::protocol::Reply::Network).
    #[prost(bool, tag = "7")]
    Network(bool),
}

/// Input of a command.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Write {
    /// As typed.
    #[prost(bytes = "vec", tag = "1")]
    pub bytes: Vec<u8>,
    /// Whether nothing follows.
    #[prost(bool, tag = "2")]
    pub is_last: bool,
}

/// From a keeper.
#[derive(Clone, PartialEq, prost::Message)]
pub struct FromKeeper {
    /// [`VERSION`] of the keeper.
    #[prost(uint32, tag = "1")]
    pub version: u32,
    /// What it is; none to a request of another version.
    #[prost(oneof = "Answer", tags = "2, 3")]
    pub answer: Option<Answer>,
}

/// What a keeper answers.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Answer {
    /// It is done; how much the command wrote until now.
    #[prost(uint64, tag = "2")]
    Done(u64),
    /// It cannot be done.
    #[prost(message, tag = "3")]
    Failed(Failed),
}

/// Why something cannot be done.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Failed {
    /// The name of an `ErrorKind`.
    #[prost(string, tag = "1")]
    pub kind: String,
    /// What was wrong and what would work.
    #[prost(string, tag = "2")]
    pub message: String,
}
