//! Commands in a container instead of a slot: in an image of the container engine, with a copy of the workspace.

use crate::{Output, run::Input};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Error, Result};
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

/// A command for a container.
#[derive(Clone, Debug)]
pub struct Contained {
    /// The name of an image.
    pub image: String,
    /// Program and arguments, in the image.
    pub argv: Vec<String>,
    /// Where it starts, relative to the workspace.
    pub directory: String,
    /// More variables.
    pub environment: BTreeMap<String, String>,
    /// What it reads.
    pub stdin: Option<String>,
    /// What it may use.
    pub limits: Limits,
}

/// Who runs commands in containers.
#[async_trait]
pub trait Containers: Send + Sync {
    /// Runs one as the caller, whose right to the engine it is.
    async fn run(&self, ctx: &CallCtx, command: &Contained) -> Result<Output>;
}

impl Input {
    /// What is to run in a container.
    ///
    /// # Errors
    /// `InvalidInput` for what no container has, `Denied` where a list of commands applies.
    pub(crate) fn contained(&self, ctx: &CallCtx) -> Result<Contained> {
        let image = self.image.clone().ok_or_else(|| {
            Error::invalid_input(
                "give `image`; `docker_list_images` lists what is here, `docker_pull_image` fetches one",
            )
        })?;
        if ctx.is_listed {
            return Err(Error::denied(
                "a list of commands holds, which knows the programs of this host and not what is in an image; run it in the sandbox, or have an administrator allow `docker_run_container`",
            ));
        }
        let task = self.task();
        if !task.network.is_empty() {
            return Err(Error::invalid_input(
                "a command in a container has no `network`; use the sandbox, or `docker_run_container`",
            ));
        }
        let argv = match task.program.script {
            Some(script) => task
                .program
                .interpreter
                .told(task.program.interpreter.program().into(), script.to_owned().into_bytes()),
            None => Vec::new(),
        };
        // A script is text, so are its words.
        let argv = argv.into_iter().map(|word| String::from_utf8_lossy(&word).into_owned());
        let argv: Vec<String> = argv.chain(task.program.command.iter().cloned()).collect();
        if argv.is_empty() {
            // Else the image's own would run.
            return Err(Error::invalid_input("give `command`, a program with its arguments, or `script`"));
        }
        let directory = ctx.workspace()?.relative(task.program.cwd.unwrap_or("."))?;
        if directory.as_path().components().any(|part| part == Component::ParentDir) {
            return Err(Error::denied("`cwd` leads out of the workspace"));
        }
        Ok(Contained {
            image,
            argv,
            directory: directory.to_string(),
            environment: task.program.environment.clone(),
            stdin: task.stdin.map(str::to_owned),
            limits: task.limits,
        })
    }
}
