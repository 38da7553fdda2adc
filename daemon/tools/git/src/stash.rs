//! Puts changes aside and brings them back.

use crate::{
    repository::Repository,
    revision::default_repository,
    state::{names, refuse_reserved},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Error, Place, Result, Subject, Tool};
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
        // By its whole name: a branch may be called `stash`.
        let entry = format!("refs/stash@{{{}}}", input.index);
        // Found once: a command may put another one in its place between the look at it and its use.
        let id = match input.action {
            Action::Apply | Action::Pop => find(&repository, ctx, &entry).await?.ok_or_else(|| {
                let index = input.index;
                Error::not_found(format!("there is no entry {index} in the stash; `list` shows all of them"))
            })?,
            Action::List | Action::Show | Action::Push | Action::Drop => String::new(),
        };
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
            Action::Apply | Action::Pop => vec!["stash", "apply", "--quiet", "--index", &id],
            Action::Drop => vec!["stash", "drop", "--quiet", &entry],
        };
        match input.action {
            Action::List | Action::Show => {}
            Action::Drop => repository.keep_stashes(ctx).await?,
            Action::Push => {
                repository.refuse_assumed(ctx, &[]).await?;
                // Put back to the commit, which a command may have made.
                let mut listed = repository.differing(ctx, vec!["HEAD".into(), "--".into()]).await?;
                if input.include_untracked {
                    let list = ["ls-files", "--others", "--exclude-standard", "-z"];
                    // They would be taken away, and `pop` would not bring them back.
                    listed.extend(repository.check(ctx, &[], list).await?.bytes()?);
                }
                refuse_reserved(names(&listed))?;
                repository.keep_work(ctx, Some(listed)).await?;
            }
            Action::Apply | Action::Pop => {
                let listed = written_by(&repository, ctx, &id).await?;
                refuse_reserved(names(&listed))?;
                refuse_reserved(names(&added_since(&repository, ctx, &id).await?))?;
                let is_whole = is_based_here(&repository, ctx, &id).await?;
                repository.keep_work(ctx, Some(listed).filter(|_| is_whole)).await?;
            }
        }
        let mut diff = None;
        if !arguments.is_empty() {
            let done = repository.check_without_paths(ctx, &identity, arguments).await?;
            if input.action == Action::Show {
                diff = Some(done.bounded(ctx, "stash.patch").await?.0);
            }
        }
        if input.action == Action::Pop {
            if find(&repository, ctx, &entry).await?.as_ref() != Some(&id) {
                return Err(Error::conflict(
                    "the entry was brought back and not dropped: something else changed the list meanwhile; `list` shows it, and `drop` drops one",
                ));
            }
            repository.check_without_paths(ctx, &identity, ["stash", "drop", "--quiet", &entry]).await?;
        }
        let listed = repository.check(ctx, &[], ["stash", "list", "--format=%gd: %gs"]).await?;
        Ok(Output { entries: listed.text()?.lines().map(str::to_owned).collect(), diff })
    }
}

/// The object of that name; `None` if there is none.
async fn find(repository: &Repository, ctx: &CallCtx, name: &str) -> Result<Option<String>> {
    let found = repository.list(ctx, ["rev-parse", "--verify", "--quiet", name]).await?;
    Ok(found.map(|found| String::from_utf8_lossy(found.trim_ascii_end()).into_owned()))
}

/// What bringing an entry back writes: what was changed in it, and the untracked files, which are a commit of their own
/// (git-stash(1), "DISCUSSION"). `git stash show` lists none of these where one is in its base, or in its tree too.
async fn written_by(repository: &Repository, ctx: &CallCtx, id: &str) -> Result<Vec<u8>> {
    let differing = vec![format!("{id}^1").into(), id.into(), "--".into()];
    let mut listed = repository.differing(ctx, differing).await?;
    if let Some(untracked) = find(repository, ctx, &format!("{id}^3")).await? {
        let list = ["ls-tree", "-r", "-z", "--name-only", "--full-tree", &untracked];
        listed.extend(repository.check(ctx, &[], list).await?.bytes()?);
    }
    Ok(listed)
}

/// What is new in the index since an entry was put aside: Git may find that a file of it was renamed to one of these, or
/// its directory to the one of these, and then writes there.
async fn added_since(repository: &Repository, ctx: &CallCtx, id: &str) -> Result<Vec<u8>> {
    let base = format!("{id}^1").into();
    repository.differing(ctx, vec!["--cached".into(), "--diff-filter=A".into(), base, "--".into()]).await
}

/// Whether an entry was put aside at the commit that is checked out. Upon another one Git merges it, and may follow a file to
/// another name, so nobody can tell before which files that changes.
async fn is_based_here(repository: &Repository, ctx: &CallCtx, id: &str) -> Result<bool> {
    let base = find(repository, ctx, &format!("{id}^1")).await?;
    Ok(base.is_some() && base == find(repository, ctx, "HEAD").await?)
}
