//! Makes the changes that a file of [`skynet_sandbox::preview`] lists: all of them, or none if one no longer fits.

use rustix::fs::{AtFlags, Mode};
use skynet_core::{
    CallCtx, Error, RelativePath, Result, Workspace,
    error::IoContext as _,
    target::{Existing, Target},
};
use skynet_sandbox::preview::{Change, Kind, Reader, State, directory_at, plain_path};
use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, BufReader, Seek as _},
    os::{fd::AsFd as _, unix::ffi::OsStringExt as _},
};

/// How many entries were changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// New ones.
    pub created: u64,
    /// Those with another content, mode or kind.
    pub changed: u64,
    /// Those that are gone.
    pub deleted: u64,
}

/// Makes the changes listed in `file`. `stale` ends the sentence that begins with a path, for one that is not what it was.
///
/// # Errors
/// `Conflict` when something is not as the list says; what the kernel says when a change cannot be made.
pub async fn apply(ctx: &CallCtx, file: &File, stale: &'static str) -> Result<Applied> {
    let list = List { workspace: ctx.workspace()?, file, stale };
    list.check()?;
    ctx.check_canceled()?;
    list.make(ctx).await
}

struct List<'a> {
    workspace: &'a Workspace,
    file: &'a File,
    stale: &'static str,
}

impl List<'_> {
    async fn make(&self, ctx: &CallCtx) -> Result<Applied> {
        let mut applied = Applied::default();
        // What may not be written into must be first, and becomes what it is to be last.
        let mut modes = Vec::new();
        let mut reader = self.reader()?;
        while let Some(change) = reader.next_change().map_err(unreadable)? {
            let path = path(&change)?;
            self.check_way(&path)?;
            let target = Target::unchecked(self.workspace, &path)?;
            // Again: the user has had time since it was checked.
            self.compare(&target, &change)?;
            target.keep_entry_before(ctx).await?;
            make(&target, &change, &mut reader)?;
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
        for (path, mode) in modes.into_iter().rev() {
            let target = Target::unchecked(self.workspace, &path)?;
            rustix::fs::chmodat(&target.directory, &target.name, Mode::from_raw_mode(mode), AtFlags::empty())
                .on(&target.path)?;
        }
        Ok(applied)
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
            if change.before.as_ref().is_none_or(|before| before.kind() != Kind::Directory)
                && change.after.as_ref().is_some_and(|after| after.kind() == Kind::Directory)
            {
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

fn unreadable(err: io::Error) -> Error {
    Error::unavailable("the list of changes cannot be read; make it again").with_source(err)
}

fn path(change: &Change) -> Result<RelativePath> {
    let path = plain_path(change).ok_or_else(|| Error::internal("a change of a path that is not plain"))?;
    Ok(RelativePath::root().join(path))
}

fn make(target: &Target, change: &Change, reader: &mut Reader<BufReader<&File>>) -> Result<()> {
    let is_directory =
        |state: &Option<State>| state.as_ref().is_some_and(|state| state.kind() == Kind::Directory);
    let Some(after) = &change.after else {
        let flags = if is_directory(&change.before) { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        return rustix::fs::unlinkat(&target.directory, &target.name, flags).on(&target.path);
    };
    let existing = if change.before.is_some() { Existing::Replace } else { Existing::Fail };
    if is_directory(&change.before) != is_directory(&change.after) && change.before.is_some() {
        let flags = if is_directory(&change.before) { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        rustix::fs::unlinkat(&target.directory, &target.name, flags).on(&target.path)?;
    }
    match after.kind() {
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
    }
}
