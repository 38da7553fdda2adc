//! Tools that look at the host, with the caller's own rights and nothing more. All but one change nothing: packages are changed by PackageKit,
//! where polkit lets the caller.

mod certificates;
mod change_packages;
mod check_certificates;
mod crontab;
mod describe;
mod diagnose_host;
mod diagnosis;
mod documents;
mod firewalls;
pub mod journal;
mod list_disks;
mod list_network;
mod list_packages;
mod list_processes;
mod list_schedules;
mod list_users;
mod logins;
mod packagekit;
mod packages;
mod process;
mod program;
mod read_journal;
mod show_firewall;
mod show_resources;
mod simulate_packages;
mod sockets;
pub mod systemd;

pub use documents::sources;

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
    .with(diagnose_host::SystemDiagnoseHost)
}

/// What is asked less often.
#[must_use]
pub fn more() -> Toolset {
    Toolset::new(
        "system_more",
        "more of this host: users and groups, scheduled tasks, firewall, certificates, packages",
    )
    .with(list_users::SystemListUsers)
    .with(list_schedules::SystemListSchedules)
    .with(check_certificates::SystemCheckCertificates)
    .with(show_firewall::SystemShowFirewall)
    .with(list_packages::SystemListPackages)
    .with(simulate_packages::SystemSimulatePackages)
    .with(change_packages::SystemChangePackages)
}

/// What of `/proc` this host does not show.
fn unreadable(what: &'static str) -> impl Fn(procfs::ProcError) -> Error {
    move |err| Error::unavailable(format!("{what} cannot be read on this host")).with_source(err)
}

/// In RFC 3339, UTC, without fractions.
fn timestamp(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map(|time| time.to_string()).unwrap_or_default()
}
