//! What a repository remembers besides its objects, handed over before a command changes it, so that it can be taken back.

use crate::repository::Repository;
use skynet_core::{CallCtx, RelativePath, Result, change::Extent, target::Target};
use std::{
    collections::BTreeSet,
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt as _,
    path::Path,
};

/// In the directory of a working tree (gitrepository-layout(5)).
const OF_WORK_TREE: [&str; 4] = ["HEAD", "index", "COMMIT_EDITMSG", "logs/HEAD"];

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

    /// Hands over the files of the working tree that differ as `git diff` with these arguments says, and the directories they
    /// are in.
    pub(crate) async fn keep_files(&self, ctx: &CallCtx, differing: Vec<OsString>) -> Result<()> {
        let fixed = ["diff", "--name-only", "--no-renames", "--no-ext-diff", "--ignore-submodules", "-z"];
        let arguments: Vec<OsString> = fixed.into_iter().map(OsString::from).chain(differing).collect();
        let listed = self.run(ctx, &[], arguments).await?;
        // What Git does not know, the command itself refuses.
        let Ok(listed) = listed.bytes() else { return Ok(()) };
        let mut kept = BTreeSet::new();
        for path in listed.split(|byte| *byte == 0).filter(|path| !path.is_empty()) {
            ctx.check_canceled()?;
            let path = Path::new(OsStr::from_bytes(path));
            let above = path.ancestors().skip(1).filter(|parent| !parent.as_os_str().is_empty());
            let above: Vec<_> = above.filter(|parent| kept.insert(parent.to_path_buf())).collect();
            for part in above.into_iter().rev().chain([path]) {
                self.keep_file(ctx, &self.work_tree().join(part)).await?;
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

/// Whether it is a directory for branches of one name, and not for all.
fn is_of_branches(directory: &Path) -> bool {
    directory.ancestors().skip(1).any(|above| above.ends_with("refs/heads"))
}
