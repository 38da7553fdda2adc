//! Knowledge: collections of documents, found by what they say and by what they mean. tantivy finds words and usearch finds
//! vectors; both are known here only. Documents are listed and read by hands, as their user.

mod analysis;
mod answers;
mod aside;
mod collection;
mod collectors;
mod definitions;
mod embedding;
mod freshness;
mod gathering;
mod graph;
mod indexing;
mod knowledge;
mod languages;
mod lexical;
mod listing;
mod opened;
mod ranking;
mod sample;
mod searching;
mod sight;
mod similar;
mod statistics;
mod stored;
mod topics;
mod vector_log;
mod vectors;
mod views;
mod watching;
mod writers;

pub use analysis::Words;
pub use answers::{Answer, Question};
pub use collection::{Filter, Progress, Record};
pub use gathering::Runners;
pub use indexing::Refreshed;
pub use knowledge::{Judge, Knowledge, Wanted};
pub use listing::{Status, Totals};
pub use ranking::{Kind, Legs, Ranked};
pub use sample::{Leg, Sample};
pub use stored::{FileState, StoredPassage};
pub use topics::Topics;
pub use writers::Writer;
