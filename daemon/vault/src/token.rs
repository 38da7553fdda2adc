//! The daemon's token, and when to renew it.

use std::time::{Duration, Instant};
use zeroize::Zeroizing;

/// How long to wait where nothing says otherwise: before a server that did not answer is asked again.
const RETRY: Duration = Duration::from_secs(15);

/// A lease that is shorter is renewed no sooner.
const SHORTEST_WAIT: Duration = Duration::from_secs(1);

/// A timer that waits longer than a day would only be wrong after a clock was set.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 3600);

/// What shows who the daemon is.
#[derive(Clone)]
pub(crate) struct Token {
    pub(crate) text: Zeroizing<String>,
    /// How long it counts from `since`; zero for one without end.
    pub(crate) lease: Duration,
    /// When the lease began.
    pub(crate) since: Instant,
    pub(crate) is_renewable: bool,
    /// The lease it came with. One that is renewed for much less is about to end for good.
    pub(crate) first_lease: Duration,
}

/// What to do about a token, and when.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// It has no end.
    Nothing,
    Renew(Duration),
    /// It cannot be renewed, or hardly: another is needed.
    Replace(Duration),
}

impl Token {
    /// What is next, seen from now. `chance` is any number: so that many daemons that started together do not ask together.
    pub(crate) fn next(&self, now: Instant, chance: u16) -> Next {
        if self.lease.is_zero() {
            return Next::Nothing;
        }
        // Between half and two thirds of the lease, so that a server that is away for a while is no harm.
        let share = 0.5 + f64::from(chance) / f64::from(u16::MAX) / 6.0;
        let passed = now.saturating_duration_since(self.since);
        let wait = self.lease.mul_f64(share).saturating_sub(passed).clamp(SHORTEST_WAIT, LONGEST_WAIT);
        // A lease is cut where the longest life of a token ends.
        if self.is_renewable && self.lease * 2 >= self.first_lease {
            Next::Renew(wait)
        } else {
            Next::Replace(wait)
        }
    }
}

/// When to ask a server again that did not answer.
pub(crate) fn retry_after(chance: u16) -> Duration {
    RETRY.mul_f64(0.5 + f64::from(chance) / f64::from(u16::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(lease_seconds: u64, is_renewable: bool) -> Token {
        let lease = Duration::from_secs(lease_seconds);
        let text = Zeroizing::new("t".to_owned());
        Token { text, lease, since: Instant::now(), is_renewable, first_lease: lease }
    }

    #[test]
    fn a_token_is_renewed_in_the_second_half_of_its_lease_and_not_at_once_by_all() {
        let seconds = Duration::from_secs;
        let one = token(1000, true);
        let at = |passed, chance| one.next(one.since + seconds(passed), chance);
        assert_eq!(at(0, 0), Next::Renew(seconds(500)));
        let Next::Renew(latest) = at(0, u16::MAX) else { panic!() };
        assert_eq!(latest.as_secs(), 666);
        assert_eq!(at(400, u16::MAX), Next::Renew(latest - seconds(400)));
        assert_eq!(at(5000, 0), Next::Renew(SHORTEST_WAIT), "one that is late is renewed soon");
        assert_eq!(token(0, true).next(Instant::now(), 7), Next::Nothing);
        assert!(matches!(token(1000, false).next(Instant::now(), 7), Next::Replace(_)));
        assert!(matches!(token(1 << 40, true).next(Instant::now(), 7), Next::Renew(LONGEST_WAIT)));
        let mut ending = one.clone();
        ending.lease = seconds(499);
        assert!(matches!(ending.next(ending.since, 7), Next::Replace(_)));
        assert_ne!(retry_after(0), retry_after(u16::MAX));
    }
}
