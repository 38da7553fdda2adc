//! Removes what nobody uses.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Place, Result, Tool};
use skynet_engine::{Engine, Pruned, Unused};
use std::{sync::Arc, time::Duration};

pub(crate) struct DockerPruneUnused(pub(crate) Arc<Engine>);

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Of what.
    #[schemars(length(min = 1, max = 6))]
    kinds: Vec<Unused>,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// What is gone, in the order asked for.
    pruned: Vec<Pruned>,
}

impl Tool for DockerPruneUnused {
    const NAME: &'static str = "docker_prune_unused";
    const SUMMARY: &'static str = "Remove what nobody uses: stopped containers, images, networks, volumes, build cache; like docker system prune.";
    const KEYWORDS: &'static str = "docker podman prune clean up unused disk space images containers | nettoyer inutilisés images conteneurs docker";
    const EFFECT: Effect = Effect::Destroy;
    const PLACE: Place = Place::Daemon;
    const TIMEOUT: Duration = Duration::from_secs(600);
    type Input = Input;
    type Output = Output;

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let client = self.0.client(ctx).await?;
        let mut pruned = Vec::new();
        for kind in input.kinds {
            pruned.push(client.prune(kind).await?);
        }
        Ok(Output { pruned })
    }
}
