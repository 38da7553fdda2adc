//! Records a commit.

use crate::{
    log::{self, Commit},
    repository::Repository,
    revision::default_repository,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Error, Place, Result, Tool};
use std::time::Duration;

pub(crate) struct GitCommit;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Any directory of the repository, relative to the workspace.
    #[serde(default = "default_repository")]
    repository: String,
    /// The whole message: a subject, a blank line, a body.
    #[schemars(length(min = 1, max = 65536))]
    message: String,
    /// Stage all changes of tracked files first.
    #[serde(default)]
    all: bool,
    /// Replace the last commit.
    #[serde(default)]
    amend: bool,
    /// Commit even if nothing is staged.
    #[serde(default)]
    allow_empty: bool,
    /// Sign with the key of the user's own configuration.
    #[serde(default)]
    sign: bool,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// The new commit.
    commit: Commit,
}

impl Tool for GitCommit {
    const NAME: &'static str = "git_commit";
    const SUMMARY: &'static str =
        "Commit what is staged, as the user of Git's configuration. Hooks of the repository are not run.";
    const KEYWORDS: &'static str = "record save commit staged changes message amend | valider enregistrer commiter faire commit message amender";
    const EFFECT: Effect = Effect::Write;
    const PLACE: Place = Place::Hands;
    const TIMEOUT: Duration = Duration::from_secs(120);
    type Input = Input;
    type Output = Output;

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let repository = Repository::find(ctx.workspace()?, &input.repository)?;
        let repository = if input.all { repository.for_recording(ctx).await? } else { repository };
        let identity = repository.identity(input.sign);
        let message = format!("--message={}", input.message);
        let mut arguments = vec!["commit", "--quiet", "--no-verify", "--cleanup=whitespace", &message];
        let options = [
            (input.all, "--all"),
            (input.amend, "--amend"),
            (input.allow_empty, "--allow-empty"),
            (input.sign, "--gpg-sign"),
        ];
        arguments.extend(options.iter().filter(|(is_set, _)| *is_set).map(|(_, option)| *option));
        repository.keep_state(ctx, &[]).await?;
        let done = repository.run(ctx, &identity, arguments).await?;
        if !done.status.success() {
            // Git says on stdout that there is nothing to commit.
            let said = done.text()?;
            if said.contains("nothing to commit")
                || said.contains("nothing added to commit")
                || said.contains("no changes added")
            {
                return Err(Error::conflict(
                    "nothing is staged; stage files with `git_add`, or set `all` or `allow_empty`",
                ));
            }
            return Err(done.to_error());
        }
        let head = ["log", log::FORMAT, "--no-color", "--max-count=1", "--no-show-signature"];
        let commits = log::parse(&repository.check(ctx, &[], head).await?.text()?);
        let commit =
            commits.into_iter().next().ok_or_else(|| Error::internal("the new commit cannot be read"))?;
        Ok(Output { commit })
    }
}
