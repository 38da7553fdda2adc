//! Takes known values and what looks like a credential out of a text. What is found becomes a mark, `[redacted:NAME]`;
//! the rest stays as it is, byte for byte. JSON stays JSON.
//!
//! Found is a value as it is or in a common encoding (`forms.rs`), whole; from twelve bytes on also with white space in it
//! (`spread.rs`), as base64 has after 76 columns. Not found are: a value of less than six bytes or of nothing but white
//! space; one that is compressed, encrypted or spelled in any other way; and a part of a value, unless that part is the
//! first 256 bytes of one of its forms. So this is for accidents, and does not stop a program that means to tell.

use crate::{
    Error, Result,
    document::{Document, Place, widen},
    forms::Form,
    patterns::Patterns,
    spread,
};
use aho_corasick::{AhoCorasick, AhoCorasickKind, Input, Match, MatchKind};
use std::{
    borrow::Cow,
    collections::{BTreeSet, HashMap},
    ops::Range,
};
use zeroize::{Zeroize as _, Zeroizing};

/// A shorter value would be found in texts that have nothing to do with it.
pub const SHORTEST_VALUE: usize = 6;

/// A shorter one, with white space in it, would be found in tables of numbers.
const SHORTEST_SPREAD: usize = 12;

/// What of a form is looked for; what follows is compared when that is found. Enough to tell apart keys that begin
/// alike (a PEM header, a version and an algorithm have about 80 bytes), and little enough for hundreds of values.
const HEAD_BYTES: usize = 256;

/// So many bytes of a value tell the head of any of its forms: none has fewer bytes than the value, and an encoded
/// character depends on three bytes after it at most.
const SAMPLE_BYTES: usize = HEAD_BYTES + 128;

/// What every mark starts with.
const MARK: &str = "[redacted:";

/// The same in base64, at each of the three places where it can begin in a group (RFC 4648, section 4), without the letters that what is
/// around it decides on.
const ENCODED_MARKS: [&str; 3] = ["W3JlZGFjdGVkO", "tyZWRhY3RlZD", "bcmVkYWN0ZWQ6"];

/// Looks for the values of one user. Making one takes milliseconds, so keep it for as long as the values are the same.
/// What it looks for is in its automaton, which is not wiped when it is dropped.
pub struct Scanner {
    automaton: AhoCorasick,
    /// What each pattern of the automaton may be the head of.
    heads: Vec<Vec<Candidate>>,
    values: Vec<(String, Zeroizing<Vec<u8>>)>,
    patterns: &'static Patterns,
}

struct Candidate {
    value: usize,
    form: Form,
    /// Whether the form goes on behind its head.
    is_longer: bool,
}

/// A text without what was found in it.
#[derive(Debug, PartialEq, Eq)]
pub struct Redacted<'text> {
    /// The text itself if nothing was found.
    pub bytes: Cow<'text, [u8]>,
    /// The names of what was found: as given for values, `pattern:...` for credentials that are known by their shape.
    /// Of several that one mark stands for, at least one.
    pub found: BTreeSet<String>,
}

/// What is to be replaced.
struct Hit<'scanner> {
    range: Range<usize>,
    name: &'scanner str,
    source: Source,
    /// What stands around the mark: quotes, if it takes the place of a value of JSON that was no string.
    around: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Value,
    Pattern,
}

impl Scanner {
    /// Looks for these values, and for credentials of well-known services. A name may be given for more than one value;
    /// of names with the same value, the first is shown.
    ///
    /// # Errors
    /// `Scanner` when these are too many to be looked for at once, which takes millions.
    pub fn new<N: Into<String>, V: AsRef<[u8]>>(values: impl IntoIterator<Item = (N, V)>) -> Result<Self> {
        let mut kept = Vec::new();
        let mut texts: Vec<Zeroizing<Vec<u8>>> = Vec::new();
        let mut heads: Vec<Vec<Candidate>> = Vec::new();
        let mut known = HashMap::new();
        let mut add = |name: String, value: &[u8]| {
            for form in Form::all(value) {
                let is_whole = value.len() <= SAMPLE_BYTES;
                let mut head =
                    if is_whole { form.render(value) } else { form.render_start(value, SAMPLE_BYTES) };
                let is_longer = !is_whole || head.len() > HEAD_BYTES;
                head.truncate(HEAD_BYTES);
                let index = *known.entry(head.to_vec()).or_insert_with(|| {
                    texts.push(head);
                    heads.push(Vec::new());
                    heads.len() - 1
                });
                let candidate = Candidate { value: kept.len(), form, is_longer };
                // Of forms that are alike to the end, the first is enough.
                if let Some(candidates) = heads.get_mut(index)
                    && (candidates.is_empty() || is_longer)
                {
                    candidates.push(candidate);
                }
            }
            kept.push((name, Zeroizing::new(value.to_vec())));
        };
        for (name, value) in values {
            let (name, Some(value)) = (name.into(), worth_finding(value.as_ref())) else { continue };
            // Where the white space of a text does not count, that of a value does not either.
            let dense = spread::without_white_space(value).filter(|dense| dense.len() >= SHORTEST_SPREAD);
            if let Some(dense) = dense {
                add(name.clone(), &dense);
            }
            add(name, value);
        }
        let automaton = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            // A deterministic one is faster and takes hundreds of bytes for each byte that is looked for.
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            .build(texts.iter().map(|text| text.as_slice()))
            .map_err(|err| Error::Scanner(err.to_string()))?;
        known.into_keys().for_each(|mut head: Vec<u8>| head.zeroize());
        Ok(Self { automaton, heads, values: kept, patterns: Patterns::get()? })
    }

    /// The text with a mark in place of each value and each credential.
    ///
    /// JSON (one document or more) stays JSON: within a string, a mark takes the place of whole escapes and characters;
    /// a number becomes a string that is a mark; what spans strings or structure becomes one, with the smallest array or
    /// object around it. In all other texts, escapes are kept whole as well, as there may be JSON in them.
    ///
    /// Takes time in proportion to the text: one pass of the automaton and one of a set of patterns if there is nothing
    /// in it, and about as much again for a text with something in it.
    #[must_use]
    pub fn redact<'text>(&self, text: &'text [u8]) -> Redacted<'text> {
        let mut hits = Vec::new();
        self.patterns.find(text, |name, range| hits.push((name, range)));
        // An automaton of nothing would still walk through all of it.
        let has_value = !self.values.is_empty() && self.automaton.is_match(text);
        let spread = self.find_spread(text);
        if hits.is_empty() && spread.is_empty() && !has_value {
            return Redacted { bytes: Cow::Borrowed(text), found: BTreeSet::new() };
        }
        let document = Document::read(text);
        let mut hits: Vec<_> = hits
            .into_iter()
            .map(|(name, range)| place(text, document.as_ref(), range, name, Source::Pattern, 0))
            .collect();
        self.find_values(text, document.as_ref(), &mut hits);
        let spread = spread.into_iter();
        hits.extend(
            spread.map(|(name, range)| place(text, document.as_ref(), range, name, Source::Value, 0)),
        );
        let found = hits.iter().map(|hit| hit.name.to_owned()).collect();
        Redacted { bytes: Cow::Owned(replace(text, merge(hits))), found }
    }

    fn find_values<'scanner>(
        &'scanner self,
        text: &[u8],
        document: Option<&Document>,
        hits: &mut Vec<Hit<'scanner>>,
    ) {
        let mut from = 0;
        // Rendered once, however often a text has a head in it.
        let mut rendered = HashMap::new();
        while let Some(found) = self.automaton.find(Input::new(text).range(from..)) {
            let Some((name, range)) = self.extend(text, &found, &mut rendered) else { break };
            let hit = place(text, document, range, name, Source::Value, from);
            from = hit.range.end;
            hits.push(hit);
        }
    }

    /// Values with white space in them.
    fn find_spread(&self, text: &[u8]) -> Vec<(&str, Range<usize>)> {
        if !self.values.iter().any(|(_, value)| value.len() >= SHORTEST_SPREAD) {
            return Vec::new();
        }
        let Some(dense) = spread::without_white_space(text).filter(|dense| self.automaton.is_match(&**dense))
        else {
            return Vec::new();
        };
        let (mut found, mut from, mut rendered) = (Vec::new(), 0, HashMap::new());
        while let Some(head) = self.automaton.find(Input::new(&**dense).range(from..)) {
            let Some((name, range)) = self.extend(&dense, &head, &mut rendered) else { break };
            from = range.end;
            if range.len() >= SHORTEST_SPREAD {
                found.push((name, range));
            }
        }
        spread::places(text, found)
    }

    /// Whose head was found, and how far the text goes on like that form.
    fn extend(
        &self,
        text: &[u8],
        found: &Match,
        rendered: &mut HashMap<(usize, Form), Zeroizing<Vec<u8>>>,
    ) -> Option<(&str, Range<usize>)> {
        let candidates = self.heads.get(found.pattern().as_usize())?;
        let mut best: Option<(&str, usize)> = None;
        let mut whole = None;
        for candidate in candidates {
            // Many forms of a value are alike to the end.
            if whole == Some(candidate.value) {
                continue;
            }
            let (name, value) = self.values.get(candidate.value)?;
            let mut end = found.end();
            if candidate.is_longer {
                let key = (candidate.value, candidate.form);
                let form = rendered.entry(key).or_insert_with(|| candidate.form.render(value));
                let rest = form.get(found.len()..).unwrap_or_default();
                let follows = text.get(found.end()..).unwrap_or_default();
                let agreed = rest.iter().zip(follows).take_while(|(one, other)| one == other).count();
                whole = (agreed == rest.len()).then_some(candidate.value);
                end += agreed;
            }
            if best.is_none_or(|(_, longest)| end > longest) {
                best = Some((name, end));
            }
        }
        best.map(|(name, end)| (name, found.start()..end))
    }
}

impl std::fmt::Debug for Scanner {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Scanner").field("values", &self.values.len()).finish_non_exhaustive()
    }
}

/// Whether a text has a mark in it, as it is or in base64, in which bytes are written: written over what the mark stands for, it would
/// destroy a value.
#[must_use]
pub fn has_mark(text: &[u8]) -> bool {
    let is_whole = |start: usize| {
        let rest = text.get(start + MARK.len()..).unwrap_or_default();
        let length = rest.iter().take_while(|byte| is_plain(**byte)).count();
        length > 0 && rest.get(length) == Some(&b']')
    };
    memchr::memmem::find_iter(text, MARK).any(is_whole)
        || ENCODED_MARKS.iter().any(|mark| memchr::memmem::find(text, mark.as_bytes()).is_some())
}

/// White space around a value is no part of it: files of secrets end with a line feed, and outputs do not.
fn worth_finding(value: &[u8]) -> Option<&[u8]> {
    let trimmed = value.trim_ascii();
    match trimmed.len() {
        0 => None,
        SHORTEST_VALUE.. => Some(trimmed),
        _ => Some(value).filter(|value| value.len() >= SHORTEST_VALUE),
    }
}

/// What must go for this range to go. `from` is where the hit before it ended.
fn place<'scanner>(
    text: &[u8],
    document: Option<&Document>,
    range: Range<usize>,
    name: &'scanner str,
    source: Source,
    from: usize,
) -> Hit<'scanner> {
    let place = match document {
        Some(document) => document.place(&range, text.len()),
        None => Place::Within(0..text.len()),
    };
    let (range, around) = match place {
        // A hit ends between two escapes, so what is before it need not be looked at again.
        Place::Within(bounds) => (widen(text, range, &(bounds.start.max(from)..bounds.end)), ""),
        Place::Whole(range) => (range, "\""),
    };
    Hit { range, name, source, around }
}

/// In order, and none over another. A range that overlaps another becomes part of it; the mark tells of a known value
/// rather than of a pattern.
fn merge(mut hits: Vec<Hit<'_>>) -> Vec<Hit<'_>> {
    hits.sort_by(|one, other| {
        one.range.start.cmp(&other.range.start).then(other.range.end.cmp(&one.range.end))
    });
    let mut merged: Vec<Hit<'_>> = Vec::with_capacity(hits.len());
    for hit in hits {
        let Some(last) = merged.last_mut().filter(|last| hit.range.start < last.range.end) else {
            merged.push(hit);
            continue;
        };
        last.range.end = last.range.end.max(hit.range.end);
        if last.source == Source::Pattern && hit.source == Source::Value {
            (last.name, last.source) = (hit.name, hit.source);
        }
    }
    merged
}

fn replace(text: &[u8], hits: Vec<Hit<'_>>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut from = 0;
    for hit in hits {
        bytes.extend_from_slice(text.get(from..hit.range.start).unwrap_or_default());
        bytes.extend_from_slice(hit.around.as_bytes());
        bytes.extend_from_slice(MARK.as_bytes());
        // A name that came from elsewhere must not end the mark, or the string that it is in.
        bytes.extend(hit.name.bytes().map(|byte| if is_plain(byte) { byte } else { b'_' }));
        bytes.push(b']');
        bytes.extend_from_slice(hit.around.as_bytes());
        from = hit.range.end;
    }
    bytes.extend_from_slice(text.get(from..).unwrap_or_default());
    bytes
}

/// What the name in a mark consists of.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_.:-".contains(&byte)
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
