//! Taking the secrets of a caller out of what is written.

use bytes::Bytes;
use skynet_core::{Error, Result};
use skynet_secrets::{Keyring, Scanner};
use std::{borrow::Cow, sync::Arc};
use tokio::task::spawn_blocking;

/// A longer text is looked through where nobody else waits.
const SHORT_BYTES: usize = 256 << 10;

/// What looks for the secrets of a user.
///
/// # Errors
/// `Unavailable` when they cannot be read: then nothing could be kept free of them.
pub(crate) async fn scanner(keyring: &Arc<Keyring>, uid: u32) -> Result<Arc<Scanner>> {
    if let Some(scanner) = keyring.ready_scanner(uid) {
        return Ok(scanner);
    }
    let keyring = keyring.clone();
    let made = spawn_blocking(move || keyring.scanner(uid)).await;
    made.map_err(|err| Error::internal("reading secrets failed").with_source(err))?.map_err(|err| {
        Error::unavailable("secrets cannot be read, so nothing could be kept free of them").with_source(err)
    })
}

/// The text with marks in their place.
///
/// # Errors
/// `Internal` when looking fails by a defect.
pub(crate) async fn redact(scanner: &Arc<Scanner>, text: Bytes) -> Result<Bytes> {
    if text.len() <= SHORT_BYTES {
        return Ok(redact_now(scanner, text));
    }
    let scanner = scanner.clone();
    let looked = spawn_blocking(move || redact_now(&scanner, text)).await;
    looked.map_err(|err| Error::internal("looking for secrets failed").with_source(err))
}

fn redact_now(scanner: &Scanner, text: Bytes) -> Bytes {
    match scanner.redact(&text).bytes {
        Cow::Owned(redacted) => redacted.into(),
        Cow::Borrowed(_) => text,
    }
}

/// An error whose words tell none.
pub(crate) fn clean(mut err: Error, scanner: &Scanner) -> Error {
    let clean = |text: &str| String::from_utf8_lossy(&scanner.redact(text.as_bytes()).bytes).into_owned();
    err.message = clean(&err.message).into();
    err.source = err.source.map(|source| clean(&source.to_string()).into());
    err
}
