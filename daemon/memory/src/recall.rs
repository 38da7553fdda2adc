//! Which entries a question is about: by words and by meaning, the newer and surer first.

use crate::entry::Entry;
use bm25::{Document, SearchEngineBuilder, Tokenizer};
use jiff::Timestamp;
use skynet_knowledge::Words;
use std::collections::{HashMap, HashSet};

/// After so many days an entry counts three quarters of what it counted when it was told, and in the end half.
const HALF_LIFE_DAYS: f64 = 180.0;

/// Below that an entry has nothing to do with the question: with vectors that unrelated texts have (multilingual-e5 gives no cosine below
/// about 0.7), only what stands out from the others counts.
const LEAST: f32 = 0.15;

/// Entries that are that similar (cosine) say the same, or about the same.
pub(crate) const SAME: f32 = 0.97;
pub(crate) const CLOSE: f32 = 0.88;

/// Words in the languages of the text, and in English, which much is written in that is told to agents.
struct Both;

impl Tokenizer for Both {
    fn tokenize(&self, text: &str) -> Vec<String> {
        let language = skynet_documents::language(text).unwrap_or_else(|| "eng".into());
        let mut words = Words::default();
        let mut all = words.list(text, "eng");
        let mut known: HashSet<String> = all.iter().cloned().collect();
        for word in words.list(text, &language).into_iter().chain(words.list(text, "fra")) {
            if known.insert(word.clone()) {
                all.push(word);
            }
        }
        all
    }
}

/// The entries for a question, best first, with how well they fit. `asked` is the question's vector, and the weights that made it.
pub(crate) fn rank(
    entries: Vec<Entry>,
    question: &str,
    asked: Option<&(String, Vec<f32>)>,
    now: Timestamp,
    most: usize,
) -> Vec<(Entry, f32)> {
    let documents = entries.iter().enumerate().map(|(number, entry)| {
        let tags = entry.tags.join(" ");
        Document::new(u32::try_from(number).unwrap_or(u32::MAX), format!("{} {tags}", entry.text))
    });
    let engine = SearchEngineBuilder::<u32, u32, Both>::with_tokenizer_and_documents(
        Both,
        documents.collect::<Vec<_>>(),
    )
    .build();
    let words: HashMap<u32, f32> = engine
        .search(question, entries.len())
        .into_iter()
        .map(|found| (found.document.id, found.score))
        .collect();
    let best_words = words.values().copied().fold(f32::MIN_POSITIVE, f32::max);
    let cosines: Vec<Option<f32>> = entries.iter().map(|entry| cosine(entry, asked?)).collect();
    let known = || cosines.iter().flatten().copied();
    let (low, high) = (known().fold(f32::INFINITY, f32::min), known().fold(f32::NEG_INFINITY, f32::max));
    let mut ranked: Vec<(Entry, f32)> = entries
        .into_iter()
        .zip(cosines)
        .zip(0_u32..)
        .filter_map(|((entry, cosine), number)| {
            let by_words = words.get(&number).map(|score| score / best_words);
            let by_meaning =
                cosine.map(|cosine| if high > low { (cosine - low) / (high - low) } else { 1.0 });
            let fit = match (by_words, by_meaning) {
                (words, Some(meaning)) => f32::midpoint(words.unwrap_or_default(), meaning),
                (Some(words), None) => words,
                (None, None) => return None,
            };
            let score = fit * recency(&entry, now) * (0.5 + entry.confidence / 2.0);
            (fit >= LEAST).then_some((entry, score))
        })
        .collect();
    ranked.sort_by(|(a, x), (b, y)| y.total_cmp(x).then_with(|| b.updated_at.cmp(&a.updated_at)));
    ranked.truncate(most);
    ranked
}

fn recency(entry: &Entry, now: Timestamp) -> f32 {
    let days = now.duration_since(entry.updated_at).as_secs_f64().max(0.0) / 86_400.0;
    #[expect(clippy::cast_possible_truncation, reason = "between a half and one")]
    let recency = (0.5 + 0.5 * 0.5_f64.powf(days / HALF_LIFE_DAYS)) as f32;
    recency
}

/// Of two vectors of length one that the same weights made.
pub(crate) fn cosine(entry: &Entry, (weights, asked): &(String, Vec<f32>)) -> Option<f32> {
    let (own, vector) = entry.vector.as_ref()?;
    (own == weights).then(|| vector.iter().zip(asked).map(|(a, b)| a * b).sum())
}
