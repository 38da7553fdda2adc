//! Notices that the database lost what it had promised to keep. sled takes whatever it can read of a damaged file for all there
//! was; so how many changes were promised is counted in the database, and beside it.
//!
//! The file is `<directory>.promised`: the number, 64 bits, and its CRC-32, both little-endian. It is written after the
//! change is durable, so it is never ahead of the database.

use crate::aside;
use std::{
    fs::{self, OpenOptions},
    io,
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

/// Names the table and its only key.
pub(crate) const PROMISES: &str = "promises";

/// The file.
pub(crate) struct Promises {
    path: PathBuf,
}

impl Promises {
    /// That of the database in `directory`.
    pub(crate) fn beside(directory: &Path) -> Self {
        let mut name = directory.as_os_str().to_owned();
        name.push(".promised");
        Self { path: name.into() }
    }

    /// Says what is missing in a database that counts `stored`; how many changes are promised from now on.
    pub(crate) fn compare(&self, stored: Option<&[u8]>) -> u64 {
        let missed = self.missed(stored);
        let stored = number(stored);
        if missed > 0 {
            tracing::error!(
                missed,
                "the state database lost changes that it had promised to keep: tokens, trust, choices of toolsets and tasks may be missing or as they were before; look at `skynetctl token list` and `skynetctl trust list`"
            );
        }
        self.note(stored);
        stored
    }

    /// How many changes a database that counts `stored` has lost.
    pub(crate) fn missed(&self, stored: Option<&[u8]>) -> u64 {
        let noted = match self.read() {
            Ok(noted) => noted,
            Err(err) => {
                tracing::warn!(path = %self.path.display(), error = %err, "whether the state database is whole is not known");
                None
            }
        };
        noted.unwrap_or(0).saturating_sub(number(stored))
    }

    /// Notes that so many changes are promised. Not synced: without it, nothing but the notice of a loss is lost.
    pub(crate) fn note(&self, promised: u64) {
        let bytes = promised.to_le_bytes();
        let line = [&bytes[..], &crc32fast::hash(&bytes).to_le_bytes()].concat();
        let write = || -> io::Result<()> {
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(false).mode(0o600);
            let file = options.open(&self.path).or_else(|_| {
                // What cannot be written here is no file of ours.
                if self.path.exists() {
                    aside::set(&self.path, "what should count the promises of the state database")?;
                }
                options.open(&self.path)
            })?;
            file.write_all_at(&line, 0)
        };
        if let Err(err) = write() {
            tracing::warn!(path = %self.path.display(), error = %err, "what the state database promises is not counted");
        }
    }

    /// `None` if there is none.
    fn read(&self) -> io::Result<Option<u64>> {
        let bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(err) => return Err(err),
        };
        let parts =
            bytes.split_first_chunk::<8>().and_then(|(count, rest)| Some((count, rest.first_chunk::<4>()?)));
        match parts {
            Some((count, crc)) if crc32fast::hash(count).to_le_bytes() == *crc => {
                Ok(Some(u64::from_le_bytes(*count)))
            }
            Some(_) | None => {
                Err(io::Error::new(io::ErrorKind::InvalidData, "it holds no number with its checksum"))
            }
        }
    }
}

fn number(stored: Option<&[u8]>) -> u64 {
    stored.and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes)
}
