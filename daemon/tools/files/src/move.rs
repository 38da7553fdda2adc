//! Moves or renames an entry.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{
    CallCtx, Effect, Error, Place, Result, Subject, Tool,
    change::Elsewhere,
    target::{Existing, Target, make_parents},
};

pub(crate) struct FilesMove;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// File or directory.
    from: String,
    /// Its new path; missing directories are made.
    to: String,
    /// Replace a file that is there.
    #[serde(default)]
    overwrite: bool,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// Where it was.
    from: String,
    /// Where it is.
    to: String,
}

impl Tool for FilesMove {
    const NAME: &'static str = "files_move";
    const SUMMARY: &'static str = "Move or rename a file, link or directory inside the workspace. Refuses to replace anything unless `overwrite`.";
    const KEYWORDS: &'static str =
        "mv rename relocate put into folder | déplacer renommer bouger ranger fichier dossier";
    const EFFECT: Effect = Effect::Write;
    const PLACE: Place = Place::Hands;
    type Input = Input;
    type Output = Output;

    fn changes(&self, input: &Input) -> Vec<Subject> {
        vec![Subject::Path(input.from.clone()), Subject::Path(input.to.clone())]
    }

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let workspace = ctx.workspace()?;
        let from = Target::entry(workspace, &workspace.relative(&input.from)?)?;
        if from.stat()?.is_none() {
            return Err(Error::not_found(format!("`{}` does not exist", from.path)));
        }
        let to = workspace.relative(&input.to)?;
        make_parents(ctx, workspace, &to).await?;
        let to = Target::entry(workspace, &to)?;
        let existing = if input.overwrite { Existing::Replace } else { Existing::Fail };
        from.keep_before(ctx).await?;
        to.keep_before(ctx).await?;
        ctx.check_canceled()?;
        let is_free = to.stat()?.is_none();
        from.settle(&to, existing)?;
        let output = Output { from: from.path.to_string(), to: to.path.to_string() };
        // A directory takes the place of an empty one too, which is not there any more to be given back.
        if is_free {
            ctx.note_tree(&output.from, Elsewhere::Path(output.to.clone()));
            ctx.note_tree(&output.to, Elsewhere::Path(output.from.clone()));
        }
        Ok(output)
    }
}
