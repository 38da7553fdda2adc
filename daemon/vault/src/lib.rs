//! Secrets that a server keeps which speaks the API of HashiCorp Vault or OpenBao: read from its key/value engine, version 2,
//! anew each time, with a token of the daemon's that is renewed. Whose a secret is decides where it lies: a user's are below
//! a path that has his name in it, and no way leads out of there.
//!
//! Everything here waits for the network; callers do that where nobody else waits.

mod client;
pub mod place;
pub mod settings;
mod token;

pub use client::Vault;
pub use place::{Owner, Place};
pub use settings::Settings;

/// Why there is no value. Each message names the server or the setting.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration makes no sense, or a file that it names cannot be used.
    #[error("{0}")]
    Settings(String),
    /// What was asked for cannot be a place in a vault.
    #[error("{0}")]
    Invalid(String),
    /// The server does not answer, is sealed or fails, or does not know the daemon.
    #[error("{0}")]
    Unavailable(String),
    /// The server refuses to show this to the daemon, which it knows.
    #[error("{0}")]
    Denied(String),
    /// There is nothing of that name.
    #[error("{0}")]
    NotFound(String),
}

/// What every function here returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;
