//! Documents: which files of a workspace are worth reading, what they say, and how they are cut into passages that can be
//! found. All of it happens in hands as the caller, and what looks into a file is a parser.

mod code;
mod document;
mod languages;
mod lines;
mod list;
mod markdown;
mod office;
mod prose;
mod read;
mod table;
mod walk;
mod watch;
pub mod work;

pub use document::{Definition, Document, Format, Passage, Reading};
pub use list::{Entry, List, Listing};
pub use prose::language;
pub use read::{MOST_FILES, Read, Readings};
pub use watch::{Watch, Watched};

use skynet_core::{Tool as _, Toolset};

/// The name of what lists files: takes [`List`], answers [`Listing`].
pub const LIST: &str = list::KnowledgeListFiles::NAME;

/// The name of what reads files: takes [`Read`], answers [`Readings`].
pub const READ: &str = read::KnowledgeReadFiles::NAME;

/// The name of what watches files: takes [`Watch`], answers [`Watched`] when it cannot.
pub const WATCH: &str = watch::KnowledgeWatchFiles::NAME;

/// What of it is done in hands, for the daemon.
#[must_use]
pub fn in_hands() -> Toolset {
    Toolset::new("knowledge", "collections of documents")
        .with(list::KnowledgeListFiles)
        .with(read::KnowledgeReadFiles)
        .with(watch::KnowledgeWatchFiles)
}
