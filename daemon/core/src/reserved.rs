//! Names that programs of the user read as instructions. What is written there runs later, with his rights and
//! outside of any policy, so tools that write files leave them alone.

use crate::{Error, RelativePath, Result, Workspace};
use rustix::fs::{Mode, OFlags};
use std::{ffi::OsStr, path::Path};

/// At any depth, in any case.
const NAMES: [&str; 31] = [
    ".git",
    ".hg",
    ".jj",
    ".sl",
    ".gitmodules",
    ".mcp.json",
    ".claude",
    ".codex",
    ".cursor",
    ".gemini",
    ".windsurf",
    ".vscode",
    ".idea",
    ".zed",
    ".envrc",
    ".direnv",
    ".devcontainer",
    ".husky",
    ".opencode",
    ".skynet.toml",
    "opencode.json",
    "opencode.jsonc",
    ".kiro",
    ".roo",
    ".continue",
    ".qwen",
    ".aider.conf.yml",
    ".crush.json",
    ".helix",
    ".exrc",
    ".nvim.lua",
];

/// The start of the trash directory's name; what is in it is reached by `files_restore` only.
pub const TRASH_PREFIX: &str = ".Trash-";

/// What makes a directory a repository for Git, whatever its name (gitrepository-layout(5)).
pub const REPOSITORY: [&str; 3] = ["HEAD", "objects", "refs"];

/// What is in a repository, and remembers something without running it: files, and directories with all in them.
const STATE: ([&str; 6], [&str; 3]) = (
    ["HEAD", "index", "packed-refs", "COMMIT_EDITMSG", "ORIG_HEAD", "AUTO_MERGE"],
    ["refs", "logs", "objects"],
);

/// The same in the directory of a linked worktree. Not where it is and whose, nor its configuration.
const STATE_OF_WORKTREE: ([&str; 5], [&str; 1]) =
    (["HEAD", "index", "COMMIT_EDITMSG", "ORIG_HEAD", "AUTO_MERGE"], ["logs"]);

/// With these it is one whose other parts are elsewhere: a linked worktree.
pub const LINKED_REPOSITORY: [&str; 2] = ["HEAD", "commondir"];

/// Whether programs of the user read instructions from an entry of that name.
#[must_use]
pub fn is_name(name: &OsStr) -> bool {
    NAMES.iter().any(|reserved| name.eq_ignore_ascii_case(reserved))
}

/// Whether it is what a repository remembers and runs nothing of: index, HEAD, references, their logs and objects
/// (gitrepository-layout(5)).
#[must_use]
pub fn is_git_state(path: &Path) -> bool {
    let mut parts = path.components().map(|part| part.as_os_str());
    let is_inside = parts.by_ref().take_while(|part| *part != ".git").all(|part| !is_name(part));
    let rest: Vec<_> = parts.collect();
    let is_plain = rest.iter().all(|part| !is_name(part) && *part != "..");
    let is_state = match rest.as_slice() {
        [first, _, of_worktree @ ..] if *first == "worktrees" => {
            is_among(of_worktree, &STATE_OF_WORKTREE.0, &STATE_OF_WORKTREE.1)
        }
        of_repository => is_among(of_repository, &STATE.0, &STATE.1),
    };
    is_inside && is_plain && is_state
}

/// Whether it is one of these files, or one of these directories or something in it.
fn is_among(parts: &[&OsStr], files: &[&str], directories: &[&str]) -> bool {
    let Some((first, below)) = parts.split_first() else { return false };
    (below.is_empty() && files.iter().any(|name| *first == *name))
        || directories.iter().any(|name| *first == *name)
}

/// Refuses a path, links resolved, that must not be written.
///
/// # Errors
/// `Denied`, naming what is reserved.
pub fn check(workspace: &Workspace, path: &RelativePath) -> Result<()> {
    let reserved = path.as_path().components().find_map(|part| {
        let text = part.as_os_str().to_string_lossy();
        let is_reserved = is_name(part.as_os_str()) || text.starts_with(TRASH_PREFIX);
        is_reserved.then(|| text.into_owned())
    });
    if let Some(name) = reserved {
        return Err(Error::denied(format!(
            "`{path}` cannot be changed by tools: `{name}` holds what other programs of the user run or trust"
        )));
    }
    check_repositories(workspace, path)
}

/// A directory with the parts of a repository is one, also without `.git`: its configuration names programs.
fn check_repositories(workspace: &Workspace, path: &RelativePath) -> Result<()> {
    let has = |directory: &Path, name: &str| {
        let place = RelativePath::root().join(&directory.join(name));
        workspace.open_raw(&place, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty()).is_ok()
    };
    for (depth, directory) in path.as_path().ancestors().skip(1).enumerate() {
        let own_name = path.as_path().file_name().filter(|_| depth == 0);
        // The entry itself counts as there: it must not complete a repository.
        let is_there = |name: &str| own_name == Some(OsStr::new(name)) || has(directory, name);
        if REPOSITORY.iter().all(|name| is_there(name)) || LINKED_REPOSITORY.iter().all(|name| is_there(name))
        {
            return Err(Error::denied(format!(
                "`{path}` cannot be changed by tools: `{}` is the inside of a Git repository",
                directory.display()
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_of_git_is_what_runs_nothing() {
        for (path, is_state) in [
            (".git/HEAD", true),
            ("sub/module/.git/index", true),
            (".git/refs/heads/a/b", true),
            (".git/objects/ab/cdef", true),
            (".git/logs/HEAD", true),
            (".git/AUTO_MERGE", true),
            (".git/worktrees/side/HEAD", true),
            (".git/worktrees/side/index", true),
            (".git/worktrees/side/COMMIT_EDITMSG", true),
            (".git/worktrees/side/ORIG_HEAD", true),
            (".git/worktrees/side/AUTO_MERGE", true),
            (".git/worktrees/side/logs/HEAD", true),
            (".git/worktrees/side/config.worktree", false),
            (".git/worktrees/side/gitdir", false),
            (".git/worktrees/side/commondir", false),
            (".git/worktrees/side/HEAD/x", false),
            (".git/worktrees/side/refs/x", false),
            (".git/worktrees/side/../HEAD", false),
            (".git/worktrees/../HEAD", false),
            (".git/worktrees/.idea/HEAD", false),
            (".git/worktrees/side/other/HEAD", false),
            (".git/worktrees/side", false),
            (".git/worktrees/HEAD", false),
            (".git/worktrees", false),
            (".git/config", false),
            (".git/hooks/pre-commit", false),
            (".git/info/attributes", false),
            (".git/HEAD/hooks", false),
            (".git/refs/../config", false),
            (".git/refs/.git/hooks/x", false),
            (".git", false),
            (".vscode/.git/HEAD", false),
            (".GIT/HEAD", false),
            ("HEAD", false),
        ] {
            assert_eq!(is_git_state(Path::new(path)), is_state, "{path}");
        }
    }
}
