//! Says what is wrong with containers.

use schemars::JsonSchema;
use serde::Deserialize;
use skynet_core::{CallCtx, Effect, Place, Result, Tool};
use skynet_engine::{Engine, Health};
use std::sync::Arc;

pub(crate) struct DockerCheckHealth(pub(crate) Arc<Engine>);

const fn default_lines() -> u32 {
    5
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Only names that contain this.
    #[serde(default)]
    name: Option<String>,
    /// How many of the last lines of each to show.
    #[serde(default = "default_lines")]
    #[schemars(range(max = 50))]
    last_lines: u32,
}

impl Tool for DockerCheckHealth {
    const NAME: &'static str = "docker_check_health";
    const SUMMARY: &'static str = "Say which containers are not well and why: failed, out of memory, unhealthy, restarting; each with exit code, restarts and last lines.";
    const KEYWORDS: &'static str = "docker podman health unhealthy crashed oom restarting failing containers wrong | santé conteneurs en panne plantés problème malade";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Daemon;
    type Input = Input;
    type Output = Health;

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Health> {
        self.0.client(ctx).await?.check_health(input.name, input.last_lines).await
    }
}
