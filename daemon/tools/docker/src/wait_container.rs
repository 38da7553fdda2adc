//! Waits for the end of a container.

use schemars::JsonSchema;
use serde::Deserialize;
use skynet_core::{CallCtx, Effect, Place, Result, Tool};
use skynet_engine::{Ended, Engine, Name};
use std::{sync::Arc, time::Duration};

pub(crate) struct DockerWaitContainer(pub(crate) Arc<Engine>);

const fn default_timeout() -> u32 {
    60
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Name or id.
    container: Name,
    /// How long to wait.
    #[serde(default = "default_timeout")]
    #[schemars(range(min = 1, max = 3600))]
    timeout_seconds: u32,
}

impl Tool for DockerWaitContainer {
    const NAME: &'static str = "docker_wait_container";
    const SUMMARY: &'static str =
        "Wait until a container has ended, and get its exit code; like docker wait.";
    const KEYWORDS: &'static str = "docker podman wait container ends | attendre fin conteneur";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Daemon;
    const TIMEOUT: Duration = Duration::from_secs(3700);
    type Input = Input;
    type Output = Ended;

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Ended> {
        let most = Duration::from_secs(input.timeout_seconds.into());
        self.0.client(ctx).await?.wait_container(&input.container, most).await
    }
}
