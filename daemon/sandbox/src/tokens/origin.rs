//! Where somebody who asks for a token is. What runs in a slot has the user that the daemon cited a connection of, so a daemon that was
//! taken over would be each of its users here if slots were let in.

use skynet_sandbox::peer::process_of;
use std::{
    fs, io,
    os::{fd::AsFd, unix::fs::MetadataExt as _},
};

/// Where a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// Among the processes that the broker is among itself.
    Here,
    /// In a slot or in a container; or it cannot be told.
    Elsewhere,
}

impl Origin {
    /// Of the process with that number, which connected. Whatever runs in a slot, what is asked about the host included, is in a namespace
    /// of control groups of its own before it is executed (`Gate::enter`), and has no right to enter another one (setns(2)).
    pub(super) fn of(socket: &impl AsFd, pid: i32) -> Self {
        match (namespace_of(&pid.to_string()), namespace_of("self")) {
            // Not before: meanwhile another process may have got the number.
            (Ok(theirs), Ok(ours)) if theirs == ours && process_of(socket).is_there() => Self::Here,
            (Ok(_), Ok(_)) | (Err(_), _) | (_, Err(_)) => Self::Elsewhere,
        }
    }
}

/// Device and inode, by which namespaces are told apart (namespaces(7)).
fn namespace_of(process: &str) -> io::Result<(u64, u64)> {
    let found = fs::metadata(format!("/proc/{process}/ns/cgroup"))?;
    Ok((found.dev(), found.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{os::unix::net::UnixStream, process::Command};

    #[test]
    fn who_has_ended_or_cannot_be_seen_is_not_here() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let own = i32::try_from(std::process::id()).unwrap();
        assert_eq!(Origin::of(&ours, own), Origin::Here);
        let mut ended = Command::new("true").spawn().unwrap();
        let pid = i32::try_from(ended.id()).unwrap();
        ended.wait().unwrap();
        for pid in [pid, 0, -1] {
            assert_eq!(Origin::of(&ours, pid), Origin::Elsewhere, "{pid}");
        }
    }
}
