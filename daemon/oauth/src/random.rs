//! Random numbers: those that nobody may guess, and those that keep many from doing the same at once.

use crate::Result;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use std::time::Duration;

/// Of what nobody may guess: RFC 7636, section 7.1.
const UNGUESSED_BYTES: usize = 32;

/// A text of 43 letters, digits, `-` and `_` that nobody guesses.
///
/// # Errors
/// When the kernel has no random bytes.
pub(crate) fn unguessed() -> Result<String> {
    let mut bytes = [0; UNGUESSED_BYTES];
    getrandom::fill(&mut bytes).map_err(skynet_secrets::Error::Random)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// A random number; without the kernel's, all wait equally long, which works too.
pub(crate) fn chance() -> u16 {
    let mut bytes = [0; 2];
    let _ = getrandom::fill(&mut bytes);
    u16::from_ne_bytes(bytes)
}

/// How long to wait after that many failures: each time twice as long as before, and half of it by chance.
pub(crate) fn backoff(shortest: Duration, longest: Duration, failures: u32, chance: u16) -> Duration {
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
        assert_ne!(unguessed().unwrap(), unguessed().unwrap());
        assert_eq!(unguessed().unwrap().len(), 43);
    }
}
