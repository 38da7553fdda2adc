//! The real programs together: daemon, shims, hands and skynetctl, each in a home of its own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::needless_pass_by_value,
    missing_docs,
    reason = "tests"
)]

mod backup;
mod book;
mod cache;
mod clients;
mod commands;
mod crowd;
mod ctl;
mod daemon;
mod damage;
mod desktop;
mod dialogs;
mod disk;
mod environment;
mod escapes;
mod golden;
mod headers;
mod host;
mod hostile;
mod http;
mod image;
mod jobs;
mod knowledge;
mod leases;
mod memory;
mod metrics;
mod models;
mod network;
mod oauth;
mod offers;
mod preview;
mod projects;
mod protocol;
mod relay;
mod reload;
mod remotes;
mod restart;
mod rounds;
mod rust_client;
mod sandbox;
mod sdk;
mod secrets;
mod setup;
mod subscriptions;
mod suites;
mod toolchains;
mod undo;
mod v1;
mod vault;
