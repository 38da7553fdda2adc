//! Tools on the Git repositories of a workspace, through the `git` program with everything that its
//! configuration could execute switched off. Never reaches a network.

mod add;
mod blame;
mod branch;
mod checkout;
mod commit;
mod config;
mod diff;
mod log;
mod repository;
mod revision;
mod show;
mod stash;
mod status;
mod worktree;

use skynet_core::Toolset;

/// The git family.
#[must_use]
pub fn toolset() -> Toolset {
    Toolset::new()
        .with(status::GitStatus)
        .with(diff::GitDiff)
        .with(log::GitLog)
        .with(show::GitShow)
        .with(blame::GitBlame)
        .with(add::GitAdd)
        .with(commit::GitCommit)
        .with(branch::GitBranch)
        .with(checkout::GitCheckout)
        .with(stash::GitStash)
        .with(worktree::GitWorktree)
}
