//! The process at the other end of a connection, as surely as the kernel lets us know it.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::os::fd::OwnedFd;

/// Not to wait at all.
const NOW: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// How a process is known besides by its number, which another one may have once it has ended.
#[derive(Debug)]
pub enum Process {
    /// Not at all: this kernel is older than Linux 6.5, or it is nobody's connection.
    Numbered,
    /// By a handle that stays its own (pidfd_open(2)).
    Held(OwnedFd),
    /// It had ended when it was looked for.
    Ended,
}

impl Process {
    /// Whether the number is still this process's, as far as that can be known. Whoever finds something out by the number asks
    /// before and after.
    #[must_use]
    pub fn is_there(&self) -> bool {
        match self {
            Self::Numbered => true,
            // Readable once it has ended.
            Self::Held(handle) => {
                matches!(poll(&mut [PollFd::new(handle, PollFlags::IN)], Some(&NOW)), Ok(0))
            }
            Self::Ended => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{Pid, PidfdFlags, pidfd_open};
    use std::process::Command;

    #[test]
    fn a_process_that_is_held_is_there_until_it_ends() {
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        let pid = Pid::from_raw(child.id().try_into().unwrap()).unwrap();
        let process = Process::Held(pidfd_open(pid, PidfdFlags::empty()).unwrap());
        assert!(process.is_there());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!process.is_there() && !Process::Ended.is_there() && Process::Numbered.is_there());
    }
}
