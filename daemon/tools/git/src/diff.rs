//! Shows differences.

use crate::{
    repository::Repository,
    revision::{Revision, default_repository},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Error, Place, Result, Tool};
use std::{ffi::OsString, time::Duration};

pub(crate) struct GitDiff;

const fn default_context() -> u32 {
    3
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Any directory of the repository.
    #[serde(default = "default_repository")]
    repository: String,
    /// Compare the index with the head.
    #[serde(default)]
    staged: bool,
    /// Compare from this commit.
    #[serde(default)]
    from: Option<Revision>,
    /// With `from`: to this commit instead of the working tree.
    #[serde(default)]
    to: Option<Revision>,
    /// Only these files or directories.
    #[serde(default)]
    paths: Vec<String>,
    /// Lines of context.
    #[serde(default = "default_context")]
    #[schemars(range(max = 100))]
    context: u32,
    /// Only which files changed by how many lines.
    #[serde(default)]
    stat: bool,
    /// Most bytes of diff.
    #[serde(default)]
    #[schemars(range(min = 1, max = 4194304))]
    #[allow(dead_code, reason = "the pipeline reads it and tells `ctx.max_bytes`")]
    max_bytes: Option<u64>,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// As a unified diff, or a table with `stat`; empty if nothing differs.
    diff: String,
    /// Resource with the whole diff, if this is only its start.
    #[serde(skip_serializing_if = "Option::is_none")]
    whole: Option<String>,
}

/// Options that keep Git from running drivers and from coloring.
pub(crate) const PLAIN: [&str; 4] =
    ["--no-ext-diff", "--no-textconv", "--no-color", "--ignore-submodules=dirty"];

impl Tool for GitDiff {
    const NAME: &'static str = "git_diff";
    const SUMMARY: &'static str =
        "Show changes as a unified diff: working tree, index (`staged`), or between two commits.";
    const KEYWORDS: &'static str = "changes difference compare what changed since commit unstaged modified lines between | montre différences changements comparer modifications entre diff";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Hands;
    const TIMEOUT: Duration = Duration::from_secs(60);
    type Input = Input;
    type Output = Output;

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let workspace = ctx.workspace()?;
        let repository = Repository::find(workspace, &input.repository)?;
        let mut arguments: Vec<OsString> = vec!["diff".into()];
        arguments.extend(PLAIN.map(OsString::from));
        arguments.push(format!("--unified={}", input.context).into());
        if input.stat {
            arguments.push("--stat=120".into());
        }
        if input.staged {
            arguments.push("--cached".into());
        }
        arguments.push("--end-of-options".into());
        match (&input.from, &input.to) {
            (Some(from), to) => arguments.extend(
                [Some(from), to.as_ref()].into_iter().flatten().map(|revision| revision.as_str().into()),
            ),
            (None, Some(_)) => return Err(Error::invalid_input("`to` needs `from`")),
            (None, None) => {}
        }
        arguments.push("--".into());
        for path in &input.paths {
            arguments.push(repository.pathspec(workspace, path)?);
        }
        let output = repository.check(ctx, &[], arguments).await?;
        let (diff, whole) = output.bounded(ctx, "diff.patch").await?;
        Ok(Output { diff, whole })
    }
}
