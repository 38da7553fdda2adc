//! Those who want a token of one grant, and what came of the last attempt to get one. It asks nobody.

use super::lock;
use crate::{Error, random::chance};
use skynet_core::backoff;
use skynet_secrets::Renewal;
use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use tokio::sync::Mutex as Turn;

/// A provider that did not answer is not asked again so soon for the next command.
const PATIENCE: Duration = Duration::from_secs(5);

/// Between attempts that nobody waits for.
const SHORTEST_RETRY: Duration = Duration::from_secs(5);
const LONGEST_RETRY: Duration = Duration::from_secs(15 * 60);

/// Of one grant.
#[derive(Default)]
pub(super) struct Line {
    /// Whose turn it is. Holds what a provider gave and the disk did not take: the refresh token before it counts no more.
    pub(super) turn: Arc<Turn<Option<Renewal>>>,
    pub(super) failed: Mutex<Option<Failed>>,
}

/// The last attempt, if it came to nothing.
#[derive(Clone)]
pub(super) struct Failed {
    at: Instant,
    retry_at: Instant,
    count: u32,
    kind: Kind,
    reason: String,
}

/// Of an error, for who asks again a moment later.
#[derive(Clone)]
enum Kind {
    Refused { code: String },
    LoginNeeded,
    Unavailable,
}

impl Line {
    pub(super) fn note(&self, err: &Error) {
        let mut failed = lock(&self.failed);
        let count = failed.as_ref().map_or(0, |failed| failed.count).saturating_add(1);
        let at = Instant::now();
        let retry_at = at + backoff(SHORTEST_RETRY, LONGEST_RETRY, count, chance());
        let kind = match err {
            Error::Refused { code, .. } => Kind::Refused { code: code.clone() },
            Error::LoginNeeded(_) => Kind::LoginNeeded,
            Error::Invalid(_) | Error::Unavailable(_) | Error::Kept(_) => Kind::Unavailable,
        };
        *failed = Some(Failed { at, retry_at, count, kind, reason: err.to_string() });
    }

    /// Why it failed a moment ago.
    pub(super) fn recent(&self) -> Option<Error> {
        let Failed { kind, reason, .. } =
            lock(&self.failed).as_ref().filter(|one| one.at.elapsed() < PATIENCE)?.clone();
        Some(match kind {
            Kind::Refused { code } => Error::Refused { code, reason },
            Kind::LoginNeeded => Error::LoginNeeded(reason),
            Kind::Unavailable => Error::Unavailable(reason),
        })
    }

    /// How long nothing is tried that nobody waits for.
    pub(super) fn pause(&self) -> Duration {
        let retry_at = lock(&self.failed).as_ref().map(|failed| failed.retry_at);
        retry_at.map(|at| at.saturating_duration_since(Instant::now())).unwrap_or_default()
    }

    pub(super) fn is_paused(&self) -> bool {
        !self.pause().is_zero()
    }
}
