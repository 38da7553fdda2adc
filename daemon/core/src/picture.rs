//! A picture that a tool shows: a part of its answer that is content of its own to a client.

use serde::{Deserialize, Serialize};

/// How the JSON of an answer with a picture begins.
const BEGINNING: &[u8] = br#"{"picture":"#;

/// A picture. It is the first member of an answer, under the name `picture`, and not in its schema: whoever talks to a
/// client takes it out, see [`Picture::split`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Picture {
    /// Like `image/jpeg`.
    pub media_type: String,
    /// The file, as base64 (RFC 4648, section 4).
    pub base64: String,
}

impl Picture {
    /// Takes the picture out of an answer: both, if there is one.
    #[must_use]
    pub fn split(answer: &[u8]) -> Option<(Self, Vec<u8>)> {
        let picture = answer.strip_prefix(BEGINNING)?;
        let mut rest = serde_json::Deserializer::from_slice(picture).into_iter();
        let found: Self = rest.next()?.ok()?;
        let rest = picture.get(rest.byte_offset()..)?;
        let rest = rest.strip_prefix(b",").unwrap_or(rest);
        Some((found, [b"{", rest].concat()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_split_where_it_begins_with_a_picture() {
        let picture = Picture { media_type: "image/png".into(), base64: "AAAA".into() };
        let json = serde_json::to_string(&picture).unwrap();
        for (answer, rest) in [
            (format!(r#"{{"picture":{json},"width":1}}"#), Some(r#"{"width":1}"#)),
            (format!(r#"{{"picture":{json}}}"#), Some("{}")),
            (format!(r#"{{"width":1,"picture":{json}}}"#), None),
            (r#"{"picture":"photo.png"}"#.to_owned(), None),
        ] {
            let expected = rest.map(|rest| (picture.clone(), rest.as_bytes().to_vec()));
            assert_eq!(Picture::split(answer.as_bytes()), expected, "{answer}");
        }
    }
}
