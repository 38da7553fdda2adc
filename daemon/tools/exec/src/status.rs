//! How a job stands, as its owner is told.

use crate::{
    jobs::{Job, Stand, trouble},
    run::quarantined,
};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use skynet_core::Result;
use skynet_sandbox::{
    job::{End, From, Part},
    protocol::{Cause, Ended},
};
use std::time::Duration;

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// It runs.
    Running,
    /// It has ended.
    Ended,
    /// It was killed together with its keeper, as when the host goes down.
    Lost,
}

/// What ended a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum EndedBy {
    /// Itself, or another signal than KILL.
    Itself,
    /// `timeout_seconds`.
    Timeout,
    /// `memory_mib`.
    Memory,
    /// `cpu_seconds`.
    Cpu,
    /// `disk_mib`, or a disk that it almost filled.
    Disk,
    /// Signal KILL of `exec_signal_job`.
    Kill,
    /// The host, so that nobody can tell more.
    Host,
}

/// A job.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Status {
    /// Its id.
    pub(crate) job: String,
    /// As it was named.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// What it runs, or the beginning of that.
    command: String,
    /// Whether it runs.
    pub(crate) state: State,
    /// When it began, in RFC 3339.
    started_at: String,
    /// When it ended, in RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at: Option<String>,
    /// Its exit code, unless a signal ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_code: Option<i32>,
    /// The number of the signal that ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    signal: Option<i32>,
    /// What ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_by: Option<EndedBy>,
    /// How long it ran.
    #[serde(skip_serializing_if = "Option::is_none")]
    wall_seconds: Option<f64>,
    /// Processor time of all its processes.
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_seconds: Option<f64>,
    /// The most memory its processes took.
    #[serde(skip_serializing_if = "Option::is_none")]
    peak_memory_bytes: Option<u64>,
    /// Files it left under names that other programs run or trust; each was renamed to `NAME.quarantined`. At most 100.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    quarantined: Vec<String>,
    /// How many they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    quarantined_count: Option<u64>,
    /// How much it wrote.
    output_bytes: u64,
    /// How much of that is lost because the disk was full.
    #[serde(skip_serializing_if = "Option::is_none")]
    unwritten_bytes: Option<u64>,
}

impl Status {
    /// Of a job, as it is now.
    pub(crate) fn of(job: &Job) -> Result<Self> {
        let stand = job.stand()?;
        // After that, so that it is all there if the job has ended.
        let output_bytes = job.directory.output().map_err(trouble)?.written();
        let mut status = Self {
            job: job.id.clone(),
            name: job.card.name.clone(),
            command: job.card.command.clone(),
            state: State::Running,
            started_at: job.card.started_at.to_string(),
            ended_at: None,
            exit_code: None,
            signal: None,
            ended_by: None,
            wall_seconds: None,
            cpu_seconds: None,
            peak_memory_bytes: None,
            quarantined: Vec::new(),
            quarantined_count: None,
            output_bytes,
            unwritten_bytes: None,
        };
        match stand {
            Stand::Running => {}
            Stand::Lost(_) => {
                status.state = State::Lost;
                status.ended_by = Some(EndedBy::Host);
            }
            Stand::Ended(end) => status.end(&end),
        }
        Ok(status)
    }

    fn end(&mut self, end: &End) {
        self.state = State::Ended;
        self.ended_at = Timestamp::from_millisecond(end.at_ms).ok().map(|at| at.to_string());
        self.unwritten_bytes = Some(end.unwritten_bytes).filter(|bytes| *bytes > 0);
        let Some(ended) = &end.ended else {
            self.ended_by = Some(EndedBy::Host);
            return;
        };
        self.ended_by = Some(ended_by(ended));
        self.exit_code = ended.code;
        self.signal = ended.signal;
        self.wall_seconds = Some(Duration::from_micros(ended.wall_us).as_secs_f64());
        self.cpu_seconds = Some(Duration::from_micros(ended.cpu_us).as_secs_f64());
        self.peak_memory_bytes = Some(ended.peak_memory_bytes);
        self.quarantined = quarantined(ended);
        self.quarantined_count = Some(ended.quarantined_count).filter(|count| *count > 0);
    }
}

fn ended_by(ended: &Ended) -> EndedBy {
    match ended.cause() {
        Cause::Itself => EndedBy::Itself,
        Cause::Time => EndedBy::Timeout,
        Cause::Memory => EndedBy::Memory,
        Cause::Cpu => EndedBy::Cpu,
        Cause::Disk => EndedBy::Disk,
        Cause::Killed => EndedBy::Kill,
    }
}

/// What an answer may hold besides output.
const OTHER_BYTES: usize = 2048;

/// A part of what a job wrote, as text.
pub(crate) struct Excerpt {
    pub(crate) text: String,
    /// Where it begins and ends in all that was written.
    pub(crate) from: u64,
    pub(crate) to: u64,
}

impl Excerpt {
    /// At most `most` bytes, and fewer where they take too much room in an answer of that length. A character is not cut,
    /// unless the job has ended within it.
    pub(crate) fn of(job: &Job, is_over: bool, from: From, most: usize) -> Result<Self> {
        let mut output = job.directory.output().map_err(trouble)?;
        let Part { offset, bytes, written } = output.read(from, most).map_err(trouble)?;
        let length = |bytes: usize| u64::try_from(bytes).unwrap_or(u64::MAX);
        // Twice of it is let pass as it is; less is for what else is in the answer.
        let room = most.saturating_mul(2).saturating_sub(OTHER_BYTES);
        let (bytes, offset) = if from == From::Tail {
            let fitting = fitting(bytes.iter().rev(), room);
            let (gone, last) = bytes.split_at(bytes.len() - fitting);
            (last, offset + length(gone.len()))
        } else {
            (bytes.get(..fitting(bytes.iter(), room)).unwrap_or_default(), offset)
        };
        let skipped = if from == From::Tail && offset > 0 { continued(bytes) } else { 0 };
        let rest = bytes.get(skipped..).unwrap_or_default();
        let is_all = is_over && offset + length(bytes.len()) >= written;
        let left = if is_all { 0 } else { unfinished(rest) };
        let rest = rest.get(..rest.len() - left).unwrap_or_default();
        let from = offset + length(skipped);
        Ok(Self { text: String::from_utf8_lossy(rest).into_owned(), from, to: from + length(rest.len()) })
    }
}

/// How many of these bytes fit, as a string of JSON in which each may be damaged UTF-8 by itself (RFC 8259, section 7).
fn fitting<'a>(bytes: impl Iterator<Item = &'a u8>, mut room: usize) -> usize {
    let fits = |byte: &&u8| {
        let taken = match byte {
            b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 2,
            0x00..=0x1f => 6,
            0x80..=0xff => 3,
            _ => 1,
        };
        let fits = taken <= room;
        room = room.saturating_sub(taken);
        fits
    };
    bytes.take_while(fits).count()
}

/// Bytes at the beginning that continue a character of UTF-8.
fn continued(bytes: &[u8]) -> usize {
    bytes.iter().take(3).take_while(|byte| *byte & 0xc0 == 0x80).count()
}

/// Bytes at the end that begin a character of UTF-8 (RFC 3629, section 3).
fn unfinished(bytes: &[u8]) -> usize {
    for (place, byte) in bytes.iter().rev().take(3).enumerate() {
        let length = match byte {
            0x80..=0xbf => continue,
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            _ => return 0,
        };
        return if length > place + 1 { place + 1 } else { 0 };
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_are_not_cut() {
        for (text, cut) in [("a", "é"), ("", "漢"), ("é", "🦀")] {
            for length in 1..cut.len() {
                let bytes = [text.as_bytes(), &cut.as_bytes()[..length]].concat();
                assert_eq!(unfinished(&bytes), length, "{bytes:?}");
                assert_eq!(continued(&cut.as_bytes()[length..]), cut.len() - length);
            }
            assert_eq!(unfinished(cut.as_bytes()), 0);
        }
        assert_eq!((unfinished(&[0xff, 0x80]), unfinished(&[]), unfinished(&[0x80; 9])), (0, 0, 0));
    }
}
