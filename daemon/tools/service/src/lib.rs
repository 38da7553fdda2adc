//! The service family: units of systemd over its bus (org.freedesktop.systemd1(5)), as the caller, so that polkit decides what
//! he may change. No command line is ever made.

mod cgroup;
mod control;
mod explain_failures;
mod list;
mod list_dependencies;
mod list_timers;
mod name;
mod reload_manager;
mod set_limits;
mod show;

use skynet_core::Toolset;

/// All of it.
#[must_use]
pub fn toolset() -> Toolset {
    Toolset::new(
        "service",
        "services, timers and other units of systemd: list, show, start, stop, enable, explain failures",
    )
    .with(list::ServiceList)
    .with(show::ServiceShow)
    .with(control::ServiceControl)
    .with(explain_failures::ServiceExplainFailures)
    .with(list_timers::ServiceListTimers)
    .with(list_dependencies::ServiceListDependencies)
    .with(set_limits::ServiceSetLimits)
    .with(reload_manager::ServiceReloadManager)
}
