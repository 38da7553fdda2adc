//! Sends an image to a registry.

use crate::registry_credentials;
use schemars::JsonSchema;
use serde::Deserialize;
use skynet_core::{CallCtx, Effect, Place, Result, Tool};
use skynet_engine::{Engine, ImageName, Transferred};
use std::{sync::Arc, time::Duration};

pub(crate) struct DockerPushImage(pub(crate) Arc<Engine>);

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Name with tag, like `ghcr.io/owner/name:1.0`.
    image: ImageName,
    /// Name of a secret that holds `USER:PASSWORD` for the registry.
    #[serde(default)]
    secret: Option<String>,
}

impl Tool for DockerPushImage {
    const NAME: &'static str = "docker_push_image";
    const SUMMARY: &'static str =
        "Send an image to the registry that its name begins with; like docker push.";
    const KEYWORDS: &'static str =
        "docker podman push upload publish image registry | pousser publier envoyer image registre";
    const EFFECT: Effect = Effect::External;
    const PLACE: Place = Place::Daemon;
    const TIMEOUT: Duration = Duration::from_secs(1800);
    type Input = Input;
    type Output = Transferred;

    fn secrets(&self, input: &Input) -> Vec<String> {
        input.secret.iter().cloned().collect()
    }

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Transferred> {
        let credentials = registry_credentials(ctx, &input.image, input.secret.as_deref()).await?;
        self.0.client(ctx).await?.push_image(ctx, &input.image, credentials).await
    }
}
