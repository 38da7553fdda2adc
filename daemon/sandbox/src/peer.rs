//! Which process is at the other end of a Unix socket, when that is first known.

use nix::{
    errno::Errno,
    sys::socket::{getsockopt, sockopt::PeerPidfd},
};
use skynet_core::process::Process;
use std::os::fd::AsFd;

/// The process that connected (unix(7), `SO_PEERPIDFD`; Linux 6.5). Its number, which the kernel noted then, may have been given
/// to another one before anybody asks.
#[must_use]
pub fn process_of(socket: &impl AsFd) -> Process {
    match getsockopt(socket, PeerPidfd) {
        Ok(handle) => Process::Held(handle),
        Err(Errno::ENOPROTOOPT) => Process::Numbered,
        // What it says of one that was buried differs from release to release. Who cannot be held is not believed either.
        Err(_) => Process::Ended,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn who_made_a_socket_is_there() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        // By a handle or, where the kernel knows none, by its number.
        assert!(process_of(&ours).is_there());
    }
}
