//! Makes a collection and reads its files.

use crate::{Library, refresh_collection::Counts};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Error, Place, Result, Tool};
use skynet_documents::SourceKind;
use skynet_knowledge::{Knowledge, Wanted};
use std::{sync::Arc, time::Duration};

pub(crate) struct KnowledgeAddCollection(pub(crate) Arc<Library>);

/// A text of two megabytes is a log or data.
pub(crate) const fn default_max_file_bytes() -> u64 {
    2 << 20
}

fn default_path() -> String {
    ".".into()
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// A directory or file, relative to the workspace; all of it by default.
    #[serde(default = "default_path")]
    path: String,
    /// How it is called; as the directory by default.
    #[serde(default)]
    name: Option<String>,
    /// Globs of the files in it, such as `*.md` or `src/**`; all by default.
    #[serde(default)]
    #[schemars(length(max = 100))]
    include: Vec<String>,
    /// Globs of files to leave out, besides what `.gitignore` and `.skynetignore` name.
    #[serde(default)]
    #[schemars(length(max = 100))]
    exclude: Vec<String>,
    /// Larger files are left out, in bytes.
    #[serde(default = "default_max_file_bytes")]
    #[schemars(range(min = 1, max = 67_108_864))]
    max_file_bytes: u64,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// How it is called.
    collection: String,
    /// What was read.
    #[serde(flatten)]
    counts: Counts,
    /// What to know next.
    note: &'static str,
}

impl Tool for KnowledgeAddCollection {
    const NAME: &'static str = "knowledge_add_collection";
    const SUMMARY: &'static str = "Index a directory of the workspace, so that knowledge_search finds what is in it. It is kept up to date as files change.";
    const KEYWORDS: &'static str = "index add create collection repository directory documents make searchable ingest embed knowledge base | indexer ajouter créer collection dépôt répertoire documents rendre cherchable base de connaissances";
    const EFFECT: Effect = Effect::Write;
    const PLACE: Place = Place::Daemon;
    const TIMEOUT: Duration = Duration::from_secs(3600);
    type Input = Input;
    type Output = Output;

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let knowledge = self.0.open()?;
        let wanted = Wanted {
            name: input.name,
            source: SourceKind::Files,
            path: input.path,
            include: input.include,
            exclude: input.exclude,
            max_file_bytes: input.max_file_bytes,
        };
        add(knowledge, ctx, wanted).await
    }
}

/// Makes it and reads it, or leaves nothing of it.
pub(crate) async fn add(knowledge: &Arc<Knowledge>, ctx: &CallCtx, wanted: Wanted) -> Result<Output> {
    knowledge.remove_replaced(ctx).await?;
    let (record, is_new) = knowledge.add(ctx, wanted)?;
    let refreshed = knowledge.refresh_record(ctx, record.clone()).await.and_then(|refreshed| {
        // A directory may be filled later.
        if refreshed.files == 0 && record.source != SourceKind::Files {
            return Err(Error::not_found(
                "there is nothing in it, so it is not kept: look at what was asked for",
            ));
        }
        Ok(refreshed)
    });
    match refreshed {
        Ok(refreshed) => Ok(Output {
            collection: record.name,
            counts: refreshed.into(),
            note: "search it with knowledge_search; vectors follow in the background, see knowledge_list_collections",
        }),
        Err(err) => {
            if is_new {
                // What cannot be read is no collection; it can be added again.
                knowledge.remove_record(&record).await?;
            }
            Err(err)
        }
    }
}
