//! What an index keeps of files and passages.

use crate::{analysis::ENGLISH, topics::Topics};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use skynet_documents::{About, Definition, Format, Passage};

/// A file of a collection.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FileState {
    /// Relative to the workspace.
    pub path: String,
    /// [`skynet_documents::Entry::stamp`], when it was read.
    pub stamp: (u64, i64, i64, u64),
    /// SHA-256 of what was read; empty if nothing was.
    pub hash: String,
    /// How it is written; absent if it was not read.
    pub format: Option<Format>,
    /// The programming language.
    pub code: Option<String>,
    /// What it is called in itself.
    pub title: Option<String>,
    /// What it defines, or its headings.
    pub outline: Vec<Definition>,
    /// How many there are.
    pub passages: u32,
    /// Credentials that were taken out of it.
    pub secrets: u32,
    /// Who wrote it, and when.
    #[serde(default, skip_serializing_if = "About::is_empty")]
    pub about: About,
    /// Who that is by its source, whatever it says itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_author: Option<String>,
    /// Why it was not read.
    pub skipped: Option<String>,
    /// Where its long sections are cut.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub topics: Vec<Topics>,
    /// Whether some are not cut by what they say yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_coarse: bool,
}

/// A passage of a collection.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StoredPassage {
    /// Of its file.
    pub path: String,
    /// Its number in the file, from 0.
    pub sequence: u32,
    /// The same for all passages that a model sees the same of.
    pub key: u64,
    /// By which language its words are taken, ISO 639-3.
    pub words: String,
    /// How its file is written.
    pub format: Format,
    /// The programming language.
    pub code: Option<String>,
    /// Who wrote its document, and when.
    #[serde(default, skip_serializing_if = "About::is_empty")]
    pub about: About,
    /// Itself.
    pub passage: Passage,
}

impl StoredPassage {
    /// Whether it is for the model of languages other than English.
    #[must_use]
    pub fn is_foreign(&self) -> bool {
        self.code.is_none() && self.words != ENGLISH
    }

    /// What names it in answers: the file it is in, and its number there.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}#{}", self.path, self.sequence)
    }
}

/// [`StoredPassage::key`].
pub(crate) fn key_of(passage: &Passage) -> u64 {
    short_hash(passage.in_context().as_bytes())
}

/// The first eight bytes of a SHA-256.
pub(crate) fn short_hash(bytes: &[u8]) -> u64 {
    let digest = Sha256::digest(bytes);
    digest.iter().take(8).fold(0, |hash, byte| hash << 8 | u64::from(*byte))
}
