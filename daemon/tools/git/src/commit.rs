//! Records a commit.

use crate::{
    log::{self, Commit},
    repository::Repository,
    revision::default_repository,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Error, Place, Result, Subject, Tool};
use std::{ffi::OsString, time::Duration};

pub(crate) struct GitCommit;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Any directory of the repository.
    #[serde(default = "default_repository")]
    repository: String,
    /// The whole message: a subject, a blank line, a body.
    #[schemars(length(min = 1, max = 65536))]
    message: String,
    /// Stage all changes of tracked files first.
    #[serde(default)]
    all: bool,
    /// Stage these first.
    #[serde(default)]
    paths: Vec<String>,
    /// Its author, as `NAME <MAIL>`, if not the user.
    #[serde(default)]
    author: Option<String>,
    /// Replace the last commit.
    #[serde(default)]
    amend: bool,
    /// Even if nothing is staged.
    #[serde(default)]
    allow_empty: bool,
    /// Sign with the user's key.
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

    fn changes(&self, input: &Input) -> Vec<Subject> {
        vec![Subject::Repository(input.repository.clone())]
    }

    fn acts_as(&self, input: &Input) -> &'static [&'static str] {
        if input.paths.is_empty() { &[] } else { &["git_add"] }
    }

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let workspace = ctx.workspace()?;
        let repository = Repository::find(workspace, &input.repository)?;
        let author = input.author.as_deref().map(author).transpose()?;
        let stages = input.all || !input.paths.is_empty();
        let repository = if stages { repository.for_recording(ctx).await? } else { repository };
        let mut staging: Vec<OsString> = ["add", "--all", "--"].map(OsString::from).to_vec();
        for path in &input.paths {
            staging.push(repository.pathspec(workspace, path)?);
        }
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
        arguments.extend(author.as_deref());
        repository.keep_state(ctx, &[]).await?;
        if !input.paths.is_empty() {
            repository.check(ctx, &[], staging).await?;
        }
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

/// The option that names an author, whom Git would else look for among those of older commits (git-commit(1), `--author`).
fn author(text: &str) -> Result<String> {
    let is_whole = text.split_once(" <").is_some_and(|(name, mail)| {
        !name.trim().is_empty() && mail.strip_suffix('>').is_some_and(|mail| mail.contains('@'))
    });
    if !is_whole || text.contains(['\n', '\0']) {
        return Err(Error::invalid_input(format!(
            "`author` is like `Ada Lovelace <ada@example.org>`, not `{text}`"
        )));
    }
    Ok(format!("--author={text}"))
}
