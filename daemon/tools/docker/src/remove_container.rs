//! Removes a container.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Place, Result, Subject, Tool};
use skynet_engine::{Engine, Name};
use std::sync::Arc;

pub(crate) struct DockerRemoveContainer(pub(crate) Arc<Engine>);

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Name or id.
    container: Name,
    /// Also one that runs.
    #[serde(default)]
    force: bool,
    /// Also its volumes that have no name.
    #[serde(default)]
    volumes: bool,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// What is gone.
    removed: String,
}

impl Tool for DockerRemoveContainer {
    const NAME: &'static str = "docker_remove_container";
    const SUMMARY: &'static str = "Remove a container and what it wrote; like docker rm.";
    const KEYWORDS: &'static str = "docker podman rm remove delete container | supprimer effacer conteneur";
    const EFFECT: Effect = Effect::Destroy;
    const PLACE: Place = Place::Daemon;
    type Input = Input;
    type Output = Output;

    fn changes(&self, input: &Input) -> Vec<Subject> {
        vec![Subject::Container(input.container.to_string())]
    }

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let client = self.0.client(ctx).await?;
        client.remove_container(&input.container, input.force, input.volumes).await?;
        Ok(Output { removed: input.container.to_string() })
    }
}
