//! Which languages people speak in a collection. A short text tells its language badly, so what is rare is taken for what
//! is common.

use crate::analysis::{ENGLISH, is_known};
use serde::{Deserialize, Serialize};
use skynet_documents::{Document, Passage};
use std::collections::BTreeMap;

/// A language that fewer passages are in, of a hundred, was probably told wrong.
const RARE_PERCENT: u64 = 5;

/// Until there are so many passages, none is rare.
const ENOUGH: u64 = 50;

/// A question is read in so many languages at most.
const MOST_OF_A_QUESTION: usize = 3;

/// Passages by language, ISO 639-3.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Languages {
    /// What the prose was told to be.
    told: BTreeMap<String, u64>,
    /// By which the words were taken.
    taken: BTreeMap<String, u64>,
}

impl Languages {
    /// By which language the words of a passage are taken. Counts it.
    pub(crate) fn place(&mut self, document: &Document, passage: &Passage) -> String {
        let language =
            if document.code.is_some() { ENGLISH.to_owned() } else { self.of_prose(document, passage) };
        *self.taken.entry(language.clone()).or_default() += 1;
        language
    }

    fn of_prose(&mut self, document: &Document, passage: &Passage) -> String {
        let told = passage.language.as_deref().filter(|language| is_known(language));
        if let Some(language) = told {
            *self.told.entry(language.to_owned()).or_default() += 1;
        }
        let told = told.filter(|language| !self.is_rare(language));
        told.or_else(|| of_most(document)).or_else(|| most_common(&self.told)).unwrap_or(ENGLISH).to_owned()
    }

    /// In which languages a question is read: its own first, if the collection has it, then those that most of it is in.
    pub(crate) fn of_question(&self, question: &str) -> Vec<String> {
        let own = skynet_documents::language(question).filter(|own| self.taken.contains_key(own));
        let mut languages: Vec<String> = own.into_iter().collect();
        for (language, _) in self.counts() {
            if !languages.contains(&language) {
                languages.push(language);
            }
        }
        languages.truncate(MOST_OF_A_QUESTION);
        languages
    }

    /// The languages, most common first, with passages of each.
    pub(crate) fn counts(&self) -> Vec<(String, u64)> {
        let mut counts: Vec<_> =
            self.taken.iter().map(|(language, count)| (language.clone(), *count)).collect();
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        counts
    }

    fn is_rare(&self, language: &str) -> bool {
        let all: u64 = self.told.values().sum();
        all >= ENOUGH && self.told.get(language).copied().unwrap_or_default() * 100 < all * RARE_PERCENT
    }
}

fn most_common(counts: &BTreeMap<String, u64>) -> Option<&str> {
    counts.iter().max_by_key(|(_, count)| **count).map(|(language, _)| language.as_str())
}

/// The language of most passages of a document.
fn of_most(document: &Document) -> Option<&str> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for language in document.passages.iter().filter_map(|passage| passage.language.as_deref()) {
        *counts.entry(language).or_default() += 1;
    }
    counts
        .into_iter()
        .filter(|(language, _)| is_known(language))
        .max_by_key(|(_, count)| *count)
        .map(|(language, _)| language)
}
