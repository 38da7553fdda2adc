//! The docker family: what a caller who may use the container engine does with it. Each call reaches it with his own rights
//! and no others.

mod control_container;
mod list_containers;
mod read_logs;
mod show_container;

use skynet_core::Toolset;
use skynet_engine::Engine;
use std::sync::Arc;

/// Why a human is asked about what reaches the host.
const REACHES_HOST: &str = "reaches the host from a container, which gives root's power";

/// The docker family.
#[must_use]
pub fn toolset(engine: &Arc<Engine>) -> Toolset {
    Toolset::new(
        "docker",
        "Docker and Podman: containers, logs, images, builds, networks, volumes, compose projects",
    )
    .with(list_containers::DockerListContainers(engine.clone()))
    .with(show_container::DockerShowContainer(engine.clone()))
    .with(read_logs::DockerReadLogs(engine.clone()))
    .with(control_container::DockerControlContainer(engine.clone()))
}
