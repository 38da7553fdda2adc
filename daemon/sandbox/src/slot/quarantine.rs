//! What other programs of the user run or trust, such as the hooks of a repository, is not for a command to write.
//!
//! What is there is mounted read-only onto itself, and each directory on the way to it onto itself, so that none can be
//! renamed away. What a command leaves under such a name is renamed before anyone is told that the command ended.
//!
//! Directories are reached by descriptors, a few names at a time, because a path may be longer than the kernel takes, and
//! whatever other commands do in the same workspace meanwhile.

use super::{
    Layer as _, Refusal,
    view::{pin, split},
};
use rustix::{
    fs::{
        AtFlags, Dir, FileType, Mode, OFlags, RenameFlags, ResolveFlags, StatxFlags, openat2, renameat_with,
        statx,
    },
    io::Errno,
};
use skynet_core::reserved;
use std::{
    collections::BTreeSet,
    ffi::{OsStr, OsString},
    io,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::{Path, PathBuf},
};

/// Within a repository: programs that Git runs, what names them, and what leads to another repository
/// (gitrepository-layout(5), git-config(1)).
const IN_REPOSITORY: [&str; 6] = ["commondir", "config", "config.worktree", "hooks", "modules", "worktrees"];

const REPOSITORY: &str = ".git";

/// With these a directory is a repository whose other parts are elsewhere.
const LINKED_REPOSITORY: [&str; 2] = ["HEAD", "commondir"];

/// The kernel takes paths of up to 4096 bytes (path_resolution(7)).
const LONGEST_STEP: usize = 2048;

type Result<T> = std::result::Result<T, Errno>;

/// What is under a protected name: its path from the workspace, and what tells it from another of that path.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Found {
    path: PathBuf,
    inode: u64,
    /// When it was made, of a link when it was changed, in seconds and nanoseconds: a number is given again, a moment
    /// is not.
    since: (i64, u32),
    is_link: bool,
}

/// What was there before the command.
pub(super) struct Guarded {
    root: OwnedFd,
    found: BTreeSet<Found>,
    is_alone: bool,
}

impl Guarded {
    /// Finds it, and makes it read-only for this slot. `is_alone` says that no other command was under way here.
    pub(super) fn pin(workspace: &Path, is_alone: bool) -> std::result::Result<Self, Refusal> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(workspace, flags, Mode::empty()).layer("protected names")?;
        let found = find(&root).layer("protected names")?;
        let mut pinned = BTreeSet::new();
        for one in &found {
            let above = one.path.ancestors().skip(1).filter(|above| *above != Path::new(""));
            let above: Vec<&Path> = above.filter(|above| !pinned.contains(*above)).collect();
            for directory in above.into_iter().rev() {
                pin_at(&root, directory, 0).layer("protected names")?;
                pinned.insert(directory.to_owned());
            }
            // A link cannot be mounted over. One that is replaced is another one.
            if !one.is_link {
                pin_at(&root, &one.path, libc::MOUNT_ATTR_RDONLY).layer("protected names")?;
            }
        }
        Ok(Self { root, found, is_alone })
    }

    /// Renames what the command left; the paths it had, relative to the workspace.
    pub(super) fn settle(self) -> std::result::Result<Vec<Vec<u8>>, Refusal> {
        let now = find(&self.root).layer("quarantine")?;
        let mut renamed = Vec::new();
        // Inner ones first, while the paths of all are as they were found.
        let is_new = |one: &&Found| !self.found.contains(one) && !self.is_the_users(one);
        for one in now.iter().rev().filter(is_new) {
            match set_aside(&self.root, &one.path) {
                Ok(()) => renamed.push(one.path.as_os_str().as_bytes().to_vec()),
                // Another command took it away.
                Err(Errno::NOENT | Errno::NOTDIR) => {}
                Err(err) => {
                    let what = format!("`{}` cannot be renamed: {err}", one.path.display());
                    return Err(Refusal::new("quarantine", what));
                }
            }
        }
        Ok(renamed)
    }

    /// Whether the user replaced what was there, as Git does when it is configured: a command cannot, while it is pinned.
    /// Where another command was under way, it may have been that one's, which takes it away.
    fn is_the_users(&self, new: &Found) -> bool {
        self.is_alone && !new.is_link && self.found.iter().any(|old| old.path == new.path && !old.is_link)
    }
}

/// Gives an entry another name, where nothing is yet.
fn set_aside(root: &OwnedFd, path: &Path) -> Result<()> {
    let (parent, name) = split(path);
    let parent = open(root, parent, OFlags::PATH)?;
    for number in 0..u32::MAX {
        let mut free = name.to_owned();
        free.push(".quarantined");
        if number > 0 {
            free.push(format!("-{number}"));
        }
        match renameat_with(&parent, name, &parent, &free, RenameFlags::NOREPLACE) {
            Err(Errno::EXIST) => {}
            result => return result,
        }
    }
    Err(Errno::EXIST)
}

fn pin_at(root: &OwnedFd, path: &Path, attributes: u64) -> io::Result<()> {
    let (parent, name) = split(path);
    let opened = open(root, parent, OFlags::PATH).and_then(|parent| {
        rustix::fs::openat(parent, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
    });
    match opened.map_err(io::Error::from).and_then(|opened| pin(opened.as_fd(), attributes)) {
        // Somebody removed it meanwhile. What comes in its place is new.
        Err(err) if matches!(err.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(()),
        result => result,
    }
}

/// Opens a directory below `root`, whatever the length of its path, through no link.
fn open(root: &OwnedFd, path: &Path, how: OFlags) -> Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut step = PathBuf::from(".");
    let mut at: Option<OwnedFd> = None;
    for part in path {
        if step.as_os_str().len() + part.len() > LONGEST_STEP {
            let next =
                openat2(at.as_ref().unwrap_or(root), &step, flags | OFlags::PATH, Mode::empty(), resolve)?;
            at = Some(next);
            step = PathBuf::from(".");
        }
        step.push(part);
    }
    openat2(at.as_ref().unwrap_or(root), &step, flags | how, Mode::empty(), resolve)
}

/// Everything under a protected name, outer ones first.
fn find(root: &OwnedFd) -> Result<BTreeSet<Found>> {
    let mut found = BTreeSet::new();
    let mut directories = vec![PathBuf::new()];
    while let Some(path) = directories.pop() {
        let names = match open_to_read(root, &path).and_then(|directory| entries(&directory)) {
            Ok(names) => names,
            // Gone meanwhile, or another user's, in which this one cannot have put anything.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::PERM | Errno::ACCESS) => continue,
            Err(err) => return Err(err),
        };
        let has = |part: &&str| names.iter().any(|(name, _)| name == part);
        let is_repository = reserved::REPOSITORY.iter().all(has) || LINKED_REPOSITORY.iter().all(has);
        for (name, kind) in &names {
            let is_directory = *kind == FileType::Directory;
            if name.eq_ignore_ascii_case(REPOSITORY) && is_directory {
                let repository = path.join(name);
                let inner = IN_REPOSITORY.iter().map(OsStr::new);
                found.extend(inner.filter_map(|inner| identify(root, &repository, inner)));
                continue;
            }
            if is_repository && IN_REPOSITORY.iter().any(|inner| name == inner) || reserved::is_name(name) {
                found.extend(identify(root, &path, name));
            }
            if is_directory {
                directories.push(path.join(name));
            }
        }
    }
    Ok(found)
}

/// A directory that its user closed to himself is opened again: what is in it is found by those who know its name.
fn open_to_read(root: &OwnedFd, path: &Path) -> Result<OwnedFd> {
    match open(root, path, OFlags::RDONLY) {
        Err(Errno::ACCESS) => {
            let (parent, name) = split(path);
            let parent = open(root, parent, OFlags::PATH)?;
            rustix::fs::chmodat(parent, name, Mode::RWXU, AtFlags::empty())?;
            open(root, path, OFlags::RDONLY)
        }
        opened => opened,
    }
}

fn entries(directory: &OwnedFd) -> Result<Vec<(OsString, FileType)>> {
    let mut entries = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name == "." || name == ".." {
            continue;
        }
        let kind = match entry.file_type() {
            FileType::Unknown => {
                let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW);
                stat.map_or(FileType::Unknown, |stat| FileType::from_raw_mode(stat.st_mode))
            }
            kind => kind,
        };
        entries.push((name.to_owned(), kind));
    }
    Ok(entries)
}

/// `None` if it is not there.
fn identify(root: &OwnedFd, directory: &Path, name: &OsStr) -> Option<Found> {
    let parent = open(root, directory, OFlags::PATH).ok()?;
    let wanted = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
    let stat = statx(parent, name, AtFlags::SYMLINK_NOFOLLOW, wanted).ok()?;
    let has_birth = StatxFlags::from_bits_retain(stat.stx_mask).contains(StatxFlags::BTIME);
    let is_link = FileType::from_raw_mode(stat.stx_mode.into()) == FileType::Symlink;
    // A file keeps its birth while its owner edits it. A link is never edited; moved away and back it has changed.
    let since = if has_birth && !is_link { stat.stx_btime } else { stat.stx_ctime };
    Some(Found {
        path: directory.join(name),
        inode: stat.stx_ino,
        since: (since.tv_sec, since.tv_nsec),
        is_link,
    })
}
