//! Shows one commit, or a file as it was.

use crate::{
    diff::PLAIN,
    log::{self, Commit},
    repository::Repository,
    revision::{Revision, default_repository},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Error, Place, Result, Tool};
use std::ffi::OsString;

pub(crate) struct GitShow;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Any directory of the repository.
    #[serde(default = "default_repository")]
    repository: String,
    /// The commit.
    revision: Revision,
    /// Show this file as it was then, instead of what the commit changed.
    #[serde(default)]
    path: Option<String>,
    /// Most bytes of content (default 65536).
    #[serde(default)]
    #[schemars(range(min = 1, max = 4194304))]
    #[allow(dead_code, reason = "the pipeline reads it and tells `ctx.max_bytes`")]
    max_bytes: Option<u64>,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// The commit.
    commit: Commit,
    /// What it changed, as a unified diff, or the file.
    content: String,
    /// Resource with the whole content, if this is only its start.
    #[serde(skip_serializing_if = "Option::is_none")]
    whole: Option<String>,
}

impl Tool for GitShow {
    const NAME: &'static str = "git_show";
    const SUMMARY: &'static str =
        "Show one commit with its diff, or with `path` a file as it was in that commit.";
    const KEYWORDS: &'static str = "show display commit details revision content of commit old version file at | détails contenu commit révision ancienne version montrer afficher commit";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Hands;
    type Input = Input;
    type Output = Output;

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let workspace = ctx.workspace()?;
        let repository = Repository::find(workspace, &input.repository)?;
        let revision = input.revision.as_str();
        let head = [
            "log",
            log::FORMAT,
            "--no-color",
            "--max-count=1",
            "--no-show-signature",
            "--end-of-options",
            revision,
            "--",
        ];
        let commits = log::parse(&repository.check(ctx, &[], head).await?.text()?);
        let commit = commits
            .into_iter()
            .next()
            .ok_or_else(|| Error::not_found(format!("`{revision}` is no commit")))?;
        let arguments: Vec<OsString> = match &input.path {
            Some(path) => {
                let spec = repository.pathspec(workspace, path)?;
                let mut object = OsString::from(format!("{}:", commit.id));
                object.push(spec);
                vec!["cat-file".into(), "blob".into(), object]
            }
            None => {
                let mut arguments: Vec<OsString> = vec!["show".into(), "--format=".into()];
                arguments.extend(PLAIN.map(OsString::from));
                arguments.extend(["--end-of-options".into(), OsString::from(&commit.id), "--".into()]);
                arguments
            }
        };
        let name = input.path.as_deref().and_then(|path| path.rsplit('/').next()).unwrap_or("commit.patch");
        let (content, whole) = repository.check(ctx, &[], arguments).await?.bounded(ctx, name).await?;
        Ok(Output { commit, content, whole })
    }
}
