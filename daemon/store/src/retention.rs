//! Which old segments are dropped, and the signed records that tell it from tampering.

use crate::{
    Ledger, Result, at,
    checkpoint::Retention,
    ledger::{now, sync_directory},
    segment, tail,
};
use jiff::{SignedDuration, Timestamp};
use std::{fs, num::NonZeroU64, path::PathBuf};

/// How much of a ledger is kept. The segment that is written to always is.
#[derive(Clone, Copy, Debug)]
pub struct Keep {
    /// Segments whose records are all older go.
    pub days: u32,
    /// The oldest segments go while all together are larger.
    pub bytes: NonZeroU64,
}

/// A segment that is to go.
struct Old {
    number: u64,
    path: PathBuf,
    /// First and last record and the hash of the last; `None` in a segment without records.
    records: Option<(u64, u64, String)>,
}

impl Ledger {
    /// Drops old segments, each noted in the ledger before it goes; returns how many went. Blocks for as long as
    /// `verify` runs.
    ///
    /// # Errors
    /// What the filesystem says; then no segment went that is not noted durably.
    pub fn retain(&self, keep: Keep) -> Result<usize> {
        let shared = self.shared();
        let _upkeep = shared.keep_segments();
        let old = self.old_segments(keep)?;
        if old.is_empty() {
            return Ok(0);
        }
        let Some(seal) = &shared.seal else { return Ok(0) };
        let mut writer = self.lock();
        shared.refuse_if_stopped()?;
        for old in &old {
            if let Some((first, last, hash)) = &old.records {
                let at_time = now();
                let record = Retention::sign(&seal.keys, old.number, (*first, *last), hash, &at_time);
                shared.write(&mut writer, &at_time, record.members().as_bytes())?;
            }
        }
        drop(writer);
        // Signed, synced and noted: the newest noted checkpoint must not be in a segment that goes.
        self.checkpoint()?;
        // The oldest first, so that after a crash in between the log begins where one of the records says.
        for old in &old {
            fs::remove_file(&old.path).map_err(at(&old.path))?;
        }
        sync_directory(&shared.directory)?;
        Ok(old.len())
    }

    fn old_segments(&self, keep: Keep) -> Result<Vec<Old>> {
        let directory = &self.shared().directory;
        let numbers = segment::list(directory)?;
        let newest = self.lock().segment;
        let oldest_kept = Timestamp::now()
            .checked_sub(SignedDuration::from_hours(i64::from(keep.days) * 24))
            .map_or_else(|_| String::new(), |at| format!("{at:.6}"));
        let mut total = 0;
        for number in &numbers {
            let path = segment::path(directory, *number);
            total += fs::metadata(&path).map_err(at(path))?.len();
        }
        let mut old = Vec::new();
        for pair in numbers.windows(2) {
            let [number, next] = *pair else { break };
            let path = segment::path(directory, number);
            // No record here is younger than the first of the next one. RFC 3339 in UTC sorts as text.
            let began = first_of(&segment::path(directory, next))?.map(|(_, at)| at);
            let is_outdated = began.is_some_and(|began| *began < *oldest_kept);
            if number >= newest || (total <= keep.bytes.get() && !is_outdated) {
                break;
            }
            let bytes = fs::metadata(&path).map_err(at(&path))?.len();
            let records = match (first_of(&path)?, tail::scan(&path)?.last) {
                (Some((first, _)), Some((last, hash, _))) => Some((first, last, hash)),
                _ if bytes == 0 => None,
                _ => {
                    // What cannot be noted must stay, or its end would look like tampering.
                    tracing::warn!(segment = %path.display(), "a damaged segment of the audit log is not dropped");
                    break;
                }
            };
            total -= bytes;
            old.push(Old { number, path, records });
        }
        Ok(old)
    }
}

/// Number and time of the first record of a segment.
fn first_of(path: &std::path::Path) -> Result<Option<(u64, String)>> {
    let Some(line) = segment::line_at(path, 0)? else { return Ok(None) };
    Ok(line
        .parts()
        .and_then(|(_, json)| segment::head_of(json))
        .map(|head| (head.sequence, String::from_utf8_lossy(head.at).into_owned())))
}
