//! Puts changes aside and brings them back.

use crate::{
    repository::Repository,
    revision::default_repository,
    state::{names, refuse_reserved},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Place, Result, Subject, Tool};
use std::time::Duration;

pub(crate) struct GitStash;

/// What to do.
#[derive(Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Action {
    #[default]
    List,
    Push,
    Show,
    /// Bring it back and keep the entry.
    Apply,
    /// Bring it back and drop the entry.
    Pop,
    /// Lose it; this asks a human.
    Drop,
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
    /// Which entry, from 0 for the newest.
    #[serde(default)]
    #[schemars(range(max = 10000))]
    index: u32,
    /// With `push`: what to call it.
    #[serde(default)]
    message: Option<String>,
    /// With `push`: untracked files too.
    #[serde(default)]
    include_untracked: bool,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// All entries afterwards, newest first.
    entries: Vec<String>,
    /// With `show`: the diff.
    #[serde(skip_serializing_if = "Option::is_none")]
    diff: Option<String>,
}

impl Tool for GitStash {
    const NAME: &'static str = "git_stash";
    const SUMMARY: &'static str =
        "Put uncommitted changes aside and bring them back: list, push, show, apply, pop, drop.";
    const KEYWORDS: &'static str = "shelve put aside save work in progress temporarily pop apply | remiser mettre de côté réserve travail en cours temporairement reprendre";
    const EFFECT: Effect = Effect::Read;
    const MOST: Effect = Effect::Destroy;
    const PLACE: Place = Place::Hands;
    const TIMEOUT: Duration = Duration::from_secs(120);
    type Input = Input;
    type Output = Output;

    fn effect(&self, input: &Input) -> Effect {
        match input.action {
            Action::List | Action::Show => Effect::Read,
            Action::Push | Action::Apply | Action::Pop => Effect::Write,
            Action::Drop => Effect::Destroy,
        }
    }

    fn changes(&self, input: &Input) -> Vec<Subject> {
        let repository = input.repository.clone();
        vec![match input.action {
            Action::Push | Action::Apply | Action::Pop => Subject::WorkTree(repository),
            Action::List | Action::Show | Action::Drop => Subject::Repository(repository),
        }]
    }

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let repository = Repository::find(ctx.workspace()?, &input.repository)?;
        let repository =
            if input.action == Action::Push { repository.for_recording(ctx).await? } else { repository };
        let identity = repository.identity(false);
        let entry = format!("stash@{{{}}}", input.index);
        let message = format!("--message={}", input.message.as_deref().unwrap_or_default());
        let arguments = match input.action {
            Action::List => Vec::new(),
            Action::Show => {
                vec!["stash", "show", "--patch", "--no-ext-diff", "--no-textconv", "--no-color", &entry]
            }
            Action::Push => {
                let mut arguments = vec!["stash", "push", "--quiet"];
                arguments.extend(input.include_untracked.then_some("--include-untracked"));
                arguments.extend(input.message.is_some().then_some(message.as_str()));
                arguments
            }
            Action::Apply => vec!["stash", "apply", "--quiet", "--index", &entry],
            Action::Pop => vec!["stash", "pop", "--quiet", "--index", &entry],
            Action::Drop => vec!["stash", "drop", "--quiet", &entry],
        };
        match input.action {
            Action::List | Action::Show => {}
            Action::Drop => repository.keep_stashes(ctx).await?,
            Action::Push => {
                let listed = repository.differing(ctx, vec!["HEAD".into()]).await?;
                let mut others = Vec::new();
                if input.include_untracked {
                    let list = ["ls-files", "--others", "--exclude-standard", "-z"];
                    others = repository.check(ctx, &[], list).await?.bytes()?;
                    // They would be taken away, and `pop` would not bring them back.
                    refuse_reserved(names(&others))?;
                }
                repository.keep_work(ctx, listed.map(|listed| [listed, others].concat())).await?;
            }
            Action::Apply | Action::Pop => {
                let shown =
                    ["stash", "show", "--include-untracked", "--name-only", "--no-renames", "-z", &entry];
                let shown = repository.run(ctx, &[], shown).await?;
                // What there is not, the command itself refuses.
                if let Ok(listed) = shown.bytes() {
                    refuse_reserved(names(&listed))?;
                    let is_whole = shown.status.success() && is_based_here(&repository, ctx, &entry).await?;
                    repository.keep_work(ctx, Some(listed).filter(|_| is_whole)).await?;
                }
            }
        }
        let mut diff = None;
        if !arguments.is_empty() {
            let done = repository.check_without_paths(ctx, &identity, arguments).await?;
            if input.action == Action::Show {
                diff = Some(done.bounded(ctx, "stash.patch").await?.0);
            }
        }
        let listed = repository.check(ctx, &[], ["stash", "list", "--format=%gd: %gs"]).await?;
        Ok(Output { entries: listed.text()?.lines().map(str::to_owned).collect(), diff })
    }
}

/// Whether an entry was put aside at the commit that is checked out. Upon another one Git merges it, and may follow a file to
/// another name, so nobody can tell before which files that changes.
async fn is_based_here(repository: &Repository, ctx: &CallCtx, entry: &str) -> Result<bool> {
    let base = format!("{entry}^1");
    let found = repository.list(ctx, ["rev-parse", "--verify", "--quiet", &base]).await?;
    Ok(found.is_some() && found == repository.list(ctx, ["rev-parse", "--verify", "--quiet", "HEAD"]).await?)
}
