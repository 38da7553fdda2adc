//! Who wrote a passage, line by line. It is asked of Git when somebody wants to know, and is as true as the repository is then.

use crate::{Knowledge, gathering::ask, stored::StoredPassage};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use skynet_core::{CallCtx, Error, Result};
use skynet_documents::{Format, SourceKind};
use std::{collections::HashMap, sync::Arc};

/// The tool that says it, whose rules hold.
const BLAME: &str = "git_blame";

/// Who wrote lines of a passage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Writer {
    /// By name.
    pub author: String,
    /// When they last did.
    pub at: Timestamp,
    /// The commit of then; zeros for what is not committed.
    pub commit: String,
    /// How many lines are theirs.
    pub lines: u32,
}

/// What [`BLAME`] answers.
#[derive(Deserialize)]
struct Blamed {
    runs: Vec<Run>,
}

/// Lines of one commit.
#[derive(Deserialize)]
struct Run {
    line: u32,
    commit: String,
    author: String,
    time: i64,
    text: String,
}

impl Knowledge {
    /// Who wrote the lines of each of some passages of a file, in their order, the newest first.
    ///
    /// # Errors
    /// `InvalidInput` for what Git does not keep line by line, `Denied` where a rule keeps the caller from asking Git, and those of
    /// Git.
    pub async fn writers(
        self: &Arc<Self>,
        ctx: &CallCtx,
        name: &str,
        passages: &[StoredPassage],
    ) -> Result<Vec<Vec<Writer>>> {
        let (Some(stored), Some(last)) = (passages.first(), passages.last()) else { return Ok(Vec::new()) };
        let view = self.find(ctx, name).await?;
        let revision = match &view.collection.record.source {
            SourceKind::Files if view.elsewhere.is_none() => None,
            SourceKind::Revision(revision) => Some(revision.as_str()),
            _ => {
                return Err(Error::invalid_input(format!(
                    "`{name}` is no collection of files of this workspace, so Git does not tell who wrote their lines"
                )));
            }
        };
        if matches!(stored.format, Format::Html | Format::Office | Format::Pdf | Format::Manual) {
            return Err(Error::invalid_input(format!(
                "`{}` is no plain text: its lines are not those that Git keeps",
                stored.path
            )));
        }
        let (first, last) = (stored.passage.first_line, last.passage.last_line);
        let mut asked = json!({
            "path": stored.path,
            "start_line": first,
            "line_count": (last.saturating_sub(first) + 1).min(5000),
        });
        if let (Some(revision), Some(asked)) = (revision, asked.as_object_mut()) {
            asked.insert("revision".into(), Value::from(revision));
        }
        let judge = self.judge()?;
        if !judge.may_call(&ctx.origin()?.caller, BLAME, &[("path", &stored.path)]).await? {
            return Err(Error::denied(format!(
                "a rule keeps you from `{BLAME}`, which says who wrote lines"
            )));
        }
        let blamed: Blamed = ask(&*self.runners.workspace, ctx, BLAME, &asked).await?;
        let of = |passage: &StoredPassage| {
            together(&blamed.runs, passage.passage.first_line, passage.passage.last_line)
        };
        Ok(passages.iter().map(of).collect())
    }
}

/// Of the lines of a passage, one for each author, with the newest of their commits.
fn together(runs: &[Run], first: u32, last: u32) -> Vec<Writer> {
    let mut writers: HashMap<&str, Writer> = HashMap::new();
    for run in runs {
        let lines = u32::try_from(run.text.split('\n').count()).unwrap_or(u32::MAX);
        let end = run.line.saturating_add(lines).min(last.saturating_add(1));
        let lines = end.saturating_sub(run.line.max(first));
        if lines == 0 {
            continue;
        }
        let at = Timestamp::from_second(run.time).unwrap_or_default();
        let new = || Writer { author: run.author.clone(), at, commit: run.commit.clone(), lines: 0 };
        let writer = writers.entry(&run.author).or_insert_with(new);
        writer.lines = writer.lines.saturating_add(lines);
        if at > writer.at {
            (writer.at, writer.commit) = (at, run.commit.clone());
        }
    }
    let mut writers: Vec<Writer> = writers.into_values().collect();
    writers.sort_by(|a, b| b.at.cmp(&a.at).then_with(|| a.author.cmp(&b.author)));
    writers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_several_commits_are_their_authors() {
        let run = |line, commit: &str, author: &str, time, text: &str| Run {
            line,
            commit: commit.into(),
            author: author.into(),
            time,
            text: text.into(),
        };
        let runs =
            [run(4, "a", "Ann", 10, "one\ntwo"), run(6, "b", "Bo", 20, ""), run(7, "c", "Ann", 30, "x")];
        let told = |first, last| {
            let writers = together(&runs, first, last).into_iter();
            writers.map(|one| (one.author, one.commit, one.lines)).collect::<Vec<_>>()
        };
        let told_of = |all: &[(&str, &str, u32)]| {
            all.iter().map(|(a, b, c)| ((*a).to_owned(), (*b).to_owned(), *c)).collect::<Vec<_>>()
        };
        assert_eq!(told(1, 9), told_of(&[("Ann", "c", 3), ("Bo", "b", 1)]));
        assert_eq!(told(5, 6), told_of(&[("Bo", "b", 1), ("Ann", "a", 1)]));
    }
}
