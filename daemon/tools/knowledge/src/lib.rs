//! The knowledge family: collections of documents of the workspace, its history, the host and the web, and what is found in them.

mod add_collection;
mod add_source;
mod answer;
mod explain_result;
mod find_similar;
mod find_symbol;
mod list_collections;
mod outline_file;
mod read_chunk;
mod refresh_collection;
mod remove_collection;
mod search;

use skynet_core::{Error, Result, Toolset};
use skynet_knowledge::Knowledge;
use std::sync::{Arc, OnceLock};

/// The collections of a daemon, once it has opened them.
#[derive(Default)]
pub struct Library(OnceLock<Arc<Knowledge>>);

impl Library {
    /// Gives it the collections; the first ones stay.
    pub fn fill(&self, knowledge: Arc<Knowledge>) {
        // Filled twice only by a daemon that is wired wrong, and then with the same.
        let _ = self.0.set(knowledge);
    }

    fn open(&self) -> Result<&Arc<Knowledge>> {
        self.0.get().ok_or_else(|| Error::unavailable("collections are not open yet"))
    }
}

/// All of it.
#[must_use]
pub fn toolset(library: &Arc<Library>) -> Toolset {
    Toolset::new(
        "knowledge",
        "search by meaning and by words in code, documents, PDF and tables of the workspace; symbols and outlines",
    )
    .altering(&[])
    .with(add_collection::KnowledgeAddCollection(library.clone()))
    .with(add_source::KnowledgeAddSource(library.clone()))
    .with(explain_result::KnowledgeExplainResult(library.clone()))
    .with(find_similar::KnowledgeFindSimilar(library.clone()))
    .with(find_symbol::KnowledgeFindSymbol(library.clone()))
    .with(list_collections::KnowledgeListCollections(library.clone()))
    .with(outline_file::KnowledgeOutlineFile(library.clone()))
    .with(read_chunk::KnowledgeReadChunk(library.clone()))
    .with(refresh_collection::KnowledgeRefreshCollection(library.clone()))
    .with(remove_collection::KnowledgeRemoveCollection(library.clone()))
    .with(search::KnowledgeSearch(library.clone()))
}
