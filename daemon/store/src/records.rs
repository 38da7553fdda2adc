//! What is in a ledger, read back.

use crate::{
    Error, Ledger, Position, Result, at,
    segment::{self, sequence_of},
};
use std::{
    fs::{self, File},
    os::unix::fs::FileExt as _,
    path::Path,
};

/// One record read back.
#[derive(Clone, Debug)]
pub struct Record {
    /// Where it is.
    pub position: Position,
    /// One object with `seq` and `at` first.
    pub json: Vec<u8>,
    /// As written before it.
    pub hash: String,
}

impl Record {
    fn of(segment: u64, line: &segment::Line) -> Option<Self> {
        let (hash, json) = line.parts()?;
        let length = u32::try_from(line.bytes.len()).ok()?;
        let position = Position { sequence: sequence_of(json)?, segment, offset: line.offset, length };
        Some(Self { position, json: json.to_vec(), hash: hash.to_owned() })
    }

    /// When it was written: RFC 3339, UTC, microseconds, so that it sorts as text.
    #[must_use]
    pub fn at(&self) -> &[u8] {
        segment::head_of(&self.json).map_or(b"", |head| head.at)
    }

    /// Whether it follows a record of that hash as it was written.
    pub(crate) fn follows(&self, before: &str) -> bool {
        self.computed(before) == *self.hash
    }

    /// Its hash, if it follows a record of that hash.
    pub(crate) fn computed(&self, before: &str) -> String {
        segment::text(&segment::chain(before.as_bytes(), &self.json))
    }
}

impl Ledger {
    /// Reads one record back.
    ///
    /// # Errors
    /// `Corrupt` if the bytes there are no record.
    pub fn read(&self, position: Position) -> Result<Vec<u8>> {
        let path = segment::path(&self.shared().directory, position.segment);
        let file = File::open(&path).map_err(at(&path))?;
        let mut bytes = vec![0; position.length as usize];
        file.read_exact_at(&mut bytes, position.offset).map_err(at(&path))?;
        let line = segment::Line { offset: position.offset, bytes };
        let (_, json) = line
            .parts()
            .ok_or_else(|| Error::Corrupt(format!("{}: no record at {}", path.display(), position.offset)))?;
        Ok(json.to_vec())
    }

    /// The newest records of at most that many bytes, oldest first, and whether there are older ones.
    ///
    /// # Errors
    /// What the filesystem says.
    pub fn newest(&self, most_bytes: u64) -> Result<(Vec<Record>, bool)> {
        let directory = &self.shared().directory;
        let (mut newest, mut left) = (Vec::new(), most_bytes);
        for number in segment::list(directory)?.into_iter().rev() {
            let path = segment::path(directory, number);
            let length = fs::metadata(&path).map_err(at(&path))?.len();
            let mut records: Vec<Record> = segment::lines_from(&path, length.saturating_sub(left))?
                .filter_map(|line| Record::of(number, &line.ok()?))
                .collect();
            records.append(&mut newest);
            newest = records;
            if length > left {
                return Ok((newest, true));
            }
            left -= length;
        }
        let has_older = newest.first().is_some_and(|record| record.position.sequence > 1);
        Ok((newest, has_older))
    }

    /// All whole records, oldest first. Lines that are no records are skipped; `verify` reports them.
    ///
    /// # Errors
    /// What the filesystem says.
    pub fn records(&self) -> Result<impl Iterator<Item = Record> + use<>> {
        let directory = self.shared().directory.clone();
        let numbers = segment::list(&directory)?;
        Ok(numbers.into_iter().flat_map(move |number| records_of(&directory, number)))
    }

    /// The same by segments, the newest segment first: for who looks for the newest and need not read all.
    ///
    /// # Errors
    /// What the filesystem says.
    pub fn segments_back(
        &self,
    ) -> Result<impl Iterator<Item = impl Iterator<Item = Record> + use<>> + use<>> {
        let directory = self.shared().directory.clone();
        let numbers = segment::list(&directory)?;
        Ok(numbers.into_iter().rev().map(move |number| records_of(&directory, number)))
    }
}

/// The whole records of one segment, oldest first.
fn records_of(directory: &Path, number: u64) -> impl Iterator<Item = Record> + use<> {
    // A segment that vanished meanwhile was dropped by retention.
    let lines = segment::lines(&segment::path(directory, number)).ok();
    lines.into_iter().flatten().filter_map(move |line| Record::of(number, &line.ok()?))
}
