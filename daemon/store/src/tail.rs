//! The end of a ledger after a crash: the last whole record, and what of a torn one is behind it.

use crate::{
    Result, at, ledger,
    segment::{self, sequence_of},
};
use std::{
    fs::{self, File},
    path::Path,
};

/// How a segment ends.
#[derive(Default)]
pub(crate) struct Tail {
    /// Up to here it is records.
    pub(crate) whole_bytes: u64,
    /// What follows is none.
    pub(crate) torn_bytes: u64,
    /// Number, hash and JSON of the last record.
    pub(crate) last: Option<(u64, String, Vec<u8>)>,
}

/// Finds the end of the last whole record of a segment.
pub(crate) fn scan(path: &Path) -> Result<Tail> {
    let mut tail = Tail::default();
    let mut end = 0;
    let mut last: Option<(u64, segment::Line)> = None;
    for line in segment::lines(path)? {
        let line = line?;
        end = line.offset + line.bytes.len() as u64;
        // A line that has its shape and its line feed was written whole; whether it is genuine is for verify.
        if let Some(sequence) = line.parts().and_then(|(_, json)| sequence_of(json)) {
            tail.whole_bytes = end;
            last = Some((sequence, line));
        }
    }
    tail.torn_bytes = end - tail.whole_bytes;
    tail.last = last.and_then(|(sequence, line)| {
        let (hash, json) = line.parts()?;
        Some((sequence, hash.to_owned(), json.to_vec()))
    });
    Ok(tail)
}

/// Moves what follows the last whole record into a file of its own.
pub(crate) fn quarantine(path: &Path, file: &File, whole_bytes: u64) -> Result<()> {
    let bytes = fs::read(path).map_err(at(path))?;
    let torn = bytes.get(usize::try_from(whole_bytes).unwrap_or(usize::MAX)..).unwrap_or_default();
    let aside = path.with_extension(format!("torn-{}", ledger::now().replace([':', '.'], "")));
    fs::write(&aside, torn).map_err(at(&aside))?;
    file.set_len(whole_bytes).map_err(at(path))?;
    tracing::warn!(bytes = torn.len(), moved_to = %aside.display(), "a torn ledger tail was set aside");
    Ok(())
}
