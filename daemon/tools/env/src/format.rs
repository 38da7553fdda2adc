//! Formats source code, or says what is not formatted.

use crate::{
    manager::{plain, program_of, words},
    work::{LONGEST, Ran, Work, default_directory, default_timeout},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, CommandLine, Effect, Error, Place, Result, Subject, Tool};
use skynet_exec::Host;
use std::{sync::Arc, time::Duration};

pub(crate) struct EnvFormat(pub(crate) Arc<Host>);

/// Of the paths in an answer.
const MOST_PATHS: usize = 200;

/// What formats.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Formatter {
    /// Python.
    Ruff,
    /// Python.
    Black,
    /// JavaScript, TypeScript, CSS, Markdown, YAML.
    Prettier,
    /// Rust, by `cargo fmt`.
    Rustfmt,
    /// Go.
    Gofmt,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// What formats.
    formatter: Formatter,
    /// Where it starts, relative to the workspace.
    #[serde(default = "default_directory")]
    directory: String,
    /// Only say what is not formatted.
    #[serde(default)]
    check: bool,
    /// Files and directories below `directory`; all of it by default. `rustfmt` takes none.
    #[serde(default)]
    #[schemars(length(max = 200))]
    paths: Vec<String>,
    /// Of a Python formatter: the virtual environment it is in, below `directory`; by default the host's.
    #[serde(default)]
    environment: String,
    /// It is ended after so long.
    #[serde(default = "default_timeout")]
    #[schemars(range(min = 1, max = 3600))]
    timeout_seconds: u32,
}

impl Input {
    /// What it starts, to look or to write. What looks also says which files are concerned.
    fn work(&self, is_look: bool) -> Result<Work<'_>> {
        let python = |name: &str| program_of(&self.environment, name);
        let mut argv = match (self.formatter, is_look) {
            (Formatter::Ruff, true) => vec![python("ruff")?, "format".into(), "--check".into()],
            (Formatter::Ruff, false) => vec![python("ruff")?, "format".into()],
            (Formatter::Black, true) => vec![python("black")?, "--check".into()],
            (Formatter::Black, false) => vec![python("black")?],
            (Formatter::Prettier, true) => words("npx --no -- prettier --list-different"),
            (Formatter::Prettier, false) => words("npx --no -- prettier --write"),
            (Formatter::Rustfmt, true) => words("cargo fmt --all -- --check -l"),
            (Formatter::Rustfmt, false) => words("cargo fmt --all"),
            (Formatter::Gofmt, true) => words("gofmt -l"),
            (Formatter::Gofmt, false) => words("gofmt -w"),
        };
        if self.formatter != Formatter::Rustfmt {
            for path in &self.paths {
                argv.push(plain("paths", path)?.to_owned());
            }
            if self.paths.is_empty() {
                argv.push(".".to_owned());
            }
        } else if !self.paths.is_empty() {
            return Err(Error::invalid_input(
                "`rustfmt` formats whole packages: leave `paths` out, and name the package by `directory`",
            ));
        }
        Ok(Work::new(argv, &self.directory, &[], self.timeout_seconds))
    }
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// Files that were not formatted, and without `check` are now. At most 200.
    files: Vec<String>,
    /// How many they are.
    files_count: usize,
    #[serde(flatten)]
    ran: Ran,
}

impl Tool for EnvFormat {
    const NAME: &'static str = "env_format";
    const SUMMARY: &'static str = "Format source code with the project's formatter (ruff, black, prettier, rustfmt, gofmt), or with `check` only say which files are not formatted.";
    const KEYWORDS: &'static str = "formatter prettier black rustfmt cargo fmt gofmt code style indent reformat tidy | formater code mise en forme indentation style";
    const EFFECT: Effect = Effect::Write;
    const PLACE: Place = Place::Daemon;
    const TIMEOUT: Duration = LONGEST;
    type Input = Input;
    type Output = Output;

    fn command(&self, input: &Input) -> Result<Option<CommandLine>> {
        // To look is the less of the two, by the same program.
        input.work(input.check)?.judged(&self.0).map(Some)
    }

    fn changes(&self, input: &Input) -> Vec<Subject> {
        if input.check { Vec::new() } else { vec![Subject::Anywhere] }
    }

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let root = ctx.workspace()?.path().join(&input.directory).display().to_string();
        let (mut ran, said) = input.work(true)?.run(&self.0, ctx).await?;
        let lines = said.stdout.lines().chain(said.stderr.lines());
        let mut files: Vec<String> = lines.filter_map(|line| named(input.formatter, &root, line)).collect();
        files.sort_unstable();
        files.dedup();
        if !input.check && !files.is_empty() {
            (ran, _) = input.work(false)?.run(&self.0, ctx).await?;
        }
        let files_count = files.len();
        files.truncate(MOST_PATHS);
        // Not formatted is what was asked about, and no failure of the formatter.
        ran.succeeded |= input.check && files_count > 0;
        Ok(Output { files, files_count, ran })
    }
}

/// The file that a line of a look names, relative to where it started.
fn named(formatter: Formatter, root: &str, line: &str) -> Option<String> {
    let path = match formatter {
        Formatter::Ruff => line.strip_prefix("Would reformat: ")?,
        Formatter::Black => line.strip_prefix("would reformat ")?,
        Formatter::Prettier | Formatter::Gofmt => {
            // What it complains about has spaces and a colon.
            Some(line).filter(|line| !line.is_empty() && !line.starts_with('[') && !line.contains(": "))?
        }
        Formatter::Rustfmt => Some(line).filter(|line| line.ends_with(".rs"))?,
    };
    let below = path.strip_prefix(root).map(|rest| rest.trim_start_matches("/./").trim_start_matches('/'));
    Some(below.unwrap_or(path).trim_start_matches("./").to_owned())
}
