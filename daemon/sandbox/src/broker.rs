//! The broker: one thread that keeps slots ready, gives each a command, and tells the daemon how it ended.

use crate::{
    channel::{BlockingSocket, Buffer},
    protocol::{Cause, Ended, FromBroker, Refused, Reply, Request, ToBroker},
    slot::{self, Slot},
    syscall,
};
use rustix::{
    event::{PollFd, PollFlags, poll},
    process::Signal,
};
use std::{
    collections::VecDeque,
    fs::OpenOptions,
    io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    time::Instant,
};

/// Slots that wait for a command.
const WARM: usize = 2;

/// Serves the daemon at the other end of `socket` until it is gone.
///
/// # Errors
/// When the socket fails. That slots cannot be made is told to the daemon, and is no error here.
pub fn serve(socket: OwnedFd) -> io::Result<()> {
    // The socket was stdin: nothing that is started here may find it there.
    syscall::duplicate_onto(OpenOptions::new().read(true).open("/dev/null")?.as_fd(), 0)?;
    let mut broker = Broker {
        daemon: BlockingSocket::new(socket),
        buffer: Buffer::default(),
        warm: VecDeque::new(),
        busy: Vec::new(),
    };
    broker.fill();
    while broker.turn()? {}
    Ok(())
}

/// A slot with its command.
struct Busy {
    id: u64,
    slot: Slot,
    started: Instant,
}

struct Broker {
    daemon: BlockingSocket,
    buffer: Buffer,
    warm: VecDeque<Slot>,
    busy: Vec<Busy>,
}

impl Broker {
    /// Makes slots until enough are warm. One that cannot be made says so when it gets a command.
    fn fill(&mut self) {
        while self.warm.len() < WARM {
            match Slot::start() {
                Ok(slot) => self.warm.push_back(slot),
                Err(_) => return,
            }
        }
    }

    /// Waits for what happens next; false once the daemon is gone.
    fn turn(&mut self) -> io::Result<bool> {
        let sockets = self.busy.iter().map(|busy| busy.slot.as_fd());
        let mut waiting: Vec<PollFd<'_>> = std::iter::once(self.daemon.as_fd())
            .chain(sockets)
            .map(|socket| PollFd::from_borrowed_fd(socket, PollFlags::IN))
            .collect();
        match poll(&mut waiting, None) {
            Err(rustix::io::Errno::INTR) => return Ok(true),
            result => result?,
        };
        let is_ready: Vec<bool> = waiting.iter().map(|one| !one.revents().is_empty()).collect();
        // From the end, because one that has ended leaves the list.
        for index in (0..self.busy.len()).rev() {
            if is_ready.get(index + 1) == Some(&true) {
                self.hear(index)?;
            }
        }
        if is_ready.first() == Some(&true) { self.obey() } else { Ok(true) }
    }

    /// Does what the daemon asks.
    fn obey(&mut self) -> io::Result<bool> {
        let Some((message, descriptors)) = self.daemon.receive::<ToBroker>(&mut self.buffer)? else {
            return Ok(false);
        };
        match message.request {
            Some(Request::Run(run)) => {
                let id = run.id;
                let message = ToBroker { request: Some(Request::Run(run)) };
                let descriptors: Vec<BorrowedFd<'_>> = descriptors.iter().map(|one| one.as_fd()).collect();
                let slot = self.warm.pop_front().map_or_else(Slot::start, Ok);
                let begun = slot.and_then(|slot| slot.send(&message, &descriptors).map(|()| slot));
                match begun {
                    Ok(slot) => self.busy.push(Busy { id, slot, started: Instant::now() }),
                    Err(err) => self.tell(Reply::Refused(slot::Refusal::new("namespaces", err).of(id)))?,
                }
                self.fill();
            }
            Some(Request::Kill(id)) => {
                let request = ToBroker { request: Some(Request::Kill(id)) };
                let busy = self.busy.iter().find(|busy| busy.id == id);
                if busy.is_some_and(|busy| busy.slot.send(&request, &[]).is_err()) {
                    // It has just ended, which is heard on its socket.
                    return Ok(true);
                }
            }
            None => {}
        }
        Ok(true)
    }

    /// Passes on what a slot says.
    fn hear(&mut self, index: usize) -> io::Result<()> {
        let Some(busy) = self.busy.get(index) else { return Ok(()) };
        let reply = match busy.slot.receive(&mut self.buffer) {
            Ok(Some(Reply::Ready(_))) => return Ok(()),
            Ok(Some(reply)) => reply,
            // The kernel ended it without a word, for lack of memory of the whole host.
            Ok(None) | Err(_) => Reply::Ended(Ended {
                id: busy.id,
                signal: Some(Signal::KILL.as_raw()),
                wall_us: u64::try_from(busy.started.elapsed().as_micros()).unwrap_or(u64::MAX),
                cause: Cause::Killed.into(),
                ..Ended::default()
            }),
        };
        let id = self.busy.swap_remove(index).id;
        self.tell(match reply {
            Reply::Refused(refused) => Reply::Refused(Refused { id, ..refused }),
            reply => reply,
        })
    }

    fn tell(&self, reply: Reply) -> io::Result<()> {
        self.daemon.send(&FromBroker { reply: Some(reply) }, &[])
    }
}
