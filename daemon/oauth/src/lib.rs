//! Access tokens of OAuth 2.1 (draft-ietf-oauth-v2-1) as a kind of secret: obtained by a login in a browser or by a code on another
//! device, renewed before they end, revoked when they are deleted. Who has which secret is kept by [`skynet_secrets`]; who may use
//! it, and where, is for others to say.
//!
//! No refresh token, and no secret of a client, ever leaves here but to the provider it is of.

mod answer;
mod device;
mod keeper;
mod login;
mod provider;
mod random;
mod web;

pub use device::DeviceCode;
pub use keeper::{AccessToken, Keeper};
pub use login::{Begun, Callback, Way, Wish};

/// Why there is no token. Each message names the provider or what would work; none holds a token.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What was asked for makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// The provider or its user refuses, with a code of RFC 6749, section 5.2, or RFC 8628, section 3.5.
    #[error("{reason}")]
    Refused {
        /// The code.
        code: String,
        /// In words, with the provider.
        reason: String,
    },
    /// Its user has to log in again.
    #[error("{0}")]
    LoginNeeded(String),
    /// The provider does not answer, or fails.
    #[error("{0}")]
    Unavailable(String),
    /// What is kept cannot be read or written.
    #[error("{0}")]
    Kept(#[from] skynet_secrets::Error),
}

/// What every function here returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;
