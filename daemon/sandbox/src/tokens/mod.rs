//! Bearer tokens for clients that come by HTTP to a daemon of the whole host. The broker makes, keeps and ends them itself,
//! and the daemon has no part in it: it only learns whether a secret that it was shown is one, and whose.

pub(crate) mod account;
pub(crate) mod book;
pub(crate) mod desk;
mod origin;
