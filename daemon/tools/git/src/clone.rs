//! Copies a remote repository into the workspace.

use crate::{
    config::{Filters, overrides},
    execute::{bare, reach},
    repository::Repository,
    revision::Revision,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{
    CallCtx, Effect, Error, Place, Result, Subject, Tool,
    target::{Existing, Target},
};
use std::{fs, time::Duration};

pub(crate) struct GitClone;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Where it is: `https://HOST/PATH`, or `[USER@]HOST:PATH` for SSH.
    #[schemars(length(min = 1, max = 2048))]
    url: String,
    /// The new directory, relative to the workspace; the last part of the URL, if left out.
    #[serde(default)]
    directory: Option<String>,
    /// The branch or tag to check out; the remote's own choice, if left out.
    #[serde(default)]
    branch: Option<Revision>,
    /// Only so many commits of the history.
    #[serde(default)]
    #[schemars(range(min = 1))]
    depth: Option<u32>,
}

impl Input {
    /// The directory, named or not.
    fn place(&self) -> &str {
        let named = self.url.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        let named = named.strip_suffix(".git").unwrap_or(named);
        self.directory.as_deref().unwrap_or(named)
    }
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// Where it lies.
    directory: String,
    /// The branch that is checked out; absent for a tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    branch: Option<String>,
    /// Its commit.
    head: String,
}

impl Tool for GitClone {
    const NAME: &'static str = "git_clone";
    const SUMMARY: &'static str = "Clone a repository into a new directory of the workspace. Whole or not at all. Reaches the URL's host and no other.";
    const KEYWORDS: &'static str =
        "download repository checkout github gitlab project | cloner télécharger dépôt projet";
    const EFFECT: Effect = Effect::External;
    const PLACE: Place = Place::Remote;
    const TIMEOUT: Duration = Duration::from_secs(1800);
    type Input = Input;
    type Output = Output;

    fn changes(&self, input: &Input) -> Vec<Subject> {
        vec![Subject::Path(input.place().to_owned())]
    }

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let workspace = ctx.workspace()?;
        let directory = input.place();
        let target = Target::entry(workspace, &workspace.relative(directory)?)?;
        if target.stat()?.is_some() {
            return Err(Error::conflict(format!("`{}` exists already", target.path)));
        }
        // Until it is whole it has another name.
        let scratch = target.scratch()?;
        let place = workspace.path().join(scratch.path.as_path());
        let mut arguments = vec![
            "clone".to_owned(),
            "--progress".into(),
            "--no-checkout".into(),
            "--template=".into(),
            "--no-recurse-submodules".into(),
        ];
        arguments
            .extend(input.branch.iter().flat_map(|branch| ["--branch".into(), branch.as_str().to_owned()]));
        arguments.extend(input.depth.map(|depth| format!("--depth={depth}")));
        arguments.extend(["--end-of-options".into(), input.url.clone(), place.display().to_string()]);
        let cloned = async {
            let mut command = bare(workspace.path());
            command.args(overrides(&[], Filters::Off)?);
            reach(ctx, command, arguments).await?.check()?;
            // Only now that nothing is lent any more: a command beside this may have written into the new repository which
            // programs a checkout runs.
            let new = Repository::find(workspace, &scratch.path.to_string())?;
            let head = new.run(ctx, &[], ["rev-parse", "--verify", "--quiet", "HEAD"]).await?;
            if head.status.success() {
                new.check(ctx, &[], ["reset", "--hard", "--quiet"]).await?;
            }
            scratch.settle(&target, Existing::Fail)
        };
        cloned.await.inspect_err(|_| {
            // Best effort: the error that counts is the first one.
            let _ = fs::remove_dir_all(&place);
        })?;
        let repository = Repository::find(workspace, &target.path.to_string())?;
        let line = async |arguments: &[&str]| -> Result<String> {
            let said = repository.run(ctx, &[], arguments.iter().copied()).await?;
            Ok(said.text()?.trim_end().to_owned())
        };
        let branch = line(&["symbolic-ref", "--short", "--quiet", "HEAD"]).await?;
        Ok(Output {
            directory: target.path.to_string(),
            branch: Some(branch).filter(|branch| !branch.is_empty()),
            head: line(&["rev-parse", "HEAD"]).await?,
        })
    }
}
