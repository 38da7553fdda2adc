//! How common words are in several indexes together.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};
use tantivy::{Searcher, Term, query::Bm25StatisticsProvider, schema::Field};

/// What scores of words are made of, over all indexes that are asked together: a word that is rare in one of them only is common, and a
/// score means the same in each. Of one index it is what that has.
pub(crate) struct Statistics {
    indexes: Vec<Searcher>,
    /// Each index asks for the same words.
    known: Mutex<HashMap<Term, u64>>,
}

impl Statistics {
    /// Those of indexes as they are now.
    pub(crate) fn of(indexes: Vec<Searcher>) -> Self {
        Self { indexes, known: Mutex::default() }
    }
}

impl Bm25StatisticsProvider for Statistics {
    fn total_num_tokens(&self, field: Field) -> tantivy::Result<u64> {
        self.indexes.iter().map(|index| index.total_num_tokens(field)).sum()
    }

    fn total_num_docs(&self) -> tantivy::Result<u64> {
        self.indexes.iter().map(Bm25StatisticsProvider::total_num_docs).sum()
    }

    fn doc_freq(&self, term: &Term) -> tantivy::Result<u64> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = known.get(term) {
            return Ok(*count);
        }
        let count = self.indexes.iter().map(|index| index.doc_freq(term)).sum::<tantivy::Result<u64>>()?;
        known.insert(term.clone(), count);
        Ok(count)
    }
}
