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
    /// Also tell who wrote the lines of each, as `git_blame` does: of files of a Git repository.
    #[serde(default)]
    blame: bool,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// In the order of the file.
    chunks: Vec<Read>,
    /// What this answer lacks, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

/// A passage, and who wrote it.
#[derive(Serialize, JsonSchema)]
struct Read {
    /// Itself.
    #[serde(flatten)]
    chunk: Chunk,
    /// Who wrote its lines, the newest first; with `blame`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    writers: Vec<Writer>,
}

/// Who wrote lines of a passage.
#[derive(Serialize, JsonSchema)]
struct Writer {
    /// By name.
    author: String,
    /// When they last did, RFC 3339, UTC.
    at: String,
    /// The commit of then; zeros for what is not committed.
    commit: String,
    /// How many lines are theirs.
    lines: u32,
}

impl From<skynet_knowledge::Writer> for Writer {
    fn from(writer: skynet_knowledge::Writer) -> Self {
        let skynet_knowledge::Writer { author, at, commit, lines } = writer;
        Self { author, at: at.to_string(), commit, lines }
    }
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
        let knowledge = self.0.open()?;
        let passages = knowledge.passages_around(ctx, &input.collection, &input.id, input.around).await?;
        let (mut writers, mut note) = (Vec::new(), None);
        if input.blame {
            match knowledge.writers(ctx, &input.collection, &passages).await {
                Ok(told) => writers = told,
                Err(err) => note = Some(format!("who wrote the lines is not known: {err}")),
            }
        }
        let mut writers = writers.into_iter();
        let chunks = passages.iter().map(|stored| Read {
            chunk: answer::chunk(&input.collection, stored),
            writers: writers.next().unwrap_or_default().into_iter().map(Writer::from).collect(),
        });
        Ok(Output { chunks: chunks.collect(), note })
    }
}
