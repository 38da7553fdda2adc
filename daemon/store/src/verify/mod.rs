//! Whether a ledger is as it was written: one pass over all lines, which reads no more of a record than its number,
//! time and kind, unless it is signed.
//!
//! It cannot tell what whoever holds the signing key made up, nor an older state of all files at once.

mod chain;
mod proofs;

use crate::{
    Result, at,
    keys::Keys,
    note::Noted,
    segment::{self, Hash},
};
use chain::Walk;
use proofs::Proofs;
use std::{
    fmt,
    fs::File,
    io::{BufRead as _, BufReader, Read as _},
    path::Path,
};

/// So many faults are told one by one; a log that was shuffled as a whole has as many as lines.
const MOST_FAULTS: usize = 100;

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// How many records there are.
    pub records: u64,
    /// The hash of the newest.
    pub head: String,
    /// What is wrong, with segment and line; empty when the chain is whole.
    pub faults: Vec<String>,
    /// How many checkpoints are good.
    pub checkpoints: u64,
    /// What the newest good one says.
    pub signed: Option<Signed>,
}

/// What a good checkpoint says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// The number of the last record it covers.
    pub records: u64,
    /// When it was signed: RFC 3339, UTC, microseconds.
    pub at: String,
}

/// What is known of a ledger besides its files.
pub(crate) struct Expected<'a> {
    /// The newest segment, and how much of it is to be read: what follows is being written.
    pub(crate) segment: u64,
    pub(crate) length: u64,
    /// Number and hash of the newest record, as its writer remembers them.
    pub(crate) sequence: u64,
    pub(crate) head: String,
    /// Whose signatures count; `None` in a ledger without a seal, of which only the chain is checked.
    pub(crate) keys: Option<&'a Keys>,
    /// The noted checkpoint, or what is wrong with the note.
    pub(crate) note: Option<std::result::Result<Noted, String>>,
}

/// Where a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    segment: u64,
    /// From 1.
    line: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "segment {}, line {}", self.segment, self.line)
    }
}

/// What was done to a log.
#[derive(Clone, Copy, Debug)]
enum Tampering {
    Changed,
    Removed,
    Inserted,
    Reordered,
    Truncated,
    /// Signed, but not by a key that counts.
    Forged,
}

impl fmt::Display for Tampering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Changed => "changed",
            Self::Removed => "removed",
            Self::Inserted => "inserted",
            Self::Reordered => "reordered",
            Self::Truncated => "truncated",
            Self::Forged => "forged",
        })
    }
}

/// What is wrong, in the order it was found.
#[derive(Default)]
struct Faults {
    told: Vec<(Place, String)>,
    untold: u64,
}

impl Faults {
    /// Adds one; its index, if it is told.
    fn push(&mut self, place: Place, what: Tampering, why: &str) -> Option<usize> {
        self.say(place, format!("{what}: {why}"))
    }

    fn say(&mut self, place: Place, text: String) -> Option<usize> {
        if self.told.len() == MOST_FAULTS {
            self.untold += 1;
            return None;
        }
        self.told.push((place, text));
        Some(self.told.len() - 1)
    }

    /// Says something else about the line of an earlier fault.
    fn correct(&mut self, index: usize, what: Tampering, why: &str) {
        if let Some((_, text)) = self.told.get_mut(index) {
            *text = format!("{what}: {why}");
        }
    }

    fn into_lines(mut self) -> Vec<String> {
        self.told.sort_by_key(|(place, _)| *place);
        let mut lines: Vec<String> =
            self.told.into_iter().map(|(place, text)| format!("{place}: {text}")).collect();
        if self.untold > 0 {
            lines.push(format!("and {} more", self.untold));
        }
        lines
    }
}

/// A line of the right shape.
#[derive(Clone, Copy)]
struct Record<'a> {
    place: Place,
    sequence: u64,
    hash: &'a Hash,
    json: &'a [u8],
    head: segment::Head<'a>,
}

impl<'a> Record<'a> {
    fn parse(place: Place, line: &'a [u8]) -> Option<Self> {
        let (hash, json) = segment::split(line)?;
        let head = segment::head_of(json)?;
        Some(Self { place, sequence: head.sequence, hash, json, head })
    }
}

/// Reads all segments.
pub(crate) fn directory(directory: &Path, expected: &Expected<'_>) -> Result<Verdict> {
    let mut walk = Walk::new(Proofs::new(expected.keys, expected.note.as_ref()));
    let mut place = Place { segment: 0, line: 0 };
    let mut line = Vec::new();
    for number in segment::list(directory)? {
        if number > expected.segment {
            break;
        }
        let path = segment::path(directory, number);
        let limit = if number == expected.segment { expected.length } else { u64::MAX };
        place = Place { segment: number, line: 0 };
        let file = match File::open(&path) {
            Ok(file) => file.take(limit),
            Err(err) => {
                walk.unreadable(place, &err);
                continue;
            }
        };
        let mut reader = BufReader::with_capacity(1 << 18, file);
        loop {
            line.clear();
            if reader.read_until(b'\n', &mut line).map_err(at(&path))? == 0 {
                break;
            }
            place.line += 1;
            walk.line(place, &line);
        }
    }
    Ok(walk.finish(place, expected))
}
