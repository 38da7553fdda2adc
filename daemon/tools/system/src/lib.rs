//! Tools that look at the host, with the caller's own rights and nothing more. They change nothing.

mod describe;
pub mod journal;
mod list_disks;
mod list_network;
mod list_processes;
mod process;
mod read_journal;
mod show_resources;

use skynet_core::{Error, Toolset};

/// The system family.
#[must_use]
pub fn toolset() -> Toolset {
    Toolset::new(
        "system",
        "this host: hardware and system, CPU, memory, load, processes, network interfaces, ports, disks, journal",
    )
    .with(describe::SystemDescribe)
    .with(show_resources::SystemShowResources)
    .with(list_processes::SystemListProcesses)
    .with(list_network::SystemListNetwork)
    .with(list_disks::SystemListDisks)
    .with(read_journal::SystemReadJournal)
}

/// What of `/proc` this host does not show.
fn unreadable(what: &'static str) -> impl Fn(procfs::ProcError) -> Error {
    move |err| Error::unavailable(format!("{what} cannot be read on this host")).with_source(err)
}

/// In RFC 3339, UTC, without fractions.
fn timestamp(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map(|time| time.to_string()).unwrap_or_default()
}
