//! Says what the engine is and holds.

use schemars::JsonSchema;
use serde::Deserialize;
use skynet_core::{CallCtx, Effect, Place, Result, Tool};
use skynet_engine::{Engine, EngineFacts};
use std::sync::Arc;

pub(crate) struct DockerShowEngine(pub(crate) Arc<Engine>);

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {}

impl Tool for DockerShowEngine {
    const NAME: &'static str = "docker_show_engine";
    const SUMMARY: &'static str = "Show the container engine: version, storage, warnings, and how much disk images, containers, volumes and build cache take; like docker info and docker system df.";
    const KEYWORDS: &'static str =
        "docker podman info version engine system df disk usage | moteur docker version espace disque images";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Daemon;
    type Input = Input;
    type Output = EngineFacts;

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<EngineFacts> {
        let Input {} = input;
        self.0.client(ctx).await?.show_engine().await
    }
}
