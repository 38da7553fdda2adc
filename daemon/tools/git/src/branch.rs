//! Lists, creates, renames and deletes branches.

use crate::{
    repository::Repository,
    revision::{Revision, default_repository},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Error, Place, Result, Subject, Tool};

pub(crate) struct GitBranch;

/// What to do.
#[derive(Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Action {
    #[default]
    List,
    Create,
    Rename,
    Delete,
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
    /// The branch to create, rename or delete.
    #[serde(default)]
    name: Option<Revision>,
    /// With `create`: where it starts; the head if left out.
    #[serde(default)]
    start: Option<Revision>,
    /// With `rename`: the new name.
    #[serde(default)]
    new_name: Option<Revision>,
    /// With `delete`: even if its commits are on no other branch; this asks a human.
    #[serde(default)]
    force: bool,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// All branches afterwards, local ones first.
    branches: Vec<Branch>,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Branch {
    /// Such as `main` or `origin/main`.
    name: String,
    /// Whether it is checked out here.
    current: bool,
    /// Where it points.
    commit: String,
    /// First line of that commit's message.
    subject: String,
    /// What it follows.
    #[serde(skip_serializing_if = "String::is_empty")]
    upstream: String,
}

impl Tool for GitBranch {
    const NAME: &'static str = "git_branch";
    const SUMMARY: &'static str = "List, create, rename or delete branches. Deleting one with unmerged commits needs `force` and a human.";
    const KEYWORDS: &'static str =
        "branches list new rename delete feature | branche branches lister créer nouvelle renommer supprimer";
    const EFFECT: Effect = Effect::Read;
    const MOST: Effect = Effect::Destroy;
    const PLACE: Place = Place::Hands;
    type Input = Input;
    type Output = Output;

    fn effect(&self, input: &Input) -> Effect {
        match (input.action, input.force) {
            (Action::List, _) => Effect::Read,
            (Action::Delete, true) => Effect::Destroy,
            (Action::Create | Action::Rename | Action::Delete, _) => Effect::Write,
        }
    }

    fn changes(&self, input: &Input) -> Vec<Subject> {
        vec![Subject::Repository(input.repository.clone())]
    }

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let repository = Repository::find(ctx.workspace()?, &input.repository)?;
        let name = || {
            input
                .name
                .as_ref()
                .map(Revision::as_str)
                .ok_or_else(|| Error::invalid_input("this action needs `name`"))
        };
        if input.action != Action::List {
            let names = [&input.name, &input.new_name];
            let names: Vec<_> = names.into_iter().flatten().map(Revision::as_str).collect();
            repository.keep_state(ctx, &names).await?;
        }
        match input.action {
            Action::List => {}
            Action::Create => {
                let mut arguments = vec!["branch", "--no-track", "--end-of-options", name()?];
                arguments.extend(input.start.as_ref().map(Revision::as_str));
                repository.check(ctx, &[], arguments).await?;
            }
            Action::Rename => {
                let new_name = input.new_name.as_ref().map(Revision::as_str);
                let new_name = new_name.ok_or_else(|| Error::invalid_input("`rename` needs `new_name`"))?;
                rename(&repository, ctx, name()?, new_name).await?;
            }
            Action::Delete => delete(&repository, ctx, name()?, input.force).await?,
        }
        let format =
            "--format=%(refname:short)%1f%(HEAD)%1f%(objectname)%1f%(contents:subject)%1f%(upstream:short)";
        let listed =
            repository.check(ctx, &[], ["for-each-ref", format, "refs/heads", "refs/remotes"]).await?;
        Ok(Output { branches: listed.text()?.lines().filter_map(parse).collect() })
    }
}

/// Git's own command writes the configuration anew as well, and while it does, a command that runs in the workspace could put
/// what it likes in there. So what the configuration says of the branch, its upstream, stays under the old name.
async fn rename(repository: &Repository, ctx: &CallCtx, old: &str, new: &str) -> Result<()> {
    let (from, to) = (format!("refs/heads/{old}"), format!("refs/heads/{new}"));
    let head = tip(repository, ctx, old).await?;
    let trees = checked_out(repository, ctx, &from).await?;
    let current = repository.run(ctx, &[], ["symbolic-ref", "--quiet", "HEAD"]).await?.text()?;
    let is_current = current.trim() == from;
    if trees > usize::from(is_current) {
        return Err(Error::conflict(format!("`{old}` is checked out in another working tree")));
    }
    repository
        .check(ctx, &[], ["check-ref-format", &to])
        .await
        .map_err(|_| Error::invalid_input(format!("`{new}` is no name of a branch")))?;
    // Only if there is none.
    repository
        .check(ctx, &[], ["update-ref", "-m", "branch: renamed", &to, &head, &"0".repeat(head.len())])
        .await?;
    if is_current {
        repository.check(ctx, &[], ["symbolic-ref", "-m", "branch: renamed", "HEAD", &to]).await?;
    }
    repository.check(ctx, &[], ["update-ref", "-d", &from, &head]).await.map(drop)
}

/// As [`rename`], past Git's own command, with its checks.
async fn delete(repository: &Repository, ctx: &CallCtx, name: &str, force: bool) -> Result<()> {
    let reference = format!("refs/heads/{name}");
    let head = tip(repository, ctx, name).await?;
    if checked_out(repository, ctx, &reference).await? > 0 {
        return Err(Error::conflict(format!("`{name}` is checked out; check out another branch first")));
    }
    if !force {
        let upstream = ["for-each-ref", "--format=%(upstream)", &reference];
        let upstream = repository.check(ctx, &[], upstream).await?.text()?;
        let mut is_merged = false;
        for into in ["HEAD", upstream.trim()].into_iter().filter(|into| !into.is_empty()) {
            let asked = ["merge-base", "--is-ancestor", &head, into];
            is_merged |= repository.run(ctx, &[], asked).await?.status.success();
        }
        if !is_merged {
            return Err(Error::conflict(format!(
                "`{name}` is not fully merged, so commits would be lost; `force` deletes it all the same"
            )));
        }
    }
    repository.check(ctx, &[], ["update-ref", "-d", &reference, &head]).await.map(drop)
}

/// The commit of a branch.
async fn tip(repository: &Repository, ctx: &CallCtx, name: &str) -> Result<String> {
    let reference = format!("refs/heads/{name}");
    let asked = ["rev-parse", "--verify", "--quiet", "--end-of-options", &reference];
    let found = repository.run(ctx, &[], asked).await?;
    if !found.status.success() {
        return Err(Error::not_found(format!("there is no branch `{name}`")));
    }
    Ok(found.text()?.trim().to_owned())
}

/// In how many working trees.
async fn checked_out(repository: &Repository, ctx: &CallCtx, reference: &str) -> Result<usize> {
    let listed = repository.check(ctx, &[], ["worktree", "list", "--porcelain"]).await?.text()?;
    Ok(listed.lines().filter(|line| line.strip_prefix("branch ") == Some(reference)).count())
}

fn parse(line: &str) -> Option<Branch> {
    let mut fields = line.split('\u{1f}').map(str::to_owned);
    Some(Branch {
        name: fields.next()?,
        current: fields.next()? == "*",
        commit: fields.next()?,
        subject: fields.next()?,
        upstream: fields.next()?,
    })
}
