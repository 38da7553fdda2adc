//! Makes and removes networks, and puts containers into them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Error, Place, Result, Tool};
use skynet_engine::{Engine, Name, Network};
use std::sync::Arc;

pub(crate) struct DockerControlNetwork(pub(crate) Arc<Engine>);

/// What is done with a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Action {
    /// Make it.
    Create,
    /// Remove it.
    Remove,
    /// Put `container` into it.
    Connect,
    /// Take `container` out of it.
    Disconnect,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// What to do.
    action: Action,
    /// The network.
    network: Name,
    /// For `connect` and `disconnect`.
    #[serde(default)]
    container: Option<Name>,
    /// With `create`: it leads nowhere else.
    #[serde(default)]
    internal: bool,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// Those with this in their name, as they are now.
    networks: Vec<Network>,
}

impl Tool for DockerControlNetwork {
    const NAME: &'static str = "docker_control_network";
    const SUMMARY: &'static str = "Create or remove a network, or connect or disconnect a container.";
    const KEYWORDS: &'static str = "docker podman network create rm connect disconnect | réseau docker créer supprimer connecter déconnecter conteneur";
    const EFFECT: Effect = Effect::Write;
    const MOST: Effect = Effect::External;
    const PLACE: Place = Place::Daemon;
    type Input = Input;
    type Output = Output;

    fn effect(&self, input: &Input) -> Effect {
        match input.action {
            Action::Create => Effect::Write,
            // Nobody reaches it there any more.
            Action::Remove | Action::Disconnect => Effect::Destroy,
            // What was in no network is in one then.
            Action::Connect => Effect::External,
        }
    }

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let client = self.0.client(ctx).await?;
        let network = &input.network;
        let container = || {
            input.container.as_ref().ok_or_else(|| Error::invalid_input("`container` is missing: which one?"))
        };
        match input.action {
            Action::Create => client.create_network(network, input.internal).await?,
            Action::Remove => client.remove_network(network).await?,
            Action::Connect => client.connect_network(network, container()?).await?,
            Action::Disconnect => client.disconnect_network(network, container()?).await?,
        }
        let networks = client.list_networks(Some(network), 20).await?;
        Ok(Output { networks })
    }
}
