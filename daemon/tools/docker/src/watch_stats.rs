//! Watches what containers use.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Place, Result, Tool};
use skynet_engine::{Engine, Name, Stats};
use std::{sync::Arc, time::Duration};

pub(crate) struct DockerWatchStats(pub(crate) Arc<Engine>);

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Names or ids; all that run, without.
    #[serde(default)]
    containers: Vec<Name>,
    /// Watch so long, shown as progress; one look, without.
    #[serde(default)]
    #[schemars(range(max = 600))]
    seconds: u32,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// In order of name.
    stats: Vec<Stats>,
}

impl Tool for DockerWatchStats {
    const NAME: &'static str = "docker_watch_stats";
    const SUMMARY: &'static str = "Show what containers use: CPU, memory, network, disk, processes; once, or watched for a while with the peaks. Like docker stats.";
    const KEYWORDS: &'static str =
        "docker podman stats container cpu memory consumption | conteneur consommation mémoire statistiques";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Daemon;
    const TIMEOUT: Duration = Duration::from_secs(660);
    type Input = Input;
    type Output = Output;

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let time = Duration::from_secs(input.seconds.into());
        let stats = self.0.client(ctx).await?.watch_stats(ctx, &input.containers, time).await?;
        Ok(Output { stats })
    }
}
