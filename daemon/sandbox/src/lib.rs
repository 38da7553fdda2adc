//! Slots: where commands run, behind every layer the kernel has. This library is the daemon's end of it ([`Slots`]), and
//! what daemon, broker and slots say to each other.
//!
//! The program `skynet-sandbox` is the broker. It has one thread and little memory, because a slot begins as a copy of
//! it; it keeps slots warm, hands them commands, and passes on how they ended.

pub mod agent;
pub mod channel;
mod client;
pub mod engine;
pub mod environment;
pub mod job;
pub mod peer;
pub mod places;
pub mod preview;
pub mod protocol;

pub use client::{Admission, Arrival, Command, Running, Slots, Standing, WARM, refusal};

/// Where a broker of the whole host accepts clients.
pub const SYSTEM_SOCKET: &str = "/run/skynet/skynet.sock";

/// Where it accepts its daemon.
pub const BROKER_SOCKET: &str = "/run/skynet/broker.sock";
