//! Certificates that one command trusts besides those of the host, as a file of its view and of no other.

use super::view;
use skynet_sandbox::places::CERTIFICATES;
use std::{
    fs::{self, File},
    io::{self, Read as _},
    os::fd::OwnedFd,
    path::Path,
};

/// Of the file. A host trusts some hundred authorities, of about 2 kB each.
const MOST_BYTES: u64 = 2 << 20;

/// Puts them into the root to be.
pub(super) fn write(file: OwnedFd) -> io::Result<()> {
    let mut bytes = Vec::new();
    File::from(file).take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(io::Error::other("they are too large"));
    }
    fs::write(view::inside(Path::new(CERTIFICATES)), bytes)
}
