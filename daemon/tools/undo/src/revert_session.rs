//! Takes all calls of a session back.

use crate::{
    plan::{self, Output},
    records,
};
use schemars::JsonSchema;
use serde::Deserialize;
use skynet_core::{CallCtx, Effect, Error, Place, Result, Tool};

pub(crate) struct UndoRevertSession;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Id of the session, the part of a call's id before the first dot (default: this session).
    #[serde(default)]
    #[schemars(regex(pattern = r"^[0-9a-f]{32}$"))]
    session: Option<String>,
    /// Only show what would change (default false).
    #[serde(default)]
    dry_run: bool,
}

impl Tool for UndoRevertSession {
    const NAME: &'static str = "undo_revert_session";
    const SUMMARY: &'static str = "Take back everything that the files tools and applied previews of a session changed in this workspace, so that it is as before. Refused as a whole on a conflict; names the calls it cannot take back.";
    const KEYWORDS: &'static str = "undo everything rollback whole session discard all agent changes start over reset to before | tout annuler revenir au début abandonner toutes les modifications de la session remettre comme avant";
    const EFFECT: Effect = Effect::Read;
    const MOST: Effect = Effect::Write;
    const PLACE: Place = Place::Hands;
    type Input = Input;
    type Output = Output;

    fn effect(&self, input: &Input) -> Effect {
        if input.dry_run { Effect::Read } else { Effect::Write }
    }

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let name = input.session.as_deref().unwrap_or("this");
        let found = records::read(ctx, name).await?;
        if found.is_empty() {
            return Err(Error::not_found(
                "no call of that session changed anything in this workspace on your behalf; see `undo_list_changes`",
            ));
        }
        plan::revert(ctx, found, input.dry_run).await
    }
}
