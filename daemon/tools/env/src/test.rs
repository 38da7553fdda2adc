//! Runs the tests of a project.

use crate::{
    manager::{plain, python, words},
    report::{Tests, go, jest, junit, libtest},
    work::{LONGEST, Ran, Work, default_directory, default_timeout, reaching, reading, report_file, taking},
};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, CommandLine, Effect, Error, Place, Result, Subject, Tool};
use skynet_exec::{Grant, Host};
use std::{sync::Arc, time::Duration};

pub(crate) struct EnvTest(pub(crate) Arc<Host>);

/// What runs tests.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Runner {
    Pytest,
    Cargo,
    Go,
    /// Node's own.
    Node,
    Vitest,
    Jest,
    /// The script `test` of package.json; its output is not parsed.
    Npm,
    Maven,
    Gradle,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// What runs them; `env_show_project` says which one fits.
    runner: Runner,
    /// Where they run, relative to the workspace.
    #[serde(default = "default_directory")]
    directory: String,
    /// Only tests whose name fits, as the runner understands it; not for `npm`.
    #[serde(default)]
    filter: Option<String>,
    /// For `pytest`: the virtual environment it is in, below `directory`; by default the host's.
    #[serde(default)]
    environment: String,
    /// Hosts to let them reach: `HOST`, `HOST:PORT` or `*.HOST`.
    #[serde(default)]
    hosts: Vec<Grant>,
    /// They are ended after so long.
    #[serde(default = "default_timeout")]
    #[schemars(range(min = 1, max = 3600))]
    timeout_seconds: u32,
}

impl Input {
    /// `report` is where the runner is to write, if it writes a file.
    fn work(&self, report: &str) -> Result<Work<'_>> {
        let mut argv = match self.runner {
            Runner::Pytest => {
                vec![python(&self.environment)?, "-m".into(), "pytest".into(), format!("--junitxml={report}")]
            }
            Runner::Cargo => words("cargo test --no-fail-fast"),
            Runner::Go => words("go test -json ./..."),
            Runner::Node => {
                let mut argv = words("node --test --test-reporter=spec --test-reporter-destination=stdout");
                argv.extend([
                    "--test-reporter=junit".to_owned(),
                    format!("--test-reporter-destination={report}"),
                ]);
                argv
            }
            Runner::Vitest => {
                let mut argv = words("npx --no -- vitest run --reporter=json");
                argv.push(format!("--outputFile={report}"));
                argv
            }
            Runner::Jest => {
                let mut argv = words("npx --no -- jest --ci --json --testLocationInResults");
                argv.push(format!("--outputFile={report}"));
                argv
            }
            Runner::Npm => words("npm test"),
            Runner::Maven => words("mvn --batch-mode -Dstyle.color=never --no-transfer-progress test"),
            Runner::Gradle => words("gradle --no-daemon --console=plain test"),
        };
        if let Some(filter) = &self.filter {
            let filter = plain("filter", filter)?;
            argv.extend(match self.runner {
                Runner::Pytest => vec!["-k".to_owned(), filter.to_owned()],
                Runner::Cargo => vec![filter.to_owned()],
                Runner::Go => vec!["-run".to_owned(), filter.to_owned()],
                Runner::Node => vec![format!("--test-name-pattern={filter}")],
                Runner::Vitest | Runner::Jest => vec![format!("--testNamePattern={filter}")],
                Runner::Maven => vec![format!("-Dtest={filter}")],
                Runner::Gradle => vec!["--tests".to_owned(), filter.to_owned()],
                Runner::Npm => {
                    return Err(Error::invalid_input(
                        "`npm` runs the script of the project, which takes no `filter` that is known here",
                    ));
                }
            });
        }
        Ok(Work::new(argv, &self.directory, &self.hosts, self.timeout_seconds))
    }
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// How they went; absent if the runner gave no report, as when the code does not compile.
    #[serde(skip_serializing_if = "Option::is_none")]
    tests: Option<Tests>,
    #[serde(flatten)]
    ran: Ran,
}

impl Tool for EnvTest {
    const NAME: &'static str = "env_test";
    const SUMMARY: &'static str = "Run a project's tests with its own runner (pytest, cargo, go, node, vitest, jest, npm, maven, gradle), and tell how many passed and what failed where. In the sandbox, without network unless `hosts` says so.";
    const KEYWORDS: &'static str = "unit tests test suite run pytest jest vitest cargo test go test junit failing tests which fail specs | lancer tests unitaires suite échecs quels échouent";
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
        // Its name is made up anew each time, and is no matter of the policy.
        input.work("REPORT")?.judged(&self.0).map(Some)
    }

    fn changes(&self, _input: &Input) -> Vec<Subject> {
        vec![Subject::Anywhere]
    }

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let file = report_file(ctx)?;
        let work = input.work(&file)?;
        let began = Timestamp::now().as_second();
        let (mut ran, said) = work.run(&self.0, ctx).await?;
        ran.command = ran.command.replace(&file, "REPORT");
        // Reports of runs before this one lie beside its own.
        let written = |place: &str| {
            format!(
                "find . -path '*/{place}/TEST-*.xml' -newermt @{} -exec cat {{}} +",
                began.saturating_sub(1)
            )
        };
        let script = match input.runner {
            Runner::Pytest | Runner::Node | Runner::Vitest | Runner::Jest => Some(taking(&file)),
            Runner::Maven => Some(written("target/surefire-reports")),
            Runner::Gradle => Some(written("build/test-results/*")),
            Runner::Cargo | Runner::Go | Runner::Npm => None,
        };
        let report = match script {
            Some(script) => work.collect(&self.0, ctx, &script).await?,
            None => said.stdout,
        };
        let read: fn(&str) -> Option<Tests> = match input.runner {
            Runner::Pytest | Runner::Node | Runner::Maven | Runner::Gradle => junit::parse,
            Runner::Vitest | Runner::Jest => jest::parse,
            Runner::Cargo => libtest::parse,
            Runner::Go => go::parse,
            Runner::Npm => |_| None,
        };
        let tests = reading(move || read(&report)).await?;
        // A runner that ends at once, having found nothing, reports nothing.
        let tests = tests.filter(|tests| ran.succeeded || !tests.is_empty());
        if tests.is_some() && ran.succeeded {
            ran.output.clear();
        }
        Ok(Output { tests, ran })
    }
}
