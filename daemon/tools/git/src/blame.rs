//! Tells which commit wrote each line.

use crate::{repository::Repository, revision::Revision};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Error, Place, Result, Tool};
use std::{collections::BTreeMap, ffi::OsString, time::Duration};

pub(crate) struct GitBlame;

const fn first_line() -> u32 {
    1
}

const fn default_count() -> u32 {
    200
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// The file, relative to the workspace.
    path: String,
    /// As of this commit; the working tree if left out.
    #[serde(default)]
    revision: Option<Revision>,
    /// First line, from 1.
    #[serde(default = "first_line")]
    #[schemars(range(min = 1))]
    start_line: u32,
    /// Most lines to return.
    #[serde(default = "default_count")]
    #[schemars(range(min = 1, max = 5000))]
    line_count: u32,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// Runs of lines from one commit, in order.
    runs: Vec<Run>,
}

#[derive(Debug, PartialEq, Serialize, JsonSchema)]
pub(crate) struct Run {
    /// First line of the run.
    line: u32,
    /// Object name; zeros for lines that are not committed.
    commit: String,
    /// Who wrote them.
    author: String,
    /// When, in seconds since 1970.
    time: i64,
    /// First line of that commit's message.
    subject: String,
    /// The lines.
    text: String,
}

impl Tool for GitBlame {
    const NAME: &'static str = "git_blame";
    const SUMMARY: &'static str = "Tell for each line of a file which commit wrote it, by whom and when.";
    const KEYWORDS: &'static str =
        "who wrote line author annotate when introduced | qui écrit ligne auteur annoter quand introduit";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Hands;
    const TIMEOUT: Duration = Duration::from_secs(60);
    type Input = Input;
    type Output = Output;

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let workspace = ctx.workspace()?;
        let parent = input
            .path
            .rsplit_once('/')
            .map_or(".", |(parent, _)| if parent.is_empty() { "/" } else { parent });
        let repository = Repository::find(workspace, parent)?;
        let range = format!("-L{},+{}", input.start_line, input.line_count);
        let mut arguments: Vec<OsString> =
            vec!["blame".into(), "--porcelain".into(), "--no-textconv".into(), range.into()];
        arguments.push("--end-of-options".into());
        arguments.extend(input.revision.iter().map(|revision| revision.as_str().into()));
        arguments.push("--".into());
        arguments.push(repository.pathspec(workspace, &input.path)?);
        let text = repository.check(ctx, &[], arguments).await?.text()?;
        parse(&text)
            .map(|runs| Output { runs })
            .ok_or_else(|| Error::internal("git blame wrote something else"))
    }
}

/// Reads `git blame --porcelain` (git-blame(1), "The Porcelain Format").
fn parse(text: &str) -> Option<Vec<Run>> {
    let mut about: BTreeMap<String, (String, i64, String)> = BTreeMap::new();
    let mut runs: Vec<Run> = Vec::new();
    let mut lines = text.lines();
    while let Some(header) = lines.next() {
        let mut words = header.split(' ');
        let commit = words.next()?.to_owned();
        let line: u32 = words.nth(1)?.parse().ok()?;
        let known = about.entry(commit.clone()).or_default();
        let content = loop {
            let line = lines.next()?;
            match line.split_once(' ') {
                _ if line.starts_with('\t') => break line.get(1..)?,
                Some(("author", name)) => known.0 = name.into(),
                Some(("author-time", time)) => known.1 = time.parse().ok()?,
                Some(("summary", subject)) => known.2 = subject.into(),
                _ => {}
            }
        };
        match runs.last_mut() {
            Some(run) if run.commit == commit => {
                run.text.push('\n');
                run.text.push_str(content);
            }
            _ => {
                let (author, time, subject) = known.clone();
                runs.push(Run { line, commit, author, time, subject, text: content.into() });
            }
        }
    }
    Some(runs)
}
