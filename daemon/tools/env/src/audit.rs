//! Which dependencies have known vulnerabilities.

use crate::{
    manager::{Manager, program_of, words},
    report::advisories::{self, Vulnerability},
    work::{LONGEST, Ran, Work, default_directory, default_timeout, reaching, reading},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, CommandLine, Effect, Error, Place, Result, Subject, Tool};
use skynet_exec::{Grant, Host};
use std::{sync::Arc, time::Duration};

pub(crate) struct EnvAudit(pub(crate) Arc<Host>);

/// In an answer.
const MOST: usize = 200;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Whose dependencies: `npm`, `pnpm` and `yarn` ask themselves; `pip`, `uv` and `poetry` need `pip-audit`, `cargo` needs
    /// `cargo-audit`, `go` needs `govulncheck`.
    manager: Manager,
    /// Where the manifest is, relative to the workspace.
    #[serde(default = "default_directory")]
    directory: String,
    /// For Python: the virtual environment that `pip-audit` is in and looks at, below `directory`; by default the host's.
    #[serde(default)]
    environment: String,
    /// Hosts to let it reach: `HOST`, `HOST:PORT` or `*.HOST`; the answer names those that it asks for.
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
            Manager::Npm => words("npm audit --json"),
            Manager::Pnpm => words("pnpm audit --json"),
            Manager::Yarn => words("yarn audit --json"),
            Manager::Pip | Manager::Uv | Manager::Poetry => {
                let program = program_of(&self.environment, "pip-audit")?;
                [program].into_iter().chain(words("--format json --progress-spinner off")).collect()
            }
            Manager::Cargo => words("cargo audit --json"),
            Manager::Go => words("govulncheck -json ./..."),
            Manager::Conda | Manager::Maven | Manager::Gradle => {
                return Err(Error::invalid_input(format!(
                    "{} has no auditor of its own; run what your project uses for it with `exec_run`",
                    self.manager.name()
                )));
            }
        };
        Ok(Work::new(argv, &self.directory, &self.hosts, self.timeout_seconds).question())
    }
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// Known vulnerabilities, the worst first; absent if the auditor gave no report. At most 200.
    #[serde(skip_serializing_if = "Option::is_none")]
    vulnerabilities: Option<Vec<Vulnerability>>,
    /// How many they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<usize>,
    #[serde(flatten)]
    ran: Ran,
}

impl Tool for EnvAudit {
    const NAME: &'static str = "env_audit";
    const SUMMARY: &'static str = "List known vulnerabilities of a project's dependencies, by the ecosystem's own auditor: npm, pnpm or yarn audit, pip-audit, cargo audit, govulncheck.";
    const KEYWORDS: &'static str = "vulnerabilities vulnerable security audit cve advisories dependencies npm audit pip-audit cargo audit | vulnérabilités failles sécurité dépendances vulnérables audit";
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
        let manager = input.manager;
        let vulnerabilities = reading(move || read(manager, &said.stdout)).await?;
        let mut vulnerabilities = vulnerabilities.filter(|_| ran.next.is_none());
        let count = vulnerabilities.as_ref().map(Vec::len);
        if let Some(found) = &mut vulnerabilities {
            found.sort_by(|a, b| {
                gravity(&a.severity).cmp(&gravity(&b.severity)).then_with(|| a.package.cmp(&b.package))
            });
            found.truncate(MOST);
            // That there are some is what the exit code says.
            ran.succeeded |= !found.is_empty();
            ran.output.clear();
        }
        Ok(Output { vulnerabilities, count, ran })
    }
}

/// The worst first; of what is not known how bad it is the worst is thought.
fn gravity(severity: &str) -> usize {
    ["critical", "unknown", "high", "moderate", "low"]
        .iter()
        .position(|known| *known == severity)
        .unwrap_or(5)
}

/// The report of that one.
fn read(manager: Manager, report: &str) -> Option<Vec<Vulnerability>> {
    match manager {
        Manager::Npm => advisories::npm(report),
        Manager::Pnpm => advisories::pnpm(report),
        Manager::Yarn => advisories::yarn(report),
        Manager::Pip | Manager::Uv | Manager::Poetry => advisories::pip(report),
        Manager::Cargo => advisories::cargo(report),
        Manager::Go => advisories::go(report),
        Manager::Conda | Manager::Maven | Manager::Gradle => None,
    }
}
