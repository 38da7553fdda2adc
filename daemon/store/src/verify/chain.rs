//! Follows the chain and says what was done to it where it breaks.
//!
//! As long as each line has the next number and the hash that follows from the line before, nothing is kept. A line
//! with a later number waits as a *stray* until it is clear whether records are missing before it (the next line
//! follows it), it belongs further down (its turn comes) or nowhere.

use super::{Expected, Faults, Place, Record, Tampering, Verdict, proofs::Proofs};
use crate::segment::{self, GENESIS, Hash};

/// So many lines wait for their turn; the log that has more of them is no log any more.
const MOST_STRAYS: usize = 64;

pub(super) struct Walk<'a> {
    records: u64,
    last: Link,
    strays: Vec<Stray>,
    gaps: Vec<Gap>,
    /// Lines without the shape of a record since the last one that has it.
    unreadable: u64,
    faults: Faults,
    proofs: Proofs<'a>,
}

/// The record with the highest number so far.
struct Link {
    place: Place,
    sequence: u64,
    /// As its line says.
    hash: Hash,
    /// As its content says; another one that fits as well, if its number was there twice.
    other: Hash,
    /// Of the record before it.
    before: Hash,
    /// The fault that says that it does not fit.
    fault: Option<usize>,
}

/// A line that came too early.
struct Stray {
    place: Place,
    sequence: u64,
    hash: Hash,
    json: Vec<u8>,
    unreadable: u64,
}

/// Records that are missing.
struct Gap {
    first: u64,
    last: u64,
    /// The hash that the first of them follows.
    before: Hash,
    /// The line behind them.
    after: Stray,
}

impl Link {
    /// Whether a line with the next number follows this one, and its hash as its content says.
    fn leads_to(&self, record: &Record<'_>) -> (bool, Hash) {
        let computed = segment::chain(&self.hash, record.json);
        let fits = computed == *record.hash
            || (self.other != self.hash && segment::chain(&self.other, record.json) == *record.hash);
        (fits, computed)
    }
}

impl Stray {
    fn record(&self) -> Option<Record<'_>> {
        let head = segment::head_of(&self.json)?;
        Some(Record { place: self.place, sequence: self.sequence, hash: &self.hash, json: &self.json, head })
    }
}

impl<'a> Walk<'a> {
    pub(super) fn new(proofs: Proofs<'a>) -> Self {
        let mut hash = [b'0'; 64];
        hash.copy_from_slice(GENESIS.as_bytes());
        let place = Place { segment: 0, line: 0 };
        let last = Link { place, sequence: 0, hash, other: hash, before: hash, fault: None };
        Self {
            records: 0,
            last,
            strays: Vec::new(),
            gaps: Vec::new(),
            unreadable: 0,
            faults: Faults::default(),
            proofs,
        }
    }

    /// Takes the next line, with its line feed.
    pub(super) fn line(&mut self, place: Place, line: &[u8]) {
        let Some(record) = Record::parse(place, line) else {
            self.faults.push(place, Tampering::Changed, "not a record");
            self.unreadable += 1;
            return;
        };
        self.records += 1;
        if record.sequence <= self.last.sequence {
            self.earlier(&record);
        } else if record.sequence == self.last.sequence.saturating_add(1) {
            self.next(&record);
            self.claim_strays();
        } else {
            self.later(&record);
        }
    }

    /// A segment that cannot be opened.
    pub(super) fn unreadable(&mut self, place: Place, err: &std::io::Error) {
        self.faults.say(place, format!("the segment cannot be read: {err}"));
    }

    /// A line whose turn it is.
    fn next(&mut self, record: &Record<'_>) {
        let (fits, computed) = self.last.leads_to(record);
        let mut fault = None;
        if !fits {
            let why = format!(
                "record {} does not follow the one before it, or one of the two is not as it was written",
                record.sequence
            );
            fault = self.faults.push(record.place, Tampering::Changed, &why);
        }
        self.proofs.inspect(record, Some((&self.last.hash, &self.last.other)), &mut self.faults);
        self.last = Link {
            place: record.place,
            sequence: record.sequence,
            hash: *record.hash,
            other: if fits { *record.hash } else { computed },
            before: self.last.hash,
            fault,
        };
        self.unreadable = 0;
    }

    /// Strays whose turn came: they stood too early.
    fn claim_strays(&mut self) {
        while let Some(index) =
            self.strays.iter().position(|stray| stray.sequence == self.last.sequence.saturating_add(1))
        {
            let fits = self
                .strays
                .get(index)
                .and_then(Stray::record)
                .is_some_and(|record| self.last.leads_to(&record).0);
            if !fits {
                return;
            }
            let stray = self.strays.remove(index);
            let why = format!("record {} stands before record {}", stray.sequence, self.last.sequence);
            self.faults.push(stray.place, Tampering::Reordered, &why);
            if let Some(record) = stray.record() {
                self.next(&record);
            }
        }
    }

    /// A line with a number that is not due yet.
    fn later(&mut self, record: &Record<'_>) {
        let follows = |stray: &Stray| {
            stray.sequence.saturating_add(1) == record.sequence
                && segment::chain(&stray.hash, record.json) == *record.hash
        };
        if let Some(index) = self.strays.iter().position(follows) {
            let stray = self.strays.remove(index);
            self.jump(stray);
            self.next(record);
            self.claim_strays();
            return;
        }
        if self.strays.len() == MOST_STRAYS {
            let oldest = self.strays.remove(0);
            self.misplaced(&oldest);
        }
        self.strays.push(Stray {
            place: record.place,
            sequence: record.sequence,
            hash: *record.hash,
            json: record.json.to_vec(),
            unreadable: self.unreadable,
        });
        self.unreadable = 0;
    }

    /// Goes on behind missing records.
    fn jump(&mut self, stray: Stray) {
        if let Some(record) = stray.record() {
            self.proofs.inspect(&record, None, &mut self.faults);
        }
        let (first, last) = (self.last.sequence.saturating_add(1), stray.sequence - 1);
        let before = self.last.hash;
        self.last = Link {
            place: stray.place,
            sequence: stray.sequence,
            hash: stray.hash,
            other: stray.hash,
            before: stray.hash,
            fault: None,
        };
        // Lines that are no records any more were reported: these are not missing, they are damaged.
        if stray.unreadable < last - first + 1 {
            self.gaps.push(Gap { first, last, before, after: stray });
        }
    }

    /// A line whose number was due before.
    fn earlier(&mut self, record: &Record<'_>) {
        let sequence = record.sequence;
        if sequence == self.last.sequence && segment::chain(&self.last.before, record.json) == *record.hash {
            let why = format!("a second record {sequence}");
            match self.last.fault.take() {
                // This one follows, so that one was put before it.
                Some(fault) => self.faults.correct(fault, Tampering::Inserted, &why),
                None => {
                    self.faults.push(record.place, Tampering::Inserted, &why);
                }
            }
            self.last.other = std::mem::replace(&mut self.last.hash, *record.hash);
            return;
        }
        let gap = self.gaps.iter_mut().find(|gap| (gap.first..=gap.last).contains(&sequence));
        let Some(gap) = gap else {
            self.faults.push(record.place, Tampering::Inserted, &format!("a second record {sequence}"));
            return;
        };
        let why = format!("record {sequence} stands after record {}", self.last.sequence);
        self.faults.push(record.place, Tampering::Reordered, &why);
        if sequence == gap.first {
            self.proofs.inspect(record, Some((&gap.before, &gap.before)), &mut self.faults);
            gap.first += 1;
            gap.before = *record.hash;
        } else if sequence == gap.last {
            gap.last -= 1;
        }
    }

    /// A stray whose turn never came.
    fn misplaced(&mut self, stray: &Stray) {
        let why = format!("record {} follows no record", stray.sequence);
        self.faults.push(stray.place, Tampering::Inserted, &why);
    }

    /// What is left at the end of the last line, and what the log should have come to.
    pub(super) fn finish(mut self, end: Place, expected: &Expected<'_>) -> Verdict {
        self.strays.sort_by_key(|stray| stray.sequence);
        for stray in std::mem::take(&mut self.strays) {
            let is_behind = stray.place > self.last.place && stray.sequence > self.last.sequence;
            match stray.record() {
                Some(record) if is_behind && stray.sequence == self.last.sequence.saturating_add(1) => {
                    self.next(&record);
                }
                Some(_) if is_behind => self.jump(stray),
                _ => self.misplaced(&stray),
            }
        }
        for gap in std::mem::take(&mut self.gaps) {
            if gap.first > gap.last {
                continue;
            }
            let Gap { first, last, after, .. } = &gap;
            if *first > 1 {
                let why = format!("records {first} to {last} are missing before record {}", after.sequence);
                self.faults.push(after.place, Tampering::Removed, &why);
            } else if !self.proofs.allow_start(*last, &after.json, &after.hash) {
                let why = format!(
                    "the log begins here, and no signed record says that retention dropped records 1 to {last}"
                );
                self.faults.push(after.place, Tampering::Truncated, &why);
            }
        }
        if self.last.sequence < expected.sequence {
            let why = format!(
                "the log ends with record {}, but record {} was written",
                self.last.sequence, expected.sequence
            );
            self.faults.push(end, Tampering::Truncated, &why);
        } else if self.last.sequence == expected.sequence && segment::text(&self.last.hash) != expected.head {
            let why = format!("record {} is not the one that was written", self.last.sequence);
            self.faults.push(end, Tampering::Changed, &why);
        }
        self.proofs.finish(end, self.last.sequence, &mut self.faults);
        Verdict {
            records: self.records,
            head: segment::text(&self.last.hash),
            faults: self.faults.into_lines(),
            checkpoints: self.proofs.good(),
            signed: self.proofs.newest(),
        }
    }
}
