//! The broker: one thread that keeps slots ready, gives each a command, and tells the daemon how it ended.

use crate::{
    homes::Homes,
    keeper,
    slot::{Maker, Refusal, Resident, Slot, view},
    syscall,
    system::{Event, System},
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, Resource, Rlimit, WaitOptions, getrlimit, setrlimit, wait},
};
use skynet_sandbox::{
    channel::{BlockingSocket, Buffer},
    environment,
    protocol::{Begun, Ended, FromBroker, Identity, Kind, Network, Refused, Reply, Request, Run, ToBroker},
};
use std::{
    collections::VecDeque,
    fs::OpenOptions,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::{Duration, Instant},
};

/// Commands that are ended because the daemon is gone have so long.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// How often it is looked whether the last process of a control group has gone.
const SWEEP_EVERY: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };

/// How often it is looked whether something takes too long.
const LOOK_EVERY: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// Makes this process one that many slots can be copied from.
///
/// # Errors
/// What the kernel says.
pub(crate) fn settle_in() -> io::Result<()> {
    // The socket may have been stdin: nothing that is started here may find it there.
    syscall::duplicate_onto(OpenOptions::new().read(true).open("/dev/null")?.as_fd(), 0)?;
    // Commands have fewer: see `MOST_OPEN` there.
    let most = getrlimit(Resource::Nofile).maximum;
    Ok(setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most })?)
}

/// Serves the daemon at the other end of `daemon` until it is gone, with `most_warm` slots that wait for a command.
/// With a `system`, commands are of whoever connected there.
///
/// # Errors
/// When the socket fails. That slots cannot be made is told to the daemon, and is no error here.
pub(crate) fn serve(
    daemon: OwnedFd,
    maker: &mut Maker,
    homes: &Homes,
    system: Option<&mut System>,
    most_warm: usize,
) -> io::Result<()> {
    let mut broker = Broker {
        daemon: BlockingSocket::new(daemon),
        buffer: Buffer::default(),
        maker,
        homes,
        system,
        most_warm,
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

/// Who has no files (nss, `nobody`), and runs what is nobody's.
const NOBODY: u32 = 65534;

/// What runs something.
enum Body {
    Slot(Slot),
    Resident(Resident),
}

impl Body {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Slot(slot) => slot.as_fd(),
            Self::Resident(resident) => resident.as_fd(),
        }
    }

    const fn pid(&self) -> Pid {
        match self {
            Self::Slot(slot) => slot.pid(),
            Self::Resident(resident) => resident.pid(),
        }
    }

    fn kill(&self, id: u64) {
        match self {
            // One that has just ended needs no order, and is heard on its socket.
            Self::Slot(slot) => {
                let _ = slot.send(&ToBroker { request: Some(Request::Kill(id)) }, &[]);
            }
            Self::Resident(resident) => resident.kill(),
        }
    }
}

/// Something that runs.
struct Busy {
    id: u64,
    /// On whose behalf: [`Run::connection`].
    connection: u64,
    /// Of a command. What hands change there is the user's.
    workspace: Option<Vec<u8>>,
    body: Body,
}

struct Broker<'a> {
    daemon: BlockingSocket,
    buffer: Buffer,
    maker: &'a mut Maker,
    homes: &'a Homes,
    system: Option<&'a mut System>,
    most_warm: usize,
    warm: VecDeque<Slot>,
    busy: Vec<Busy>,
}

impl Broker<'_> {
    /// Makes slots until enough are warm. One that cannot be made says so when it gets a command.
    fn fill(&mut self) {
        while self.warm.len() < self.most_warm {
            match self.maker.slot() {
                Ok(slot) => self.warm.push_back(slot),
                Err(_) => return,
            }
        }
    }

    /// Waits for what happens next; false once the daemon is gone.
    fn turn(&mut self) -> io::Result<bool> {
        let more = self.system.iter().flat_map(|system| system.sockets());
        let mut waiting: Vec<PollFd<'_>> = std::iter::once(self.daemon.as_fd())
            .chain(self.busy.iter().map(|busy| busy.body.as_fd()))
            .chain(more)
            .map(|socket| PollFd::from_borrowed_fd(socket, PollFlags::IN))
            .collect();
        let is_burying = self.maker.sweep();
        let is_waiting = self.system.as_ref().is_some_and(|system| system.is_waiting());
        let again = is_burying.then_some(&SWEEP_EVERY).or(is_waiting.then_some(&LOOK_EVERY));
        match poll(&mut waiting, again) {
            Err(rustix::io::Errno::INTR) => return Ok(true),
            result => result?,
        };
        let mut is_ready = waiting.iter().map(|one| !one.revents().is_empty());
        let is_asked = is_ready.next().unwrap_or_default();
        let ended: Vec<bool> = is_ready.by_ref().take(self.busy.len()).collect();
        let of_system: Vec<bool> = is_ready.collect();
        // From the end, because one that has ended leaves the list.
        for (index, _) in ended.iter().enumerate().rev().filter(|(_, is_ready)| **is_ready) {
            self.hear(index)?;
        }
        if let Some(system) = &mut self.system {
            for Event { reply, descriptors } in system.attend(&of_system) {
                let descriptors: Vec<BorrowedFd<'_>> = descriptors.iter().map(|one| one.as_fd()).collect();
                self.daemon.send(&FromBroker::from(reply), &descriptors)?;
            }
            for connection in system.take_lapsed() {
                self.daemon.send(&FromBroker::from(Reply::Lapsed(connection)), &[])?;
                let own = self.busy.iter().filter(|busy| busy.connection == connection);
                own.for_each(|busy| busy.body.kill(busy.id));
            }
        }
        while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
        if is_asked { self.obey() } else { Ok(true) }
    }

    /// Does what the daemon asks.
    fn obey(&mut self) -> io::Result<bool> {
        let Some((message, descriptors)) = self.daemon.receive::<ToBroker>(&mut self.buffer)? else {
            return Ok(false);
        };
        match message.request {
            Some(Request::Run(run)) => {
                let (id, kind, connection) = (run.id, run.kind(), run.connection);
                let workspace = (kind == Kind::Command).then(|| run.workspace.clone());
                match self.begin(run, descriptors) {
                    Ok(body) => {
                        if kind != Kind::Command {
                            let pid = u32::try_from(body.pid().as_raw_pid()).map_err(io::Error::other)?;
                            self.tell(Reply::Begun(Begun { id, pid }))?;
                        }
                        self.busy.push(Busy { id, connection, workspace, body });
                    }
                    Err(refusal) => self.tell(Reply::Refused(refusal.of(id)))?,
                }
                if self.warm.is_empty() {
                    self.fill();
                }
            }
            Some(Request::Kill(id)) => {
                if let Some(busy) = self.busy.iter().find(|busy| busy.id == id) {
                    busy.body.kill(id);
                }
            }
            Some(Request::Open(open)) => self.begin_opening(open.id, |system| system.open(&open))?,
            Some(Request::Agent(open)) => self.begin_opening(open.id, |system| system.lend_agent(&open))?,
            Some(Request::Engine(asked)) => {
                self.begin_opening(asked.id, |system| system.connect_engine(asked))?;
            }
            Some(Request::Admit(asked)) => {
                let admitted = match &mut self.system {
                    Some(system) => system.admit(&asked),
                    None => Err(Refusal::new("identity", "this broker works for one user")),
                };
                match admitted {
                    Ok(Some(reply)) => self.tell(reply)?,
                    Ok(None) => {}
                    Err(refusal) => self.tell(Reply::Refused(refusal.of(asked.id)))?,
                }
            }
            Some(Request::Release(connection)) => {
                if let Some(system) = &mut self.system {
                    system.release_client(connection);
                }
            }
            Some(Request::Keep(run)) => self.keep(run, descriptors),
            Some(Request::Signal(_)) | None => {}
        }
        Ok(true)
    }

    /// Has something opened as the user of a connection; what becomes of it is said later.
    fn begin_opening(
        &mut self,
        id: u64,
        begin: impl FnOnce(&mut System) -> Result<(), Refusal>,
    ) -> io::Result<()> {
        let begun = match &mut self.system {
            Some(system) => begin(system),
            None => Err(Refusal::new("identity", "this broker works for one user")),
        };
        begun.or_else(|refusal| self.tell(Reply::Refused(refusal.of(id))))
    }

    /// Hands something over to what runs it.
    fn begin(&mut self, mut run: Run, descriptors: Vec<OwnedFd>) -> Result<Body, Refusal> {
        let protocol = || Refusal::new("protocol", "a command without its descriptors");
        let mut descriptors = descriptors.into_iter();
        let mut next = || descriptors.next().ok_or_else(protocol);
        let stdio = [next()?, next()?, next()?];
        run.is_alone = self.busy.iter().all(|busy| busy.workspace.as_ref() != Some(&run.workspace));
        run.identity = self.identity(&run)?;
        if let Some(program) = self.maker.program(run.kind()) {
            // Whatever the daemon says. What loads other code would have that run in the program's place.
            run.argv = vec![program.into_os_string().into_encoded_bytes()];
            run.environment.retain(|variable| environment::is_ours(variable));
        }
        if run.kind() == Kind::Host {
            return Ok(Body::Resident(self.maker.host(&run, &stdio)?));
        }
        let (mut workspace, mut preview, mut certificates, mut home) = (None, None, None, None);
        if run.kind() != Kind::Models {
            let claimed = next()?;
            preview = run.is_preview.then(&mut next).transpose()?;
            certificates = run.has_certificates.then(next).transpose()?;
            let (opened, of_user) = self.place(&mut run, claimed)?;
            (workspace, home) = (Some(opened), of_user);
        }
        let slot = self.next_slot()?;
        let own = workspace.iter().chain(&preview).chain(&certificates).chain(&home);
        let descriptors: Vec<BorrowedFd<'_>> = stdio.iter().chain(own).map(AsFd::as_fd).collect();
        let handed = slot.run(run, &descriptors);
        let body = Body::Slot(slot);
        match handed {
            Ok(()) => Ok(body),
            Err(err) => {
                self.bury(body);
                Err(Refusal::new("slot", err))
            }
        }
    }

    /// One that waits for a command, or a new one. A host that is short of memory ends those that wait before anything
    /// else, and one that is gone is no reason to refuse a command; nor is one that shows accounts as they were.
    fn next_slot(&mut self) -> Result<Slot, Refusal> {
        while let Some(slot) = self.warm.pop_front() {
            if slot.is_alive() && slot.is_of_now() {
                return Ok(slot);
            }
            self.bury(Body::Slot(slot));
        }
        self.maker.slot().map_err(|err| Refusal::new("namespaces", err))
    }

    /// As whom it runs, unless that is the broker's own user.
    fn identity(&self, run: &Run) -> Result<Option<Identity>, Refusal> {
        let Some(system) = &self.system else { return Ok(None) };
        if run.kind() == Kind::Models {
            return Ok(Some(Identity { uid: NOBODY, gid: NOBODY, groups: Vec::new() }));
        }
        system.identity(run.connection).cloned().map(Some)
    }

    /// Its workspace and its home, which for another user than the broker's own can be mounted.
    fn place(&self, run: &mut Run, mut workspace: OwnedFd) -> Result<(OwnedFd, Option<OwnedFd>), Refusal> {
        let mut home = None;
        if let Some(system) = &self.system {
            system.check_workspace(run.connection, &workspace)?;
            // Here, where the host's mounts are: in the slot it is a descriptor from elsewhere.
            let copy = view::detached(workspace.as_fd(), libc::MOUNT_ATTR_NODEV);
            workspace = copy.map_err(|err| Refusal::new("workspace", err))?;
        }
        if run.kind() == Kind::Command {
            let found = self.homes.open(&run.private_home, run.identity.as_ref());
            let (path, opened) = found.map_err(|err| Refusal::new("home", err))?;
            if run.identity.is_some() {
                let copy = view::detached(opened.as_fd(), libc::MOUNT_ATTR_NODEV);
                home = Some(copy.map_err(|err| Refusal::new("home", err))?);
            }
            run.private_home = path.into_os_string().into_encoded_bytes();
        }
        Ok((workspace, home))
    }

    /// Has a keeper begin a job. That it cannot is told by its socket: nobody has it.
    fn keep(&mut self, mut run: Run, descriptors: Vec<OwnedFd>) {
        let mut descriptors = descriptors.into_iter();
        let (Some(workspace), Kind::Command) = (descriptors.next(), run.kind()) else { return };
        let Ok(identity) = self.identity(&run) else { return };
        run.identity = identity;
        let Ok((workspace, home)) = self.place(&mut run, workspace) else { return };
        let files: Vec<OwnedFd> = descriptors.collect();
        let descriptors: Vec<BorrowedFd<'_>> =
            std::iter::once(&workspace).chain(&files).chain(&home).map(|one| one.as_fd()).collect();
        // As above.
        let _ = keeper::start(self.maker, run, &descriptors);
    }

    /// Without a daemon: commands end, and what they planted is found, before their slots do.
    fn finish(&mut self) -> io::Result<()> {
        let until = Instant::now() + LAST_WORDS;
        // The first order ends the command, the second the look at what it left, which otherwise takes its time.
        for _ in 0..2 {
            self.busy.iter().for_each(|busy| busy.body.kill(busy.id));
        }
        for busy in std::mem::take(&mut self.busy) {
            loop {
                let left = Timespec::try_from(until.saturating_duration_since(Instant::now()));
                let mut waiting = [PollFd::from_borrowed_fd(busy.body.as_fd(), PollFlags::IN)];
                let count = poll(&mut waiting, Some(&left.map_err(io::Error::other)?))?;
                let says_more = match &busy.body {
                    Body::Slot(slot) if count > 0 => {
                        matches!(
                            slot.receive(&mut self.buffer),
                            Ok(Some(Reply::Ready(_) | Reply::Network(_)))
                        )
                    }
                    Body::Slot(_) | Body::Resident(_) => false,
                };
                if !says_more {
                    break;
                }
            }
            self.bury(busy.body);
        }
        for slot in std::mem::take(&mut self.warm) {
            self.bury(Body::Slot(slot));
        }
        Ok(())
    }

    fn bury(&mut self, body: Body) {
        // Dropped, it is killed.
        let group = match body {
            Body::Slot(mut slot) => slot.take_group(),
            Body::Resident(mut resident) => resident.take_group(),
        };
        self.maker.bury(group);
    }

    /// Passes on what a slot says.
    fn hear(&mut self, index: usize) -> io::Result<()> {
        let Some(busy) = self.busy.get(index) else { return Ok(()) };
        let reply = match &busy.body {
            Body::Slot(slot) => match slot.receive_whole(&mut self.buffer) {
                Ok(Some((Reply::Ready(_) | Reply::Terminal(_) | Reply::Started(_), _))) => return Ok(()),
                Ok(Some((Reply::Network(_), sockets))) => {
                    let reply = Some(Reply::Network(Network { id: busy.id }));
                    let sockets: Vec<BorrowedFd<'_>> = sockets.iter().map(AsFd::as_fd).collect();
                    return self.daemon.send(&FromBroker { reply, warm: Some(self.warm()) }, &sockets);
                }
                Ok(Some((reply, _))) => reply,
                // The kernel ended it, for lack of memory of the whole host.
                Ok(None) | Err(_) => {
                    Reply::Refused(Refusal::new("slot", "it died").after_start().of(busy.id))
                }
            },
            Body::Resident(_) => Reply::Ended(Ended { id: busy.id, ..Ended::default() }),
        };
        let busy = self.busy.swap_remove(index);
        self.tell(match reply {
            Reply::Refused(refused) => Reply::Refused(Refused { id: busy.id, ..refused }),
            reply => reply,
        })?;
        // Nobody waits for what follows.
        self.bury(busy.body);
        self.fill();
        Ok(())
    }

    fn warm(&self) -> u32 {
        u32::try_from(self.warm.len()).unwrap_or(u32::MAX)
    }

    fn tell(&self, reply: Reply) -> io::Result<()> {
        self.daemon.send(&FromBroker { reply: Some(reply), warm: Some(self.warm()) }, &[])
    }
}
