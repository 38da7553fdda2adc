//! Fetches, and moves the branch that is checked out forward.

use crate::{
    fetch::fetch,
    remote::{Moved, default_remote},
    repository::Repository,
    revision::{Revision, default_repository},
    state::{names, refuse_reserved},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Error, Place, Result, Subject, Tool};
use std::time::Duration;

pub(crate) struct GitPull;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Any directory of the repository.
    #[serde(default = "default_repository")]
    repository: String,
    /// The name of the remote.
    #[serde(default = "default_remote")]
    remote: String,
    /// The branch of it to follow; what the branch that is checked out follows, if left out.
    #[serde(default)]
    branch: Option<Revision>,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// Branches of the remote, and tags, that point elsewhere now.
    moved: Vec<Moved>,
    /// Where the working tree was.
    old: String,
    /// Where it is.
    new: String,
}

impl Tool for GitPull {
    const NAME: &'static str = "git_pull";
    const SUMMARY: &'static str = "Fetch from a remote, and move the branch that is checked out forward to it. Refused where both have commits of their own: then fetch, and merge or rebase.";
    const KEYWORDS: &'static str = "update latest changes remote fast-forward sync | tirer récupérer dernières modifications mettre ma branche à jour depuis distant";
    const EFFECT: Effect = Effect::External;
    const PLACE: Place = Place::Remote;
    const TIMEOUT: Duration = Duration::from_secs(600);
    type Input = Input;
    type Output = Output;

    fn changes(&self, input: &Input) -> Vec<Subject> {
        vec![Subject::WorkTree(input.repository.clone())]
    }

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let repository = Repository::find(ctx.workspace()?, &input.repository)?;
        let head = async || -> Result<String> {
            let found = repository.check(ctx, &[], ["rev-parse", "HEAD"]).await?;
            Ok(found.text()?.trim_end().to_owned())
        };
        let old = head().await?;
        let moved = fetch(ctx, &repository, &input.remote, input.branch.as_ref(), false).await?;
        let target = match &input.branch {
            Some(branch) => format!("refs/remotes/{}/{}", input.remote, branch.as_str()),
            None => "@{upstream}".to_owned(),
        };
        let target =
            repository.check(ctx, &[], ["rev-parse", "--verify", "--end-of-options", &target]).await?;
        let target = target.text()?.trim_end().to_owned();
        if is_ancestor(&repository, ctx, &target, &old).await? {
            return Ok(Output { moved, new: old.clone(), old });
        }
        if !is_ancestor(&repository, ctx, &old, &target).await? {
            return Err(Error::conflict(
                "the branch that is checked out and what was fetched have each commits of their own, so it cannot be moved forward; merge or rebase",
            ));
        }
        // What was fetched stays: it says where the remote is. The branch and the files can be taken back.
        let differing = vec![old.clone().into(), target.clone().into(), "--".into()];
        let listed = repository.differing(ctx, differing).await?;
        // Where the remote's branch is, a command may have written as well as the remote.
        refuse_reserved(names(&listed)).map_err(|err| {
            Error::denied(format!("{}: `git merge --ff-only {target}`, for it is fetched", err.message))
        })?;
        repository.keep_work(ctx, Some(listed)).await?;
        repository.check(ctx, &[], ["merge", "--ff-only", "--no-stat", "--end-of-options", &target]).await?;
        Ok(Output { moved, old, new: head().await? })
    }
}

/// Whether all that `one` has is in `other` (git-merge-base(1), `--is-ancestor`: 0 is yes, and 1 is no).
async fn is_ancestor(repository: &Repository, ctx: &CallCtx, one: &str, other: &str) -> Result<bool> {
    let found = repository.run(ctx, &[], ["merge-base", "--is-ancestor", one, other]).await?;
    match found.status.code() {
        Some(0) => Ok(true),
        Some(1) => Ok(false),
        _ => Err(found.to_error()),
    }
}
