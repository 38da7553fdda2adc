//! What the tests stand on: the pipeline in this process, and the real programs in a home of their own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::needless_pass_by_value,
    missing_docs,
    reason = "test support"
)]

pub mod authority;
pub mod components;
pub mod engine;
pub mod host;
pub mod machine;
pub mod packages;
pub mod polkit;
pub mod programs;
pub mod redis;
pub mod registry;
pub mod vault;
pub mod web;
pub mod workbench;
