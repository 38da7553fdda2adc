//! Starts and stops containers.

use crate::REACHES_HOST;
use schemars::JsonSchema;
use serde::Deserialize;
use skynet_core::{CallCtx, Effect, Error, Place, Result, Subject, Tool};
use skynet_engine::{Action, Engine, Name, Standing};
use std::{sync::Arc, time::Duration};

pub(crate) struct DockerControlContainer(pub(crate) Arc<Engine>);

const fn default_grace() -> u32 {
    10
}

fn default_signal() -> String {
    "SIGKILL".to_owned()
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Name or id.
    container: Name,
    /// What to do with it.
    action: Action,
    /// How long it has to end.
    #[serde(default = "default_grace")]
    #[schemars(range(max = 300))]
    grace_seconds: u32,
    /// Say so to start one that reaches the host; then a human is asked each time.
    #[serde(default)]
    reaches_host: bool,
    /// For `kill`.
    #[serde(default = "default_signal")]
    signal: String,
}

impl Tool for DockerControlContainer {
    const NAME: &'static str = "docker_control_container";
    const SUMMARY: &'static str =
        "Start, stop, restart, pause, unpause or kill a container, or send it a signal.";
    const KEYWORDS: &'static str = "docker podman start stop restart pause unpause resume kill signal container restart stop start | démarrer arrêter redémarrer relancer suspendre reprendre tuer arrêter conteneur";
    const EFFECT: Effect = Effect::Write;
    const MOST: Effect = Effect::External;
    const PLACE: Place = Place::Daemon;
    const TIMEOUT: Duration = Duration::from_secs(330);
    type Input = Input;
    type Output = Standing;

    /// What ends loses what it had in memory.
    fn effect(&self, input: &Input) -> Effect {
        match input.action {
            // What runs may be in a network, and have been given files since it ran last.
            Action::Start | Action::Unpause => Effect::External,
            Action::Pause => Effect::Write,
            Action::Stop | Action::Restart | Action::Kill => Effect::Destroy,
        }
    }

    fn must_ask(&self, input: &Input) -> Option<&'static str> {
        (input.reaches_host && matches!(input.action, Action::Start | Action::Restart))
            .then_some(REACHES_HOST)
    }

    fn changes(&self, input: &Input) -> Vec<Subject> {
        vec![Subject::Container(input.container.to_string())]
    }

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Standing> {
        let is_signal =
            input.signal.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-".contains(&byte));
        if !is_signal || input.signal.is_empty() {
            return Err(Error::invalid_input(format!(
                "`{}` is no signal; one is like `SIGTERM` or `15`",
                input.signal
            )));
        }
        let client = self.0.client(ctx).await?;
        let Input { container, action, grace_seconds, signal, reaches_host } = input;
        client.control(&container, action, grace_seconds, &signal, reaches_host).await
    }
}
