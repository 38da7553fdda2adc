//! The automation of the project: `cargo xtask COMMAND`. One file per command.
#![allow(
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a command-line program; JSON values index to null"
)]

mod account;
mod bench;
mod book;
mod build;
mod capacity;
mod changelog;
mod coverage;
mod crowd;
mod docs;
#[cfg(feature = "product")]
mod embedding;
mod environment;
mod figures;
mod fuzz;
mod guest;
mod host;
#[cfg(feature = "product")]
mod indexes;
#[cfg(feature = "product")]
mod layers;
mod mcp;
mod package;
mod peers;
mod processes;
#[cfg(feature = "product")]
mod random;
#[cfg(feature = "product")]
mod retrieval;
#[cfg(feature = "product")]
mod service;
mod shell;
mod soak;
#[cfg(feature = "product")]
mod spawns;
mod test;
mod tidy;
mod torture;
mod trees;
mod up;

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::path::PathBuf;

/// Automation of the Skynet project.
#[derive(Parser)]
#[command(bin_name = "cargo xtask", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install what is missing, build, install Skynet, start the daemon and show a live session.
    Up(up::Options),
    /// Run all tests. As root: install the test components first and run the tests as an unprivileged account.
    Test(test::Options),
    /// Install the components that tests and benchmarks need.
    #[command(subcommand)]
    Env(environment::Command),
    /// Check the rules of the house that no compiler checks.
    Tidy,
    /// Write docs/tools.md from the tools; with `--check`, fail if it is stale.
    Docs {
        /// Change nothing.
        #[arg(long)]
        check: bool,
    },
    /// Compare with other MCP servers, or the sandbox with its likes, side by side.
    Bench(bench::Options),
    /// Connect a thousand clients, of one user or, as root, of many: memory of an idle one, every call answered, fairness beside a flood.
    Crowd(crowd::Options),
    /// Kill daemon, broker and hands again and again under load, cut off what was not synced, and pipeline 20,000 calls.
    Torture(torture::Options),
    /// Feed the readers of foreign bytes with whatever breaks them; needs a nightly compiler.
    Fuzz(fuzz::Options),
    /// Run clients against one daemon for a long time, and see whether it grows.
    Soak(soak::Options),
    /// Measure which lines the tests run.
    Coverage,
    /// Make packages of what was built.
    Package(package::Options),
    /// Move the fragments in changelog.d into CHANGELOG.md, as the section of a release.
    Changelog(changelog::Options),
    /// Run the tests of a whole host in a virtual machine: with systemd, one hierarchy of control groups, and AppArmor.
    Guest(guest::Options),
}

fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::Up(options) => up::run(&options),
        Command::Test(options) => test::run(&options),
        Command::Env(command) => environment::run(&command),
        Command::Tidy => tidy::run(),
        Command::Docs { check } => docs::run(check),
        Command::Bench(options) => bench::run(&options),
        Command::Crowd(options) => crowd::run(&options),
        Command::Torture(options) => torture::run(&options),
        Command::Fuzz(options) => fuzz::run(&options),
        Command::Soak(options) => soak::run(&options),
        Command::Coverage => coverage::run(),
        Command::Package(options) => package::run(&options),
        Command::Changelog(options) => changelog::run(&options),
        Command::Guest(options) => guest::run(&options),
    }
}

/// Names a copy of what packages are made of, for tests that may not enter the checkout.
const SOURCE: &str = "SKYNET_SOURCE";

/// The top of the checkout.
fn root() -> PathBuf {
    if let Some(source) = std::env::var_os(SOURCE) {
        return source.into();
    }
    let manifest = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().map_or(manifest.clone(), PathBuf::from)
}
