//! Installs the dependencies of a project.

use crate::{
    manager::{Install, Manager, words},
    work::{LONGEST, Ran, Work, default_directory, default_environment, default_timeout, reaching},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, CommandLine, Effect, Error, Place, Result, Subject, Tool};
use skynet_exec::{Grant, Host};
use std::{sync::Arc, time::Duration};

pub(crate) struct EnvInstall(pub(crate) Arc<Host>);

const fn yes() -> bool {
    true
}

fn default_requirements() -> Vec<String> {
    vec!["requirements.txt".to_owned()]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// What installs; `env_show_project` says which one the project uses.
    manager: Manager,
    /// Where the manifest is, relative to the workspace.
    #[serde(default = "default_directory")]
    directory: String,
    /// Exactly what the lock file says, refusing if it does not fit the manifest; false resolves anew and writes it.
    #[serde(default = "yes")]
    locked: bool,
    /// Also what only developers need.
    #[serde(default = "yes")]
    dev: bool,
    /// For `pip`: the virtual environment, below `directory`; made by `env_create`.
    #[serde(default = "default_environment")]
    environment: String,
    /// For `pip`: requirement files, below `directory`.
    #[serde(default = "default_requirements")]
    #[schemars(length(min = 1, max = 16))]
    requirements: Vec<String>,
    /// For `npm`, `pnpm` and `yarn`: refuse unless the host's Node has this version, such as `20` or `v20.11`.
    #[serde(default)]
    node_version: Option<String>,
    /// Registries to let it reach: `HOST`, `HOST:PORT` or `*.HOST`. With none it works from its cache, and the answer names the hosts
    /// that it asks for.
    #[serde(default)]
    hosts: Vec<Grant>,
    /// It is ended after so long.
    #[serde(default = "default_timeout")]
    #[schemars(range(min = 1, max = 3600))]
    timeout_seconds: u32,
}

impl Input {
    fn work(&self) -> Result<Work<'_>> {
        let install = Install {
            manager: self.manager,
            is_locked: self.locked,
            with_dev: self.dev,
            requirements: &self.requirements,
            environment: &self.environment,
        };
        Ok(Work::new(install.argv()?, &self.directory, &self.hosts, self.timeout_seconds))
    }

    /// What asks Node for its version.
    fn question(&self) -> Work<'_> {
        Work::new(words("node --version"), &self.directory, &[], self.timeout_seconds)
    }
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    #[serde(flatten)]
    ran: Ran,
}

impl Tool for EnvInstall {
    const NAME: &'static str = "env_install";
    const SUMMARY: &'static str = "Install a project's dependencies from its lock file, with the package manager it uses: pip, uv, poetry, conda, npm, pnpm, yarn, cargo, go, maven, gradle. In the sandbox; of the network it reaches only `hosts`.";
    const KEYWORDS: &'static str = "install dependencies packages requirements node_modules npm ci pip install uv sync cargo fetch lock file restore set up modules libraries | installer dépendances paquets bibliothèques modules du projet";
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

    fn command_before(&self, input: &Input) -> Result<Option<CommandLine>> {
        input.node_version.as_ref().map(|_| input.question().judged(&self.0)).transpose()
    }

    fn changes(&self, _input: &Input) -> Vec<Subject> {
        vec![Subject::Anywhere]
    }

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        if let Some(wanted) = &input.node_version {
            self.check_node(ctx, &input, wanted).await?;
        }
        let (ran, _) = input.work()?.run(&self.0, ctx).await?;
        Ok(Output { ran })
    }
}

impl EnvInstall {
    async fn check_node(&self, ctx: &CallCtx, input: &Input, wanted: &str) -> Result<()> {
        if !matches!(input.manager, Manager::Npm | Manager::Pnpm | Manager::Yarn) {
            return Err(Error::invalid_input("`node_version` is for `npm`, `pnpm` and `yarn`"));
        }
        let ctx = ctx.clone().with_program(ctx.program_before.clone());
        let (_, said) = input.question().run(&self.0, &ctx).await?;
        let found = said.stdout.trim().trim_start_matches('v');
        let is_wanted = found.strip_prefix(wanted.trim_start_matches('v'));
        if is_wanted.is_none_or(|rest| !rest.is_empty() && !rest.starts_with('.')) {
            return Err(Error::conflict(format!(
                "this host has Node {found}, not {wanted}; install that one on the host, or leave `node_version` out"
            )));
        }
        Ok(())
    }
}
