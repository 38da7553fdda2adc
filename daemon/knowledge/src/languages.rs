//! Which languages people speak in a collection. A short text tells its language badly, so what is rare is taken for what
//! is common.

use crate::{
    analysis::{ENGLISH, is_known},
    stored::StoredPassage,
};
use serde::{Deserialize, Serialize};
use skynet_documents::{Document, Passage};
use skynet_models::Language as Model;
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
    /// Passages of code by programming language.
    #[serde(default)]
    code: BTreeMap<String, u64>,
    /// Whether passages that are gone are not counted any more: they were, by the first releases.
    #[serde(default)]
    is_exact: bool,
}

impl Languages {
    /// Those of some passages.
    pub(crate) fn of(passages: impl Iterator<Item = StoredPassage>) -> Self {
        let mut languages = Self { is_exact: true, ..Self::default() };
        passages.for_each(|passage| languages.add(&passage));
        languages
    }

    /// Whether it counts what there is, and nothing else.
    pub(crate) const fn is_exact(&self) -> bool {
        self.is_exact
    }

    /// Counts a passage as [`Languages::place`] does.
    pub(crate) fn add(&mut self, passage: &StoredPassage) {
        for (counts, name) in self.counts_of(passage) {
            *counts.entry(name).or_default() += 1;
        }
    }

    /// Counts one that is gone no more.
    pub(crate) fn remove(&mut self, passage: &StoredPassage) {
        for (counts, name) in self.counts_of(passage) {
            let left = counts.get(&name).copied().unwrap_or_default().saturating_sub(1);
            if left == 0 {
                counts.remove(&name);
            } else {
                counts.insert(name, left);
            }
        }
    }

    fn counts_of(
        &mut self,
        passage: &StoredPassage,
    ) -> impl Iterator<Item = (&mut BTreeMap<String, u64>, String)> {
        let Self { told, taken, code, is_exact: _ } = self;
        let of_prose =
            passage.passage.language.clone().filter(|name| passage.code.is_none() && is_known(name));
        let all = [(told, of_prose), (code, passage.code.clone()), (taken, Some(passage.words.clone()))];
        all.into_iter().filter_map(|(counts, name)| Some((counts, name?)))
    }

    /// By which language the words of a passage are taken. Counts it.
    pub(crate) fn place(&mut self, document: &Document, passage: &Passage) -> String {
        let language =
            if document.code.is_some() { ENGLISH.to_owned() } else { self.of_prose(document, passage) };
        if let Some(code) = &document.code {
            *self.code.entry(code.clone()).or_default() += 1;
        }
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

    /// A question without the name of the programming language that most of the collection is written in: it says nothing of where to
    /// look, and what has the word is about that language.
    pub(crate) fn without_common_code(&self, question: &str) -> String {
        let all: u64 = self.taken.values().sum();
        let is_common = |word: &str| {
            let name = word.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
            self.code.get(&name).is_some_and(|count| count * 2 > all)
        };
        let left: Vec<&str> = question.split_whitespace().filter(|word| !is_common(word)).collect();
        if left.is_empty() { question.to_owned() } else { left.join(" ") }
    }

    /// The languages, most common first, with passages of each.
    pub(crate) fn counts(&self) -> Vec<(String, u64)> {
        let mut counts: Vec<_> =
            self.taken.iter().map(|(language, count)| (language.clone(), *count)).collect();
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        counts
    }

    /// Whether anything is for the model of that language.
    pub(crate) fn is_for(&self, language: Model) -> bool {
        self.taken.keys().any(|taken| (taken == ENGLISH) == (language == Model::English))
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

#[cfg(test)]
mod tests {
    use super::*;
    use skynet_documents::{About, Format};

    fn placed(all: &[(Option<&str>, Option<&str>)]) -> Languages {
        let mut languages = Languages::default();
        for (code, spoken) in all {
            let passage = Passage { language: spoken.map(str::to_owned), ..Passage::default() };
            let document = Document {
                format: if code.is_some() { Format::Code } else { Format::Text },
                code: code.map(str::to_owned),
                title: None,
                hash: String::new(),
                about: About::default(),
                passages: vec![passage.clone()],
                outline: Vec::new(),
                secrets: 0,
            };
            languages.place(&document, &passage);
        }
        languages
    }

    #[test]
    fn the_language_that_all_is_written_in_is_no_word_of_a_question() {
        let python = placed(&[(Some("python"), None), (Some("python"), None), (None, Some("eng"))]);
        assert_eq!(python.without_common_code("sort a list in Python?"), "sort a list in");
        assert_eq!(python.without_common_code("python"), "python", "nothing else is asked");
        let mixed = placed(&[(Some("python"), None), (Some("go"), None)]);
        assert_eq!(mixed.without_common_code("sort in python"), "sort in python");
    }

    #[test]
    fn what_is_gone_is_not_counted() {
        let stored = |code: Option<&str>, spoken: Option<&str>, words: &str| StoredPassage {
            path: "a".into(),
            sequence: 0,
            key: 0,
            words: words.into(),
            format: if code.is_some() { Format::Code } else { Format::Text },
            code: code.map(str::to_owned),
            about: About::default(),
            passage: Passage { language: spoken.map(str::to_owned), ..Passage::default() },
        };
        let all = [
            (Some("go"), None, "eng"),
            (None, Some("fra"), "fra"),
            (None, Some("fra"), "fra"),
            (None, None, "fra"),
            (None, Some("xyz"), "fra"),
        ];
        let spoken: Vec<_> = all.iter().map(|(code, spoken, _)| (*code, *spoken)).collect();
        let passages = || all.into_iter().map(|(code, spoken, words)| stored(code, spoken, words));
        let mut languages = placed(&spoken);
        assert_eq!(languages, Languages { is_exact: false, ..Languages::of(passages()) });
        languages.remove(&stored(None, Some("fra"), "fra"));
        assert_eq!(languages.counts(), [("fra".into(), 3), ("eng".into(), 1)]);
        passages().for_each(|passage| languages.remove(&passage));
        assert_eq!(languages, Languages::default(), "no count is below none, and none is kept");
        assert!(!languages.is_for(Model::English));
    }

    #[test]
    fn a_model_is_asked_only_if_something_is_for_it() {
        let is_for =
            |languages: &Languages| [Model::English, Model::Other].map(|model| languages.is_for(model));
        assert_eq!(is_for(&placed(&[])), [false, false]);
        assert_eq!(is_for(&placed(&[(Some("go"), None)])), [true, false]);
        assert_eq!(is_for(&placed(&[(None, Some("fra"))])), [false, true]);
    }
}
