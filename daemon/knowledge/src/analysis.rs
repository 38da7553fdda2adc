//! Words, as they are found: identifiers taken apart, endings cut off by the language that people speak, accents dropped.

use std::collections::HashMap;
use tantivy::tokenizer::{
    AsciiFoldingFilter, Language, LowerCaser, RemoveLongFilter, Stemmer, StopWordFilter, TextAnalyzer, Token,
    TokenStream, Tokenizer,
};

/// Bytes of a word. Longer ones are hashes and encoded data.
const LONGEST_WORD: usize = 64;

/// The languages whose endings are known, by ISO 639-3.
const LANGUAGES: [(&str, Language); 18] = [
    ("ara", Language::Arabic),
    ("dan", Language::Danish),
    ("nld", Language::Dutch),
    ("eng", Language::English),
    ("fin", Language::Finnish),
    ("fra", Language::French),
    ("deu", Language::German),
    ("ell", Language::Greek),
    ("hun", Language::Hungarian),
    ("ita", Language::Italian),
    ("nob", Language::Norwegian),
    ("por", Language::Portuguese),
    ("ron", Language::Romanian),
    ("rus", Language::Russian),
    ("spa", Language::Spanish),
    ("swe", Language::Swedish),
    ("tam", Language::Tamil),
    ("tur", Language::Turkish),
];

/// What code is taken for: its names and comments are English more often than not.
pub(crate) const ENGLISH: &str = "eng";

/// What English questions are made of. Lucene's list of common words, which tantivy has for English, is for what is written; those of
/// other languages have these words.
const ASKING: [&str; 52] = [
    "about", "been", "being", "can", "could", "did", "do", "does", "doing", "from", "had", "has", "have",
    "having", "he", "her", "his", "how", "i", "its", "may", "me", "might", "must", "my", "our", "shall",
    "she", "should", "so", "than", "them", "those", "too", "us", "very", "we", "were", "what", "when",
    "where", "whether", "which", "who", "whom", "whose", "why", "would", "you", "your", "am", "ought",
];

/// Makes words of texts. Analyzers are kept, one for each language that was met.
#[derive(Default)]
pub struct Words(HashMap<String, TextAnalyzer>);

impl Words {
    /// The words of a text in a language by ISO 639-3; of one whose endings are unknown, the words as they are.
    pub fn list(&mut self, text: &str, language: &str) -> Vec<String> {
        self.of(text, language).into_iter().map(|token| token.text).collect()
    }

    /// What a question asks for: its words without those that it asks with, unless it has no others.
    pub(crate) fn of_question(&mut self, question: &str, language: &str) -> Vec<Token> {
        let words = self.of(question, language);
        if language != ENGLISH {
            return words;
        }
        let is_asking = |word: &Token| {
            let written = question.get(word.offset_from..word.offset_to).unwrap_or_default();
            ASKING.contains(&written.to_lowercase().as_str())
        };
        if words.iter().all(is_asking) {
            words
        } else {
            words.into_iter().filter(|word| !is_asking(word)).collect()
        }
    }

    fn of(&mut self, text: &str, language: &str) -> Vec<Token> {
        let mut words = Vec::new();
        self.each(text, language, |token| words.push(token.clone()));
        words
    }

    /// The words of a text with a space between them, which none has in it.
    pub(crate) fn joined(&mut self, text: &str, language: &str) -> String {
        let mut joined = String::with_capacity(text.len());
        self.each(text, language, |token| {
            joined.push_str(&token.text);
            joined.push(' ');
        });
        joined
    }

    fn each(&mut self, text: &str, language: &str, mut take: impl FnMut(&Token)) {
        if !self.0.contains_key(language) {
            self.0.insert(language.to_owned(), analyzer(language));
        }
        if let Some(analyzer) = self.0.get_mut(language) {
            analyzer.token_stream(text).process(&mut take);
        }
    }
}

/// Whether the endings of the language are known.
pub(crate) fn is_known(language: &str) -> bool {
    LANGUAGES.iter().any(|(code, _)| *code == language)
}

fn analyzer(language: &str) -> TextAnalyzer {
    let words = TextAnalyzer::builder(Identifiers::default())
        .filter_dynamic(RemoveLongFilter::limit(LONGEST_WORD))
        .filter_dynamic(LowerCaser);
    let words = match LANGUAGES.iter().find(|(code, _)| *code == language) {
        Some((_, language)) => {
            let words = match StopWordFilter::new(*language) {
                Some(filter) => words.filter_dynamic(filter),
                None => words,
            };
            words.filter_dynamic(Stemmer::new(*language))
        }
        None => words,
    };
    words.filter_dynamic(AsciiFoldingFilter).build()
}

/// Takes words apart where identifiers are: `parseHTTPHeader_v2` is found as itself and by `parse`, `http`, `header` and `v2`.
#[derive(Clone, Default)]
struct Identifiers {
    token: Token,
}

struct Parts<'text> {
    text: &'text str,
    /// Where to look for the next word.
    next: usize,
    /// Of the last word, in reverse order.
    waiting: Vec<(usize, usize)>,
    token: &'text mut Token,
}

impl Tokenizer for Identifiers {
    type TokenStream<'text> = Parts<'text>;

    fn token_stream<'text>(&'text mut self, text: &'text str) -> Parts<'text> {
        self.token.reset();
        Parts { text, next: 0, waiting: Vec::new(), token: &mut self.token }
    }
}

impl TokenStream for Parts<'_> {
    fn advance(&mut self) -> bool {
        while self.waiting.is_empty() {
            let rest = self.text.get(self.next..).unwrap_or_default();
            let is_word = |c: char| c.is_alphanumeric() || c == '_';
            let Some(start) = rest.find(is_word).map(|start| self.next + start) else { return false };
            let word = self.text.get(start..).unwrap_or_default();
            let end = start + word.find(|c| !is_word(c)).unwrap_or(word.len());
            self.next = end;
            let mut parts = parts(self.text.get(start..end).unwrap_or_default());
            if parts.len() > 1 {
                parts.insert(0, (0, end - start));
            }
            self.waiting = parts.into_iter().rev().map(|(from, to)| (start + from, start + to)).collect();
        }
        let Some((from, to)) = self.waiting.pop() else { return false };
        self.token.position = self.token.position.wrapping_add(1);
        (self.token.offset_from, self.token.offset_to) = (from, to);
        self.token.text.clear();
        self.token.text.push_str(self.text.get(from..to).unwrap_or_default());
        true
    }

    fn token(&self) -> &Token {
        self.token
    }

    fn token_mut(&mut self) -> &mut Token {
        self.token
    }
}

/// Where the parts of an identifier are: between underscores, before a capital after a small letter, and before the last of
/// several capitals if a small letter follows. Digits stay with what is before them.
fn parts(word: &str) -> Vec<(usize, usize)> {
    let mut parts = Vec::new();
    let mut start = None;
    let mut letters = word.char_indices().peekable();
    let mut before = '_';
    while let Some((at, letter)) = letters.next() {
        if letter == '_' {
            parts.extend(start.take().map(|start| (start, at)));
        } else {
            let follows_small = before.is_lowercase() || before.is_numeric();
            let precedes_small =
                before.is_uppercase() && letters.peek().is_some_and(|(_, next)| next.is_lowercase());
            if letter.is_uppercase() && (follows_small || precedes_small) {
                parts.extend(start.take().map(|start| (start, at)));
            }
            start.get_or_insert(at);
        }
        before = letter;
    }
    parts.extend(start.map(|start| (start, word.len())));
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, language: &str, expected: &[&str]) {
        let words: Vec<String> =
            Words::default().of(text, language).into_iter().map(|token| token.text).collect();
        assert_eq!(words, expected, "{text}");
    }

    #[test]
    fn identifiers_are_found_whole_and_in_parts() {
        check("parseHTTPHeader_v2(x)", "", &["parsehttpheader_v2", "parse", "http", "header", "v2", "x"]);
        check("__init__ HTTP2Server ID", "", &["init", "http2server", "http2", "server", "id"]);
        check("größeÄndern", "", &["grosseandern", "grosse", "andern"]);
        check("_ -- __", "", &[]);
        // As many as a file may have: no call for each.
        check(&"_,".repeat(200_000), "eng", &[]);
    }

    #[test]
    fn a_question_is_what_it_asks_for() {
        let of = |question: &str| {
            let words = Words::default().of_question(question, ENGLISH).into_iter();
            words.map(|word| word.text).collect::<Vec<_>>()
        };
        assert_eq!(of("How does he retry what failed?"), ["retri", "fail"]);
        assert_eq!(of("can i"), ["can", "i"], "nothing else is there");
        assert_eq!(Words::default().list("can", ENGLISH), ["can"], "what is written is kept");
    }

    #[test]
    fn endings_and_common_words_are_dropped_by_language() {
        check("the running processes", "eng", &["run", "process"]);
        check("les fichiers supprimés", "fra", &["fichi", "supprim"]);
        check("les fichiers supprimés", "zho", &["les", "fichiers", "supprimes"]);
    }
}
