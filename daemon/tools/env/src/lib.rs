//! The env family: what a project is made of, new projects and environments, and its package managers, test runners, linters and
//! formatters, each in a slot of the sandbox and with answers in one shape whatever the ecosystem.

mod audit;
mod create;
mod create_project;
mod format;
mod install;
mod lint;
mod list;
mod list_outdated;
mod list_registries;
mod manager;
mod registries;
mod report;
mod scan;
mod show_project;
mod templates;
mod test;
mod work;

use skynet_core::Toolset;
use skynet_exec::Host;
use std::sync::Arc;

/// What of it is done in hands: reading a project and what package managers are told, and writing a new project.
#[must_use]
pub fn in_hands() -> Toolset {
    Toolset::new(
        "env",
        "projects and their environments: what a project is, create one, virtual environments, dependencies, tests, linters, formatters",
    )
    .with(show_project::EnvShowProject)
    .with(list::EnvList)
    .with(list_registries::EnvListRegistries)
    .with(create_project::EnvCreateProject)
}

/// All of it.
#[must_use]
pub fn toolset(host: &Arc<Host>) -> Toolset {
    in_hands()
        .with(create::EnvCreate(host.clone()))
        .with(install::EnvInstall(host.clone()))
        .with(list_outdated::EnvListOutdated(host.clone()))
        .with(audit::EnvAudit(host.clone()))
        .with(test::EnvTest(host.clone()))
        .with(lint::EnvLint(host.clone()))
        .with(format::EnvFormat(host.clone()))
}
