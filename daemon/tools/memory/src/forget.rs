//! Forgets something for good.

use crate::{Mind, shown};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Place, Result, Tool};
use std::sync::Arc;

pub(crate) struct MemoryForget(pub(crate) Arc<Mind>);

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// The entry.
    id: String,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// What is forgotten.
    forgotten: String,
}

impl Tool for MemoryForget {
    const NAME: &'static str = "memory_forget";
    const SUMMARY: &'static str =
        "Forget something remembered, with its history, for good: its key is destroyed.";
    const KEYWORDS: &'static str = "forget delete erase remove memory entry for good refuse proposal | oublier supprimer effacer un souvenir définitivement mémoire refuser";
    const EFFECT: Effect = Effect::Destroy;
    const PLACE: Place = Place::Daemon;
    type Input = Input;
    type Output = Output;

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let entry = self.0.open()?.forget(ctx, shown::id(&input.id)?)?;
        Ok(Output { forgotten: entry.id.to_string() })
    }
}
