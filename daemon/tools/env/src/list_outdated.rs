//! Which dependencies have newer versions.

use crate::{
    manager::{Manager, python, words},
    report::outdated::{Outdated, parse},
    work::{LONGEST, Ran, Work, default_directory, default_environment, default_timeout, reaching, reading},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, CommandLine, Effect, Error, Place, Result, Subject, Tool};
use skynet_exec::{Grant, Host};
use std::{sync::Arc, time::Duration};

pub(crate) struct EnvListOutdated(pub(crate) Arc<Host>);

/// In an answer.
const MOST: usize = 500;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// What is asked: any but `conda` and `gradle`.
    manager: Manager,
    /// Where the manifest is, relative to the workspace.
    #[serde(default = "default_directory")]
    directory: String,
    /// For `pip`: the virtual environment, below `directory`.
    #[serde(default = "default_environment")]
    environment: String,
    /// Registries to let it reach: `HOST`, `HOST:PORT` or `*.HOST`; the answer names those that it asks for.
    #[serde(default)]
    hosts: Vec<Grant>,
    /// It is ended after so long.
    #[serde(default = "default_timeout")]
    #[schemars(range(min = 1, max = 3600))]
    timeout_seconds: u32,
}

impl Input {
    fn work(&self) -> Result<Work<'_>> {
        let argv = match self.manager {
            Manager::Pip => {
                let python = python(&self.environment)?;
                [python].into_iter().chain(words("-m pip list --outdated --format=json")).collect()
            }
            Manager::Uv => words("uv pip list --outdated --format=json"),
            Manager::Poetry => words("poetry show --outdated --no-ansi"),
            Manager::Npm => words("npm outdated --json"),
            Manager::Pnpm => words("pnpm outdated --format json"),
            Manager::Yarn => words("yarn outdated --json"),
            Manager::Cargo => words("cargo update --dry-run --verbose"),
            Manager::Go => words("go list -m -u -json all"),
            Manager::Maven => {
                words("mvn --batch-mode -Dstyle.color=never versions:display-dependency-updates")
            }
            Manager::Conda | Manager::Gradle => {
                return Err(Error::invalid_input(format!(
                    "{} has no list of newer versions; run what your project uses for it with `exec_run`",
                    self.manager.name()
                )));
            }
        };
        Ok(Work::new(argv, &self.directory, &self.hosts, self.timeout_seconds).question())
    }
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// Dependencies with a newer version; absent if the package manager gave no list. At most 500.
    #[serde(skip_serializing_if = "Option::is_none")]
    outdated: Option<Vec<Outdated>>,
    #[serde(flatten)]
    ran: Ran,
}

impl Tool for EnvListOutdated {
    const NAME: &'static str = "env_list_outdated";
    const SUMMARY: &'static str =
        "List a project's dependencies that have newer versions, as its package manager knows them.";
    const KEYWORDS: &'static str = "outdated dependencies newer versions available upgrade update packages npm outdated pip cargo update stale | dépendances obsolètes périmées nouvelles versions mises à jour disponibles paquets";
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
        let (mut ran, said) = input.work()?.run(&self.0, ctx).await?;
        // Without the network an empty list says nothing.
        let is_told = ran.next.is_none() && (ran.succeeded || !said.stdout.trim().is_empty());
        let manager = input.manager;
        let read = move || is_told.then(|| parse(manager, &said.stdout, &said.stderr)).flatten();
        let mut outdated = reading(read).await?;
        if let Some(outdated) = &mut outdated {
            outdated.truncate(MOST);
            // npm says by its exit code that there are some.
            ran.succeeded |= !outdated.is_empty();
            ran.output.clear();
        }
        Ok(Output { outdated, ran })
    }
}
