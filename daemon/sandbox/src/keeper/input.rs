//! What is typed into a job, on its way to a command that reads when it likes.

use rustix::{
    io::Errno,
    termios::{Winsize, tcsetwinsize},
};
use skynet_core::ErrorKind;
use std::{
    collections::VecDeque,
    io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
};

/// Input that no command has read yet, besides what the kernel holds.
const MOST_WAITING_BYTES: usize = 1 << 20;

/// Says at a terminal that nothing follows (termios(3), VEOF).
const END_OF_FILE: u8 = 4;

type Done = Result<(), (ErrorKind, String)>;

/// The way in. None by default.
#[derive(Default)]
pub(super) struct Input {
    sink: Option<OwnedFd>,
    is_terminal: bool,
    waiting: VecDeque<u8>,
    /// Whether the pipe is closed once nothing waits.
    is_last: bool,
}

impl Input {
    /// A pipe.
    pub(super) fn pipe(sink: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&sink, true)?;
        Ok(Self { sink: Some(sink), ..Self::default() })
    }

    /// A terminal that does not block.
    pub(super) fn terminal(sink: OwnedFd) -> Self {
        Self { sink: Some(sink), is_terminal: true, ..Self::default() }
    }

    /// Where it is to be written to, if something waits for that.
    pub(super) fn waiting(&self) -> Option<BorrowedFd<'_>> {
        self.sink.as_ref().filter(|_| !self.waiting.is_empty()).map(OwnedFd::as_fd)
    }

    /// Takes all of it, or nothing.
    pub(super) fn write(&mut self, bytes: &[u8], is_last: bool) -> Done {
        let closed = || (ErrorKind::Conflict, "the job's stdin is closed".to_owned());
        if self.sink.is_none() || self.is_last {
            return Err(closed());
        }
        if self.waiting.len() + bytes.len() > MOST_WAITING_BYTES {
            return Err((
                ErrorKind::Conflict,
                format!(
                    "the job does not read its stdin: {} bytes of it wait already; write again when it has read them",
                    self.waiting.len()
                ),
            ));
        }
        self.waiting.extend(bytes);
        if is_last && self.is_terminal {
            self.waiting.push_back(END_OF_FILE);
        }
        self.is_last = is_last && !self.is_terminal;
        self.flush();
        if self.sink.is_none() && !self.is_last { Err(closed()) } else { Ok(()) }
    }

    /// Writes as much as there is room for.
    pub(super) fn flush(&mut self) {
        while let Some(sink) = self.waiting() {
            let (bytes, _) = self.waiting.as_slices();
            match rustix::io::write(sink, bytes) {
                Ok(length) => drop(self.waiting.drain(..length)),
                Err(Errno::AGAIN) => return,
                Err(Errno::INTR) => {}
                // Nobody reads it any more.
                Err(_) => {
                    self.waiting.clear();
                    self.sink = None;
                }
            }
        }
        if self.is_last {
            self.sink = None;
        }
    }

    /// Changes the size of the terminal; the kernel tells its programs (SIGWINCH).
    pub(super) fn resize(&self, size: Winsize) -> Done {
        let without = || {
            let message = "the job has no terminal; only one that was started with `pty` can be resized";
            (ErrorKind::InvalidInput, message.to_owned())
        };
        let terminal = self.sink.as_ref().filter(|_| self.is_terminal).ok_or_else(without)?;
        tcsetwinsize(terminal, size).map_err(|err| (ErrorKind::Unavailable, err.to_string()))
    }
}
