//! Takes what was exported.

use crate::Mind;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Error, Place, Result, Tool};
use skynet_memory::{Entry, Kind, State};
use std::{path::PathBuf, sync::Arc};
use uuid::Uuid;

pub(crate) struct MemoryImport(pub(crate) Arc<Mind>);

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Entries, as `memory_export` answers them.
    #[schemars(length(max = 5000), extend("writeOnly" = true))]
    entries: Vec<Exported>,
}

/// Something remembered, without what a model made of it.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Exported {
    /// Its id, so that it is not taken twice; new if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    /// What it says.
    text: String,
    /// What it is.
    kind: Kind,
    /// True if it is about the person, false if it is about the project.
    #[serde(default)]
    personal: bool,
    /// Words to find it by.
    #[serde(default)]
    tags: Vec<String>,
    /// Where it comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    /// How sure that is, from 0 to 1.
    confidence: f32,
    /// When it was first told, RFC 3339; now if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    created_at: Option<String>,
    /// When it will be forgotten, RFC 3339; never if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    /// Turns of a conversation that it sums up, by id.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    summarizes: Vec<String>,
}

impl From<Entry> for Exported {
    fn from(entry: Entry) -> Self {
        Self {
            id: Some(entry.id.to_string()),
            text: entry.text,
            kind: entry.kind,
            personal: entry.project.is_none(),
            tags: entry.tags,
            source: entry.source,
            confidence: entry.confidence,
            created_at: Some(entry.created_at.to_string()),
            expires_at: entry.expires_at.map(|at| at.to_string()),
            summarizes: entry.summarizes.iter().map(ToString::to_string).collect(),
        }
    }
}

impl Exported {
    fn entry(self, now: Timestamp) -> Result<Entry> {
        let time = |text: String| {
            text.parse::<Timestamp>()
                .map_err(|_| Error::invalid_input(format!("`{text}` is no time of RFC 3339")))
        };
        let id = self.id.map(|id| crate::shown::id(&id)).transpose()?;
        let created_at = self.created_at.map(time).transpose()?.unwrap_or(now);
        Ok(Entry {
            id: id.unwrap_or_else(Uuid::now_v7),
            text: self.text,
            kind: self.kind,
            // The project is the one that it is imported to.
            project: (!self.personal).then(PathBuf::new),
            tags: self.tags,
            source: self.source,
            confidence: self.confidence,
            // An agent may have written it: it counts as what an agent concluded.
            state: State::Proposed,
            created_at,
            updated_at: created_at.min(now),
            expires_at: self.expires_at.map(time).transpose()?,
            past: Vec::new(),
            summarizes: self.summarizes.iter().map(|id| crate::shown::id(id)).collect::<Result<_>>()?,
            vector: None,
        })
    }
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// Entries that are new; they are proposed until a human accepts them.
    imported: usize,
    /// Entries that were known, or are over.
    passed_over: usize,
}

impl Tool for MemoryImport {
    const NAME: &'static str = "memory_import";
    const SUMMARY: &'static str =
        "Import entries that memory_export wrote; they are proposed until a human accepts them.";
    const KEYWORDS: &'static str = "import restore memories from export file load | importer restaurer des souvenirs depuis un fichier exporté mémoire";
    const EFFECT: Effect = Effect::Write;
    const PLACE: Place = Place::Daemon;
    type Input = Input;
    type Output = Output;

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let (count, now) = (input.entries.len(), Timestamp::now());
        let entries = input.entries.into_iter().map(|one| one.entry(now)).collect::<Result<_>>()?;
        let imported = self.0.open()?.import(ctx, entries)?;
        Ok(Output { imported, passed_over: count - imported })
    }
}
