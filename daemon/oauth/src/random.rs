//! Random numbers: those that nobody may guess, and those that keep many from doing the same at once.

use crate::Result;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_may_guess_differs() {
        assert_ne!(unguessed().unwrap(), unguessed().unwrap());
        assert_eq!(unguessed().unwrap().len(), 43);
    }
}
