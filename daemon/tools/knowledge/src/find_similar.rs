//! Finds passages that mean the same as one.

use crate::{
    Library,
    answer::{self, Chunk},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Place, Result, Tool};
use std::sync::Arc;

pub(crate) struct KnowledgeFindSimilar(pub(crate) Arc<Library>);

const fn default_limit() -> u32 {
    8
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// The passage, as `knowledge_search` names it.
    id: String,
    /// The collection that it is in.
    collection: String,
    /// Most passages to return.
    #[serde(default = "default_limit")]
    #[schemars(range(min = 1, max = 50))]
    limit: u32,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// Most similar first; the score is the cosine.
    found: Vec<Chunk>,
}

impl Tool for KnowledgeFindSimilar {
    const NAME: &'static str = "knowledge_find_similar";
    const SUMMARY: &'static str =
        "Find passages that mean much the same as a given one: duplicated code, related documentation.";
    const KEYWORDS: &'static str = "similar duplicate related alike same meaning clones nearest neighbours passage | similaire doublon semblable proche dupliqué ressemble passage";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Daemon;
    type Input = Input;
    type Output = Output;

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let found = self.0.open()?.similar(ctx, &input.collection, &input.id, input.limit as usize).await?;
        let found = found.into_iter().map(|(stored, cosine)| Chunk {
            score: Some(cosine),
            ..answer::chunk(&input.collection, &stored)
        });
        Ok(Output { found: found.collect() })
    }
}
