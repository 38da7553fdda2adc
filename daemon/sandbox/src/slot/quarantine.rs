//! What other programs of the user run or trust, such as the hooks of a repository, is not for a command to write.
//!
//! What is there is mounted read-only onto itself, and each directory on the way to it onto itself, so that none can be
//! renamed away. What a command leaves under such a name is renamed before anyone is told that the command ended; what
//! a job leaves, whose end may be far, soon after it appears.
//!
//! Directories are reached by descriptors, a few names at a time, because a path may be longer than the kernel takes, and
//! whatever other commands do in the same workspace meanwhile.

use super::{
    Layer as _, Refusal,
    view::{pin, split},
};
use rustix::{
    fs::{
        AtFlags, Dir, FileType, Mode, OFlags, RenameFlags, ResolveFlags, StatxAttributes, StatxFlags,
        openat2, renameat_with, statat, statx,
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
    time::{Duration, Instant},
};

/// Within a repository: programs that Git runs, what names them, and what leads to another repository
/// (gitrepository-layout(5), git-config(1)).
const IN_REPOSITORY: [&str; 6] = ["commondir", "config", "config.worktree", "hooks", "modules", "worktrees"];

const REPOSITORY: &str = ".git";

/// Of the renamed paths, so many are told.
const MOST_TOLD: usize = 1000;

/// Between two looks at what a job left. Longer where a look takes long, so that one takes a tenth of a processor at most.
const PAUSE: Duration = Duration::from_secs(2);
const PAUSE_PER_LOOK: u32 = 10;

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
    renamed: Renamed,
    look: Look,
}

/// What was set aside.
#[derive(Default)]
pub(super) struct Renamed {
    /// The first of the paths it had, relative to the workspace.
    pub(super) paths: Vec<Vec<u8>>,
    pub(super) count: u64,
}

/// A look at what a job left, while it runs.
struct Look {
    search: Search,
    opened: Opened,
    /// Time that was spent on this one.
    spent: Duration,
    /// When it goes on.
    at: Instant,
}

impl Look {
    fn at(at: Instant) -> Self {
        Self { search: Search::new(), opened: Opened::default(), spent: Duration::ZERO, at }
    }
}

impl Guarded {
    /// Finds it, and makes it read-only for this slot. `is_alone` says that no other command was under way here.
    pub(super) fn pin(workspace: &Path, is_alone: bool) -> std::result::Result<Self, Refusal> {
        let open =
            |how| rustix::fs::open(workspace, how | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        // One that can be read gets its mode back from a command that closes it.
        let root = open(OFlags::RDONLY).or_else(|_| open(OFlags::PATH)).layer("protected names")?;
        let mut opened = Opened::default();
        let found = find(&root, &mut opened);
        opened.close_again(&root);
        let found = found.layer("protected names")?;
        pin_all(&root, found.iter()).layer("protected names")?;
        let look = Look::at(Instant::now() + PAUSE);
        Ok(Self { root, found, is_alone, renamed: Renamed::default(), look })
    }

    /// Renames what the command left; all that was renamed.
    pub(super) fn settle(mut self) -> std::result::Result<Renamed, Refusal> {
        let mut opened = Opened::default();
        let now = find(&self.root, &mut opened).layer("quarantine");
        let settled = now.and_then(|now| self.set_new_aside(&now, &mut opened));
        opened.close_again(&self.root);
        settled.map(|()| self.renamed)
    }

    /// Looks on at what the command has left until now, for no longer than that.
    pub(super) fn look(&mut self, longest: Duration) -> std::result::Result<(), Refusal> {
        let began = Instant::now();
        if began < self.look.at {
            return Ok(());
        }
        while self.look.search.step(&self.root, &mut self.look.opened).layer("quarantine")? {
            if began.elapsed() >= longest {
                self.look.spent += began.elapsed();
                return Ok(());
            }
        }
        let now = std::mem::take(&mut self.look.search.found);
        let mut opened = std::mem::take(&mut self.look.opened);
        let settled = self.set_new_aside(&now, &mut opened);
        opened.close_again(&self.root);
        settled?;
        self.follow_the_user(now)?;
        let spent = self.look.spent + began.elapsed();
        self.look = Look::at(Instant::now() + PAUSE.max(spent * PAUSE_PER_LOOK));
        Ok(())
    }

    /// All of it, whatever cannot be: that is told of the first.
    fn set_new_aside(
        &mut self,
        now: &BTreeSet<Found>,
        opened: &mut Opened,
    ) -> std::result::Result<(), Refusal> {
        let mut failed = Ok(());
        // Inner ones first, while the paths of all are as they were found.
        for one in now.iter().rev() {
            if self.found.contains(one) || self.is_the_users(one) {
                continue;
            }
            let (parent, _) = split(&one.path);
            match opened.within(&self.root, parent, || set_aside(&self.root, &one.path)) {
                Ok(()) => self.renamed.add(&one.path),
                // Another command took it away.
                Err(Errno::NOENT | Errno::NOTDIR) => {}
                Err(err) => {
                    let what = format!("`{}` cannot be renamed: {err}", one.path.display());
                    failed = failed.and(Err(Refusal::new("quarantine", what)));
                }
            }
        }
        failed
    }

    /// Pins what the user put in the place of something: with that its mount went. And forgets what he removed: what comes in
    /// its place now is not his.
    fn follow_the_user(&mut self, now: BTreeSet<Found>) -> std::result::Result<(), Refusal> {
        let is_his = |one: &&Found| !self.found.contains(one) && self.is_the_users(one);
        pin_all(&self.root, now.iter().filter(is_his)).layer("protected names")?;
        let mut found: BTreeSet<Found> =
            now.into_iter().filter(|one| self.found.contains(one) || self.is_the_users(one)).collect();
        let paths: BTreeSet<PathBuf> = found.iter().map(|one| one.path.clone()).collect();
        // A walk through what is changed meanwhile may miss something.
        let is_there = |old: &Found| {
            let (parent, name) = split(&old.path);
            !paths.contains(&old.path) && !matches!(identify(&self.root, parent, name), Ok(None))
        };
        found.extend(std::mem::take(&mut self.found).into_iter().filter(is_there));
        self.found = found;
        Ok(())
    }

    /// Whether the user replaced what was there, as Git does when it is configured: a command cannot, while it is pinned.
    /// Where another command was under way, it may have been that one's, which takes it away.
    fn is_the_users(&self, new: &Found) -> bool {
        self.is_alone && !new.is_link && self.found.iter().any(|old| old.path == new.path && !old.is_link)
    }
}

/// Looks on at all of them, for no longer than that together.
pub(super) fn look(all: &mut [Guarded], longest: Duration) -> std::result::Result<(), Refusal> {
    let each = longest / u32::try_from(all.len().max(1)).unwrap_or(u32::MAX);
    all.iter_mut().try_for_each(|one| one.look(each))
}

impl Renamed {
    /// Also what was set aside elsewhere.
    pub(super) fn join(&mut self, other: Self) {
        self.count += other.count;
        let room = MOST_TOLD.saturating_sub(self.paths.len());
        self.paths.extend(other.paths.into_iter().take(room));
    }

    fn add(&mut self, path: &Path) {
        self.count += 1;
        if self.paths.len() < MOST_TOLD {
            self.paths.push(path.as_os_str().as_bytes().to_vec());
        }
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
            // Not every filesystem can be told to replace nothing. The command has ended, or is about to.
            Err(Errno::INVAL) => match statat(&parent, &free, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => {
                    return renameat_with(&parent, name, &parent, &free, RenameFlags::empty());
                }
                Ok(_) => {}
                Err(err) => return Err(err),
            },
            result => return result,
        }
    }
    Err(Errno::EXIST)
}

/// Makes them read-only, and all directories above them such that they cannot be renamed.
fn pin_all<'a>(root: &OwnedFd, found: impl Iterator<Item = &'a Found>) -> io::Result<()> {
    let mut pinned = BTreeSet::new();
    for one in found {
        let above = one.path.ancestors().skip(1).filter(|above| *above != Path::new(""));
        let above: Vec<&Path> = above.filter(|above| !pinned.contains(*above)).collect();
        for directory in above.into_iter().rev() {
            pin_at(root, directory, 0)?;
            pinned.insert(directory);
        }
        // A link cannot be mounted over. One that is replaced is another one.
        if !one.is_link {
            pin_at(root, &one.path, libc::MOUNT_ATTR_RDONLY)?;
        }
    }
    Ok(())
}

fn pin_at(root: &OwnedFd, path: &Path, attributes: u64) -> io::Result<()> {
    let (parent, name) = split(path);
    let opened = open(root, parent, OFlags::PATH).and_then(|parent| {
        rustix::fs::openat(parent, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
    });
    let pin = |opened: OwnedFd| {
        if attributes == 0 && is_mounted(&opened) { Ok(()) } else { pin(opened.as_fd(), attributes) }
    };
    match opened.map_err(io::Error::from).and_then(pin) {
        // Somebody removed it meanwhile. What comes in its place is new.
        Err(err) if matches!(err.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(()),
        result => result,
    }
}

/// Whether it is mounted where it is: then it cannot be renamed either.
fn is_mounted(opened: &OwnedFd) -> bool {
    let stat = statx(opened, "", AtFlags::EMPTY_PATH, StatxFlags::empty());
    stat.is_ok_and(|stat| stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
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
fn find(root: &OwnedFd, opened: &mut Opened) -> Result<BTreeSet<Found>> {
    let mut search = Search::new();
    while search.step(root, opened)? {}
    Ok(search.found)
}

/// Directories that their user had closed to himself, or a command in his name, and the modes that they get back. What is in
/// them is found by those who know its name.
#[derive(Default)]
struct Opened(Vec<(PathBuf, Mode)>);

impl Opened {
    /// Does what needs all rights in a directory, which is opened up if it lacks one.
    fn within<T>(&mut self, root: &OwnedFd, directory: &Path, act: impl Fn() -> Result<T>) -> Result<T> {
        match act() {
            Err(err @ (Errno::ACCESS | Errno::PERM)) => {
                self.open_up(root, directory).map_err(|_| err)?;
                act()
            }
            done => done,
        }
    }

    fn open_up(&mut self, root: &OwnedFd, path: &Path) -> Result<()> {
        let mode = change_mode(root, path, |mode| mode | Mode::RWXU)?;
        self.0.push((path.to_owned(), mode));
        Ok(())
    }

    /// Inner ones first, while they can be reached. What is gone needs no mode.
    fn close_again(&mut self, root: &OwnedFd) {
        for (path, mode) in self.0.drain(..).rev() {
            let _ = change_mode(root, &path, |_| mode);
        }
    }
}

/// Gives a directory below `root` another mode; the one it had.
fn change_mode(root: &OwnedFd, path: &Path, change: impl Fn(Mode) -> Mode) -> Result<Mode> {
    let by_itself = |directory: &OwnedFd| {
        let mode = Mode::from_raw_mode(rustix::fs::fstat(directory)?.st_mode);
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
            rustix::fs::chmodat(&parent, name, change(mode), AtFlags::empty()).map(|()| mode)
        }
        Err(err) => Err(err),
    }
}

/// Walks through a workspace, a directory at a time.
struct Search {
    directories: Vec<PathBuf>,
    found: BTreeSet<Found>,
}

impl Search {
    fn new() -> Self {
        Self { directories: vec![PathBuf::new()], found: BTreeSet::new() }
    }

    /// Looks at one more directory, until there is none left.
    fn step(&mut self, root: &OwnedFd, opened: &mut Opened) -> Result<bool> {
        let Some(path) = self.directories.pop() else { return Ok(false) };
        let read = opened.within(root, &path, || entries(&open(root, &path, OFlags::RDONLY)?));
        let names = match read {
            Ok(names) => names,
            // Gone meanwhile, or another user's, in which this one cannot have put anything.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::PERM | Errno::ACCESS) => return Ok(true),
            Err(err) => return Err(err),
        };
        let has = |part: &&str| names.iter().any(|(name, _)| name == part);
        let is_repository =
            reserved::REPOSITORY.iter().all(has) || reserved::LINKED_REPOSITORY.iter().all(has);
        for (name, kind) in &names {
            let is_directory = *kind == FileType::Directory;
            if name.eq_ignore_ascii_case(REPOSITORY) && is_directory {
                let repository = path.join(name);
                for inner in IN_REPOSITORY {
                    let found =
                        opened.within(root, &repository, || identify(root, &repository, inner.as_ref()));
                    self.found.extend(found.ok().flatten());
                }
                continue;
            }
            if is_repository && IN_REPOSITORY.iter().any(|inner| name == inner) || reserved::is_name(name) {
                let found = opened.within(root, &path, || identify(root, &path, name));
                // Where it cannot be opened up it is another user's.
                self.found.extend(found.ok().flatten());
            }
            if is_directory {
                self.directories.push(path.join(name));
            }
        }
        Ok(true)
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
                let stat = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW);
                stat.map_or(FileType::Unknown, |stat| FileType::from_raw_mode(stat.st_mode))
            }
            kind => kind,
        };
        entries.push((name.to_owned(), kind));
    }
    Ok(entries)
}

/// `None` if it is not there.
fn identify(root: &OwnedFd, directory: &Path, name: &OsStr) -> Result<Option<Found>> {
    let wanted = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
    let found = open(root, directory, OFlags::PATH)
        .and_then(|parent| statx(parent, name, AtFlags::SYMLINK_NOFOLLOW, wanted));
    let stat = match found {
        Ok(stat) => stat,
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
        Err(err) => return Err(err),
    };
    let has_birth = StatxFlags::from_bits_retain(stat.stx_mask).contains(StatxFlags::BTIME);
    let is_link = FileType::from_raw_mode(stat.stx_mode.into()) == FileType::Symlink;
    // A file keeps its birth while its owner edits it. A link is never edited; moved away and back it has changed.
    let since = if has_birth && !is_link { stat.stx_btime } else { stat.stx_ctime };
    Ok(Some(Found {
        path: directory.join(name),
        inode: stat.stx_ino,
        since: (since.tv_sec, since.tv_nsec),
        is_link,
    }))
}
