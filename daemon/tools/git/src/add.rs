//! Stages changes.

use crate::{repository::Repository, revision::default_repository};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Error, Place, Result, Subject, Tool};
use std::{ffi::OsString, time::Duration};

pub(crate) struct GitAdd;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Any directory of the repository.
    #[serde(default = "default_repository")]
    repository: String,
    /// Files and directories to stage, deletions included.
    #[serde(default)]
    paths: Vec<String>,
    /// Stage everything that changed.
    #[serde(default)]
    all: bool,
    /// Take the paths out of the index instead; the working tree stays.
    #[serde(default)]
    unstage: bool,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// What is staged now: state and path per line, as in `git diff --cached --name-status`.
    staged: String,
}

impl Tool for GitAdd {
    const NAME: &'static str = "git_add";
    const SUMMARY: &'static str =
        "Stage files for the next commit, or take them out of the index with `unstage`.";
    const KEYWORDS: &'static str = "stage unstage index track staging area | indexer préparer ajouter index suivre désindexer fichier prochain commit";
    const EFFECT: Effect = Effect::Write;
    const PLACE: Place = Place::Hands;
    const TIMEOUT: Duration = Duration::from_secs(120);
    type Input = Input;
    type Output = Output;

    fn changes(&self, input: &Input) -> Vec<Subject> {
        vec![Subject::Repository(input.repository.clone())]
    }

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let workspace = ctx.workspace()?;
        let repository = Repository::find(workspace, &input.repository)?;
        let repository = if input.unstage { repository } else { repository.for_recording(ctx).await? };
        let command: &[&str] = match (input.unstage, input.all, input.paths.is_empty()) {
            (true, _, false) => &["reset", "--quiet"],
            (true, true, true) => &["reset", "--quiet"],
            (false, false, false) => &["add", "--all"],
            (false, true, true) => &["add", "--all", "."],
            (false, true, false) => return Err(Error::invalid_input("give either `paths` or `all`")),
            (_, false, true) => {
                return Err(Error::invalid_input("give `paths`, or `all` for everything that changed"));
            }
        };
        let mut arguments: Vec<OsString> = command.iter().map(OsString::from).collect();
        if !input.paths.is_empty() {
            arguments.push("--".into());
        }
        for path in &input.paths {
            arguments.push(repository.pathspec(workspace, path)?);
        }
        repository.keep_state(ctx, &[]).await?;
        repository.check(ctx, &[], arguments).await?;
        let staged =
            repository.check(ctx, &[], ["diff", "--cached", "--name-status", "--no-ext-diff"]).await?;
        Ok(Output { staged: staged.bounded(ctx, "staged.txt").await?.0 })
    }
}
