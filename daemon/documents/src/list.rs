//! Lists the files of a workspace that are worth reading. Asked by the daemon, never by an agent.

use crate::walk::{Scope, walk};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Error, Place, Result, Tool};
use std::{os::unix::fs::MetadataExt as _, time::Duration};

/// Files between two looks at whether anybody still wants them.
const CHECK_EVERY: usize = 256;

/// An answer of hands takes about twice as many.
const MOST_LISTED: usize = 300_000;

pub(crate) struct KnowledgeListFiles;

/// Which files are listed.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct List {
    /// A directory or file, relative to the workspace.
    pub path: String,
    /// Globs on paths relative to `path`; one without `/` matches at any depth. Empty for all.
    #[serde(default)]
    pub include: Vec<String>,
    /// The same, of what is left out.
    #[serde(default)]
    pub exclude: Vec<String>,
}

/// A file, and what changes when it changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Entry {
    /// Relative to the workspace.
    #[serde(rename = "p")]
    pub path: String,
    /// Its size in bytes, times of change of content and of inode in nanoseconds since 1970, and inode.
    #[serde(rename = "s")]
    pub stamp: (u64, i64, i64, u64),
}

/// What was found.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Listing {
    /// In order of path.
    pub files: Vec<Entry>,
    /// Names that are no UTF-8, directories that cannot be listed, and what vanished meanwhile.
    pub unreadable: u64,
}

impl Tool for KnowledgeListFiles {
    const NAME: &'static str = "knowledge_list_files";
    const SUMMARY: &'static str =
        "List the files of a directory that are worth reading, each with what tells whether it changed.";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Hands;
    const TIMEOUT: Duration = Duration::from_secs(600);
    type Input = List;
    type Output = Listing;

    async fn call(&self, ctx: &CallCtx, input: List) -> Result<Listing> {
        let workspace = ctx.workspace()?;
        let scope = Scope::new(&input.include, &input.exclude)?;
        let mut listing = Listing::default();
        for (number, found) in walk(workspace, &workspace.relative(&input.path)?)?.enumerate() {
            if number % CHECK_EVERY == 0 {
                ctx.check_canceled()?;
            }
            let Ok(found) = found else {
                listing.unreadable += 1;
                continue;
            };
            if !found.file_type().is_some_and(|kind| kind.is_file()) {
                continue;
            }
            let Some(path) = found.path().strip_prefix(workspace.path()).ok().and_then(|path| path.to_str())
            else {
                listing.unreadable += 1;
                continue;
            };
            if !scope.holds(&input.path, path) {
                continue;
            }
            let Ok(metadata) = found.metadata() else {
                listing.unreadable += 1;
                continue;
            };
            let nanoseconds =
                |seconds: i64, rest: i64| seconds.saturating_mul(1_000_000_000).saturating_add(rest);
            let stamp = (
                metadata.size(),
                nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
                nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
                metadata.ino(),
            );
            if listing.files.len() >= MOST_LISTED {
                return Err(Error::invalid_input(format!(
                    "there are more than {MOST_LISTED} files; name a part of them by `path`, `include` or `exclude`"
                )));
            }
            listing.files.push(Entry { path: path.to_owned(), stamp });
        }
        Ok(listing)
    }
}
