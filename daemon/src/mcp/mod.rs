//! MCP for one attached client: frames in, frames out, rmcp in between.

mod ask;
mod direct;
mod envelope;
mod files;
#[cfg(feature = "conformance")]
mod fixtures;
mod follow;
mod handler;
mod inbox;
mod listing;
mod names;
mod old_names;
mod outgoing;
mod prompts;
mod questions;
mod resources;
mod result;
mod retry;
mod server;
mod skills;
mod states;
mod subscriptions;
mod tasks;
mod traffic;
mod wire;

pub(crate) use envelope::is_answered;
pub(crate) use inbox::Inbox;
pub(crate) use outgoing::{Leaving, Outgoing};
pub(crate) use server::{Options, Server};
pub(crate) use traffic::{Traffic, Turns};
