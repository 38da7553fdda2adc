//! Documents: where they come from, which of them are worth reading, what they say, and how they are cut into passages
//! that can be found. All of it happens in hands as the caller, and what looks into a document is a parser.

mod about;
mod access;
mod code;
mod document;
mod files;
mod html;
mod languages;
mod lines;
mod list;
mod manuals;
mod markdown;
mod office;
mod pages;
mod prose;
mod read;
mod roff;
mod sections;
mod source;
mod table;
mod walk;
mod watch;
pub mod work;

pub use about::seconds;
pub use access::{Documents, Readable};
pub use document::{About, Definition, Document, Format, MOST_DEFINITIONS, Passage, Reading};
pub use list::{Entry, List, Listing};
pub use pages::{Page, Visit, host_of};
pub use prose::language;
pub use read::{Contents, Given, MOST_FILES, Read, Readings, held};
pub use sections::Section;
pub use source::{Attributed, Attribution, Content, Fetched, Source, SourceKind};
pub use walk::{IGNORE_FILE, Ignored, Scope};
pub use watch::{Watch, Watched};

use skynet_core::{Tool as _, Toolset};

/// The name of what lists documents: takes [`List`], answers [`Listing`].
pub const LIST: &str = list::KnowledgeListDocuments::NAME;

/// The name of what reads documents: takes [`Read`], answers [`Readings`].
pub const READ: &str = read::KnowledgeReadDocuments::NAME;

/// The name of what hands out documents unread, in hands of the host: takes [`Read`], answers [`Contents`].
pub const FETCH: &str = read::KnowledgeFetchDocuments::NAME;

/// The name of what tells which documents a caller may read, in hands of the host: takes [`Documents`], answers [`Readable`].
pub const CHECK_ACCESS: &str = access::KnowledgeCheckAccess::NAME;

/// The name of what watches files: takes [`Watch`], answers [`Watched`] when it cannot.
pub const WATCH: &str = watch::KnowledgeWatchFiles::NAME;

/// The name of what fetches a page of the web, in hands that reach its host: takes [`Visit`], answers [`Page`].
pub const VISIT: &str = pages::KnowledgeFetchPage::NAME;

/// What of it is done in hands, for the daemon; `others` are sources besides those that are here, and `attribution` knows who wrote
/// files.
#[must_use]
pub fn in_hands(
    others: impl IntoIterator<Item = Box<dyn Source>>,
    attribution: Box<dyn Attribution>,
) -> Toolset {
    let here: [Box<dyn Source>; 2] = [Box::new(files::Files(attribution)), Box::new(manuals::Manuals)];
    let sources = source::Sources::new(here.into_iter().chain(others).collect());
    Toolset::new("knowledge", "collections of documents")
        .with(list::KnowledgeListDocuments(sources.clone()))
        .with(read::KnowledgeFetchDocuments(sources.clone()))
        .with(access::KnowledgeCheckAccess(sources.clone()))
        .with(read::KnowledgeReadDocuments(sources))
        .with(watch::KnowledgeWatchFiles)
        .with(pages::KnowledgeFindRemote)
        .with(pages::KnowledgeFetchPage)
}
