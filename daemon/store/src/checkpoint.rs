//! What is signed, and the records that carry it.
//!
//! A checkpoint is the record `{"seq","at","kind":"checkpoint","records","head","key","signature"}`. It says that at
//! `at` the log had `records` records, of which the last has the hash `head`; its own number is one more. Signed is
//! this text, each line ended by a line feed:
//!
//! ```text
//! skynet audit checkpoint v1
//! records <decimal>
//! head <64 hexadecimal digits>
//! at <RFC 3339, UTC, microseconds>
//! ```
//!
//! A dropped segment leaves the record `{"seq","at","kind":"retention","segment","first","last","hash","key",
//! "signature"}`: records `first` to `last` are gone, and the chain goes on from `hash`, that of record `last`. Signed:
//!
//! ```text
//! skynet audit retention v1
//! segment <decimal>
//! first <decimal>
//! last <decimal>
//! hash <64 hexadecimal digits>
//! at <RFC 3339, UTC, microseconds>
//! ```
//!
//! The first line of each keeps a signature from meaning anything else (domain separation).

use crate::keys::Keys;
use serde::{Deserialize, Serialize};

/// How the records begin, behind their time.
pub(crate) const CHECKPOINT: &[u8] = br#""kind":"checkpoint","#;
pub(crate) const RETENTION: &[u8] = br#""kind":"retention","#;
pub(crate) const TAMPERED: &[u8] = br#""kind":"tampered","#;

/// A signed statement about all records before it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Checkpoint {
    /// How many records it is about.
    pub(crate) records: u64,
    /// The hash of the last of them.
    pub(crate) head: String,
    /// When it was signed: RFC 3339, UTC, microseconds.
    pub(crate) at: String,
    key: String,
    signature: String,
}

/// A signed statement that a segment was dropped by the rules of retention.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Retention {
    /// The number of the segment.
    pub(crate) segment: u64,
    /// Its first record.
    pub(crate) first: u64,
    /// Its last record.
    pub(crate) last: u64,
    /// The hash of the last record, from which the chain goes on.
    pub(crate) hash: String,
    at: String,
    key: String,
    signature: String,
}

/// What was found at a start that only tampering explains.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Tampered {
    /// In words.
    pub(crate) found: String,
}

/// Whether a signature holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signed {
    /// By a believed key.
    Well,
    /// By a key that is not believed, or so it says.
    ByUnknown,
    /// Not by the key it names.
    Forged,
}

impl Checkpoint {
    /// Signs that the ledger has `records` records and ends with `head`.
    pub(crate) fn sign(keys: &Keys, records: u64, head: &str, at: &str) -> Self {
        let mut signed = Self {
            records,
            head: head.to_owned(),
            at: at.to_owned(),
            key: String::new(),
            signature: String::new(),
        };
        (signed.key, signed.signature) = keys.sign(&signed.text());
        signed
    }

    /// The members of its record, behind `at`.
    pub(crate) fn members(&self) -> String {
        let Self { records, head, key, signature, .. } = self;
        format!(
            r#""kind":"checkpoint","records":{records},"head":"{head}","key":"{key}","signature":"{signature}"}}"#
        )
    }

    /// Whether its signature holds.
    pub(crate) fn check(&self, keys: &Keys) -> Signed {
        check(keys, &self.key, &self.text(), &self.signature)
    }

    /// The name of the key it names.
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    fn text(&self) -> String {
        let Self { records, head, at, .. } = self;
        format!("skynet audit checkpoint v1\nrecords {records}\nhead {head}\nat {at}\n")
    }
}

impl Retention {
    /// Signs that a segment was dropped.
    pub(crate) fn sign(keys: &Keys, segment: u64, records: (u64, u64), hash: &str, at: &str) -> Self {
        let mut signed = Self {
            segment,
            first: records.0,
            last: records.1,
            hash: hash.to_owned(),
            at: at.to_owned(),
            key: String::new(),
            signature: String::new(),
        };
        (signed.key, signed.signature) = keys.sign(&signed.text());
        signed
    }

    /// The members of its record, behind `at`.
    pub(crate) fn members(&self) -> String {
        let Self { segment, first, last, hash, key, signature, .. } = self;
        format!(
            r#""kind":"retention","segment":{segment},"first":{first},"last":{last},"hash":"{hash}","key":"{key}","signature":"{signature}"}}"#
        )
    }

    /// Whether its signature holds.
    pub(crate) fn check(&self, keys: &Keys) -> Signed {
        check(keys, &self.key, &self.text(), &self.signature)
    }

    /// The name of the key it names.
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    fn text(&self) -> String {
        let Self { segment, first, last, hash, at, .. } = self;
        format!(
            "skynet audit retention v1\nsegment {segment}\nfirst {first}\nlast {last}\nhash {hash}\nat {at}\n"
        )
    }
}

/// Whether `signature` is one of `text` by the believed key `id`.
pub(crate) fn check(keys: &Keys, id: &str, text: &str, signature: &str) -> Signed {
    match keys.find(id) {
        None => Signed::ByUnknown,
        Some(key) if key.has_signed(text, signature) => Signed::Well,
        Some(_) => Signed::Forged,
    }
}
