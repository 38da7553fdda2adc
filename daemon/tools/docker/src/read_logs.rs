//! Reads and follows what a container printed.

use schemars::JsonSchema;
use serde::Deserialize;
use skynet_core::{CallCtx, Effect, Place, Result, Tool};
use skynet_engine::{Engine, Extract, Log, Name, Streams};
use std::{sync::Arc, time::Duration};

pub(crate) struct DockerReadLogs(pub(crate) Arc<Engine>);

const fn default_tail() -> u32 {
    100
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Name or id.
    container: Name,
    /// The last so many lines; with `search`, of those that fit.
    #[serde(default = "default_tail")]
    #[schemars(range(min = 1, max = 10_000))]
    tail: u32,
    /// Nothing older: how long ago, like `15m`, or a moment in RFC 3339.
    #[serde(default)]
    since: Option<String>,
    /// Nothing newer, as `since`.
    #[serde(default)]
    until: Option<String>,
    /// Only lines that fit this regular expression.
    #[serde(default)]
    search: Option<String>,
    /// Only what was written there.
    #[serde(default)]
    stream: Streams,
    /// Say when each line was written.
    #[serde(default)]
    timestamps: bool,
    /// Wait so long for more, shown as progress.
    #[serde(default)]
    #[schemars(range(max = 600))]
    follow_seconds: u32,
}

impl Tool for DockerReadLogs {
    const NAME: &'static str = "docker_read_logs";
    const SUMMARY: &'static str = "Read what a container printed: the last lines, since a time, lines that fit a search; or follow it for a while. Like docker logs.";
    const KEYWORDS: &'static str = "docker podman logs container output tail follow grep search errors stderr | journaux conteneur sortie suivre chercher erreurs dernières lignes";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Daemon;
    const TIMEOUT: Duration = Duration::from_secs(660);
    type Input = Input;
    type Output = Log;

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Log> {
        let extract = Extract {
            tail: input.tail as usize,
            since: input.since,
            until: input.until,
            search: input.search,
            streams: input.stream,
            timestamps: input.timestamps,
            follow: Duration::from_secs(input.follow_seconds.into()),
        };
        self.0.client(ctx).await?.read_logs(ctx, &input.container, &extract).await
    }
}
