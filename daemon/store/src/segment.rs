//! One file of a ledger: lines of `<hash> <json>\n`.
//!
//! `hash` is SHA-256 over the hexadecimal hash of the line before and the JSON, so that each line vouches for
//! all before it. The first line of a ledger follows 64 zeros.

use crate::{Result, at};
use sha2::{Digest as _, Sha256};
use std::{
    fs,
    io::{BufRead as _, BufReader, Seek as _, SeekFrom},
    path::{Path, PathBuf},
};

/// A hash, as 64 lower-case hexadecimal digits.
pub(crate) type Hash = [u8; 64];

/// The hash before the first line.
pub(crate) const GENESIS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// Bytes of a line before its JSON.
pub(crate) const PREFIX_BYTES: usize = GENESIS.len() + 1;

/// The hash of a line.
pub(crate) fn chain(previous: &[u8], json: &[u8]) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update(previous);
    hasher.update(json);
    let digit = |value: u8| if value < 10 { b'0' + value } else { b'a' + value - 10 };
    let mut hash = [0; 64];
    for (pair, byte) in hash.chunks_exact_mut(2).zip(hasher.finalize()) {
        pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
    }
    hash
}

/// A hash as text.
pub(crate) fn text(hash: &Hash) -> String {
    String::from_utf8_lossy(hash).into_owned()
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
        let (hash, json) = split(&self.bytes)?;
        Some((std::str::from_utf8(hash).ok()?, json))
    }
}

/// The stated hash and the JSON of a line with its line feed, if it has the right shape.
pub(crate) fn split(line: &[u8]) -> Option<(&Hash, &[u8])> {
    let (hash, rest) = line.split_first_chunk()?;
    Some((hash, rest.strip_prefix(b" ")?.strip_suffix(b"\n")?))
}

/// Reads a segment line by line; a last line without line feed comes as it is.
pub(crate) fn lines(path: &Path) -> Result<impl Iterator<Item = Result<Line>> + use<>> {
    lines_from(path, 0)
}

/// Like [`lines`], of those that begin at `offset` or after it; what is left there of a line is no record.
pub(crate) fn lines_from(path: &Path, mut offset: u64) -> Result<impl Iterator<Item = Result<Line>> + use<>> {
    let path = path.to_owned();
    let mut reader = BufReader::with_capacity(1 << 16, fs::File::open(&path).map_err(at(&path))?);
    reader.seek(SeekFrom::Start(offset)).map_err(at(&path))?;
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

/// The line that begins at `offset`; `None` at the end.
pub(crate) fn line_at(path: &Path, offset: u64) -> Result<Option<Line>> {
    let mut reader = BufReader::new(fs::File::open(path).map_err(at(path))?);
    reader.seek(SeekFrom::Start(offset)).map_err(at(path))?;
    let mut bytes = Vec::new();
    reader.read_until(b'\n', &mut bytes).map_err(at(path))?;
    Ok((!bytes.is_empty()).then_some(Line { offset, bytes }))
}

/// What every record starts with: number, time, and then its own members.
#[derive(Clone, Copy)]
pub(crate) struct Head<'a> {
    pub(crate) sequence: u64,
    /// RFC 3339, UTC, microseconds.
    pub(crate) at: &'a [u8],
    /// Behind the comma.
    pub(crate) members: &'a [u8],
}

/// Reads the start of a record.
pub(crate) fn head_of(json: &[u8]) -> Option<Head<'_>> {
    let digits = json.strip_prefix(br#"{"seq":"#)?;
    let end = digits.iter().position(|byte| !byte.is_ascii_digit())?;
    let sequence = std::str::from_utf8(digits.get(..end)?).ok()?.parse().ok()?;
    let rest = digits.get(end..)?;
    let timed = rest.strip_prefix(br#","at":""#).and_then(|time| {
        let end = time.iter().position(|byte| *byte == b'"')?;
        Some((time.get(..end)?, time.get(end..)?.strip_prefix(b"\",")?))
    });
    let (at, members) = timed.unwrap_or_default();
    Some(Head { sequence, at, members })
}

/// Reads the number that every record starts with.
pub(crate) fn sequence_of(json: &[u8]) -> Option<u64> {
    head_of(json).map(|head| head.sequence)
}
