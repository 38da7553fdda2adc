//! Lists what is remembered.

use crate::{
    Mind,
    shown::{self, DATA, Shown},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Place, Result, Tool};
use skynet_memory::{Filter, Kind, State};
use std::sync::Arc;

pub(crate) struct MemoryList(pub(crate) Arc<Mind>);

const fn default_limit() -> u32 {
    50
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Only these entries, by id.
    #[serde(default)]
    #[schemars(length(max = 100))]
    ids: Vec<String>,
    /// Only of this kind.
    #[serde(default)]
    kind: Option<Kind>,
    /// Only with all of these tags.
    #[serde(default)]
    tags: Vec<String>,
    /// Only those that count, or only those that wait for a human.
    #[serde(default)]
    state: Option<State>,
    /// Most entries to return.
    #[serde(default = "default_limit")]
    #[schemars(range(min = 1, max = 1000))]
    limit: u32,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// Newest first.
    entries: Vec<Shown>,
    /// How many there are in all.
    total: usize,
    /// How to take what is quoted.
    note: &'static str,
}

impl Tool for MemoryList {
    const NAME: &'static str = "memory_list";
    const SUMMARY: &'static str =
        "List what is remembered of this project and this user, newest first, with history.";
    const KEYWORDS: &'static str = "list memories show everything all that is remembered show memory entries proposed | lister souvenirs tout ce qui est mémorisé afficher mémoire propositions";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Daemon;
    type Input = Input;
    type Output = Output;

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let tags = input.tags.iter().map(|tag| tag.trim().to_lowercase()).collect();
        let filter = Filter { kind: input.kind, tags, state: input.state };
        let ids: Vec<_> = input.ids.iter().map(|id| shown::id(id)).collect::<Result<_>>()?;
        let mut all = self.0.open()?.list(ctx, &filter)?;
        all.retain(|entry| ids.is_empty() || ids.contains(&entry.id));
        let total = all.len();
        let entries = all.into_iter().take(input.limit as usize).map(Shown::from).collect();
        Ok(Output { entries, total, note: DATA })
    }
}
