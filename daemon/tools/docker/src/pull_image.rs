//! Fetches an image from a registry.

use crate::registry_credentials;
use schemars::JsonSchema;
use serde::Deserialize;
use skynet_core::{CallCtx, Effect, Place, Result, Tool};
use skynet_engine::{Engine, ImageName, Transferred};
use std::{sync::Arc, time::Duration};

pub(crate) struct DockerPullImage(pub(crate) Arc<Engine>);

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Name, with tag or digest; `latest` without.
    image: ImageName,
    /// Like `linux/arm64`; this host's without.
    #[serde(default)]
    platform: Option<String>,
    /// Name of a secret that holds `USER:PASSWORD` for the registry.
    #[serde(default)]
    secret: Option<String>,
}

impl Tool for DockerPullImage {
    const NAME: &'static str = "docker_pull_image";
    const SUMMARY: &'static str =
        "Fetch an image from a registry, showing each layer as progress; like docker pull.";
    const KEYWORDS: &'static str =
        "docker podman pull download fetch image registry | télécharger récupérer image registre";
    const EFFECT: Effect = Effect::External;
    const PLACE: Place = Place::Daemon;
    const TIMEOUT: Duration = Duration::from_secs(1800);
    type Input = Input;
    type Output = Transferred;

    fn secrets(&self, input: &Input) -> Vec<String> {
        input.secret.iter().cloned().collect()
    }

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Transferred> {
        let Input { image, platform, secret } = input;
        let credentials = registry_credentials(ctx, &image, secret.as_deref()).await?;
        let client = self.0.client(ctx).await?;
        client.pull_image(ctx, &image, platform.as_deref(), credentials).await
    }
}
