//! Removes an image.

use schemars::JsonSchema;
use serde::Deserialize;
use skynet_core::{CallCtx, Effect, Place, Result, Tool};
use skynet_engine::{Engine, ImageName, Removed};
use std::sync::Arc;

pub(crate) struct DockerRemoveImage(pub(crate) Arc<Engine>);

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Name with tag, or id.
    image: ImageName,
    /// Also one that stopped containers use, or that has more tags.
    #[serde(default)]
    force: bool,
}

impl Tool for DockerRemoveImage {
    const NAME: &'static str = "docker_remove_image";
    const SUMMARY: &'static str =
        "Remove a tag of an image, and the image with its last tag; like docker rmi.";
    const KEYWORDS: &'static str = "docker podman rmi remove delete image | supprimer effacer image";
    const EFFECT: Effect = Effect::Destroy;
    const PLACE: Place = Place::Daemon;
    type Input = Input;
    type Output = Removed;

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Removed> {
        self.0.client(ctx).await?.remove_image(&input.image, input.force).await
    }
}
