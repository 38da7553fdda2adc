//! A child of this process, by a handle that stays its own (pidfd_open(2)): whoever buries the dead gives their numbers
//! back, and by a number another process could be meant, which for root is any of the host's.

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal},
};
use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

/// Not to wait at all.
const NOW: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// Killed when dropped.
pub(crate) struct Child {
    pid: Pid,
    /// Readable once it has ended.
    handle: OwnedFd,
}

impl Child {
    /// Holds a child that was just made: nobody may have buried it yet. One that cannot be held is killed.
    ///
    /// # Errors
    /// What pidfd_open(2) says.
    pub(crate) fn hold(pid: Pid) -> io::Result<Self> {
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(handle) => Ok(Self { pid, handle }),
            Err(err) => {
                // It may have ended, and its number is still its own.
                let _ = kill_process(pid, Signal::KILL);
                Err(err.into())
            }
        }
    }

    /// Its number, which is only to be told.
    pub(crate) const fn pid(&self) -> Pid {
        self.pid
    }

    /// Whether it has not ended yet.
    pub(crate) fn is_alive(&self) -> bool {
        let mut waiting = [PollFd::new(&self.handle, PollFlags::IN)];
        // Where that cannot be told, whoever needs it finds out.
        !matches!(poll(&mut waiting, Some(&NOW)), Ok(1..))
    }

    pub(crate) fn kill(&self) {
        // It may have ended.
        let _ = pidfd_send_signal(&self.handle, Signal::KILL);
    }
}

impl AsFd for Child {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_child_that_was_buried_is_known_to_be_gone() {
        let mut started = Command::new("sleep").arg("600").spawn().unwrap();
        let pid = Pid::from_raw(started.id().try_into().unwrap()).unwrap();
        let child = Child::hold(pid).unwrap();
        assert!(child.is_alive());
        child.kill();
        started.wait().unwrap();
        assert!(!child.is_alive());
        // Its number may be another's by now; that one is not meant.
        child.kill();
    }
}
