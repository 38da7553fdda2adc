//! Switches branches, or takes files back.

use crate::{
    repository::Repository,
    revision::{Revision, default_repository},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Error, Place, Result, Subject, Tool};
use std::{ffi::OsString, time::Duration};

pub(crate) struct GitCheckout;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Any directory of the repository.
    #[serde(default = "default_repository")]
    repository: String,
    /// Branch or commit to switch to; with `paths`, where to take them from (the index if left out).
    #[serde(default)]
    target: Option<Revision>,
    /// Make `target` as a new branch here.
    #[serde(default)]
    create: bool,
    /// Take back these files instead of switching, losing their changes; this asks a human.
    #[serde(default)]
    paths: Vec<String>,
    /// Switch even if local changes are lost; this asks a human.
    #[serde(default)]
    force: bool,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// The branch now, empty when the head is detached.
    branch: String,
    /// The commit now.
    head: String,
}

impl Tool for GitCheckout {
    const NAME: &'static str = "git_checkout";
    const SUMMARY: &'static str = "Switch to a branch or commit, create a branch, or take files back. What would lose changes asks a human.";
    const KEYWORDS: &'static str = "switch branch go to revert discard file changes restore version | basculer changer branche passer sur revenir abandonner modifications";
    const EFFECT: Effect = Effect::Write;
    const MOST: Effect = Effect::Destroy;
    const PLACE: Place = Place::Hands;
    const TIMEOUT: Duration = Duration::from_secs(120);
    type Input = Input;
    type Output = Output;

    fn effect(&self, input: &Input) -> Effect {
        if input.force || !input.paths.is_empty() { Effect::Destroy } else { Self::EFFECT }
    }

    fn changes(&self, input: &Input) -> Vec<Subject> {
        vec![Subject::Repository(input.repository.clone())]
    }

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let workspace = ctx.workspace()?;
        let repository = Repository::find(workspace, &input.repository)?;
        let target = input.target.as_ref().map(Revision::as_str);
        let mut arguments: Vec<OsString> = Vec::new();
        if input.paths.is_empty() {
            let target = target.ok_or_else(|| Error::invalid_input("give `target` or `paths`"))?;
            arguments.extend(
                ["checkout", "--quiet", "--no-guess", "--no-recurse-submodules", "--no-overwrite-ignore"]
                    .map(OsString::from),
            );
            if input.force {
                arguments.push("--force".into());
            }
            if input.create {
                arguments.extend(["-b".into(), target.into()]);
            } else {
                arguments.extend([target.into(), "--".into()]);
            }
        } else {
            arguments.extend(["restore", "--quiet", "--worktree"].map(OsString::from));
            if let Some(target) = target {
                arguments.extend(["--staged".into(), format!("--source={target}").into()]);
            }
            arguments.push("--".into());
            for path in &input.paths {
                arguments.push(repository.pathspec(workspace, path)?);
            }
        }
        repository.keep_state(ctx, &target.into_iter().filter(|_| input.create).collect::<Vec<_>>()).await?;
        // A new branch is made of what is there.
        if !input.create {
            let is_switch = input.paths.is_empty() && !input.force;
            let from = if is_switch { Some("HEAD") } else { None };
            let mut differing: Vec<OsString> = from.into_iter().chain(target).map(OsString::from).collect();
            let paths = arguments.iter().position(|part| part == "--");
            let paths = paths.and_then(|place| arguments.get(place..)).unwrap_or_default();
            differing.extend(paths.iter().cloned());
            if !is_switch {
                repository.refuse_assumed(ctx, paths).await?;
            }
            let head = repository.list(ctx, ["rev-parse", "--verify", "--quiet", "HEAD"]).await?;
            match target.filter(|_| is_switch && head.is_none()) {
                // Before the first commit of a branch there is nothing to differ from.
                Some(target) => repository.refuse_new_reserved(ctx, target).await?,
                None => repository.keep_files(ctx, differing).await?,
            }
        }
        repository.check(ctx, &[], arguments).await?;
        let branch =
            repository.run(ctx, &[], ["symbolic-ref", "--quiet", "--short", "HEAD"]).await?.text()?;
        let head = repository.run(ctx, &[], ["rev-parse", "--verify", "--quiet", "HEAD"]).await?.text()?;
        Ok(Output { branch: branch.trim().into(), head: head.trim().into() })
    }
}
