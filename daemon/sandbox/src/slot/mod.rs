//! A slot: pid 1 of its own namespaces. It builds what a command may see, waits for the command, and watches over it.
//! Hands of a workspace have one too.

mod allowance;
mod certificates;
mod command;
pub(crate) mod landlock_rules;
mod memory;
mod network;
mod overlay;
mod quarantine;
mod search;
pub(crate) mod terminal;
mod usage;
pub(crate) mod view;
mod watch;
mod worktree;

use crate::{
    child::Child,
    groups::{Gate, Group, Groups},
    identity,
    seccomp::Filters,
    syscall,
};
use allowance::{Allowance, is_ordered_to_end};
use rustix::{
    fs::Mode,
    process::{DumpableBehavior, Gid, Pid, Signal, Uid, getgid, getuid},
};
use skynet_core::ErrorKind;
use skynet_sandbox::{
    channel::{self, BlockingSocket, Buffer},
    protocol::{Ended, FromBroker, Kind, Ready, Refused, Reply, Request, Run, ToBroker},
};
use std::{
    borrow::Cow,
    ffi::OsStr,
    fmt, fs, io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

/// What is protected in a workspace is looked for before a command no longer than this, nor than the command may take.
const PIN_WITHIN: Duration = Duration::from_secs(300);

/// Once it is ordered to end, what a command left is looked through no longer than this: enough for all but what was made
/// to take longer, and less than the broker waits when it ends itself.
const SETTLE_GRACE: Duration = Duration::from_secs(3);

/// Why a slot does not run a command.
#[derive(Debug)]
pub(crate) struct Refusal {
    layer: Cow<'static, str>,
    kind: ErrorKind,
    message: String,
    /// Whether the command ran all the same.
    has_run: bool,
}

impl Refusal {
    /// A layer that cannot be had.
    pub(crate) fn new(layer: &'static str, err: impl fmt::Display) -> Self {
        Self { layer: layer.into(), kind: ErrorKind::Unavailable, message: err.to_string(), has_run: false }
    }

    /// A command that is wrong in itself.
    pub(crate) fn command(kind: ErrorKind, message: String) -> Self {
        Self { layer: "command".into(), kind, message, has_run: false }
    }

    /// Of something that went wrong when the command ran already.
    pub(crate) fn after_start(self) -> Self {
        Self { has_run: true, ..self }
    }

    /// As a message about a command.
    pub(crate) fn of(self, id: u64) -> Refused {
        Refused {
            id,
            layer: self.layer.into_owned(),
            message: self.message,
            kind: self.kind.as_str().into(),
            has_run: self.has_run,
        }
    }
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        let kind = ErrorKind::from_name(&refused.kind);
        Self { layer: refused.layer.into(), kind, message: refused.message, has_run: refused.has_run }
    }
}

/// Names the layer whose making failed.
pub(crate) trait Layer<T> {
    fn layer(self, name: &'static str) -> Result<T, Refusal>;
}

impl<T, E: fmt::Display> Layer<T> for Result<T, E> {
    fn layer(self, name: &'static str) -> Result<T, Refusal> {
        self.map_err(|err| Refusal::new(name, err))
    }
}

/// Makes slots, as copies of the process it is in.
pub(crate) struct Maker {
    filters: Filters,
    /// Where every slot has a control group; without, slots are of the broker's own user, and watched.
    groups: Option<Groups>,
    programs: PathBuf,
}

impl Maker {
    /// One whose slots are held by `groups`, if there are any.
    ///
    /// # Errors
    /// When the filters of system calls cannot be compiled.
    pub(crate) fn new(groups: Option<Groups>) -> io::Result<Self> {
        let program = std::env::current_exe()?;
        let programs = program.parent().unwrap_or(Path::new("/")).to_owned();
        Ok(Self { filters: Filters::compile()?, groups, programs })
    }

    /// Makes a slot, which goes on to prepare itself.
    pub(crate) fn slot(&mut self) -> io::Result<Slot> {
        let (ours, theirs) = channel::pair()?;
        // Before anything of it is shown.
        let etc = state_of_etc()?;
        let group = self.groups.as_mut().map(Groups::make).transpose()?;
        // In the slot these would be the overflow ids until the maps are written.
        let (uid, gid) = (getuid(), getgid());
        let namespaces = if group.is_some() {
            // Root needs no user namespace; that of control groups begins with the slot's own.
            syscall::NAMESPACES & !(libc::CLONE_NEWUSER | libc::CLONE_NEWCGROUP)
        } else {
            syscall::NAMESPACES
        };
        let made = match syscall::clone_process(namespaces, None) {
            Ok(Some(pid)) => Child::hold(pid),
            Ok(None) => {
                drop(ours);
                live(self, theirs, uid, gid, group.as_ref())
            }
            Err(err) => Err(err),
        };
        match made {
            Ok(child) => Ok(Slot { child, socket: BlockingSocket::new(ours), group, etc }),
            Err(err) => {
                self.bury(group);
                Err(err)
            }
        }
    }

    /// Starts a process that asks about the host: it is confined like a command, but sees the host.
    pub(crate) fn host(&mut self, run: &Run, stdio: &[OwnedFd; 3]) -> Result<Resident, Refusal> {
        let group = self.groups.as_mut().map(Groups::make).transpose().layer("control group")?;
        match self.start_host(run, stdio, group.as_ref()) {
            Ok(child) => Ok(Resident { child, group }),
            Err(refusal) => {
                self.bury(group);
                Err(refusal)
            }
        }
    }

    fn start_host(&self, run: &Run, stdio: &[OwnedFd; 3], group: Option<&Group>) -> Result<Child, Refusal> {
        if let Some(group) = group {
            group.limit(run.limits.memory_bytes, run.limits.processes).layer("control group")?;
        }
        let gate = group.map(Group::gate).transpose().layer("control group")?;
        let become_host = || {
            gate.as_ref().map_or(Ok(()), Gate::enter).layer("control group")?;
            if let Some(identity) = &run.identity {
                identity::assume(identity, identity::MOUNTS).layer("identity")?;
            } else {
                rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).layer("lifetime")?;
            }
            rustix::process::chdir("/").layer("directory")?;
            let home = Path::new(OsStr::from_bytes(&run.home));
            let rules = landlock_rules::Rules::of_host(&self.programs, home);
            // It writes nothing.
            command::confine(run, stdio, Mode::RWXG | Mode::RWXO, &rules, self.filters.of(Kind::Host))
        };
        let birthplace = gate.as_ref().and_then(Gate::birthplace);
        let pid = command::start_in(birthplace, run.id, become_host)?;
        Child::hold(pid).layer("lifetime")
    }

    /// What is executed of ours, if it is something of ours.
    pub(crate) fn program(&self, kind: Kind) -> Option<PathBuf> {
        match kind {
            Kind::Command => None,
            Kind::Hands | Kind::Remote => Some(Path::new(view::PROGRAMS).join(view::HANDS)),
            Kind::Models => Some(Path::new(view::PROGRAMS).join(view::MODELS)),
            Kind::Host => Some(self.programs.join(view::HANDS)),
        }
    }

    /// [`Groups::begin_copy`].
    pub(crate) fn begin_copy(&mut self) {
        if let Some(groups) = &mut self.groups {
            groups.begin_copy();
        }
    }

    /// Removes the group of what has ended, as soon as it is empty.
    pub(crate) fn bury(&mut self, group: Option<Group>) {
        if let (Some(groups), Some(group)) = (&mut self.groups, group) {
            groups.end(group);
        }
    }

    /// Whether there is more to bury.
    pub(crate) fn sweep(&mut self) -> bool {
        self.groups.as_mut().is_some_and(Groups::sweep)
    }
}

/// When something in /etc came, went or was replaced last. Accounts and the like are replaced as a whole, and a slot goes on to
/// show those that were there when it was made.
fn state_of_etc() -> io::Result<SystemTime> {
    fs::metadata("/etc")?.modified()
}

/// The broker's end of a slot. The slot dies with it, and with it every process of its pid namespace (pid_namespaces(7)). The
/// broker buries it when it is gone: that can take a while, and others wait.
pub(crate) struct Slot {
    child: Child,
    socket: BlockingSocket,
    group: Option<Group>,
    /// What it was made with.
    etc: SystemTime,
}

impl Slot {
    pub(crate) fn send(&self, message: &ToBroker, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.socket.send(message, descriptors)
    }

    /// Hands it what it is for.
    pub(crate) fn run(&self, run: Run, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        if let Some(group) = &self.group {
            group.limit(run.limits.memory_bytes, run.limits.processes)?;
        }
        self.send(&ToBroker { request: Some(Request::Run(run)) }, descriptors)
    }

    pub(crate) fn receive(&self, buffer: &mut Buffer) -> io::Result<Option<Reply>> {
        Ok(self.receive_whole(buffer)?.map(|(reply, _)| reply))
    }

    /// With the descriptors of the reply.
    pub(crate) fn receive_whole(&self, buffer: &mut Buffer) -> io::Result<Option<(Reply, Vec<OwnedFd>)>> {
        let received = self.socket.receive::<FromBroker>(buffer)?;
        Ok(received.and_then(|(message, descriptors)| Some((message.reply?, descriptors))))
    }

    /// Its first process, which no other of it outlives.
    pub(crate) const fn pid(&self) -> Pid {
        self.child.pid()
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.child.is_alive()
    }

    /// Whether it shows what is in /etc now.
    pub(crate) fn is_of_now(&self) -> bool {
        state_of_etc().is_ok_and(|etc| etc == self.etc)
    }

    pub(crate) const fn take_group(&mut self) -> Option<Group> {
        self.group.take()
    }
}

impl AsFd for Slot {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A process without namespaces of its own; killed when dropped.
pub(crate) struct Resident {
    child: Child,
    group: Option<Group>,
}

impl Resident {
    pub(crate) const fn pid(&self) -> Pid {
        self.child.pid()
    }

    pub(crate) const fn take_group(&mut self) -> Option<Group> {
        self.group.take()
    }

    pub(crate) fn kill(&self) {
        self.child.kill();
    }
}

impl AsFd for Resident {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.child.as_fd()
    }
}

/// The life of a slot, in its own process.
fn live(maker: &Maker, socket: OwnedFd, uid: Uid, gid: Gid, group: Option<&Group>) -> ! {
    // What the broker had open is for other slots, and their commands would wait for one that holds it.
    let Ok(socket) = syscall::keep_only(socket) else { syscall::exit(1) };
    let socket = BlockingSocket::new(socket);
    let mut buffer = Buffer::default();
    let mut id = 0;
    let prepared = prepare(uid, gid, group);
    if prepared.is_ok() {
        // A broker that is gone learns nothing.
        let _ = tell(&socket, Reply::Ready(Ready {}));
    }
    // A slot that could not be prepared says so to the command that it gets.
    if let Err(refusal) = serve(maker, &socket, &mut buffer, prepared, &mut id) {
        let _ = tell(&socket, Reply::Refused(refusal.of(id)));
    }
    // Nothing of the broker's may run here: not its destructors, not what it does when it ends.
    syscall::exit(0)
}

fn tell(socket: &BlockingSocket, reply: Reply) -> io::Result<()> {
    socket.send(&FromBroker::from(reply), &[])
}

/// A slot that lacks only what it is for.
struct Prepared {
    view: view::View,
    /// Where the kernel holds what it runs.
    gate: Option<Gate>,
}

/// Everything that does not depend on the command.
fn prepare(uid: Uid, gid: Gid, group: Option<&Group>) -> Result<Prepared, Refusal> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).layer("lifetime")?;
    // If the host runs short of memory, commands go first (proc_pid_oom_score_adj(5)).
    let first_to_go = || fs::write("/proc/self/oom_score_adj", "1000");
    if group.is_none() {
        map_user(uid, gid).layer("user namespace")?;
        own_limits().layer("limits")?;
    }
    first_to_go().layer("limits")?;
    let gate = group.map(Group::gate).transpose().layer("control group")?;
    // No command can look into this process.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).layer("lifetime")?;
    rustix::system::sethostname(b"sandbox").layer("uts namespace")?;
    syscall::raise_loopback().layer("network namespace")?;
    Ok(Prepared { view: view::View::build()?, gate })
}

/// Maps the user to himself (user_namespaces(7)): he keeps his number and gets none of root's.
fn map_user(uid: Uid, gid: Gid) -> io::Result<()> {
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("{uid} {uid} 1", uid = uid.as_raw()))?;
    fs::write("/proc/self/gid_map", format!("{gid} {gid} 1", gid = gid.as_raw()))
}

/// Where all programs of the user would otherwise share one limit with the slot.
fn own_limits() -> io::Result<()> {
    // Of this user namespace alone (namespaces(7), /proc/sys/user).
    fs::write("/proc/sys/user/max_inotify_instances", "64")?;
    fs::write("/proc/sys/user/max_user_namespaces", "0")
}

fn serve(
    maker: &Maker,
    socket: &BlockingSocket,
    buffer: &mut Buffer,
    prepared: Result<Prepared, Refusal>,
    id: &mut u64,
) -> Result<(), Refusal> {
    let received = socket.receive::<ToBroker>(buffer).layer("lifetime")?;
    let Some((ToBroker { request: Some(Request::Run(run)) }, descriptors)) = received else {
        return Ok(());
    };
    *id = run.id;
    let mut descriptors = descriptors.into_iter();
    let mut next =
        || descriptors.next().ok_or_else(|| Refusal::new("protocol", "a command without its descriptors"));
    let mut stdio = [next()?, next()?, next()?];
    let workspace = (run.kind() != Kind::Models).then(&mut next).transpose()?;
    let preview = run.is_preview.then(&mut next).transpose()?;
    let certificates = run.has_certificates.then(&mut next).transpose()?;
    let home = descriptors.next();
    let started = Instant::now();
    let Prepared { view, gate } = prepared?;
    // While there is the right to take any port.
    let dialer = network::open(socket, &run).layer("network")?;
    certificates.map_or(Ok(()), certificates::write).layer("certificates")?;
    let place = view.enter(&run, workspace.as_ref(), home.as_ref(), &maker.programs)?;
    drop((workspace, home));
    if let Some(size) = run.terminal {
        let (theirs, ours) = terminal::open(size).layer("terminal")?;
        let message = FromBroker::from(Reply::Terminal(size));
        socket.send(&message, &[theirs.as_fd()]).layer("terminal")?;
        let copy = || ours.try_clone().layer("terminal");
        stdio = [copy()?, copy()?, copy()?];
    }
    let mut guarded = match run.kind() {
        Kind::Command if !run.is_apart => {
            let limit = Some(run.limits.wall_ms).filter(|limit| *limit > 0).map(Duration::from_millis);
            let mut is_ended = || is_ordered_to_end(socket, buffer);
            let until = started + limit.map_or(PIN_WITHIN, |limit| limit.min(PIN_WITHIN));
            let mut allowance = Allowance::new(until, &mut is_ended, Duration::ZERO);
            let own = std::iter::once(&place.workspace).chain(&place.linked);
            own.map(|root| quarantine::Guarded::pin(root, run.is_alone, &mut allowance))
                .collect::<Result<Vec<_>, _>>()?
        }
        // What hands may not write there, the tools refuse by name.
        Kind::Command | Kind::Hands | Kind::Host | Kind::Remote | Kind::Models => Vec::new(),
    };
    // Not before: below what was pinned, a relative path would lead past it.
    place.go_to_directory()?;
    let pid = command::start(&run, &place, gate.as_ref(), &stdio, maker.filters.of(run.kind()))?;
    // A terminal stays open: between two programs that have it open it would be gone. Of other streams the other ends
    // are told when the command closes them.
    let _terminal = run.terminal.is_some().then_some(stdio);
    if run.is_kept {
        tell(socket, Reply::Started(Ready {})).layer("lifetime")?;
    }
    let mut look = |longest| {
        if run.is_kept { quarantine::look(&mut guarded, longest) } else { Ok(()) }
    };
    let orders = watch::Orders { socket, dialer: dialer.as_ref() };
    let ended = watch::until_the_end(&orders, buffer, &run, gate.as_ref(), pid, started, &mut look);
    // However it ended.
    let mut renamed = quarantine::Renamed::default();
    let mut settled = Ok(());
    // Heard once, it is for all of them.
    let mut is_ordered = false;
    for guarded in guarded {
        let mut is_ended = || {
            is_ordered = is_ordered || is_ordered_to_end(socket, buffer);
            is_ordered
        };
        let mut allowance = Allowance::new(guarded.settle_until(), &mut is_ended, SETTLE_GRACE);
        let (also_renamed, also_settled) = guarded.settle(&mut allowance);
        renamed.join(also_renamed);
        settled = settled.and(also_settled);
    }
    settled.map_err(Refusal::after_start)?;
    if let (Some(overlay), Some(file)) = (&place.overlay, preview) {
        let collected = overlay.collect(file.into()).layer("preview");
        collected.map_err(Refusal::after_start)?;
    }
    let (quarantined, quarantined_count) = (renamed.paths, renamed.count);
    let ended = Ended { quarantined, quarantined_count, ..ended.map_err(Refusal::after_start)? };
    tell(socket, Reply::Ended(ended)).layer("lifetime")
}
