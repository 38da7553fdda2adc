//! Does what a preview found.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_changes::{Applied, apply};
use skynet_core::{CallCtx, Effect, Place, Result, Tool, ctx::Keep};
use std::fs::File;

pub(crate) struct ExecApplyPreview;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// `preview` of an answer of `exec_preview`.
    #[schemars(length(equal = 64), regex(pattern = "^[0-9a-f]{64}$"))]
    preview: String,
}

/// How many entries it changed.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// New ones.
    created: u64,
    /// Those with another content, mode or kind.
    changed: u64,
    /// Those that are gone.
    deleted: u64,
}

impl Tool for ExecApplyPreview {
    const NAME: &'static str = "exec_apply_preview";
    const SUMMARY: &'static str = "Do exactly what `exec_preview` showed, without running the command again. Refused as a whole if anything it changes has been changed since.";
    const KEYWORDS: &'static str =
        "apply accept preview dry run changes commit confirm | appliquer accepter aperçu modifications";
    const EFFECT: Effect = Effect::Write;
    const PLACE: Place = Place::Hands;
    type Input = Input;
    type Output = Output;

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let file = File::from(ctx.open_kept(Keep::Preview, &input.preview).await?);
        let stale =
            "is not what it was when the preview was made, so nothing is applied; run `exec_preview` again";
        let Applied { created, changed, deleted, .. } = apply(ctx, &file, stale).await?;
        Ok(Output { created, changed, deleted })
    }
}
