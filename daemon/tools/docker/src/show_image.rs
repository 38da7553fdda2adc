//! Shows one image as a whole.

use schemars::JsonSchema;
use serde::Deserialize;
use skynet_core::{CallCtx, Effect, Place, Result, Tool};
use skynet_engine::{Engine, ImageName, ShownImage};
use std::sync::Arc;

pub(crate) struct DockerShowImage(pub(crate) Arc<Engine>);

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Name, with tag or digest, or id.
    image: ImageName,
}

impl Tool for DockerShowImage {
    const NAME: &'static str = "docker_show_image";
    const SUMMARY: &'static str = "Show one image: platform, size, command, user, ports, labels and the history of its layers; like docker image inspect and docker history.";
    const KEYWORDS: &'static str =
        "docker podman image inspect history layers entrypoint | image docker historique couches détails";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Daemon;
    type Input = Input;
    type Output = ShownImage;

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<ShownImage> {
        self.0.client(ctx).await?.show_image(&input.image).await
    }
}
