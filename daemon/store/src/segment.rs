//! One file of a ledger: lines of `<hash> <json>\n`.
//!
//! `hash` is SHA-256 over the hexadecimal hash of the line before and the JSON, so that each line vouches for
//! all before it. The first line of a ledger follows 64 zeros.

use crate::{Result, at};
use sha2::{Digest as _, Sha256};
use skynet_core::canonical::hex;
use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
};

/// The hash before the first line.
pub(crate) const GENESIS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// Bytes of a line before its JSON.
pub(crate) const PREFIX_BYTES: usize = GENESIS.len() + 1;

/// The hash of a line.
pub(crate) fn chain(previous: &str, json: &[u8]) -> String {
    let mut hasher = Sha256::new();
    hasher.update(previous.as_bytes());
    hasher.update(json);
    hex(&hasher.finalize())
}

/// A file name is the segment's number, from 1, in ten digits.
pub(crate) fn path(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("{number:010}.jsonl"))
}

/// The numbers of the segments in a directory, in order.
pub(crate) fn list(directory: &Path) -> Result<Vec<u64>> {
    let mut numbers: Vec<u64> = fs::read_dir(directory)
        .map_err(at(directory))?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok()?.strip_suffix(".jsonl")?.parse().ok())
        .collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// One line of a segment.
pub(crate) struct Line {
    /// Of the line's first byte.
    pub(crate) offset: u64,
    /// With its line feed.
    pub(crate) bytes: Vec<u8>,
}

impl Line {
    /// The stated hash and the JSON, if the line has the right shape.
    pub(crate) fn parts(&self) -> Option<(&str, &[u8])> {
        let (hash, rest) = self.bytes.split_at_checked(GENESIS.len())?;
        let json = rest.strip_prefix(b" ")?.strip_suffix(b"\n")?;
        Some((std::str::from_utf8(hash).ok()?, json))
    }
}

/// Reads a segment line by line; a last line without line feed comes as it is.
pub(crate) fn lines(path: &Path) -> Result<impl Iterator<Item = Result<Line>> + use<>> {
    let path = path.to_owned();
    let mut reader = BufReader::with_capacity(1 << 16, fs::File::open(&path).map_err(at(&path))?);
    let mut offset = 0;
    Ok(std::iter::from_fn(move || {
        let mut bytes = Vec::new();
        match reader.read_until(b'\n', &mut bytes) {
            Ok(0) => None,
            Ok(count) => {
                let line = Line { offset, bytes };
                offset += count as u64;
                Some(Ok(line))
            }
            Err(err) => Some(Err(at(&path)(err))),
        }
    }))
}

/// Reads the number that every record starts with.
pub(crate) fn sequence_of(json: &[u8]) -> Option<u64> {
    let digits = json.strip_prefix(br#"{"seq":"#)?;
    let end = digits.iter().position(|byte| !byte.is_ascii_digit())?;
    std::str::from_utf8(digits.get(..end)?).ok()?.parse().ok()
}
