//! A command in a container of its own, which holds a copy of the workspace, if that is wanted, and is gone afterwards.

use crate::{
    Client, Engine, ImageName, Name,
    client::{Stream, canceled},
    create::variables,
    failure::About,
    files::tar,
};
use bollard::{
    Docker,
    container::{AttachContainerResults, LogOutput},
    models::{
        ContainerCreateBody, ContainerStatsResponse, HealthConfig, HostConfig, Mount, MountTmpfsOptions,
        MountType, ResourcesUlimits,
    },
    query_parameters::{
        AttachContainerOptions, CreateContainerOptions, InspectContainerOptions, KillContainerOptions,
        ListContainersOptions, RemoveContainerOptions, StartContainerOptions, StatsOptions,
    },
};
use jiff::Timestamp;
use skynet_core::{CallCtx, Error, Result};
use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};
use tokio::{io::AsyncWriteExt as _, runtime::Handle};

/// Where the copy is.
const WORKSPACE: &str = "/workspace";

/// Memory, which is where a command starts that has no copy.
const SCRATCH: &str = "/tmp";

/// How often the client is shown what a command writes.
const SHOW_EVERY: Duration = Duration::from_millis(250);

/// How often it is looked what a container wrote to its disk, which costs the engine a walk over it.
const WEIGH_EVERY: Duration = Duration::from_secs(2);

/// The workspace is copied within that time, or not at all.
const COPY: Duration = Duration::from_secs(60);

/// The label that says until when a container is wanted, in seconds since 1970.
const UNTIL: &str = "skynet.until";

/// After that it is nobody's.
const OVERDUE: Duration = Duration::from_secs(120);

/// A command whose output has ended has ended, or closed it: then it is ended.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// A command, and what it may use.
#[derive(Clone, Debug)]
pub struct Apart {
    /// What its container is made of; it must be here already.
    pub image: ImageName,
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Where it starts in its copy of the workspace; `None` for one that has no copy.
    pub directory: Option<String>,
    /// More variables.
    pub environment: BTreeMap<String, String>,
    /// What it reads.
    pub stdin: Option<String>,
    /// As whom: whoever the files belong to.
    pub uid: u32,
    /// With which group.
    pub gid: u32,
    /// Memory, and no swap.
    pub memory_bytes: u64,
    /// Processes and threads.
    pub processes: u64,
    /// Processor time of each process.
    pub cpu_seconds: Option<u64>,
    /// Written to the container's own disk; looked at every other second.
    pub disk_bytes: u64,
    /// Of `/tmp`, which is memory.
    pub scratch_bytes: u64,
    /// Of stdout, and of stderr: what is kept of both must fit a message to the client.
    pub output_bytes: usize,
    /// How long it may take.
    pub most: Duration,
}

/// What ended a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Because {
    /// Itself.
    Itself,
    /// [`Apart::most`].
    Time,
    /// [`Apart::memory_bytes`].
    Memory,
    /// [`Apart::disk_bytes`].
    Disk,
    /// It wrote more than is kept.
    Output,
}

/// How a command went.
#[derive(Clone, Debug)]
pub struct Went {
    /// Its exit code, 128 and the signal's number where one ended it (bash(1), "Exit Status").
    pub exit_code: i64,
    /// What ended it.
    pub because: Because,
    /// What it wrote.
    pub stdout: Vec<u8>,
    /// What it wrote.
    pub stderr: Vec<u8>,
    /// How long it ran.
    pub wall: Duration,
    /// Processor time of all its processes, as last seen; they are looked at once a second.
    pub cpu: Duration,
    /// The most memory it took, the same way.
    pub peak_memory_bytes: u64,
}

impl Client {
    /// Runs a command in a container without network, capabilities or a path of the host, made for it and removed at its end.
    ///
    /// # Errors
    /// `NotFound` for an image that is not here or a program that is not in it.
    pub async fn run_apart(&self, engine: &Engine, ctx: &CallCtx, apart: &Apart) -> Result<Went> {
        self.remove_overdue().await;
        let volumes = self.volumes_of(&apart.image).await?;
        let (docker, body) = (self.docker.clone(), body(apart, &volumes)?);
        // By itself, because the engine makes it whether or not somebody still waits: what nobody takes over removes itself.
        let creating = tokio::spawn(async move {
            let created = docker.create_container(None::<CreateContainerOptions>, body).await?;
            Ok(Removal(Some((docker, created.id))))
        });
        let created = async { creating.await.unwrap_or_else(|err| Err(std::io::Error::other(err).into())) };
        let removal: Removal = self.ask(About::Image(&apart.image), created).await?;
        let id = Name::try_from(removal.id())?;
        let went = self.run_made_apart(engine, ctx, &id, apart).await;
        removal.now().await;
        went
    }

    /// What a daemon left behind that died over it: nobody else ends it.
    async fn remove_overdue(&self) {
        let filters = HashMap::from([("label".to_owned(), vec![UNTIL.to_owned()])]);
        let options =
            ListContainersOptions { all: true, filters: Some(filters), ..ListContainersOptions::default() };
        // What cannot be listed or removed is looked at the next time.
        let found = self.docker.list_containers(Some(options)).await.unwrap_or_default();
        let now = Timestamp::now().as_second();
        for one in found {
            let until = one.labels.as_ref().and_then(|labels| labels.get(UNTIL)?.parse::<i64>().ok());
            if let (Some(id), true) = (one.id, until.is_some_and(|until| until < now)) {
                let _ = self.docker.remove_container(&id, Some(removal())).await;
            }
        }
    }

    /// Where an image wants disks of its own.
    async fn volumes_of(&self, image: &ImageName) -> Result<Vec<String>> {
        let found = self.ask(About::Image(image), self.docker.inspect_image(image)).await?;
        Ok(found.config.and_then(|config| config.volumes).unwrap_or_default())
    }

    /// Copies the workspace of the call into a container.
    async fn copy_workspace(&self, engine: &Engine, ctx: &CallCtx, id: &Name, most: u64) -> Result<()> {
        ctx.progress(0.0, None, "copying the workspace into the container");
        // The directory itself too, so that it is whose it was. Where links lead is not changed (tar(1), `--transform`).
        let argv = tar(&["--create", "--file=-", "--transform=s,^\\.,workspace,rSh", "."]);
        let filled = tokio::time::timeout(COPY, self.fill(engine, ctx, id, argv, "/", most)).await;
        filled.map_err(|_| {
            Error::timed_out(format!(
                "the workspace could not be copied within {} s; work in a smaller directory",
                COPY.as_secs()
            ))
        })??;
        Ok(())
    }

    async fn run_made_apart(&self, engine: &Engine, ctx: &CallCtx, id: &Name, apart: &Apart) -> Result<Went> {
        let about = About::Container(id);
        if apart.directory.is_some() {
            self.copy_workspace(engine, ctx, id, apart.disk_bytes).await?;
        }
        let options = AttachContainerOptions {
            stream: true,
            stdin: apart.stdin.is_some(),
            stdout: true,
            stderr: true,
            ..AttachContainerOptions::default()
        };
        // Before it starts, so that nothing is missed.
        let attached = self.ask(about, self.docker.attach_container(id, Some(options))).await?;
        let began = Instant::now();
        self.ask(about, self.docker.start_container(id, None::<StartContainerOptions>)).await?;
        let mut heard = Heard { most_bytes: apart.output_bytes, ..Heard::default() };
        let because = tokio::select! {
            because = self.hear(ctx, id, apart.stdin.as_deref().unwrap_or_default(), attached, &mut heard) => because?,
            because = self.outgrow(id, apart.disk_bytes) => because?,
            () = tokio::time::sleep(apart.most) => Because::Time,
        };
        let has_ended = because == Because::Itself && self.wait_container(id, LAST_WORDS).await?.has_ended;
        let wall = began.elapsed();
        if !has_ended {
            // What has ended meanwhile needs no end.
            let _ = self.docker.kill_container(id, None::<KillContainerOptions>).await;
        }
        let ended = self.wait_container(id, LAST_WORDS).await?;
        let because = if ended.oom_killed && because == Because::Itself { Because::Memory } else { because };
        Ok(Went {
            exit_code: ended.exit_code.unwrap_or(-1),
            because,
            stdout: heard.stdout,
            stderr: heard.stderr,
            wall,
            cpu: heard.cpu,
            peak_memory_bytes: heard.peak_memory_bytes,
        })
    }

    /// Listens until there is nothing more to hear, or too much.
    async fn hear(
        &self,
        ctx: &CallCtx,
        id: &Name,
        stdin: &str,
        attached: AttachContainerResults,
        heard: &mut Heard,
    ) -> Result<Because> {
        let about = About::Container(id);
        let AttachContainerResults { mut output, mut input } = attached;
        let write = async {
            // A command that reads less than it is given is no error.
            let _ = input.write_all(stdin.as_bytes()).await;
            let _ = input.shutdown().await;
            std::future::pending::<()>().await;
        };
        let options = StatsOptions { stream: true, one_shot: false };
        let mut stats: Stream<'_, ContainerStatsResponse> = Box::pin(self.docker.stats(id, Some(options)));
        let mut stats_ended = false;
        tokio::pin!(write);
        let output: &mut Stream<'_, LogOutput> = &mut output;
        loop {
            tokio::select! {
                piece = self.next(about, output) => match piece? {
                    Some(piece) => {
                        if heard.take(&piece) {
                            return Ok(Because::Output);
                        }
                        heard.show(ctx);
                    }
                    None => return Ok(Because::Itself),
                },
                seen = self.next(about, &mut stats), if !stats_ended => match seen {
                    Ok(Some(seen)) => heard.see(&seen),
                    // Without figures it runs as well.
                    Ok(None) | Err(_) => stats_ended = true,
                },
                () = &mut write => {}
                () = ctx.cancel.cancelled() => return Err(canceled()),
            }
        }
    }

    /// Waits until a container wrote more than that over its image.
    async fn outgrow(&self, id: &Name, most: u64) -> Result<Because> {
        loop {
            tokio::time::sleep(WEIGH_EVERY).await;
            let inspected = self.docker.inspect_container(id, Some(InspectContainerOptions { size: true }));
            let found = self.ask(About::Container(id), inspected).await?;
            if found.size_rw.and_then(|bytes| u64::try_from(bytes).ok()).is_some_and(|bytes| bytes > most) {
                return Ok(Because::Disk);
            }
        }
    }
}

/// Removes a container, also if nobody waits any more for the call that made it.
struct Removal(Option<(Docker, String)>);

impl Removal {
    fn id(&self) -> String {
        self.0.as_ref().map(|(_, id)| id.clone()).unwrap_or_default()
    }

    async fn now(mut self) {
        if let Some((docker, id)) = self.0.take() {
            // What cannot be removed is overdue one day.
            let _ = docker.remove_container(&id, Some(removal())).await;
        }
    }
}

impl Drop for Removal {
    fn drop(&mut self) {
        if let (Some((docker, id)), Ok(runtime)) = (self.0.take(), Handle::try_current()) {
            runtime.spawn(async move { docker.remove_container(&id, Some(removal())).await });
        }
    }
}

const fn removal() -> RemoveContainerOptions {
    RemoveContainerOptions { force: true, v: true, link: false }
}

fn body(apart: &Apart, volumes: &[String]) -> Result<ContainerCreateBody> {
    let Apart { uid, gid, .. } = apart;
    let bytes = |bytes: u64| i64::try_from(bytes).ok();
    let cpu = apart.cpu_seconds.and_then(bytes).map(|seconds| ResourcesUlimits {
        name: Some("cpu".to_owned()),
        soft: Some(seconds),
        hard: Some(seconds.saturating_add(1)),
    });
    let directory = apart.directory.as_deref().map(|path| path.trim_start_matches("./").trim_matches('/'));
    let place = match directory {
        None => SCRATCH.to_owned(),
        Some(".") => WORKSPACE.to_owned(),
        Some(directory) => format!("{WORKSPACE}/{directory}"),
    };
    let mut environment = variables(&apart.environment)?;
    if !apart.environment.contains_key("HOME") {
        // Whoever it runs as has no home in the image.
        environment.push(format!("HOME={SCRATCH}"));
    }
    let settings = HostConfig {
        memory: bytes(apart.memory_bytes),
        memory_swap: bytes(apart.memory_bytes),
        pids_limit: bytes(apart.processes),
        network_mode: Some("none".to_owned()),
        cap_drop: Some(vec!["ALL".to_owned()]),
        security_opt: Some(vec!["no-new-privileges".to_owned()]),
        tmpfs: Some(HashMap::from([(
            SCRATCH.to_owned(),
            // Owned, because an engine may give it the mode of a directory that it made for it.
            format!("rw,exec,nosuid,nodev,mode=1777,uid={uid},gid={gid},size={}", apart.scratch_bytes),
        )])),
        // On a disk of its own nobody would look at what is written.
        mounts: Some(volumes.iter().map(|target| in_memory(target, apart.scratch_bytes)).collect()),
        ulimits: cpu.map(|limit| vec![limit]),
        ..HostConfig::default()
    };
    let has_stdin = apart.stdin.is_some();
    let until = Timestamp::now() + apart.most + COPY + OVERDUE;
    Ok(ContainerCreateBody {
        image: Some(apart.image.to_string()),
        // The image's own would run before it.
        entrypoint: Some(apart.argv.clone()),
        cmd: Some(Vec::new()),
        env: Some(environment),
        user: Some(format!("{uid}:{gid}")),
        working_dir: Some(place),
        attach_stdin: Some(has_stdin),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        open_stdin: Some(has_stdin),
        stdin_once: Some(has_stdin),
        labels: Some(HashMap::from([(UNTIL.to_owned(), until.as_second().to_string())])),
        // The image's own would run beside it (Docker Engine API, `HealthConfig.Test`).
        healthcheck: Some(HealthConfig { test: Some(vec!["NONE".to_owned()]), ..HealthConfig::default() }),
        host_config: Some(settings),
        ..ContainerCreateBody::default()
    })
}

fn in_memory(target: &str, bytes: u64) -> Mount {
    let options = MountTmpfsOptions { size_bytes: i64::try_from(bytes).ok(), ..MountTmpfsOptions::default() };
    Mount {
        typ: Some(MountType::TMPFS),
        target: Some(target.to_owned()),
        tmpfs_options: Some(options),
        ..Mount::default()
    }
}

/// What is known of a command while it runs.
#[derive(Default)]
struct Heard {
    /// Of each stream.
    most_bytes: usize,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    shown_at: Option<Instant>,
    cpu: Duration,
    peak_memory_bytes: u64,
}

impl Heard {
    /// Whether that was more than is kept.
    fn take(&mut self, piece: &LogOutput) -> bool {
        let into =
            if matches!(piece, LogOutput::StdErr { .. }) { &mut self.stderr } else { &mut self.stdout };
        into.extend_from_slice(piece.as_ref());
        let is_full = into.len() > self.most_bytes;
        into.truncate(self.most_bytes);
        is_full
    }

    fn show(&mut self, ctx: &CallCtx) {
        if self.shown_at.is_some_and(|at| at.elapsed() < SHOW_EVERY) {
            return;
        }
        self.shown_at = Some(Instant::now());
        let text = String::from_utf8_lossy(&self.stdout);
        let line = text.trim_end().lines().next_back().unwrap_or_default();
        ctx.progress((self.stdout.len() + self.stderr.len()) as f64, None, line);
    }

    fn see(&mut self, seen: &ContainerStatsResponse) {
        let used = seen.cpu_stats.as_ref().and_then(|cpu| cpu.cpu_usage.as_ref()?.total_usage);
        self.cpu = self.cpu.max(Duration::from_nanos(used.unwrap_or_default()));
        let memory = seen.memory_stats.as_ref().and_then(|memory| memory.max_usage.or(memory.usage));
        self.peak_memory_bytes = self.peak_memory_bytes.max(memory.unwrap_or_default());
    }
}
