//! Counts of what happened since the start, in the form of OpenMetrics 1.0. Names nobody and no place: who may read them need
//! not be allowed to read the audit log.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::{Registry, Unit},
};
use skynet_core::{Caller, Kind};
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// Upper bounds, in seconds: from an answer out of the cache to a build.
const BUCKETS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0, 60.0, 600.0];

/// How often, and for how long in all.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Count {
    /// Finished calls.
    pub calls: u64,
    /// Their durations added up.
    pub duration: Duration,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Finished {
    tool: &'static str,
    outcome: &'static str,
    user_class: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfTool {
    tool: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Looked {
    result: &'static str,
    kind: &'static str,
}

/// Calls by tool and outcome, and how often the cache had the answer.
pub struct Metrics {
    calls: Mutex<BTreeMap<(&'static str, &'static str), Count>>,
    finished: Family<Finished, Counter>,
    durations: Family<OfTool, Histogram, fn() -> Histogram>,
    cache: Family<Looked, Counter>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            calls: Mutex::default(),
            finished: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            cache: Family::default(),
        }
    }
}

impl Metrics {
    /// Adds one finished call.
    pub fn record(&self, tool: &'static str, outcome: &'static str, caller: &Caller, took: Duration) {
        {
            let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
            let count = calls.entry((tool, outcome)).or_default();
            count.calls += 1;
            count.duration += took;
        }
        let user_class = user_class(caller);
        self.finished.get_or_create(&Finished { tool, outcome, user_class }).inc();
        self.durations.get_or_create(&OfTool { tool }).observe(took.as_secs_f64());
    }

    /// Adds one look into the cache.
    pub(crate) fn looked_into_cache(&self, kind: Kind, is_hit: bool) {
        let result = if is_hit { "hit" } else { "miss" };
        self.cache.get_or_create(&Looked { result, kind: kind.as_str() }).inc();
    }

    /// Lists them where they are read from.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("calls", "Finished calls of tools", self.finished.clone());
        registry.register_with_unit(
            "call_duration",
            "How long calls took, all layers and a human's answer included",
            Unit::Seconds,
            self.durations.clone(),
        );
        registry.register(
            "cache_lookups",
            "Calls whose answers may come out of the cache",
            self.cache.clone(),
        );
    }

    /// All counts, ordered by tool and outcome.
    #[must_use]
    pub fn snapshot(&self) -> Vec<(&'static str, &'static str, Count)> {
        let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.iter().map(|((tool, outcome), count)| (*tool, *outcome, *count)).collect()
    }
}

/// Who called, as far as numbers of all may tell: by HTTP, as root, or as anybody else.
fn user_class(caller: &Caller) -> &'static str {
    match caller {
        Caller { token: Some(_), .. } => "token",
        Caller { uid: 0, .. } => "root",
        _ => "user",
    }
}
