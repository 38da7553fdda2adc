//! Shows one container as a whole.

use schemars::JsonSchema;
use serde::Deserialize;
use skynet_core::{CallCtx, Effect, Place, Result, Tool};
use skynet_engine::{Engine, Name, Shown};
use std::sync::Arc;

pub(crate) struct DockerShowContainer(pub(crate) Arc<Engine>);

const fn default_lines() -> u32 {
    5
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Name or id.
    container: Name,
    /// How many of the last lines it printed to show.
    #[serde(default = "default_lines")]
    #[schemars(range(max = 50))]
    last_lines: u32,
}

impl Tool for DockerShowContainer {
    const NAME: &'static str = "docker_show_container";
    const SUMMARY: &'static str = "Show one container: state, exit code, health, restarts, ports, networks, mounts, limits, labels, whether it reaches the host, last lines; like docker inspect. Values of variables are not shown.";
    const KEYWORDS: &'static str = "docker podman inspect details container mounts exit code crashed | inspecter détails conteneur code de sortie planté";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Daemon;
    type Input = Input;
    type Output = Shown;

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Shown> {
        self.0.client(ctx).await?.show_container(&input.container, input.last_lines).await
    }
}
