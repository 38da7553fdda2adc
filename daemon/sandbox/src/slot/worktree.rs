//! Where the rest of a repository is of which the workspace is a linked worktree (git-worktree(1), gitrepository-layout(5)).

use rustix::fs::{Mode, OFlags};
use std::{
    fs::File,
    io::{self, Read as _},
    path::{Component, Path, PathBuf},
};

/// Files that hold one path are not longer.
const LONGEST_BYTES: u64 = 8192;

/// The directory that all worktrees of the repository share, if `workspace` is a linked one. `root` is where the host's
/// root is now.
///
/// The file in the workspace can be anybody's. So it counts only if the repository, which a command cannot reach by then,
/// says in turn that this is one of its worktrees.
pub(super) fn repository_of(root: &Path, workspace: &Path) -> Option<PathBuf> {
    let outside = |path: &Path| root.join(path.strip_prefix("/").unwrap_or(path));
    let pointer = workspace.join(".git");
    let administration = PathBuf::from(read(&outside(&pointer)).ok()?.strip_prefix("gitdir: ")?.trim_end());
    let is_plain =
        administration.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    if !administration.is_absolute() || !is_plain {
        return None;
    }
    let worktrees = administration.parent().filter(|above| above.ends_with("worktrees"))?;
    let repository = worktrees.parent()?;
    let back = read(&outside(&administration.join("gitdir"))).ok()?;
    let is_ours = Path::new(back.trim_end()) == pointer;
    let is_repository =
        outside(&repository.join("objects")).is_dir() && outside(&repository.join("refs")).is_dir();
    // One within the workspace is there already.
    (is_ours && is_repository && !repository.starts_with(workspace)).then(|| repository.to_owned())
}

/// A small file, if it is one and no link leads to it.
fn read(path: &Path) -> io::Result<String> {
    // Without waiting for the other end, where somebody put a FIFO there.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut text = String::new();
    file.take(LONGEST_BYTES).read_to_string(&mut text)?;
    Ok(text)
}
