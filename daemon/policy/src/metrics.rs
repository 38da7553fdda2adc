//! Counts of what happened since the start.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// How often, and for how long in all.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Count {
    /// Finished calls.
    pub calls: u64,
    /// Their durations added up.
    pub duration: Duration,
}

/// Calls by tool and outcome.
#[derive(Default)]
pub struct Metrics {
    calls: Mutex<BTreeMap<(&'static str, &'static str), Count>>,
}

impl Metrics {
    /// Adds one finished call.
    pub fn record(&self, tool: &'static str, outcome: &'static str, took: Duration) {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let count = calls.entry((tool, outcome)).or_default();
        count.calls += 1;
        count.duration += took;
    }

    /// All counts, ordered by tool and outcome.
    #[must_use]
    pub fn snapshot(&self) -> Vec<(&'static str, &'static str, Count)> {
        let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.iter().map(|((tool, outcome), count)| (*tool, *outcome, *count)).collect()
    }
}
