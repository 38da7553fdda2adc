//! Containers made and run.

use crate::{
    Client, ImageName, Line, Name, Restart, Standing,
    client::Stream,
    control::nano,
    failure::About,
    lines::{Full, Gather},
    reach,
};
use bollard::{
    models::{
        ContainerCreateBody, DeviceMapping, HostConfig, Mount as EngineMount, MountType, PortBinding, PortMap,
    },
    query_parameters::{CreateContainerOptions, LogsOptionsBuilder, StartContainerOptions},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Error, Result};
use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

/// Of what a container printed while it was waited for.
const MOST_LINES: usize = 10_000;

/// How long a container that is no longer wanted has to end.
const GRACE_SECONDS: u32 = 5;

/// Something that a container finds in its files.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mount {
    /// A volume's name, made if there is none; or an absolute path of the host, which a human must allow each time. Without it, memory.
    #[serde(default)]
    pub source: Option<String>,
    /// Where it is in the container, an absolute path.
    pub target: String,
    /// Whether it can be written.
    #[serde(default)]
    pub read_only: bool,
}

impl Mount {
    fn is_host_path(&self) -> bool {
        self.source.as_ref().is_some_and(|source| source.starts_with('/'))
    }

    fn of_engine(&self) -> Result<EngineMount> {
        if !self.target.starts_with('/') {
            return Err(Error::invalid_input(format!("the target `{}` is no absolute path", self.target)));
        }
        let typ = match &self.source {
            None => MountType::TMPFS,
            Some(_) if self.is_host_path() => MountType::BIND,
            Some(name) => {
                Name::try_from(name.clone()).map_err(|err| {
                    Error::invalid_input(format!("{}; a path of the host begins with `/`", err.message))
                })?;
                MountType::VOLUME
            }
        };
        Ok(EngineMount {
            typ: Some(typ),
            source: self.source.clone(),
            target: Some(self.target.clone()),
            read_only: Some(self.read_only),
            ..EngineMount::default()
        })
    }
}

/// Namespaces of the host that a container can be in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names say it")]
pub enum Namespace {
    Ipc,
    Network,
    Pid,
    User,
    Uts,
}

/// What gives a container power over the host.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Power {
    /// All of it.
    pub privileged: bool,
    /// Namespaces of the host to be in.
    pub namespaces: Vec<Namespace>,
    /// Capabilities to add, like `SYS_PTRACE`.
    pub capabilities: Vec<String>,
    /// Devices of the host, like `/dev/kvm`.
    pub devices: Vec<String>,
    /// Say so to use a volume that is a path of the host.
    pub host_volumes: bool,
}

/// How a container is made.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// What it is made of.
    pub image: ImageName,
    /// Its name; the engine finds one.
    pub name: Option<Name>,
    /// In place of the image's.
    pub argv: Vec<String>,
    /// In place of the image's.
    pub entrypoint: Vec<String>,
    /// More variables.
    pub environment: BTreeMap<String, String>,
    /// `[ADDRESS:]PORT:PORT[/udp]`.
    pub ports: Vec<String>,
    /// Files.
    pub mounts: Vec<Mount>,
    /// Whether volumes among them may be there already and be written to.
    pub existing_volumes: bool,
    /// Whom it can reach; the engine's own network without.
    pub network: Option<Name>,
    /// Memory.
    pub memory_mib: Option<u32>,
    /// Processors.
    pub cpus: Option<f64>,
    /// Processes and threads.
    pub processes: Option<u32>,
    /// As whom.
    pub user: Option<String>,
    /// Where.
    pub working_directory: Option<String>,
    /// Marks.
    pub labels: BTreeMap<String, String>,
    /// When it is started again.
    pub restart: Option<Restart>,
    /// Whether its own files cannot be written.
    pub read_only: bool,
    /// Power over the host.
    pub host: Power,
}

impl Recipe {
    /// Whether it reaches the host, as far as can be told without looking.
    #[must_use]
    pub fn reaches_host(&self) -> bool {
        self.host.host_volumes
            || self.mounts.iter().any(Mount::is_host_path)
            || !reach::of_settings(&self.settings()).is_empty()
    }

    /// Whether it is in a network.
    #[must_use]
    pub fn has_network(&self) -> bool {
        self.network.as_deref() != Some("none")
    }

    /// Whether it is started again by itself, for ever.
    #[must_use]
    pub const fn restarts_by_itself(&self) -> bool {
        !matches!(self.restart, None | Some(Restart::No))
    }

    fn settings(&self) -> HostConfig {
        let mode = |namespace| self.host.namespaces.contains(&namespace).then(|| "host".to_owned());
        let network = self.network.as_ref().map(ToString::to_string);
        let device = |path: &String| DeviceMapping {
            path_on_host: Some(path.clone()),
            path_in_container: Some(path.clone()),
            cgroup_permissions: Some("rwm".to_owned()),
        };
        HostConfig {
            memory: self.memory_mib.map(|mib| i64::from(mib) << 20),
            nano_cpus: self.cpus.map(nano),
            pids_limit: self.processes.map(i64::from),
            network_mode: mode(Namespace::Network).or(network),
            pid_mode: mode(Namespace::Pid),
            ipc_mode: mode(Namespace::Ipc),
            uts_mode: mode(Namespace::Uts),
            userns_mode: mode(Namespace::User),
            privileged: Some(self.host.privileged),
            cap_add: (!self.host.capabilities.is_empty()).then(|| self.host.capabilities.clone()),
            devices: (!self.host.devices.is_empty()).then(|| self.host.devices.iter().map(device).collect()),
            readonly_rootfs: Some(self.read_only),
            restart_policy: self.restart.map(Restart::policy),
            ..HostConfig::default()
        }
    }

    fn body(&self) -> Result<ContainerCreateBody> {
        let mut settings = self.settings();
        let bindings = bindings(&self.ports)?;
        let exposed: Vec<String> = bindings.keys().cloned().collect();
        settings.port_bindings = (!bindings.is_empty()).then_some(bindings);
        settings.mounts = Some(self.mounts.iter().map(Mount::of_engine).collect::<Result<_>>()?);
        let list = |words: &[String]| (!words.is_empty()).then(|| words.to_vec());
        Ok(ContainerCreateBody {
            image: Some(self.image.to_string()),
            cmd: list(&self.argv),
            entrypoint: list(&self.entrypoint),
            env: Some(variables(&self.environment)?),
            user: self.user.clone(),
            working_dir: self.working_directory.clone(),
            labels: Some(self.labels.clone().into_iter().collect()),
            exposed_ports: (!exposed.is_empty()).then_some(exposed),
            host_config: Some(settings),
            ..ContainerCreateBody::default()
        })
    }
}

/// `NAME=value` of each.
///
/// # Errors
/// `InvalidInput` for what is no variable, or would be a secret that everybody with the engine can read.
pub(crate) fn variables(given: &BTreeMap<String, String>) -> Result<Vec<String>> {
    let one = |(name, value): (&String, &String)| {
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            return Err(Error::invalid_input(format!("`{name}` cannot be a variable of the environment")));
        }
        if value.starts_with("secret://") {
            return Err(Error::invalid_input(format!(
                "`{name}`: whoever may use the engine can read the variables of a container, so no secret becomes one; have the program read it from a volume"
            )));
        }
        Ok(format!("{name}={value}"))
    };
    given.iter().map(one).collect()
}

/// `8080:80`, `127.0.0.1:8080:80/tcp`: loopback, unless an address says otherwise.
fn bindings(ports: &[String]) -> Result<PortMap> {
    let mut all: PortMap = HashMap::new();
    for text in ports {
        let wrong = || {
            Error::invalid_input(format!(
                "`{text}` publishes no port; write `8080:80` for this host's loopback, or `0.0.0.0:8080:80` for all who reach this host, and `/udp` behind if it is that"
            ))
        };
        let (place, kind) = text.split_once('/').unwrap_or((text, "tcp"));
        let (outside, inside) = place.rsplit_once(':').ok_or_else(wrong)?;
        let (address, outside) = outside.rsplit_once(':').unwrap_or(("127.0.0.1", outside));
        let is_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0);
        let is_address = address.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok();
        if !is_port(inside) || !is_port(outside) || !is_address || !["tcp", "udp", "sctp"].contains(&kind) {
            return Err(wrong());
        }
        let binding = PortBinding {
            host_ip: Some(address.trim_matches(['[', ']']).to_owned()),
            host_port: Some(outside.to_owned()),
        };
        all.entry(format!("{inside}/{kind}")).or_default().get_or_insert_default().push(binding);
    }
    Ok(all)
}

/// What is done with a container that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    /// Nothing.
    Create,
    /// It is started.
    Start,
    /// It is started, and waited for; then removed, if that is wanted.
    Wait {
        /// Then it is stopped.
        most: Duration,
        /// Whether it goes with its end.
        remove: bool,
    },
}

/// A container that was made.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Made {
    /// Its name.
    pub container: String,
    /// The beginning of its id.
    pub id: String,
    /// How it runs, or ended.
    pub standing: Standing,
    /// Whether it was stopped because the time was over.
    pub timed_out: bool,
    /// Whether it is gone again.
    pub removed: bool,
    /// What it printed while it was waited for, the last of it.
    pub lines: Vec<Line>,
    /// How many lines before are left out.
    pub left_out: u64,
    /// What the engine warns of.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

impl Client {
    /// Makes a container, and runs it if that is wanted.
    ///
    /// # Errors
    /// `NotFound` for an image that is not here, `Denied` for a volume that is a path of the host, or is there already, and was not declared.
    pub async fn run(&self, ctx: &CallCtx, recipe: &Recipe, run: Run) -> Result<Made> {
        let body = recipe.body()?;
        for (source, mount) in recipe.mounts.iter().filter_map(|mount| Some((mount.source.as_ref()?, mount)))
        {
            if self.is_host_volume(source).await? {
                if !recipe.host.host_volumes {
                    return Err(Error::denied(format!(
                        "the volume `{source}` is a path of the host; set `host.host_volumes`, so that a human is asked"
                    )));
                }
            } else if !mount.read_only && !recipe.existing_volumes && self.has_volume(source).await? {
                return Err(Error::denied(format!(
                    "the volume `{source}` is there already, with what others keep in it; set `existing_volumes` to write to it, mount it with `read_only`, or take a new name"
                )));
            }
        }
        let name = recipe.name.as_ref().map(ToString::to_string);
        let options = CreateContainerOptions { name, ..CreateContainerOptions::default() };
        let created = self.docker.create_container(Some(options), body);
        let created = self.ask(About::Image(&recipe.image), created).await?;
        let id = Name::try_from(created.id)?;
        let mut gather = Gather::new(MOST_LINES, ctx.max_bytes, Full::DropOldest);
        let done = self.run_made(ctx, &id, run, &mut gather).await;
        let is_unwanted = done.is_err() || matches!(run, Run::Wait { remove: true, .. });
        // Read before it goes.
        let found = self.inspect(&id).await;
        if is_unwanted {
            // It is nobody's any more, also if its caller has hung up; what cannot be removed is in the list.
            let _ = self.remove_made(&id).await;
        }
        let timed_out = done?;
        let found = found?;
        gather.finish(&|_| true);
        Ok(Made {
            container: found.name.unwrap_or_default().trim_start_matches('/').to_owned(),
            id: crate::containers::short(found.id.as_deref()),
            standing: crate::containers::standing(found.state, found.restart_count),
            timed_out,
            removed: is_unwanted,
            left_out: gather.lost,
            lines: gather.into_lines(),
            warnings: created.warnings,
        })
    }

    /// Whether it was stopped because the time was over.
    async fn run_made(&self, ctx: &CallCtx, id: &Name, run: Run, gather: &mut Gather) -> Result<bool> {
        if run == Run::Create {
            return Ok(false);
        }
        let about = About::Container(id);
        self.ask(about, self.docker.start_container(id, None::<StartContainerOptions>)).await?;
        let Run::Wait { most, .. } = run else { return Ok(false) };
        let options = LogsOptionsBuilder::default().follow(true).stdout(true).stderr(true).build();
        let mut stream: Stream<'_, _> = Box::pin(self.docker.logs(id, Some(options)));
        let read = async {
            while let Some(piece) = self.next(about, &mut stream).await? {
                gather.take(&piece, &|_| true);
                gather.show(ctx);
            }
            Ok::<_, Error>(())
        };
        match tokio::time::timeout(most, read).await {
            Ok(read) => {
                read?;
                // Its output ends a moment before it does.
                let ended = self.wait_container(id, most).await?;
                if ended.has_ended {
                    return Ok(false);
                }
            }
            Err(_) => gather.show_now(ctx),
        }
        self.control(id, crate::Action::Stop, GRACE_SECONDS, "", true).await?;
        Ok(true)
    }

    /// Removes what this call made, also after it was canceled.
    async fn remove_made(&self, id: &Name) -> std::result::Result<(), bollard::errors::Error> {
        let options = bollard::query_parameters::RemoveContainerOptions { force: true, v: true, link: false };
        self.docker.remove_container(id, Some(options)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_published_on_loopback_unless_an_address_is_given() {
        let found = bindings(&["8080:80".into(), "0.0.0.0:53:53/udp".into(), "[::1]:1:2".into()]).unwrap();
        let place = |port: &str| {
            let binding = found.get(port).cloned().flatten().unwrap().remove(0);
            format!("{} {}", binding.host_ip.unwrap(), binding.host_port.unwrap())
        };
        assert_eq!(
            (place("80/tcp"), place("53/udp"), place("2/tcp")),
            ("127.0.0.1 8080".into(), "0.0.0.0 53".into(), "::1 1".into())
        );
        for wrong in ["80", "a:80", "0:80", "8080:80/xyz", "host:8080:80", "1:2:3:4"] {
            assert!(bindings(&[wrong.to_owned()]).is_err(), "{wrong}");
        }
    }
}
