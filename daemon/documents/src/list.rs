//! Lists the documents of a source that are worth reading. Asked by the daemon, never by an agent.

use crate::{
    document::About,
    source::{SourceKind, Sources},
    walk::Scope,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Error, Place, Result, Tool};
use std::{fs::Metadata, os::unix::fs::MetadataExt as _, time::Duration};

/// Documents between two looks at whether anybody still wants them.
pub(crate) const CHECK_EVERY: usize = 256;

/// An answer of hands takes about twice as many.
const MOST_LISTED: usize = 300_000;

pub(crate) struct KnowledgeListDocuments(pub(crate) Sources);

/// Which documents are listed.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct List {
    /// What they are of.
    #[serde(default)]
    #[schemars(with = "serde_json::Value")]
    pub source: SourceKind,
    /// A directory or file, relative to the workspace: of files where they are, of a repository any directory.
    pub path: String,
    /// Globs on paths relative to `path`; one without `/` matches at any depth. Empty for all.
    #[serde(default)]
    pub include: Vec<String>,
    /// The same, of what is left out.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// Of the last listing, if it had one.
    #[serde(default)]
    pub cursor: Option<String>,
}

/// A document, and what changes when it changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Entry {
    /// Of a file its path, relative to the workspace; otherwise what its source calls it.
    #[serde(rename = "p")]
    pub path: String,
    /// Of a file its size in bytes, times of change of content and of inode in nanoseconds since 1970, and inode; otherwise its size, if that
    /// is known, and a digest.
    #[serde(rename = "s")]
    pub stamp: (u64, i64, i64, u64),
    /// What its source knows of it before it is read.
    #[serde(default, rename = "a", skip_serializing_if = "About::is_empty")]
    pub about: About,
}

impl Entry {
    /// A file, known by what the kernel says of it.
    pub(crate) fn of_file(path: String, metadata: &Metadata) -> Self {
        let nanoseconds =
            |seconds: i64, rest: i64| seconds.saturating_mul(1_000_000_000).saturating_add(rest);
        let stamp = (
            metadata.size(),
            nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
            nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
            metadata.ino(),
        );
        Self { path, stamp, about: About::default() }
    }

    /// A document of that size, known by a digest in hexadecimal, of which the first 48 digits count.
    #[must_use]
    pub fn of_digest(path: String, size: u64, digest: &str) -> Self {
        let part = |from: usize| {
            let digits = digest.get(from..).unwrap_or_default();
            let digits = digits.get(..16).unwrap_or(digits);
            u64::from_str_radix(digits, 16).unwrap_or(0)
        };
        let stamp = (size, part(0).cast_signed(), part(16).cast_signed(), part(32));
        Self { path, stamp, about: About::default() }
    }
}

/// What was found.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Listing {
    /// In order of path.
    pub files: Vec<Entry>,
    /// Names that are no UTF-8, directories that cannot be listed, and what vanished meanwhile.
    pub unreadable: u64,
    /// Names this state, for a source that can tell what changed since.
    #[serde(default)]
    pub cursor: Option<String>,
    /// Whether it is only what changed or is new since the cursor that was asked about.
    #[serde(default)]
    pub is_partial: bool,
}

impl Listing {
    /// Adds a document.
    ///
    /// # Errors
    /// `InvalidInput` when there are more than an answer takes.
    pub fn push(&mut self, entry: Entry) -> Result<()> {
        if self.files.len() >= MOST_LISTED {
            return Err(Error::invalid_input(format!(
                "there are more than {MOST_LISTED} documents; name a part of them by `path`, `include` or `exclude`"
            )));
        }
        self.files.push(entry);
        Ok(())
    }
}

impl Tool for KnowledgeListDocuments {
    const NAME: &'static str = "knowledge_list_documents";
    const SUMMARY: &'static str =
        "List the documents of a source that are worth reading, each with what tells whether it changed.";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Hands;
    const TIMEOUT: Duration = Duration::from_secs(600);
    type Input = List;
    type Output = Listing;

    async fn call(&self, ctx: &CallCtx, input: List) -> Result<Listing> {
        let scope = Scope::new(&input)?;
        self.0.find(&input.source)?.list(ctx, &input, &scope).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_digest_is_another_stamp() {
        let entry = |digest: &str| Entry::of_digest("a".into(), 7, digest).stamp;
        let digest = "4b825dc642cb6eb9a060e54bf8d69288fbee4904";
        assert_eq!(entry(digest), entry(digest));
        for place in [0, 15, 16, 31, 32, 39] {
            let mut other = digest.to_owned();
            other.replace_range(place..=place, "1");
            assert_ne!(entry(digest), entry(&other), "{place}");
        }
    }
}
