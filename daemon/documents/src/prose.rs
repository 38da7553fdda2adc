//! Text that people read, cut between paragraphs, or else between sentences.

use crate::{document::Passage, lines::Lines};
use std::{ops::Range, sync::LazyLock};
use text_splitter::{ChunkConfig, TextSplitter};
use whatlang::{Detector, Lang};

/// Characters of a passage: an abstract is one. Models of 256 tokens read about two thirds of it.
pub(crate) const LONGEST: usize = 2000;

/// Shorter texts say too little of their language.
const LEAST_FOR_LANGUAGE: usize = 24;

/// What texts are taken for: languages whose endings can be cut off, and those that are written in other letters. The more
/// there are to choose from, the more short texts are taken for a language that nobody there speaks.
const LANGUAGES: [Lang; 24] = [
    Lang::Ara,
    Lang::Cmn,
    Lang::Dan,
    Lang::Deu,
    Lang::Ell,
    Lang::Eng,
    Lang::Fin,
    Lang::Fra,
    Lang::Heb,
    Lang::Hin,
    Lang::Hun,
    Lang::Ita,
    Lang::Jpn,
    Lang::Kor,
    Lang::Nld,
    Lang::Nob,
    Lang::Por,
    Lang::Ron,
    Lang::Rus,
    Lang::Spa,
    Lang::Swe,
    Lang::Tam,
    Lang::Tha,
    Lang::Tur,
];

static DETECTOR: LazyLock<Detector> = LazyLock::new(|| Detector::with_allowlist(LANGUAGES.to_vec()));

/// Cuts a text. `chain` are the headings above it, and `first_line` is the number of its first line.
pub(crate) fn cut(text: &str, chain: &[String], first_line: u32) -> Vec<Passage> {
    passages(text, no_longer_than(text, 0..text.len(), LONGEST), chain, first_line)
}

/// These parts of a text, one after the other.
pub(crate) fn passages(
    text: &str,
    ranges: Vec<Range<usize>>,
    chain: &[String],
    first_line: u32,
) -> Vec<Passage> {
    let lines = Lines::new(text);
    let mut continues = false;
    ranges
        .into_iter()
        .filter_map(|range| {
            let range = without_blank_ends(text, range)?;
            let (first, last) = (lines.of(range.start), lines.of(range.end - 1));
            let text = text.get(range)?;
            Some(Passage {
                text: text.to_owned(),
                first_line: first_line - 1 + first,
                last_line: first_line - 1 + last,
                chain: chain.to_vec(),
                language: language(text),
                continues: std::mem::replace(&mut continues, true),
                ..Passage::default()
            })
        })
        .collect()
}

/// ISO 639-3 of what people speak.
#[must_use]
pub fn language(text: &str) -> Option<String> {
    if text.len() < LEAST_FOR_LANGUAGE {
        return None;
    }
    let found = DETECTOR.detect(text)?;
    found.is_reliable().then(|| found.lang().code().to_owned())
}

/// The same range, or as few parts of it as are at most so many characters, of about the same length: what is cut into many says
/// little in each.
pub(crate) fn no_longer_than(text: &str, range: Range<usize>, longest: usize) -> Vec<Range<usize>> {
    let Some(part) = text.get(range.clone()) else { return Vec::new() };
    if part.len() <= longest {
        return vec![range];
    }
    let length = |range: &Range<usize>| text.get(range.clone()).unwrap_or_default().chars().count();
    let characters = length(&range);
    let even = characters / characters.div_ceil(longest).max(1);
    // A part ends where the text does once it is that long; and before that, if the paragraph after it is too long.
    let splitter = TextSplitter::new(ChunkConfig::new(even..longest).with_trim(false));
    let mut parts: Vec<Range<usize>> = Vec::new();
    for (offset, chunk) in splitter.chunk_indices(part) {
        let next = range.start + offset..range.start + offset + chunk.len();
        match parts.last_mut() {
            // Such as a heading, or the last sentence.
            Some(last)
                if length(last).min(length(&next)) < even / 2 && length(last) + length(&next) <= longest =>
            {
                last.end = next.end;
            }
            _ => parts.push(next),
        }
    }
    parts
}

/// Without blank lines before and after; an indentation of the first line is kept. `None` if nothing is left.
pub(crate) fn without_blank_ends(text: &str, range: Range<usize>) -> Option<Range<usize>> {
    let part = text.get(range.clone())?;
    let end = range.start + part.trim_end().len();
    let start = range.start + (part.len() - part.trim_start().len());
    if start >= end {
        return None;
    }
    let line = text.get(..start)?.rfind('\n').map_or(0, |newline| newline + 1);
    let is_indentation = text.get(line..start).is_some_and(|before| before.trim().is_empty());
    Some(if is_indentation { line..end } else { start..end })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_into_few_parts_and_none_is_a_heading_alone() {
        let sentence = "The pressure on the plate was measured at eight places. ";
        let check = |text: &str, expected: usize| {
            let parts = no_longer_than(text, 0..text.len(), LONGEST);
            let lengths: Vec<usize> = parts.iter().map(Range::len).collect();
            assert_eq!(parts.len(), expected, "{lengths:?}");
            assert!(lengths.iter().all(|length| (LONGEST / 3..=LONGEST).contains(length)), "{lengths:?}");
            assert_eq!(lengths.iter().sum::<usize>(), text.len(), "{lengths:?}");
        };
        check(&sentence.repeat(LONGEST / sentence.len()), 1);
        check(&sentence.repeat(45), 2);
        check(&format!("# Pressure\n\n{}", sentence.repeat(45)), 2);
        check(&format!("{}\n\nIn short: it was high.", sentence.repeat(45)), 2);
        check(&sentence.repeat(100), 3);
    }
}
