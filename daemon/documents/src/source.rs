//! Where documents come from, seen from hands: something that lists what there is, tells what changed, and hands out
//! contents. Files of the workspace are one source; others are added by whoever knows what they are of.

use crate::{
    access::Documents,
    document::About,
    list::{List, Listing},
    read::Read,
    walk::Scope,
};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Error, Result};
use std::{collections::HashMap, fs::File, sync::Arc};

/// What a collection is of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SourceKind {
    /// The files below a path of the workspace, as they are now.
    #[default]
    Files,
    /// The files of a Git repository as a branch, tag or commit has them: the name of that.
    Revision(String),
    /// The commits that lead to a branch, tag or commit of a Git repository: their messages, and what they touch.
    Commits(String),
    /// The manual pages of this host, of these sections; empty for all.
    Manuals(Vec<String>),
    /// What the systemd journal holds of the last days, by unit and hour.
    Journal {
        /// Only these units; empty for all.
        units: Vec<String>,
        /// How far back.
        days: u32,
    },
    /// Pages of the web, by their addresses.
    Pages(Vec<String>),
}

impl SourceKind {
    /// The name in answers.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Files => "files",
            Self::Revision(_) => "revision",
            Self::Commits(_) => "commits",
            Self::Manuals(_) => "manuals",
            Self::Journal { .. } => "journal",
            Self::Pages(_) => "pages",
        }
    }

    /// The branch, tag or commit that it is of, if it is of one.
    #[must_use]
    pub fn revision(&self) -> Option<&str> {
        match self {
            Self::Revision(revision) | Self::Commits(revision) => Some(revision),
            Self::Files | Self::Manuals(_) | Self::Journal { .. } | Self::Pages(_) => None,
        }
    }
}

/// What hands out documents.
#[async_trait]
pub trait Source: Send + Sync {
    /// Whether it is the one for that.
    fn is_for(&self, kind: &SourceKind) -> bool;

    /// What there is: all of it, or what changed since the listing that answered with `list.cursor`.
    /// Of it, what `scope` holds.
    async fn list(&self, ctx: &CallCtx, list: &List, scope: &Scope) -> Result<Listing>;

    /// The contents of some documents of a listing, in their order; of one that cannot be had, why.
    async fn fetch(&self, ctx: &CallCtx, read: &Read) -> Result<Vec<Fetched>>;

    /// Which of some documents the caller may read, who is another user than the one whose collection they are in; or everybody. None,
    /// where a source cannot tell: then its collections are not shared.
    async fn readable(&self, _: &CallCtx, documents: &Documents) -> Result<Vec<bool>> {
        Ok(vec![false; documents.paths.len()])
    }
}

/// What knows who wrote the files of a workspace, besides the files themselves.
#[async_trait]
pub trait Attribution: Send + Sync {
    /// Who wrote files below a path, relative to the workspace, as far as that is known and not the same as in the state that
    /// `cursor` names. `None` where nobody knows.
    async fn since(&self, ctx: &CallCtx, path: &str, cursor: Option<&str>) -> Option<Attributed>;
}

/// Who wrote files.
#[derive(Clone, Debug, Default)]
pub struct Attributed {
    /// Names this state.
    pub cursor: String,
    /// By path relative to the workspace.
    pub authors: HashMap<String, About>,
}

/// The content of a document, or why there is none.
pub type Fetched = Result<Content, String>;

/// A document that is about to be read.
#[derive(Debug)]
pub struct Content {
    /// Tells by its extension how it is written.
    pub name: String,
    /// From the beginning.
    pub file: File,
    /// What its source knows of it, better than the document itself.
    pub about: About,
    /// When its file changed, in seconds since 1970: counts where neither knows a date.
    pub changed_at: Option<i64>,
}

/// Every source that hands have.
#[derive(Clone)]
pub(crate) struct Sources(Arc<[Box<dyn Source>]>);

impl Sources {
    pub(crate) fn new(sources: Vec<Box<dyn Source>>) -> Self {
        Self(sources.into())
    }

    /// # Errors
    /// `Internal` for what no source is for.
    pub(crate) fn find(&self, kind: &SourceKind) -> Result<&dyn Source> {
        let found = self.0.iter().find(|source| source.is_for(kind));
        let none = || Error::internal(format!("hands have no source of {}", kind.as_str()));
        found.map(|source| &**source).ok_or_else(none)
    }
}
