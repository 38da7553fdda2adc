//! Where something may be cut out of a text without breaking it: of JSON, where its strings, numbers and containers are;
//! of any text, where characters and escapes begin and end. It looks at shapes only and knows nothing of secrets.

use memchr::memchr2;
use serde::de::IgnoredAny;
use std::ops::Range;

/// The parts of one or more documents of JSON (RFC 8259), in bytes.
#[derive(Debug)]
pub(crate) struct Document {
    /// What is between the quotes of each string, in order.
    strings: Vec<Range<usize>>,
    /// Numbers and `true`, `false`, `null`, in order.
    scalars: Vec<Range<usize>>,
    /// Objects and arrays; those within another come before it.
    containers: Vec<Range<usize>>,
}

/// What must go when a range goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The range itself, at most widened within these bounds: they are a string's content.
    Within(Range<usize>),
    /// A whole value.
    Whole(Range<usize>),
}

impl Document {
    /// Reads JSON; `None` if the text is anything else. Takes time in proportion to the text.
    pub(crate) fn read(text: &[u8]) -> Option<Self> {
        let mut values = serde_json::Deserializer::from_slice(text).into_iter::<IgnoredAny>();
        if !values.all(|value| value.is_ok()) {
            return None;
        }
        let mut document = Self { strings: Vec::new(), scalars: Vec::new(), containers: Vec::new() };
        let mut opened = Vec::new();
        let mut at = 0;
        while let Some(byte) = text.get(at) {
            match byte {
                b'"' => {
                    let end = end_of_string(text, at + 1);
                    document.strings.push(at + 1..end);
                    at = end + 1;
                    continue;
                }
                b'{' | b'[' => opened.push(at),
                b'}' | b']' => document.containers.extend(opened.pop().map(|start| start..at + 1)),
                b' ' | b'\t' | b'\r' | b'\n' | b',' | b':' => {}
                _ => {
                    let rest = text.get(at..).unwrap_or_default();
                    let length = rest.iter().position(|byte| b" \t\r\n,:]}\"[{".contains(byte));
                    let end = at + length.unwrap_or(rest.len());
                    document.scalars.push(at..end);
                    at = end;
                    continue;
                }
            }
            at += 1;
        }
        Some(document)
    }

    /// Where a range is that is not empty.
    pub(crate) fn place(&self, range: &Range<usize>, length: usize) -> Place {
        if let Some(string) = around(&self.strings, range) {
            return Place::Within(string);
        }
        let container =
            || self.containers.iter().find(|one| one.start <= range.start && range.end <= one.end).cloned();
        let whole = around(&self.scalars, range).or_else(container);
        // Over more than one document: all of them.
        Place::Whole(whole.unwrap_or(0..length))
    }
}

/// The one of these ordered ranges that holds `range`.
fn around(ranges: &[Range<usize>], range: &Range<usize>) -> Option<Range<usize>> {
    let after = ranges.partition_point(|one| one.start <= range.start);
    ranges.get(after.checked_sub(1)?).filter(|one| range.end <= one.end).cloned()
}

fn end_of_string(text: &[u8], mut at: usize) -> usize {
    while let Some(rest) = text.get(at..) {
        match memchr2(b'"', b'\\', rest) {
            Some(found) if rest.get(found) == Some(&b'\\') => at += found + 2,
            Some(found) => return at + found,
            None => break,
        }
    }
    text.len()
}

/// Widens a range within `bounds` until it cuts no character of UTF-8, no escape of JSON and no pair of surrogate
/// escapes (RFC 8259, section 7) in half. The bounds must cut none either. Takes time in proportion to the bounds at most.
pub(crate) fn widen(text: &[u8], range: Range<usize>, bounds: &Range<usize>) -> Range<usize> {
    let is_inside_character = |at: usize| text.get(at).is_some_and(|byte| byte & 0xc0 == 0x80);
    let (mut start, mut end) = (range.start, range.end);
    // RFC 3629, section 3: at most three bytes continue a character.
    for _ in 0..3 {
        start -= usize::from(start > bounds.start && is_inside_character(start));
        end += usize::from(end < bounds.end && is_inside_character(end));
    }
    if let Some(escape) = escape_around(text, start, bounds) {
        start = escape.start;
    }
    if let Some(escape) = escape_around(text, end, bounds) {
        end = escape.end.min(bounds.end);
    }
    if splits_pair(text, start, bounds) {
        start -= UNICODE_ESCAPE;
    }
    if splits_pair(text, end, bounds) {
        end += UNICODE_ESCAPE;
    }
    start..end
}

/// Of `\uXXXX`, in bytes.
const UNICODE_ESCAPE: usize = 6;

/// The escape that begins before `at` and ends after it.
fn escape_around(text: &[u8], at: usize, bounds: &Range<usize>) -> Option<Range<usize>> {
    (1..UNICODE_ESCAPE).find_map(|distance| {
        let start = at.checked_sub(distance).filter(|start| *start >= bounds.start)?;
        let length = if unit(text, start, bounds).is_some() { UNICODE_ESCAPE } else { 2 };
        (begins_escape(text, start, bounds) && start + length > at).then_some(start..start + length)
    })
}

/// Whether the backslash at `at`, if there is one, is not itself escaped.
fn begins_escape(text: &[u8], at: usize, bounds: &Range<usize>) -> bool {
    let before = text.get(bounds.start..at).unwrap_or_default();
    let backslashes = before.iter().rev().take_while(|byte| **byte == b'\\').count();
    text.get(at) == Some(&b'\\') && backslashes.is_multiple_of(2)
}

/// Whether `at` is between the two escapes of one character.
fn splits_pair(text: &[u8], at: usize, bounds: &Range<usize>) -> bool {
    let Some(before) = at.checked_sub(UNICODE_ESCAPE).filter(|before| *before >= bounds.start) else {
        return false;
    };
    // The Unicode Standard, section 3.9, table 3-5.
    unit(text, before, bounds).is_some_and(|unit| (0xd800..0xdc00).contains(&unit))
        && unit(text, at, bounds).is_some_and(|unit| (0xdc00..0xe000).contains(&unit))
}

/// What the escape `\uXXXX` at `at` stands for.
fn unit(text: &[u8], at: usize, bounds: &Range<usize>) -> Option<u16> {
    let digits = text.get(at..at + UNICODE_ESCAPE)?.strip_prefix(b"\\u")?;
    let is_escape = at + UNICODE_ESCAPE <= bounds.end
        && digits.iter().all(u8::is_ascii_hexdigit)
        && begins_escape(text, at, bounds);
    is_escape.then(|| u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_has_its_place() {
        let text = br#" {"a\"b": [12, -3.5e7, true], "c":"d\\"} null"#;
        let document = Document::read(text).unwrap();
        let parts = |ranges: &[Range<usize>]| -> Vec<String> {
            ranges.iter().map(|range| String::from_utf8_lossy(&text[range.clone()]).into_owned()).collect()
        };
        assert_eq!(parts(&document.strings), [r#"a\"b"#, "c", r"d\\"]);
        assert_eq!(parts(&document.scalars), ["12", "-3.5e7", "true", "null"]);
        let object = r#"{"a\"b": [12, -3.5e7, true], "c":"d\\"}"#;
        assert_eq!(parts(&document.containers), ["[12, -3.5e7, true]", object]);
        let place = |part: &str| {
            let start = String::from_utf8_lossy(text).find(part).unwrap();
            match document.place(&(start..start + part.len()), text.len()) {
                Place::Within(range) | Place::Whole(range) => {
                    String::from_utf8_lossy(&text[range]).into_owned()
                }
            }
        };
        assert_eq!(place("\\\"b"), r#"a\"b"#);
        assert_eq!(place("3.5"), "-3.5e7");
        assert_eq!(place("2, -3"), "[12, -3.5e7, true]");
        assert_eq!(place("5e7, true]"), "[12, -3.5e7, true]");
        assert_eq!(place("],"), object);
        assert_eq!(place("} n").len(), text.len());
        for text in ["{", "plain", r#"{"a":1} x"#, "\"\n\"", "C:\\x"] {
            assert!(Document::read(text.as_bytes()).is_none(), "{text}");
        }
    }

    #[test]
    fn nothing_is_cut_in_half() {
        let widened = |text: &str, cut: Range<usize>| {
            let range = widen(text.as_bytes(), cut, &(0..text.len()));
            text[range].to_owned()
        };
        assert_eq!(widened(r"a\nbc", 2..4), r"\nb");
        assert_eq!(widened(r"a\nbc", 3..4), "b");
        assert_eq!(widened(r"a\\nbc", 3..5), "nb");
        assert_eq!(widened(r"a\\nbc", 2..5), r"\\nb");
        assert_eq!(widened(r"ab\\cd", 0..3), r"ab\\");
        assert_eq!(widened(r"ab\u00e9cd", 0..4), r"ab\u00e9");
        assert_eq!(widened(r"ab\u00e9cd", 6..9), r"\u00e9c");
        assert_eq!(widened(r"ab\\u00e9cd", 6..10), "0e9c");
        assert_eq!(widened(r"a\ud83d\ude00b", 8..14), r"\ud83d\ude00b");
        assert_eq!(widened(r"a\ud83d\ude00b", 0..7), r"a\ud83d\ude00");
        assert_eq!(widened(r"a\ud83d\ude00b", 13..14), "b");
        assert_eq!(widened("aéb😀c", 2..6), "éb😀");
        assert_eq!(widened("abc\\", 0..4), "abc\\");
    }
}
