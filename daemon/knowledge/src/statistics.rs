//! How common words are in several indexes together, as far as whoever asks may know.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, PoisonError},
};
use tantivy::{
    DocAddress, DocSet as _, Searcher, TERMINATED, Term,
    query::Bm25StatisticsProvider,
    schema::{Field, IndexRecordOption},
};

/// What [`Even`] says of every index: so many passages, of so many words each. Any numbers would do.
const EVEN_PASSAGES: u64 = 1 << 20;
const EVEN_WORDS: u64 = 100;

/// One of the indexes, and what of it counts.
pub(crate) struct Counted {
    pub(crate) searcher: Searcher,
    /// The passages that count; `None` for all, those included that are removed and still on the disk.
    pub(crate) only: Option<HashSet<DocAddress>>,
}

/// What scores of words are made of, over all indexes that are asked together: a word that is rare in one of them only is common, and a
/// score means the same in each. Of one index it is what that has.
pub(crate) struct Statistics {
    indexes: Vec<Counted>,
    /// Each index asks for the same words and fields.
    known: Mutex<HashMap<Term, u64>>,
    words: Mutex<HashMap<Field, u64>>,
}

impl Statistics {
    /// Those of indexes as they are now.
    pub(crate) fn of(indexes: Vec<Counted>) -> Self {
        Self { indexes, known: Mutex::default(), words: Mutex::default() }
    }
}

impl Bm25StatisticsProvider for Statistics {
    fn total_num_tokens(&self, field: Field) -> tantivy::Result<u64> {
        let mut words = self.words.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = words.get(&field) {
            return Ok(*count);
        }
        let count = self.indexes.iter().map(|index| index.words(field)).sum::<tantivy::Result<u64>>()?;
        words.insert(field, count);
        Ok(count)
    }

    fn total_num_docs(&self) -> tantivy::Result<u64> {
        self.indexes.iter().map(Counted::passages).sum()
    }

    fn doc_freq(&self, term: &Term) -> tantivy::Result<u64> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = known.get(term) {
            return Ok(*count);
        }
        let count = self.indexes.iter().map(|index| index.having(term)).sum::<tantivy::Result<u64>>()?;
        known.insert(term.clone(), count);
        Ok(count)
    }
}

impl Counted {
    fn passages(&self) -> tantivy::Result<u64> {
        match &self.only {
            None => self.searcher.total_num_docs(),
            Some(only) => Ok(only.len() as u64),
        }
    }

    fn words(&self, field: Field) -> tantivy::Result<u64> {
        let Some(only) = &self.only else { return self.searcher.total_num_tokens(field) };
        let mut count = 0;
        for (segment, number) in self.searcher.segment_readers().iter().zip(0_u32..) {
            let mut own = only.iter().filter(|address| address.segment_ord == number).peekable();
            if own.peek().is_none() {
                continue;
            }
            let lengths = segment.get_fieldnorms_reader(field)?;
            count += own.map(|address| u64::from(lengths.fieldnorm(address.doc_id))).sum::<u64>();
        }
        Ok(count)
    }

    fn having(&self, term: &Term) -> tantivy::Result<u64> {
        let Some(only) = &self.only else { return self.searcher.doc_freq(term) };
        let mut count = 0;
        for (segment, number) in self.searcher.segment_readers().iter().zip(0_u32..) {
            let index = segment.inverted_index(term.field())?;
            let Some(mut having) = index.read_postings(term, IndexRecordOption::Basic)? else { continue };
            while having.doc() != TERMINATED {
                count += u64::from(only.contains(&DocAddress::new(number, having.doc())));
                having.advance();
            }
        }
        Ok(count)
    }
}

/// The same of every index and every word: what scores are made of where nothing may be counted yet. They are of one passage and its words alone.
pub(crate) struct Even;

impl Bm25StatisticsProvider for Even {
    fn total_num_tokens(&self, _: Field) -> tantivy::Result<u64> {
        Ok(EVEN_PASSAGES * EVEN_WORDS)
    }

    fn total_num_docs(&self) -> tantivy::Result<u64> {
        Ok(EVEN_PASSAGES)
    }

    fn doc_freq(&self, _: &Term) -> tantivy::Result<u64> {
        Ok(1)
    }
}
