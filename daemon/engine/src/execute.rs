//! Commands in containers that run.

use crate::{Client, Name, client::Stream, create::variables, failure::About, reach};
use bollard::{
    container::LogOutput,
    exec::{StartExecOptions, StartExecResults},
    models::{ContainerInspectResponse, ExecConfig},
};
use schemars::JsonSchema;
use serde::Serialize;
use skynet_core::{CallCtx, Error, Result};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};
use tokio::io::AsyncWriteExt as _;

/// Of each stream; the rest is lost, and the command may wait for its reader for ever.
const MOST_BYTES: usize = 1 << 20;

/// How often the client is shown what a command writes.
const SHOW_EVERY: Duration = Duration::from_millis(250);

/// A command, and how it is run.
#[derive(Clone, Debug)]
pub struct Task {
    /// Where.
    pub container: Name,
    /// Program and arguments.
    pub argv: Vec<String>,
    /// As whom.
    pub user: Option<String>,
    /// In which directory.
    pub working_directory: Option<String>,
    /// More variables.
    pub environment: BTreeMap<String, String>,
    /// What it reads.
    pub stdin: Option<String>,
    /// How long it is waited for.
    pub most: Duration,
    /// Whether the container is known to reach the host.
    pub reaches_host: bool,
}

/// How a command ended.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Executed {
    /// Its exit code; absent while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i64>,
    /// Whether it goes on in the container: its time was over, or it wrote more than 1 MiB. The engine cannot end it.
    pub still_running: bool,
    /// What it wrote to stdout.
    pub stdout: String,
    /// What it wrote to stderr.
    pub stderr: String,
}

impl Client {
    /// Refuses what would be done in a container that reaches the host, unless that was declared, so that a human was asked.
    /// Returns its id: by then another one may have its name.
    pub(crate) async fn check_reach(&self, name: &Name, is_declared: bool) -> Result<Name> {
        let found = self.inspect(name).await?;
        let ways = self.ways_to_host(&found).await?;
        if is_declared || ways.is_empty() {
            return Name::try_from(found.id.unwrap_or_default());
        }
        Err(Error::denied(format!(
            "`{name}` reaches the host ({}); set `reaches_host`, so that a human is asked",
            ways.join(", ")
        )))
    }

    /// In words, each way in which a container reaches the host, by its volumes as well.
    pub(crate) async fn ways_to_host(&self, found: &ContainerInspectResponse) -> Result<Vec<String>> {
        let mut ways = reach::of_container(found);
        for mount in found.mounts.iter().flatten().filter(|mount| mount.typ.as_deref() == Some("volume")) {
            let name = mount.name.as_deref().unwrap_or_default();
            if self.is_host_volume(name).await? {
                ways.push(format!("volume {name}, which is a path of the host"));
            }
        }
        Ok(ways)
    }

    /// Runs a command in a container.
    ///
    /// # Errors
    /// `Conflict` for a container that does not run, `Denied` for one that reaches the host when that was not declared.
    pub async fn execute(&self, ctx: &CallCtx, task: &Task) -> Result<Executed> {
        let about = About::Container(&task.container);
        let id = self.check_reach(&task.container, task.reaches_host).await?;
        let config = ExecConfig {
            attach_stdin: Some(task.stdin.is_some()),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            cmd: Some(task.argv.clone()),
            env: Some(variables(&task.environment)?),
            user: task.user.clone(),
            working_dir: task.working_directory.clone(),
            ..ExecConfig::default()
        };
        let made = self.ask(about, self.docker.create_exec(&id, config)).await?;
        let started = self.docker.start_exec(&made.id, None::<StartExecOptions>);
        let StartExecResults::Attached { mut output, mut input } = self.ask(about, started).await? else {
            return Err(Error::internal("the engine runs it where nobody hears it"));
        };
        let stdin = task.stdin.clone().unwrap_or_default();
        let write = async {
            // A command that reads less than it is given is no error.
            let _ = input.write_all(stdin.as_bytes()).await;
            let _ = input.shutdown().await;
            std::future::pending::<()>().await;
        };
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let read = async {
            let stream: &mut Stream<'_, LogOutput> = &mut output;
            let mut shown_at = Instant::now();
            while let Some(piece) = self.next(about, stream).await? {
                let into = if matches!(piece, LogOutput::StdErr { .. }) { &mut stderr } else { &mut stdout };
                into.extend_from_slice(piece.as_ref());
                if into.len() > MOST_BYTES {
                    into.truncate(MOST_BYTES);
                    return Ok(());
                }
                if shown_at.elapsed() >= SHOW_EVERY {
                    shown_at = Instant::now();
                    let text = String::from_utf8_lossy(piece.as_ref()).into_owned();
                    ctx.progress((stdout.len() + stderr.len()) as f64, None, text.trim_end());
                }
            }
            Ok::<_, Error>(())
        };
        tokio::select! {
            // Only whose time is over still runs.
            read = tokio::time::timeout(task.most, read) => read.unwrap_or(Ok(()))?,
            () = write => {}
        }
        let found = self.ask(about, self.docker.inspect_exec(&made.id)).await?;
        let still_running = found.running == Some(true);
        Ok(Executed {
            exit_code: found.exit_code.filter(|_| !still_running),
            still_running,
            stdout: String::from_utf8_lossy(&stdout).into_owned(),
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
        })
    }
}
