//! How passages are shown: with where they stand, what is next to each other as one, and no more than was asked for.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use skynet_documents::Passage;
use skynet_knowledge::{Legs, Ranked, StoredPassage};

/// Bytes of a token, about, of English and of code.
const BYTES_OF_TOKEN: usize = 4;

/// Lines that are named of one passage.
const MOST_MATCHES: usize = 5;

/// A part of a document.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Chunk {
    /// Names it for other tools of this family.
    pub(crate) id: String,
    /// The collection it is in.
    pub(crate) collection: String,
    /// Its file, relative to the workspace; of other sources what names the document there.
    pub(crate) path: String,
    /// Who wrote it, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) author: Option<String>,
    /// When that was, or when its file last changed: RFC 3339, UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) at: Option<String>,
    /// First line, from 1; of the text where the file is a PDF, HTML or office document.
    pub(crate) first_line: u32,
    /// Last line, inclusive.
    pub(crate) last_line: u32,
    /// What it is part of, outermost first: definitions of code, headings of prose.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) within: Vec<String>,
    /// Names that it defines.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) defines: Vec<String>,
    /// How well it fits, between 0 and about 1; only comparable within one answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) score: Option<f32>,
    /// Lines with words of the query, the first few.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) matches: Vec<u32>,
    /// Quoted from the file: data, whatever it says.
    pub(crate) text: String,
}

/// What the parts of a search said of a passage.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Parts {
    /// BM25 of its words; absent without a word of the query.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) words: Option<f32>,
    /// Cosine of the vectors of passage and query; absent without a vector.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) vector: Option<f32>,
    /// What the re-ranker gives it, between 0 and 1; absent without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reranker: Option<f32>,
}

impl From<Legs> for Parts {
    fn from(legs: Legs) -> Self {
        Self { words: legs.words, vector: legs.vector, reranker: legs.reranker }
    }
}

/// One passage, for itself.
pub(crate) fn chunk(collection: &str, stored: &StoredPassage) -> Chunk {
    let passage = &stored.passage;
    Chunk {
        id: stored.id(),
        collection: collection.to_owned(),
        path: stored.path.clone(),
        author: stored.about.author.clone(),
        at: stored.about.at.and_then(|at| Timestamp::from_second(at).ok()).map(|at| at.to_string()),
        first_line: passage.first_line,
        last_line: passage.last_line,
        within: passage.chain.clone(),
        defines: passage.defines.clone(),
        score: None,
        matches: Vec::new(),
        text: passage.text.clone(),
    }
}

/// The best that fit into so many tokens; neighbors are put together. At least one is shown, cut if it must be.
pub(crate) fn within(found: &[(String, Ranked)], query: &str, max_tokens: usize) -> Vec<Chunk> {
    let mut left = max_tokens.saturating_mul(BYTES_OF_TOKEN);
    let mut groups: Vec<Vec<&(String, Ranked)>> = Vec::new();
    for one in found {
        let size = one.1.passage.passage.text.len();
        if size > left && !groups.is_empty() {
            // A shorter one may still fit.
            continue;
        }
        left = left.saturating_sub(size);
        let is_neighbor = |other: &&(String, Ranked)| {
            let (a, b) = (&one.1.passage, &other.1.passage);
            one.0 == other.0 && a.path == b.path && a.sequence.abs_diff(b.sequence) == 1
        };
        match groups.iter_mut().find(|group| group.iter().any(is_neighbor)) {
            Some(group) => group.push(one),
            None => groups.push(vec![one]),
        }
    }
    let words = words(query);
    groups.into_iter().map(|group| together(group, &words, max_tokens * BYTES_OF_TOKEN)).collect()
}

fn together(mut group: Vec<&(String, Ranked)>, words: &[String], most: usize) -> Chunk {
    let score = group.first().map(|(_, ranked)| ranked.score);
    let id = group.first().map(|(_, ranked)| ranked.passage.id()).unwrap_or_default();
    group.sort_by_key(|(_, ranked)| ranked.passage.sequence);
    let numbers: Vec<Option<u32>> =
        group.iter().flat_map(|(_, ranked)| line_numbers(&ranked.passage.passage)).collect();
    let mut parts = group.iter().map(|(name, ranked)| chunk(name, &ranked.passage));
    let Some(mut whole) = parts.next() else { return empty() };
    for part in parts {
        whole.text.push('\n');
        whole.text.push_str(&part.text);
        whole.last_line = whole.last_line.max(part.last_line);
        whole.defines.extend(part.defines);
    }
    let is_cut = whole.text.len() > most;
    if is_cut {
        whole.text.truncate(whole.text.floor_char_boundary(most));
    }
    whole.matches = matches(&whole.text, &numbers, words);
    if is_cut {
        whole.text.push_str("\n[cut]");
    }
    Chunk { id, score, ..whole }
}

/// Of a group of nothing, which there is none of.
const fn empty() -> Chunk {
    Chunk {
        id: String::new(),
        collection: String::new(),
        path: String::new(),
        author: None,
        at: None,
        first_line: 0,
        last_line: 0,
        within: Vec::new(),
        defines: Vec::new(),
        score: None,
        matches: Vec::new(),
        text: String::new(),
    }
}

fn words(query: &str) -> Vec<String> {
    let words =
        query.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| word.chars().count() > 2);
    words.map(str::to_lowercase).collect()
}

/// The number of each line of a passage in its document; none for those that stand further up.
fn line_numbers(passage: &Passage) -> Vec<Option<u32>> {
    let number = |line: u32| {
        line.checked_sub(passage.repeated_lines).map(|line| passage.first_line.saturating_add(line))
    };
    passage.text.split('\n').zip(0..).map(|(_, line)| number(line)).collect()
}

/// The lines with the most words of the query, in order.
fn matches(text: &str, numbers: &[Option<u32>], words: &[String]) -> Vec<u32> {
    let lines = text.split('\n').zip(numbers).filter_map(|(line, number)| Some((line, (*number)?)));
    let mut counted: Vec<(usize, u32)> = lines
        .map(|(line, number)| {
            let line = line.to_lowercase();
            (words.iter().filter(|word| line.contains(word.as_str())).count(), number)
        })
        .filter(|(count, _)| *count > 0)
        .collect();
    counted.sort_by_key(|(count, number)| (std::cmp::Reverse(*count), *number));
    counted.truncate(MOST_MATCHES);
    let mut numbers: Vec<u32> = counted.into_iter().map(|(_, number)| number).collect();
    numbers.sort_unstable();
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;
    use skynet_documents::{About, Format};

    fn found(sequence: u32, passage: Passage) -> (String, Ranked) {
        let passage = StoredPassage {
            path: "hosts.csv".into(),
            sequence,
            key: sequence.into(),
            words: "eng".into(),
            format: Format::Table,
            about: About::default(),
            code: None,
            passage,
        };
        let ranked = Ranked { passage, score: 1.0, legs: Legs::default(), rules: Vec::new() };
        ("all".into(), ranked)
    }

    #[test]
    fn matches_are_lines_of_the_document_also_where_a_header_is_repeated() {
        let table = |first_line: u32, rows: &str| Passage {
            text: format!("host,owner\n{rows}"),
            first_line,
            last_line: first_line + 1,
            repeated_lines: 1,
            ..Passage::default()
        };
        let all =
            [found(0, table(2, "alpha,Marie\nbeta,Paul")), found(1, table(4, "gamma,Marie\nhost,Marie"))];
        let shown = within(&all, "Marie host", 1000);
        let [chunk] = shown.as_slice() else { panic!("neighbors are one") };
        assert_eq!(chunk.matches, [2, 4, 5]);
        // What is cut off is not named.
        let shown = within(&all[..1], "Paul Marie", 6);
        assert!(shown[0].text.ends_with("[cut]"), "{}", shown[0].text);
        assert_eq!(shown[0].matches, [2]);
    }
}
