//! Lists networks.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Kind, Place, Result, Tool};
use skynet_engine::{Engine, Network};
use std::sync::Arc;

pub(crate) struct DockerListNetworks(pub(crate) Arc<Engine>);

const fn default_limit() -> u32 {
    50
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Only names that contain this.
    #[serde(default)]
    name: Option<String>,
    /// Most to return.
    #[serde(default = "default_limit")]
    #[schemars(range(min = 1, max = 200))]
    limit: u32,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// In order of name.
    networks: Vec<Network>,
}

impl Tool for DockerListNetworks {
    const NAME: &'static str = "docker_list_networks";
    const SUMMARY: &'static str =
        "List networks with subnets and the containers in them, with their addresses.";
    const KEYWORDS: &'static str = "docker podman network ls subnet | réseaux docker sous-réseau lister";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Daemon;
    const KIND: Option<Kind> = Some(Kind::Networks);
    type Input = Input;
    type Output = Output;

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let client = self.0.client(ctx).await?;
        let networks = client.list_networks(input.name.as_deref(), input.limit as usize).await?;
        Ok(Output { networks })
    }
}
