//! Answers as they lie in a Redis: XChaCha20-Poly1305 with a key that is made with the daemon's start and kept nowhere. So whoever may
//! read the Redis learns nothing, and whoever may write to it cannot answer in the daemon's stead.
//!
//! ```text
//! 24 bytes  nonce, random (draft-irtf-cfrg-xchacha-03, section 1)
//! rest      sealed: until when it counts, milliseconds since the start, 64 bits, big-endian; JSON
//! ```

use crate::{Error, Result};
use bytes::Bytes;
use chacha20poly1305::{
    KeyInit as _, XChaCha20Poly1305, XNonce,
    aead::{Aead as _, Payload},
};

/// draft-irtf-cfrg-xchacha-03, section 2.
const NONCE_BYTES: usize = 24;

/// RFC 8439, section 2.3.
const KEY_BYTES: usize = 32;

pub(crate) struct Seal(XChaCha20Poly1305);

impl Seal {
    /// With a new key.
    ///
    /// # Errors
    /// When the kernel has no random bytes.
    pub(crate) fn new() -> Result<Self> {
        let mut key = [0; KEY_BYTES];
        fill(&mut key)?;
        Ok(Self(XChaCha20Poly1305::new((&key).into())))
    }

    /// Bound to `context`, which is not stored.
    ///
    /// # Errors
    /// When the kernel has no random bytes.
    pub(crate) fn close(&self, context: &[u8], until: u64, json: &Bytes) -> Result<Vec<u8>> {
        let mut nonce = [0; NONCE_BYTES];
        fill(&mut nonce)?;
        let plain = [&until.to_be_bytes()[..], json].concat();
        let sealed = self.0.encrypt(&XNonce::from(nonce), Payload { msg: &plain, aad: context });
        // RFC 8439, section 2.8: only more than 256 GiB cannot be encrypted.
        let sealed = sealed.map_err(|_| Error("an answer is too long to be sealed".into()))?;
        Ok([&nonce[..], &sealed].concat())
    }

    /// What was sealed for the same context and still counts at `now`; `None` for anything else.
    pub(crate) fn open(&self, context: &[u8], now: u64, sealed: &[u8]) -> Option<Bytes> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_BYTES>()?;
        let plain = self.0.decrypt(&XNonce::from(*nonce), Payload { msg: sealed, aad: context }).ok()?;
        let (until, json) = plain.split_first_chunk::<8>()?;
        (u64::from_be_bytes(*until) > now).then(|| Bytes::copy_from_slice(json))
    }
}

fn fill(bytes: &mut [u8]) -> Result<()> {
    getrandom::fill(bytes).map_err(|err| Error(format!("the kernel has no random bytes: {err}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_this_daemon_sealed_for_that_place_and_time_counts() {
        let seal = Seal::new().unwrap();
        let json = Bytes::from_static(b"{\"containers\":[]}");
        let sealed = seal.close(b"here", 10, &json).unwrap();
        assert!(!sealed.windows(10).any(|part| part == b"containers"));
        assert_eq!(seal.open(b"here", 9, &sealed), Some(json));
        assert_eq!(seal.open(b"here", 10, &sealed), None);
        assert_eq!(seal.open(b"there", 9, &sealed), None);
        assert_eq!(Seal::new().unwrap().open(b"here", 9, &sealed), None);
        assert_eq!(seal.open(b"here", 9, b"{}"), None);
    }
}
