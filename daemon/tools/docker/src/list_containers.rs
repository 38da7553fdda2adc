//! Lists containers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Kind, Place, Result, Tool};
use skynet_engine::{Engine, Listed, State, Wanted};
use std::sync::Arc;

pub(crate) struct DockerListContainers(pub(crate) Arc<Engine>);

const fn default_limit() -> u32 {
    100
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Also those that do not run.
    #[serde(default)]
    all: bool,
    /// Only names that contain this.
    #[serde(default)]
    name: Option<String>,
    /// Only those in this state.
    #[serde(default)]
    state: Option<State>,
    /// Only those with this label, `NAME` or `NAME=VALUE`.
    #[serde(default)]
    label: Option<String>,
    /// Most to return.
    #[serde(default = "default_limit")]
    #[schemars(range(min = 1, max = 1000))]
    limit: u32,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// In order of name.
    containers: Vec<Listed>,
    /// How many fit.
    total: usize,
}

impl Tool for DockerListContainers {
    const NAME: &'static str = "docker_list_containers";
    const SUMMARY: &'static str = "List containers with image, state, health and ports; like docker ps. Only running ones unless `all` is set.";
    const KEYWORDS: &'static str =
        "docker podman ps containers stopped exited | conteneurs quels lister arrêtés conteneurs";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Daemon;
    const KIND: Option<Kind> = Some(Kind::Containers);
    type Input = Input;
    type Output = Output;

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let client = self.0.client(ctx).await?;
        let Input { all, name, state, label, limit } = input;
        let mut containers = client.list_containers(&Wanted { all, name, label, state }).await?;
        let total = containers.len();
        containers.truncate(limit as usize);
        Ok(Output { containers, total })
    }
}
