//! Watches over a command until it, and everything it started, has ended.

use super::{Layer as _, Refusal, memory};
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
    protocol::{Cause, Ended, Request, Run, ToBroker},
};
use std::{
    io,
    os::fd::AsFd as _,
    time::{Duration, Instant},
};

/// How often memory is looked at: a command can exceed its limit by what it touches in that time.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How long something else may be looked at in that time.
const LOOK_ASIDE: Duration = Duration::from_millis(2);

/// Looks at something else than the command, for so long.
type LookAside<'a> = &'a mut dyn FnMut(Duration) -> Result<(), Refusal>;

/// Waits for the command `pid` that began at `started`, or ends it, and says how it ended.
pub(super) fn until_the_end(
    socket: &BlockingSocket,
    buffer: &mut Buffer,
    run: &Run,
    pid: Pid,
    started: Instant,
    look_aside: LookAside<'_>,
) -> Result<Ended, Refusal> {
    let mut peak = 0;
    let watched = watch(socket, buffer, run, pid, started, &mut peak, look_aside);
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
    let (cause, _) = watched?;
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).layer("accounting")?;
    let micros = |time: nix::sys::time::TimeVal| {
        u64::try_from(time.tv_sec() * 1_000_000 + time.tv_usec()).unwrap_or_default()
    };
    Ok(Ended {
        id: run.id,
        code: status.and_then(WaitStatus::exit_status),
        signal: status.and_then(WaitStatus::terminating_signal),
        wall_us: u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX),
        cpu_us: micros(usage.user_time()) + micros(usage.system_time()),
        peak_memory_bytes: peak.max(u64::try_from(usage.max_rss()).unwrap_or_default() << 10),
        cause: cause.into(),
        quarantined: Vec::new(),
        quarantined_count: 0,
    })
}

/// Until the command has ended, with its status, or is to be ended.
fn watch(
    socket: &BlockingSocket,
    buffer: &mut Buffer,
    run: &Run,
    pid: Pid,
    started: Instant,
    peak: &mut u64,
    look_aside: LookAside<'_>,
) -> Result<(Cause, Option<WaitStatus>), Refusal> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGCHLD);
    signals.thread_block().layer("signals")?;
    let children =
        SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).layer("signals")?;
    let deadline = started + Duration::from_millis(run.limits.wall_ms);
    loop {
        // After the signal is blocked, so that none is missed.
        if let Some(status) = reap(pid).layer("lifetime")? {
            return Ok((Cause::Itself, Some(status)));
        }
        let now = Instant::now();
        if now >= deadline {
            return Ok((Cause::Time, None));
        }
        let in_use = memory::in_use(run.limits.memory_bytes).layer("memory limit")?;
        *peak = in_use.max(*peak);
        if in_use > run.limits.memory_bytes {
            return Ok((Cause::Memory, None));
        }
        look_aside(LOOK_ASIDE)?;
        let mut waiting = [
            PollFd::from_borrowed_fd(children.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::IN),
        ];
        let until = Timespec::try_from(LOOK_EVERY.min(deadline - now)).layer("time limit")?;
        match poll(&mut waiting, Some(&until)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(err) => return Err(Refusal::new("lifetime", err)),
        }
        let [_, orders] = &waiting;
        if !orders.revents().is_empty() {
            match socket.receive::<ToBroker>(buffer) {
                Ok(Some((ToBroker { request: Some(Request::Signal(number)) }, _))) => signal(pid, number),
                // The order to end it, or the end of whoever gives orders.
                _ => return Ok((Cause::Killed, None)),
            }
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
