//! Watches what happens in the engine.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Place, Result, Tool};
use skynet_engine::{Engine, Event, Name};
use std::{sync::Arc, time::Duration};

pub(crate) struct DockerWatchEvents(pub(crate) Arc<Engine>);

const fn default_limit() -> u32 {
    200
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// How long ago, like `15m`, or a moment in RFC 3339; now without.
    #[serde(default)]
    since: Option<String>,
    /// Wait so long for more, shown as progress.
    #[serde(default)]
    #[schemars(range(max = 600))]
    seconds: u32,
    /// Only of this one.
    #[serde(default)]
    container: Option<Name>,
    /// Most to return, the last ones.
    #[serde(default = "default_limit")]
    #[schemars(range(min = 1, max = 2000))]
    limit: u32,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// Oldest first.
    events: Vec<Event>,
}

impl Tool for DockerWatchEvents {
    const NAME: &'static str = "docker_watch_events";
    const SUMMARY: &'static str = "Show what happened in the container engine since a time, or watch it for a while: starts, ends, out of memory, pulls; like docker events.";
    const KEYWORDS: &'static str =
        "docker podman events what happened died oom restarted | événements docker conteneurs surveiller";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Daemon;
    const TIMEOUT: Duration = Duration::from_secs(660);
    type Input = Input;
    type Output = Output;

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let client = self.0.client(ctx).await?;
        let follow = Duration::from_secs(input.seconds.into());
        let (since, container) = (input.since.as_deref(), input.container.as_ref());
        let events = client.watch_events(ctx, since, follow, container, input.limit as usize).await?;
        Ok(Output { events })
    }
}
