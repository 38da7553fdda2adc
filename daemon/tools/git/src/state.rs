//! What a repository remembers besides its objects, handed over before a command changes it, so that it can be taken back.

use crate::repository::Repository;
use skynet_core::{CallCtx, Error, RelativePath, Result, change::Extent, reserved, target::Target};
use std::{
    collections::BTreeSet,
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt as _,
    path::Path,
};

/// In the directory of a working tree (gitrepository-layout(5)).
const OF_WORK_TREE: [&str; 4] = ["HEAD", "index", "COMMIT_EDITMSG", "logs/HEAD"];

/// What a merge writes there besides, and what puts the working tree back to a commit (git-merge(1), git-reset(1)).
const OF_MERGES: [&str; 2] = ["ORIG_HEAD", "AUTO_MERGE"];

/// Where what was put aside is (git-stash(1), "DISCUSSION"): of the repository, and not of one working tree.
const OF_STASHES: [&str; 3] = ["refs/stash", "logs/refs/stash", "packed-refs"];

/// Of one command: each is read, and kept durably before it starts.
const MOST_FILES: usize = 500;

/// These and the directories they are in: with what a repository remembers they are fewer than a call's record takes.
const MOST_ENTRIES: usize = 950;

impl Repository {
    /// Hands over the index, HEAD and what it names, and these branches. Not of a repository that lies outside of the
    /// workspace: there nothing is recorded, and nothing taken back.
    pub(crate) async fn keep_state(&self, ctx: &CallCtx, branches: &[&str]) -> Result<()> {
        let own = OF_WORK_TREE.iter().map(|name| self.git_directory().join(name));
        let current = std::fs::read_to_string(self.git_directory().join("HEAD")).unwrap_or_default();
        let current = current.trim_end().strip_prefix("ref: refs/heads/");
        let branches = branches.iter().copied().chain(current);
        let references =
            branches.flat_map(|name| [format!("refs/heads/{name}"), format!("logs/refs/heads/{name}")]);
        let shared = references.chain(["packed-refs".to_owned()]).map(|name| self.common().join(name));
        for path in own.chain(shared) {
            self.keep_file(ctx, &path).await?;
        }
        Ok(())
    }

    /// Hands over all that a command changes that merges or puts aside, and the files of the working tree that Git listed for
    /// it. Of one that changes too many, or what nobody could list, nothing is handed over: half of it could not be taken
    /// back.
    pub(crate) async fn keep_work(&self, ctx: &CallCtx, listed: Option<Vec<u8>>) -> Result<()> {
        let is_kept = |listed: &Vec<u8>| {
            names(listed).count() <= MOST_FILES && entries_of(listed).len() <= MOST_ENTRIES
        };
        let Some(listed) = listed.filter(is_kept) else { return Ok(()) };
        self.keep_state(ctx, &[]).await?;
        for name in OF_MERGES {
            self.keep_file(ctx, &self.git_directory().join(name)).await?;
        }
        self.keep_stashes(ctx).await?;
        self.keep_names(ctx, &listed).await
    }

    /// Hands over the list of what was put aside.
    pub(crate) async fn keep_stashes(&self, ctx: &CallCtx) -> Result<()> {
        for name in OF_STASHES {
            self.keep_file(ctx, &self.common().join(name)).await?;
        }
        Ok(())
    }

    /// Hands over the files of the working tree that differ as `git diff` with these arguments says, and the directories they
    /// are in.
    ///
    /// # Errors
    /// `Denied` where one of them is what other programs of the user run: a command may have committed it. What Git says if
    /// it cannot list them: then nobody knows what else there is.
    pub(crate) async fn keep_files(&self, ctx: &CallCtx, differing: Vec<OsString>) -> Result<()> {
        let listed = self.differing(ctx, differing).await?;
        refuse_reserved(names(&listed))?;
        self.keep_names(ctx, &listed).await
    }

    /// What `git diff` with these arguments names.
    pub(crate) async fn differing(&self, ctx: &CallCtx, differing: Vec<OsString>) -> Result<Vec<u8>> {
        let fixed = ["diff", "--name-only", "--no-renames", "--no-ext-diff", "--ignore-submodules", "-z"];
        let arguments = fixed.into_iter().map(OsString::from).chain(differing);
        self.check(ctx, &[], arguments).await?.bytes()
    }

    /// Refuses files that Git takes for unchanged without a look (git-update-index(1), `--assume-unchanged`). They are in no
    /// list of what differs, and are written all the same by a command that puts the working tree back. `paths` is what
    /// follows the options; nothing for all files.
    ///
    /// # Errors
    /// `Conflict`, naming the first.
    pub(crate) async fn refuse_assumed(&self, ctx: &CallCtx, paths: &[OsString]) -> Result<()> {
        let list = ["ls-files", "-v", "-z"].into_iter().map(OsString::from).chain(paths.iter().cloned());
        let listed = self.check(ctx, &[], list).await?.bytes()?;
        // They have a small letter before them, and a space (git-ls-files(1), `-v`).
        let mut entries = listed.split(|byte| *byte == 0);
        match entries.find(|entry| entry.first().is_some_and(u8::is_ascii_lowercase)) {
            None => Ok(()),
            Some(entry) => Err(Error::conflict(format!(
                "`{}` is marked as assumed to be unchanged, so Git would overwrite it and not say so; `git update-index --no-assume-unchanged` takes the mark away",
                String::from_utf8_lossy(entry.get(2..).unwrap_or_default())
            ))),
        }
    }

    /// What Git lists; `None` if it fails, or if that is too long.
    pub(crate) async fn list<A: Into<OsString>>(
        &self,
        ctx: &CallCtx,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<Option<Vec<u8>>> {
        let listed = self.run(ctx, &[], arguments).await?;
        Ok(if listed.status.success() { listed.bytes().ok() } else { None })
    }

    /// Hands over the files of the working tree that Git listed, and the directories they are in.
    async fn keep_names(&self, ctx: &CallCtx, listed: &[u8]) -> Result<()> {
        let mut kept = BTreeSet::new();
        for path in names(listed) {
            ctx.check_canceled()?;
            let above = path.ancestors().skip(1).filter(|parent| !parent.as_os_str().is_empty());
            let above: Vec<_> = above.filter(|parent| kept.insert(parent.to_path_buf())).collect();
            for part in above.into_iter().rev().chain([path]) {
                self.keep_file(ctx, &self.work_tree().join(part)).await?;
            }
        }
        Ok(())
    }

    /// Refuses a tree with something that other programs of the user run, unless it is what is in the working tree already,
    /// where no command can write it.
    pub(crate) async fn refuse_new_reserved(&self, ctx: &CallCtx, tree: &str) -> Result<()> {
        let listed = self.check(ctx, &[], ["ls-tree", "-r", "-z", "--full-tree", tree]).await?.bytes()?;
        for entry in listed.split(|byte| *byte == 0) {
            let Some(tab) = entry.iter().position(|byte| *byte == b'\t') else { continue };
            let (about, path) = entry.split_at(tab);
            let path = Path::new(OsStr::from_bytes(path.get(1..).unwrap_or_default()));
            if !is_reserved(path) {
                continue;
            }
            let own = self.work_tree().join(path);
            let hash: [&OsStr; 4] =
                ["hash-object".as_ref(), "--no-filters".as_ref(), "--".as_ref(), own.as_os_str()];
            let own = self.run(ctx, &[], hash).await?.bytes().unwrap_or_default();
            let (mode, object) = (about.get(..6), about.rsplit(|byte| *byte == b' ').next());
            let is_same = mode != Some(b"120000") && object == Some(own.trim_ascii_end());
            if !is_same {
                refuse_reserved([path].into_iter())?;
            }
        }
        Ok(())
    }

    /// A file and the directories above it that are yet to be made.
    async fn keep_file(&self, ctx: &CallCtx, path: &Path) -> Result<()> {
        let workspace = ctx.workspace()?;
        let Ok(below) = path.strip_prefix(workspace.path()) else { return Ok(()) };
        let missing = below.ancestors().skip(1).take_while(|parent| !workspace.path().join(parent).exists());
        let missing: Vec<_> = missing.collect();
        for parent in missing.iter().rev() {
            ctx.keep_before(&parent.to_string_lossy(), None, Extent::Entry).await?;
        }
        // With the last branch in it, Git removes a directory too.
        for parent in below.ancestors().skip(1 + missing.len()).take_while(|parent| is_of_branches(parent)) {
            let target = Target::unchecked(workspace, &RelativePath::root().join(parent))?;
            target.keep_entry_before(ctx).await?;
        }
        if missing.is_empty() {
            return Target::unchecked(workspace, &RelativePath::root().join(below))?
                .keep_entry_before(ctx)
                .await;
        }
        ctx.keep_before(&below.to_string_lossy(), None, Extent::Entry).await
    }
}

/// What Git prints with `-z`.
pub(crate) fn names(listed: &[u8]) -> impl Iterator<Item = &Path> {
    let names = listed.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    names.map(|name| Path::new(OsStr::from_bytes(name)))
}

/// The same, and all directories they are in.
fn entries_of(listed: &[u8]) -> BTreeSet<&Path> {
    names(listed).flat_map(Path::ancestors).filter(|part| !part.as_os_str().is_empty()).collect()
}

/// Whether a part of it is a name that other programs of the user read instructions from.
pub(crate) fn is_reserved(path: &Path) -> bool {
    path.components().any(|part| reserved::is_name(part.as_os_str()))
}

/// # Errors
/// `Denied`, naming the first that would be put into the working tree and is for no tool to write.
pub(crate) fn refuse_reserved<'a>(mut paths: impl Iterator<Item = &'a Path>) -> Result<()> {
    paths.find(|path| is_reserved(path)).map_or(Ok(()), |path| {
        Err(Error::denied(format!(
            "this would change `{}`, which other programs of the user run or trust; a human can do it, with Git itself",
            path.display()
        )))
    })
}

/// Whether it is a directory for branches of one name, and not for all.
fn is_of_branches(directory: &Path) -> bool {
    directory.ancestors().skip(1).any(|above| above.ends_with("refs/heads"))
}
