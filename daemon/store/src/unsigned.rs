//! What a ledger has written since its newest checkpoint, and when the next one is due.

use crate::{checkpoint, note::Noted, segment};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// How often a checkpoint is made while there are new records.
#[derive(Clone, Copy, Debug)]
pub struct Cadence {
    /// After that many.
    pub records: u64,
    /// That long after the first of them.
    pub interval: Duration,
}

impl Default for Cadence {
    /// Signing takes less than 0.1 ms, so neither costs anything; a forger has what was written within one of the two.
    fn default() -> Self {
        Self { records: 1000, interval: Duration::from_secs(60) }
    }
}

/// Records that no checkpoint covers.
#[derive(Default)]
pub(crate) struct Unsigned {
    records: u64,
    since: Option<Instant>,
    newest: Option<Arc<Noted>>,
}

impl Unsigned {
    /// Of a ledger that ends with that record.
    pub(crate) fn after(last: Option<&[u8]>) -> Self {
        let is_signed = last.is_none_or(|json| {
            segment::head_of(json).is_some_and(|head| head.members.starts_with(checkpoint::CHECKPOINT))
        });
        // How many there are does not matter: there is a checkpoint before the next record.
        Self { records: u64::from(!is_signed), ..Self::default() }
    }

    /// One more was written.
    pub(crate) fn count(&mut self, now: Instant) {
        self.records += 1;
        self.since.get_or_insert(now);
    }

    /// All that was written is covered by a checkpoint that was just written itself.
    pub(crate) fn signed(&mut self, checkpoint: Noted) {
        *self = Self { newest: Some(Arc::new(checkpoint)), ..Self::default() };
    }

    /// A checkpoint could not be written: the next try is one interval from now.
    pub(crate) fn put_off(&mut self, now: Instant) {
        self.since = Some(now);
    }

    /// Whether there is nothing to sign.
    pub(crate) const fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Whether there are as many as a checkpoint is made for. Only each time their number is a multiple, so that not
    /// every record on a full disk tries again.
    pub(crate) const fn are_many(&self, cadence: Cadence) -> bool {
        self.records > 0 && self.records.is_multiple_of(cadence.records)
    }

    /// How long until a checkpoint is due; `None` while nothing is to be signed.
    pub(crate) fn due_in(&self, cadence: Cadence) -> Option<Duration> {
        self.since.map(|since| cadence.interval.saturating_sub(since.elapsed()))
    }

    /// The newest checkpoint that was written since the ledger was opened.
    pub(crate) fn newest(&self) -> Option<Arc<Noted>> {
        self.newest.clone()
    }
}
