//! The way out of a slot. A command has a network namespace with nothing in it but a loopback interface; the slot
//! listens there on behalf of the daemon, which answers at those listeners with what is in here: a forward proxy that
//! connects to what was granted ([`Gateway`]), and a [`relay`] to one place. For hosts that get a header with a secret
//! ([`Adding`]), the proxy ends TLS itself: the command never sees the secret.

mod adding;
mod address;
mod authority;
mod ended;
mod gateway;
mod grant;
mod header;
mod relay;
mod request;

pub use adding::{Adding, Missing, Source};
pub use address::is_public;
pub use authority::{Roots, Unusable};
pub use gateway::Gateway;
pub use grant::Grant;
pub use header::{Header, Template};
pub use ipnet::IpNet;
pub use relay::{Way, relay};

/// Connections of one slot at a time, at each of its listeners; more wait.
const MOST_CONNECTIONS: usize = 256;
