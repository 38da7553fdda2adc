//! Starts a command that goes on without the call.

use crate::{
    Host,
    jobs::{Card, Job, Scope},
    limits::More,
    network::{Network, Open},
    program::{Interpreter, Program},
};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, CommandLine, Effect, Error, Place, Result, Subject, Tool};
use skynet_sandbox::{job::Request, protocol::TerminalSize, refusal};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// Of the command, in a list.
const MOST_SHOWN: usize = 200;

pub(crate) struct ExecStartJob(pub(crate) Arc<Host>);

const fn default_timeout() -> u32 {
    LONGEST
}

/// A week. What should go on for ever is a service.
const LONGEST: u32 = 7 * 24 * 3600;

const fn default_memory() -> u32 {
    2048
}

const fn default_rows() -> u16 {
    24
}

const fn default_columns() -> u16 {
    80
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
    /// More variables (`secret://NAME` for a secret).
    #[serde(default)]
    #[schemars(extend("writeOnly" = true))]
    environment: BTreeMap<String, String>,
    /// What to call it in lists.
    #[serde(default)]
    #[schemars(length(min = 1, max = 64))]
    name: Option<String>,
    /// Give it a terminal in place of pipes: for programs that are interactive, or write differently to one.
    #[serde(default)]
    pty: bool,
    /// Lines of the terminal.
    #[serde(default = "default_rows")]
    #[schemars(range(min = 1, max = 1000))]
    rows: u16,
    /// Characters of its lines.
    #[serde(default = "default_columns")]
    #[schemars(range(min = 1, max = 1000))]
    columns: u16,
    /// It is ended after so long.
    #[serde(default = "default_timeout")]
    #[schemars(range(min = 1, max = 604_800))]
    timeout_seconds: u32,
    /// Most memory.
    #[serde(default = "default_memory")]
    #[schemars(range(min = 16, max = 65536))]
    memory_mib: u32,
    /// More limits.
    #[serde(default)]
    limits: More,
    /// Ways out and in, which a human may have to allow.
    #[serde(default)]
    network: Network,
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
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// Its id, for the other tools.
    job: String,
}

impl Tool for ExecStartJob {
    const NAME: &'static str = "exec_start_job";
    const SUMMARY: &'static str = "Start a program or script as a background job: a development server, a watcher, a long build, an interactive program. Sandboxed as `exec_run`. It outlives this call, this session and the daemon; its stdin stays open. stdout and stderr are kept together: the first MiB, and the last 7.";
    const KEYWORDS: &'static str = "background job daemon server dev watch long running detach nohup start launch spawn terminal pty tty interactive repl process | arrière-plan tâche de fond démarrer lancer serveur développement terminal interactif processus";
    const EFFECT: Effect = Effect::Write;
    const MOST: Effect = Effect::External;
    const PLACE: Place = Place::Daemon;
    const TIMEOUT: Duration = Duration::from_secs(60);
    type Input = Input;
    type Output = Output;

    fn effect(&self, input: &Input) -> Effect {
        input.network.effect(Self::EFFECT)
    }

    fn secrets(&self, input: &Input) -> Vec<String> {
        crate::secrets_of(&input.environment).into_iter().chain(input.network.secrets()).collect()
    }

    fn command(&self, input: &Input) -> Result<Option<CommandLine>> {
        // What is typed into it later is for nobody to judge, so it is judged as one that reads.
        input.program().command_line(&self.0, true).map(Some)
    }

    fn changes(&self, _input: &Input) -> Vec<Subject> {
        vec![Subject::Anywhere]
    }

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let program = input.program();
        let private_home = Host::private_home(ctx.workspace()?);
        let limits = input.limits.with(input.timeout_seconds, input.memory_mib);
        let mut command = self.0.command(ctx, &program, &private_home, limits, &input.network).await?;
        let network = input.network.open(&self.0.reachable, Some(ctx)).await?;
        command.certificates = network.as_ref().and_then(Open::certificates);
        if input.pty && !input.environment.contains_key("TERM") {
            command.environment.retain(|variable| !variable.starts_with(b"TERM="));
            command.environment.push(b"TERM=xterm-256color".to_vec());
        }
        let terminal =
            input.pty.then(|| TerminalSize { rows: input.rows.into(), columns: input.columns.into() });
        let Scope { owner, workspace } = Scope::of(ctx)?;
        let started_at = Timestamp::now();
        let (name, network_of_job) = (input.name.clone(), input.network.clone());
        let command_line = shown(&program);
        let card =
            Card { owner, workspace, name, command: command_line, started_at, network: network_of_job };
        let limit = ctx.jobs.clone();
        let (job, files) = self.0.with_jobs(move |jobs| jobs.create(card, limit.as_ref())).await?;
        let handed = self.0.slots.keep(command, terminal, &files).await;
        // Whoever holds the socket seems to keep the job.
        drop(files);
        match handed {
            Ok(()) => {
                let job = has_begun(job).await?;
                if let Some(network) = network
                    && let Err(err) = job.attend(network).await
                {
                    // It must not go on unseen; one that has ended needs no order.
                    let _ = job.ask(Request::Kill(true)).await;
                    return Err(err);
                }
                Ok(Output { job: job.id })
            }
            Err(err) => {
                job.remove();
                Err(err)
            }
        }
    }
}

/// Waits until the command is executed. One that never was leaves nothing.
async fn has_begun(job: Job) -> Result<Job> {
    let begun = match job.connect()? {
        Some(mut connection) => connection.ask(Request::Watch(0)).await?,
        None => None,
    };
    let refused = match begun {
        Some(_) => None,
        // It has ended already, in one way or another.
        None => match job.directory.end().map_err(crate::jobs::trouble)? {
            Some(end) => end.refused.filter(|refused| !refused.has_run).map(refusal),
            None => Some(Error::unavailable("the job could not be given a keeper; call again")),
        },
    };
    match refused {
        None => Ok(job),
        Some(err) => {
            job.remove();
            Err(err)
        }
    }
}

/// What is run, on one line.
fn shown(program: &Program<'_>) -> String {
    let words: Vec<&str> =
        program.script.into_iter().chain(program.command.iter().map(String::as_str)).collect();
    let line = words.join(" ").split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(MOST_SHOWN) {
        Some((end, _)) => format!("{}...", line.get(..end).unwrap_or_default()),
        None => line,
    }
}
