//! What files hold: read and compared.

use sha2::{Digest as _, Sha256};
use skynet_core::{Error, RelativePath, Result, canonical::hex, error::IoContext as _};
use std::{fs::File, io::Read as _};

/// Reads a whole file of at most `limit` bytes.
pub(crate) fn read_all(file: &mut File, limit: u64, path: &RelativePath) -> Result<Vec<u8>> {
    let size = file.metadata().on(path)?.len();
    if size > limit {
        return Err(Error::invalid_input(format!(
            "`{path}` has {size} bytes; this tool takes at most {limit}"
        )));
    }
    let mut content = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
    file.take(limit).read_to_end(&mut content).on(path)?;
    Ok(content)
}

/// SHA-256, lower-case hex.
pub(crate) fn digest(content: &[u8]) -> String {
    hex(&Sha256::digest(content))
}

/// Refuses a change of a file that is not what the caller saw.
pub(crate) fn check_expected(
    expected: Option<&str>,
    content: Option<&[u8]>,
    path: &RelativePath,
) -> Result<()> {
    let Some(expected) = expected else { return Ok(()) };
    match content.map(digest) {
        Some(found) if found.eq_ignore_ascii_case(expected) => Ok(()),
        Some(found) => Err(Error::conflict(format!(
            "`{path}` was changed since you read it: its sha256 is {found}; read it again"
        ))),
        None => Err(Error::conflict(format!(
            "`{path}` does not exist (any more), but `expected_sha256` was given"
        ))),
    }
}
