//! Writes images into a file.

use schemars::JsonSchema;
use serde::Deserialize;
use skynet_core::{CallCtx, Effect, Place, Result, Subject, Tool};
use skynet_engine::{Copied, Engine, ImageName};
use std::{sync::Arc, time::Duration};

pub(crate) struct DockerSaveImages(pub(crate) Arc<Engine>);

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Names with tags.
    #[schemars(length(min = 1, max = 32))]
    images: Vec<ImageName>,
    /// File of the workspace, replaced if it is there.
    path: String,
}

impl Tool for DockerSaveImages {
    const NAME: &'static str = "docker_save_images";
    const SUMMARY: &'static str =
        "Write images with all layers into a tar file of the workspace; like docker save.";
    const KEYWORDS: &'static str =
        "docker podman save export images tar archive | sauvegarder exporter images archive";
    const EFFECT: Effect = Effect::Write;
    const PLACE: Place = Place::Daemon;
    const TIMEOUT: Duration = Duration::from_secs(1800);
    type Input = Input;
    type Output = Copied;

    fn changes(&self, input: &Input) -> Vec<Subject> {
        vec![Subject::Path(input.path.clone())]
    }

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Copied> {
        self.0.client(ctx).await?.save_images(&self.0, ctx, &input.images, &input.path).await
    }
}
