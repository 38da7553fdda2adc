//! Runs a command.

use crate::{
    Host,
    container::Backend,
    limits::More,
    network::{Network, Open},
    outcome::{EndedBy, Output},
    output::{Capture, MOST_BYTES},
    program::{Interpreter, Program},
};
use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags, fcntl_add_seals, memfd_create};
use schemars::JsonSchema;
use serde::Deserialize;
use skynet_core::{CallCtx, CommandLine, Effect, Error, Place, Result, Subject, Tool, Usage};
use skynet_sandbox::{
    Command,
    protocol::{Cause, Ended, Limits},
};
use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Seek as _, Write as _},
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::Notify;

/// How often the client is shown what a command writes.
const SHOW_EVERY: Duration = Duration::from_millis(250);

/// Of the paths in an answer.
const MOST_QUARANTINED: usize = 100;

pub(crate) struct ExecRun(pub(crate) Arc<Host>);

const fn default_timeout() -> u32 {
    120
}

const fn default_memory() -> u32 {
    2048
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Program and arguments, without a shell; with `script`, its arguments.
    #[serde(default)]
    command: Vec<String>,
    /// Instead of a program.
    #[serde(default)]
    script: Option<String>,
    /// What reads `script`.
    #[serde(default)]
    interpreter: Interpreter,
    /// Where in the workspace.
    #[serde(default)]
    cwd: Option<String>,
    /// More variables (`secret://NAME`: a secret).
    #[serde(default)]
    #[schemars(extend("writeOnly" = true))]
    environment: BTreeMap<String, String>,
    /// Text for stdin.
    #[serde(default)]
    #[schemars(extend("writeOnly" = true))]
    stdin: Option<String>,
    /// Ended after so long.
    #[serde(default = "default_timeout")]
    #[schemars(range(min = 1, max = 3600))]
    timeout_seconds: u32,
    /// Most memory.
    #[serde(default = "default_memory")]
    #[schemars(range(min = 16, max = 65536))]
    memory_mib: u32,
    /// More limits.
    #[serde(default)]
    limits: More,
    /// Ways out; a human may be asked.
    #[serde(default)]
    network: Network,
    /// `docker`: in a container of `image`, on a copy of the workspace.
    #[serde(default)]
    pub(crate) backend: Backend,
    /// For `docker`.
    #[serde(default)]
    pub(crate) image: Option<String>,
}

impl Input {
    fn program(&self) -> Program<'_> {
        Program {
            command: &self.command,
            script: self.script.as_deref(),
            interpreter: self.interpreter,
            cwd: self.cwd.as_deref(),
            environment: &self.environment,
        }
    }

    pub(crate) fn task(&self) -> Task<'_> {
        Task {
            program: self.program(),
            stdin: self.stdin.as_deref(),
            limits: self.limits.with(self.timeout_seconds, self.memory_mib),
            output_bytes: MOST_BYTES,
            network: &self.network,
            preview: None,
            is_apart: false,
        }
    }

    /// What it does to the world.
    pub(crate) fn effect(&self) -> Effect {
        self.backend.effect(&self.network)
    }

    /// Those it names.
    pub(crate) fn secrets(&self) -> Vec<String> {
        self.backend.secrets(&self.environment, &self.network)
    }

    /// What it starts, for the policy to judge.
    pub(crate) fn command_line(&self, host: &Host) -> Result<CommandLine> {
        self.program().command_line(host, self.stdin.is_some())
    }
}

impl Tool for ExecRun {
    const NAME: &'static str = "exec_run";
    const SUMMARY: &'static str = "Run a program or script in the workspace: build, test, lint, compute. Sandboxed: no network by default, own home and /tmp; of the user's files only the workspace.";
    const KEYWORDS: &'static str = "execute shell bash terminal command line program script python node npm cargo make pytest compile build test lint run | exécuter lancer commande terminal programme script compiler construire tester";
    const EFFECT: Effect = Effect::Write;
    const MOST: Effect = Effect::External;
    const PLACE: Place = Place::Daemon;
    const TIMEOUT: Duration = Duration::from_secs(3700);
    type Input = Input;
    type Output = Output;

    fn effect(&self, input: &Input) -> Effect {
        input.effect()
    }

    fn secrets(&self, input: &Input) -> Vec<String> {
        input.secrets()
    }

    fn command(&self, input: &Input) -> Result<Option<CommandLine>> {
        input.command_line(&self.0).map(Some)
    }

    fn acts_as(&self, input: &Input) -> &'static [&'static str] {
        input.backend.acts_as()
    }

    fn changes(&self, input: &Input) -> Vec<Subject> {
        match input.backend {
            Backend::Sandbox => vec![Subject::Anywhere],
            // It works on a copy.
            Backend::Docker => Vec::new(),
        }
    }

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        input.backend.run(&self.0, ctx, &input.task(), input.image.as_deref()).await
    }
}

/// What is run, and how.
pub(crate) struct Task<'a> {
    pub(crate) program: Program<'a>,
    pub(crate) stdin: Option<&'a str>,
    pub(crate) limits: Limits,
    /// Of stdout, and of stderr: it is ended when it writes more.
    pub(crate) output_bytes: usize,
    pub(crate) network: &'a Network,
    /// Where to write what it would change, if it is to change nothing.
    pub(crate) preview: Option<BorrowedFd<'a>>,
    /// Whether it has an empty directory in place of the workspace.
    pub(crate) is_apart: bool,
}

/// Runs it, and tells how that went.
pub(crate) async fn in_slot(host: &Host, ctx: &CallCtx, task: &Task<'_>) -> Result<Output> {
    let private_home = Host::private_home(ctx.workspace()?);
    let command = host.command(ctx, &task.program, &private_home, task.limits, task.network);
    let command = command.await?;
    let mut network = task.network.open(&host.reachable, Some(ctx)).await?;
    let certificates = network.as_ref().and_then(Open::certificates);
    let command = Command { preview: task.preview, is_apart: task.is_apart, certificates, ..command };
    let pipes = |err| Error::unavailable("the command cannot be given its streams").with_source(err);
    let changed = Arc::new(Notify::new());
    let stdin = stdin(task.stdin).map_err(pipes)?;
    let (stdout, write_stdout) = Capture::start(&changed, task.output_bytes).map_err(pipes)?;
    let (stderr, write_stderr) = Capture::start(&changed, task.output_bytes).map_err(pipes)?;
    let stdio = [stdin.as_fd(), write_stdout.as_fd(), write_stderr.as_fd()];
    let mut running = host.slots.run(command, stdio).await?;
    // Whoever holds an end keeps the reader waiting.
    drop((stdin, write_stdout, write_stderr));
    if let Some(network) = &mut network {
        network.serve(running.network().await?)?;
    }
    let (mut is_killed, mut shown_at) = (false, Instant::now());
    let ended = loop {
        tokio::select! {
            ended = running.ended() => break ended,
            () = ctx.cancel.cancelled(), if !is_killed => {
                is_killed = true;
                running.kill().await;
            }
            () = changed.notified() => {
                if !is_killed && (stdout.is_full() || stderr.is_full()) {
                    is_killed = true;
                    running.kill().await;
                }
                if shown_at.elapsed() >= SHOW_EVERY {
                    shown_at = Instant::now();
                    let ((out, line), (err, _)) = (stdout.last_line(), stderr.last_line());
                    ctx.progress((out + err) as f64, None, line);
                }
            }
        }
    };
    let ended = ended?;
    // Also one that was canceled has used it.
    ctx.charge(usage(&ended));
    ctx.check_canceled()?;
    let (out_is_full, stdout) = stdout.finish().await;
    let (err_is_full, stderr) = stderr.finish().await;
    let ended_by = match ended.cause() {
        _ if out_is_full || err_is_full => EndedBy::Output,
        Cause::Itself => EndedBy::Itself,
        Cause::Time => EndedBy::Timeout,
        Cause::Memory => EndedBy::Memory,
        Cause::Cpu => EndedBy::Cpu,
        Cause::Disk => EndedBy::Disk,
        Cause::Killed => EndedBy::Host,
    };
    Ok(Output {
        exit_code: ended.code,
        signal: ended.signal,
        ended_by,
        stdout: String::from_utf8_lossy(&stdout).into_owned(),
        stderr: String::from_utf8_lossy(&stderr).into_owned(),
        wall_seconds: Duration::from_micros(ended.wall_us).as_secs_f64(),
        cpu_seconds: Duration::from_micros(ended.cpu_us).as_secs_f64(),
        peak_memory_bytes: ended.peak_memory_bytes,
        quarantined_count: ended.quarantined_count,
        quarantined: quarantined(&ended),
        refused_hosts: network.map(|network| network.refused()).unwrap_or_default(),
    })
}

/// What a command used.
pub(crate) fn usage(ended: &Ended) -> Usage {
    Usage { cpu: Duration::from_micros(ended.cpu_us), ..Usage::default() }
}

/// The first of them.
pub(crate) fn quarantined(ended: &Ended) -> Vec<String> {
    let paths = ended.quarantined.iter().take(MOST_QUARANTINED);
    paths.map(|path| String::from_utf8_lossy(path).into_owned()).collect()
}

/// A file that holds the text, or nothing.
fn stdin(text: Option<&str>) -> io::Result<OwnedFd> {
    let Some(text) = text else {
        return Ok(rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?);
    };
    sealed("stdin", text)
}

/// A file in memory that holds the text, for good.
pub(crate) fn sealed(name: &str, text: &str) -> io::Result<OwnedFd> {
    let mut file = File::from(memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?);
    file.write_all(text.as_bytes())?;
    file.rewind()?;
    // A command that could write to it had memory that nobody counts.
    fcntl_add_seals(&file, SealFlags::SEAL | SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK)?;
    Ok(file.into())
}
