//! What a slot holds in memory, added up where no cgroup does.

use nix::unistd::{SysconfVar, sysconf};
use std::{fs, io, path::Path};

/// What everything in the slot but this process holds, in bytes.
///
/// Shared pages are counted once per process. That is quick; only where it comes to more than `limit` is it looked at
/// closely.
pub(super) fn in_use(limit: u64) -> io::Result<u64> {
    let besides = detached()? + scratch()?;
    let resident = sum(resident)?;
    if resident + besides <= limit {
        return Ok(resident + besides);
    }
    Ok(sum(|pid| proportional(pid).or_else(|| self::resident(pid)))? + besides)
}

/// Over the processes of the slot but this one.
pub(super) fn sum(of: impl Fn(&str) -> Option<u64>) -> io::Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let is_process = |name: &&str| *name != "1" && name.bytes().all(|byte| byte.is_ascii_digit());
        // One that has just ended has none.
        sum += name.to_str().filter(is_process).and_then(&of).unwrap_or_default();
    }
    Ok(sum)
}

/// The second field of proc_pid_statm(5), in pages. Of a process whose first thread has ended the other threads tell.
fn resident(pid: &str) -> Option<u64> {
    let of = |path: &Path| -> Option<u64> {
        let statm = fs::read_to_string(path.join("statm")).ok()?;
        let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
        Some(pages * page_bytes()?)
    };
    let process = Path::new("/proc").join(pid);
    match of(&process)? {
        0 => fs::read_dir(process.join("task")).ok()?.filter_map(|task| of(&task.ok()?.path())).max(),
        bytes => Some(bytes),
    }
}

/// Asked of the C library, which has it from the beginning: rustix reads it from /proc on kernels before Linux 6.4, where
/// this process, into which nobody may look, cannot look either.
fn page_bytes() -> Option<u64> {
    u64::try_from(sysconf(SysconfVar::PAGE_SIZE).ok()??).ok()
}

/// `Pss` of smaps_rollup, in kB (proc_pid_smaps(5)): of what is shared by n processes, the n-th part.
fn proportional(pid: &str) -> Option<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let pss = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    let kilobytes = pss.trim().trim_end_matches(" kB").parse::<u64>().ok()?;
    Some(kilobytes << 10).filter(|bytes| *bytes > 0)
}

/// Of System V segments that no process has attached: columns `nattch` and `rss` of /proc/sysvipc/shm (sysvipc(7)).
fn detached() -> io::Result<u64> {
    let segments = match fs::read_to_string("/proc/sysvipc/shm") {
        // A kernel without them.
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

/// The one tmpfs of all scratch directories.
fn scratch() -> io::Result<u64> {
    let stat = rustix::fs::statvfs("/tmp")?;
    Ok((stat.f_blocks - stat.f_bfree) * stat.f_frsize)
}
