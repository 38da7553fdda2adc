//! JSON with much text, written a word at a time: an answer may hold megabytes of it, and serde_json looks at each byte.

use crate::{Error, Result};
use serde::Serialize;

/// A byte that cannot stand in a JSON string by itself is below this one (RFC 8259, section 7), or one of the two below.
const FIRST_PLAIN: u8 = 0x20;

/// A value as JSON.
///
/// # Errors
/// `Internal` when it cannot be written.
pub fn write(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|err| Error::internal("an answer cannot be written").with_source(err))
}

/// An object: the member `name` with `text`, then the members of `more`, which is an object too and not an empty one.
///
/// # Errors
/// As [`write()`].
pub fn write_text_and(name: &str, text: &str, more: &impl Serialize) -> Result<Vec<u8>> {
    let more = write(more)?;
    let members = more.strip_prefix(b"{").ok_or_else(|| Error::internal("an answer is no object"))?;
    let mut json = vec![b'{'];
    quote(name, &mut json);
    json.push(b':');
    quote(text, &mut json);
    json.push(b',');
    json.extend_from_slice(members);
    Ok(json)
}

/// Appends `text` as a JSON string, escaped as serde_json does it.
pub fn quote(text: &str, json: &mut Vec<u8>) {
    // Text has about one line feed in 30 bytes.
    json.reserve(text.len() + text.len() / 16 + 2);
    json.push(b'"');
    let mut rest = text.as_bytes();
    while let Some(place) = first_special(rest) {
        let (plain, tail) = rest.split_at(place);
        json.extend_from_slice(plain);
        let Some((byte, tail)) = tail.split_first() else { break };
        escape(*byte, json);
        rest = tail;
    }
    json.extend_from_slice(rest);
    json.push(b'"');
}

fn escape(byte: u8, json: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let short = match byte {
        b'"' | b'\\' => byte,
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x08 => b'b',
        0x0c => b'f',
        _ => {
            let digit = |value: u8| DIGITS.get(usize::from(value)).copied().unwrap_or(b'0');
            return json.extend_from_slice(&[b'\\', b'u', b'0', b'0', digit(byte >> 4), digit(byte & 15)]);
        }
    };
    json.extend_from_slice(&[b'\\', short]);
}

/// Where the first byte is that must be escaped.
fn first_special(bytes: &[u8]) -> Option<usize> {
    let (words, tail) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let marks = marks(u64::from_le_bytes(*word));
        if marks != 0 {
            return Some(index * 8 + marks.trailing_zeros() as usize / 8);
        }
    }
    let is_special = |byte: &u8| *byte < FIRST_PLAIN || matches!(byte, b'"' | b'\\');
    tail.iter().position(is_special).map(|place| words.len() * 8 + place)
}

/// The high bit of each byte that must be escaped; above the lowest of them others may be marked by mistake (Hacker's
/// Delight, 6-1: the borrow of a subtraction travels upwards).
const fn marks(word: u64) -> u64 {
    const fn everywhere(byte: u8) -> u64 {
        u64::from_ne_bytes([byte; 8])
    }
    /// Marks bytes below `limit`, which is at most 128.
    const fn below(word: u64, limit: u8) -> u64 {
        word.wrapping_sub(everywhere(limit)) & !word
    }
    let quotes = below(word ^ everywhere(b'"'), 1);
    let backslashes = below(word ^ everywhere(b'\\'), 1);
    (below(word, FIRST_PLAIN) | quotes | backslashes) & everywhere(0x80)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn quoted(text: &str) -> String {
        let mut json = Vec::new();
        quote(text, &mut json);
        String::from_utf8(json).unwrap()
    }

    #[test]
    fn every_byte_at_every_place() {
        for character in (0..=255_u8).map(char::from) {
            for before in 0..17 {
                let text = format!("{}{character}{character}tail", "x".repeat(before));
                assert_eq!(quoted(&text), serde_json::to_string(&text).unwrap());
            }
        }
    }

    proptest! {
        #[test]
        fn agrees_with_serde_json(text in any::<String>(), lines in "([ -~]{0,20}[\n\t\"\\\\é]){0,20}") {
            for text in [text, lines] {
                prop_assert_eq!(quoted(&text), serde_json::to_string(&text).unwrap());
            }
        }
    }
}
