//! Makes the changes that a file of [`skynet_sandbox::preview`] lists: all of them, or none if one no longer fits.

use crate::holding::{Finished, Holding, PutBack, Was};
use rustix::fs::{AtFlags, Mode};
use skynet_core::{
    CallCtx, Error, RelativePath, Result, Workspace, change,
    change::{Extent, Rights},
    error::IoContext as _,
    target::{Audience, Existing, Made, Target},
};
use skynet_sandbox::preview::{self, Change, Kind, Reader, State, directory_at, open_path, plain_path};
use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, BufReader, Seek as _},
    os::{
        fd::{AsFd as _, AsRawFd as _},
        unix::ffi::OsStringExt as _,
    },
    path::PathBuf,
};

/// How many entries were changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// New ones.
    pub created: u64,
    /// Those with another content, mode or kind.
    pub changed: u64,
    /// Those that are gone.
    pub deleted: u64,
    /// Directories that were to go and stay, because something else is in them, under their name or under the one that
    /// they were held under.
    pub kept: Vec<String>,
    /// Those whose group, or everybody, may less than was to be, because it, or an access list, is not what it was.
    pub narrowed: Vec<String>,
}

/// Makes the changes listed in `file`. `stale` ends the sentence that begins with a path, for one that is not what it was.
///
/// Everything is compared and kept before anything is changed, so what can fail or be canceled does so before that. When
/// something fails after all, such as a disk that is full, what was done is put back, and what could not be is said.
///
/// # Errors
/// `Conflict` when something is not as the list says; what the kernel says when a change cannot be made.
pub async fn apply(ctx: &CallCtx, file: &File, stale: &'static str) -> Result<Applied> {
    let list = List { workspace: ctx.workspace()?, file, stale };
    list.check(&[])?;
    list.keep(ctx).await?;
    ctx.check_canceled()?;
    // The user has had time since it was checked.
    let count = list.check(&[])?;
    list.make(ctx, count)
}

/// Whether [`apply`] would find everything as the list says, once there are the directories that are `made` before it.
///
/// # Errors
/// `Conflict` when something is not.
pub fn check(workspace: &Workspace, file: &File, stale: &'static str, made: &[PathBuf]) -> Result<()> {
    List { workspace, file, stale }.check(made).map(drop)
}

struct List<'a> {
    workspace: &'a Workspace,
    file: &'a File,
    stale: &'static str,
}

impl List<'_> {
    /// Has the daemon keep all that is about to change.
    async fn keep(&self, ctx: &CallCtx) -> Result<()> {
        let mut reader = self.reader()?;
        let mut made = BTreeSet::new();
        while let Some(change) = reader.next_change().map_err(unreadable)? {
            let path = path(&change)?;
            if made.contains(path.as_path().parent().unwrap_or(path.as_path())) {
                ctx.keep_before(&path.to_string(), None, Extent::Entry).await?;
            } else {
                Target::unchecked(self.workspace, &path)?.keep_entry_before(ctx).await?;
            }
            if is_made(&change) {
                made.insert(path.as_path().to_owned());
            }
        }
        Ok(())
    }

    fn make(&self, ctx: &CallCtx, count: usize) -> Result<Applied> {
        let mut done = Progress { applied: Applied::default(), notes: Vec::new() };
        let mut holding = Holding::open(self.workspace, count);
        let made = self.loosen().and_then(|()| self.prepare());
        if let Err(err) = made.and_then(|()| self.make_each(&mut done, &mut holding)) {
            return Err(self.put_back(holding, err));
        }
        let Progress { mut applied, notes } = done;
        let Finished { stayed, held } = holding.finish();
        let stayed: Vec<_> = stayed.iter().map(ToString::to_string).collect();
        for (path, after) in notes.into_iter().filter(|(path, _)| !stayed.contains(path)) {
            // Not what is there at the end of the call: that may be somebody else's by then.
            ctx.note_after(&path, after);
        }
        applied.deleted = applied.deleted.saturating_sub(stayed.len() as u64);
        applied.kept.extend(stayed);
        applied.kept.extend(held.iter().map(ToString::to_string));
        Ok(applied)
    }

    /// What can be found out before anything is replaced: an access list that no new file can be given.
    fn prepare(&self) -> Result<()> {
        let mut reader = self.reader()?;
        while let Some(change) = reader.next_change().map_err(unreadable)? {
            let is_file = |state: &State| state.kind() == Kind::File;
            if change.before.as_ref().is_some_and(is_file) && change.after.as_ref().is_some_and(is_file) {
                Target::unchecked(self.workspace, &path(&change)?)?.check_replace()?;
            }
        }
        Ok(())
    }

    /// After a failure; says in its error what became of what was done before.
    fn put_back(&self, holding: Holding<'_>, err: Error) -> Error {
        let PutBack { done, mut left, held_in } = holding.put_back();
        left += self.tighten().unwrap_or(1);
        let told = match (done, left) {
            (0, 0) => return err,
            (_, 0) => "what was done before that was put back, so nothing is changed".to_owned(),
            (_, left) => format!(
                "what was done before that was put back, except for {left} entries, which `undo_list_changes` shows"
            ),
        };
        let held = held_in.map(|place| format!("; what they were is in `{place}`")).unwrap_or_default();
        Error::new(err.kind, format!("{}; {told}{held}", err.message))
    }

    /// The modes of directories are again what they were; returns how many are not.
    fn tighten(&self) -> Result<usize> {
        let mut reader = self.reader()?;
        let mut modes = Vec::new();
        while let Some(change) = reader.next_change().map_err(unreadable)? {
            if let Some(before) = change.before.as_ref().filter(|before| before.kind() == Kind::Directory) {
                modes.push((path(&change)?, before.mode));
            }
        }
        // The innermost first: the way to it leads through the others.
        modes.sort_by_key(|(path, _)| std::cmp::Reverse(path.as_path().components().count()));
        let is_other = |(path, mode): &(RelativePath, u32)| {
            let found = self.workspace.stat(path).map(|stat| stat.st_mode & 0o7777);
            found.ok() != Some(*mode) && self.set_mode(path, *mode).is_err()
        };
        Ok(modes.iter().filter(|directory| is_other(directory)).count())
    }

    fn make_each(&self, done: &mut Progress, holding: &mut Holding<'_>) -> Result<()> {
        let mut reader = self.reader()?;
        // What may not be written into must be first, and becomes what it is to be last.
        let mut modes = Vec::new();
        while let Some(change) = reader.next_change().map_err(unreadable)? {
            let path = path(&change)?;
            self.check_way(&path)?;
            let target = Target::unchecked(self.workspace, &path)?;
            // A directory may have been loosened by now.
            if change.before.as_ref().is_none_or(|before| before.kind() != Kind::Directory) {
                self.compare(&target, &change)?;
            }
            let outcome = make(&target, &change, &mut reader, holding)?;
            match (outcome, &change.after) {
                (Outcome::Kept, _) => {
                    done.applied.kept.push(path.to_string());
                    continue;
                }
                (Outcome::File(made), Some(after)) => done.note(&path, after, Some(made)),
                (Outcome::Other, Some(after)) if after.kind() == Kind::Directory => {
                    modes.push((path, after.clone(), change.rights.clone(), is_made(&change)));
                }
                (Outcome::Other, Some(after)) => done.note(&path, after, None),
                (Outcome::File(_) | Outcome::Other, None) => done.notes.push((path.to_string(), None)),
            }
            *match (&change.before, &change.after) {
                (None, _) => &mut done.applied.created,
                (Some(_), Some(_)) => &mut done.applied.changed,
                (Some(_), None) => &mut done.applied.deleted,
            } += 1;
        }
        // The innermost first, and none kept open until then: there may be more of them than descriptors.
        for (path, after, rights, is_new) in modes.into_iter().rev() {
            let audience = audience(rights.as_ref());
            let directory = directory_at(self.workspace.as_descriptor(), path.as_path()).on(&path)?;
            let directory = File::from(directory);
            if is_new {
                audience.give_back(&directory);
            }
            let made = audience.settle(&directory, Mode::from_raw_mode(after.mode)).on(&path)?;
            done.note(&path, &after, Some(made));
        }
        Ok(())
    }

    /// Directories that are changed or go must be writable, for what is in them.
    fn loosen(&self) -> Result<()> {
        let mut reader = self.reader()?;
        while let Some(change) = reader.next_change().map_err(unreadable)? {
            let before = change.before.as_ref().filter(|before| before.kind() == Kind::Directory);
            if let Some(before) = before.filter(|before| before.mode & 0o700 != 0o700) {
                self.set_mode(&path(&change)?, before.mode | 0o700)?;
            }
        }
        Ok(())
    }

    /// Of a directory, through no link.
    fn set_mode(&self, path: &RelativePath, mode: u32) -> Result<()> {
        let directory = open_path(self.workspace.as_descriptor(), path.as_path()).on(path)?;
        // chmod(2) takes no descriptor of this kind, but its name.
        let name = format!("/proc/self/fd/{}", directory.as_raw_fd());
        rustix::fs::chmod(name, Mode::from_raw_mode(mode)).on(path)
    }

    fn reader(&self) -> Result<Reader<BufReader<&File>>> {
        let mut from = self.file;
        from.rewind().map_err(unreadable)?;
        Ok(Reader::new(BufReader::new(from)))
    }

    /// Refuses changes of something else than what is there now; returns how many steps they take. `made` are directories
    /// that are new by then.
    fn check(&self, made: &[PathBuf]) -> Result<usize> {
        let mut reader = self.reader()?;
        let mut made: BTreeSet<PathBuf> = made.iter().cloned().collect();
        let mut count = 0;
        while let Some(change) = reader.next_change().map_err(unreadable)? {
            let path = path(&change)?;
            // What becomes a directory, or was one, is taken away first.
            count += if is_exchange(&change) { 2 } else { 1 };
            let is_in_new = path.as_path().parent().is_some_and(|parent| made.contains(parent));
            // What is in a directory that is yet to be made is as new as that.
            if !is_in_new {
                self.check_way(&path)?;
                self.compare(&Target::unchecked(self.workspace, &path)?, &change)?;
            }
            if is_made(&change) {
                made.insert(path.as_path().to_owned());
            }
        }
        let place = reader.end().map(|end| (end.device, end.inode));
        if place == Some(self.workspace.place()) {
            Ok(count)
        } else {
            Err(Error::conflict("these are changes of another workspace"))
        }
    }

    /// Through no link: it would lead to another place than the one that was looked at.
    fn check_way(&self, path: &RelativePath) -> Result<()> {
        let (parent, _) = path.split()?;
        let found = directory_at(self.workspace.as_descriptor(), parent.as_path());
        found.map(drop).map_err(|_| self.is_other(path))
    }

    fn is_other(&self, path: &RelativePath) -> Error {
        Error::conflict(format!("`{path}` {}", self.stale))
    }

    fn compare(&self, target: &Target, change: &Change) -> Result<()> {
        let found = match State::of(target.directory.as_fd(), &target.name) {
            Err(err) if err.kind() == io::ErrorKind::Unsupported => return Err(self.is_other(&target.path)),
            found => found.on(&target.path)?.map(|(state, _)| state),
        };
        if found == change.before { Ok(()) } else { Err(self.is_other(&target.path)) }
    }
}

/// Whether something else takes the place of a directory, or a directory that of something else.
fn is_exchange(change: &Change) -> bool {
    let is_directory = |state: &State| state.kind() == Kind::Directory;
    let (before, after) = (change.before.as_ref(), change.after.as_ref());
    before.zip(after).is_some_and(|(before, after)| is_directory(before) != is_directory(after))
}

/// Whether it makes a directory, in which there is nothing yet.
fn is_made(change: &Change) -> bool {
    change.before.as_ref().is_none_or(|before| before.kind() != Kind::Directory)
        && change.after.as_ref().is_some_and(|after| after.kind() == Kind::Directory)
}

fn unreadable(err: io::Error) -> Error {
    Error::unavailable("the list of changes cannot be read; make it again").with_source(err)
}

fn path(change: &Change) -> Result<RelativePath> {
    let path = plain_path(change).ok_or_else(|| Error::internal("a change of a path that is not plain"))?;
    Ok(RelativePath::root().join(path))
}

/// How far it is.
struct Progress {
    applied: Applied,
    /// What is there now, by path.
    notes: Vec<(String, Option<change::Entry>)>,
}

impl Progress {
    /// What was made, which may have less than was wanted.
    fn note(&mut self, path: &RelativePath, wanted: &State, made: Option<Made>) {
        let mut entry = entry_of(wanted);
        if let Some(made) = made {
            if (made.mode ^ wanted.mode) & 0o077 != 0 {
                self.applied.narrowed.push(path.to_string());
            }
            (entry.mode, entry.rights) = (made.mode, made.rights);
        }
        self.notes.push((path.to_string(), Some(entry)));
    }
}

/// What became of one change.
enum Outcome {
    /// A directory stays that is not empty.
    Kept,
    File(Made),
    Other,
}

fn make(
    target: &Target,
    change: &Change,
    reader: &mut Reader<BufReader<&File>>,
    holding: &mut Holding<'_>,
) -> Result<Outcome> {
    let kind_before = change.before.as_ref().map(State::kind);
    let was_directory = kind_before == Some(Kind::Directory);
    let Some(after) = &change.after else {
        let is_gone = holding.take(target, kind_before.unwrap_or(Kind::File))?;
        return Ok(if is_gone { Outcome::Other } else { Outcome::Kept });
    };
    let existing = match kind_before {
        None => Existing::Fail,
        Some(_) if was_directory == (after.kind() == Kind::Directory) => Existing::Replace,
        Some(kind) => {
            if !holding.take(target, kind)? {
                return Err(Error::conflict(format!("`{}` is a directory that is not empty", target.path)));
            }
            Existing::Fail
        }
    };
    match after.kind() {
        Kind::File => {
            let (mode, audience) = (Mode::from_raw_mode(after.mode), audience(change.rights.as_ref()));
            let was = holding.copy(target, existing, Kind::File);
            let made = target.replace_from(&mut reader.content(), mode, existing, &audience)?;
            holding.note(&target.path, was);
            return Ok(Outcome::File(made));
        }
        // It gets its mode when everything in it is done.
        Kind::Directory if was_directory => {}
        Kind::Directory => {
            rustix::fs::mkdirat(&target.directory, &target.name, Mode::RWXU).on(&target.path)?;
            holding.note(&target.path, Was::Nothing(Kind::Directory));
        }
        Kind::Link => {
            let scratch = target.scratch()?;
            let to = std::ffi::OsString::from_vec(after.target.clone());
            let was = holding.copy(target, existing, Kind::Link);
            rustix::fs::symlinkat(&to, &scratch.directory, &scratch.name).on(&target.path)?;
            scratch.settle(target, existing).inspect_err(|_| {
                // Best effort: the error that counts is the first one.
                let _ = rustix::fs::unlinkat(&scratch.directory, &scratch.name, AtFlags::empty());
            })?;
            holding.note(&target.path, was);
        }
    }
    Ok(Outcome::Other)
}

/// Of a change that says whom it was for, or of one that does not.
fn audience(earlier: Option<&preview::Rights>) -> Audience {
    earlier.map_or(Audience::Present, |earlier| {
        let rights = earlier.group.map(|group| Rights { group, list: earlier.list.clone() });
        Audience::Earlier(rights)
    })
}

/// The same in the form in which it is recorded.
#[must_use]
pub fn entry_of(state: &State) -> change::Entry {
    change::Entry {
        kind: match state.kind() {
            Kind::File => change::Kind::File,
            Kind::Directory => change::Kind::Directory,
            Kind::Link => change::Kind::Link,
        },
        mode: state.mode,
        size_bytes: state.size_bytes,
        sha256: skynet_core::canonical::hex(&state.sha256),
        target: String::from_utf8_lossy(&state.target).into_owned(),
        rights: None,
    }
}
