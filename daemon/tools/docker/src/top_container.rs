//! Lists what runs in a container.

use schemars::JsonSchema;
use serde::Deserialize;
use skynet_core::{CallCtx, Effect, Place, Result, Tool};
use skynet_engine::{Engine, Name, Processes};
use std::sync::Arc;

pub(crate) struct DockerTopContainer(pub(crate) Arc<Engine>);

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Name or id of one that runs.
    container: Name,
}

impl Tool for DockerTopContainer {
    const NAME: &'static str = "docker_top_container";
    const SUMMARY: &'static str = "List the processes inside a running container; like docker top.";
    const KEYWORDS: &'static str = "docker podman top processes inside container | dans conteneur";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Daemon;
    type Input = Input;
    type Output = Processes;

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Processes> {
        self.0.client(ctx).await?.list_processes(&input.container).await
    }
}
