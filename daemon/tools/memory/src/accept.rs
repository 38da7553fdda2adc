//! Makes what an agent concluded count.

use crate::{Mind, shown};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Place, Result, Tool};
use skynet_memory::{Changes, State};
use std::sync::Arc;

pub(crate) struct MemoryAccept(pub(crate) Arc<Mind>);

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// The proposed entry.
    id: String,
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

impl Tool for MemoryAccept {
    const NAME: &'static str = "memory_accept";
    const SUMMARY: &'static str = "Accept something that an agent proposed to remember, so that it counts. A human is asked. To refuse it, forget it.";
    const KEYWORDS: &'static str = "accept approve proposed memory preference learnt confirm | accepter approuver souvenir proposé préférence apprise confirmer";
    const EFFECT: Effect = Effect::Write;
    const PLACE: Place = Place::Daemon;
    type Input = Input;
    type Output = Output;

    fn must_ask(&self, _input: &Input) -> Option<&'static str> {
        Some("makes what an agent concluded count as what you want")
    }

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let changes = Changes { state: Some(State::Accepted), ..Changes::default() };
        let entry = self.0.open()?.update(ctx, shown::id(&input.id)?, changes).await?;
        Ok(Output { id: entry.id.to_string(), state: entry.state, past: entry.past.len() })
    }
}
