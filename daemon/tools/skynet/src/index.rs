//! Finds tools by what people call what they do: BM25 over names, summaries, keywords and fields, in English and
//! French. Source of the ranking: Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond".

use bm25::{Document, SearchEngine, SearchEngineBuilder, Tokenizer};
use rust_stemmers::{Algorithm, Stemmer};
use skynet_core::{Entry, Registry};

/// How much a word in each part counts: as often as it is repeated.
const NAME_WEIGHT: usize = 6;
const SUMMARY_WEIGHT: usize = 2;
const KEYWORDS_WEIGHT: usize = 4;

/// Words that say nothing about what is wanted.
const EMPTY_WORDS: &str = "a an and are as at be been by can could did do does for from had has have i if in into is it its \
    just let me my of on or our please so some that the them then there these they this those to us was we were will with would you your \
    au aux avec ce ces cette cet dans de des du elle en est et eux il ils je la le les leur lui ma mais mes moi mon ne nous on ou par \
    pas pour que qui s sa se ses son sont sur ta te tes toi ton tu un une vos votre vous d l j m n c qu y a t peux peut veux veut faut \
    voudrais fait faire all any how much many what which where who why when under new quoi quel quelle quels quelles est-ce est";

pub(crate) struct Index(SearchEngine<&'static str, u32, Words>);

impl Index {
    pub(crate) fn new(registry: &Registry) -> Self {
        // The tools that lead to others are not what anybody searches for.
        let tools = registry.iter().filter(|entry| entry.toolset != "skynet");
        let documents: Vec<_> = tools.map(|entry| Document::new(entry.name, text(entry))).collect();
        Self(SearchEngineBuilder::with_tokenizer_and_documents(Words::new(), documents).b(0.3).build())
    }

    pub(crate) fn search(&self, query: &str, limit: usize) -> Vec<&'static str> {
        self.0.search(query, limit).into_iter().map(|found| found.document.id).collect()
    }
}

/// All that is searched of a tool.
fn text(entry: &Entry) -> String {
    let mut parts = vec![entry.name; NAME_WEIGHT];
    parts.extend([entry.summary; SUMMARY_WEIGHT]);
    parts.extend([entry.keywords; KEYWORDS_WEIGHT]);
    let fields = entry.input_schema.get("properties").and_then(|properties| properties.as_object());
    for (name, field) in fields.into_iter().flatten() {
        parts.push(name);
        parts.extend(field.get("description").and_then(|text| text.as_str()));
    }
    parts.join(" ")
}

/// Words without accents, case and endings. A word is cut as both languages would, because a query of four words does
/// not tell which one it is in.
struct Words {
    english: Stemmer,
    french: Stemmer,
}

impl Words {
    fn new() -> Self {
        Self { english: Stemmer::create(Algorithm::English), french: Stemmer::create(Algorithm::French) }
    }
}

impl Tokenizer for Words {
    fn tokenize(&self, text: &str) -> Vec<String> {
        let plain = deunicode::deunicode(text).to_lowercase();
        let words = plain.split(|letter: char| !letter.is_ascii_alphanumeric());
        let wanted =
            words.filter(|word| !word.is_empty() && !EMPTY_WORDS.split(' ').any(|empty| empty == *word));
        let stems = wanted.flat_map(|word| {
            let english = self.english.stem(word).into_owned();
            let french = self.french.stem(word).into_owned();
            if english == french { vec![english] } else { vec![english, french] }
        });
        stems.collect()
    }
}
