//! By gix, in this process.

use super::{Entry, Status};
use crate::repository::{Repository, is_same};
use gix::{
    bstr::{BStr, ByteSlice as _},
    diff::index::Change as Staged,
    dir::entry::{Kind, Status as Tracking},
    remote::Direction,
    sec::Trust,
    status::{
        Item, Submodule, UntrackedFiles,
        index_worktree::Item as Unstaged,
        plumbing::index_as_worktree::{Change, Conflict, EntryStatus},
        tree_index::TrackRenames,
    },
    submodule::config::Ignore,
};
use skynet_core::CallCtx;
use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// What gix says is wrong is of no use to the caller: the program is asked instead.
type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

pub(super) fn status(ctx: &CallCtx, repository: &Repository) -> Result<Status> {
    let mut status = Status::default();
    // Which branch follows which is known only to a trusted configuration; nothing here runs what it names.
    describe_head(&open(repository, Trust::Full)?, &mut status)?;
    // Filters and drivers are taken only from a trusted one.
    status.entries = entries(ctx, &open(repository, Trust::Reduced)?)?;
    Ok(status)
}

/// Opens it with no configuration but its own.
fn open(repository: &Repository, trust: Trust) -> Result<gix::Repository> {
    let options = gix::open::Options::isolated().with(trust).open_path_as_is(true);
    let gix = options.open(repository.git_directory())?.to_thread_local();
    if gix.workdir().is_some_and(|path| is_same(path, repository.work_tree())) {
        Ok(gix)
    } else {
        Err("gix sees another working tree".into())
    }
}

/// Branch and upstream, and how far they are apart.
fn describe_head(gix: &gix::Repository, status: &mut Status) -> Result<()> {
    let head = gix.head()?;
    let id = head.id();
    status.head = id.map(|id| id.to_string());
    let Some(name) = head.referent_name() else { return Ok(()) };
    status.branch = Some(name.shorten().to_string());
    let remote = gix.config_snapshot().string(format!("branch.{}.remote", name.shorten()).as_str());
    let upstream = if remote.is_some_and(|remote| remote.as_slice() == b".") {
        // It follows another branch of this repository.
        gix.branch_remote_ref_name(name, Direction::Fetch).transpose()?
    } else {
        gix.branch_remote_tracking_ref_name(name, Direction::Fetch).transpose()?
    };
    let Some(upstream) = upstream else { return Ok(()) };
    status.upstream = Some(upstream.shorten().to_string());
    let tip = gix.try_find_reference(upstream.as_ref())?;
    if let (Some(ours), Some(tip)) = (id, tip) {
        let theirs = tip.into_fully_peeled_id()?;
        let count = |from: gix::Id<'_>, without: gix::Id<'_>| -> Result<u64> {
            let walk = gix.rev_walk([from.detach()]).with_hidden([without.detach()]).all()?;
            walk.map(|commit| Ok(commit.map(|_| 1)?)).sum()
        };
        (status.ahead, status.behind) = (count(ours, theirs)?, count(theirs, ours)?);
    }
    Ok(())
}

fn entries(ctx: &CallCtx, gix: &gix::Repository) -> Result<Vec<Entry>> {
    let interrupt = Arc::new(AtomicBool::new(ctx.cancel.is_cancelled()));
    let _watch = Watch::start(ctx, &interrupt);
    let changes = gix
        .status(gix::progress::Discard)?
        .untracked_files(UntrackedFiles::Files)
        .index_worktree_submodules(Submodule::Given { ignore: Ignore::Dirty, check_dirty: false })
        .tree_index_track_renames(TrackRenames::Given(gix::diff::Rewrites::default()))
        .should_interrupt_owned(interrupt.clone())
        .into_iter(None)?;
    let mut tracked: BTreeMap<String, Entry> = BTreeMap::new();
    let (mut untracked, mut conflicts) = (Vec::new(), BTreeSet::new());
    for change in changes {
        match change? {
            Item::TreeIndex(change) => {
                let path = change.location().to_str_lossy().into_owned();
                let entry = tracked.entry(path.clone()).or_insert_with(|| unchanged(path));
                let (state, from) = staged(&change);
                (entry.index, entry.from) = (state, from.map(|from| from.to_str_lossy().into_owned()));
            }
            Item::IndexWorktree(Unstaged::DirectoryContents { entry, .. }) => {
                if entry.status == Tracking::Untracked {
                    // A repository of its own is listed as a directory, as by Git.
                    let end = if entry.disk_kind == Some(Kind::Repository) { "/" } else { "" };
                    untracked.push(entry.rela_path.to_str_lossy().into_owned() + end);
                }
            }
            Item::IndexWorktree(Unstaged::Modification { rela_path, status, .. }) => {
                if let Some((index, worktree)) = unstaged(&status) {
                    let path = rela_path.to_str_lossy().into_owned();
                    let entry = tracked.entry(path.clone()).or_insert_with(|| unchanged(path));
                    entry.worktree = worktree;
                    if let Some(index) = index {
                        entry.index = index;
                        conflicts.insert(entry.path.clone());
                    }
                }
            }
            // Not asked for: Git does not look for renames in the working tree either.
            Item::IndexWorktree(Unstaged::Rewrite { .. }) => {}
        }
    }
    if interrupt.load(Ordering::Relaxed) {
        return Err("interrupted".into());
    }
    untracked.sort_unstable();
    // What one side of a conflict deleted is no file of the index to gix.
    let untracked = untracked.into_iter().filter(|path| !conflicts.contains(path)).map(|path| Entry {
        path,
        index: '?',
        worktree: '?',
        from: None,
    });
    Ok(tracked.into_values().chain(untracked).collect())
}

const fn unchanged(path: String) -> Entry {
    Entry { path, index: '.', worktree: '.', from: None }
}

/// The letter of a change from head to index, and of a rename the old path.
fn staged(change: &Staged) -> (char, Option<&BStr>) {
    match change {
        Staged::Addition { .. } => ('A', None),
        Staged::Deletion { .. } => ('D', None),
        Staged::Modification { previous_entry_mode, entry_mode, .. } => {
            let is_same = previous_entry_mode.is_submodule() == entry_mode.is_submodule()
                && (previous_entry_mode.bits() & 0o170_000) == (entry_mode.bits() & 0o170_000);
            (if is_same { 'M' } else { 'T' }, None)
        }
        Staged::Rewrite { source_location, copy, .. } => {
            (if *copy { 'C' } else { 'R' }, Some(source_location.as_ref()))
        }
    }
}

/// The letters of a change from index to working tree (git-status(1), "Short Format"); a conflict has both.
const fn unstaged<T, U>(status: &EntryStatus<T, U>) -> Option<(Option<char>, char)> {
    Some(match status {
        EntryStatus::NeedsUpdate(_) => return None,
        EntryStatus::IntentToAdd => (None, 'A'),
        EntryStatus::Change(Change::Removed) => (None, 'D'),
        EntryStatus::Change(Change::Type { .. }) => (None, 'T'),
        EntryStatus::Change(Change::Modification { .. } | Change::SubmoduleModification(_)) => (None, 'M'),
        EntryStatus::Conflict { summary, .. } => {
            let (index, worktree) = match summary {
                Conflict::BothDeleted => ('D', 'D'),
                Conflict::AddedByUs => ('A', 'U'),
                Conflict::DeletedByThem => ('U', 'D'),
                Conflict::AddedByThem => ('U', 'A'),
                Conflict::DeletedByUs => ('D', 'U'),
                Conflict::BothAdded => ('A', 'A'),
                Conflict::BothModified => ('U', 'U'),
            };
            (Some(index), worktree)
        }
    })
}

/// Sets a flag when the call is canceled, until it is dropped.
struct Watch(tokio::task::AbortHandle);

impl Watch {
    fn start(ctx: &CallCtx, flag: &Arc<AtomicBool>) -> Self {
        let (cancel, flag) = (ctx.cancel.clone(), flag.clone());
        let task = tokio::spawn(async move {
            cancel.cancelled().await;
            flag.store(true, Ordering::Relaxed);
        });
        Self(task.abort_handle())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.abort();
    }
}
