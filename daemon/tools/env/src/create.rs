//! Makes a virtual environment.

use crate::{
    manager::{plain, words},
    work::{LONGEST, Ran, Work, default_directory, default_timeout, reaching},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, CommandLine, Effect, Error, Place, Result, Subject, Tool};
use skynet_exec::{Grant, Host};
use std::{sync::Arc, time::Duration};

pub(crate) struct EnvCreate(pub(crate) Arc<Host>);

/// What makes it.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Kind {
    /// Python's own.
    Venv,
    /// The fastest; finds other versions of Python too.
    Uv,
    /// Also what is not Python; needs its channel's host.
    Conda,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// What makes it.
    kind: Kind,
    /// The project, relative to the workspace.
    #[serde(default = "default_directory")]
    directory: String,
    /// Where it comes to be, below `directory`; by default `.venv`, of conda `.conda`.
    #[serde(default)]
    path: Option<String>,
    /// For `venv` an interpreter such as `python3.12`; for the others a version such as `3.12`. By default the host's.
    #[serde(default)]
    python: Option<String>,
    /// Registries to let it reach: `HOST`, `HOST:PORT` or `*.HOST`; the answer names those that it asks for.
    #[serde(default)]
    hosts: Vec<Grant>,
    /// It is ended after so long.
    #[serde(default = "default_timeout")]
    #[schemars(range(min = 1, max = 3600))]
    timeout_seconds: u32,
}

impl Input {
    fn path(&self) -> Result<&str> {
        let default = if matches!(self.kind, Kind::Conda) { ".conda" } else { ".venv" };
        let path = plain("path", self.path.as_deref().unwrap_or(default))?;
        if path.starts_with('/') || path.split('/').any(|part| part == "..") {
            return Err(Error::invalid_input(format!("`path` is below `directory`, not `{path}`")));
        }
        Ok(path)
    }

    fn work(&self) -> Result<Work<'_>> {
        let path = self.path()?.to_owned();
        let python = self.python.as_deref().map(|python| plain("python", python)).transpose()?;
        let argv = match self.kind {
            Kind::Venv => vec![python.unwrap_or("python3").to_owned(), "-m".into(), "venv".into(), path],
            Kind::Uv => {
                let version = python.map(|version| format!("--python={version}"));
                words("uv venv").into_iter().chain(version).chain([path]).collect()
            }
            Kind::Conda => {
                let version =
                    python.map_or_else(|| "python".to_owned(), |version| format!("python={version}"));
                words("conda create --yes --prefix").into_iter().chain([path, version]).collect()
            }
        };
        Ok(Work::new(argv, &self.directory, &self.hosts, self.timeout_seconds))
    }
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    #[serde(flatten)]
    ran: Ran,
    /// The environment, below `directory`: what `environment` of the other tools takes.
    path: String,
}

impl Tool for EnvCreate {
    const NAME: &'static str = "env_create";
    const SUMMARY: &'static str =
        "Make a virtual environment for Python in the workspace, with venv, uv or conda.";
    const KEYWORDS: &'static str = "virtualenv venv conda uv python environment new create make set up isolated interpreter | créer environnement virtuel python isolé configurer";
    const EFFECT: Effect = Effect::Write;
    const MOST: Effect = Effect::External;
    const PLACE: Place = Place::Daemon;
    const TIMEOUT: Duration = LONGEST;
    type Input = Input;
    type Output = Output;

    fn effect(&self, input: &Input) -> Effect {
        reaching(&input.hosts)
    }

    fn command(&self, input: &Input) -> Result<Option<CommandLine>> {
        input.work()?.judged(&self.0).map(Some)
    }

    fn changes(&self, _input: &Input) -> Vec<Subject> {
        vec![Subject::Anywhere]
    }

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let (ran, _) = input.work()?.run(&self.0, ctx).await?;
        let path = input.path()?.to_owned();
        Ok(Output { ran, path })
    }
}
