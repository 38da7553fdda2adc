//! Makes and runs a container.

use crate::REACHES_HOST;
use schemars::JsonSchema;
use serde::Deserialize;
use skynet_core::{CallCtx, Effect, Error, Place, Result, Tool};
use skynet_engine::{Engine, ImageName, Made, Mount, Name, Power, Recipe, Restart, Run};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

pub(crate) struct DockerRunContainer(pub(crate) Arc<Engine>);

/// Without a limit a container could take all that the host has.
const fn default_memory_mib() -> u32 {
    4096
}

/// As a command in a slot.
const fn default_processes() -> u32 {
    1024
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// What it is made of; it must be here already.
    image: ImageName,
    /// Its name; one is found without.
    #[serde(default)]
    name: Option<Name>,
    /// Program and arguments, in place of the image's.
    #[serde(default)]
    argv: Vec<String>,
    /// In place of the image's.
    #[serde(default)]
    entrypoint: Vec<String>,
    /// More variables; whoever may use the engine can read them.
    #[serde(default)]
    #[schemars(extend("writeOnly" = true))]
    environment: BTreeMap<String, String>,
    /// Published, like `8080:80` on this host's loopback, or `0.0.0.0:8080:80` for all who reach this host.
    #[serde(default)]
    ports: Vec<String>,
    /// Volumes, memory, paths of the host.
    #[serde(default)]
    mounts: Vec<Mount>,
    /// Whether `mounts` may name volumes that are there already and write to them; a human may have to allow that.
    #[serde(default)]
    existing_volumes: bool,
    /// A network, or `none`; the engine's default without.
    #[serde(default)]
    network: Option<Name>,
    /// Most memory.
    #[serde(default = "default_memory_mib")]
    #[schemars(range(min = 6))]
    memory_mib: u32,
    /// Most processors, like 1.5.
    #[serde(default)]
    #[schemars(range(min = 0.01, max = 1024.0))]
    cpus: Option<f64>,
    /// Most processes and threads.
    #[serde(default = "default_processes")]
    #[schemars(range(min = 1))]
    processes: u32,
    /// As whom it runs there: name or number, with `:GROUP` if wanted.
    #[serde(default)]
    user: Option<String>,
    /// Where it starts.
    #[serde(default)]
    working_directory: Option<String>,
    /// Marks to find it by.
    #[serde(default)]
    labels: BTreeMap<String, String>,
    /// When it is started again.
    #[serde(default)]
    restart: Option<Restart>,
    /// Whether it cannot write to its own files.
    #[serde(default)]
    read_only: bool,
    /// Power over the host, which a human must allow each time.
    #[serde(default)]
    host: Power,
    /// Only make it, and do not start it.
    #[serde(default)]
    create_only: bool,
    /// Wait so long for its end and return what it printed, then stop it; without, it goes on in the background.
    #[serde(default)]
    #[schemars(range(max = 3600))]
    wait_seconds: u32,
    /// With `wait_seconds`: remove it at its end.
    #[serde(default)]
    remove: bool,
}

impl Input {
    fn recipe(&self) -> Recipe {
        Recipe {
            image: self.image.clone(),
            name: self.name.clone(),
            argv: self.argv.clone(),
            entrypoint: self.entrypoint.clone(),
            environment: self.environment.clone(),
            ports: self.ports.clone(),
            mounts: self.mounts.clone(),
            existing_volumes: self.existing_volumes,
            network: self.network.clone(),
            memory_mib: Some(self.memory_mib),
            cpus: self.cpus,
            processes: Some(self.processes),
            user: self.user.clone(),
            working_directory: self.working_directory.clone(),
            labels: self.labels.clone(),
            restart: self.restart,
            read_only: self.read_only,
            host: self.host.clone(),
        }
    }

    fn run(&self) -> Result<Run> {
        match (self.create_only, self.wait_seconds, self.remove) {
            (true, 0, false) => Ok(Run::Create),
            (true, _, _) => {
                Err(Error::invalid_input("what is only made neither ends nor is removed at its end"))
            }
            (false, 0, false) => Ok(Run::Start),
            (false, 0, true) => Err(Error::invalid_input("`remove` needs `wait_seconds`")),
            (false, seconds, remove) => Ok(Run::Wait { most: Duration::from_secs(seconds.into()), remove }),
        }
    }
}

impl Tool for DockerRunContainer {
    const NAME: &'static str = "docker_run_container";
    const SUMMARY: &'static str = "Make a container of an image and start it: in the background, or waited for with its output and exit code. With a network or power over the host, a human may have to allow it. Like docker run and docker create.";
    const KEYWORDS: &'static str =
        "docker podman run create launch new container image | lancer créer nouveau conteneur image";
    const EFFECT: Effect = Effect::Write;
    const MOST: Effect = Effect::External;
    const PLACE: Place = Place::Daemon;
    const TIMEOUT: Duration = Duration::from_secs(3700);
    type Input = Input;
    type Output = Made;

    fn effect(&self, input: &Input) -> Effect {
        let recipe = input.recipe();
        // What others keep in a volume is lost as with the volume itself: leave to go out is none for that.
        if recipe.reaches_host() || recipe.existing_volumes {
            Effect::Destroy
        } else if recipe.has_network() || recipe.restarts_by_itself() {
            Effect::External
        } else {
            Effect::Write
        }
    }

    fn must_ask(&self, input: &Input) -> Option<&'static str> {
        input.recipe().reaches_host().then_some(REACHES_HOST)
    }

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Made> {
        let run = input.run()?;
        self.0.client(ctx).await?.run(ctx, &input.recipe(), run).await
    }
}
