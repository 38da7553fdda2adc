//! Fetches what is new at a remote.

use crate::{
    remote::{Moved, check_name, default_remote, moved, tracked},
    repository::Repository,
    revision::{Revision, default_repository},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Place, Result, Tool};
use std::time::Duration;

pub(crate) struct GitFetch;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Any directory of the repository.
    #[serde(default = "default_repository")]
    repository: String,
    /// The name of the remote.
    #[serde(default = "default_remote")]
    remote: String,
    /// One branch of it; all of them if left out.
    #[serde(default)]
    branch: Option<Revision>,
    /// Forget branches of it that are gone there.
    #[serde(default)]
    prune: bool,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// Branches of the remote, and tags, that point elsewhere now.
    moved: Vec<Moved>,
}

impl Tool for GitFetch {
    const NAME: &'static str = "git_fetch";
    const SUMMARY: &'static str = "Fetch what is new at a remote, without touching the working tree. Reaches the remote's host and no other.";
    const KEYWORDS: &'static str = "download see what is new on the remote repository origin upstream latest | récupérer télécharger distant mettre à jour synchroniser";
    const EFFECT: Effect = Effect::External;
    const PLACE: Place = Place::Remote;
    const TIMEOUT: Duration = Duration::from_secs(600);
    type Input = Input;
    type Output = Output;

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let repository = Repository::find(ctx.workspace()?, &input.repository)?;
        let moved = fetch(ctx, &repository, &input.remote, input.branch.as_ref(), input.prune).await?;
        Ok(Output { moved })
    }
}

/// Fetches; what moved by that.
pub(crate) async fn fetch(
    ctx: &CallCtx,
    repository: &Repository,
    remote: &str,
    branch: Option<&Revision>,
    prune: bool,
) -> Result<Vec<Moved>> {
    check_name(remote)?;
    repository.check_transport()?;
    let before = tracked(ctx, repository).await?;
    let mut arguments = vec!["fetch", "--progress", "--no-recurse-submodules", "--no-auto-maintenance"];
    arguments.extend(prune.then_some("--prune"));
    arguments.extend(["--end-of-options", remote]);
    arguments.extend(branch.map(Revision::as_str));
    repository.reach(ctx, arguments).await?.check()?;
    Ok(moved(&before, &tracked(ctx, repository).await?))
}
