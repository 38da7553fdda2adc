//! Shows the state of a working tree.

mod by_library;
mod by_program;

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
    /// Any directory of the repository.
    #[serde(default = "default_repository")]
    repository: String,
}

#[derive(Serialize, JsonSchema)]
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

#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
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
    const KEYWORDS: &'static str = "uncommitted dirty clean untracked modified state pending changes repository | état statut dépôt modifiés non suivis propre conflits en attente";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Hands;
    type Input = Input;
    type Output = Output;

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let repository = Repository::find(ctx.workspace()?, &input.repository)?;
        let status = match by_library::status(ctx, &repository) {
            Ok(status) => status,
            // Formats that gix does not read yet, such as reftable and SHA-256.
            Err(_) => {
                ctx.check_canceled()?;
                by_program::status(ctx, &repository).await?
            }
        };
        Ok(status.into())
    }
}

/// What either way of asking finds.
#[derive(Debug, Default, PartialEq, Eq)]
struct Status {
    branch: Option<String>,
    head: Option<String>,
    upstream: Option<String>,
    ahead: u64,
    behind: u64,
    /// Tracked ones by path, then untracked ones by path.
    entries: Vec<Entry>,
}

impl From<Status> for Output {
    fn from(status: Status) -> Self {
        let Status { branch, head, upstream, ahead, behind, mut entries } = status;
        let total = entries.len();
        entries.truncate(MOST_ENTRIES);
        Self { branch, head, upstream, ahead, behind, clean: total == 0, entries, total }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skynet_core::{Outbox, Workspace, ctx::Progress};
    use std::{
        fs,
        os::{
            fd::OwnedFd,
            unix::fs::{PermissionsExt as _, symlink},
        },
        path::Path,
        process::Command,
        sync::Arc,
    };

    struct Nowhere;

    #[async_trait::async_trait]
    impl Outbox for Nowhere {
        fn progress(&self, _progress: Progress) {}
        async fn keep_before(
            &self,
            _path: &str,
            _file: Option<OwnedFd>,
            _extent: skynet_core::change::Extent,
        ) -> Result<()> {
            Ok(())
        }
        async fn store_blob(&self, _file: OwnedFd, _name: &str, _media_type: &str) -> Result<String> {
            Ok(String::new())
        }
    }

    /// Runs a line of arguments; failure is the caller's business, because a merge that conflicts fails.
    fn git(directory: &Path, line: &str) {
        let status = Command::new("git")
            .args(["-c", "user.name=t", "-c", "user.email=t@x", "-c", "protocol.file.allow=always"])
            .args(["-c", "init.defaultBranch=main", "-c", "commit.gpgSign=false"])
            .args(line.split(' '))
            .current_dir(directory)
            .output();
        assert!(status.is_ok(), "{line}: {status:?}");
    }

    /// Both ways must find the same; returns it as `XY path`, `XY path <- from`.
    async fn agreed(root: &Path, path: &str) -> (Status, Vec<String>) {
        let workspace = Arc::new(Workspace::open(root).unwrap());
        let repository = Repository::find(&workspace, path).unwrap();
        let ctx = CallCtx::new(Default::default(), 1 << 20, Effect::Read, Some(workspace), Arc::new(Nowhere));
        let by_library = by_library::status(&ctx, &repository).unwrap();
        assert_eq!(by_library, by_program::status(&ctx, &repository).await.unwrap());
        let show = |entry: &Entry| {
            let from = entry.from.as_ref().map_or(String::new(), |from| format!(" <- {from}"));
            format!("{}{} {}{from}", entry.index, entry.worktree, entry.path)
        };
        let lines = by_library.entries.iter().map(show).collect();
        (by_library, lines)
    }

    fn start() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        git(directory.path(), "init --quiet");
        directory
    }

    fn write(root: &Path, path: &str, content: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    #[tokio::test]
    async fn changes_of_every_kind() {
        let keep = start();
        let root = keep.path();
        assert_eq!(agreed(root, ".").await.1, Vec::<String>::new());
        let long = "a line\n".repeat(30);
        for name in ["same", "edited", "staged", "both", "gone", "removed", "typed", "mode", "d/é ö"] {
            write(root, name, &format!("{name}\n"));
        }
        write(root, "old name", &long);
        write(root, "moved and edited", &(long.clone() + "x\n"));
        write(root, "crlf", "one\ntwo\n");
        write(root, ".gitattributes", "crlf text eol=crlf\n");
        write(root, ".gitignore", "*.log\nbuild/\n");
        assert_eq!(agreed(root, ".").await.1.len(), 14);
        git(root, "add .");
        assert_eq!(agreed(root, ".").await.1.first().unwrap(), "A. .gitattributes");
        git(root, "commit --quiet --message=first");
        assert_eq!(agreed(root, "d").await.1, Vec::<String>::new());

        for name in ["edited", "staged", "both"] {
            write(root, name, "changed\n");
        }
        git(root, "add staged both");
        write(root, "both", "again\n");
        fs::remove_file(root.join("gone")).unwrap();
        git(root, "rm --quiet removed");
        fs::remove_file(root.join("typed")).unwrap();
        symlink("same", root.join("typed")).unwrap();
        fs::set_permissions(root.join("mode"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(root.join("old name"), root.join("new name")).unwrap();
        git(root, "add --all old* new*");
        fs::rename(root.join("moved and edited"), root.join("d/moved")).unwrap();
        write(root, "d/moved", &(long + "y\n"));
        git(root, "add --all moved* d");
        write(root, "crlf", "one\r\ntwo\r\n");
        write(root, "intended", "x");
        git(root, "add --intent-to-add intended");
        write(root, "new/deep/file", "x");
        write(root, "noise.log", "x");
        write(root, "build/out", "x");
        fs::create_dir(root.join("empty")).unwrap();
        fs::create_dir(root.join("nested")).unwrap();
        git(&root.join("nested"), "init --quiet");
        write(root, "nested/file", "x");
        symlink("nowhere", root.join("dangling")).unwrap();
        assert_eq!(
            agreed(root, ".").await.1,
            [
                "MM both",
                // Of another size is changed, whatever the filter for line endings makes of it: so says Git.
                ".M crlf",
                "R. d/moved <- moved and edited",
                ".M edited",
                ".D gone",
                ".A intended",
                ".M mode",
                "R. new name <- old name",
                "D. removed",
                "M. staged",
                ".T typed",
                "?? dangling",
                "?? nested/",
                "?? new/deep/file",
            ]
        );
    }

    #[tokio::test]
    async fn conflicts_of_every_kind() {
        let keep = start();
        let root = keep.path();
        let commit = |message: &str, files: &[&str], removed: &str| {
            for name in files {
                write(root, name, message);
            }
            git(root, &format!("rm --quiet --ignore-unmatch {removed}"));
            git(root, "add .");
            git(root, &format!("commit --quiet --message={message}"));
        };
        commit("base", &["both", "ours", "theirs"], "none");
        git(root, "checkout --quiet -b other");
        commit("other", &["both", "ours", "added"], "theirs");
        git(root, "checkout --quiet main");
        commit("main", &["both", "theirs", "added"], "ours");
        git(root, "merge --quiet other");
        assert_eq!(agreed(root, ".").await.1, ["AA added", "UU both", "DU ours", "UD theirs"]);
    }

    #[tokio::test]
    async fn branches_upstreams_worktrees_and_submodules() {
        let keep = tempfile::tempdir().unwrap();
        let root = keep.path();
        git(root, "init --quiet origin");
        let origin = root.join("origin");
        git(&origin, "commit --quiet --allow-empty --message=1");
        git(root, "clone --quiet origin work");
        let work = root.join("work");
        git(&work, "commit --quiet --allow-empty --message=2");
        git(&work, "commit --quiet --allow-empty --message=3");
        git(&origin, "commit --quiet --allow-empty --message=4");
        git(&work, "fetch --quiet");
        let (status, _) = agreed(root, "work").await;
        assert_eq!((status.upstream.as_deref(), status.ahead, status.behind), (Some("origin/main"), 2, 1));
        git(&work, "branch --quiet --track local main");
        git(&work, "checkout --quiet local");
        assert_eq!(agreed(root, "work").await.0.upstream.as_deref(), Some("main"));
        git(&work, "worktree add --quiet tree origin/main");
        let (status, _) = agreed(root, "work/tree").await;
        assert_eq!((status.branch, status.head.is_some()), (None, true));
        git(&work, "checkout --quiet --orphan unborn");
        assert_eq!(agreed(root, "work").await.0.head, None);
        git(&work, "checkout --quiet main");
        git(&work, "update-ref -d refs/remotes/origin/main");
        agreed(root, "work").await;

        git(&work, "submodule --quiet add ../origin module");
        git(&work, "commit --quiet --message=module");
        let (module, before) = (work.join("module"), agreed(root, "work").await.1);
        write(&module, "untracked", "x");
        assert_eq!(agreed(root, "work").await.1, before);
        git(&module, "commit --quiet --allow-empty --message=5");
        assert_eq!(agreed(root, "work").await.1.first().unwrap(), ".M module");
    }
}
