//! Finds where something is defined.

use crate::{Library, outline_file::Defined};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Place, Result, Tool};
use std::sync::Arc;

pub(crate) struct KnowledgeFindSymbol(pub(crate) Arc<Library>);

const fn default_limit() -> u32 {
    20
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// A name in code or a part of one; exact matches come first.
    #[schemars(length(min = 1, max = 200))]
    name: String,
    /// Names of collections; all of the workspace by default.
    #[serde(default)]
    collections: Vec<String>,
    /// Most definitions to return.
    #[serde(default = "default_limit")]
    #[schemars(range(min = 1, max = 200))]
    limit: u32,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// Exact matches first, then by path.
    definitions: Vec<Found>,
}

#[derive(Serialize, JsonSchema)]
struct Found {
    /// The collection.
    collection: String,
    /// The file, relative to the workspace.
    path: String,
    /// What is defined.
    #[serde(flatten)]
    definition: Defined,
}

impl Tool for KnowledgeFindSymbol {
    const NAME: &'static str = "knowledge_find_symbol";
    const SUMMARY: &'static str =
        "Find where a function, type, class, method or constant is defined: path, lines, signature.";
    const KEYWORDS: &'static str = "go to definition symbol function class method type struct where defined declared | aller à la définition symbole fonction classe méthode où est défini déclaré";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Daemon;
    type Input = Input;
    type Output = Output;

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let knowledge = self.0.open()?;
        let found = knowledge.definitions(ctx, &input.collections, &input.name, input.limit as usize).await?;
        let definitions = found.into_iter().map(|(collection, path, definition)| Found {
            collection,
            path,
            definition: definition.into(),
        });
        Ok(Output { definitions: definitions.collect() })
    }
}
