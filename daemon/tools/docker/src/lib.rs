//! The docker family: what a caller who may use the container engine does with it. Each call reaches it with his own rights
//! and no others.

mod apart;
mod build_image;
mod check_health;
mod control_container;
mod control_network;
mod control_volume;
mod copy_files;
mod diff_container;
mod exec_container;
mod list_containers;
mod list_images;
mod list_networks;
mod list_projects;
mod list_volumes;
mod load_images;
mod prune_unused;
mod pull_image;
mod push_image;
mod read_logs;
mod remove_container;
mod remove_image;
mod run_compose;
mod run_container;
mod save_images;
mod show_container;
mod show_engine;
mod show_image;
mod tag_image;
mod top_container;
mod update_container;
mod wait_container;
mod watch_events;
mod watch_stats;

use skynet_core::{CallCtx, Error, Kind, Result, Toolset};
use skynet_engine::{Engine, ImageName, registry_of};
use std::sync::Arc;

/// Why a human is asked about what reaches the host.
const REACHES_HOST: &str = "reaches the host from a container, which gives root's power";

/// Who runs commands of the exec family in containers of that engine.
#[must_use]
pub fn containers(engine: &Arc<Engine>) -> Arc<dyn skynet_exec::Containers> {
    Arc::new(apart::InEngine(engine.clone()))
}

/// The docker family.
#[must_use]
pub fn toolset(engine: &Arc<Engine>) -> Toolset {
    Toolset::new(
        "docker",
        "Docker and Podman: containers, logs, images, builds, networks, volumes, compose projects",
    )
    // What a container does to the rest of the host, its own events and files tell.
    .altering(Kind::OF_ENGINE)
    .with(build_image::DockerBuildImage(engine.clone()))
    .with(check_health::DockerCheckHealth(engine.clone()))
    .with(control_container::DockerControlContainer(engine.clone()))
    .with(control_network::DockerControlNetwork(engine.clone()))
    .with(control_volume::DockerControlVolume(engine.clone()))
    .with(copy_files::DockerCopyFiles(engine.clone()))
    .with(exec_container::DockerExecContainer(engine.clone()))
    .with(list_containers::DockerListContainers(engine.clone()))
    .with(list_images::DockerListImages(engine.clone()))
    .with(list_networks::DockerListNetworks(engine.clone()))
    .with(top_container::DockerTopContainer(engine.clone()))
    .with(list_projects::DockerListProjects(engine.clone()))
    .with(list_volumes::DockerListVolumes(engine.clone()))
    .with(load_images::DockerLoadImages(engine.clone()))
    .with(prune_unused::DockerPruneUnused(engine.clone()))
    .with(pull_image::DockerPullImage(engine.clone()))
    .with(push_image::DockerPushImage(engine.clone()))
    .with(read_logs::DockerReadLogs(engine.clone()))
    .with(remove_container::DockerRemoveContainer(engine.clone()))
    .with(remove_image::DockerRemoveImage(engine.clone()))
    .with(run_compose::DockerRunCompose(engine.clone()))
    .with(run_container::DockerRunContainer(engine.clone()))
    .with(save_images::DockerSaveImages(engine.clone()))
    .with(diff_container::DockerDiffContainer(engine.clone()))
    .with(show_container::DockerShowContainer(engine.clone()))
    .with(show_engine::DockerShowEngine(engine.clone()))
    .with(show_image::DockerShowImage(engine.clone()))
    .with(tag_image::DockerTagImage(engine.clone()))
    .with(update_container::DockerUpdateContainer(engine.clone()))
    .with(wait_container::DockerWaitContainer(engine.clone()))
    .with(watch_events::DockerWatchEvents(engine.clone()))
    .with(watch_stats::DockerWatchStats(engine.clone()))
}

/// What a secret says of whoever is known to the registry of an image.
async fn registry_credentials(
    ctx: &CallCtx,
    image: &ImageName,
    secret: Option<&str>,
) -> Result<Option<(String, String)>> {
    let Some(secret) = secret else { return Ok(None) };
    let value = ctx.secret(secret, &[registry_of(image)]).await?;
    let value = String::from_utf8(value).ok();
    let pair = value.as_deref().and_then(|value| value.trim().split_once(':'));
    let (user, password) = pair.ok_or_else(|| {
        Error::invalid_input(format!("the secret `{secret}` is not of the form `USER:PASSWORD`"))
    })?;
    Ok(Some((user.to_owned(), password.to_owned())))
}
