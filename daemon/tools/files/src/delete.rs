//! Deletes into the trash.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{
    CallCtx, Effect, Error, Place, Result, Subject, Tool, change::Elsewhere, target::Target, trash::Trash,
};

pub(crate) struct FilesDelete;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// File, link or directory with all it holds.
    path: String,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// Where it was.
    path: String,
    /// Pass it to `files_restore` to bring it back.
    trash_id: String,
}

impl Tool for FilesDelete {
    const NAME: &'static str = "files_delete";
    const SUMMARY: &'static str =
        "Delete a file or directory by moving it to the workspace's trash; `files_restore` brings it back.";
    const KEYWORDS: &'static str = "remove delete erase rm trash directory folder bin unlink get rid of file | supprimer effacer enlever corbeille jeter fichier dossier";
    const EFFECT: Effect = Effect::Write;
    const PLACE: Place = Place::Hands;
    type Input = Input;
    type Output = Output;

    fn changes(&self, input: &Input) -> Vec<Subject> {
        vec![Subject::Path(input.path.clone())]
    }

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let workspace = ctx.workspace()?;
        let target = Target::entry(workspace, &workspace.relative(&input.path)?)?;
        if target.stat()?.is_none() {
            return Err(Error::not_found(format!("`{}` does not exist", target.path)));
        }
        let trash = Trash::for_target(workspace, &target)?;
        target.keep_before(ctx).await?;
        ctx.check_canceled()?;
        let deleted = trash.take(&target)?;
        ctx.note_tree(&deleted.path, Elsewhere::Trash(deleted.id.clone()));
        Ok(Output { path: deleted.path, trash_id: deleted.id })
    }
}
