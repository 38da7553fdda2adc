//! XChaCha20-Poly1305 with a random nonce before the ciphertext. Random nonces of 24 bytes do not meet
//! (draft-irtf-cfrg-xchacha-03, section 1), so nothing has to be counted.

use crate::{Error, MasterKey, Result};
use chacha20poly1305::{
    KeyInit as _, XChaCha20Poly1305, XNonce,
    aead::{Aead as _, Payload},
};
use zeroize::Zeroizing;

/// draft-irtf-cfrg-xchacha-03, section 2.
const NONCE_BYTES: usize = 24;

/// By how much what is sealed is longer than what it was: nonce and tag (RFC 8439, section 2.8).
pub(crate) const OVERHEAD_BYTES: usize = NONCE_BYTES + 16;

/// Encrypts `plain` and binds it to `context`, which is not stored; returns nonce, ciphertext and tag (16 bytes).
///
/// # Errors
/// `Random` when the kernel has no random bytes.
pub(crate) fn seal(key: &MasterKey, context: &[u8], plain: &[u8]) -> Result<Vec<u8>> {
    let mut nonce = [0; NONCE_BYTES];
    getrandom::fill(&mut nonce).map_err(Error::Random)?;
    let sealed = XChaCha20Poly1305::new(key.bytes().into())
        .encrypt(&XNonce::from(nonce), Payload { msg: plain, aad: context })
        // RFC 8439, section 2.8: only more than 256 GiB cannot be encrypted.
        .map_err(|_| Error::Invalid("this is too long to be encrypted".into()))?;
    Ok([&nonce[..], &sealed].concat())
}

/// Decrypts what `seal` returned for the same key and context; `None` if it is anything else.
pub(crate) fn open(key: &MasterKey, context: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (nonce, sealed) = sealed.split_first_chunk::<NONCE_BYTES>()?;
    XChaCha20Poly1305::new(key.bytes().into())
        .decrypt(&XNonce::from(*nonce), Payload { msg: sealed, aad: context })
        .ok()
        .map(Zeroizing::new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn only_the_same_key_context_and_bytes_open(
            plain in prop::collection::vec(any::<u8>(), 0..200),
            place in any::<prop::sample::Index>(),
            bit in 0..8_u32,
        ) {
            let key = MasterKey::from_bytes([7; 32]);
            let mut sealed = seal(&key, b"here", &plain).unwrap();
            prop_assert_eq!(sealed.len(), 24 + plain.len() + 16);
            prop_assert_eq!(&**open(&key, b"here", &sealed).unwrap(), &plain[..]);
            prop_assert!(open(&key, b"there", &sealed).is_none());
            prop_assert!(open(&MasterKey::from_bytes([8; 32]), b"here", &sealed).is_none());
            let place = place.index(sealed.len());
            prop_assert!(open(&key, b"here", &sealed[..place]).is_none());
            sealed[place] ^= 1_u8 << bit;
            prop_assert!(open(&key, b"here", &sealed).is_none());
        }
    }

    #[test]
    fn no_two_are_alike() {
        let key = MasterKey::from_bytes([7; 32]);
        assert_ne!(seal(&key, b"", b"same").unwrap(), seal(&key, b"", b"same").unwrap());
    }
}
