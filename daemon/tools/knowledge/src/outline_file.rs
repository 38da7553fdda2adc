//! Tells what a file defines.

use crate::Library;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Place, Result, Tool};
use skynet_documents::Definition;
use std::sync::Arc;

pub(crate) struct KnowledgeOutlineFile(pub(crate) Arc<Library>);

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// The file, relative to the workspace.
    path: String,
    /// Names of collections; all of the workspace by default.
    #[serde(default)]
    collections: Vec<String>,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// The collection that the file is in.
    collection: String,
    /// Other collections with a file of that path, which may say something else: name one in `collections` to outline its file.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    also_in: Vec<String>,
    /// How it is written.
    format: &'static str,
    /// Its programming language.
    #[serde(skip_serializing_if = "Option::is_none")]
    language: Option<String>,
    /// What it is called in itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<String>,
    /// Why it is not searched, if it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    skipped: Option<String>,
    /// Passages that it was cut into.
    passages: u32,
    /// Kinds of credentials that were taken out of it.
    #[serde(skip_serializing_if = "is_none")]
    secrets: u32,
    /// Definitions of code or headings of prose, in order.
    outline: Vec<Defined>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_none(count: &u32) -> bool {
    *count == 0
}

/// Something that code defines, or a heading.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Defined {
    /// Its name.
    name: String,
    /// `function`, `method`, `class`, `interface`, `module`, `type`, `constant`, `macro` or `heading`.
    kind: String,
    /// What it is part of, outermost first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    within: Vec<String>,
    /// First line, from 1.
    first_line: u32,
    /// Last line, inclusive.
    last_line: u32,
    /// Its first line, without the body.
    signature: String,
}

impl From<Definition> for Defined {
    fn from(definition: Definition) -> Self {
        let Definition { name, kind, parents, signature, first_line, last_line } = definition;
        Self { name, kind, within: parents, first_line, last_line, signature }
    }
}

impl Tool for KnowledgeOutlineFile {
    const NAME: &'static str = "knowledge_outline_file";
    const SUMMARY: &'static str = "Outline a file of a collection: its functions, types, methods or headings with their lines, without reading it all.";
    const KEYWORDS: &'static str = "outline structure of file functions list headings table of contents symbols in file | plan structure du fichier fonctions liste titres sommaire table des matières";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Daemon;
    type Input = Input;
    type Output = Output;

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let knowledge = self.0.open()?;
        let (collection, file, also_in) = knowledge.file(ctx, &input.collections, &input.path).await?;
        Ok(Output {
            collection,
            also_in,
            format: file.format.map_or("unread", skynet_documents::Format::as_str),
            language: file.code,
            title: file.title,
            skipped: file.skipped,
            passages: file.passages,
            secrets: file.secrets,
            outline: file.outline.into_iter().map(Defined::from).collect(),
        })
    }
}
