//! What kind of text a file holds.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use encoding_rs::{Encoding, UTF_8};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{Error, Result};
use std::borrow::Cow;

/// How to write text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Written {
    #[default]
    Utf8,
    Utf16le,
    Latin1,
    Base64,
}

impl Written {
    /// The bytes of a file that holds the text.
    pub(crate) fn encode(self, text: &str) -> Result<Cow<'_, [u8]>> {
        match self {
            Self::Utf8 => Ok(text.as_bytes().into()),
            Self::Utf16le => Ok(text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>().into()),
            Self::Latin1 => {
                let (bytes, _, had_errors) = encoding_rs::WINDOWS_1252.encode(text);
                if had_errors {
                    return Err(Error::invalid_input("`content` has characters that latin1 has not"));
                }
                Ok(bytes)
            }
            Self::Base64 => BASE64_STANDARD
                .decode(text.trim())
                .map(Cow::Owned)
                .map_err(|err| Error::invalid_input(format!("`content` is not base64: {err}"))),
        }
    }
}

/// A NUL among the first bytes means that a file is no text; ripgrep and Git look at as many.
const PROBE_BYTES: usize = 8192;

/// How to decode a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Wanted {
    #[default]
    Auto,
    Utf8,
    Utf16le,
    Utf16be,
    Latin1,
    Base64,
}

/// Whether these first bytes are of a binary file. UTF-16 text has NULs too, but starts with a mark.
pub(crate) fn is_binary(head: &[u8]) -> bool {
    let probe = head.get(..PROBE_BYTES).unwrap_or(head);
    Encoding::for_bom(probe).is_none() && probe.contains(&0)
}

/// Text and the name of its encoding.
pub(crate) fn decode(content: &[u8], wanted: Wanted) -> Result<(Cow<'_, str>, &'static str)> {
    let chosen = match wanted {
        Wanted::Auto | Wanted::Base64 => None,
        Wanted::Utf8 => Some(UTF_8),
        Wanted::Utf16le => Some(encoding_rs::UTF_16LE),
        Wanted::Utf16be => Some(encoding_rs::UTF_16BE),
        Wanted::Latin1 => Some(encoding_rs::WINDOWS_1252),
    };
    if let Some(encoding) = chosen {
        let (text, had_errors) = encoding.decode_with_bom_removal(content);
        if had_errors {
            return Err(Error::invalid_input(format!(
                "the file is not {}; leave out `encoding`",
                encoding.name()
            )));
        }
        return Ok((text, encoding.name()));
    }
    if let Some((encoding, _)) = Encoding::for_bom(content) {
        let (text, had_errors) = encoding.decode_with_bom_removal(content);
        if !had_errors {
            return Ok((text, encoding.name()));
        }
    }
    match std::str::from_utf8(content) {
        Ok(text) => Ok((Cow::Borrowed(text), UTF_8.name())),
        Err(_) => {
            let (text, _) = encoding_rs::WINDOWS_1252.decode_without_bom_handling(content);
            Ok((text, encoding_rs::WINDOWS_1252.name()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings_are_found_by_mark_and_content() {
        for (content, expected) in [
            (&b"abc \xc3\xa9"[..], ("abc é", "UTF-8")),
            (b"caf\xe9", ("café", "windows-1252")),
            (b"\xff\xfea\0b\0", ("ab", "UTF-16LE")),
            (b"\xfe\xff\0a\0b", ("ab", "UTF-16BE")),
            (b"\xef\xbb\xbfabc", ("abc", "UTF-8")),
        ] {
            assert!(!is_binary(content));
            let (text, name) = decode(content, Wanted::Auto).unwrap();
            assert_eq!((&*text, name), expected);
        }
        assert!(is_binary(b"\x7fELF\0\0"));
        assert!(decode(b"\xff", Wanted::Utf8).is_err());
    }
}
