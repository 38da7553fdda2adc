//! Walking a tree as ripgrep does: ignore files respected, links not followed, the trash left out.
//!
//! The walk goes by path. A directory that is swapped for a link in mid-walk could show names from elsewhere,
//! never content: files are opened beneath the workspace's descriptor.

use globset::{GlobBuilder, GlobMatcher};
use ignore::{Walk, WalkBuilder};
use rustix::fs::{Mode, OFlags};
use skynet_core::{CallCtx, Error, RelativePath, Result, Workspace, reserved::TRASH_PREFIX};
use std::{
    os::fd::AsFd as _,
    path::{Path, PathBuf},
};

/// What to leave out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Scope {
    /// Names that start with a dot.
    pub(crate) with_hidden: bool,
    /// What .gitignore and its like name.
    pub(crate) with_ignored: bool,
    pub(crate) max_depth: Option<usize>,
}

/// Walks below `path` in order of name. Once the call is given up it finds nothing more, also where all that it comes by
/// is left out; whoever walks asks for that when it ends.
pub(crate) fn walk(ctx: &CallCtx, path: &RelativePath, scope: Scope) -> Result<Walk> {
    let cancel = ctx.cancel.clone();
    Ok(WalkBuilder::new(start_of(ctx.workspace()?, path)?)
        .hidden(!scope.with_hidden)
        .git_ignore(!scope.with_ignored)
        .git_exclude(!scope.with_ignored)
        .git_global(false)
        .ignore(!scope.with_ignored)
        .require_git(false)
        // A `.gitignore` above the workspace, such as that of a home under version control, is not about it.
        .parents(false)
        .max_depth(scope.max_depth)
        .follow_links(false)
        .sort_by_file_name(Ord::cmp)
        .filter_entry(move |entry| {
            if cancel.is_cancelled() {
                return false;
            }
            let name = entry.file_name().to_string_lossy();
            name != ".git" && !name.starts_with(TRASH_PREFIX)
        })
        .build())
}

/// The absolute place to start at, links of `path` resolved by the kernel.
fn start_of(workspace: &Workspace, path: &RelativePath) -> Result<PathBuf> {
    let fd = workspace.open_at(path, OFlags::PATH, Mode::empty())?;
    let real = workspace
        .locate(fd.as_fd())
        .ok_or_else(|| Error::conflict(format!("`{path}` was moved out of the workspace")))?;
    Ok(if real == RelativePath::root() {
        workspace.path().to_owned()
    } else {
        workspace.path().join(real.as_path())
    })
}

/// A found path relative to the workspace, for opening and for showing.
pub(crate) fn below(workspace: &Workspace, found: &Path) -> Option<(RelativePath, String)> {
    let relative = found.strip_prefix(workspace.path()).ok()?;
    let shown = relative.to_string_lossy().into_owned();
    if shown.is_empty() {
        return Some((RelativePath::root(), ".".into()));
    }
    // A name that is no UTF-8 is shown as well as it can be, but opened as it is.
    Some((RelativePath::root().join(relative), shown))
}

/// A glob on paths relative to where a search starts; one without `/` matches at any depth.
pub(crate) fn glob(pattern: &str) -> Result<GlobMatcher> {
    let anywhere = if pattern.contains('/') { pattern.to_owned() } else { format!("**/{pattern}") };
    let glob = GlobBuilder::new(&anywhere).literal_separator(true).build();
    glob.map(|glob| glob.compile_matcher())
        .map_err(|err| Error::invalid_input(format!("`{pattern}` is no glob: {}", err.kind())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn a_walk_ends_with_its_call() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["a/b/c", "d/e"] {
            std::fs::create_dir_all(directory.path().join(name)).unwrap();
        }
        let ctx = sample::call_in(directory.path());
        let mut found = walk(&ctx, &RelativePath::root(), Scope::default()).unwrap();
        let names = |walk: &mut Walk| walk.filter_map(Result::ok).filter(|one| one.depth() > 0).count();
        assert_eq!(names(&mut walk(&ctx, &RelativePath::root(), Scope::default()).unwrap()), 5);
        assert!(found.by_ref().take(2).all(|one| one.is_ok()));
        ctx.cancel.cancel();
        assert_eq!(names(&mut found), 0);
    }
}
