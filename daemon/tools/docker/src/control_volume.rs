//! Makes and removes volumes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Place, Result, Tool};
use skynet_engine::{Engine, Name, Volume};
use std::sync::Arc;

pub(crate) struct DockerControlVolume(pub(crate) Arc<Engine>);

/// What is done with a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Action {
    /// Make it, or find it.
    Create,
    /// Remove it and what is in it.
    Remove,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// What to do.
    action: Action,
    /// The volume.
    volume: Name,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// Those with this in their name, as they are now.
    volumes: Vec<Volume>,
}

impl Tool for DockerControlVolume {
    const NAME: &'static str = "docker_control_volume";
    const SUMMARY: &'static str = "Create a volume, or remove one with all that is in it.";
    const KEYWORDS: &'static str = "docker podman volume create rm remove | volume docker créer supprimer";
    const EFFECT: Effect = Effect::Write;
    const MOST: Effect = Effect::Destroy;
    const PLACE: Place = Place::Daemon;
    type Input = Input;
    type Output = Output;

    fn effect(&self, input: &Input) -> Effect {
        match input.action {
            Action::Create => Effect::Write,
            Action::Remove => Effect::Destroy,
        }
    }

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let client = self.0.client(ctx).await?;
        match input.action {
            Action::Create => client.create_volume(&input.volume).await.map(drop)?,
            Action::Remove => client.remove_volume(&input.volume).await?,
        }
        Ok(Output { volumes: client.list_volumes(Some(&input.volume)).await? })
    }
}
