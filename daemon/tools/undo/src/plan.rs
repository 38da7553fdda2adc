//! How to take calls back: for each entry they changed, what must be there now and what shall be there again.

use crate::{
    records::{self, obstacle},
    trees,
};
use rustix::fs::{AtFlags, Dir, MemfdFlags, memfd_create};
use schemars::JsonSchema;
use serde::Serialize;
use skynet_changes::{Applied, MOST_SHOWN, Shown, apply, check, show};
use skynet_core::{
    CallCtx, Error, Result, Workspace,
    change::{Changed, Entry, Kind, Recorded, alike},
    error::IoContext as _,
    reserved,
    target::Target,
};
use skynet_sandbox::preview::{End, Writer};
use std::{
    collections::{HashMap, HashSet},
    fs::File,
    path::{Path, PathBuf},
};

/// Ends the sentence that begins with a path.
pub(crate) const STALE: &str = "was changed since by something else, so nothing is taken back; \
                     `undo_list_changes` shows what each call did";

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
    /// Files and directories whose group or access list could not be given back: their group may no more than everybody.
    narrowed: Vec<String>,
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
    let workspace = ctx.workspace()?;
    let (taken, left) = choose(workspace, records);
    let trees = trees::steps(&taken);
    let mut steps = steps(&taken)?;
    let mut kept_directories = keep_filled(workspace, &mut steps, trees::leaving(&trees).collect())?;
    // Directories that a tree comes back to are there before it, and those that were made for one are empty after it.
    let is_way = |step: &Step| step.expected.is_none() && trees::come_below(&trees, &step.path);
    let (way, rest): (Vec<Step>, Vec<Step>) = steps.into_iter().partition(is_way);
    let plan = Plan { way_list: list(ctx, &way).await?, list: list(ctx, &rest).await?, way, trees };
    let mut changes = trees::show(&plan.trees);
    let mut changes_count = changes.len() as u64;
    for file in [&plan.way_list, &plan.list] {
        let unreadable = |err| Error::internal("the list of changes cannot be read").with_source(err);
        let listed = show(file).map_err(unreadable)?;
        changes.extend(listed.changes);
        changes_count += listed.changes_count;
    }
    changes.truncate(MOST_SHOWN);
    trees::check(workspace, &plan.trees)?;
    let mut narrowed = Vec::new();
    if is_dry {
        let made: Vec<PathBuf> = plan.way.iter().map(|step| PathBuf::from(&step.path)).collect();
        check(workspace, &plan.way_list, STALE, &[])?;
        check(workspace, &plan.list, STALE, &made)?;
    } else {
        let applied = plan.make(ctx).await?;
        kept_directories.extend(applied.kept);
        narrowed = applied.narrowed;
    }
    let calls = taken.into_iter().map(|record| record.call).collect();
    Ok(Output { applied: !is_dry, calls, changes, changes_count, kept_directories, narrowed, left })
}

/// Which calls are taken back, and which are left, both the newest first.
fn choose(workspace: &Workspace, records: Vec<Recorded>) -> (Vec<Recorded>, Vec<Left>) {
    let alone = |record: &Recorded| obstacle(record).or_else(|| reserved_in(workspace, record));
    let (possible, impossible): (Vec<_>, Vec<_>) =
        records.iter().map(|record| (record, alone(record))).partition(|(_, why)| why.is_none());
    let possible: Vec<Recorded> = possible.into_iter().map(|(record, _)| record.clone()).collect();
    let mut known: HashMap<String, String> =
        impossible.into_iter().filter_map(|(record, why)| Some((record.call.clone(), why?))).collect();
    let (mut taken, mut left, mut stays) = (Vec::new(), Vec::new(), Stays::default());
    // What an older call left is not there any more where a newer one that stays has changed it. With the newest first, all of
    // these are known by now.
    for record in records {
        let why = known.remove(&record.call);
        let why = why.or_else(|| trees::entangled(&record, &possible)).or_else(|| stays.obstacle(&record));
        match why {
            None => taken.push(record),
            Some(why) => {
                stays.add(&record);
                left.push(Left { call: record.call, tool: record.tool, why });
            }
        }
    }
    (taken, left)
}

/// What calls that are left have changed, with the id of the call.
#[derive(Default)]
struct Stays {
    entries: HashMap<String, String>,
    /// Those that came or went, or were replaced, with all in them.
    wholes: HashMap<String, String>,
}

impl Stays {
    fn add(&mut self, record: &Recorded) {
        for change in &record.changes {
            let is_whole = change.tree.is_some() || change.lost.is_some();
            let those = if is_whole { &mut self.wholes } else { &mut self.entries };
            those.insert(change.path.clone(), record.call.clone());
        }
    }

    /// Why an older call is not taken back without these; `None` if they have nothing to do with each other.
    fn obstacle(&self, record: &Recorded) -> Option<String> {
        let changed_by = |path: &str| {
            let mut above = Path::new(path).ancestors().filter_map(Path::to_str);
            self.entries.get(path).or_else(|| above.find_map(|place| self.wholes.get(place)))
        };
        let found = record.changes.iter().find_map(|change| Some((&change.path, changed_by(&change.path)?)));
        let (path, call) = found?;
        Some(format!(
            "`{path}` was changed again, or moved, by the call `{call}`, which is not taken back; take them back one by one with `undo_revert_call`, the newest first"
        ))
    }
}

/// Why a call cannot be taken back whose changes are what only a human's own tools may write; `None` if it can.
pub(crate) fn reserved_in(workspace: &Workspace, record: &Recorded) -> Option<String> {
    record
        .changes
        .iter()
        .find_map(|change| check_reserved(workspace, &change.path).err())
        .map(|err| err.message.into_owned())
}

/// Also of what is yet to be made, and in a directory that is.
fn check_reserved(workspace: &Workspace, path: &str) -> Result<()> {
    let path = workspace.relative(path)?;
    if reserved::is_git_state(path.as_path()) { Ok(()) } else { reserved::check(workspace, &path) }
}

/// All that is to be done, in this order.
struct Plan {
    /// Directories that trees come back to.
    way: Vec<Step>,
    way_list: File,
    trees: Vec<trees::Step>,
    /// The rest.
    list: File,
}

impl Plan {
    async fn make(&self, ctx: &CallCtx) -> Result<Applied> {
        let mut applied = apply(ctx, &self.way_list, STALE).await?;
        let rest = self.make_rest(ctx).await.inspect_err(|_| self.remove_way(ctx))?;
        applied.kept.extend(rest.kept);
        applied.narrowed.extend(rest.narrowed);
        Ok(applied)
    }

    async fn make_rest(&self, ctx: &CallCtx) -> Result<Applied> {
        let moved = trees::take_back(ctx, &self.trees).await?;
        match apply(ctx, &self.list, STALE).await {
            Ok(applied) => {
                trees::note(ctx, &moved);
                Ok(applied)
            }
            Err(err) => Err(trees::put_back(ctx.workspace()?, moved, err)),
        }
    }

    /// After a failure.
    fn remove_way(&self, ctx: &CallCtx) {
        for step in self.way.iter().rev() {
            let removed = ctx.workspace().and_then(|workspace| {
                let target = Target::unchecked(workspace, &workspace.relative(&step.path)?)?;
                rustix::fs::unlinkat(&target.directory, &target.name, AtFlags::REMOVEDIR).on(&step.path)
            });
            // One that stays, because something is in it by now, is recorded as made.
            if removed.is_ok() {
                ctx.note_after(&step.path, None);
            }
        }
    }
}

/// One step for each entry, in the order in which they can be done.
fn steps(records: &[Recorded]) -> Result<Vec<Step>> {
    let mut order: Vec<Option<Step>> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    let newest_first = records.iter().flat_map(|record| record.changes.iter().rev());
    for change in newest_first.filter(|change| change.tree.is_none()) {
        let Changed { path, before, after, .. } = change;
        let later = places.insert(path, order.len()).and_then(|place| order.get_mut(place)?.take());
        let expected = match later {
            Some(later) if !alike(later.wanted.as_ref(), after.as_ref()) => {
                return Err(Error::conflict(format!(
                    "`{path}` was changed by something else between two of these calls; take them back one by one with `undo_revert_call`, the newest first"
                )));
            }
            Some(later) => later.expected,
            None => after.clone(),
        };
        order.push(Some(Step { path: path.clone(), expected, wanted: before.clone() }));
    }
    let is_other = |step: &Step| !alike(step.expected.as_ref(), step.wanted.as_ref());
    let mut steps: Vec<_> = order.into_iter().flatten().filter(is_other).collect();
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

/// Leaves directories alone that would not be empty when what is `removed` is gone; returns them.
fn keep_filled(
    workspace: &Workspace,
    steps: &mut Vec<Step>,
    mut removed: HashSet<String>,
) -> Result<Vec<String>> {
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
        check_reserved(workspace, &step.path)?;
        let now = match Target::unchecked(workspace, &path) {
            // Its directory is made by an earlier step.
            Err(err) if err.kind == skynet_core::ErrorKind::NotFound => None,
            target => target?.open().ok().flatten(),
        };
        let content = match &step.wanted {
            Some(wanted) if wanted.kind == Kind::File => Some(kept(ctx, &step.path, wanted).await?),
            _ => None,
        };
        let mut change = records::change(&Changed {
            path: step.path.clone(),
            before: step.expected.clone(),
            after: step.wanted.clone(),
            lost: None,
            tree: None,
        });
        change.rights = step.wanted.as_ref().map(records::rights);
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
