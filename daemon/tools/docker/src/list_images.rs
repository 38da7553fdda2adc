//! Lists images.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Kind, Place, Result, Tool};
use skynet_engine::{Engine, Image};
use std::sync::Arc;

pub(crate) struct DockerListImages(pub(crate) Arc<Engine>);

const fn default_limit() -> u32 {
    100
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Only those with this in a tag or id.
    #[serde(default)]
    name: Option<String>,
    /// Only those without a tag.
    #[serde(default)]
    dangling: bool,
    /// Most to return.
    #[serde(default = "default_limit")]
    #[schemars(range(min = 1, max = 1000))]
    limit: u32,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// Newest first.
    images: Vec<Image>,
    /// How many fit.
    total: usize,
}

impl Tool for DockerListImages {
    const NAME: &'static str = "docker_list_images";
    const SUMMARY: &'static str = "List images with tags, size and age, newest first; like docker images.";
    const KEYWORDS: &'static str = "docker podman images list local | images docker lister locales";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Daemon;
    const KIND: Option<Kind> = Some(Kind::Images);
    type Input = Input;
    type Output = Output;

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let mut images = self.0.client(ctx).await?.list_images(input.name.as_deref(), input.dangling).await?;
        let total = images.len();
        images.truncate(input.limit as usize);
        Ok(Output { images, total })
    }
}
