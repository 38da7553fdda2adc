//! Control groups: in each slot the kernel itself holds memory and processes (cgroups(7)).
//!
//! Both versions are served, and hosts on which one controller is of the one and one of the other. What cgroups-rs is
//! not asked for is where the groups are, which it guesses, and who is in them: a slot is born in its group, or enters
//! it by its own hand, because moving another process waits until all processors have taken notice.

use cgroups_rs::fs::{
    Controller as _, MaxValue,
    hierarchies::{self, V1},
    memory::MemController,
    pid::PidController,
};
use nix::sched::{CloneFlags, unshare};
use std::{
    fs::{self, File, TryLockError},
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::FileExt as _,
    },
    path::{Path, PathBuf},
};

/// The group that holds those of all slots.
const PARENT: &str = "skynet-slots";

/// Of version 2, that group's place at the top of the hierarchy. Not below the group of the broker's unit: a group with
/// controllers for others below may hold no process (cgroups(7), "no internal processes"), so the broker could not be
/// started again while the groups of jobs are there.
const TOP: &str = "skynet";

/// How many names are tried for a group.
const ATTEMPTS: usize = 8;

/// Where this process may make groups.
pub(crate) struct Groups {
    memory: PathBuf,
    pids: PathBuf,
    is_v2: bool,
    /// Makes names that no other broker gives: those in containers may share the hierarchy, and the number of a process. A
    /// keeper, which is a copy of its broker, has the same one, and a number of its own.
    prefix: String,
    next: u64,
    /// Groups whose last process is just ending.
    ending: Vec<Group>,
}

impl Groups {
    /// Below the group of this process, or in one place for the whole host. What a broker of before left there is removed.
    ///
    /// # Errors
    /// When memory and processes cannot be held.
    pub(crate) fn claim() -> io::Result<Self> {
        let is_v2 = hierarchies::is_cgroup2_unified_mode();
        let (memory, pids) = if is_v2 {
            let parent = unified()?;
            (parent.clone(), parent)
        } else {
            (separate(cgroups_rs::fs::Controllers::Mem)?, separate(cgroups_rs::fs::Controllers::Pids)?)
        };
        for parent in [&memory, &pids] {
            for entry in fs::read_dir(parent)? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    remove_left(&entry.path());
                }
            }
        }
        let prefix = format!("{:08x}", getrandom::u32()?);
        Ok(Self { memory, pids, is_v2, prefix, next: 1, ending: Vec::new() })
    }

    /// A new group.
    pub(crate) fn make(&mut self) -> io::Result<Group> {
        for _ in 0..ATTEMPTS {
            let name = format!("{}-{}-{}", self.prefix, std::process::id(), self.next);
            self.next += 1;
            let memory = MemController::new(self.memory.join(&name), PathBuf::new(), self.is_v2);
            let pids = PidController::new(self.pids.join(&name), PathBuf::new(), self.is_v2);
            let created = memory.create().and_then(|()| pids.create()).map_err(io::Error::other);
            let held = created.and_then(|()| Ok((hold(memory.path())?, hold(pids.path())?)));
            if let Ok((Some(of_memory), Some(of_pids))) = held {
                return Ok(Group { memory, pids, is_v2: self.is_v2, _held: [of_memory, of_pids] });
            }
            for half in [memory.path(), pids.path()] {
                let _ = fs::remove_dir(half);
            }
            held?;
        }
        Err(io::Error::other("somebody else takes each new control group"))
    }

    /// What a copy of the process that made these does first: what ends there is not its own to remove, and the files that
    /// hold it are closed here already.
    pub(crate) fn begin_copy(&mut self) {
        std::mem::forget(std::mem::take(&mut self.ending));
    }

    /// Removes a group as soon as nobody is in it.
    pub(crate) fn end(&mut self, group: Group) {
        self.ending.push(group);
    }

    /// Whether there are still some to remove.
    pub(crate) fn sweep(&mut self) -> bool {
        // One in which a process is still ending is busy.
        self.ending.retain(|group| group.remove().is_err());
        !self.ending.is_empty()
    }
}

/// Keeps a group from other brokers, for as long as the file is open: in no group of version 1 is a process until a
/// command enters it, so an empty one is not yet one that was left. `None` where somebody was faster.
fn hold(group: &Path) -> io::Result<Option<File>> {
    let held = match File::open(group) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    match held.try_lock_shared() {
        Err(TryLockError::Error(err)) => Err(err),
        Err(TryLockError::WouldBlock) => Ok(None),
        Ok(()) => Ok(group.exists().then_some(held)),
    }
}

/// Removes a group that no broker holds. One with processes in it stays: they are jobs, or will soon be gone.
fn remove_left(group: &Path) {
    if File::open(group).is_ok_and(|held| held.try_lock().is_ok()) {
        let _ = fs::remove_dir(group);
    }
}

/// Version 2: one hierarchy. In its root a process may be beside groups; in that of a container it may not.
fn unified() -> io::Result<PathBuf> {
    let root = Path::new(hierarchies::UNIFIED_MOUNTPOINT);
    let top = root.join(TOP);
    let parent = top.join(PARENT);
    fs::create_dir_all(&parent)?;
    for at in [root, &top, &parent] {
        fs::write(at.join("cgroup.subtree_control"), "+memory +pids").map_err(|err| {
            let at = at.display();
            io::Error::other(format!("`{at}` hands no memory and processes on to groups below: {err}"))
        })?;
    }
    Ok(parent)
}

/// Version 1: a hierarchy for each controller.
fn separate(controller: cgroups_rs::fs::Controllers) -> io::Result<PathBuf> {
    let name = controller.to_string();
    let missing = || io::Error::other(format!("the controller `{name}` is not mounted"));
    let (mount, root) = V1::new().get_mount_point(controller).ok_or_else(missing)?;
    let all = cgroups_rs::fs::cgroup::get_cgroups_relative_paths().map_err(io::Error::other)?;
    let own = Path::new(all.get(&name).ok_or_else(missing)?);
    // In a container the root of the mount is a part of the hierarchy.
    let own = own.strip_prefix(&root).or_else(|_| own.strip_prefix("/")).map_err(io::Error::other)?;
    let parent = mount.join(own).join(PARENT);
    fs::create_dir_all(&parent)?;
    Ok(parent)
}

/// The group of one slot: of what it runs, and not of the process that watches over that. Where a group has no memory
/// left, each process in it may be ended.
pub(crate) struct Group {
    memory: MemController,
    pids: PidController,
    is_v2: bool,
    _held: [File; 2],
}

impl Group {
    /// Opens it for a process that will not see the groups.
    pub(crate) fn gate(&self) -> io::Result<Gate> {
        let [peak, events] = if self.is_v2 {
            ["memory.peak", "memory.events"]
        } else {
            ["memory.max_usage_in_bytes", "memory.oom_control"]
        };
        let open = |name: &str| File::open(self.memory.path().join(name));
        let enter = |path: &Path| File::options().write(true).open(path.join("tasks"));
        Ok(Gate {
            // `memory.peak` came with Linux 5.19.
            peak: open(peak).or_else(|_| open("memory.current"))?,
            events: open(events)?,
            entries: if self.is_v2 {
                Vec::new()
            } else {
                vec![enter(self.memory.path())?, enter(self.pids.path())?]
            },
            // Anew: what the broker had open is closed in a slot.
            directory: self.is_v2.then(|| File::open(self.memory.path())).transpose()?,
        })
    }

    /// Holds everything in it together to so many bytes, and processes and threads.
    pub(crate) fn limit(&self, memory_bytes: u64, processes: u64) -> io::Result<()> {
        let number = |number: u64| i64::try_from(number).map_err(io::Error::other);
        self.memory.set_limit(number(memory_bytes)?).map_err(io::Error::other)?;
        // Not every kernel counts swap, and where there is none it needs no limit.
        let swap = if self.is_v2 { 0 } else { number(memory_bytes)? };
        let _ = self.memory.set_memswap_limit(swap);
        self.pids.set_pid_max(MaxValue::Value(number(processes)?)).map_err(io::Error::other)
    }

    fn remove(&self) -> io::Result<()> {
        for half in [self.memory.path(), self.pids.path()] {
            match fs::remove_dir(half) {
                // The same directory in version 2, and one that went before the other was empty or that somebody else removed.
                Err(err) if err.kind() == io::ErrorKind::NotFound => {}
                removed => removed?,
            }
        }
        Ok(())
    }
}

/// The way into a group, and what is counted there.
pub(crate) struct Gate {
    peak: File,
    events: File,
    /// Of version 1: one for each controller.
    entries: Vec<File>,
    /// Of version 2, to be born in.
    directory: Option<File>,
}

impl Gate {
    /// What clone3(2) takes, where it can.
    pub(crate) fn birthplace(&self) -> Option<BorrowedFd<'_>> {
        self.directory.as_ref().map(AsFd::as_fd)
    }

    /// Puts this process into the group, unless it was born there, and hides where that is.
    pub(crate) fn enter(&self) -> io::Result<()> {
        for entry in &self.entries {
            entry.write_at(b"0", 0)?;
        }
        Ok(unshare(CloneFlags::CLONE_NEWCGROUP)?)
    }

    /// The most bytes it had.
    pub(crate) fn peak(&self) -> io::Result<u64> {
        read(&self.peak)?.trim().parse().map_err(io::Error::other)
    }

    /// How many of its processes the kernel ended for lack of memory.
    pub(crate) fn killed(&self) -> io::Result<u64> {
        let events = read(&self.events)?;
        let count = events.lines().find_map(|line| line.strip_prefix("oom_kill "));
        count.unwrap_or("0").trim().parse().map_err(io::Error::other)
    }
}

fn read(file: &File) -> io::Result<String> {
    let mut buffer = [0; 512];
    let length = file.read_at(&mut buffer, 0)?;
    Ok(String::from_utf8_lossy(buffer.get(..length).unwrap_or_default()).into_owned())
}
