//! What a repository remembers besides its objects, handed over before a command changes it, so that it can be taken back.

use crate::repository::Repository;
use skynet_core::{CallCtx, RelativePath, Result, change::Extent, target::Target};
use std::path::Path;

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
