//! What a command has used up: processor time, and what it wrote to disks. No layer of the kernel holds either for a whole
//! slot, so both are added up now and then.

use super::memory::sum;
use nix::{
    sys::{
        resource::{UsageWho, getrusage},
        statvfs::{Statvfs, statvfs},
    },
    unistd::{SysconfVar, sysconf},
};
use skynet_sandbox::protocol::{Cause, Kind, Run};
use std::{
    fs, io,
    time::{Duration, Instant},
};

/// How often it is looked: a command can exceed its limits by what it uses in that time.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Of a disk, this part stays free for others: a 64th of its blocks, and of its files.
const FREE_PART: u64 = 64;

/// What has been used up.
pub(super) struct Usage {
    cpu: Option<Duration>,
    disk_bytes: Option<u64>,
    /// Whether the workspace, which is where the command starts, had room then.
    had_room: bool,
    looked_at: Instant,
}

impl Usage {
    pub(super) fn of(run: &Run) -> io::Result<Self> {
        let is_command = run.kind() == Kind::Command;
        let limit = |value: u64| Some(value).filter(|value| is_command && *value > 0);
        let disk_bytes = limit(run.limits.disk_bytes);
        Ok(Self {
            cpu: limit(run.limits.cpu_ms).map(Duration::from_millis),
            disk_bytes,
            had_room: disk_bytes.is_some() && has_room()?,
            looked_at: Instant::now(),
        })
    }

    pub(super) fn look_every(&self) -> Option<Duration> {
        (self.cpu.is_some() || self.disk_bytes.is_some()).then_some(LOOK_EVERY)
    }

    /// What there is too much of, if it is time to look.
    pub(super) fn is_too_much(&mut self, now: Instant) -> io::Result<Option<Cause>> {
        if now < self.looked_at + LOOK_EVERY {
            return Ok(None);
        }
        self.looked_at = now;
        if let Some(limit) = self.cpu
            && cpu()? > limit
        {
            return Ok(Some(Cause::Cpu));
        }
        let Some(limit) = self.disk_bytes else { return Ok(None) };
        // What is set aside by fallocate(2) is not written, but missing.
        let is_too_much = written()? > limit || (self.had_room && !has_room()?);
        Ok(is_too_much.then_some(Cause::Disk))
    }
}

/// Of all that runs and of all that ran: a process has the time of the children it waited for, this one too
/// (proc_pid_stat(5), fields 14 to 17).
fn cpu() -> io::Result<Duration> {
    let ticks = sum(|pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name of the program before it may hold anything.
        let (_, fields) = stat.rsplit_once(')')?;
        fields.split_whitespace().skip(11).take(4).map(|ticks| ticks.parse::<u64>().ok()).sum()
    })?;
    let per_second = sysconf(SysconfVar::CLK_TCK)?.and_then(|ticks| u64::try_from(ticks).ok()).unwrap_or(100);
    let waited_for = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let micros = [waited_for.user_time(), waited_for.system_time()]
        .map(|time| u64::try_from(time.tv_sec() * 1_000_000 + time.tv_usec()).unwrap_or_default());
    Ok(Duration::from_millis(ticks * 1000 / per_second) + Duration::from_micros(micros.into_iter().sum()))
}

/// The same for what they had written to disks, less what was removed before it got there (proc_pid_io(5)).
fn written() -> io::Result<u64> {
    let own = of_process("self").unwrap_or_default();
    Ok(own + sum(of_process)?)
}

fn of_process(pid: &str) -> Option<u64> {
    let io = fs::read_to_string(format!("/proc/{pid}/io")).ok()?;
    let field = |name: &str| {
        io.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")?.parse::<u64>().ok())
    };
    Some(field("write_bytes")?.saturating_sub(field("cancelled_write_bytes")?))
}

fn has_room() -> io::Result<bool> {
    let disk: Statvfs = statvfs(".")?;
    // A filesystem that has no numbers for one of them has zeros.
    let is_free = |free: u64, all: u64| free >= all / FREE_PART;
    Ok(is_free(disk.blocks_available(), disk.blocks()) && is_free(disk.files_available(), disk.files()))
}
