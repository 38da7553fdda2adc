//! Commands in a container instead of a slot: in an image of the container engine, with a copy of the workspace or apart from it.

use crate::{
    Host, Output,
    network::Network,
    run::{Task, in_slot},
};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Error, Result};
use skynet_sandbox::protocol::Limits;
use std::{collections::BTreeMap, path::Component};

/// Where a command runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Backend {
    #[default]
    Sandbox,
    Docker,
}

impl Backend {
    /// What a command does to the world there.
    pub(crate) fn effect(self, network: &Network) -> Effect {
        match self {
            Self::Sandbox => network.effect(Effect::Write),
            // There it has none.
            Self::Docker => Effect::Write,
        }
    }

    /// The secrets that its variables and headers name; a container is given none.
    pub(crate) fn secrets(self, environment: &BTreeMap<String, String>, network: &Network) -> Vec<String> {
        match self {
            Self::Sandbox => crate::secrets_of(environment).into_iter().chain(network.secrets()).collect(),
            Self::Docker => Vec::new(),
        }
    }

    /// The tools whose rules hold for it as well.
    pub(crate) const fn acts_as(self) -> &'static [&'static str] {
        match self {
            Self::Sandbox => &[],
            Self::Docker => &["docker_run_container"],
        }
    }

    /// Runs it there.
    pub(crate) async fn run(
        self,
        host: &Host,
        ctx: &CallCtx,
        task: &Task<'_>,
        image: Option<&str>,
    ) -> Result<Output> {
        match self {
            Self::Sandbox => in_slot(host, ctx, task).await,
            Self::Docker => {
                let containers = host
                    .containers
                    .get()
                    .ok_or_else(|| Error::unavailable("there are no containers here"))?;
                containers.run(ctx, &Contained::new(ctx, task, image)?).await
            }
        }
    }
}

/// A command for a container.
#[derive(Clone, Debug)]
pub struct Contained {
    /// The name of an image.
    pub image: String,
    /// Program and arguments, in the image.
    pub argv: Vec<String>,
    /// Where it starts in its copy of the workspace; `None` for one that has no copy.
    pub directory: Option<String>,
    /// More variables.
    pub environment: BTreeMap<String, String>,
    /// What it reads.
    pub stdin: Option<String>,
    /// What it may use.
    pub limits: Limits,
    /// Of stdout, and of stderr: it is ended when it writes more.
    pub output_bytes: usize,
}

impl Contained {
    /// # Errors
    /// `InvalidInput` for what no container has, `Denied` where a list of commands applies.
    fn new(ctx: &CallCtx, task: &Task<'_>, image: Option<&str>) -> Result<Self> {
        let image = image.ok_or_else(|| {
            Error::invalid_input(
                "give `image`; `docker_list_images` lists what is here, `docker_pull_image` fetches one",
            )
        })?;
        if ctx.is_listed {
            return Err(Error::denied(
                "a list of commands holds, which knows the programs of this host and not what is in an image; run it in the sandbox, or have an administrator allow `docker_run_container`",
            ));
        }
        if !task.network.is_empty() {
            return Err(Error::invalid_input(
                "a command in a container has no `network`; use the sandbox, or `docker_run_container`",
            ));
        }
        let program = &task.program;
        let told = program.script.map(|script| {
            program.interpreter.told(program.interpreter.program().into(), script.to_owned().into_bytes())
        });
        // A script is text, so are its words.
        let told = told.into_iter().flatten().map(|word| String::from_utf8_lossy(&word).into_owned());
        let argv: Vec<String> = told.chain(program.command.iter().cloned()).collect();
        if argv.is_empty() {
            // Else the image's own would run.
            return Err(Error::invalid_input("give `command`, a program with its arguments, or `script`"));
        }
        let directory = ctx.workspace()?.relative(program.cwd.unwrap_or("."))?;
        if directory.as_path().components().any(|part| part == Component::ParentDir) {
            return Err(Error::denied("`cwd` leads out of the workspace"));
        }
        Ok(Self {
            image: image.to_owned(),
            argv,
            directory: (!task.is_apart).then(|| directory.to_string()),
            environment: program.environment.clone(),
            stdin: task.stdin.map(str::to_owned),
            limits: task.limits,
            output_bytes: task.output_bytes,
        })
    }
}

/// Who runs commands in containers.
#[async_trait]
pub trait Containers: Send + Sync {
    /// Runs one as the caller, whose right to the engine it is.
    async fn run(&self, ctx: &CallCtx, command: &Contained) -> Result<Output>;
}
