//! Shows what a container changed of its image.

use schemars::JsonSchema;
use serde::Deserialize;
use skynet_core::{CallCtx, Effect, Place, Result, Tool};
use skynet_engine::{Changed, Engine, Name};
use std::sync::Arc;

pub(crate) struct DockerDiffContainer(pub(crate) Arc<Engine>);

const fn default_limit() -> u32 {
    500
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Name or id.
    container: Name,
    /// Most paths to return.
    #[serde(default = "default_limit")]
    #[schemars(range(min = 1, max = 10_000))]
    limit: u32,
}

impl Tool for DockerDiffContainer {
    const NAME: &'static str = "docker_diff_container";
    const SUMMARY: &'static str =
        "Show in what a container differs from its image: added, changed, deleted; like docker diff.";
    const KEYWORDS: &'static str =
        "docker podman diff filesystem container image | différences conteneur image";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Daemon;
    type Input = Input;
    type Output = Changed;

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Changed> {
        self.0.client(ctx).await?.changed_files(&input.container, input.limit as usize).await
    }
}
