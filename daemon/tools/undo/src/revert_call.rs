//! Takes one call back.

use crate::{
    plan::{self, Output},
    records::{self, obstacle},
};
use schemars::JsonSchema;
use serde::Deserialize;
use skynet_core::{CallCtx, Effect, Error, Place, Result, Tool};

pub(crate) struct UndoRevertCall;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Id of the call, as told by `undo_list_changes`.
    #[schemars(regex(pattern = r"^[0-9a-f]{32}\.[0-9]+(\.[0-9]+)?$"))]
    call: String,
    /// Only show what would change (default false).
    #[serde(default)]
    dry_run: bool,
}

impl Tool for UndoRevertCall {
    const NAME: &'static str = "undo_revert_call";
    const SUMMARY: &'static str = "Take back exactly what one call of a files tool or an applied preview changed. Refused as a whole if any of it was changed since.";
    const KEYWORDS: &'static str = "undo revert rollback take back last change mistake restore previous version of a file before the edit | annuler défaire revenir en arrière rétablir version précédente modification erreur";
    const EFFECT: Effect = Effect::Read;
    const MOST: Effect = Effect::Write;
    const PLACE: Place = Place::Hands;
    type Input = Input;
    type Output = Output;

    fn effect(&self, input: &Input) -> Effect {
        if input.dry_run { Effect::Read } else { Effect::Write }
    }

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let found = records::read(ctx, &input.call).await?;
        let Some(record) = found.first() else {
            return Err(Error::not_found(format!(
                "no call `{}` changed anything in this workspace on your behalf; see `undo_list_changes`",
                input.call
            )));
        };
        if let Some(why) = obstacle(record) {
            return Err(Error::invalid_input(format!(
                "the call of `{}` cannot be taken back: {why}",
                record.tool
            )));
        }
        if let Some(why) = plan::reserved_in(ctx.workspace()?, record) {
            return Err(Error::denied(why));
        }
        plan::revert(ctx, found, input.dry_run).await
    }
}
