//! Everything below the socket: each tool and each layer through the pipeline.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]

mod cache;
mod catalog;
mod commands;
mod docker;
mod every;
mod files;
mod git;
mod grants;
mod hands;
mod leases;
mod packages;
mod pipeline;
mod policy;
mod skynet;
mod state;
mod system;
