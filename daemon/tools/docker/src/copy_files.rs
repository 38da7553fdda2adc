//! Copies files between the workspace and a container.

use crate::REACHES_HOST;
use schemars::JsonSchema;
use serde::Deserialize;
use skynet_core::{CallCtx, Effect, Error, Place, Result, Subject, Tool};
use skynet_engine::{Copied, Engine, Name};
use std::{path::Path, sync::Arc, time::Duration};

pub(crate) struct DockerCopyFiles(pub(crate) Arc<Engine>);

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Direction {
    /// From the workspace.
    IntoContainer,
    /// To the workspace.
    OutOfContainer,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Name or id.
    container: Name,
    /// Which way.
    direction: Direction,
    /// File or directory, absolute if it is in the container.
    from: String,
    /// Directory that is there already, absolute if it is in the container.
    into: String,
    /// Say so for a container that reaches the host; then a human is asked each time.
    #[serde(default)]
    reaches_host: bool,
}

impl Tool for DockerCopyFiles {
    const NAME: &'static str = "docker_copy_files";
    const SUMMARY: &'static str = "Copy a file or directory from the workspace into a container, or out of one, running or not; like docker cp. What is there under the same name is replaced.";
    const KEYWORDS: &'static str =
        "docker podman cp copy into out of container | copier vers depuis conteneur";
    const EFFECT: Effect = Effect::Write;
    const MOST: Effect = Effect::External;
    const PLACE: Place = Place::Daemon;
    const TIMEOUT: Duration = Duration::from_secs(1900);
    type Input = Input;
    type Output = Copied;

    fn effect(&self, input: &Input) -> Effect {
        match input.direction {
            // Where they can be sent on.
            Direction::IntoContainer => Effect::External,
            Direction::OutOfContainer if input.reaches_host => Effect::Destroy,
            Direction::OutOfContainer => Effect::Write,
        }
    }

    fn must_ask(&self, input: &Input) -> Option<&'static str> {
        input.reaches_host.then_some(REACHES_HOST)
    }

    fn changes(&self, input: &Input) -> Vec<Subject> {
        match input.direction {
            Direction::IntoContainer => Vec::new(),
            Direction::OutOfContainer => {
                // What is copied keeps its name; of a path that ends in none, as `/srv/.`, what it holds is laid there.
                let name = Path::new(&input.from).file_name().and_then(|name| name.to_str());
                let into = name.filter(|_| !input.from.ends_with("/.")).map_or_else(
                    || input.into.clone(),
                    |name| format!("{}/{name}", input.into.trim_end_matches('/')),
                );
                vec![Subject::Path(into)]
            }
        }
    }

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Copied> {
        let Input { container, direction, from, into, reaches_host } = input;
        let there = if direction == Direction::IntoContainer { &into } else { &from };
        if !there.starts_with('/') {
            return Err(Error::invalid_input(format!("`{there}` is no absolute path of the container")));
        }
        let client = self.0.client(ctx).await?;
        match direction {
            Direction::IntoContainer => {
                client.copy_into(&self.0, ctx, &container, &from, &into, reaches_host).await
            }
            Direction::OutOfContainer => {
                client.copy_out(&self.0, ctx, &container, &from, &into, reaches_host).await
            }
        }
    }
}
