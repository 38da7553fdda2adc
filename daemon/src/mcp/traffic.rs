//! Whether a client has the daemon for itself, so that it may use all of it.

use std::sync::{Mutex, PoisonError};
use tokio::time::{Duration, Instant};
use uuid::Uuid;

/// A client counts as active for that long after a request: it must not meet a flood anew with every call.
const ACTIVE_FOR: Duration = Duration::from_secs(10);

/// The two clients that were active last.
#[derive(Default)]
pub(crate) struct Traffic(Mutex<[Option<(Uuid, Instant)>; 2]>);

impl Traffic {
    /// Notes a request; true if nobody else made one lately.
    pub(super) fn note(&self, session: Uuid, now: Instant) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let [newest, other] = &mut *last;
        if newest.is_some_and(|(known, _)| known != session) {
            *other = *newest;
        }
        *newest = Some((session, now));
        other.is_none_or(|(known, at)| known == session || at + ACTIVE_FOR <= now)
    }

    /// A client left.
    pub(super) fn forget(&self, session: Uuid) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for entry in last.iter_mut().filter(|entry| entry.is_some_and(|(known, _)| known == session)) {
            *entry = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_clients_know_of_each_other_for_a_while() {
        let traffic = Traffic::default();
        let (one, two) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let start = Instant::now();
        assert!(traffic.note(one, start) && traffic.note(one, start));
        assert!(!traffic.note(two, start) && !traffic.note(one, start) && !traffic.note(one, start));
        let later = start + ACTIVE_FOR;
        assert!(traffic.note(one, later) && !traffic.note(two, later));
        traffic.forget(two);
        assert!(traffic.note(one, later));
    }
}
