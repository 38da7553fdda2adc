//! Reads a passage with what is around it.

use crate::{
    Library,
    answer::{self, Chunk},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Place, Result, Tool};
use std::sync::Arc;

pub(crate) struct KnowledgeReadChunk(pub(crate) Arc<Library>);

const fn default_around() -> u32 {
    1
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// The passage, as `knowledge_search` names it.
    id: String,
    /// The collection that it is in.
    collection: String,
    /// Passages before and after it.
    #[serde(default = "default_around")]
    #[schemars(range(max = 20))]
    around: u32,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// In the order of the file.
    chunks: Vec<Chunk>,
}

impl Tool for KnowledgeReadChunk {
    const NAME: &'static str = "knowledge_read_chunk";
    const SUMMARY: &'static str =
        "Read a passage that a search found, with the passages before and after it.";
    const KEYWORDS: &'static str = "context around result surrounding passage neighbours more of chunk before after | contexte autour du résultat passage voisin suite avant après extrait";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Daemon;
    type Input = Input;
    type Output = Output;

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let passages =
            self.0.open()?.passages_around(ctx, &input.collection, &input.id, input.around).await?;
        Ok(Output {
            chunks: passages.iter().map(|stored| answer::chunk(&input.collection, stored)).collect(),
        })
    }
}
