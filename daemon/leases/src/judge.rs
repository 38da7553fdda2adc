//! Which calls would change what another session has leased. Paths are taken as the kernel resolves them now, as rules about
//! arguments take them, and as they are written besides, for a link may have been put in their place.

use crate::{
    Leases,
    lease::{Commands, Lease},
};
use rustix::fs::{FileType, Mode, OFlags};
use skynet_core::{
    Call, Caller, Error, RelativePath, Result, Subject, Workspace, change::Extent, place::places,
};
use std::path::{Component, Path, PathBuf};
use uuid::Uuid;

impl Leases {
    /// Judges what a call says beforehand that it changes. Returns what its caller is to be told of a command that runs.
    ///
    /// # Errors
    /// `Conflict` naming the lease of another session.
    pub fn judge(&self, call: &Call) -> Result<Option<String>> {
        let Some(workspace) = &call.caller.workspace else { return Ok(None) };
        let root = workspace.path();
        let others = self.others(&call.caller, call.id.session, root);
        if others.is_empty() {
            return Ok(None);
        }
        let mut notice = None;
        for subject in call.tool.changes_of(call.input()?)? {
            match subject {
                Subject::Path(path) => {
                    let places = absolute(workspace, &path);
                    let touched = |lease: &&Lease| places.iter().any(|place| lease.touches(place));
                    if let Some(lease) = others.iter().find(touched) {
                        return Err(refusal(lease, &path, root));
                    }
                }
                Subject::WorkTree(path) => {
                    let tree = work_tree(workspace, &path);
                    if let Some(lease) = others.iter().find(|lease| is_in_tree(workspace, &tree, lease)) {
                        return Err(refusal(lease, &path, root));
                    }
                }
                Subject::Anywhere => {
                    let leased = leased(&others, root);
                    match self.settings().commands {
                        Commands::Warn => {
                            notice = Some(format!(
                                "{leased}: what this changed there, it changed under the hands of another session; look at it, and run the next such command by `exec_preview`, which writes nothing"
                            ));
                        }
                        Commands::Refuse => {
                            return Err(Error::conflict(format!(
                                "{leased}, and a command may write there; run it by `exec_preview`, wait until then, work in a tree of your own (`git_worktree`), or ask the holder to give it back"
                            )));
                        }
                    }
                }
                // Files of a repository's own are handed over before they are changed; the others are no paths.
                Subject::Repository(_) | Subject::Container(_) | Subject::Unit(_) => {}
            }
        }
        Ok(notice)
    }

    /// Judges one entry that a call is about to change, as it is told while the call runs.
    ///
    /// # Errors
    /// `Conflict` naming the lease of another session.
    pub fn judge_entry(&self, caller: &Caller, session: Uuid, path: &str, extent: Extent) -> Result<()> {
        let Some(workspace) = &caller.workspace else { return Ok(()) };
        let others = self.others(caller, session, workspace.path());
        if others.is_empty() {
            return Ok(());
        }
        let places = absolute(workspace, path);
        let is_changed = |lease: &Lease, place: &PathBuf| match extent {
            Extent::Entry => lease.covers(place),
            Extent::Tree => lease.touches(place),
        };
        let changed = others.iter().find(|lease| places.iter().any(|place| is_changed(lease, place)));
        changed.map_or(Ok(()), |lease| Err(refusal(lease, path, workspace.path())))
    }

    /// What others have leased of a workspace.
    fn others(&self, caller: &Caller, session: Uuid, root: &Path) -> Vec<Lease> {
        self.all_that(|lease| lease.touches(root) && !lease.holder.is(session, caller))
    }
}

/// What is told to whoever would change `path`.
pub(crate) fn refusal(lease: &Lease, path: &str, root: &Path) -> Error {
    let own = lease.path_in(root);
    let part = if own == path { String::new() } else { format!(" by way of `{own}`") };
    Error::conflict(format!(
        "`{path}` is leased{part} to {} until {}, for \"{}\" (lease `{id}`); wait until then, change another path, work in a tree of your own (`git_worktree`), or ask the holder to give it back with `lease_release`; a human can end it with `skynetctl leases end {id}`",
        lease.owner(),
        lease.expires_at,
        lease.purpose,
        id = lease.id,
    ))
}

/// What is leased in a workspace, in words. Of many the first few.
fn leased(others: &[Lease], root: &Path) -> String {
    const MOST: usize = 3;
    let told = others.iter().take(MOST).map(|lease| {
        format!(
            "`{}` is leased to {} until {}, for \"{}\" (lease `{}`)",
            lease.path_in(root),
            lease.owner(),
            lease.expires_at,
            lease.purpose,
            lease.id
        )
    });
    let mut told: Vec<String> = told.collect();
    if let Some(more) = others.len().checked_sub(MOST).filter(|more| *more > 0) {
        told.push(format!("{more} more, which `lease_list` shows"));
    }
    told.join("; ")
}

/// Where `path` is, for one who wants to lease it.
///
/// # Errors
/// `InvalidInput` where nobody can say, `Denied` where it lies elsewhere or the caller may not write.
pub(crate) fn place_to_lease(workspace: &Workspace, caller: &Caller, path: &str) -> Result<PathBuf> {
    let relative = workspace.relative(path)?;
    let target = places(workspace, path).map(|[_, target]| target);
    let target = target.or_else(|| plain(&relative)).ok_or_else(|| {
        Error::invalid_input(format!("`{path}` leads out of the workspace; lease a path without `..`"))
    })?;
    if may_write(workspace, caller, &target) {
        return Ok(join(workspace, &target));
    }
    Err(Error::denied(format!(
        "`{path}` cannot be written by `{}`, so there is nothing to lease for him; lease what he may change",
        caller.user
    )))
}

/// Whether what is there, or what it would be made in, belongs to the caller or is for him to write, by its mode: whoever may
/// only read keeps nobody from writing.
fn may_write(workspace: &Workspace, caller: &Caller, place: &Path) -> bool {
    let own = workspace.stat(&relative(place)).ok();
    let above = || place.ancestors().skip(1).find_map(|part| workspace.stat(&relative(part)).ok());
    // The daemon of a host may not look into every workspace, but at each of them.
    let stat = own.or_else(above).or_else(|| rustix::fs::fstat(workspace.as_descriptor()).ok());
    stat.is_some_and(|stat| {
        let mode = Mode::from_raw_mode(stat.st_mode);
        // Where everybody keeps what is his, nobody has all of it (inode(7), the sticky bit).
        let is_shared_by_all = own.is_some_and(|own| {
            let mode = Mode::from_raw_mode(own.st_mode);
            FileType::from_raw_mode(own.st_mode).is_dir() && mode.contains(Mode::SVTX)
        });
        if is_shared_by_all && stat.st_uid != caller.uid {
            return false;
        }
        let is_of_group = caller.groups.iter().any(|group| group.gid == stat.st_gid);
        stat.st_uid == caller.uid || is_of_group && mode.contains(Mode::WGRP) || mode.contains(Mode::WOTH)
    })
}

/// Every place that a path may mean. None if it is no path of the workspace, which the tool refuses.
fn absolute(workspace: &Workspace, path: &str) -> Vec<PathBuf> {
    let Ok(written) = workspace.relative(path) else { return Vec::new() };
    let resolved = places(workspace, path).into_iter().flatten();
    resolved.chain(plain(&written)).map(|place| join(workspace, &place)).collect()
}

/// A path as it is written, unless nobody can tell by that alone where it leads.
fn plain(path: &RelativePath) -> Option<PathBuf> {
    let is_plain = |part: &Component<'_>| matches!(part, Component::Normal(_));
    let parts: Vec<_> = path.as_path().components().filter(|part| *part != Component::CurDir).collect();
    parts.iter().all(is_plain).then(|| parts.iter().collect())
}

/// The top of the working tree of Git that a path is in; the workspace, where none is in it.
fn work_tree(workspace: &Workspace, path: &str) -> PathBuf {
    let place = places(workspace, path).map(|[_, place]| place);
    place.map_or_else(PathBuf::new, |place| top(workspace, &place))
}

fn top(workspace: &Workspace, place: &Path) -> PathBuf {
    let is_top = |part: &&Path| {
        let mark = RelativePath::root().join(&part.join(".git"));
        workspace.open_raw(&mark, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty()).is_ok()
    };
    place.ancestors().find(is_top).map(Path::to_owned).unwrap_or_default()
}

/// Whether a lease is on something of this working tree, and not of one that lies in it and is another.
fn is_in_tree(workspace: &Workspace, tree: &Path, lease: &Lease) -> bool {
    let root = workspace.path();
    match Path::new(&lease.path).strip_prefix(root) {
        Ok(leased) if leased.starts_with(tree) => top(workspace, leased) == tree,
        _ => lease.covers(&join(workspace, tree)),
    }
}

/// A place relative to the workspace, as one of the host.
fn join(workspace: &Workspace, place: &Path) -> PathBuf {
    let root = workspace.path();
    if place.as_os_str().is_empty() { root.to_owned() } else { root.join(place) }
}

fn relative(place: &Path) -> RelativePath {
    if place.as_os_str().is_empty() { RelativePath::root() } else { RelativePath::root().join(place) }
}
