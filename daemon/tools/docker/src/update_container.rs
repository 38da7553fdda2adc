//! Changes the limits, the restart policy or the name of a container.

use schemars::JsonSchema;
use serde::Deserialize;
use skynet_core::{CallCtx, Effect, Error, Place, Result, Subject, Tool};
use skynet_engine::{Change, Engine, Name, Restart, Shown};
use std::sync::Arc;

pub(crate) struct DockerUpdateContainer(pub(crate) Arc<Engine>);

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Name or id.
    container: Name,
    /// Its new name.
    #[serde(default)]
    name: Option<Name>,
    /// Most memory.
    #[serde(default)]
    #[schemars(range(min = 6))]
    memory_mib: Option<u32>,
    /// Most processors, like 1.5.
    #[serde(default)]
    #[schemars(range(min = 0.01, max = 1024.0))]
    cpus: Option<f64>,
    /// Most processes and threads.
    #[serde(default)]
    #[schemars(range(min = 1))]
    processes: Option<u32>,
    /// When it is started again.
    #[serde(default)]
    restart: Option<Restart>,
}

impl Tool for DockerUpdateContainer {
    const NAME: &'static str = "docker_update_container";
    const SUMMARY: &'static str =
        "Rename a container, or change its limits of memory, CPU and processes or its restart policy.";
    const KEYWORDS: &'static str = "docker podman update rename limit memory cpu restart policy container | renommer conteneur limiter mémoire politique de redémarrage";
    const EFFECT: Effect = Effect::Write;
    const MOST: Effect = Effect::External;
    const PLACE: Place = Place::Daemon;
    type Input = Input;
    type Output = Shown;

    fn effect(&self, input: &Input) -> Effect {
        // What is over its limit is ended, and others find it by its name, rules too: leave to go out is none for that.
        if input.memory_mib.is_some() || input.processes.is_some() || input.name.is_some() {
            return Effect::Destroy;
        }
        match input.restart {
            Some(Restart::No) | None => Effect::Write,
            // It comes back by itself, with the network that it has.
            Some(_) => Effect::External,
        }
    }

    fn changes(&self, input: &Input) -> Vec<Subject> {
        vec![Subject::Container(input.container.to_string())]
    }

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Shown> {
        let Input { container, name, memory_mib, cpus, processes, restart } = input;
        if name.is_none()
            && memory_mib.is_none()
            && cpus.is_none()
            && processes.is_none()
            && restart.is_none()
        {
            return Err(Error::invalid_input(
                "nothing is to change; give `name`, `memory_mib`, `cpus`, `processes` or `restart`",
            ));
        }
        let client = self.0.client(ctx).await?;
        let change = Change { name: name.clone(), memory_mib, cpus, processes, restart };
        client.update_container(&container, &change).await?;
        client.show_container(name.as_ref().unwrap_or(&container), 0).await
    }
}
