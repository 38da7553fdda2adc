//! Starts and ends compose projects.

use schemars::JsonSchema;
use serde::Deserialize;
use skynet_core::{CallCtx, Effect, Error, Place, Result, Tool};
use skynet_engine::{Composed, Engine, Name};
use std::{sync::Arc, time::Duration};

pub(crate) struct DockerRunCompose(pub(crate) Arc<Engine>);

/// What is done with a project.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Action {
    /// Start it in the background; a human is asked each time.
    Up,
    /// End it and remove its containers and networks.
    Down,
    /// List its containers.
    Ps,
    /// Show what they printed.
    Logs,
}

fn default_directory() -> String {
    ".".to_owned()
}

const fn default_tail() -> u32 {
    100
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// What to do.
    action: Action,
    /// Directory of the workspace with the compose file.
    #[serde(default = "default_directory")]
    directory: String,
    /// Compose file, from `directory`; one of the usual names without.
    #[serde(default)]
    file: Option<String>,
    /// Name of the project; that of `directory` without.
    #[serde(default)]
    project: Option<Name>,
    /// Only these services, not with `down`.
    #[serde(default)]
    services: Vec<Name>,
    /// With `up`: make images anew first.
    #[serde(default)]
    rebuild: bool,
    /// With `down`: remove its volumes too.
    #[serde(default)]
    volumes: bool,
    /// With `logs`: the last so many lines of each.
    #[serde(default = "default_tail")]
    #[schemars(range(min = 1, max = 2000))]
    tail: u32,
}

impl Input {
    /// What the program is told.
    fn words(&self) -> Result<Vec<String>> {
        if let Some(file) = self.file.as_ref().filter(|file| file.starts_with('-') || file.starts_with('/')) {
            return Err(Error::invalid_input(format!("`{file}` is no path from `directory`")));
        }
        let mut words: Vec<String> = Vec::new();
        let mut say = |more: &[&str]| words.extend(more.iter().map(|&word| word.to_owned()));
        if let Some(file) = &self.file {
            say(&["--file", file]);
        }
        if let Some(project) = &self.project {
            say(&["--project-name", project]);
        }
        match self.action {
            Action::Up => say(&["up", "--detach"]),
            Action::Down => say(&["down"]),
            Action::Ps => say(&["ps"]),
            Action::Logs => say(&["logs", "--no-color", "--tail", &self.tail.to_string()]),
        }
        if self.rebuild && self.action == Action::Up {
            say(&["--build"]);
        }
        match (self.action, self.services.is_empty()) {
            (Action::Down, false) => {
                return Err(Error::invalid_input(
                    "`down` ends all of a project; stop one service with `docker_control_container`",
                ));
            }
            (Action::Down, true) if self.volumes => say(&["--volumes"]),
            _ => self.services.iter().for_each(|service| say(&[service])),
        }
        Ok(words)
    }
}

impl Tool for DockerRunCompose {
    const NAME: &'static str = "docker_run_compose";
    const SUMMARY: &'static str = "Start, end or look at a compose project of the workspace; like docker compose up, down, ps and logs.";
    const KEYWORDS: &'static str =
        "docker podman compose up down stack | projet compose démarrer arrêter pile";
    const EFFECT: Effect = Effect::Read;
    const MOST: Effect = Effect::Destroy;
    const PLACE: Place = Place::Daemon;
    const TIMEOUT: Duration = Duration::from_secs(1900);
    type Input = Input;
    type Output = Composed;

    fn effect(&self, input: &Input) -> Effect {
        match input.action {
            Action::Up | Action::Down => Effect::Destroy,
            Action::Ps | Action::Logs => Effect::Read,
        }
    }

    /// What the file says is known to its reader alone.
    fn must_ask(&self, input: &Input) -> Option<&'static str> {
        matches!(input.action, Action::Up | Action::Down)
            .then_some("runs what a compose file says, which may reach the host")
    }

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Composed> {
        self.0.compose(ctx, &input.directory, &input.words()?).await
    }
}
