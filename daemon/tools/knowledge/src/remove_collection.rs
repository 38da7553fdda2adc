//! Forgets a collection.

use crate::Library;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Place, Result, Tool};
use std::sync::Arc;

pub(crate) struct KnowledgeRemoveCollection(pub(crate) Arc<Library>);

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// The collection.
    name: String,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// What is forgotten; its files are as they were.
    removed: String,
}

impl Tool for KnowledgeRemoveCollection {
    const NAME: &'static str = "knowledge_remove_collection";
    const SUMMARY: &'static str = "Remove a collection and its index. The files stay as they are.";
    const KEYWORDS: &'static str = "delete drop forget collection index remove knowledge | supprimer effacer oublier collection index retirer connaissances";
    const EFFECT: Effect = Effect::Write;
    const PLACE: Place = Place::Daemon;
    type Input = Input;
    type Output = Output;

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let record = self.0.open()?.remove(ctx, &input.name).await?;
        Ok(Output { removed: record.name })
    }
}
