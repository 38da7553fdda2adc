//! Shows the state of a working tree.

use crate::{repository::Repository, revision::default_repository};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Place, Result, Tool};

/// More entries than that are counted, not listed.
const MOST_ENTRIES: usize = 500;

pub(crate) struct GitStatus;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Any directory of the repository, relative to the workspace.
    #[serde(default = "default_repository")]
    repository: String,
}

#[derive(Default, Serialize, JsonSchema)]
pub(crate) struct Output {
    /// The branch, absent when the head is detached.
    #[serde(skip_serializing_if = "Option::is_none")]
    branch: Option<String>,
    /// The commit, absent before the first one.
    #[serde(skip_serializing_if = "Option::is_none")]
    head: Option<String>,
    /// The branch it follows.
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream: Option<String>,
    /// Commits that the upstream lacks.
    ahead: u64,
    /// Commits that the branch lacks.
    behind: u64,
    /// Whether nothing is changed or untracked.
    clean: bool,
    /// What differs, paths relative to the repository.
    entries: Vec<Entry>,
    /// Entries in all, listed or not.
    total: usize,
}

#[derive(Debug, PartialEq, Serialize, JsonSchema)]
pub(crate) struct Entry {
    /// Where it is now.
    path: String,
    /// Change from head to index: `M`, `A`, `D`, `R`, `C`, `T`, `U`, or `.` for none; `?` is untracked.
    index: char,
    /// Change from index to working tree, as above.
    worktree: char,
    /// Where it was, if it was renamed or copied.
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
}

impl Tool for GitStatus {
    const NAME: &'static str = "git_status";
    const SUMMARY: &'static str =
        "Show branch, upstream, and what is changed, staged, conflicted or untracked in a Git repository.";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Hands;
    type Input = Input;
    type Output = Output;

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let repository = Repository::find(ctx.workspace()?, &input.repository)?;
        let arguments = [
            "status",
            "--porcelain=v2",
            "--branch",
            "-z",
            "--untracked-files=all",
            "--ignore-submodules=dirty",
        ];
        let output = repository.check(ctx, &[], arguments).await?;
        Ok(parse(&output.text()?))
    }
}

/// Reads `git status --porcelain=v2 --branch -z` (git-status(1), "Porcelain Format Version 2").
fn parse(text: &str) -> Output {
    let mut output = Output::default();
    let mut records = text.split('\0');
    while let Some(record) = records.next() {
        let mut words = record.split(' ');
        let entry = match words.next() {
            Some("#") => {
                header(&mut output, record);
                None
            }
            Some("1") => entry(record, 8, None),
            Some("2") => entry(record, 9, records.next()),
            Some("u") => entry(record, 10, None),
            Some("?") => {
                record.get(2..).map(|path| Entry { path: path.into(), index: '?', worktree: '?', from: None })
            }
            _ => None,
        };
        output.total += usize::from(entry.is_some());
        if output.entries.len() < MOST_ENTRIES {
            output.entries.extend(entry);
        }
    }
    output.clean = output.total == 0;
    output
}

fn header(output: &mut Output, record: &str) {
    let mut words = record.split(' ').skip(1);
    match (words.next(), words.next(), words.next()) {
        (Some("branch.oid"), Some(oid), _) if oid != "(initial)" => output.head = Some(oid.into()),
        (Some("branch.head"), Some(name), _) if name != "(detached)" => output.branch = Some(name.into()),
        (Some("branch.upstream"), Some(name), _) => output.upstream = Some(name.into()),
        (Some("branch.ab"), Some(ahead), Some(behind)) => {
            output.ahead = ahead.trim_start_matches('+').parse().unwrap_or(0);
            output.behind = behind.trim_start_matches('-').parse().unwrap_or(0);
        }
        _ => {}
    }
}

/// A line whose path follows `fields` others.
fn entry(record: &str, fields: usize, from: Option<&str>) -> Option<Entry> {
    let mut words = record.splitn(fields + 1, ' ');
    let mut states = words.nth(1)?.chars();
    let path = words.nth(fields - 2)?.to_owned();
    Some(Entry { path, index: states.next()?, worktree: states.next()?, from: from.map(str::to_owned) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_line_is_read() {
        let text = "# branch.oid abc\0# branch.head main\0# branch.upstream o/main\0# branch.ab +2 -1\0\
            1 .M N... 100644 100644 100644 a b some file\x002 R. N... 100644 100644 100644 a b R100 new\0old\0\
            u UU N... 1 2 3 4 a b c both\0? extra\0";
        let output = parse(text);
        let entry = |path: &str, index, worktree, from: Option<&str>| Entry {
            path: path.into(),
            index,
            worktree,
            from: from.map(str::to_owned),
        };
        let expected = [
            entry("some file", '.', 'M', None),
            entry("new", 'R', '.', Some("old")),
            entry("both", 'U', 'U', None),
            entry("extra", '?', '?', None),
        ];
        assert_eq!(output.entries, expected);
        assert_eq!((output.branch.as_deref(), output.ahead, output.behind), (Some("main"), 2, 1));
        assert!(parse("# branch.oid (initial)\0# branch.head main\0").clean);
    }
}
