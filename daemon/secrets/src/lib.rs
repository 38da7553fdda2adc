//! Secrets of the people whose agents skynetd serves: kept encrypted ([`Secrets`]), named instead of shown
//! ([`Reference`]), taken out of what is written to anybody ([`Scanner`]), and encrypted files of environment
//! variables ([`Environment`]). Entries that can be forgotten for good are kept in the same way ([`SealedEntries`]). It decides nothing: who may use which secret, and where, is for the layers to say.

mod cipher;
mod document;
mod dotenv;
pub mod environment;
mod forms;
pub mod grant;
pub mod key;
mod keyring;
mod learned;
pub mod name;
mod patterns;
mod purpose;
mod record;
pub mod reference;
pub mod scan;
mod sealed;
mod spread;
pub mod store;

pub use environment::{Environment, Variable};
pub use grant::{Grant, Held, Renewal, Terms};
pub use key::MasterKey;
pub use keyring::Keyring;
pub use learned::Named;
pub use name::Name;
pub use purpose::{Git, Purpose};
pub use reference::Reference;
pub use scan::{Redacted, Scanner, has_mark};
pub use sealed::{LONGEST_ENTRY, SealedEntries, SealedEntry};
pub use store::{Existing, Metadata, Secrets};

use std::{io, path::PathBuf};

/// Why something could not be kept, read back or looked for. No message holds a value.
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
    /// The file that holds the master key is not as it must be.
    #[error("the master key `{}` is not used: {reason}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// What was given is no name, value, host or line.
    #[error("{0}")]
    Invalid(String),
    /// A line of a file of variables is wrong.
    #[error("line {line}: {reason}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// There is a secret of that name already.
    #[error("there is a secret `{0}` already; rotate it, or replace it explicitly")]
    Exists(Name),
    /// There is none of that name.
    #[error("there is no secret `{0}`")]
    NotFound(Name),
    /// What was to be changed is another since.
    #[error("the secret `{0}` was replaced meanwhile")]
    Replaced(Name),
    /// A secret is there and cannot be read; the others are not affected.
    #[error("the secret `{name}` cannot be read: {reason}")]
    Damaged {
        /// Of the secret, or of the file if that is no name.
        name: String,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// A variable of an encrypted file cannot be decrypted.
    #[error("`{name}` cannot be decrypted: {reason}")]
    Sealed {
        /// Of the variable.
        name: String,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// The kernel gives no random bytes.
    #[error("the kernel gives no random bytes: {0}")]
    Random(getrandom::Error),
    /// Too much to look for, or a pattern that is none.
    #[error("no scanner can be built: {0}")]
    Scanner(String),
}

/// What every function here returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Names the path an I/O error happened on.
fn at(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Io { path: path.into(), source }
}
