//! By the `git` program.

use super::{Entry, Status};
use crate::repository::Repository;
use skynet_core::{CallCtx, Result};

pub(super) async fn status(ctx: &CallCtx, repository: &Repository) -> Result<Status> {
    let arguments =
        ["status", "--porcelain=v2", "--branch", "-z", "--untracked-files=all", "--ignore-submodules=dirty"];
    Ok(parse(&repository.check(ctx, &[], arguments).await?.text()?))
}

/// Reads `git status --porcelain=v2 --branch -z` (git-status(1), "Porcelain Format Version 2").
fn parse(text: &str) -> Status {
    let mut status = Status::default();
    let mut records = text.split('\0');
    while let Some(record) = records.next() {
        let mut words = record.split(' ');
        let entry = match words.next() {
            Some("#") => {
                header(&mut status, record);
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
        status.entries.extend(entry);
    }
    // Git lists conflicts after the other tracked paths.
    status.entries.sort_by(|a, b| (a.index == '?', &a.path).cmp(&(b.index == '?', &b.path)));
    status
}

fn header(status: &mut Status, record: &str) {
    let mut words = record.split(' ').skip(1);
    match (words.next(), words.next(), words.next()) {
        (Some("branch.oid"), Some(oid), _) if oid != "(initial)" => status.head = Some(oid.into()),
        (Some("branch.head"), Some(name), _) if name != "(detached)" => status.branch = Some(name.into()),
        (Some("branch.upstream"), Some(name), _) => status.upstream = Some(name.into()),
        (Some("branch.ab"), Some(ahead), Some(behind)) => {
            status.ahead = ahead.trim_start_matches('+').parse().unwrap_or(0);
            status.behind = behind.trim_start_matches('-').parse().unwrap_or(0);
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
        let status = parse(text);
        let entry = |path: &str, index, worktree, from: Option<&str>| Entry {
            path: path.into(),
            index,
            worktree,
            from: from.map(str::to_owned),
        };
        let expected = [
            entry("both", 'U', 'U', None),
            entry("new", 'R', '.', Some("old")),
            entry("some file", '.', 'M', None),
            entry("extra", '?', '?', None),
        ];
        assert_eq!(status.entries, expected);
        assert_eq!((status.branch.as_deref(), status.ahead, status.behind), (Some("main"), 2, 1));
        assert_eq!(parse("# branch.oid (initial)\0# branch.head main\0").head, None);
    }
}
