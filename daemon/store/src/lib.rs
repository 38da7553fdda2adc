//! What survives a restart: append-only ledgers for what must not be lost, content-addressed blobs, and sled
//! tables for what can be rebuilt. The only crate that knows sled.

pub mod aside;
pub mod blobs;
mod checkpoint;
mod database;
pub mod journal;
mod keys;
pub mod ledger;
mod note;
mod promises;
mod records;
mod retention;
mod room;
mod seal;
mod segment;
pub mod tables;
mod tail;
mod unsigned;
mod verify;

pub use blobs::Blobs;
pub use journal::Journal;
pub use keys::PublicKey;
pub use ledger::{Ledger, Position};
pub use records::Record;
pub use retention::Keep;
pub use room::Room;
pub use seal::Seal;
pub use tables::{Table, Tables};
pub use unsigned::Cadence;
pub use verify::{Signed, Verdict};

use std::{io, path::PathBuf};

/// Why something could not be stored or read back.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The filesystem refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// sled refused.
    #[error("state database: {0}")]
    Table(#[from] sled::Error),
    /// A record is not what it should be.
    #[error("{0}")]
    Corrupt(String),
    /// A key is not as it must be.
    #[error("{0}")]
    Key(String),
    /// The disk of the ledger stopped taking writes earlier; nothing is accepted until a restart.
    #[error("the ledger stopped after a failed sync: {0}")]
    Stopped(String),
}

impl Error {
    /// Whether there is simply no space left.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        let (Self::Io { source, .. } | Self::Table(sled::Error::Io(source))) = self else { return false };
        matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }
}

/// What every function here returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Names the path an I/O error happened on.
fn at(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Io { path: path.into(), source }
}
