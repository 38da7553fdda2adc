//! Loads images from a file.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Place, Result, Tool};
use skynet_engine::Engine;
use std::{sync::Arc, time::Duration};

pub(crate) struct DockerLoadImages(pub(crate) Arc<Engine>);

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// File of the workspace.
    path: String,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// Names, or ids of those that have none.
    images: Vec<String>,
}

impl Tool for DockerLoadImages {
    const NAME: &'static str = "docker_load_images";
    const SUMMARY: &'static str = "Load images from a tar file of the workspace that docker_save_images or docker save wrote; like docker load.";
    const KEYWORDS: &'static str =
        "docker podman load import images tar archive | charger importer images archive";
    /// A name that is taken is another image's from then on, and whatever starts it by that name starts this one.
    const EFFECT: Effect = Effect::Destroy;
    const PLACE: Place = Place::Daemon;
    const TIMEOUT: Duration = Duration::from_secs(1800);
    type Input = Input;
    type Output = Output;

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let images = self.0.client(ctx).await?.load_images(&self.0, ctx, &input.path).await?;
        Ok(Output { images })
    }
}
