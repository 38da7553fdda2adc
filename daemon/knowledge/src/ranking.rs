//! In which order passages are shown: what words say of them and what vectors say, and what is known of how people look for
//! code. Nothing here reads anything.

use crate::stored::StoredPassage;
use skynet_documents::Format;
use std::collections::{HashMap, HashSet};

/// How much of a passage's score its vector makes, by what it is: names in code are often other words than those of the question.
const VECTOR_WEIGHT_OF_CODE: f32 = 0.8;
const VECTOR_WEIGHT_OF_PROSE: f32 = 0.5;

/// The same for a question that is a name.
const VECTOR_WEIGHT_OF_SYMBOL: f32 = 0.3;

/// Where a question's language has no passages, words find it by accident only.
const VECTOR_WEIGHT_ACROSS: f32 = 0.85;

/// What the cosines of the model for English count where the question is in another language: it hardly reads it.
const UNREADABLE_FACTOR: f32 = 0.5;

/// What a passage that defines a name of the question gains. A plain word is none, unless it is all of the question: much is called `open`.
const DEFINITION_BONUS: f32 = 0.2;

/// What one loses that is a test, an example, or made by a program, unless the question is about those.
const ASIDE_FACTOR: f32 = 0.8;

/// What each passage of a file loses for one of the same file that is shown before it.
const SATURATION: f32 = 0.9;

/// Passages that are that similar (cosine), and have that part of all their words in common, say the same. Cosines alone do not tell:
/// those of the multilingual model are above 0.7 for any two texts.
const SAME: f32 = 0.97;
const SAME_WORDS: f32 = 0.8;

/// What a question looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A name, as it stands in code.
    Symbol,
    /// Anything else.
    Prose,
    /// Anything, in a language that the collection does not speak.
    Across,
}

impl Kind {
    /// The name in answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Symbol => "symbol",
            Self::Prose => "prose",
            Self::Across => "cross-lingual",
        }
    }

    /// What a question is, of a collection in some languages.
    pub(crate) fn of(question: &str, speaks: impl Fn(&str) -> bool) -> Self {
        let mut words = question.split_whitespace();
        if let (Some(word), None) = (words.next(), words.next())
            && is_name(word)
        {
            return Self::Symbol;
        }
        match skynet_documents::language(question) {
            Some(language) if !speaks(&language) => Self::Across,
            _ => Self::Prose,
        }
    }
}

/// Whether a word looks like a name in code: `read_file`, `readFile`, `fs::read`, `main()`.
fn is_name(word: &str) -> bool {
    let inside = word.trim_end_matches("()");
    let is_compound = inside.contains(['_', ':']) || inside.chars().skip(1).any(char::is_uppercase);
    word.ends_with("()") || is_compound
}

/// The names of a question as they are defined, in lower case: `read` of `fs::read()`.
pub(crate) fn names(question: &str) -> Vec<String> {
    let is_edge = |c: char| !c.is_alphanumeric() && c != '_';
    let words: Vec<&str> = question.split_whitespace().collect();
    let is_alone = words.len() == 1;
    let without_quotes = words.iter().map(|word| word.trim_matches(|c| is_edge(c) && !"()".contains(c)));
    let named = without_quotes.filter(|word| is_alone || is_name(word));
    let last = named.map(|word| word.trim_matches(is_edge).rsplit(is_edge).next().unwrap_or_default());
    last.filter(|name| !name.is_empty()).map(str::to_lowercase).collect()
}

/// What the legs of a search say of one passage.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Legs {
    /// BM25 (Robertson and Zaragoza 2009) with k1 1.2 and b 0.75, as Lucene has it; absent if no word of the question is in it.
    pub words: Option<f32>,
    /// The cosine of its vector and the question's; absent while it has none.
    pub vector: Option<f32>,
    /// What a cross-encoder says, between 0 and 1; absent if it was not asked.
    pub reranker: Option<f32>,
}

/// A passage with what makes its place.
#[derive(Clone, Debug)]
pub struct Ranked {
    /// The passage.
    pub passage: StoredPassage,
    /// What orders it, between 0 and about 1.
    pub score: f32,
    /// What the legs said.
    pub legs: Legs,
    /// What changed the score besides, and by which factor or addend.
    pub rules: Vec<(&'static str, f32)>,
}

/// A candidate before it is ranked.
pub(crate) struct Candidate {
    /// Which of the collections that are asked together it is in.
    pub(crate) of: usize,
    /// What the question is for that collection.
    pub(crate) kind: Kind,
    pub(crate) passage: StoredPassage,
    pub(crate) legs: Legs,
    pub(crate) vector: Option<Vec<f32>>,
    /// Whether its vector put it forward.
    pub(crate) is_near: bool,
}

/// Spread of the scores of one leg.
struct Span(f32, f32);

impl Span {
    fn of(scores: impl Iterator<Item = f32>) -> Self {
        scores.fold(Self(f32::INFINITY, f32::NEG_INFINITY), |Self(low, high), score| {
            Self(low.min(score), high.max(score))
        })
    }

    /// Whether there was no score.
    fn is_empty(&self) -> bool {
        self.1 < self.0
    }

    /// Between 0 and 1.
    fn place(&self, score: Option<f32>) -> f32 {
        let Some(score) = score else { return 0.0 };
        if self.1 > self.0 { ((score - self.0) / (self.1 - self.0)).clamp(0.0, 1.0) } else { 1.0 }
    }
}

/// What is known of a question.
pub(crate) struct Asked<'question> {
    /// Whether it is in another language than English.
    pub(crate) is_foreign: bool,
    /// Its words as they are written, in lower case.
    pub(crate) terms: &'question [String],
    /// The names in it, in lower case.
    pub(crate) names: &'question [String],
}

/// A passage that has its place, the collection it is in, and its vector.
struct Placed {
    of: usize,
    ranked: Ranked,
    vector: Option<Vec<f32>>,
}

/// Orders candidates, best first, each with the collection it is in.
pub(crate) fn rank(candidates: Vec<Candidate>, asked: &Asked<'_>, most: usize) -> Vec<(usize, Ranked)> {
    // BM25 begins at 0 (Bruch et al. 2023, "An Analysis of Fusion Functions for Hybrid Retrieval", theoretical minimum).
    let words = Span::of(candidates.iter().filter_map(|candidate| candidate.legs.words).chain([0.0]));
    // Each model has cosines of its own. What only words put forward is farther than all of these, and counts nothing for it.
    let vectors = [false, true].map(|is_foreign| {
        let of_model = candidates.iter().filter(|candidate| candidate.passage.is_foreign() == is_foreign);
        Span::of(of_model.filter(|candidate| candidate.is_near).filter_map(|candidate| candidate.legs.vector))
    });
    let mut all: Vec<Placed> = candidates
        .into_iter()
        .map(|Candidate { of, kind, passage, legs, vector, is_near: _ }| {
            let span = if passage.is_foreign() { &vectors[1] } else { &vectors[0] };
            // Without a vector that is near, and for a passage whose own is not made yet, words are all there is.
            let is_by_words = span.is_empty() || legs.vector.is_none();
            let weight = if is_by_words { 0.0 } else { vector_weight(kind, passage.format) };
            let is_readable = passage.is_foreign() || !asked.is_foreign;
            let by_vector = span.place(legs.vector) * if is_readable { 1.0 } else { UNREADABLE_FACTOR };
            let score = weight * by_vector + (1.0 - weight) * words.place(legs.words);
            let (score, rules) = by_rules(score, &passage, asked);
            Placed { of, ranked: Ranked { passage, score, legs, rules }, vector }
        })
        .collect();
    all.sort_by(|Placed { of, ranked: a, .. }, Placed { of: of_other, ranked: b, .. }| {
        let by_name = || a.passage.id().cmp(&b.passage.id()).then(of.cmp(of_other));
        b.score.total_cmp(&a.score).then_with(by_name)
    });
    spread(all, most)
}

const fn vector_weight(kind: Kind, format: Format) -> f32 {
    match (kind, format) {
        (Kind::Symbol, _) => VECTOR_WEIGHT_OF_SYMBOL,
        (Kind::Across, _) => VECTOR_WEIGHT_ACROSS,
        (Kind::Prose, Format::Code) => VECTOR_WEIGHT_OF_CODE,
        (Kind::Prose, _) => VECTOR_WEIGHT_OF_PROSE,
    }
}

fn by_rules(score: f32, passage: &StoredPassage, asked: &Asked<'_>) -> (f32, Vec<(&'static str, f32)>) {
    let mut score = score;
    let mut rules = Vec::new();
    if passage.passage.defines.iter().any(|name| asked.names.contains(&name.to_lowercase())) {
        score += DEFINITION_BONUS;
        rules.push(("definition", DEFINITION_BONUS));
    }
    if let Some(word) = aside(&passage.path)
        && !asked.terms.iter().any(|term| term.starts_with(word))
    {
        score *= ASIDE_FACTOR;
        rules.push((word, ASIDE_FACTOR));
    }
    (score, rules)
}

/// Whether a file is beside the matter, and what a question about such files has in it.
fn aside(path: &str) -> Option<&'static str> {
    let path = path.to_lowercase();
    let parts = || path.split(['/', '.', '_', '-']);
    if parts().any(|part| {
        matches!(part, "test" | "tests" | "spec" | "specs" | "testdata" | "fixtures" | "mock" | "mocks")
    }) {
        return Some("test");
    }
    if parts().any(|part| matches!(part, "example" | "examples" | "sample" | "samples" | "demo" | "demos")) {
        return Some("example");
    }
    if parts().any(|part| matches!(part, "generated" | "gen" | "vendor" | "third_party" | "pb2" | "pb")) {
        return Some("generated");
    }
    None
}

/// Takes the best of what is left, again and again: what is of a file that was taken from counts less, and what says the same as one
/// that was taken from the same collection is left out. In another one it may be what alone the caller may see.
fn spread(ranked: Vec<Placed>, most: usize) -> Vec<(usize, Ranked)> {
    let mut left = ranked;
    let mut taken: Vec<Placed> = Vec::new();
    let mut of_file: HashMap<usize, HashMap<String, i32>> = HashMap::new();
    while taken.len() < most && !left.is_empty() {
        let factor = |Placed { of, ranked, .. }: &Placed| {
            let shown = of_file.get(of).and_then(|files| files.get(&ranked.passage.path));
            SATURATION.powi(shown.copied().unwrap_or_default())
        };
        let best = left.iter().enumerate().max_by(|(i, a), (j, b)| {
            (a.ranked.score * factor(a)).total_cmp(&(b.ranked.score * factor(b))).then(j.cmp(i))
        });
        let Some(number) = best.map(|(number, _)| number) else { break };
        let mut next = left.remove(number);
        if taken.iter().any(|other| other.of == next.of && say_the_same(&next, other)) {
            continue;
        }
        let factor = factor(&next);
        if factor < 1.0 {
            next.ranked.score *= factor;
            next.ranked.rules.push(("same file", factor));
        }
        let files = of_file.entry(next.of).or_default();
        *files.entry(next.ranked.passage.path.clone()).or_default() += 1;
        taken.push(next);
    }
    taken.into_iter().map(|Placed { of, ranked, .. }| (of, ranked)).collect()
}

fn say_the_same(a: &Placed, b: &Placed) -> bool {
    let (one, other) = (&a.ranked.passage, &b.ranked.passage);
    one.key == other.key
        || matches!((&a.vector, &b.vector), (Some(a), Some(b)) if cosine(a, b) > SAME
            && have_the_same_words(&one.passage.text, &other.passage.text))
}

fn have_the_same_words(a: &str, b: &str) -> bool {
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<HashSet<String>>();
    let (a, b) = (words(a), words(b));
    let (both, all) = (a.intersection(&b).count(), a.union(&b).count());
    #[expect(clippy::cast_precision_loss, reason = "words of a passage")]
    let is_most = both as f32 >= all as f32 * SAME_WORDS;
    is_most
}

/// Of vectors of length one.
pub(crate) fn cosine(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use skynet_documents::About;
    use skynet_documents::Passage;

    fn candidate(path: &str, text: &str, words: Option<f32>, vector: [f32; 2]) -> Candidate {
        let passage = Passage { text: text.into(), defines: vec![path.into()], ..Passage::default() };
        let passage = StoredPassage {
            path: path.into(),
            sequence: 0,
            key: path.bytes().fold(0, |key, byte| key * 31 + u64::from(byte)),
            words: "eng".into(),
            format: Format::Text,
            about: About::default(),
            code: None,
            passage,
        };
        let legs = Legs { words, vector: Some(vector[0]), reranker: None };
        Candidate { of: 0, kind: Kind::Prose, passage, legs, vector: Some(vector.to_vec()), is_near: true }
    }

    fn ranked(mut candidates: Vec<Candidate>, question: &str) -> Vec<(String, f32)> {
        let names = names(question);
        let asked = Asked { is_foreign: false, terms: &[], names: &names };
        candidates.iter_mut().for_each(|candidate| candidate.kind = Kind::of(question, |_| true));
        let ranked = rank(candidates, &asked, 10).into_iter();
        ranked.map(|(_, ranked)| (ranked.passage.path, ranked.score)).collect()
    }

    #[test]
    fn a_passage_with_few_words_of_a_question_counts_for_those() {
        let all = vec![
            candidate("best", "a b c", Some(10.0), [0.9, 0.1]),
            candidate("least", "d e f", Some(5.0), [0.1, 0.9]),
        ];
        // Half of the words' half, nothing for the vector.
        assert_eq!(ranked(all, "some question"), [("best".into(), 1.0), ("least".into(), 0.25)]);
    }

    #[test]
    fn only_names_of_a_question_find_definitions() {
        assert_eq!(names("how do I open a file"), Vec::<String>::new());
        assert_eq!(names("what does `fs::readFile()` do?"), ["readfile"]);
        assert_eq!(names("open"), ["open"]);
        let all = || {
            vec![
                candidate("open", "a", Some(1.0), [0.5, 0.5]),
                candidate("zip_it", "b", Some(1.0), [0.5, 0.4]),
            ]
        };
        let of =
            |question: &str| ranked(all(), question).into_iter().map(|(path, _)| path).collect::<Vec<_>>();
        assert_eq!(of("zip_it or else"), ["zip_it", "open"]);
        let scores: Vec<f32> = ranked(all(), "open it or else").into_iter().map(|(_, score)| score).collect();
        assert_eq!(scores, [1.0, 1.0]);
    }

    #[test]
    fn near_vectors_of_other_words_are_both_shown() {
        let near = |second: &str| {
            let all = vec![
                candidate("first", "open the port of the firewall", Some(2.0), [0.9, 0.435]),
                candidate("second", second, Some(1.0), [0.9, 0.43]),
            ];
            ranked(all, "some question").len()
        };
        assert_eq!(near("open the port of the firewall now"), 1);
        assert_eq!(near("close a port in that wall"), 2);
    }
}
