//! Runs a piece of code apart from the workspace.

use crate::{
    Host,
    container::Backend,
    limits::More,
    network::Network,
    outcome::Output,
    output::MOST_BYTES,
    program::{Interpreter, Program},
    run::Task,
};
use schemars::JsonSchema;
use serde::Deserialize;
use skynet_core::{CallCtx, CommandLine, Effect, Place, Result, Tool};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

pub(crate) struct ExecRunCode(pub(crate) Arc<Host>);

const fn default_timeout() -> u32 {
    60
}

const fn default_memory() -> u32 {
    2048
}

const fn default_output() -> u32 {
    4096
}

/// What the code is written in; its toolchain must be there.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Language {
    Bash,
    Go,
    Node,
    Python,
    Ruby,
    Rust,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// What `code` is written in.
    language: Language,
    /// A program of one file, of at most 128 kB.
    #[schemars(length(min = 1, max = 131_000))]
    code: String,
    /// Its arguments.
    #[serde(default)]
    arguments: Vec<String>,
    /// More variables (`secret://NAME` for a secret).
    #[serde(default)]
    #[schemars(extend("writeOnly" = true))]
    environment: BTreeMap<String, String>,
    /// Text for stdin.
    #[serde(default)]
    #[schemars(extend("writeOnly" = true))]
    stdin: Option<String>,
    /// It is ended after so long.
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
    /// Most of stdout, and of stderr, in KiB; it is ended when it writes more.
    #[serde(default = "default_output")]
    #[schemars(range(min = 1, max = 4096))]
    output_kib: u32,
    /// Ways out, which a human may have to allow.
    #[serde(default)]
    network: Network,
    /// `docker`: in a container of `image`, without network.
    #[serde(default)]
    backend: Backend,
    /// For `docker`: an image that has the language, such as `python:3.12`.
    #[serde(default)]
    image: Option<String>,
}

impl Input {
    fn program(&self) -> Program<'_> {
        let interpreter = match self.language {
            Language::Bash => Interpreter::Bash,
            Language::Go => Interpreter::Go,
            Language::Node => Interpreter::Node,
            Language::Python => Interpreter::Python,
            Language::Ruby => Interpreter::Ruby,
            Language::Rust => Interpreter::Rust,
        };
        Program {
            command: &self.arguments,
            script: Some(&self.code),
            interpreter,
            cwd: None,
            environment: &self.environment,
        }
    }
}

impl Tool for ExecRunCode {
    const NAME: &'static str = "exec_run_code";
    const SUMMARY: &'static str = "Run a piece of code (bash, go, node, python, ruby, rust) in an empty directory that is gone afterwards: compute, try something out. It sees no file of the workspace; otherwise sandboxed as `exec_run`.";
    const KEYWORDS: &'static str = "evaluate snippet calculate compute experiment quick python javascript golang scratch sandbox | évaluer extrait calculer essayer code bac à sable";
    const EFFECT: Effect = Effect::Write;
    const MOST: Effect = Effect::External;
    const PLACE: Place = Place::Daemon;
    const TIMEOUT: Duration = Duration::from_secs(3700);
    type Input = Input;
    type Output = Output;

    fn effect(&self, input: &Input) -> Effect {
        input.backend.effect(&input.network)
    }

    fn secrets(&self, input: &Input) -> Vec<String> {
        input.backend.secrets(&input.environment, &input.network)
    }

    fn command(&self, input: &Input) -> Result<Option<CommandLine>> {
        input.program().command_line(&self.0, input.stdin.is_some()).map(Some)
    }

    fn acts_as(&self, input: &Input) -> &'static [&'static str] {
        input.backend.acts_as()
    }

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let task = Task {
            program: input.program(),
            stdin: input.stdin.as_deref(),
            limits: input.limits.with(input.timeout_seconds, input.memory_mib),
            output_bytes: usize::try_from(input.output_kib).unwrap_or(MOST_BYTES >> 10) << 10,
            network: &input.network,
            preview: None,
            is_apart: true,
        };
        input.backend.run(&self.0, ctx, &task, input.image.as_deref()).await
    }
}
