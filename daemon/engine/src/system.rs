//! The engine itself: what it is, what it holds, what happens in it, and what of it nobody uses.

use crate::{
    Client, Name,
    client::Stream,
    failure::About,
    time::{self, rfc3339},
};
use bollard::query_parameters::{
    EventsOptions, PruneBuildOptions, PruneContainersOptions, PruneImagesOptions, PruneNetworksOptions,
    PruneVolumesOptions,
};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use skynet_core::{CallCtx, Result};
use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};
use tokio::time::{Instant, timeout_at};

/// The engine.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct EngineFacts {
    /// Its version.
    pub version: String,
    /// The newest version of its API.
    pub api_version: String,
    /// The system it runs on.
    pub system: String,
    /// How it stores layers.
    pub storage_driver: String,
    /// Version of control groups: 1 or 2.
    pub cgroup_version: String,
    /// Whether it runs without root's rights.
    pub rootless: bool,
    /// How many containers run.
    pub containers_running: u64,
    /// What it holds on disk.
    pub usage: Vec<Usage>,
    /// What it warns of.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// What of one kind there is.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Usage {
    /// images, containers, volumes or build_cache.
    pub kind: String,
    /// How many.
    pub count: u64,
    /// How many of them are in use.
    pub active: u64,
    /// Together.
    pub size_bytes: u64,
    /// What `docker_prune_unused` could free of it.
    pub reclaimable_bytes: u64,
}

/// Something that happened.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Event {
    /// When, RFC 3339.
    pub at: String,
    /// container, image, network, volume or daemon.
    pub kind: String,
    /// Like `start`, `die`, `oom`, `pull`.
    pub action: String,
    /// The name of what it happened to, or its id.
    pub name: String,
    /// With `die`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<String>,
}

/// What nobody may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unused {
    /// Containers that do not run.
    Containers,
    /// Images without a name and container.
    DanglingImages,
    /// All images without a container.
    AllImages,
    /// Networks without a container.
    Networks,
    /// Volumes without a container; newer engines keep those with a name.
    Volumes,
    /// What builds before left.
    BuildCache,
}

/// What is gone.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Pruned {
    /// Of what.
    pub kind: Unused,
    /// Names or ids, the first ones.
    pub removed: Vec<String>,
    /// How many.
    pub count: usize,
    /// What that freed.
    pub freed_bytes: i64,
}

/// Names of what was removed, in an answer.
const MOST_REMOVED: usize = 50;

impl Client {
    /// What the engine is and holds.
    ///
    /// # Errors
    /// What it says.
    pub async fn show_engine(&self) -> Result<EngineFacts> {
        let version = self.ask(About::Engine, self.docker.version()).await?;
        let info: Value = self.get(About::Engine, "/info").await?;
        // What it is said in changed with API 1.52, and the library knows the new form alone.
        let disk: Value = self.get(About::Engine, "/system/df").await?;
        let text = |name: &str| at(&info, name).as_str().unwrap_or_default().to_owned();
        let strings = |value: &Value| {
            let all = value.as_array().into_iter().flatten().filter_map(Value::as_str);
            all.map(str::to_owned).collect::<Vec<_>>()
        };
        Ok(EngineFacts {
            version: version.version.unwrap_or_default(),
            api_version: version.api_version.unwrap_or_default(),
            system: text("OperatingSystem"),
            storage_driver: text("Driver"),
            cgroup_version: text("CgroupVersion"),
            rootless: strings(at(&info, "SecurityOptions")).iter().any(|option| option.contains("rootless")),
            containers_running: at(&info, "ContainersRunning").as_u64().unwrap_or_default(),
            usage: usage(&disk),
            warnings: strings(at(&info, "Warnings")),
        })
    }

    /// What happened since a time, and happens until `follow` is over, the last `most` of it.
    ///
    /// # Errors
    /// `InvalidInput` for what is no time.
    pub async fn watch_events(
        &self,
        ctx: &CallCtx,
        since: Option<&str>,
        follow: Duration,
        container: Option<&Name>,
        most: usize,
    ) -> Result<Vec<Event>> {
        let now = Timestamp::now();
        let since = since.map(time::parse).transpose()?.unwrap_or(now.as_second());
        let until = now.checked_add(follow).unwrap_or(now);
        // What happened in this second counts.
        let until = format!("{}.{:09}", until.as_second(), until.subsec_nanosecond());
        let filters = container.map(|name| HashMap::from([("container".to_owned(), vec![name.to_string()])]));
        if let Some(name) = container {
            self.inspect(name).await?;
        }
        let options = EventsOptions { since: Some(since.to_string()), until: Some(until), filters };
        let mut stream: Stream<'_, _> = Box::pin(self.docker.events(Some(options)));
        let mut events = std::collections::VecDeque::new();
        let mut seen = 0.0;
        // The engine ends it itself; one whose clock is wrong does not.
        let deadline = Instant::now() + follow + Duration::from_secs(5);
        while let Ok(next) = timeout_at(deadline, self.next(About::Engine, &mut stream)).await {
            let Some(found) = next? else { break };
            let actor = found.actor.unwrap_or_default();
            let attributes = actor.attributes.unwrap_or_default();
            let event = Event {
                at: found.time.map(rfc3339).unwrap_or_default(),
                kind: found.typ.map(|kind| kind.to_string()).unwrap_or_default(),
                action: found.action.unwrap_or_default(),
                name: attributes.get("name").cloned().or(actor.id).unwrap_or_default(),
                exit_code: attributes.get("exitCode").cloned(),
            };
            seen += 1.0;
            ctx.progress(seen, None, format!("{} {} {}", event.kind, event.name, event.action));
            events.push_back(event);
            if events.len() > most {
                events.pop_front();
            }
        }
        Ok(events.into())
    }

    /// Removes what nobody uses.
    ///
    /// # Errors
    /// What the engine says.
    pub async fn prune(&self, kind: Unused) -> Result<Pruned> {
        let (docker, about) = (&self.docker, About::Engine);
        let (removed, freed_bytes) = match kind {
            Unused::Containers => {
                let found = self.ask(about, docker.prune_containers(None::<PruneContainersOptions>)).await?;
                (found.containers_deleted.unwrap_or_default(), found.space_reclaimed)
            }
            Unused::DanglingImages | Unused::AllImages => {
                let dangling = if kind == Unused::AllImages { "false" } else { "true" };
                let filters = HashMap::from([("dangling".to_owned(), vec![dangling.to_owned()])]);
                let options = PruneImagesOptions { filters: Some(filters) };
                let found = self.ask(about, docker.prune_images(Some(options))).await?;
                let gone = found.images_deleted.unwrap_or_default().into_iter();
                (gone.filter_map(|one| one.untagged.or(one.deleted)).collect(), found.space_reclaimed)
            }
            Unused::Networks => {
                let found = self.ask(about, docker.prune_networks(None::<PruneNetworksOptions>)).await?;
                (found.networks_deleted.unwrap_or_default(), None)
            }
            Unused::Volumes => {
                let found = self.ask(about, docker.prune_volumes(None::<PruneVolumesOptions>)).await?;
                (found.volumes_deleted.unwrap_or_default(), found.space_reclaimed)
            }
            Unused::BuildCache => {
                let found = self.ask(about, docker.prune_build(None::<PruneBuildOptions>)).await?;
                (found.caches_deleted.unwrap_or_default(), found.space_reclaimed)
            }
        };
        let count = removed.len();
        let removed = removed.into_iter().take(MOST_REMOVED).collect();
        Ok(Pruned { kind, removed, count, freed_bytes: freed_bytes.unwrap_or_default() })
    }
}

/// A member of an object; null where there is none.
fn at<'a>(value: &'a Value, name: &str) -> &'a Value {
    value.get(name).unwrap_or(&Value::Null)
}

/// Of both forms in which engines tell it.
fn usage(disk: &Value) -> Vec<Usage> {
    let kinds = [
        ("images", "ImageUsage", "Images"),
        ("containers", "ContainerUsage", "Containers"),
        ("volumes", "VolumeUsage", "Volumes"),
        ("build_cache", "BuildCacheUsage", "BuildCache"),
    ];
    let number =
        |value: &Value| value.as_i64().and_then(|number| u64::try_from(number).ok()).unwrap_or_default();
    let found = kinds.map(|(kind, new, old)| {
        if let Some(new) = disk.get(new).filter(|new| new.is_object()) {
            return Usage {
                kind: kind.to_owned(),
                count: number(at(new, "TotalCount")),
                active: number(at(new, "ActiveCount")),
                size_bytes: number(at(new, "TotalSize")),
                reclaimable_bytes: number(at(new, "Reclaimable")),
            };
        }
        let mut usage =
            Usage { kind: kind.to_owned(), count: 0, active: 0, size_bytes: 0, reclaimable_bytes: 0 };
        for one in at(disk, old).as_array().into_iter().flatten() {
            let (size, is_active) = match kind {
                "images" => (
                    number(at(one, "Size")).saturating_sub(number(at(one, "SharedSize"))),
                    number(at(one, "Containers")) > 0,
                ),
                "containers" => (number(at(one, "SizeRw")), at(one, "State") == "running"),
                "volumes" => (
                    number(at(at(one, "UsageData"), "Size")),
                    number(at(at(one, "UsageData"), "RefCount")) > 0,
                ),
                _ => (number(at(one, "Size")), at(one, "InUse") == true),
            };
            usage.count += 1;
            usage.active += u64::from(is_active);
            usage.size_bytes += size;
            usage.reclaimable_bytes += if is_active { 0 } else { size };
        }
        // What images share is counted once there.
        if kind == "images" {
            usage.size_bytes = number(at(disk, "LayersSize"));
        }
        usage
    });
    found.into()
}

/// What containers of compose projects there are, by project.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Project {
    /// Its name.
    pub name: String,
    /// State of each service's containers, like `web: running`.
    pub services: BTreeMap<String, String>,
    /// Where its files were, as the program that made it said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
}

impl Client {
    /// Compose projects, by the labels of their containers.
    ///
    /// # Errors
    /// What the engine says.
    pub async fn list_projects(&self) -> Result<Vec<Project>> {
        const DIRECTORY: &str = "com.docker.compose.project.working_dir";
        let filters = HashMap::from([("label".to_owned(), vec![crate::containers::PROJECT.to_owned()])]);
        let options = bollard::query_parameters::ListContainersOptions {
            all: true,
            filters: Some(filters),
            ..Default::default()
        };
        let found = self.ask(About::Engine, self.docker.list_containers(Some(options))).await?;
        let mut projects: BTreeMap<String, Project> = BTreeMap::new();
        for one in found {
            let labels = one.labels.unwrap_or_default();
            let Some(name) = labels.get(crate::containers::PROJECT).cloned() else { continue };
            let project = projects.entry(name.clone()).or_insert_with(|| Project {
                name,
                services: BTreeMap::new(),
                directory: labels.get(DIRECTORY).cloned(),
            });
            let service = labels.get(crate::containers::SERVICE).cloned().unwrap_or_default();
            let state = one.state.map(|state| state.to_string()).unwrap_or_default();
            project
                .services
                .entry(service)
                .and_modify(|all| {
                    all.push_str(", ");
                    all.push_str(&state);
                })
                .or_insert(state.clone());
        }
        Ok(projects.into_values().collect())
    }
}
