//! What the file of one secret holds. Of a file, only that it is one, its version and which key it needs can be read
//! without that key:
//!
//! ```text
//! 8 bytes   magic: `SKYSEC`, and the version of the format, 16 bits, big-endian
//! 8 bytes   fingerprint of the master key
//! 24 bytes  nonce
//! rest      XChaCha20-Poly1305 of: length of the header, 32 bits, big-endian; header, JSON; the values, newest first; of a
//!           grant of OAuth, the client's secret and the refresh tokens
//! ```
//!
//! The associated data is magic, fingerprint, owner (32 bits, big-endian) and name, so a file that is renamed, or put
//! into the directory of somebody else, cannot be decrypted.

use crate::{
    Error, MasterKey, Name, Purpose, Result, cipher,
    grant::{Grant, MOST_TOKENS, Terms},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// Of version 1.
const MAGIC: [u8; 8] = *b"SKYSEC\x00\x01";

/// Values of before that are remembered, so that they are still found in what is written.
pub(crate) const MOST_PREVIOUS: usize = 4;

/// What a secret is, apart from its owner and its name.
pub(crate) struct Record {
    /// 1 for the first value.
    pub(crate) version: u64,
    /// When the first value was set.
    pub(crate) created_at: Timestamp,
    /// When the newest was.
    pub(crate) updated_at: Timestamp,
    /// What it is for.
    pub(crate) purpose: Purpose,
    /// Where the value is instead, if it is kept elsewhere; then `value` is empty.
    pub(crate) link: Option<String>,
    /// What gets the next value, if it is an access token.
    pub(crate) grant: Option<Grant>,
    /// The newest.
    pub(crate) value: Zeroizing<Vec<u8>>,
    /// Those before it, newest first, at most [`MOST_PREVIOUS`], or [`MOST_TOKENS`] of a grant.
    pub(crate) previous: Vec<Zeroizing<Vec<u8>>>,
}

/// The newest value, or where it is, or where the next one comes from.
pub(crate) struct Content {
    pub(crate) value: Zeroizing<Vec<u8>>,
    pub(crate) link: Option<String>,
    pub(crate) grant: Option<Grant>,
}

#[derive(Serialize, Deserialize)]
struct Header {
    version: u64,
    created_at: Timestamp,
    updated_at: Timestamp,
    #[serde(flatten)]
    purpose: Purpose,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    link: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    grant: Option<Terms>,
    /// Of the values, in bytes, newest first.
    lengths: Vec<usize>,
    /// Of what a grant has besides. A release that does not know it refuses the file: its end would be none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    hidden: Vec<usize>,
}

impl Record {
    /// Makes `value` the newest one.
    pub(crate) fn advance(&mut self, value: &[u8], now: Timestamp) {
        let old = std::mem::replace(&mut self.value, Zeroizing::new(value.to_vec()));
        if self.link.is_none() {
            self.previous.insert(0, old);
        }
        self.previous.truncate(if self.grant.is_some() { MOST_TOKENS } else { MOST_PREVIOUS });
        self.version += 1;
        self.updated_at = now;
    }

    /// The same for content of any kind. Tokens of a grant that it takes the place of are still looked for.
    pub(crate) fn replace(&mut self, content: Content, now: Timestamp) {
        let Content { value, link, mut grant } = content;
        if let Some(before) = self.grant.take() {
            match &mut grant {
                Some(grant) => grant.succeed(before),
                None if before.refresh_token.is_empty() => {}
                None => self.previous.insert(0, before.refresh_token),
            }
        }
        self.grant = grant;
        self.advance(&value, now);
        self.link = link;
    }

    /// The content of its file.
    ///
    /// # Errors
    /// `Random`; `Invalid` for a header that cannot be written, which none is.
    pub(crate) fn seal(&self, key: &MasterKey, owner: u32, name: &Name) -> Result<Vec<u8>> {
        let values = || std::iter::once(&self.value).chain(&self.previous);
        let hidden = || self.grant.iter().flat_map(Grant::hidden);
        let header = serde_json::to_vec(&Header {
            version: self.version,
            created_at: self.created_at,
            updated_at: self.updated_at,
            purpose: self.purpose.clone(),
            link: self.link.clone(),
            grant: self.grant.as_ref().map(|grant| grant.terms.clone()),
            lengths: values().map(|value| value.len()).collect(),
            hidden: hidden().map(|value| value.len()).collect(),
        })
        .map_err(|err| Error::Invalid(err.to_string()))?;
        let length = u32::try_from(header.len()).map_err(|err| Error::Invalid(err.to_string()))?;
        // At its size from the start: a vector that grows leaves copies of secrets behind.
        let size = size_of::<u32>()
            + header.len()
            + values().chain(hidden()).map(|value| value.len()).sum::<usize>();
        let mut plain = Zeroizing::new(Vec::with_capacity(size));
        plain.extend_from_slice(&length.to_be_bytes());
        plain.extend_from_slice(&header);
        for value in values().chain(hidden()) {
            plain.extend_from_slice(value);
        }
        let sealed = cipher::seal(key, &context(key, owner, name), &plain)?;
        Ok([&MAGIC[..], &key.fingerprint(), &sealed].concat())
    }

    /// Reads the content of a file.
    ///
    /// # Errors
    /// `Damaged`.
    pub(crate) fn open(file: &[u8], key: &MasterKey, owner: u32, name: &Name) -> Result<Self> {
        let damaged = |reason: &str| Error::Damaged { name: name.to_string(), reason: reason.to_owned() };
        let rest = file.strip_prefix(&MAGIC).ok_or_else(|| {
            damaged(
                "its file is no secret of a version that is known here; restore it, or set the secret again",
            )
        })?;
        let (fingerprint, sealed) = rest
            .split_first_chunk::<8>()
            .ok_or_else(|| damaged("its file ends too early; restore it, or set the secret again"))?;
        if *fingerprint != key.fingerprint() {
            return Err(damaged(
                "it was encrypted with another master key; bring that key back, or set the secret again",
            ));
        }
        let plain = cipher::open(key, &context(key, owner, name), sealed).ok_or_else(|| {
            damaged("its file was altered, or is that of another name or user; restore it, or set the secret again")
        })?;
        Self::parse(&plain).ok_or_else(|| damaged("its content has an unknown shape; set the secret again"))
    }

    fn parse(plain: &[u8]) -> Option<Self> {
        let (length, rest) = plain.split_first_chunk::<4>()?;
        let (header, mut rest) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
        let header: Header = serde_json::from_slice(header).ok()?;
        let mut take = |lengths: Vec<usize>| {
            let mut values = Vec::with_capacity(lengths.len());
            for length in lengths {
                let (value, after) = rest.split_at_checked(length)?;
                values.push(Zeroizing::new(value.to_vec()));
                rest = after;
            }
            Some(values)
        };
        let mut values = take(header.lengths)?;
        let hidden = take(header.hidden)?;
        let grant = match header.grant {
            Some(terms) => Some(Grant::from_parts(terms, hidden)?),
            None if hidden.is_empty() => None,
            None => return None,
        };
        if values.is_empty() || !rest.is_empty() {
            return None;
        }
        let value = values.remove(0);
        Some(Self {
            version: header.version,
            created_at: header.created_at,
            updated_at: header.updated_at,
            purpose: header.purpose,
            link: header.link,
            grant,
            value,
            previous: values,
        })
    }
}

/// The associated data. All before the name has a fixed length, so no two contexts are alike.
fn context(key: &MasterKey, owner: u32, name: &Name) -> Vec<u8> {
    [&MAGIC[..], &key.fingerprint(), &owner.to_be_bytes(), name.as_str().as_bytes()].concat()
}
