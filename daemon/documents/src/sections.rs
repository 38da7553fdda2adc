//! Sections that were too long for one passage and were cut into some of about the same length, before anybody knew what they
//! say. Whoever knows where they turn to something else cuts them again there.

use crate::{
    document::Passage,
    prose::{self, LONGEST},
};
use std::ops::Range;
use text_splitter::{ChunkConfig, TextSplitter};

/// Characters of a piece: a long sentence, or a few short ones.
const PIECE: Range<usize> = 150..300;

/// Longer sections are logs and data, in bytes: they are not put together.
const LONGEST_SECTION: usize = 60_000;

/// A section of text that was cut.
#[derive(Clone, Debug)]
pub struct Section {
    /// Which passages of the document it became.
    pub passages: Range<usize>,
    /// All of it, but for blanks where it was cut.
    pub text: String,
    first_line: u32,
    chain: Vec<String>,
}

impl Section {
    /// The sections among passages that are more than one of them, in order.
    #[must_use]
    pub fn of(passages: &[Passage]) -> Vec<Self> {
        let mut sections: Vec<Self> = Vec::new();
        let mut last_line = 0;
        for (number, pair) in (1..).zip(passages.windows(2)) {
            let [before, passage] = pair else { continue };
            if !passage.continues {
                continue;
            }
            match sections.last_mut().filter(|section| section.passages.end == number) {
                Some(section) => section.passages.end += 1,
                None => {
                    last_line = before.last_line;
                    sections.push(Self {
                        passages: number - 1..number + 1,
                        text: before.text.clone(),
                        first_line: before.first_line,
                        chain: before.chain.clone(),
                    });
                }
            }
            // What is told of lines is a parser's: more of them than end a paragraph are never many.
            let blank = match passage.first_line.saturating_sub(last_line) {
                0 => " ",
                1 => "\n",
                _ => "\n\n",
            };
            last_line = passage.last_line;
            if let Some(section) = sections.last_mut().filter(|section| !section.is_too_long()) {
                section.text.push_str(blank);
                section.text.push_str(&passage.text);
            }
        }
        sections
    }

    /// Pieces of it, between which it may be cut.
    #[must_use]
    pub fn pieces(&self) -> Vec<Range<usize>> {
        let splitter = TextSplitter::new(ChunkConfig::new(PIECE).with_trim(false));
        splitter.chunk_indices(&self.text).map(|(at, piece)| at..at + piece.len()).collect()
    }

    /// Whether it is longer than anybody wrote it to be read; then its text is only a part of it.
    #[must_use]
    pub const fn is_too_long(&self) -> bool {
        self.text.len() > LONGEST_SECTION
    }

    /// The most characters of a passage.
    #[must_use]
    pub const fn longest() -> usize {
        LONGEST
    }

    /// Its passages, if they end there, in bytes; the last ends with it.
    #[must_use]
    pub fn cut(&self, ends: &[usize]) -> Vec<Passage> {
        let starts = std::iter::once(0).chain(ends.iter().copied());
        let ends = ends.iter().copied().chain([self.text.len()]);
        let ranges = starts.zip(ends).map(|(start, end)| start..end).collect();
        prose::passages(&self.text, ranges, &self.chain, self.first_line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_that_was_cut_is_put_together_and_cut_elsewhere() {
        let sentence = |number: usize| format!("Line {number} says what is measured at the plate.\n");
        let text: String = (0..60).map(sentence).collect();
        let mut passages = prose::cut("A beginning of another section.", &[], 1);
        passages.extend(prose::cut(&text, &["Pressure".into()], 7));
        assert_eq!(passages.len(), 3, "{passages:?}");
        let sections = Section::of(&passages);
        let [section] = sections.as_slice() else { panic!("{sections:?}") };
        assert_eq!((section.passages.clone(), section.text.as_str()), (1..3, text.trim_end()));
        let pieces = section.pieces();
        assert!(pieces.len() > 8, "{pieces:?}");
        assert_eq!(pieces.iter().map(Range::len).sum::<usize>(), section.text.len());
        let end = text.find("Line 10").unwrap();
        let cut = section.cut(&[end]);
        let told: Vec<_> = cut.iter().map(|one| (one.first_line, one.last_line, one.continues)).collect();
        assert_eq!(told, [(7, 16, false), (17, 66, true)]);
        let mut odd = passages.clone();
        odd[2].first_line = u32::MAX;
        let odd = &Section::of(&odd)[0].text;
        assert!(odd.len() <= section.text.len() + 1, "a number makes no lines");
        assert!(cut.iter().all(|one| one.chain == ["Pressure"]), "{cut:?}");
        assert_eq!(Section::of(&cut)[0].text, section.text, "wherever it is cut, it is the same section");
    }
}
