//! Has source code looked at by a linter.

use crate::{
    manager::{plain, program_of, words},
    report::{
        findings::{self, Finding},
        go,
    },
    work::{LONGEST, Ran, Work, default_directory, default_timeout, reading},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, CommandLine, Effect, Error, Place, Result, Subject, Tool};
use skynet_exec::{Host, Output as Said};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

pub(crate) struct EnvLint(pub(crate) Arc<Host>);

/// In an answer.
const MOST: usize = 200;

/// What looks.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Linter {
    /// Python.
    Ruff,
    /// JavaScript and TypeScript.
    Eslint,
    /// The types of TypeScript.
    Tsc,
    /// Rust.
    Clippy,
    /// Go.
    GoVet,
    /// Shell scripts; needs `paths`.
    Shellcheck,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// What looks.
    linter: Linter,
    /// Where it starts, relative to the workspace.
    #[serde(default = "default_directory")]
    directory: String,
    /// Files and directories below `directory`; all of it by default. Only for `ruff`, `eslint` and `shellcheck`.
    #[serde(default)]
    #[schemars(length(max = 200))]
    paths: Vec<String>,
    /// Correct what it can: `ruff`, `eslint` and `clippy`.
    #[serde(default)]
    fix: bool,
    /// For `ruff`: the virtual environment it is in, below `directory`; by default the host's.
    #[serde(default)]
    environment: String,
    /// It is ended after so long.
    #[serde(default = "default_timeout")]
    #[schemars(range(min = 1, max = 3600))]
    timeout_seconds: u32,
}

impl Input {
    fn work(&self) -> Result<Work<'_>> {
        let mut argv = match self.linter {
            Linter::Ruff => {
                let program = program_of(&self.environment, "ruff")?;
                [program].into_iter().chain(words("check --output-format=sarif")).collect()
            }
            Linter::Eslint => words("npx --no -- eslint --format=json"),
            Linter::Tsc => words("npx --no -- tsc --noEmit --pretty false"),
            Linter::Clippy => words("cargo clippy --all-targets --message-format=json"),
            Linter::GoVet => words("go vet -json ./..."),
            Linter::Shellcheck => words("shellcheck --format=json"),
        };
        let fix: &[&str] = match self.linter {
            _ if !self.fix => &[],
            Linter::Ruff | Linter::Eslint => &["--fix"],
            Linter::Clippy => &["--fix", "--allow-dirty", "--allow-staged"],
            Linter::Tsc | Linter::GoVet | Linter::Shellcheck => {
                return Err(Error::invalid_input("`fix` is for `ruff`, `eslint` and `clippy`"));
            }
        };
        argv.extend(fix.iter().map(|word| (*word).to_owned()));
        for path in &self.paths {
            argv.push(plain("paths", path)?.to_owned());
        }
        match (self.linter, self.paths.is_empty()) {
            (Linter::Shellcheck, true) => {
                return Err(Error::invalid_input("`shellcheck` needs `paths`; find them with `files_find`"));
            }
            (Linter::Ruff | Linter::Eslint, true) => argv.push(".".to_owned()),
            (Linter::Tsc | Linter::Clippy | Linter::GoVet, false) => {
                return Err(Error::invalid_input(
                    "`tsc`, `clippy` and `go_vet` look at whole packages: leave `paths` out, and name one by `directory`",
                ));
            }
            _ => {}
        }
        Ok(Work::new(argv, &self.directory, &[], self.timeout_seconds))
    }
}

impl Linter {
    fn read(self, said: &Said, root: &str) -> Option<Vec<Finding>> {
        match self {
            Linter::Ruff => findings::sarif(&said.stdout, root),
            Linter::Eslint => findings::eslint(&said.stdout, root),
            Linter::Clippy => findings::cargo(&said.stdout),
            Linter::GoVet => go::vetted(&said.stderr, root),
            Linter::Shellcheck => findings::shellcheck(&said.stdout, root),
            Linter::Tsc => {
                let found = findings::tsc(&said.stdout);
                // It complains on its way to a failure, or has nothing to say.
                (said.exit_code == Some(0) || !found.is_empty()).then_some(found)
            }
        }
    }
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// What it found, errors first; absent if it gave no report. At most 200.
    #[serde(skip_serializing_if = "Option::is_none")]
    findings: Option<Vec<Finding>>,
    /// How many of each severity.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    counts: BTreeMap<String, usize>,
    #[serde(flatten)]
    ran: Ran,
}

impl Tool for EnvLint {
    const NAME: &'static str = "env_lint";
    const SUMMARY: &'static str = "Check source code with the project's linter (ruff, eslint, tsc, clippy, go vet, shellcheck): findings with file, line, rule and message. `fix` corrects what it can.";
    const KEYWORDS: &'static str = "lint linter static analysis warnings code quality eslint ruff clippy type check tsc shellcheck vet problems | linter analyse statique avertissements qualité code vérifier types";
    const EFFECT: Effect = Effect::Write;
    const PLACE: Place = Place::Daemon;
    const TIMEOUT: Duration = LONGEST;
    type Input = Input;
    type Output = Output;

    fn command(&self, input: &Input) -> Result<Option<CommandLine>> {
        input.work()?.judged(&self.0).map(Some)
    }

    fn changes(&self, _input: &Input) -> Vec<Subject> {
        vec![Subject::Anywhere]
    }

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let root = ctx.workspace()?.path().join(&input.directory);
        // As the linter finds itself, without the `.` of the default.
        let root = root.components().collect::<std::path::PathBuf>().display().to_string();
        let (mut ran, said) = input.work()?.run(&self.0, ctx).await?;
        let linter = input.linter;
        let mut findings = reading(move || linter.read(&said, &root)).await?;
        let mut counts = BTreeMap::new();
        if let Some(found) = &mut findings {
            // Targets of a package share files.
            found.sort();
            found.dedup();
            found.sort_by_key(|one| {
                ["error", "warning"].iter().position(|known| *known == one.severity).unwrap_or(2)
            });
            for one in found.iter() {
                *counts.entry(one.severity.clone()).or_default() += 1;
            }
            found.truncate(MOST);
            // That there are some is what the exit code says.
            ran.succeeded |= !found.is_empty();
            ran.output.clear();
        }
        Ok(Output { findings, counts, ran })
    }
}
