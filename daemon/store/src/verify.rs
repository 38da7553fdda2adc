//! Whether a ledger is as it was written.

use crate::{Result, segment};
use std::path::Path;

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// How many records there are.
    pub records: u64,
    /// The hash of the newest.
    pub head: String,
    /// What is wrong, with segment and line; empty when the chain is whole.
    pub faults: Vec<String>,
}

/// Recomputes the chain of all segments.
pub(crate) fn directory(directory: &Path) -> Result<Verdict> {
    let mut verdict = Verdict { records: 0, head: segment::GENESIS.into(), faults: Vec::new() };
    let mut expected = None;
    for number in segment::list(directory)? {
        for (index, line) in segment::lines(&segment::path(directory, number))?.enumerate() {
            let line = line?;
            let place = format!("segment {number}, line {}", index + 1);
            let Some((hash, json)) = line.parts() else {
                verdict.faults.push(format!("{place}: not a record"));
                continue;
            };
            let sequence = segment::sequence_of(json).unwrap_or(0);
            // Retention drops whole segments from the front, so the chain may start anywhere.
            let starts_late = expected.is_none() && sequence > 1;
            if !starts_late && segment::chain(&verdict.head, json) != hash {
                verdict.faults.push(format!("{place}: record {sequence} does not follow the one before it"));
            }
            if expected.is_some_and(|expected| expected != sequence) {
                verdict
                    .faults
                    .push(format!("{place}: sequence {sequence} where {} was due", expected.unwrap_or(0)));
            }
            verdict.records += 1;
            verdict.head = hash.to_owned();
            expected = Some(sequence + 1);
        }
    }
    Ok(verdict)
}
