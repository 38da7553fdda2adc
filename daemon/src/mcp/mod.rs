//! MCP for one attached client: frames in, frames out, rmcp in between.

mod ask;
mod envelope;
mod handler;
mod inbox;
mod result;
mod wire;

pub(crate) use handler::Server;
pub(crate) use inbox::{Inbox, Leaving};
