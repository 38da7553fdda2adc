//! Tools on the Git repositories of a workspace, through the `git` program with everything that its
//! configuration could execute switched off. Reaches a network only for remotes, and only their host.

mod add;
mod blame;
mod branch;
mod checkout;
mod clone;
mod commit;
mod config;
mod diff;
mod documents;
mod execute;
mod fetch;
pub mod helper;
mod lender;
mod log;
mod progress;
mod pull;
mod push;
mod remote;
mod repository;
mod revision;
mod show;
mod stash;
mod state;
mod status;
mod worktree;

pub use documents::{attribution, sources};

use skynet_core::Toolset;

/// The git family: what is used all day.
#[must_use]
pub fn toolset() -> Toolset {
    Toolset::new("git", "status, diff, log, show, add, commit and checkout of Git repositories")
        .altering(&[])
        .with(status::GitStatus)
        .with(diff::GitDiff)
        .with(log::GitLog)
        .with(show::GitShow)
        .with(add::GitAdd)
        .with(commit::GitCommit)
        .with(checkout::GitCheckout)
}

/// The rest of it.
#[must_use]
pub fn more() -> Toolset {
    Toolset::new(
        "git_more",
        "blame, branches, stash and worktrees of Git repositories; fetch, pull, push and clone",
    )
    .altering(&[])
    .with(blame::GitBlame)
    .with(branch::GitBranch)
    .with(stash::GitStash)
    .with(worktree::GitWorktree)
    .with(fetch::GitFetch)
    .with(pull::GitPull)
    .with(push::GitPush)
    .with(clone::GitClone)
}

/// What the daemon asks before it opens a way to a remote.
#[must_use]
pub fn in_hands() -> Toolset {
    Toolset::new("git_remote", "where remotes are").with(remote::GitFindRemote)
}
