//! Lists volumes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Kind, Place, Result, Tool};
use skynet_engine::{Engine, Volume};
use std::sync::Arc;

pub(crate) struct DockerListVolumes(pub(crate) Arc<Engine>);

const fn default_limit() -> u32 {
    100
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Only names that contain this.
    #[serde(default)]
    name: Option<String>,
    /// Most to return.
    #[serde(default = "default_limit")]
    #[schemars(range(min = 1, max = 1000))]
    limit: u32,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// In order of name.
    volumes: Vec<Volume>,
    /// How many fit.
    total: usize,
}

impl Tool for DockerListVolumes {
    const NAME: &'static str = "docker_list_volumes";
    const SUMMARY: &'static str = "List volumes; like docker volume ls.";
    const KEYWORDS: &'static str = "docker podman volume ls volumes list | volumes docker lister";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Daemon;
    const KIND: Option<Kind> = Some(Kind::Volumes);
    type Input = Input;
    type Output = Output;

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let mut volumes = self.0.client(ctx).await?.list_volumes(input.name.as_deref()).await?;
        let total = volumes.len();
        volumes.truncate(input.limit as usize);
        Ok(Output { volumes, total })
    }
}
