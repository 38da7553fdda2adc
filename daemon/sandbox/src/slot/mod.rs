//! A slot: pid 1 of its own namespaces. It builds what a command may see, waits for the command, and watches over it.

mod command;
mod quarantine;
mod view;
mod watch;

pub(crate) use view::{SCRATCH, SYSTEM};

use crate::{
    channel::{self, BlockingSocket, Buffer},
    protocol::{Ended, FromBroker, Ready, Refused, Reply, Request, ToBroker},
    syscall,
};
use rustix::process::{DumpableBehavior, Gid, Pid, Signal, Uid, WaitOptions, getgid, getuid, waitpid};
use skynet_core::ErrorKind;
use std::{
    borrow::Cow,
    fmt, fs, io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

/// Why a slot does not run a command.
pub(crate) struct Refusal {
    layer: Cow<'static, str>,
    kind: ErrorKind,
    message: String,
}

impl Refusal {
    /// A layer that cannot be had.
    pub(crate) fn new(layer: &'static str, err: impl fmt::Display) -> Self {
        Self { layer: layer.into(), kind: ErrorKind::Unavailable, message: err.to_string() }
    }

    /// A command that is wrong in itself.
    pub(crate) fn command(kind: ErrorKind, message: String) -> Self {
        Self { layer: "command".into(), kind, message }
    }

    /// As a message about a command.
    pub(crate) fn of(self, id: u64) -> Refused {
        Refused { id, layer: self.layer.into_owned(), message: self.message, kind: self.kind.as_str().into() }
    }
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        let kind = ErrorKind::from_name(&refused.kind);
        Self { layer: refused.layer.into(), kind, message: refused.message }
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
    pub(crate) fn start() -> io::Result<Self> {
        let (ours, theirs) = channel::pair()?;
        // In the slot these would be the overflow ids until the maps are written.
        let (uid, gid) = (getuid(), getgid());
        match syscall::clone_process(syscall::NAMESPACES)? {
            Some(pid) => Ok(Self { pid, socket: BlockingSocket::new(ours) }),
            None => {
                drop(ours);
                live(theirs, uid, gid)
            }
        }
    }

    pub(crate) fn send(&self, message: &ToBroker, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.socket.send(message, descriptors)
    }

    pub(crate) fn receive(&self, buffer: &mut Buffer) -> io::Result<Option<Reply>> {
        let received = self.socket.receive::<FromBroker>(buffer)?;
        Ok(received.and_then(|(message, _)| message.reply))
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
        let _ = rustix::process::kill_process(self.pid, Signal::KILL);
        let _ = waitpid(Some(self.pid), WaitOptions::empty());
    }
}

/// The life of a slot, in its own process.
fn live(socket: OwnedFd, uid: Uid, gid: Gid) -> ! {
    // What the broker had open is for other slots, and their commands would wait for one that holds it.
    let Ok(socket) = syscall::keep_only(socket) else { syscall::exit(1) };
    let socket = BlockingSocket::new(socket);
    let mut buffer = Buffer::default();
    let mut id = 0;
    if let Err(refusal) =
        prepare(&socket, uid, gid).and_then(|view| serve(&socket, &mut buffer, view, &mut id))
    {
        // Without a broker nobody wants to know.
        let _ = tell(&socket, Reply::Refused(refusal.of(id)));
    }
    // Nothing of the broker's may run here: not its destructors, not what it does when it ends.
    syscall::exit(0)
}

fn tell(socket: &BlockingSocket, reply: Reply) -> io::Result<()> {
    socket.send(&FromBroker { reply: Some(reply) }, &[])
}

/// Everything that does not depend on the command.
fn prepare(socket: &BlockingSocket, uid: Uid, gid: Gid) -> Result<view::View, Refusal> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).layer("lifetime")?;
    map_user(uid, gid).layer("user namespace")?;
    // No command can look into this process.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).layer("lifetime")?;
    rustix::process::umask(rustix::fs::Mode::WGRP | rustix::fs::Mode::WOTH);
    rustix::system::sethostname(b"sandbox").layer("uts namespace")?;
    syscall::raise_loopback().layer("network namespace")?;
    let view = view::View::build()?;
    tell(socket, Reply::Ready(Ready {})).layer("lifetime")?;
    Ok(view)
}

/// Maps the user to himself (user_namespaces(7)): he keeps his number and gets none of root's.
fn map_user(uid: Uid, gid: Gid) -> io::Result<()> {
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("{uid} {uid} 1", uid = uid.as_raw()))?;
    fs::write("/proc/self/gid_map", format!("{gid} {gid} 1", gid = gid.as_raw()))
}

fn serve(
    socket: &BlockingSocket,
    buffer: &mut Buffer,
    view: view::View,
    id: &mut u64,
) -> Result<(), Refusal> {
    let received = socket.receive::<ToBroker>(buffer).layer("lifetime")?;
    let Some((ToBroker { request: Some(Request::Run(run)) }, descriptors)) = received else {
        return Ok(());
    };
    *id = run.id;
    let Ok([workspace, stdin, stdout, stderr]) = <[OwnedFd; 4]>::try_from(descriptors) else {
        return Err(Refusal::new("protocol", "a command without its descriptors"));
    };
    let place = view.enter(&run, &workspace)?;
    drop(workspace);
    let guarded = quarantine::Guarded::pin(&place)?;
    let ended = watch::run(socket, buffer, &run, &place, [stdin, stdout, stderr])?;
    let quarantined = guarded.settle(&place)?;
    let ended = Ended { quarantined, ..ended };
    tell(socket, Reply::Ended(ended)).layer("lifetime")
}
