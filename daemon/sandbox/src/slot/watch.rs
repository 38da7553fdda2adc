//! Watches over a command until it, and everything it started, has ended.

use super::{Layer as _, Refusal, command, view::Place};
use crate::{
    channel::{BlockingSocket, Buffer},
    protocol::{Cause, Ended, Run, ToBroker},
};
use nix::sys::{
    resource::{UsageWho, getrusage},
    signal::{SigSet, Signal, kill},
    signalfd::{SfdFlags, SignalFd},
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, WaitOptions, WaitStatus, wait},
};
use std::{
    fs, io,
    os::fd::{AsFd as _, OwnedFd},
    time::{Duration, Instant},
};

/// How often memory is looked at: a command can exceed its limit by what it touches in that time.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Runs the command and says how it ended.
pub(super) fn run(
    socket: &BlockingSocket,
    buffer: &mut Buffer,
    run: &Run,
    place: &Place,
    stdio: [OwnedFd; 3],
) -> Result<Ended, Refusal> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGCHLD);
    signals.thread_block().layer("signals")?;
    let children =
        SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).layer("signals")?;
    let started = Instant::now();
    let deadline = started + Duration::from_millis(run.limits.wall_ms);
    let pid = command::start(run, place, &stdio)?;
    // Whoever reads the output waits for the last writer.
    drop(stdio);
    let (mut cause, mut peak) = (Cause::Itself, 0);
    let status = loop {
        let now = Instant::now();
        if now >= deadline {
            cause = Cause::Time;
            break None;
        }
        let memory = Memory::in_use().layer("memory limit")?;
        peak = peak.max(memory);
        if memory > run.limits.memory_bytes {
            cause = Cause::Memory;
            break None;
        }
        let mut waiting = [
            PollFd::from_borrowed_fd(children.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::IN),
        ];
        let until = Timespec::try_from(LOOK_EVERY.min(deadline - now)).layer("time limit")?;
        match poll(&mut waiting, Some(&until)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(err) => return Err(Refusal::new("lifetime", err)),
        }
        let [_, orders] = &waiting;
        if !orders.revents().is_empty() {
            // Nothing but the order to end it can come, or the end of the broker.
            let _ = socket.receive::<ToBroker>(buffer);
            cause = Cause::Killed;
            break None;
        }
        while let Ok(Some(_)) = children.read_signal() {}
        if let Some(status) = reap(pid, WaitOptions::NOHANG).layer("lifetime")? {
            break Some(status);
        }
    };
    let status = match status {
        Some(status) => {
            kill_all();
            Some(status)
        }
        None => {
            kill_all();
            reap(pid, WaitOptions::empty()).layer("lifetime")?
        }
    };
    // What it started has its parent's number 1 now, and ends with it.
    while !matches!(wait(WaitOptions::empty()), Err(rustix::io::Errno::CHILD)) {}
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
    })
}

/// Everything in the slot but pid 1, which is this.
fn kill_all() {
    // There may be nothing left to kill.
    let _ = kill(nix::unistd::Pid::from_raw(-1), Signal::SIGKILL);
}

/// Buries what has ended; how the command did, if it is among that.
fn reap(pid: Pid, options: WaitOptions) -> io::Result<Option<WaitStatus>> {
    loop {
        match wait(options) {
            Ok(Some((ended, status))) if ended == pid => return Ok(Some(status)),
            Ok(Some(_)) | Err(rustix::io::Errno::INTR) => {}
            Ok(None) | Err(rustix::io::Errno::CHILD) => return Ok(None),
            Err(err) => return Err(err.into()),
        }
    }
}

/// What the processes of the slot hold in memory, in bytes.
struct Memory;

impl Memory {
    fn in_use() -> io::Result<u64> {
        let resident = Self::sum(Self::resident)?;
        // Shared pages are counted once per process. That is quick; what might be too much is looked at closely.
        let in_processes = if resident < Self::CLOSELY { resident } else { Self::sum(Self::proportional)? };
        Ok(in_processes + Self::detached()?)
    }

    const CLOSELY: u64 = 16 << 20;

    /// Of System V segments that no process has attached: columns `nattch` and `rss` of /proc/sysvipc/shm (sysvipc(7)).
    fn detached() -> io::Result<u64> {
        let segments = match fs::read_to_string("/proc/sysvipc/shm") {
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(0),
            segments => segments?,
        };
        let resident = segments.lines().skip(1).filter_map(|line| {
            let columns: Vec<&str> = line.split_whitespace().collect();
            let is_detached = columns.get(6) == Some(&"0");
            columns.get(14).filter(|_| is_detached)?.parse::<u64>().ok()
        });
        Ok(resident.sum())
    }

    fn sum(of: impl Fn(&str) -> Option<u64>) -> io::Result<u64> {
        let mut sum = 0;
        for entry in fs::read_dir("/proc")? {
            let name = entry?.file_name();
            let is_process = |name: &&str| *name != "1" && name.bytes().all(|byte| byte.is_ascii_digit());
            // One that has just ended has none.
            sum += name.to_str().filter(is_process).and_then(&of).unwrap_or_default();
        }
        Ok(sum)
    }

    /// The second field of proc_pid_statm(5), in pages.
    fn resident(pid: &str) -> Option<u64> {
        let statm = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
        let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
        Some(pages * u64::try_from(rustix::param::page_size()).ok()?)
    }

    /// `Pss` of smaps_rollup, in kB (proc_pid_smaps(5)): of what is shared by n processes, the n-th part.
    fn proportional(pid: &str) -> Option<u64> {
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
        let pss = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
        pss.trim().trim_end_matches(" kB").parse::<u64>().ok().map(|kilobytes| kilobytes << 10)
    }
}
