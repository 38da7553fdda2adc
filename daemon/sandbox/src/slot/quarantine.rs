//! What other programs of the user run or trust, such as the hooks of a repository, is not for a command to write.
//!
//! What is there is mounted read-only onto itself, and each directory on the way to it onto itself, so that none can be
//! renamed away. What a command leaves under such a name is renamed before anyone is told that the command ended; what
//! a job leaves, whose end may be far, soon after it appears. Each look ends in time: what it did not come to is said, and
//! what it found until then is renamed all the same.
//!
//! Directories are reached by descriptors, a few names at a time, because a path may be longer than the kernel takes, and
//! whatever other commands do in the same workspace meanwhile.

use super::{
    Layer as _, Refusal,
    allowance::{Allowance, Stopped},
    search::{Found, Opened, Result, Search, identify, open},
    view::{pin, split},
};
use rustix::{
    fs::{AtFlags, Mode, OFlags, StatxAttributes, StatxFlags, statx},
    io::Errno,
};
use skynet_core::rename_new;
use std::{
    collections::BTreeSet,
    io,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
    time::{Duration, Instant},
};

/// Of the renamed paths, so many are told.
const MOST_TOLD: usize = 1000;

/// Between two looks at what a job left. Longer where a look takes long, so that one takes a tenth of a processor at most.
const PAUSE: Duration = Duration::from_secs(2);
const PAUSE_PER_LOOK: u32 = 10;

/// A look at what a command left takes no longer than this, or than so many times as long as the one before the command.
const SETTLE_WITHIN: Duration = Duration::from_secs(60);
const SETTLE_PER_PIN: u32 = 10;

/// To rename what was found where a look had no time to find the rest.
const LAST_RENAMES: Duration = Duration::from_secs(5);

/// Names that are tried one after the other; a command may have taken all of those.
const NUMBERED: u32 = 16;

/// What was there before the command.
pub(super) struct Guarded {
    root: OwnedFd,
    found: BTreeSet<Found>,
    is_alone: bool,
    renamed: Renamed,
    look: Look,
    /// How long it took to find it.
    found_within: Duration,
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
    /// All that was found, once the search is at its end, and what of it is yet to be set aside.
    ended: Option<(BTreeSet<Found>, Vec<Found>)>,
    opened: Opened,
    /// Time that was spent on this one.
    spent: Duration,
    /// When it goes on.
    at: Instant,
}

impl Look {
    fn at(at: Instant) -> Self {
        let (search, opened) = (Search::default(), Opened::default());
        Self { search, ended: None, opened, spent: Duration::ZERO, at }
    }
}

impl Guarded {
    /// Finds it, and makes it read-only for this slot. `is_alone` says that no other command was under way here.
    pub(super) fn pin(
        workspace: &Path,
        is_alone: bool,
        allowance: &mut Allowance<'_>,
    ) -> std::result::Result<Self, Refusal> {
        let began = Instant::now();
        let open =
            |how| rustix::fs::open(workspace, how | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        // One that can be read gets its mode back from a command that closes it.
        let root = open(OFlags::RDONLY).or_else(|_| open(OFlags::PATH)).layer("protected names")?;
        let mut opened = Opened::default();
        let (found, searched) = find(&root, &mut opened, allowance);
        opened.close_again(&root);
        searched.map_err(Stopped::before)?;
        pin_all(&root, found.iter(), || allowance.step().map_err(Stopped::before))?;
        let look = Look::at(Instant::now() + PAUSE);
        let found_within = began.elapsed();
        Ok(Self { root, found, is_alone, renamed: Renamed::default(), look, found_within })
    }

    /// Until when what the command left is looked through.
    pub(super) fn settle_until(&self) -> Instant {
        Instant::now() + SETTLE_WITHIN.max(self.found_within * SETTLE_PER_PIN)
    }

    /// Renames what the command left; all that was renamed, and whether that was all there is.
    pub(super) fn settle(
        mut self,
        allowance: &mut Allowance<'_>,
    ) -> (Renamed, std::result::Result<(), Refusal>) {
        // A look that was under way may have opened something up.
        self.look.opened.close_again(&self.root);
        let mut opened = Opened::default();
        let (now, searched) = find(&self.root, &mut opened, allowance);
        // Also where all of it was found, but late: what is known is not left where it is.
        allowance.extend(Instant::now() + LAST_RENAMES);
        let new = self.all_new(&now);
        let settled = self.set_aside(new, &mut opened, allowance);
        opened.close_again(&self.root);
        (self.renamed, searched.map_err(Stopped::after).and(settled))
    }

    /// Looks on at what the command has left until now, for no longer than that.
    pub(super) fn look(&mut self, longest: Duration) -> std::result::Result<(), Refusal> {
        let began = Instant::now();
        if began < self.look.at {
            return Ok(());
        }
        let mut has_ended = false;
        while !has_ended {
            has_ended = self.look_on()?;
            if !has_ended && began.elapsed() >= longest {
                self.look.spent += began.elapsed();
                return Ok(());
            }
        }
        self.look.opened.close_again(&self.root);
        if let Some((now, _)) = self.look.ended.take() {
            self.follow_the_user(now)?;
        }
        let spent = self.look.spent + began.elapsed();
        self.look = Look::at(Instant::now() + PAUSE.max(spent * PAUSE_PER_LOOK));
        Ok(())
    }

    /// One step of a look: true if it was the last one.
    fn look_on(&mut self) -> std::result::Result<bool, Refusal> {
        if self.look.ended.is_none() {
            let Look { search, opened, .. } = &mut self.look;
            if search.step(&self.root, opened).layer("quarantine")? {
                return if search.is_too_much(opened) { Err(Stopped::TooMuch.after()) } else { Ok(false) };
            }
            let now = std::mem::take(&mut search.found);
            let new = self.all_new(&now);
            self.look.ended = Some((now, new));
            return Ok(false);
        }
        let Some(one) = self.look.ended.as_mut().and_then(|(_, new)| new.pop()) else { return Ok(true) };
        let mut opened = std::mem::take(&mut self.look.opened);
        let renamed = self.set_one_aside(&one, &mut opened);
        self.look.opened = opened;
        renamed.map(|()| false)
    }

    /// What was not there before, outer ones first.
    fn all_new(&self, now: &BTreeSet<Found>) -> Vec<Found> {
        now.iter().filter(|one| !self.found.contains(one) && !self.is_the_users(one)).cloned().collect()
    }

    /// All of it, whatever cannot be: that is told of the first.
    fn set_aside(
        &mut self,
        mut new: Vec<Found>,
        opened: &mut Opened,
        allowance: &mut Allowance<'_>,
    ) -> std::result::Result<(), Refusal> {
        let mut failed = Ok(());
        // Inner ones first, while the paths of all are as they were found.
        while let Some(one) = new.pop() {
            if let Err(stopped) = allowance.step() {
                return failed.and(Err(stopped.after()));
            }
            failed = failed.and(self.set_one_aside(&one, opened));
        }
        failed
    }

    fn set_one_aside(&mut self, one: &Found, opened: &mut Opened) -> std::result::Result<(), Refusal> {
        let parent = || split(&one.path).0.to_owned();
        match opened.within(&self.root, parent, || set_aside(&self.root, &one.path)) {
            Ok(()) => self.renamed.add(&one.path),
            // Another command took it away.
            Err(Errno::NOENT | Errno::NOTDIR) => {}
            Err(err) => {
                let what = format!("`{}` cannot be renamed: {err}", one.path.display());
                return Err(Refusal::new("quarantine", what));
            }
        }
        Ok(())
    }

    /// Pins what the user put in the place of something: with that its mount went. And forgets what he removed: what comes in
    /// its place now is not his.
    fn follow_the_user(&mut self, now: BTreeSet<Found>) -> std::result::Result<(), Refusal> {
        let is_his = |one: &&Found| !self.found.contains(one) && self.is_the_users(one);
        pin_all(&self.root, now.iter().filter(is_his), || Ok(()))?;
        let mut found: BTreeSet<Found> =
            now.into_iter().filter(|one| self.found.contains(one) || self.is_the_users(one)).collect();
        // A walk through what is changed meanwhile may miss something.
        let is_missing = |old: &Found| Found::of_path(&found, &old.path).next().is_none();
        let is_there = |old: &Found| is_missing(old) && !matches!(identify(&self.root, &old.path), Ok(None));
        let missed: Vec<Found> = std::mem::take(&mut self.found).into_iter().filter(is_there).collect();
        found.extend(missed);
        self.found = found;
        Ok(())
    }

    /// Whether the user replaced what was there, as Git does when it is configured: a command cannot, while it is pinned.
    /// Where another command was under way, it may have been that one's, which takes it away.
    fn is_the_users(&self, new: &Found) -> bool {
        self.is_alone && !new.is_link && Found::of_path(&self.found, &new.path).any(|old| !old.is_link)
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
    let mut tries = 0;
    loop {
        let mut free = name.to_owned();
        free.push(".quarantined");
        match tries {
            0 => {}
            1..NUMBERED => free.push(format!("-{tries}")),
            _ => free.push(format!("-{:016x}", getrandom::u64().map_err(|_| Errno::IO)?)),
        }
        match rename_new(parent.as_fd(), name, parent.as_fd(), &free) {
            Err(Errno::EXIST) if tries < 2 * NUMBERED => tries += 1,
            result => return result,
        }
    }
}

/// Makes them read-only, and all directories above them such that they cannot be renamed. Goes on for as long as `step` lets it.
fn pin_all<'a>(
    root: &OwnedFd,
    found: impl Iterator<Item = &'a Found>,
    mut step: impl FnMut() -> std::result::Result<(), Refusal>,
) -> std::result::Result<(), Refusal> {
    let mut pinned = BTreeSet::new();
    for one in found {
        let above = one.path.ancestors().skip(1).filter(|above| *above != Path::new(""));
        // What is above one that is pinned is pinned.
        let above: Vec<&Path> = above.take_while(|above| !pinned.contains(*above)).collect();
        for directory in above.into_iter().rev() {
            step()?;
            pin_at(root, directory, 0).layer("protected names")?;
            pinned.insert(directory);
        }
        step()?;
        // A link cannot be mounted over. One that is replaced is another one.
        if !one.is_link {
            pin_at(root, &one.path, libc::MOUNT_ATTR_RDONLY).layer("protected names")?;
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

/// Everything under a protected name, outer ones first, and whether that is all.
fn find(
    root: &OwnedFd,
    opened: &mut Opened,
    allowance: &mut Allowance<'_>,
) -> (BTreeSet<Found>, std::result::Result<(), Stopped>) {
    let mut search = Search::default();
    let ended = loop {
        if let Err(stopped) = allowance.step() {
            break Err(stopped);
        }
        match search.step(root, opened) {
            Ok(true) if search.is_too_much(opened) => break Err(Stopped::TooMuch),
            Ok(true) => {}
            Ok(false) => break Ok(()),
            Err(err) => break Err(err.into()),
        }
    };
    (search.found, ended)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        ffi::OsString,
        fs::{self, File},
        os::unix::ffi::OsStringExt as _,
    };

    /// Of directories named `deeper`: beyond the longest path.
    const LEVELS: usize = 700;

    fn guard(root: &Path) -> Guarded {
        Guarded {
            root: File::open(root).unwrap().into(),
            found: BTreeSet::new(),
            is_alone: true,
            renamed: Renamed::default(),
            look: Look::at(Instant::now()),
            found_within: Duration::ZERO,
        }
    }

    /// Of a command that nothing was there before; what was renamed, and how it ended.
    fn settle(root: &Path, until: Instant, is_ended: bool) -> (Vec<String>, std::result::Result<(), String>) {
        let mut is_ended = || is_ended;
        let mut allowance = Allowance::new(until, &mut is_ended, Duration::ZERO);
        let (renamed, settled) = guard(root).settle(&mut allowance);
        let paths = renamed.paths.into_iter().map(|path| OsString::from_vec(path).into_string().unwrap());
        let mut paths: Vec<String> = paths.collect();
        paths.sort();
        (paths, settled.map_err(|refusal| refusal.message))
    }

    fn later() -> Instant {
        Instant::now() + Duration::from_secs(3600)
    }

    #[test]
    fn what_is_under_a_protected_name_is_set_aside_wherever_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        for name in ["a/.git/hooks", "a/b/c", "bare/objects", "bare/refs", "bare/hooks", "plain/hooks"] {
            fs::create_dir_all(root.join(name)).unwrap();
        }
        for name in ["a/b/c/.envrc", "a/b/.envrc", "bare/HEAD", "plain/config", "a/after"] {
            fs::write(root.join(name), "").unwrap();
        }
        let (paths, settled) = settle(root, later(), false);
        assert_eq!(settled, Ok(()));
        assert_eq!(paths, ["a/.git/hooks", "a/b/.envrc", "a/b/c/.envrc", "bare/hooks"]);
        assert!(root.join("a/b/c/.envrc.quarantined").exists() && root.join("plain/hooks").exists());
    }

    #[test]
    fn a_deep_tree_is_looked_through_and_takes_no_more_than_its_levels() {
        let directory = tempfile::tempdir().unwrap();
        let mut at: OwnedFd = File::open(directory.path()).unwrap().into();
        for _ in 0..LEVELS {
            for name in ["beside", "deeper"] {
                rustix::fs::mkdirat(&at, name, Mode::RWXU).unwrap();
            }
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            at = rustix::fs::openat(&at, "deeper", flags, Mode::empty()).unwrap();
        }
        rustix::fs::mkdirat(&at, ".vscode", Mode::RWXU).unwrap();
        let root = File::open(directory.path()).unwrap().into();
        let (mut search, mut opened, mut steps) = (Search::default(), Opened::default(), 0);
        while search.step(&root, &mut opened).unwrap() {
            steps += 1;
        }
        // To enter each directory, to read it, and to leave it.
        assert!(steps <= (2 * LEVELS + 2) * 3, "{steps}");
        let (paths, settled) = settle(directory.path(), later(), false);
        assert_eq!((paths.len(), settled), (1, Ok(())));
    }

    #[test]
    fn a_look_that_ends_early_says_so_and_renames_what_it_found() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        fs::write(root.join(".envrc"), "").unwrap();
        let (paths, settled) = settle(root, Instant::now(), false);
        assert!(settled.unwrap_err().contains("it took too long") && paths.is_empty());
        for number in 0..500 {
            fs::create_dir(root.join(format!("d{number}"))).unwrap();
        }
        let (mut asked, mut is_ended) = (0, false);
        let mut third = || {
            asked += 1;
            is_ended |= asked == 3;
            is_ended
        };
        let mut allowance = Allowance::new(later(), &mut third, Duration::ZERO);
        let (renamed, settled) = guard(root).settle(&mut allowance);
        assert!(settled.unwrap_err().message.contains("it was given up"));
        assert_eq!(renamed.paths, [b".envrc".to_vec()]);
        assert!(root.join(".envrc.quarantined").exists());
    }

    #[test]
    fn a_name_is_found_where_a_command_took_those_that_come_first() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        fs::write(root.join(".envrc"), "planted").unwrap();
        fs::write(root.join(".envrc.quarantined"), "").unwrap();
        for number in 1..5000 {
            fs::write(root.join(format!(".envrc.quarantined-{number}")), "").unwrap();
        }
        let (paths, settled) = settle(root, later(), false);
        assert_eq!((paths, settled), (vec![".envrc".to_owned()], Ok(())));
        assert!(!root.join(".envrc").exists() && !root.join(".envrc.quarantined-5000").exists());
    }

    #[test]
    fn a_look_at_a_job_goes_on_where_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        for number in 0..50 {
            fs::create_dir(root.join(format!("d{number}"))).unwrap();
            fs::write(root.join(format!("d{number}/.envrc")), "").unwrap();
        }
        let mut guarded = guard(root);
        let mut looks = 0;
        while guarded.renamed.count < 50 {
            // No time at all is one step.
            guarded.look(Duration::ZERO).unwrap();
            looks += 1;
            assert!(looks < 1000);
        }
        assert!(looks > 50, "{looks}");
    }
}
