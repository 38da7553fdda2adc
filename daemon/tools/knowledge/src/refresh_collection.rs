//! Looks through the files of a collection now.

use crate::Library;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Place, Result, Tool};
use skynet_knowledge::Refreshed;
use std::{sync::Arc, time::Duration};

pub(crate) struct KnowledgeRefreshCollection(pub(crate) Arc<Library>);

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// The collection.
    name: String,
}

/// What a look at all files found.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Counts {
    /// Files in all.
    files: u64,
    /// Those that were new or changed, and were read.
    changed: u64,
    /// Those that are gone.
    removed: u64,
    /// Those that cannot be read or are not worth it: binary, too large.
    skipped: u64,
}

impl From<Refreshed> for Counts {
    fn from(refreshed: Refreshed) -> Self {
        let Refreshed { changed, removed, files, skipped } = refreshed;
        Self { files, changed, removed, skipped }
    }
}

impl Tool for KnowledgeRefreshCollection {
    const NAME: &'static str = "knowledge_refresh_collection";
    const SUMMARY: &'static str = "Look through the files of a collection now and index what changed. Searches do so by themselves; this waits for it.";
    const KEYWORDS: &'static str = "reindex update refresh sync collection index again changed files | réindexer mettre à jour actualiser rafraîchir collection index";
    const EFFECT: Effect = Effect::Write;
    const PLACE: Place = Place::Daemon;
    const TIMEOUT: Duration = Duration::from_secs(3600);
    type Input = Input;
    type Output = Counts;

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Counts> {
        Ok(self.0.open()?.refresh(ctx, &input.name).await?.into())
    }
}
