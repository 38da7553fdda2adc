//! The way out of a slot. A command has a network namespace with nothing in it but a loopback interface; the slot
//! listens there on behalf of the daemon, which answers at those listeners with what is in here: a forward proxy that
//! connects to what was granted ([`Gateway`]), and a [`relay`] to one place.

mod address;
mod gateway;
mod grant;
mod relay;
mod request;

pub use address::is_public;
pub use gateway::Gateway;
pub use grant::Grant;
pub use ipnet::IpNet;
pub use relay::{Way, relay};

/// Connections of one slot at a time, at each of its listeners; more wait.
const MOST_CONNECTIONS: usize = 256;
