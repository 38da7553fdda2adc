//! Lists, adds and removes linked working trees.

use crate::{
    repository::Repository,
    revision::{Revision, default_repository},
};
use rustix::fs::{AtFlags, FileType};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Error, Place, Result, Subject, Tool, reserved};
use std::{ffi::OsString, time::Duration};

pub(crate) struct GitWorktree;

/// What to do.
#[derive(Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Action {
    #[default]
    List,
    Add,
    Remove,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Any directory of the repository.
    #[serde(default = "default_repository")]
    repository: String,
    /// What to do.
    #[serde(default)]
    action: Action,
    /// Directory of the working tree, relative to the workspace.
    #[serde(default)]
    path: Option<String>,
    /// With `add`: the branch to check out there, made at the head if it does not exist.
    #[serde(default)]
    branch: Option<Revision>,
    /// With `remove`: even if changes are lost.
    #[serde(default)]
    force: bool,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// All working trees afterwards, the main one first.
    worktrees: Vec<Tree>,
}

#[derive(Debug, Default, PartialEq, Serialize, JsonSchema)]
pub(crate) struct Tree {
    /// Absolute path.
    path: String,
    /// The commit checked out.
    head: String,
    /// The branch, empty when the head is detached.
    branch: String,
}

impl Tool for GitWorktree {
    const NAME: &'static str = "git_worktree";
    const SUMMARY: &'static str = "List, add or remove linked working trees, to work on several branches side by side inside the workspace. Removing asks a human.";
    const KEYWORDS: &'static str = "parallel checkout second working copy linked tree several branches at once | arbre de travail copie parallèle plusieurs branches simultanément";
    const EFFECT: Effect = Effect::Read;
    const MOST: Effect = Effect::Destroy;
    const PLACE: Place = Place::Hands;
    const TIMEOUT: Duration = Duration::from_secs(120);
    type Input = Input;
    type Output = Output;

    fn effect(&self, input: &Input) -> Effect {
        match input.action {
            Action::List => Effect::Read,
            Action::Add => Effect::Write,
            // Git asks nobody about ignored files in it.
            Action::Remove => Effect::Destroy,
        }
    }

    fn changes(&self, input: &Input) -> Vec<Subject> {
        let tree = input.path.iter().cloned().map(Subject::Path);
        tree.chain([Subject::Repository(input.repository.clone())]).collect()
    }

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let workspace = ctx.workspace()?;
        let repository = Repository::find(workspace, &input.repository)?;
        let path = || -> Result<OsString> {
            let path =
                input.path.as_deref().ok_or_else(|| Error::invalid_input("this action needs `path`"))?;
            let relative = workspace.relative(path)?;
            // The parent must be inside; Git makes the last directory itself.
            let (parent, name) = relative.split()?;
            let parent = workspace.open_directory(&parent)?;
            let real = workspace.locate(std::os::fd::AsFd::as_fd(&parent));
            let real = real.ok_or_else(|| Error::denied(format!("`{path}` leads out of the workspace")))?;
            let place = real.join(name);
            reserved::check(workspace, &place)?;
            // Git would follow a link.
            let found = rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW);
            match (input.action, found) {
                (Action::Add, Ok(_)) => Err(Error::conflict(format!("`{path}` exists already"))),
                (Action::Remove, Ok(stat))
                    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory =>
                {
                    Err(Error::invalid_input(format!("`{path}` is no directory")))
                }
                _ => Ok(workspace.path().join(place.as_path()).into_os_string()),
            }
        };
        let mut arguments: Vec<OsString> = vec!["worktree".into()];
        match input.action {
            Action::List => {}
            Action::Add => {
                let branch = input.branch.as_ref().map(Revision::as_str);
                let branch = branch.ok_or_else(|| Error::invalid_input("`add` needs `branch`"))?;
                let reference = format!("refs/heads/{branch}");
                let exists = repository
                    .run(ctx, &[], ["rev-parse", "--verify", "--quiet", "--end-of-options", &reference])
                    .await?;
                arguments.extend(["add", "--quiet", "--no-guess-remote"].map(OsString::from));
                let tree = if exists.status.success() { reference.as_str() } else { "HEAD" };
                repository.refuse_new_reserved(ctx, tree).await?;
                if exists.status.success() {
                    arguments.extend(["--".into(), path()?, branch.into()]);
                } else {
                    arguments.extend(["-b".into(), branch.into(), "--".into(), path()?]);
                }
                repository.check(ctx, &[], arguments).await?;
            }
            Action::Remove => {
                arguments.push("remove".into());
                if input.force {
                    arguments.push("--force".into());
                }
                arguments.extend(["--".into(), path()?]);
                repository.check(ctx, &[], arguments).await?;
            }
        }
        let listed = repository.check(ctx, &[], ["worktree", "list", "--porcelain"]).await?;
        Ok(Output { worktrees: parse(&listed.text()?) })
    }
}

/// Reads `git worktree list --porcelain` (git-worktree(1), "Porcelain Format").
fn parse(text: &str) -> Vec<Tree> {
    let mut trees: Vec<Tree> = Vec::new();
    for line in text.lines() {
        match (line.split_once(' '), trees.last_mut()) {
            (Some(("worktree", path)), _) => trees.push(Tree { path: path.into(), ..Tree::default() }),
            (Some(("HEAD", head)), Some(tree)) => tree.head = head.into(),
            (Some(("branch", name)), Some(tree)) => {
                tree.branch = name.trim_start_matches("refs/heads/").into();
            }
            _ => {}
        }
    }
    trees
}
