//! How long to wait before something that failed is tried again. Waits for nothing itself.

use std::time::Duration;

/// How long to wait after that many failures: each time twice as long as before, and half of it by chance, so that many who
/// failed together do not come back together.
#[must_use]
pub fn backoff(shortest: Duration, longest: Duration, failures: u32, chance: u16) -> Duration {
    let doubled = shortest.saturating_mul(1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX));
    doubled.min(longest).mul_f64(0.5 + f64::from(chance) / f64::from(u16::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_limit_and_differ() {
        let (second, minutes) = (Duration::from_secs(1), Duration::from_secs(300));
        let wait = |failures, chance| backoff(second, minutes, failures, chance);
        assert_eq!(wait(1, 0), second / 2);
        assert_eq!(wait(3, 0), second * 2);
        assert_eq!(wait(4, u16::MAX), second * 12);
        assert_eq!(wait(90, u16::MAX), minutes.mul_f64(1.5));
    }
}
