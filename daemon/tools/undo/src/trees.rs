//! Directories that came or went as a whole: as a whole they are moved back, and only as they were left.

use crate::{plan::STALE, records};
use skynet_changes::{Shown, shown};
use skynet_core::{
    CallCtx, Error, ErrorKind, Result, Workspace,
    change::{Changed, Elsewhere, Entry, Recorded, Tree},
    error::IoContext as _,
    rename_new,
    seal::seal,
    target::Target,
    trash::Trash,
};
use std::{os::fd::AsFd as _, path::Path};

/// One directory on its way back.
pub(crate) struct Step {
    what: What,
    seal: String,
    entry: Entry,
}

enum What {
    /// It was moved.
    Move { from: String, to: String },
    /// It was deleted.
    Return { trash_id: String, to: String },
    /// It was made, or came from the trash, and goes there: a human may still want what is in it.
    Discard { path: String },
}

/// What was done.
pub(crate) enum Done {
    Moved { from: String, to: String },
    Returned { trash_id: String, to: String },
    Discarded { path: String, trash_id: String },
}

/// Of these calls, in this order.
pub(crate) fn steps(records: &[Recorded]) -> Vec<Step> {
    records.iter().flat_map(|record| record.changes.iter().rev()).filter_map(step).collect()
}

fn step(change: &Changed) -> Option<Step> {
    let Tree { seal, elsewhere } = change.tree.as_ref()?;
    let path = change.path.clone();
    let (what, entry) = match (elsewhere, &change.before, &change.after) {
        (Elsewhere::Path(to), None, Some(entry)) => (What::Move { from: path, to: to.clone() }, entry),
        (Elsewhere::Trash(_) | Elsewhere::Nowhere, None, Some(entry)) => (What::Discard { path }, entry),
        (Elsewhere::Trash(id), Some(entry), None) => (What::Return { trash_id: id.clone(), to: path }, entry),
        // The end of a move that it left, which the other one speaks for.
        (Elsewhere::Path(_) | Elsewhere::Trash(_) | Elsewhere::Nowhere, _, _) => return None,
    };
    Some(Step { what, seal: seal.clone(), entry: entry.clone() })
}

/// Why the trees of a call are not taken back together with these others: what they hold was changed by them, and nobody can
/// tell what of it belongs where.
pub(crate) fn entangled(record: &Recorded, others: &[Recorded]) -> Option<String> {
    let is_below = |one: &Changed, other: &Changed| Path::new(&one.path).starts_with(&other.path);
    let touches = |tree: &Changed, other: &Changed| {
        is_below(other, tree) || (other.tree.is_some() && is_below(tree, other))
    };
    let is_touched = |tree: &Changed| {
        let others = others.iter().filter(|other| other.call != record.call);
        others.flat_map(|other| &other.changes).any(|other| touches(tree, other))
    };
    let found = record.changes.iter().find(|change| change.tree.is_some() && is_touched(change))?;
    Some(format!(
        "`{}` came or went as a whole, and other calls changed what is in it; take them back one by one with `undo_revert_call`, the newest first",
        found.path
    ))
}

/// The paths that directories leave.
pub(crate) fn leaving(steps: &[Step]) -> impl Iterator<Item = String> {
    steps.iter().filter_map(|step| step.source().map(str::to_owned))
}

/// Whether one of them comes to a place below this path.
pub(crate) fn come_below(steps: &[Step], path: &str) -> bool {
    steps.iter().filter_map(Step::destination).any(|to| Path::new(to).starts_with(path))
}

/// As changes are shown.
pub(crate) fn show(steps: &[Step]) -> Vec<Shown> {
    let change = |path: &str, before: Option<&Entry>, after: Option<&Entry>| {
        let (path, before, after) = (path.to_owned(), before.cloned(), after.cloned());
        shown(&records::change(&Changed { path, before, after, lost: None, tree: None }), None)
    };
    let both = steps.iter().flat_map(|step| {
        let gone = step.source().map(|path| change(path, Some(&step.entry), None));
        let made = step.destination().map(|path| change(path, None, Some(&step.entry)));
        gone.into_iter().chain(made)
    });
    both.collect()
}

/// Refuses what is not as it was left.
pub(crate) fn check(workspace: &Workspace, steps: &[Step]) -> Result<()> {
    steps.iter().try_for_each(|step| step.check(workspace))
}

/// Moves all of them back, or none.
pub(crate) async fn take_back(ctx: &CallCtx, steps: &[Step]) -> Result<Vec<Done>> {
    let workspace = ctx.workspace()?;
    for step in steps {
        for path in step.source().into_iter().chain(step.destination()) {
            entry(workspace, path)?.keep_before(ctx).await?;
        }
    }
    ctx.check_canceled()?;
    // The user has had time since it was checked.
    check(workspace, steps)?;
    let mut done = Vec::new();
    for step in steps {
        match step.make(workspace) {
            Ok(made) => done.push(made),
            Err(err) => return Err(put_back(workspace, done, err)),
        }
    }
    Ok(done)
}

/// After a failure; says in its error if something could not be put back.
pub(crate) fn put_back(workspace: &Workspace, done: Vec<Done>, err: Error) -> Error {
    let failed = done.into_iter().rev().filter_map(|done| done.put_back(workspace).err());
    match failed.count() {
        0 => err,
        count => Error::new(
            err.kind,
            format!(
                "{}; {count} directories were moved before that and could not be put back, which `undo_list_changes` shows",
                err.message
            ),
        ),
    }
}

/// So that this can be taken back as well.
pub(crate) fn note(ctx: &CallCtx, done: &[Done]) {
    for done in done {
        match done {
            Done::Moved { from, to } => {
                ctx.note_tree(from, Elsewhere::Path(to.clone()));
                ctx.note_tree(to, Elsewhere::Path(from.clone()));
            }
            Done::Returned { trash_id, to } => ctx.note_tree(to, Elsewhere::Trash(trash_id.clone())),
            Done::Discarded { path, trash_id } => ctx.note_tree(path, Elsewhere::Trash(trash_id.clone())),
        }
    }
}

impl Step {
    /// The path of the workspace that it leaves.
    fn source(&self) -> Option<&str> {
        match &self.what {
            What::Move { from, .. } => Some(from),
            What::Discard { path } => Some(path),
            What::Return { .. } => None,
        }
    }

    /// The one that it comes to.
    fn destination(&self) -> Option<&str> {
        match &self.what {
            What::Move { to, .. } | What::Return { to, .. } => Some(to),
            What::Discard { .. } => None,
        }
    }

    fn check(&self, workspace: &Workspace) -> Result<()> {
        let (place, found) = match &self.what {
            What::Move { from: path, .. } | What::Discard { path } => {
                (path, entry(workspace, path).and_then(|target| seal(&target)))
            }
            What::Return { trash_id, to } => {
                let (trash, name) = Trash::of_id(workspace, trash_id)?;
                trash.find(name).map_err(|err| {
                    Error::new(err.kind, format!("{}, so `{to}` cannot be brought back", err.message))
                })?;
                (to, trash.entry(name).and_then(|target| seal(&target)))
            }
        };
        match found {
            Ok(found) if found == self.seal => {}
            Err(err) if err.kind != ErrorKind::NotFound => return Err(err),
            Ok(_) | Err(_) => {
                return Err(Error::conflict(format!(
                    "`{place}`, or something in it, was changed since by something else, so nothing is taken back"
                )));
            }
        }
        let Some(to) = self.destination() else { return Ok(()) };
        let found = match entry(workspace, to) {
            // The directory that it was in is yet to be made again.
            Err(err) if err.kind == ErrorKind::NotFound => None,
            target => target?.stat()?,
        };
        match found {
            None => Ok(()),
            Some(_) => Err(Error::conflict(format!("`{to}` exists again, so nothing is taken back"))),
        }
    }

    fn make(&self, workspace: &Workspace) -> Result<Done> {
        match &self.what {
            What::Move { from, to } => {
                rename(workspace, from, to)?;
                Ok(Done::Moved { from: from.clone(), to: to.clone() })
            }
            What::Return { trash_id, to } => {
                restore(workspace, trash_id, to)?;
                Ok(Done::Returned { trash_id: trash_id.clone(), to: to.clone() })
            }
            What::Discard { path } => {
                Ok(Done::Discarded { path: path.clone(), trash_id: discard(workspace, path)? })
            }
        }
    }
}

impl Done {
    fn put_back(self, workspace: &Workspace) -> Result<()> {
        match self {
            Self::Moved { from, to } => rename(workspace, &to, &from),
            Self::Returned { trash_id, to } => {
                let (trash, name) = Trash::of_id(workspace, &trash_id)?;
                // By this id other records know it.
                trash.take_as(name, &entry(workspace, &to)?).map(drop)
            }
            Self::Discarded { path, trash_id } => restore(workspace, &trash_id, &path),
        }
    }
}

/// Through no link: it would lead to another place than the one that was recorded.
fn entry(workspace: &Workspace, path: &str) -> Result<Target> {
    let path = workspace.relative(path)?;
    let target = Target::entry(workspace, &path)?;
    if target.path == path { Ok(target) } else { Err(Error::conflict(format!("`{path}` {STALE}"))) }
}

fn rename(workspace: &Workspace, from: &str, to: &str) -> Result<()> {
    let (from, to) = (entry(workspace, from)?, entry(workspace, to)?);
    let (old, new) = (from.directory.as_fd(), to.directory.as_fd());
    rename_new(old, &from.name, new, &to.name).on(&to.path)?;
    // Best effort: it is done, and would not be put back after an error.
    let _ = rustix::fs::fsync(new);
    Ok(())
}

fn restore(workspace: &Workspace, trash_id: &str, to: &str) -> Result<()> {
    let (trash, name) = Trash::of_id(workspace, trash_id)?;
    trash.put_back(name, &entry(workspace, to)?)
}

/// Into the trash; returns its id there.
fn discard(workspace: &Workspace, path: &str) -> Result<String> {
    let target = entry(workspace, path)?;
    Ok(Trash::for_target(workspace, &target)?.take(&target)?.id)
}
