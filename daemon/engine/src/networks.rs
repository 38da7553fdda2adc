//! Networks and volumes.

use crate::{Client, Name, failure::About, time::moment};
use bollard::{
    models::{
        NetworkConnectRequest, NetworkCreateRequest, NetworkDisconnectRequest, Volume as EngineVolume,
        VolumeCreateRequest,
    },
    query_parameters::{InspectNetworkOptions, ListNetworksOptions, ListVolumesOptions, RemoveVolumeOptions},
};
use schemars::JsonSchema;
use serde::Serialize;
use skynet_core::{ErrorKind, Result};
use std::collections::BTreeMap;

/// Option of a volume that says which path of the host it is.
const DEVICE: &str = "device";

/// A network.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Network {
    /// Its name.
    pub name: String,
    /// Like `bridge`.
    pub driver: String,
    /// Whether it leads nowhere else.
    pub internal: bool,
    /// Its ranges of addresses.
    pub subnets: Vec<String>,
    /// Containers in it that run, with their addresses.
    pub containers: BTreeMap<String, String>,
}

/// A volume.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// Like `local`.
    pub driver: String,
    /// When it was made, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at: Option<String>,
    /// The path of the host that it is, if it is not the engine's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_path: Option<String>,
    /// Its labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

impl Volume {
    fn of(found: bollard::models::Volume) -> Self {
        Self {
            created_at: moment(found.created_at.as_deref()),
            host_path: found.options.get(DEVICE).filter(|device| device.starts_with('/')).cloned(),
            name: found.name,
            driver: found.driver,
            labels: found.labels.into_iter().collect(),
        }
    }
}

impl Client {
    /// Networks with this in their name, by name.
    ///
    /// # Errors
    /// What the engine says.
    pub async fn list_networks(&self, name: Option<&str>, most: usize) -> Result<Vec<Network>> {
        let found = self.ask(About::Engine, self.docker.list_networks(None::<ListNetworksOptions>)).await?;
        let mut names: Vec<String> = found.into_iter().filter_map(|one| one.name).collect();
        names.retain(|one| name.is_none_or(|part| one.contains(part)));
        names.sort();
        names.truncate(most);
        let mut networks = Vec::new();
        for name in names {
            let found = self.docker.inspect_network(&name, None::<InspectNetworkOptions>);
            let found = match self.ask(About::Network(&name), found).await {
                Ok(found) => found,
                // Removed since it was listed.
                Err(err) if err.kind == ErrorKind::NotFound => continue,
                Err(err) => return Err(err),
            };
            let ranges = found.ipam.and_then(|ipam| ipam.config).unwrap_or_default();
            let containers = found.containers.unwrap_or_default().into_values();
            networks.push(Network {
                driver: found.driver.unwrap_or_default(),
                internal: found.internal.unwrap_or_default(),
                subnets: ranges.into_iter().filter_map(|range| range.subnet).collect(),
                containers: containers
                    .map(|one| (one.name.unwrap_or_default(), one.ipv4_address.unwrap_or_default()))
                    .collect(),
                name,
            });
        }
        Ok(networks)
    }

    /// Makes a network on this host.
    ///
    /// # Errors
    /// `Conflict` for a name that is taken.
    pub async fn create_network(&self, name: &Name, internal: bool) -> Result<()> {
        let request = NetworkCreateRequest {
            name: name.to_string(),
            driver: Some("bridge".to_owned()),
            internal: Some(internal),
            ..NetworkCreateRequest::default()
        };
        // Older engines take a second one of the same name.
        if self.list_networks(Some(name), usize::MAX).await?.iter().any(|one| one.name == **name) {
            return Err(skynet_core::Error::conflict(format!("network `{name}` exists already")));
        }
        self.ask(About::Network(name), self.docker.create_network(request)).await.map(drop)
    }

    /// Removes a network.
    ///
    /// # Errors
    /// `Denied` for one that containers are in, or the engine's own.
    pub async fn remove_network(&self, name: &Name) -> Result<()> {
        self.ask(About::Network(name), self.docker.remove_network(name)).await
    }

    /// Puts a container into a network.
    ///
    /// # Errors
    /// `NotFound` for either.
    pub async fn connect_network(&self, name: &Name, container: &Name) -> Result<()> {
        self.inspect(container).await?;
        let request = NetworkConnectRequest { container: container.to_string(), ..Default::default() };
        self.ask(About::Network(name), self.docker.connect_network(name, request)).await
    }

    /// Takes a container out of a network.
    ///
    /// # Errors
    /// `NotFound` for either.
    pub async fn disconnect_network(&self, name: &Name, container: &Name) -> Result<()> {
        self.inspect(container).await?;
        let request = NetworkDisconnectRequest { container: container.to_string(), ..Default::default() };
        self.ask(About::Network(name), self.docker.disconnect_network(name, request)).await
    }

    /// Volumes with this in their name, by name.
    ///
    /// # Errors
    /// What the engine says.
    pub async fn list_volumes(&self, name: Option<&str>) -> Result<Vec<Volume>> {
        let found = self.ask(About::Engine, self.docker.list_volumes(None::<ListVolumesOptions>)).await?;
        let mut volumes: Vec<Volume> =
            found.volumes.unwrap_or_default().into_iter().map(Volume::of).collect();
        volumes.retain(|one| name.is_none_or(|part| one.name.contains(part)));
        volumes.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(volumes)
    }

    /// Makes a volume of the engine's own, or finds it.
    ///
    /// # Errors
    /// `Conflict` for a name that is one of another kind.
    pub async fn create_volume(&self, name: &Name) -> Result<Volume> {
        let request = VolumeCreateRequest { name: Some(name.to_string()), ..Default::default() };
        self.ask(About::Volume(name), self.docker.create_volume(request)).await.map(Volume::of)
    }

    /// Removes a volume and what is in it.
    ///
    /// # Errors
    /// `Conflict` for one that a container uses.
    pub async fn remove_volume(&self, name: &Name) -> Result<()> {
        let removed = self.docker.remove_volume(name, None::<RemoveVolumeOptions>);
        self.ask(About::Volume(name), removed).await
    }

    /// Whether a volume of that name is a path of the host.
    pub(crate) async fn is_host_volume(&self, name: &str) -> Result<bool> {
        // Any option could make it one.
        Ok(self.volume(name).await?.is_some_and(|found| !found.options.is_empty()))
    }

    /// Whether there is such a volume. What is no name is none.
    pub(crate) async fn has_volume(&self, name: &str) -> Result<bool> {
        Ok(self.volume(name).await?.is_some())
    }

    async fn volume(&self, name: &str) -> Result<Option<EngineVolume>> {
        let Ok(name) = Name::try_from(name.to_owned()) else { return Ok(None) };
        match self.ask(About::Volume(&name), self.docker.inspect_volume(&name)).await {
            Ok(found) => Ok(Some(found)),
            Err(err) if err.kind == ErrorKind::NotFound => Ok(None),
            Err(err) => Err(err),
        }
    }
}
