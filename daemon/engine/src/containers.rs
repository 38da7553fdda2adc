//! Containers: which there are, and how one is.

use crate::{
    Client, Line, Name,
    failure::About,
    lines::{Full, Gather},
    time::{moment, rfc3339},
};
use bollard::{
    models::{
        ContainerInspectResponse, ContainerState, ContainerSummary, HealthStatusEnum, PortMap, PortSummary,
    },
    query_parameters::{InspectContainerOptions, ListContainersOptions, LogsOptionsBuilder},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::Result;
use std::collections::{BTreeMap, HashMap};

/// Of an id: as many letters as the engine's own programs show.
const ID_LETTERS: usize = 12;

/// Of a text that came with a container: a command, the output of a health check.
const MOST_TEXT: usize = 300;

/// Of the last lines that a summary shows.
const MOST_TAIL_BYTES: usize = 4 << 10;

/// Labels by which compose programs mark what they made.
pub(crate) const PROJECT: &str = "com.docker.compose.project";
pub(crate) const SERVICE: &str = "com.docker.compose.service";

/// Which containers are wanted.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Also those that do not run.
    pub all: bool,
    /// A part of the name.
    pub name: Option<String>,
    /// `NAME` or `NAME=VALUE`.
    pub label: Option<String>,
    /// In which state.
    pub state: Option<State>,
}

/// The states of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names say it")]
pub enum State {
    Created,
    Running,
    Paused,
    Restarting,
    Exited,
    Dead,
}

impl State {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Restarting => "restarting",
            Self::Exited => "exited",
            Self::Dead => "dead",
        }
    }
}

/// A container in a list.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// The beginning of its id.
    pub id: String,
    /// What it was made of.
    pub image: String,
    /// Like `running` or `exited`.
    pub state: String,
    /// The same in words, with health or exit code.
    pub status: String,
    /// When it was made, RFC 3339.
    pub created_at: String,
    /// Like `127.0.0.1:8080->80/tcp`, or `80/tcp` if it is not published.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<String>,
    /// Compose project and service, like `shop/web`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
}

/// How a container runs, or ended.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Standing {
    /// Like `running` or `exited`.
    pub state: String,
    /// Of its last end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i64>,
    /// Whether the kernel ended it for lack of memory.
    pub oom_killed: bool,
    /// How often its policy had it started again.
    pub restarts: i64,
    /// Why it could not start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// When it was last started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<String>,
    /// When it last ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<String>,
    /// What its health check says: healthy, unhealthy or starting.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<String>,
    /// What the last failed check printed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_output: Option<String>,
}

/// A container as a whole.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Shown {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: String,
    /// What it was made of, as it was named then.
    pub image: String,
    /// The id of that.
    pub image_id: String,
    /// When it was made, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at: Option<String>,
    /// Program and arguments.
    pub command: Vec<String>,
    /// How it runs, or ended.
    pub standing: Standing,
    /// As in a list.
    pub ports: Vec<String>,
    /// Address in each network, empty while it does not run.
    pub networks: BTreeMap<String, String>,
    /// Like `volume data -> /data` or `host path /srv -> /srv (read-only)`.
    pub mounts: Vec<String>,
    /// Names of its variables; values may be secrets.
    pub environment: Vec<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// What it may use.
    pub limits: Limits,
    /// When it is started again.
    pub restart_policy: String,
    /// Each way in which it reaches the host: privileged, host paths, namespaces, devices, capabilities.
    pub reaches_host: Vec<String>,
    /// The last it printed.
    pub last_lines: Vec<Line>,
}

/// What a container may use; absent where there is no limit.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Limits {
    /// Memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<i64>,
    /// Processors, like 1.5.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpus: Option<f64>,
    /// Processes and threads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub processes: Option<i64>,
}

impl Client {
    /// The containers that are wanted, by name.
    ///
    /// # Errors
    /// What the engine says.
    pub async fn list_containers(&self, wanted: &Wanted) -> Result<Vec<Listed>> {
        let mut filters = HashMap::new();
        let mut filter = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                filters.insert(name.to_owned(), vec![value]);
            }
        };
        filter("label", wanted.label.clone());
        filter("status", wanted.state.map(|state| state.as_str().to_owned()));
        let options = ListContainersOptions {
            all: wanted.all || wanted.state.is_some(),
            filters: Some(filters),
            ..ListContainersOptions::default()
        };
        let found = self.ask(About::Engine, self.docker.list_containers(Some(options))).await?;
        let mut listed: Vec<Listed> = found.into_iter().map(listed).collect();
        // The engine's own filter is a regular expression.
        listed.retain(|one| wanted.name.as_ref().is_none_or(|part| one.name.contains(part.as_str())));
        listed.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(listed)
    }

    /// One container.
    ///
    /// # Errors
    /// `NotFound` with the names near it.
    pub async fn show_container(&self, name: &Name, last_lines: u32) -> Result<Shown> {
        let found = self.inspect(name).await?;
        let ways = self.ways_to_host(&found).await?;
        let mut shown = shown(found, ways);
        shown.last_lines = self.tail(name, last_lines).await?;
        Ok(shown)
    }

    pub(crate) async fn inspect(&self, name: &Name) -> Result<ContainerInspectResponse> {
        let found = self.docker.inspect_container(name, None::<InspectContainerOptions>);
        self.ask(About::Container(name), found).await
    }

    /// The last lines of a container; none where its output goes elsewhere.
    pub(crate) async fn tail(&self, name: &Name, lines: u32) -> Result<Vec<Line>> {
        let mut gather = Gather::new(lines as usize, MOST_TAIL_BYTES, Full::DropOldest);
        if lines > 0 {
            let options = LogsOptionsBuilder::default().stdout(true).stderr(true).tail(&lines.to_string());
            let mut stream = self.logs(name, options.build()).await?;
            while let Some(piece) = self.next(About::Container(name), &mut stream).await.or_else(|err| {
                // A logging driver that does not read what it wrote.
                if err.kind == skynet_core::ErrorKind::Canceled { Err(err) } else { Ok(None) }
            })? {
                gather.take(&piece, &|_| true);
            }
        }
        gather.finish(&|_| true);
        Ok(gather.into_lines())
    }
}

fn listed(found: ContainerSummary) -> Listed {
    let labels = found.labels.unwrap_or_default();
    let mut ports: Vec<String> = found.ports.iter().flatten().map(port).collect();
    ports.sort();
    ports.dedup();
    Listed {
        name: first_name(found.names.as_deref()),
        id: short(found.id.as_deref()),
        image: found.image.unwrap_or_default(),
        state: found.state.map(|state| state.to_string()).unwrap_or_default(),
        status: found.status.unwrap_or_default(),
        created_at: found.created.map(rfc3339).unwrap_or_default(),
        ports,
        service: labels.get(PROJECT).map(|project| {
            labels.get(SERVICE).map_or_else(|| project.clone(), |service| format!("{project}/{service}"))
        }),
    }
}

/// Links have names of their own, like `/web/db`.
fn first_name(names: Option<&[String]>) -> String {
    let names = names.unwrap_or_default();
    let own = names.iter().find(|name| name.matches('/').count() == 1).or(names.first());
    own.map(|name| name.trim_start_matches('/').to_owned()).unwrap_or_default()
}

/// The beginning of an id.
pub(crate) fn short(id: Option<&str>) -> String {
    id.unwrap_or_default().trim_start_matches("sha256:").chars().take(ID_LETTERS).collect()
}

fn port(found: &PortSummary) -> String {
    let kind = found.typ.map(|kind| kind.to_string()).unwrap_or_default();
    let inside = format!("{}/{kind}", found.private_port);
    match found.public_port {
        Some(outside) => format!("{}:{outside}->{inside}", found.ip.as_deref().unwrap_or("0.0.0.0")),
        None => inside,
    }
}

fn ports(found: Option<PortMap>) -> Vec<String> {
    let mut ports: Vec<String> = Vec::new();
    for (inside, bindings) in found.unwrap_or_default() {
        let bindings = bindings.unwrap_or_default();
        if bindings.is_empty() {
            ports.push(inside.clone());
        }
        ports.extend(bindings.iter().map(|binding| {
            let ip = binding.host_ip.as_deref().filter(|ip| !ip.is_empty()).unwrap_or("0.0.0.0");
            format!("{ip}:{}->{inside}", binding.host_port.as_deref().unwrap_or_default())
        }));
    }
    ports.sort();
    ports
}

pub(crate) fn cut(text: &str) -> String {
    let text = text.trim();
    text.get(..text.floor_char_boundary(MOST_TEXT)).unwrap_or(text).to_owned()
}

pub(crate) fn standing(state: Option<ContainerState>, restarts: Option<i64>) -> Standing {
    let state = state.unwrap_or_default();
    let has_ended = state.running != Some(true) && moment(state.finished_at.as_deref()).is_some();
    let check = state.health.filter(|health| {
        !matches!(health.status, None | Some(HealthStatusEnum::NONE | HealthStatusEnum::EMPTY))
    });
    let failed =
        check.as_ref().and_then(|check| check.log.as_ref()?.last()).filter(|last| last.exit_code != Some(0));
    Standing {
        state: state.status.map(|status| status.to_string()).unwrap_or_default(),
        exit_code: state.exit_code.filter(|_| has_ended),
        oom_killed: state.oom_killed.unwrap_or_default(),
        restarts: restarts.unwrap_or_default(),
        error: state.error.filter(|error| !error.is_empty()),
        started_at: moment(state.started_at.as_deref()),
        finished_at: moment(state.finished_at.as_deref()),
        health_output: failed.and_then(|last| last.output.as_deref()).map(cut),
        health: check.and_then(|check| check.status).map(|status| status.to_string()),
    }
}

fn shown(found: ContainerInspectResponse, reaches_host: Vec<String>) -> Shown {
    let standing = standing(found.state, found.restart_count);
    let config = found.config.unwrap_or_default();
    let host = found.host_config.unwrap_or_default();
    let network = found.network_settings.unwrap_or_default();
    let command = found.path.into_iter().chain(found.args.unwrap_or_default());
    let environment = config.env.unwrap_or_default();
    let environment = environment.iter().filter_map(|variable| variable.split('=').next());
    let networks = network.networks.unwrap_or_default().into_iter();
    let limit = |limit: Option<i64>| limit.filter(|limit| *limit > 0);
    let policy = host.restart_policy.and_then(|policy| policy.name).map(|name| name.to_string());
    Shown {
        name: found.name.unwrap_or_default().trim_start_matches('/').to_owned(),
        id: found.id.unwrap_or_default(),
        image: config.image.unwrap_or_default(),
        image_id: found.image.unwrap_or_default(),
        created_at: moment(found.created.as_deref()),
        command: command.map(|word| cut(&word)).collect(),
        standing,
        ports: ports(network.ports),
        networks: networks.map(|(name, end)| (name, end.ip_address.unwrap_or_default())).collect(),
        mounts: found
            .mounts
            .unwrap_or_default()
            .iter()
            .map(|mount| {
                let (kind, source) = match mount.typ.as_deref() {
                    Some("bind") => ("host path", mount.source.as_deref()),
                    Some("tmpfs") => ("memory", Some("")),
                    _ => ("volume", mount.name.as_deref().or(mount.source.as_deref())),
                };
                let source = source.unwrap_or_default();
                let target = mount.destination.as_deref().unwrap_or_default();
                let mode = if mount.rw == Some(false) { " (read-only)" } else { "" };
                format!("{kind} {source} -> {target}{mode}")
            })
            .collect(),
        environment: environment.map(str::to_owned).collect(),
        labels: config.labels.unwrap_or_default().into_iter().collect(),
        limits: Limits {
            memory_bytes: limit(host.memory),
            cpus: limit(host.nano_cpus).map(|nano| nano as f64 / 1e9),
            processes: limit(host.pids_limit),
        },
        restart_policy: policy.filter(|name| !name.is_empty()).unwrap_or_else(|| "no".to_owned()),
        reaches_host,
        last_lines: Vec::new(),
    }
}
