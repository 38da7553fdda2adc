//! Changes what is remembered.

use crate::{Mind, shown};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Place, Result, Tool};
use skynet_memory::{Changes, State};
use std::sync::Arc;

pub(crate) struct MemoryUpdate(pub(crate) Arc<Mind>);

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// The entry.
    id: String,
    /// What it says from now on; what it said is kept with it.
    #[serde(default)]
    #[schemars(length(min = 1, max = 8192), extend("writeOnly" = true))]
    text: Option<String>,
    /// All of its tags from now on.
    #[serde(default)]
    #[schemars(length(max = 20), extend("writeOnly" = true))]
    tags: Option<Vec<String>>,
    /// How sure it is, from 0 to 1.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1))]
    confidence: Option<f32>,
}

/// Without any text, as that of memory_remember.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// The entry.
    id: String,
    /// Whether it counts.
    state: State,
    /// Earlier texts that are kept with it.
    past: usize,
}

impl Tool for MemoryUpdate {
    const NAME: &'static str = "memory_update";
    const SUMMARY: &'static str = "Correct something remembered: its text, tags or confidence. What it said before stays in its history.";
    const KEYWORDS: &'static str = "correct change edit memory entry outdated wrong revise | corriger modifier un souvenir entrée périmée fausse réviser mémoire";
    const EFFECT: Effect = Effect::Write;
    const PLACE: Place = Place::Daemon;
    type Input = Input;
    type Output = Output;

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let changes =
            Changes { text: input.text, tags: input.tags, confidence: input.confidence, state: None };
        let entry = self.0.open()?.update(ctx, shown::id(&input.id)?, changes).await?;
        Ok(Output { id: entry.id.to_string(), state: entry.state, past: entry.past.len() })
    }
}
