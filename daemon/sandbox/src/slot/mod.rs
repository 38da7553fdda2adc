//! A slot: pid 1 of its own namespaces. It builds what a command may see, waits for the command, and watches over it.

mod command;
pub(crate) mod landlock_rules;
mod memory;
mod quarantine;
pub(crate) mod terminal;
mod view;
mod watch;

use crate::{seccomp::Filter, syscall};
use rustix::process::{DumpableBehavior, Gid, Pid, Signal, Uid, getgid, getuid};
use skynet_core::ErrorKind;
use skynet_sandbox::{
    channel::{self, BlockingSocket, Buffer},
    protocol::{Ended, FromBroker, Ready, Refused, Reply, Request, ToBroker},
};
use std::{
    borrow::Cow,
    fmt, fs, io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::Instant,
};

/// Why a slot does not run a command.
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

/// The broker's end of a slot. The slot dies with it.
pub(crate) struct Slot {
    pid: Pid,
    socket: BlockingSocket,
}

impl Slot {
    /// Makes one, which goes on to prepare itself.
    pub(crate) fn start(filter: &Filter) -> io::Result<Self> {
        let (ours, theirs) = channel::pair()?;
        // In the slot these would be the overflow ids until the maps are written.
        let (uid, gid) = (getuid(), getgid());
        match syscall::clone_process(syscall::NAMESPACES)? {
            Some(pid) => Ok(Self { pid, socket: BlockingSocket::new(ours) }),
            None => {
                drop(ours);
                live(theirs, uid, gid, filter)
            }
        }
    }

    pub(crate) fn send(&self, message: &ToBroker, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.socket.send(message, descriptors)
    }

    pub(crate) fn receive(&self, buffer: &mut Buffer) -> io::Result<Option<Reply>> {
        Ok(self.receive_whole(buffer)?.map(|(reply, _)| reply))
    }

    /// With the descriptors of the reply.
    pub(crate) fn receive_whole(&self, buffer: &mut Buffer) -> io::Result<Option<(Reply, Vec<OwnedFd>)>> {
        let received = self.socket.receive::<FromBroker>(buffer)?;
        Ok(received.and_then(|(message, descriptors)| Some((message.reply?, descriptors))))
    }
}

impl AsFd for Slot {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        // Every process of its pid namespace dies with it (pid_namespaces(7)). It may be dead already.
        // The broker buries it when it is gone: that can take a while, and others wait.
        let _ = rustix::process::kill_process(self.pid, Signal::KILL);
    }
}

/// The life of a slot, in its own process.
fn live(socket: OwnedFd, uid: Uid, gid: Gid, filter: &Filter) -> ! {
    // What the broker had open is for other slots, and their commands would wait for one that holds it.
    let Ok(socket) = syscall::keep_only(socket) else { syscall::exit(1) };
    let socket = BlockingSocket::new(socket);
    let mut buffer = Buffer::default();
    let mut id = 0;
    let prepared = prepare(uid, gid);
    if prepared.is_ok() {
        // A broker that is gone learns nothing.
        let _ = tell(&socket, Reply::Ready(Ready {}));
    }
    // A slot that could not be prepared says so to the command that it gets.
    if let Err(refusal) = serve(&socket, &mut buffer, prepared, filter, &mut id) {
        let _ = tell(&socket, Reply::Refused(refusal.of(id)));
    }
    // Nothing of the broker's may run here: not its destructors, not what it does when it ends.
    syscall::exit(0)
}

fn tell(socket: &BlockingSocket, reply: Reply) -> io::Result<()> {
    socket.send(&FromBroker { reply: Some(reply) }, &[])
}

/// Everything that does not depend on the command.
fn prepare(uid: Uid, gid: Gid) -> Result<view::View, Refusal> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).layer("lifetime")?;
    map_user(uid, gid).layer("user namespace")?;
    own_limits().layer("limits")?;
    // No command can look into this process.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).layer("lifetime")?;
    rustix::system::sethostname(b"sandbox").layer("uts namespace")?;
    syscall::raise_loopback().layer("network namespace")?;
    view::View::build()
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
    fs::write("/proc/sys/user/max_user_namespaces", "0")?;
    // If the host runs short of memory, commands go first (proc_pid_oom_score_adj(5)).
    fs::write("/proc/self/oom_score_adj", "1000")
}

fn serve(
    socket: &BlockingSocket,
    buffer: &mut Buffer,
    prepared: Result<view::View, Refusal>,
    filter: &Filter,
    id: &mut u64,
) -> Result<(), Refusal> {
    let received = socket.receive::<ToBroker>(buffer).layer("lifetime")?;
    let Some((ToBroker { request: Some(Request::Run(run)) }, mut descriptors)) = received else {
        return Ok(());
    };
    *id = run.id;
    let without = || Refusal::new("protocol", "a command without its descriptors");
    let workspace = if descriptors.is_empty() { return Err(without()) } else { descriptors.remove(0) };
    let started = Instant::now();
    let place = prepared?.enter(&run, &workspace)?;
    drop(workspace);
    if let Some(size) = run.terminal {
        let (theirs, ours) = terminal::open(size).layer("terminal")?;
        let message = FromBroker { reply: Some(Reply::Terminal(size)) };
        socket.send(&message, &[theirs.as_fd()]).layer("terminal")?;
        descriptors = (0..3).map(|_| ours.try_clone()).collect::<io::Result<_>>().layer("terminal")?;
    }
    let stdio = <[OwnedFd; 3]>::try_from(descriptors).map_err(|_| without())?;
    let mut guarded = quarantine::Guarded::pin(&place.workspace, run.is_alone)?;
    // Not before: below what was pinned, a relative path would lead past it.
    place.go_to_directory()?;
    let pid = command::start(&run, &place, &stdio, filter)?;
    // A terminal stays open: between two programs that have it open it would be gone.
    let _terminal = run.terminal.is_some().then_some(stdio);
    if run.is_kept {
        tell(socket, Reply::Started(Ready {})).layer("lifetime")?;
    }
    let mut look = |longest| if run.is_kept { guarded.look(longest) } else { Ok(()) };
    let ended = watch::until_the_end(socket, buffer, &run, pid, started, &mut look);
    // However it ended.
    let renamed = guarded.settle().map_err(Refusal::after_start)?;
    let (quarantined, quarantined_count) = (renamed.paths, renamed.count);
    let ended = Ended { quarantined, quarantined_count, ..ended.map_err(Refusal::after_start)? };
    tell(socket, Reply::Ended(ended)).layer("lifetime")
}
