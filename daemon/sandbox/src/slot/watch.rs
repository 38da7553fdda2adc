//! Watches over a command until it, and everything it started, has ended.

use super::{Layer as _, Refusal, memory, network::Dialer, usage::Usage};
use crate::groups::Gate;
use nix::sys::{
    resource::{UsageWho, getrusage},
    signal::{SigSet, Signal, kill},
    signalfd::{SfdFlags, SignalFd},
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::{Pid, WaitOptions, WaitStatus, wait},
};
use skynet_sandbox::{
    channel::{BlockingSocket, Buffer},
    protocol::{Cause, Ended, Kind, Request, Run, ToBroker},
};
use std::{
    io,
    os::fd::AsFd as _,
    time::{Duration, Instant},
};

/// How often memory is looked at where nothing else holds it: a command can exceed its limit by what it touches in that
/// time.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How long something else may be looked at in that time.
const LOOK_ASIDE: Duration = Duration::from_millis(2);

/// Looks at something else than the command, for so long.
type LookAside<'a> = &'a mut dyn FnMut(Duration) -> Result<(), Refusal>;
/// How often it is looked whether the kernel ended a process of the command for lack of memory, so that the others end
/// too.
const ASK_EVERY: Duration = Duration::from_millis(200);

/// Whom a slot listens to.
pub(super) struct Orders<'a> {
    /// Whoever holds the slot.
    pub(super) socket: &'a BlockingSocket,
    /// Whoever connects to what listens in it.
    pub(super) dialer: Option<&'a Dialer>,
}

/// Waits for the command `pid` that began at `started`, or ends it, and says how it ended.
pub(super) fn until_the_end(
    orders: &Orders<'_>,
    buffer: &mut Buffer,
    run: &Run,
    gate: Option<&Gate>,
    pid: Pid,
    started: Instant,
    look_aside: LookAside<'_>,
) -> Result<Ended, Refusal> {
    let mut memory = match gate {
        _ if run.kind() != Kind::Command => Memory::NotWatched,
        Some(gate) => Memory::Held(gate),
        None => Memory::Watched { peak: 0 },
    };
    let watched = watch(orders, buffer, run, pid, started, &mut memory, look_aside);
    // Whatever happened: what it started has its parent's number 1 now, and ends with it.
    kill_all();
    let mut status = watched.as_ref().ok().and_then(|(_, status)| *status);
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((ended, how))) if ended == pid => status = Some(how),
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => break,
        }
    }
    let (mut cause, _) = watched?;
    if let (Cause::Itself, Memory::Held(gate)) = (cause, &memory)
        && gate.killed().layer("memory limit")? > 0
    {
        cause = Cause::Memory;
    }
    let signal = status.and_then(WaitStatus::terminating_signal);
    if cause == Cause::Itself && run.limits.disk_bytes > 0 && signal == Some(libc::SIGXFSZ) {
        // By the kernel: a file of it was to be larger than all that it may write.
        cause = Cause::Disk;
    }
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).layer("accounting")?;
    let micros = |time: nix::sys::time::TimeVal| {
        u64::try_from(time.tv_sec() * 1_000_000 + time.tv_usec()).unwrap_or_default()
    };
    Ok(Ended {
        id: run.id,
        code: status.and_then(WaitStatus::exit_status),
        signal,
        wall_us: u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX),
        cpu_us: micros(usage.user_time()) + micros(usage.system_time()),
        peak_memory_bytes: memory.peak().max(u64::try_from(usage.max_rss()).unwrap_or_default() << 10),
        cause: cause.into(),
        quarantined: Vec::new(),
        quarantined_count: 0,
    })
}

/// Until the command has ended, with its status, or is to be ended.
fn watch(
    orders: &Orders<'_>,
    buffer: &mut Buffer,
    run: &Run,
    pid: Pid,
    started: Instant,
    memory: &mut Memory<'_>,
    look_aside: LookAside<'_>,
) -> Result<(Cause, Option<WaitStatus>), Refusal> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGCHLD);
    signals.thread_block().layer("signals")?;
    let children =
        SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).layer("signals")?;
    let mut usage = Usage::of(run).layer("limits")?;
    let limit = Some(run.limits.wall_ms).filter(|limit| *limit > 0);
    let deadline = limit.map(|limit| started + Duration::from_millis(limit));
    let mut dialer = orders.dialer;
    loop {
        // After the signal is blocked, so that none is missed.
        if let Some(status) = reap(pid).layer("lifetime")? {
            return Ok((Cause::Itself, Some(status)));
        }
        let now = Instant::now();
        if deadline.is_some_and(|deadline| now >= deadline) {
            return Ok((Cause::Time, None));
        }
        if memory.is_too_much(run.limits.memory_bytes).layer("memory limit")? {
            return Ok((Cause::Memory, None));
        }
        if let Some(cause) = usage.is_too_much(now).layer("limits")? {
            return Ok((cause, None));
        }
        look_aside(LOOK_ASIDE)?;
        let sources =
            [children.as_fd(), orders.socket.as_fd()].into_iter().chain(dialer.map(|one| one.as_fd()));
        let mut waiting: Vec<PollFd<'_>> =
            sources.map(|source| PollFd::from_borrowed_fd(source, PollFlags::IN)).collect();
        let left = deadline.map(|deadline| deadline - now);
        let until = left.into_iter().chain(memory.look_every()).chain(usage.look_every()).min();
        let until = until.map(Timespec::try_from).transpose().layer("time limit")?;
        match poll(&mut waiting, until.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(err) => return Err(Refusal::new("lifetime", err)),
        }
        let mut is_ready = waiting.iter().map(|one| !one.revents().is_empty()).skip(1);
        let (is_ordered, is_dialed) = (is_ready.next() == Some(true), is_ready.next() == Some(true));
        if is_ordered {
            match orders.socket.receive::<ToBroker>(buffer) {
                Ok(Some((ToBroker { request: Some(Request::Signal(number)) }, _))) => signal(pid, number),
                // The order to end it, or the end of whoever gives orders.
                _ => return Ok((Cause::Killed, None)),
            }
        }
        if is_dialed {
            dialer = dialer.filter(|dialer| dialer.answer(buffer));
        }
        while let Ok(Some(_)) = children.read_signal() {}
    }
}

/// The command, and what it started without giving it a group of its own. It is not buried yet, so the number is its own.
fn signal(pid: Pid, number: i32) {
    if let Ok(signal) = Signal::try_from(number) {
        // What has just ended needs none.
        let _ = nix::sys::signal::killpg(nix::unistd::Pid::from_raw(pid.as_raw_nonzero().get()), signal);
    }
}

/// Who sees to it that a command does not take too much.
enum Memory<'a> {
    /// The kernel, in a control group.
    Held(&'a Gate),
    /// This process, with the most that it saw.
    Watched { peak: u64 },
    /// Nobody: hands do what tools do.
    NotWatched,
}

impl Memory<'_> {
    fn is_too_much(&mut self, limit: u64) -> io::Result<bool> {
        match self {
            Self::Held(gate) => Ok(gate.killed()? > 0),
            Self::Watched { peak } => {
                let in_use = memory::in_use(limit)?;
                *peak = in_use.max(*peak);
                Ok(in_use > limit)
            }
            Self::NotWatched => Ok(false),
        }
    }

    const fn look_every(&self) -> Option<Duration> {
        match self {
            Self::Held(_) => Some(ASK_EVERY),
            Self::Watched { .. } => Some(LOOK_EVERY),
            Self::NotWatched => None,
        }
    }

    fn peak(&self) -> u64 {
        match self {
            // What is not known is not more than what the processes tell.
            Self::Held(gate) => gate.peak().unwrap_or_default(),
            Self::Watched { peak } => *peak,
            Self::NotWatched => 0,
        }
    }
}

/// Everything in the slot but pid 1, which is this.
fn kill_all() {
    // There may be nothing left to kill.
    let _ = kill(nix::unistd::Pid::from_raw(-1), Signal::SIGKILL);
}

/// Buries what has ended; how the command did, if it is among that.
fn reap(pid: Pid) -> io::Result<Option<WaitStatus>> {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((ended, status))) if ended == pid => return Ok(Some(status)),
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) | Err(Errno::CHILD) => return Ok(None),
            Err(err) => return Err(err.into()),
        }
    }
}
