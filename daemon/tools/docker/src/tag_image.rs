//! Gives an image another name.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Place, Result, Tool};
use skynet_engine::{Engine, ImageName};
use std::sync::Arc;

pub(crate) struct DockerTagImage(pub(crate) Arc<Engine>);

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Name or id.
    image: ImageName,
    /// What it is called as well, like `app:1.0`.
    tag: ImageName,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// The image.
    image: String,
    /// What it is called as well.
    tag: String,
}

impl Tool for DockerTagImage {
    const NAME: &'static str = "docker_tag_image";
    const SUMMARY: &'static str = "Give an image another name or tag; like docker tag.";
    const KEYWORDS: &'static str = "docker podman tag image rename | étiqueter image renommer étiquette";
    /// A name that is taken is another image's from then on, and whatever starts it by that name starts this one.
    const EFFECT: Effect = Effect::Destroy;
    const PLACE: Place = Place::Daemon;
    type Input = Input;
    type Output = Output;

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        self.0.client(ctx).await?.tag_image(&input.image, &input.tag).await?;
        Ok(Output { image: input.image.to_string(), tag: input.tag.to_string() })
    }
}
