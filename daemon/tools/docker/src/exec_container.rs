//! Runs a command in a container.

use crate::REACHES_HOST;
use schemars::JsonSchema;
use serde::Deserialize;
use skynet_core::{CallCtx, Effect, Place, Result, Tool};
use skynet_engine::{Engine, Executed, Name, Task};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

pub(crate) struct DockerExecContainer(pub(crate) Arc<Engine>);

const fn default_timeout() -> u32 {
    60
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Name or id of one that runs.
    container: Name,
    /// Program and arguments, without a shell.
    #[schemars(length(min = 1))]
    argv: Vec<String>,
    /// As whom: name or number, with `:GROUP` if wanted.
    #[serde(default)]
    user: Option<String>,
    /// Where it starts.
    #[serde(default)]
    working_directory: Option<String>,
    /// More variables.
    #[serde(default)]
    #[schemars(extend("writeOnly" = true))]
    environment: BTreeMap<String, String>,
    /// Text for stdin.
    #[serde(default)]
    #[schemars(extend("writeOnly" = true))]
    stdin: Option<String>,
    /// How long it is waited for.
    #[serde(default = "default_timeout")]
    #[schemars(range(min = 1, max = 3600))]
    timeout_seconds: u32,
    /// Say so for a container that reaches the host; then a human is asked each time.
    #[serde(default)]
    reaches_host: bool,
}

impl Tool for DockerExecContainer {
    const NAME: &'static str = "docker_exec_container";
    const SUMMARY: &'static str =
        "Run a program inside a running container and get its output and exit code; like docker exec.";
    const KEYWORDS: &'static str =
        "docker podman exec inside container shell psql | exécuter dans conteneur commande";
    const EFFECT: Effect = Effect::Destroy;
    const MOST: Effect = Effect::External;
    const PLACE: Place = Place::Daemon;
    const TIMEOUT: Duration = Duration::from_secs(3700);
    type Input = Input;
    type Output = Executed;

    /// It may be in any network.
    fn effect(&self, input: &Input) -> Effect {
        if input.reaches_host { Effect::Destroy } else { Effect::External }
    }

    fn must_ask(&self, input: &Input) -> Option<&'static str> {
        input.reaches_host.then_some(REACHES_HOST)
    }

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Executed> {
        let task = Task {
            container: input.container,
            argv: input.argv,
            user: input.user,
            working_directory: input.working_directory,
            environment: input.environment,
            stdin: input.stdin,
            most: Duration::from_secs(input.timeout_seconds.into()),
            reaches_host: input.reaches_host,
        };
        self.0.client(ctx).await?.execute(ctx, &task).await
    }
}
