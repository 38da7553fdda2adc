//! Daemons that ask a keeper. Neither what they send nor that they do not read keeps it from its job.

use rustix::{
    io::Errno,
    net::{SocketFlags, accept_with},
};
use skynet_sandbox::{
    channel::{BlockingSocket, Buffer},
    job::{Answer, FromKeeper, Request, ToKeeper, VERSION},
};
use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::{Duration, Instant},
};

/// At once; more wait to be accepted.
const MOST: usize = 64;

/// Until one is accepted again after there was no descriptor or no memory left for it: it waits on, and would be announced without end.
const PAUSE: Duration = Duration::from_secs(1);

pub(super) struct Connections {
    listener: OwnedFd,
    all: Vec<Connection>,
    pauses_until: Option<Instant>,
}

struct Connection {
    socket: BlockingSocket,
    /// Is to be answered when so much was written.
    watches: Option<u64>,
    is_over: bool,
}

impl Connections {
    pub(super) fn new(listener: OwnedFd) -> Self {
        Self { listener, all: Vec::new(), pauses_until: None }
    }

    /// Unless there are too many.
    pub(super) fn listening(&self) -> Option<BorrowedFd<'_>> {
        (self.all.len() < MOST).then(|| self.listener.as_fd())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.all.iter().map(|one| one.socket.as_fd())
    }

    /// For how long none is to be accepted.
    pub(super) fn pause(&self, now: Instant) -> Option<Duration> {
        let left = self.pauses_until?.saturating_duration_since(now);
        (!left.is_zero()).then_some(left)
    }

    pub(super) fn accept(&mut self) {
        match accept_with(&self.listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
            Ok(socket) => {
                let socket = BlockingSocket::new(socket);
                self.all.push(Connection { socket, watches: None, is_over: false });
            }
            Err(err) => self.fail(err, Instant::now()),
        }
    }

    fn fail(&mut self, err: Errno, now: Instant) {
        // Any other is of one that has gone again, which needs nothing (accept(2), "Errors").
        if matches!(err, Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) {
            self.pauses_until = Some(now + PAUSE);
        }
    }

    /// What is asked there. One that asks for what this keeper does not know is told so.
    pub(super) fn receive(&mut self, index: usize, buffer: &mut Buffer) -> Option<Request> {
        let connection = self.all.get_mut(index)?;
        let Ok(Some((ToKeeper { version, request }, _))) = connection.socket.receive(buffer) else {
            connection.is_over = true;
            return None;
        };
        match request {
            Some(Request::Kill(kill)) => Some(Request::Kill(kill)),
            Some(request) if version == VERSION => Some(request),
            Some(_) | None => {
                connection.answer(None, &[]);
                None
            }
        }
    }

    /// Has it answered later.
    pub(super) fn watch(&mut self, index: usize, wanted: u64) {
        if let Some(connection) = self.all.get_mut(index) {
            connection.watches = Some(wanted);
        }
    }

    pub(super) fn answer(&mut self, index: usize, answer: Answer, descriptors: &[OwnedFd]) {
        if let Some(connection) = self.all.get_mut(index) {
            connection.answer(Some(answer), descriptors);
        }
    }

    /// Answers those that wait for so much, and forgets those that are over.
    pub(super) fn tell(&mut self, written: u64) {
        for connection in &mut self.all {
            if connection.watches.is_some_and(|wanted| wanted <= written) {
                connection.watches = None;
                connection.answer(Some(Answer::Done(written)), &[]);
            }
        }
        self.all.retain(|connection| !connection.is_over);
    }
}

impl Connection {
    fn answer(&mut self, answer: Option<Answer>, descriptors: &[OwnedFd]) {
        let message = FromKeeper { version: VERSION, answer };
        let descriptors: Vec<BorrowedFd<'_>> = descriptors.iter().map(AsFd::as_fd).collect();
        // One that is gone, or does not read its answers.
        self.is_over |= self.socket.send(&message, &descriptors).is_err();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    #[test]
    fn a_lack_of_descriptors_is_waited_out() {
        let listener = File::open("/dev/null").unwrap().into();
        let mut connections = Connections::new(listener);
        let now = Instant::now();
        connections.fail(Errno::CONNABORTED, now);
        assert_eq!(connections.pause(now), None);
        for lack in [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM] {
            connections.fail(lack, now);
            assert_eq!(connections.pause(now), Some(PAUSE), "{lack}");
            assert_eq!(connections.pause(now + PAUSE), None, "{lack}");
            connections.pauses_until = None;
        }
    }
}
