//! The broker: one thread that keeps slots ready, gives each a command, and tells the daemon how it ended.

use crate::{
    keeper,
    seccomp::Filter,
    slot::{self, Slot},
    syscall,
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Resource, Rlimit, WaitOptions, getrlimit, setrlimit, wait},
};
use skynet_sandbox::{
    channel::{BlockingSocket, Buffer},
    protocol::{FromBroker, Refused, Reply, Request, ToBroker},
};
use std::{
    collections::VecDeque,
    fs::OpenOptions,
    io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    time::{Duration, Instant},
};

/// Commands that are ended because the daemon is gone have so long.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Serves the daemon at the other end of `socket` until it is gone, with `warm` slots that wait for a command.
///
/// # Errors
/// When the socket fails. That slots cannot be made is told to the daemon, and is no error here.
pub(crate) fn serve(socket: OwnedFd, warm: usize) -> io::Result<()> {
    // The socket was stdin: nothing that is started here may find it there.
    syscall::duplicate_onto(OpenOptions::new().read(true).open("/dev/null")?.as_fd(), 0)?;
    // Commands have fewer: see `MOST_OPEN` there.
    let most = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most })?;
    let mut broker = Broker {
        daemon: BlockingSocket::new(socket),
        buffer: Buffer::default(),
        filter: Filter::compile()?,
        most_warm: warm,
        warm: VecDeque::new(),
        busy: Vec::new(),
    };
    broker.fill();
    let served = loop {
        match broker.turn() {
            Ok(true) => {}
            Ok(false) => break Ok(()),
            Err(err) => break Err(err),
        }
    };
    broker.finish()?;
    served
}

/// A slot with its command.
struct Busy {
    id: u64,
    workspace: Vec<u8>,
    slot: Slot,
}

impl Busy {
    fn kill(&self) {
        // One that has just ended needs no order, and is heard on its socket.
        let _ = self.slot.send(&ToBroker { request: Some(Request::Kill(self.id)) }, &[]);
    }
}

struct Broker {
    daemon: BlockingSocket,
    buffer: Buffer,
    filter: Filter,
    most_warm: usize,
    warm: VecDeque<Slot>,
    busy: Vec<Busy>,
}

impl Broker {
    /// Makes slots until enough are warm. One that cannot be made says so when it gets a command.
    fn fill(&mut self) {
        while self.warm.len() < self.most_warm {
            match Slot::start(&self.filter) {
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
            Some(Request::Run(mut run)) => {
                let (id, workspace) = (run.id, run.workspace.clone());
                run.is_alone = self.busy.iter().all(|busy| busy.workspace != workspace);
                let message = ToBroker { request: Some(Request::Run(run)) };
                let descriptors: Vec<BorrowedFd<'_>> = descriptors.iter().map(|one| one.as_fd()).collect();
                let slot = self.warm.pop_front().map_or_else(|| Slot::start(&self.filter), Ok);
                let begun = slot.and_then(|slot| slot.send(&message, &descriptors).map(|()| slot));
                match begun {
                    Ok(slot) => self.busy.push(Busy { id, workspace, slot }),
                    Err(err) => self.tell(Reply::Refused(slot::Refusal::new("namespaces", err).of(id)))?,
                }
                if self.warm.is_empty() {
                    self.fill();
                }
            }
            Some(Request::Kill(id)) => {
                if let Some(busy) = self.busy.iter().find(|busy| busy.id == id) {
                    busy.kill();
                }
            }
            Some(Request::Keep(run)) => {
                let descriptors: Vec<BorrowedFd<'_>> = descriptors.iter().map(|one| one.as_fd()).collect();
                // The daemon learns it too: without a keeper nobody has the job's socket.
                let _ = keeper::start(&self.filter, run, &descriptors);
            }
            Some(Request::Signal(_)) | None => {}
        }
        Ok(true)
    }

    /// Without a daemon: commands end, and what they planted is found, before their slots do.
    fn finish(&mut self) -> io::Result<()> {
        let until = Instant::now() + LAST_WORDS;
        self.busy.iter().for_each(Busy::kill);
        for busy in std::mem::take(&mut self.busy) {
            loop {
                let left = Timespec::try_from(until.saturating_duration_since(Instant::now()));
                let mut waiting = [PollFd::from_borrowed_fd(busy.slot.as_fd(), PollFlags::IN)];
                let count = poll(&mut waiting, Some(&left.map_err(io::Error::other)?))?;
                if count == 0 || !matches!(busy.slot.receive(&mut self.buffer), Ok(Some(Reply::Ready(_)))) {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Passes on what a slot says.
    fn hear(&mut self, index: usize) -> io::Result<()> {
        let Some(busy) = self.busy.get(index) else { return Ok(()) };
        let reply = match busy.slot.receive(&mut self.buffer) {
            Ok(Some(Reply::Ready(_) | Reply::Terminal(_) | Reply::Started(_))) => return Ok(()),
            Ok(Some(reply)) => reply,
            // The kernel ended it, for lack of memory of the whole host.
            Ok(None) | Err(_) => {
                Reply::Refused(slot::Refusal::new("slot", "it died").after_start().of(busy.id))
            }
        };
        let busy = self.busy.swap_remove(index);
        self.tell(match reply {
            Reply::Refused(refused) => Reply::Refused(Refused { id: busy.id, ..refused }),
            reply => reply,
        })?;
        // Nobody waits for what follows.
        drop(busy);
        while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
        self.fill();
        Ok(())
    }

    fn tell(&self, reply: Reply) -> io::Result<()> {
        self.daemon.send(&FromBroker { reply: Some(reply) }, &[])
    }
}
