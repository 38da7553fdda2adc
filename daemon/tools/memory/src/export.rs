//! Hands out what is remembered, to be kept or taken elsewhere.

use crate::{Mind, import::Exported};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Place, Result, Tool};
use skynet_memory::Filter;
use std::sync::Arc;

pub(crate) struct MemoryExport(pub(crate) Arc<Mind>);

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// All that may be known here, as `memory_import` takes it.
    entries: Vec<Exported>,
}

impl Tool for MemoryExport {
    const NAME: &'static str = "memory_export";
    const SUMMARY: &'static str =
        "Export all that is remembered of this project and this user, as memory_import takes it.";
    const KEYWORDS: &'static str = "export backup memories dump to file move | exporter sauvegarder les souvenirs mémoire fichier transférer";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Daemon;
    type Input = Input;
    type Output = Output;

    async fn call(&self, ctx: &CallCtx, _: Input) -> Result<Output> {
        let all = self.0.open()?.list(ctx, &Filter::default())?;
        Ok(Output { entries: all.into_iter().map(Exported::from).collect() })
    }
}
