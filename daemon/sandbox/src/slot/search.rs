//! Looks through a workspace for what is under a protected name, a few entries at a time: whoever looks says for how long.
//!
//! Each directory is opened from the one above it, and that one from it again, so a look takes as long as there are entries,
//! however deep they lie. Paths are put together for what is found alone.

use super::view::split;
use rustix::{
    fs::{
        AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, StatxFlags, fstat, openat, openat2, statat, statx,
    },
    io::Errno,
};
use skynet_core::reserved;
use std::{
    collections::BTreeSet,
    ffi::{OsStr, OsString},
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::{Path, PathBuf},
};

/// Within a repository: programs that Git runs, what names them, and what leads to another repository
/// (gitrepository-layout(5), git-config(1)).
const IN_REPOSITORY: [&str; 6] = ["commondir", "config", "config.worktree", "hooks", "modules", "worktrees"];

const REPOSITORY: &str = ".git";

/// The kernel takes paths of up to 4096 bytes (path_resolution(7)).
const LONGEST_STEP: usize = 2048;

/// Read of a directory in one step.
const ENTRIES_PER_STEP: usize = 1000;

/// For what is found and what is yet to be looked at: half a million names in each of two hundred directories, say.
const MOST_BYTES: usize = 256 << 20;

/// What an entry takes besides its name, about.
const ENTRY_BYTES: usize = 64;

pub(super) type Result<T> = std::result::Result<T, Errno>;

/// What is under a protected name: its path from the workspace, and what tells it from another of that path.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Found {
    pub(super) path: PathBuf,
    inode: u64,
    /// When it was made, of a link when it was changed, in seconds and nanoseconds: a number is given again, a moment
    /// is not.
    since: (i64, u32),
    pub(super) is_link: bool,
}

impl Found {
    /// All of `found` that has this path.
    pub(super) fn of_path<'a>(found: &'a BTreeSet<Self>, path: &'a Path) -> impl Iterator<Item = &'a Self> {
        let first = Self { path: path.to_owned(), inode: 0, since: (i64::MIN, 0), is_link: false };
        found.range(first..).take_while(move |one| one.path == path)
    }
}

/// What tells an entry from another of its path: the rest of [`Found`].
struct Mark {
    inode: u64,
    since: (i64, u32),
    is_link: bool,
}

impl Mark {
    fn at(self, path: PathBuf) -> Found {
        Found { path, inode: self.inode, since: self.since, is_link: self.is_link }
    }
}

/// Walks through a workspace.
#[derive(Default)]
pub(super) struct Search {
    has_begun: bool,
    /// From the workspace down to the directory that is looked at.
    levels: Vec<Level>,
    /// The last of them, as long as it is where it was.
    at: Option<OwnedFd>,
    /// What is being read of it.
    reading: Option<Reading>,
    pub(super) found: BTreeSet<Found>,
    bytes: usize,
}

struct Level {
    name: OsString,
    /// Its filesystem and its number.
    place: (u64, u64),
    /// The directories in it that are yet to be looked at.
    pending: Vec<OsString>,
}

/// A directory that is being read, and those of its names that matter.
struct Reading {
    entries: Dir,
    directories: Vec<OsString>,
    repositories: Vec<OsString>,
    reserved: Vec<OsString>,
    /// Of [`IN_REPOSITORY`], and what makes it one.
    inner: Vec<OsString>,
    marks: Vec<OsString>,
    /// Of all these names.
    bytes: usize,
}

impl Search {
    /// Looks at some more entries, until there are none left.
    pub(super) fn step(&mut self, root: &OwnedFd, opened: &mut Opened) -> Result<bool> {
        if let Some(mut reading) = self.reading.take() {
            if reading.read_some(self.at.as_ref())? {
                self.reading = Some(reading);
            } else {
                self.take(root, opened, reading);
            }
            return Ok(true);
        }
        if !self.has_begun {
            self.has_begun = true;
            let workspace = || begin(open(root, Path::new(""), OFlags::RDONLY)?);
            let workspace = opened.within(root, PathBuf::new, workspace);
            return self.enter(OsString::new(), workspace);
        }
        let Some(level) = self.levels.last_mut() else { return Ok(false) };
        let Some(name) = level.pending.pop() else {
            self.leave();
            return Ok(true);
        };
        self.bytes = self.bytes.saturating_sub(name.len() + ENTRY_BYTES);
        let at = match self.at.take().map_or_else(|| open(root, &self.path(), OFlags::PATH), Ok) {
            Ok(at) => at,
            Err(err) if is_out_of_reach(err) => {
                self.pass_over();
                return Ok(true);
            }
            Err(err) => return Err(err),
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let inside = || begin(openat2(&at, name.as_os_str(), flags, Mode::empty(), RESOLVE)?);
        let inside = opened.within(root, || self.path().join(&name), inside);
        self.at = Some(at);
        self.enter(name, inside)
    }

    /// Whether there is more than can be remembered.
    pub(super) fn is_too_much(&self, opened: &Opened) -> bool {
        let in_hand = self.reading.as_ref().map_or(0, |reading| reading.bytes);
        self.bytes + in_hand + opened.bytes > MOST_BYTES
    }

    /// Goes on with a directory, if it could be opened. It may be gone meanwhile, or another user's, in which this one cannot
    /// have put anything.
    fn enter(&mut self, name: OsString, directory: Result<(OwnedFd, Dir)>) -> Result<bool> {
        let directory =
            directory.and_then(|(directory, entries)| Ok((place_of(&directory)?, directory, entries)));
        match directory {
            Ok((place, directory, entries)) => {
                self.levels.push(Level { name, place, pending: Vec::new() });
                self.at = Some(directory);
                self.reading = Some(Reading::of(entries));
                Ok(true)
            }
            Err(err) if is_out_of_reach(err) => Ok(true),
            Err(err) => Err(err),
        }
    }

    /// Leaves out the rest of a directory that is not found any more.
    fn pass_over(&mut self) {
        if let Some(level) = self.levels.last_mut() {
            let bytes: usize = level.pending.drain(..).map(|name| name.len() + ENTRY_BYTES).sum();
            self.bytes = self.bytes.saturating_sub(bytes);
        }
    }

    /// Goes back to the directory above. One that was moved meanwhile is found again by its path.
    fn leave(&mut self) {
        self.levels.pop();
        let above = self.at.take().zip(self.levels.last()).and_then(|(at, level)| {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let above = openat(&at, "..", flags, Mode::empty()).ok()?;
            (place_of(&above).ok()? == level.place).then_some(above)
        });
        self.at = above;
    }

    fn path(&self) -> PathBuf {
        self.levels.iter().skip(1).map(|level| &level.name).collect()
    }

    /// Takes in what was read of a directory. Where it cannot be opened up it is another user's.
    fn take(&mut self, root: &OwnedFd, opened: &mut Opened, reading: Reading) {
        let Some(at) = self.at.take() else { return };
        let mut found = Vec::new();
        for name in &reading.repositories {
            let path = || self.path().join(name);
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let Ok(repository) = openat2(&at, name.as_os_str(), flags, Mode::empty(), RESOLVE) else {
                continue;
            };
            for inner in IN_REPOSITORY {
                let mark = opened.within(root, path, || mark_of(&repository, inner.as_ref()));
                found.extend(mark.ok().flatten().map(|mark| mark.at(path().join(inner))));
            }
        }
        let inner = if reading.is_repository() { &*reading.inner } else { &[] };
        for name in reading.reserved.iter().chain(inner) {
            let mark = opened.within(root, || self.path(), || mark_of(&at, name));
            found.extend(mark.ok().flatten().map(|mark| mark.at(self.path().join(name))));
        }
        self.bytes += found.iter().map(|one| one.path.as_os_str().len() + ENTRY_BYTES).sum::<usize>();
        self.bytes += reading.directories.iter().map(|name| name.len() + ENTRY_BYTES).sum::<usize>();
        self.found.extend(found);
        if let Some(level) = self.levels.last_mut() {
            level.pending = reading.directories;
        }
        self.at = Some(at);
    }
}

impl Reading {
    fn of(entries: Dir) -> Self {
        let (directories, repositories, reserved) = (Vec::new(), Vec::new(), Vec::new());
        Self { entries, directories, repositories, reserved, inner: Vec::new(), marks: Vec::new(), bytes: 0 }
    }

    /// Reads on; false at the end.
    fn read_some(&mut self, at: Option<&OwnedFd>) -> Result<bool> {
        for _ in 0..ENTRIES_PER_STEP {
            match self.entries.read() {
                None => return Ok(false),
                Some(Ok(entry)) => {
                    let name = OsStr::from_bytes(entry.file_name().to_bytes());
                    let kind = match (entry.file_type(), at) {
                        (FileType::Unknown, Some(at)) => {
                            let stat = statat(at, name, AtFlags::SYMLINK_NOFOLLOW);
                            stat.map_or(FileType::Unknown, |stat| FileType::from_raw_mode(stat.st_mode))
                        }
                        (kind, _) => kind,
                    };
                    self.note(name, kind);
                }
                // It was removed meanwhile, with all that was in it.
                Some(Err(Errno::NOENT | Errno::STALE)) => return Ok(false),
                Some(Err(err)) => return Err(err),
            }
        }
        Ok(true)
    }

    fn note(&mut self, name: &OsStr, kind: FileType) {
        let is_directory = kind == FileType::Directory;
        if name == "." || name == ".." {
            return;
        }
        if name.eq_ignore_ascii_case(REPOSITORY) && is_directory {
            self.repositories.push(name.to_owned());
            return;
        }
        if reserved::REPOSITORY.iter().chain(&reserved::LINKED_REPOSITORY).any(|mark| name == *mark) {
            self.marks.push(name.to_owned());
        }
        if reserved::is_name(name) {
            self.reserved.push(name.to_owned());
        } else if IN_REPOSITORY.iter().any(|inner| name == *inner) {
            self.inner.push(name.to_owned());
        }
        if is_directory {
            self.directories.push(name.to_owned());
            self.bytes += name.len() + ENTRY_BYTES;
        }
    }

    fn is_repository(&self) -> bool {
        let has = |part: &&str| self.marks.iter().any(|mark| mark == part);
        reserved::REPOSITORY.iter().all(has) || reserved::LINKED_REPOSITORY.iter().all(has)
    }
}

/// Begins to read a directory, which takes the right to pass through it as well (getdents(2) is asked on a descriptor of its own).
fn begin(directory: OwnedFd) -> Result<(OwnedFd, Dir)> {
    let entries = Dir::read_from(&directory)?;
    Ok((directory, entries))
}

const RESOLVE: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS);

fn is_out_of_reach(err: Errno) -> bool {
    matches!(err, Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::PERM | Errno::ACCESS | Errno::STALE)
}

fn place_of(directory: &OwnedFd) -> Result<(u64, u64)> {
    fstat(directory).map(|stat| (stat.st_dev, stat.st_ino))
}

/// Opens a directory below `root`, whatever the length of its path, through no link.
pub(super) fn open(root: &OwnedFd, path: &Path, how: OFlags) -> Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut step = PathBuf::from(".");
    let mut at: Option<OwnedFd> = None;
    for part in path {
        if step.as_os_str().len() + part.len() > LONGEST_STEP {
            let next =
                openat2(at.as_ref().unwrap_or(root), &step, flags | OFlags::PATH, Mode::empty(), RESOLVE)?;
            at = Some(next);
            step = PathBuf::from(".");
        }
        step.push(part);
    }
    openat2(at.as_ref().unwrap_or(root), &step, flags | how, Mode::empty(), RESOLVE)
}

/// What is at a path below `root`; `None` if nothing is.
pub(super) fn identify(root: &OwnedFd, path: &Path) -> Result<Option<Found>> {
    let (directory, name) = split(path);
    match open(root, directory, OFlags::PATH) {
        Ok(parent) => Ok(mark_of(&parent, name)?.map(|mark| mark.at(path.to_owned()))),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(err) => Err(err),
    }
}

fn mark_of(parent: &OwnedFd, name: &OsStr) -> Result<Option<Mark>> {
    let wanted = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
    let stat = match statx(parent, name, AtFlags::SYMLINK_NOFOLLOW, wanted) {
        Ok(stat) => stat,
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
        Err(err) => return Err(err),
    };
    let has_birth = StatxFlags::from_bits_retain(stat.stx_mask).contains(StatxFlags::BTIME);
    let is_link = FileType::from_raw_mode(stat.stx_mode.into()) == FileType::Symlink;
    // A file keeps its birth while its owner edits it. A link is never edited; moved away and back it has changed.
    let since = if has_birth && !is_link { stat.stx_btime } else { stat.stx_ctime };
    Ok(Some(Mark { inode: stat.stx_ino, since: (since.tv_sec, since.tv_nsec), is_link }))
}

/// Directories that their user had closed to himself, or a command in his name, and the modes that they get back. What is in
/// them is found by those who know its name.
#[derive(Default)]
pub(super) struct Opened {
    modes: Vec<(PathBuf, Mode)>,
    bytes: usize,
}

impl Opened {
    /// Does what needs all rights in a directory, which is opened up if it lacks one.
    pub(super) fn within<T>(
        &mut self,
        root: &OwnedFd,
        directory: impl FnOnce() -> PathBuf,
        act: impl Fn() -> Result<T>,
    ) -> Result<T> {
        match act() {
            Err(err @ (Errno::ACCESS | Errno::PERM)) => {
                self.open_up(root, directory()).map_err(|_| err)?;
                act()
            }
            done => done,
        }
    }

    fn open_up(&mut self, root: &OwnedFd, path: PathBuf) -> Result<()> {
        let mode = change_mode(root, &path, |mode| mode | Mode::RWXU)?;
        self.bytes += path.as_os_str().len() + ENTRY_BYTES;
        self.modes.push((path, mode));
        Ok(())
    }

    /// Inner ones first, while they can be reached. What is gone needs no mode.
    pub(super) fn close_again(&mut self, root: &OwnedFd) {
        self.bytes = 0;
        for (path, mode) in self.modes.drain(..).rev() {
            let _ = change_mode(root, &path, |_| mode);
        }
    }
}

/// Gives a directory below `root` another mode; the one it had.
fn change_mode(root: &OwnedFd, path: &Path, change: impl Fn(Mode) -> Mode) -> Result<Mode> {
    let by_itself = |directory: &OwnedFd| {
        let mode = Mode::from_raw_mode(fstat(directory)?.st_mode);
        rustix::fs::fchmod(directory, change(mode)).map(|()| mode)
    };
    if path == Path::new("") {
        return by_itself(root);
    }
    match open(root, path, OFlags::RDONLY) {
        Ok(directory) => by_itself(&directory),
        Err(Errno::ACCESS) => {
            let (parent, name) = split(path);
            let parent = open(root, parent, OFlags::PATH)?;
            let stat = statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
            if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
                return Err(Errno::NOTDIR);
            }
            let mode = Mode::from_raw_mode(stat.st_mode);
            // Of what was looked at, and of nothing that was put in its place: chmod(2) would follow a link.
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let directory = openat(&parent, name, flags, Mode::empty())?;
            let itself = format!("/proc/self/fd/{}", directory.as_raw_fd());
            rustix::fs::chmod(itself, change(mode)).map(|()| mode)
        }
        Err(err) => Err(err),
    }
}
