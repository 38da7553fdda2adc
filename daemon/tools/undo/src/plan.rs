//! How to take calls back: for each entry they changed, what must be there now and what shall be there again.

use crate::records::{self, obstacle};
use rustix::fs::{Dir, MemfdFlags, memfd_create};
use schemars::JsonSchema;
use serde::Serialize;
use skynet_changes::{List, Shown, apply, show};
use skynet_core::{
    CallCtx, Error, Result, Workspace,
    change::{Changed, Entry, Kind, Recorded},
    error::IoContext as _,
    reserved,
    target::Target,
};
use skynet_sandbox::preview::{End, Writer};
use std::{
    collections::{HashMap, HashSet},
    fs::File,
};

/// A call that is not taken back.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(inline)]
pub(crate) struct Left {
    /// Its id.
    call: String,
    /// Its tool.
    tool: String,
    /// Why.
    why: String,
}

/// What was taken back, or would be.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// False if `dry_run` was asked for: nothing was changed.
    applied: bool,
    /// Ids of the calls that are taken back, the newest first.
    calls: Vec<String>,
    /// What it changes, with diffs; at most 200.
    changes: Vec<Shown>,
    /// How many there are.
    changes_count: u64,
    /// Directories that a call had made and that stay, because something else is in them.
    kept_directories: Vec<String>,
    /// Calls of the session whose changes are not taken back.
    left: Vec<Left>,
}

/// One entry.
struct Step {
    path: String,
    /// As the newest of the calls left it.
    expected: Option<Entry>,
    /// As the oldest of them found it.
    wanted: Option<Entry>,
}

/// Takes back what `records`, the newest first, did; or shows what that would change.
pub(crate) async fn revert(ctx: &CallCtx, records: Vec<Recorded>, is_dry: bool) -> Result<Output> {
    let mut left = Vec::new();
    let mut taken = Vec::new();
    for record in records {
        match obstacle(&record) {
            None => taken.push(record),
            Some(why) => left.push(Left { call: record.call, tool: record.tool, why }),
        }
    }
    let mut steps = steps(&taken)?;
    let mut kept_directories = keep_filled(ctx.workspace()?, &mut steps)?;
    let file = list(ctx, &steps).await?;
    let unreadable = |err| Error::internal("the list of changes cannot be read").with_source(err);
    let List { changes, changes_count, .. } = show(&file).map_err(unreadable)?;
    if !is_dry {
        let stale = "was changed since by something else, so nothing is taken back; \
                     `undo_list_changes` shows what each call did";
        kept_directories.extend(apply(ctx, &file, stale).await?.kept);
    }
    let calls = taken.into_iter().map(|record| record.call).collect();
    Ok(Output { applied: !is_dry, calls, changes, changes_count, kept_directories, left })
}

/// One step for each entry, in the order in which they can be done.
fn steps(records: &[Recorded]) -> Result<Vec<Step>> {
    let mut order: Vec<Option<Step>> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    let newest_first = records.iter().flat_map(|record| record.changes.iter().rev());
    for change in newest_first {
        let Changed { path, before, after, .. } = change;
        let later = places.insert(path, order.len()).and_then(|place| order.get_mut(place)?.take());
        let expected = match later {
            Some(later) if later.wanted != *after => {
                return Err(Error::conflict(format!(
                    "`{path}` was changed by something else between two of these calls; take them back one by one with `undo_revert_call`, the newest first"
                )));
            }
            Some(later) => later.expected,
            None => after.clone(),
        };
        order.push(Some(Step { path: path.clone(), expected, wanted: before.clone() }));
    }
    let mut steps: Vec<_> = order.into_iter().flatten().filter(|step| step.expected != step.wanted).collect();
    // First what directories may be written, then what goes, the innermost first, and then what comes, the outermost first.
    steps.sort_by_key(|step| {
        let depth = step.path.matches('/').count() as isize;
        match &step.wanted {
            wanted if is_directory(&step.expected) && is_directory(wanted) => (0, 0),
            None => (1, -depth),
            Some(_) => (2, depth),
        }
    });
    Ok(steps)
}

fn is_directory(entry: &Option<Entry>) -> bool {
    entry.as_ref().is_some_and(|entry| entry.kind == Kind::Directory)
}

/// Leaves directories alone that would not be empty; returns them.
fn keep_filled(workspace: &Workspace, steps: &mut Vec<Step>) -> Result<Vec<String>> {
    let mut removed: HashSet<String> = HashSet::new();
    let mut kept = Vec::new();
    for step in &*steps {
        if step.wanted.is_some() {
            continue;
        }
        if is_directory(&step.expected) && holds_other(workspace, &step.path, &removed)? {
            kept.push(step.path.clone());
        } else {
            removed.insert(step.path.clone());
        }
    }
    steps.retain(|step| !kept.contains(&step.path));
    Ok(kept)
}

/// Whether a directory holds something that is not `removed`.
fn holds_other(workspace: &Workspace, path: &str, removed: &HashSet<String>) -> Result<bool> {
    // One that is gone is for the comparison to refuse.
    let Ok(directory) = workspace.open_directory(&workspace.relative(path)?) else { return Ok(false) };
    for entry in Dir::read_from(&directory).on(path)? {
        let entry = entry.on(path)?;
        let name = entry.file_name().to_string_lossy();
        if name != "." && name != ".." && !removed.contains(&format!("{path}/{name}")) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Writes the steps as a list of changes, with what the files held.
async fn list(ctx: &CallCtx, steps: &[Step]) -> Result<File> {
    let workspace = ctx.workspace()?;
    let no_room =
        |err: rustix::io::Errno| Error::unavailable("there is no room for the list").with_source(err);
    let file = File::from(memfd_create("undo", MemfdFlags::CLOEXEC).map_err(no_room)?);
    let mut writer = Writer::new(&file);
    for step in steps {
        ctx.check_canceled()?;
        let path = workspace.relative(&step.path)?;
        // What only a human's own tools may write; also where its directory is yet to be made.
        if !reserved::is_git_state(path.as_path()) {
            reserved::check(workspace, &path)?;
        }
        let now = match Target::unchecked(workspace, &path) {
            // Its directory is made by an earlier step.
            Err(err) if err.kind == skynet_core::ErrorKind::NotFound => None,
            target => target?.open().ok().flatten(),
        };
        let content = match &step.wanted {
            Some(wanted) if wanted.kind == Kind::File => Some(kept(ctx, &step.path, wanted).await?),
            _ => None,
        };
        let change = records::change(&Changed {
            path: step.path.clone(),
            before: step.expected.clone(),
            after: step.wanted.clone(),
            lost: None,
        });
        writer.add(change, now, content).on(&step.path)?;
    }
    let (device, inode) = workspace.place();
    writer.finish(End { device, inode, left_out: 0 }).on("the list of changes")?;
    Ok(file)
}

async fn kept(ctx: &CallCtx, path: &str, wanted: &Entry) -> Result<File> {
    records::content(ctx, &wanted.sha256).await?.ok_or_else(|| {
        Error::not_found(format!(
            "what `{path}` held before is not kept any more (`storage.blobs_max_bytes`), so nothing is taken back"
        ))
    })
}
