//! Lists commits.

use crate::{
    repository::Repository,
    revision::{Revision, default_repository},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Place, Result, Tool};
use std::{ffi::OsString, time::Duration};

/// Fields of one commit, separated by unit separators, records by record separators.
pub(crate) const FORMAT: &str = "--format=%H%x1f%P%x1f%an%x1f%ae%x1f%aI%x1f%s%x1f%b%x1e";

pub(crate) struct GitLog;

const fn default_limit() -> u32 {
    20
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Any directory of the repository.
    #[serde(default = "default_repository")]
    repository: String,
    /// Commit or range such as `main..topic`; the head if left out.
    #[serde(default)]
    revision: Option<Revision>,
    /// Only commits that touch these.
    #[serde(default)]
    paths: Vec<String>,
    /// Regular expression for the message.
    #[serde(default)]
    grep: Option<String>,
    /// Regular expression for the author.
    #[serde(default)]
    author: Option<String>,
    /// Only after this date, such as `2026-01-31` or `2 weeks ago`.
    #[serde(default)]
    since: Option<String>,
    /// Most commits.
    #[serde(default = "default_limit")]
    #[schemars(range(min = 1, max = 1000))]
    limit: u32,
    /// Commits to pass over first.
    #[serde(default)]
    skip: u32,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// Newest first.
    commits: Vec<Commit>,
    /// Whether there are more; go on with `skip`.
    truncated: bool,
}

/// One commit.
#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Commit {
    /// Full object name.
    pub(crate) id: String,
    /// Object names of its parents.
    pub(crate) parents: Vec<String>,
    /// Name and address.
    pub(crate) author: String,
    /// Of the author, ISO 8601.
    pub(crate) date: String,
    /// First line of the message.
    pub(crate) subject: String,
    /// The rest of the message.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) body: String,
}

impl Tool for GitLog {
    const NAME: &'static str = "git_log";
    const SUMMARY: &'static str = "List commits, newest first, by range, path, author, message or date.";
    const KEYWORDS: &'static str = "history commits recent past last who when author | historique journal commits récents derniers passé auteur";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Hands;
    const TIMEOUT: Duration = Duration::from_secs(60);
    type Input = Input;
    type Output = Output;

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let workspace = ctx.workspace()?;
        let repository = Repository::find(workspace, &input.repository)?;
        let limit = input.limit as usize;
        let mut arguments: Vec<OsString> =
            vec!["log".into(), FORMAT.into(), "--no-color".into(), "--no-show-signature".into()];
        arguments.push(format!("--max-count={}", limit + 1).into());
        arguments.push(format!("--skip={}", input.skip).into());
        let filters = [("grep", &input.grep), ("author", &input.author), ("since", &input.since)];
        let filters =
            filters.iter().filter_map(|(name, value)| Some(format!("--{name}={}", value.as_ref()?)));
        arguments.extend(filters.map(OsString::from));
        arguments.push("--end-of-options".into());
        arguments.extend(input.revision.iter().map(|revision| revision.as_str().into()));
        arguments.push("--".into());
        for path in &input.paths {
            arguments.push(repository.pathspec(workspace, path)?);
        }
        let mut commits = parse(&repository.check(ctx, &[], arguments).await?.text()?);
        let truncated = commits.len() > limit;
        commits.truncate(limit);
        Ok(Output { commits, truncated })
    }
}

/// Reads what [`FORMAT`] writes.
pub(crate) fn parse(text: &str) -> Vec<Commit> {
    text.split('\u{1e}')
        .filter_map(|record| {
            let mut fields = record.trim_start_matches('\n').splitn(7, '\u{1f}').map(str::to_owned);
            let id = fields.next().filter(|id| !id.is_empty())?;
            let parents = fields.next()?.split_whitespace().map(str::to_owned).collect();
            let author = format!("{} <{}>", fields.next()?, fields.next()?);
            let (date, subject) = (fields.next()?, fields.next()?);
            let body = fields.next().unwrap_or_default().trim_end().to_owned();
            Some(Commit { id, parents, author, date, subject, body })
        })
        .collect()
}
