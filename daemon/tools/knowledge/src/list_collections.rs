//! Lists collections and how far they are.

use crate::Library;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Place, Result, Tool};
use skynet_knowledge::Status;
use std::sync::Arc;

pub(crate) struct KnowledgeListCollections(pub(crate) Arc<Library>);

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// By name.
    collections: Vec<Collection>,
}

#[derive(Serialize, JsonSchema)]
struct Collection {
    /// How it is called.
    name: String,
    /// What it is of: `files`, `revision`, `commits`, `manuals`, `journal` or `pages`.
    source: &'static str,
    /// The branch, tag or commit that it is of; absent where it is of none.
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<String>,
    /// Its directory or file, relative to the workspace; if it is shared, its whole path.
    path: String,
    /// True if an administrator shared it with all users: you find in it what you may read yourself.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    shared: bool,
    /// Globs of the files in it; empty for all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    include: Vec<String>,
    /// Globs of files that are left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    exclude: Vec<String>,
    /// Files that were looked at.
    files: u64,
    /// Passages that words are searched in.
    passages: u64,
    /// Passages with a vector, by model; the rest follows in the background.
    vectors: Vec<Vectors>,
    /// Languages of its prose, ISO 639-3, most common first.
    languages: Vec<String>,
    /// What its index takes of the disk, in bytes.
    size_bytes: u64,
    /// What is being done with it now.
    #[serde(skip_serializing_if = "Option::is_none")]
    doing: Option<String>,
    /// When its files were last looked at, RFC 3339, UTC; absent if never since it was opened.
    #[serde(skip_serializing_if = "Option::is_none")]
    checked_at: Option<String>,
    /// What went wrong the last time.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<String>,
    /// Why changes are looked for at each search and not heard of.
    #[serde(skip_serializing_if = "Option::is_none")]
    unwatched: Option<String>,
    /// Vectors made for it since it was opened; one that nobody asks for ten minutes is closed.
    embedded: u64,
}

#[derive(Serialize, JsonSchema)]
struct Vectors {
    /// The model.
    model: String,
    /// How many there are.
    count: u64,
}

impl From<Status> for Collection {
    fn from(status: Status) -> Self {
        let Status { record, is_own, progress, files, passages, vectors, embedded, languages, size_bytes } =
            status;
        let (done, all) = progress.done;
        Self {
            name: record.name,
            source: record.source.as_str(),
            revision: record.source.revision().map(str::to_owned),
            path: record.path,
            shared: !is_own,
            include: record.include,
            exclude: record.exclude,
            files,
            passages,
            vectors: vectors.into_iter().map(|(model, count)| Vectors { model, count }).collect(),
            languages: languages.into_iter().map(|(language, _)| language).collect(),
            size_bytes,
            doing: progress
                .doing
                .map(|doing| format!("{doing}, {done} of {all}"))
                .or_else(|| progress.vectors.map(|(done, all)| format!("making vectors, {done} of {all}"))),
            checked_at: progress.checked_at.as_ref().map(Timestamp::to_string),
            failure: progress.failure.filter(|_| is_own),
            unwatched: progress.unwatched.filter(|_| is_own),
            embedded,
        }
    }
}

impl Tool for KnowledgeListCollections {
    const NAME: &'static str = "knowledge_list_collections";
    const SUMMARY: &'static str = "List the workspace's indexed collections: files, passages, vectors so far, languages, and whether they are up to date.";
    const KEYWORDS: &'static str = "which collections indexes indexed status progress of indexing embeddings vectors | quelles collections index indexées état progression indexation vecteurs";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Daemon;
    type Input = Input;
    type Output = Output;

    async fn call(&self, ctx: &CallCtx, _: Input) -> Result<Output> {
        // The workspace is whose collections are listed.
        ctx.workspace()?;
        let all = self.0.open()?.list(ctx).await?;
        Ok(Output { collections: all.into_iter().map(Collection::from).collect() })
    }
}
