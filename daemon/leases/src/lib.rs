//! Leases on paths: a session says what it works on, and until it gives that back or its time is over, calls of other sessions
//! do not change it. Nobody is kept from reading. Which calls are judged, and when, is for the layer to say.

mod judge;
mod lease;
mod leases;

pub use lease::{Commands, Holder, Lease, Settings};
pub use leases::{Leases, MOST_SECONDS, Wanted};
