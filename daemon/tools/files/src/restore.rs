//! Brings back what was deleted.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{
    CallCtx, Effect, Error, Place, Result, Subject, Tool,
    change::Elsewhere,
    target::{Target, make_parents},
    trash::Trash,
};

/// How much of the trash an error shows.
const MOST_SHOWN: usize = 10;

pub(crate) struct FilesRestore;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// As told by `files_delete`.
    #[schemars(length(min = 1))]
    trash_id: String,
    /// Restore to this path instead of where it was.
    #[serde(default)]
    to: Option<String>,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// Where it is again.
    path: String,
    /// When it was deleted, RFC 3339, UTC.
    deleted_at: String,
}

impl Tool for FilesRestore {
    const NAME: &'static str = "files_restore";
    const SUMMARY: &'static str =
        "Bring back what `files_delete` moved to the trash. Never replaces what is at that path now.";
    const KEYWORDS: &'static str = "undelete recover undo deletion bring back restore deleted file folder directory trash | restaurer récupérer annuler suppression corbeille supprimé effacé fichier dossier";
    const EFFECT: Effect = Effect::Write;
    const PLACE: Place = Place::Hands;
    type Input = Input;
    type Output = Output;

    fn changes(&self, input: &Input) -> Vec<Subject> {
        input.to.iter().cloned().map(Subject::Path).collect()
    }

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let workspace = ctx.workspace()?;
        let (trash, name) = Trash::of_id(workspace, &input.trash_id)?;
        let deleted = trash.find(name).map_err(|err| explain(&err, &trash))?;
        let path = workspace.relative(input.to.as_deref().unwrap_or(&deleted.path))?;
        make_parents(ctx, workspace, &path).await?;
        let target = Target::entry(workspace, &path)?;
        target.keep_before(ctx).await?;
        ctx.check_canceled()?;
        trash.put_back(name, &target)?;
        ctx.note_tree(&target.path.to_string(), Elsewhere::Trash(input.trash_id));
        Ok(Output { path: target.path.to_string(), deleted_at: deleted.deleted_at })
    }
}

/// Adds what the trash holds, newest first.
fn explain(err: &Error, trash: &Trash) -> Error {
    let held = trash.list().unwrap_or_default();
    let newest: Vec<_> =
        held.iter().take(MOST_SHOWN).map(|entry| format!("`{}` (was `{}`)", entry.id, entry.path)).collect();
    let rest =
        if newest.is_empty() { "it is empty".into() } else { format!("newest: {}", newest.join(", ")) };
    Error::new(err.kind, format!("{}; {rest}", err.message))
}
