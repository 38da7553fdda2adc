//! Makes the changes that a file of [`skynet_sandbox::preview`] lists: all of them, or none if one no longer fits.

use rustix::{
    fs::{AtFlags, Mode},
    io::Errno,
};
use skynet_core::{
    CallCtx, Error, RelativePath, Result, Workspace, change,
    change::Extent,
    error::IoContext as _,
    target::{Existing, Target},
};
use skynet_sandbox::preview::{Change, Kind, Reader, State, directory_at, open_path, plain_path};
use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, BufReader, Seek as _},
    os::{
        fd::{AsFd as _, AsRawFd as _},
        unix::ffi::OsStringExt as _,
    },
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
    /// Directories that were to go and stay, because something else is in them.
    pub kept: Vec<String>,
}

/// Makes the changes listed in `file`. `stale` ends the sentence that begins with a path, for one that is not what it was.
///
/// Everything is compared and kept before anything is changed, so what can fail or be canceled does so before that. What
/// fails after all, such as a disk that breaks, stops it there and is said.
///
/// # Errors
/// `Conflict` when something is not as the list says; what the kernel says when a change cannot be made.
pub async fn apply(ctx: &CallCtx, file: &File, stale: &'static str) -> Result<Applied> {
    let list = List { workspace: ctx.workspace()?, file, stale };
    list.check()?;
    list.keep(ctx).await?;
    ctx.check_canceled()?;
    // The user has had time since it was checked.
    list.check()?;
    list.make(ctx)
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

    fn make(&self, ctx: &CallCtx) -> Result<Applied> {
        let mut applied = Applied::default();
        let made = self.loosen().and_then(|()| self.make_each(ctx, &mut applied));
        let count = applied.created + applied.changed + applied.deleted;
        made.map_err(|err| match count {
            0 => err,
            count => Error::new(
                err.kind,
                format!(
                    "{}; {count} entries were changed before that, which `undo_list_changes` shows",
                    err.message
                ),
            ),
        })?;
        Ok(applied)
    }

    fn make_each(&self, ctx: &CallCtx, applied: &mut Applied) -> Result<()> {
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
            if !make(&target, &change, &mut reader)? {
                applied.kept.push(path.to_string());
                continue;
            }
            // Not what is there at the end of the call: that may be somebody else's by then.
            ctx.note_after(&path.to_string(), change.after.as_ref().map(entry_of));
            if let Some(after) = change.after.as_ref().filter(|after| after.kind() == Kind::Directory) {
                modes.push((path, after.mode));
            }
            *match (&change.before, &change.after) {
                (None, _) => &mut applied.created,
                (Some(_), Some(_)) => &mut applied.changed,
                (Some(_), None) => &mut applied.deleted,
            } += 1;
        }
        // The innermost first, and none kept open until then: there may be more of them than descriptors.
        modes.into_iter().rev().try_for_each(|(path, mode)| self.set_mode(&path, mode))
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

    /// Refuses changes of something else than what is there now.
    fn check(&self) -> Result<()> {
        let mut reader = self.reader()?;
        let mut made = BTreeSet::new();
        while let Some(change) = reader.next_change().map_err(unreadable)? {
            let path = path(&change)?;
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
            Ok(())
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

/// False if a directory stays that is not empty.
fn make(target: &Target, change: &Change, reader: &mut Reader<BufReader<&File>>) -> Result<bool> {
    let is_directory =
        |state: &Option<State>| state.as_ref().is_some_and(|state| state.kind() == Kind::Directory);
    let Some(after) = &change.after else {
        let flags = if is_directory(&change.before) { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        return match rustix::fs::unlinkat(&target.directory, &target.name, flags) {
            Err(Errno::NOTEMPTY) => Ok(false),
            removed => removed.on(&target.path).map(|()| true),
        };
    };
    let existing = if change.before.is_some() { Existing::Replace } else { Existing::Fail };
    if is_directory(&change.before) != is_directory(&change.after) && change.before.is_some() {
        let flags = if is_directory(&change.before) { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        rustix::fs::unlinkat(&target.directory, &target.name, flags).on(&target.path)?;
    }
    let made = match after.kind() {
        Kind::File => target.replace_from(&mut reader.content(), Mode::from_raw_mode(after.mode), existing),
        Kind::Directory if is_directory(&change.before) => {
            // Until everything in it is done.
            let mode = Mode::from_raw_mode(after.mode) | Mode::RWXU;
            rustix::fs::chmodat(&target.directory, &target.name, mode, AtFlags::empty()).on(&target.path)
        }
        Kind::Directory => rustix::fs::mkdirat(&target.directory, &target.name, Mode::RWXU).on(&target.path),
        Kind::Link => {
            let scratch = target.scratch()?;
            let to = std::ffi::OsString::from_vec(after.target.clone());
            rustix::fs::symlinkat(&to, &scratch.directory, &scratch.name).on(&target.path)?;
            scratch.settle(target, existing).inspect_err(|_| {
                // Best effort: the error that counts is the first one.
                let _ = rustix::fs::unlinkat(&scratch.directory, &scratch.name, AtFlags::empty());
            })
        }
    };
    made.map(|()| true)
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
    }
}
