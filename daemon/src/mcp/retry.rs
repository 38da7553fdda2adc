//! What becomes of a subscription whose file cannot be watched now: whether that is tried again, and when. The kind of the error
//! alone decides. Tries nothing itself.

use skynet_core::{ErrorKind, backoff};
use std::{collections::VecDeque, time::Duration};
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

/// Between attempts: doubled from the first to the last, and each made shorter or longer by chance. An attempt is a call that
/// counts and is recorded, so one that keeps failing is rare in the end.
const SHORTEST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(120);

/// Whether an error is one of this moment, after which the same may work.
pub(super) const fn passes(kind: ErrorKind) -> bool {
    match kind {
        // What is short, busy, slow or dead now may be there later; a defect may have been one of that moment too.
        ErrorKind::Conflict
        | ErrorKind::QuotaExceeded
        | ErrorKind::TimedOut
        | ErrorKind::Canceled
        | ErrorKind::Interrupted
        | ErrorKind::Unavailable
        | ErrorKind::Internal => true,
        // The next answer is the same one; and a human who is asked once is not asked again by a timer.
        ErrorKind::InvalidInput | ErrorKind::NotFound | ErrorKind::Denied | ErrorKind::NeedsConfirmation => {
            false
        }
    }
}

/// How long to wait after that many failures.
pub(super) fn wait(failures: u32) -> Duration {
    let [first, second, ..] = Uuid::new_v4().into_bytes();
    backoff(SHORTEST_WAIT, LONGEST_WAIT, failures, u16::from_ne_bytes([first, second]))
}

/// What is to be tried, and tried again where that may help. One after the other, so that a client with many files takes the
/// place of one call.
pub(super) struct Tries<T>(VecDeque<Try<T>>);

/// One of them.
pub(super) struct Try<T> {
    pub(super) what: T,
    failures: u32,
    due: Instant,
}

impl<T> Tries<T> {
    /// All of these, at once and in this order.
    pub(super) fn new(all: impl IntoIterator<Item = T>) -> Self {
        let due = Instant::now();
        Self(all.into_iter().map(|what| Try { what, failures: 0, due }).collect())
    }

    /// The next, once its time has come; `None` when none is left. Cancel-safe.
    pub(super) async fn next(&mut self) -> Option<Try<T>> {
        let due = self.0.iter().map(|one| one.due);
        // Of those with the same time, the first.
        let (place, due) = due.enumerate().min_by_key(|(_, due)| *due)?;
        sleep_until(due).await;
        self.0.remove(place)
    }

    /// Whether there is nothing left that was not tried once.
    pub(super) fn are_all_tried(&self) -> bool {
        self.0.iter().all(|one| one.failures > 0)
    }

    /// It failed, and is tried again after a while.
    pub(super) fn again(&mut self, tried: Try<T>) {
        let failures = tried.failures.saturating_add(1);
        self.0.push_back(Try { failures, due: Instant::now() + wait(failures), ..tried });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_and_what_stays_is_said_of_every_kind() {
        let table = [
            (ErrorKind::InvalidInput, false),
            (ErrorKind::NotFound, false),
            (ErrorKind::Conflict, true),
            (ErrorKind::Denied, false),
            (ErrorKind::NeedsConfirmation, false),
            (ErrorKind::QuotaExceeded, true),
            (ErrorKind::TimedOut, true),
            (ErrorKind::Canceled, true),
            (ErrorKind::Interrupted, true),
            (ErrorKind::Unavailable, true),
            (ErrorKind::Internal, true),
        ];
        assert_eq!(table.map(|(kind, _)| kind), ErrorKind::ALL);
        for (kind, expected) in table {
            assert_eq!(passes(kind), expected, "{kind}");
        }
    }

    #[test]
    fn waits_are_bounded_and_differ() {
        for failures in [1, 2, 9, u32::MAX] {
            let waits: Vec<Duration> = (0..64).map(|_| wait(failures)).collect();
            assert!(waits.iter().all(|wait| *wait >= SHORTEST_WAIT / 2), "{failures}");
            assert!(waits.iter().all(|wait| *wait <= LONGEST_WAIT.mul_f64(1.5)), "{failures}");
            assert!(waits.iter().any(|wait| *wait != waits[0]), "{failures}");
        }
        assert!(wait(u32::MAX) >= LONGEST_WAIT / 2);
    }

    #[tokio::test]
    async fn what_failed_waits_for_what_was_not_tried() {
        let mut tries = Tries::new(["a", "b"]);
        assert!(!tries.are_all_tried());
        let first = tries.next().await.unwrap();
        assert_eq!(first.what, "a");
        tries.again(first);
        assert!(!tries.are_all_tried(), "`b` is left");
        assert_eq!(tries.next().await.unwrap().what, "b");
        assert!(tries.are_all_tried());
        // Rather than waiting for it.
        tries.0[0].due = Instant::now();
        let again = tries.next().await.unwrap();
        assert_eq!((again.what, again.failures), ("a", 1));
        assert!(tries.next().await.is_none());
    }
}
