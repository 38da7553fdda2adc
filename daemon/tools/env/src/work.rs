//! What every tool of this family that starts a program has in common.

use schemars::JsonSchema;
use serde::Serialize;
use skynet_core::{CallCtx, CommandLine, Effect, Error, ErrorKind, Result, tool::PROXY_PORT};
use skynet_exec::{EndedBy, Grant, Host, Network, Output, Step};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::Duration,
};
use uuid::Uuid;

/// Of what a program wrote, in an answer about something that succeeded.
const TAIL_BYTES: usize = 1 << 10;

/// The same of what did not.
const TAIL_BYTES_OF_FAILURE: usize = 6 << 10;

/// Reading a report takes no longer, whatever is left of a call's time.
const READ_SECONDS: u32 = 30;

/// As a call may take at most; what its input says is less.
pub(crate) const LONGEST: Duration = Duration::from_secs(3700);

pub(crate) const fn default_timeout() -> u32 {
    600
}

pub(crate) fn default_directory() -> String {
    ".".to_owned()
}

pub(crate) fn default_environment() -> String {
    ".venv".to_owned()
}

/// What a program of a project does to the world.
pub(crate) fn reaching(hosts: &[Grant]) -> Effect {
    if hosts.is_empty() { Effect::Write } else { Effect::External }
}

/// How a program went.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Ran {
    /// What was started.
    pub(crate) command: String,
    /// Whether it ended with exit code 0.
    pub(crate) succeeded: bool,
    /// Its exit code, unless a signal ended it.
    pub(crate) exit_code: Option<i32>,
    /// What ended it, if not itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_by: Option<EndedBy>,
    /// How long it ran.
    wall_seconds: f64,
    /// Hosts that it asked for and was not allowed to reach.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    refused_hosts: BTreeSet<String>,
    /// What to do next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next: Option<String>,
    /// The end of what it wrote.
    pub(crate) output: String,
}

/// A program to start.
pub(crate) struct Work<'a> {
    argv: Vec<String>,
    directory: &'a str,
    hosts: &'a [Grant],
    timeout_seconds: u32,
    is_question: bool,
}

/// Builds and dependency resolvers take more than a command does by default.
const MEMORY_MIB: u32 = 4096;

impl<'a> Work<'a> {
    pub(crate) fn new(
        argv: Vec<String>,
        directory: &'a str,
        hosts: &'a [Grant],
        timeout_seconds: u32,
    ) -> Self {
        Self { argv, directory, hosts, timeout_seconds, is_question: false }
    }

    /// One that asks a host: without its answer, success means nothing.
    pub(crate) fn question(self) -> Self {
        Self { is_question: true, ..self }
    }

    /// What it starts, for the policy to judge. Variables are ours, not the caller's.
    pub(crate) fn judged(&self, host: &Host) -> Result<CommandLine> {
        host.judged(&self.step(self.directory, &BTreeMap::new(), &Network::to(self.hosts)))
    }

    fn step<'s>(
        &'s self,
        directory: &'s str,
        environment: &'s BTreeMap<String, String>,
        network: &'s Network,
    ) -> Step<'s> {
        Step {
            argv: &self.argv,
            directory,
            environment,
            network,
            timeout_seconds: self.timeout_seconds,
            memory_mib: MEMORY_MIB,
        }
    }

    /// Runs it.
    pub(crate) async fn run(&self, host: &Host, ctx: &CallCtx) -> Result<(Ran, Output)> {
        let network = Network::to(self.hosts);
        let directory = self.place(ctx)?;
        let environment = variables(&ctx.origin()?.caller.home, self.hosts.is_empty());
        let run = host.run_step(ctx, &self.step(&directory, &environment, &network)).await;
        let mut output = run.map_err(|err| self.explained(err))?;
        let succeeded = output.exit_code == Some(0);
        // As `hosts` takes them: without a port it is that of HTTPS.
        let plain = |host: String| host.strip_suffix(":443").map(str::to_owned).unwrap_or(host);
        let refused_hosts: BTreeSet<_> =
            std::mem::take(&mut output.refused_hosts).into_iter().map(plain).collect();
        let next = (!refused_hosts.is_empty() && (self.is_question || !succeeded)).then(|| {
            let mut wanted: BTreeSet<String> = self.hosts.iter().map(ToString::to_string).collect();
            wanted.extend(refused_hosts.iter().filter(|host| !host.contains('*')).cloned());
            format!(
                "a program asked for the network: if these are the registries of the project, call again with `hosts` {}; a human may be asked",
                serde_json::json!(wanted)
            )
        });
        let ran = Ran {
            command: self.argv.join(" "),
            succeeded,
            exit_code: output.exit_code,
            ended_by: Some(output.ended_by).filter(|by| *by != EndedBy::Itself),
            wall_seconds: output.wall_seconds,
            refused_hosts,
            next,
            output: tail(&output, succeeded),
        };
        Ok((ran, output))
    }

    /// Where it starts, which may be given as an absolute path too.
    fn place(&self, ctx: &CallCtx) -> Result<String> {
        Ok(ctx.workspace()?.relative(self.directory)?.to_string())
    }

    /// Says what would help where the program is not there.
    fn explained(&self, err: Error) -> Error {
        let program = self.argv.first().map(String::as_str).unwrap_or_default();
        match err.kind {
            ErrorKind::NotFound if program.starts_with("./") => Error::not_found(format!(
                "{}; make the environment with `env_create`, and install with `env_install`",
                err.message
            )),
            ErrorKind::NotFound => Error::not_found(format!(
                "`{program}` is not installed on this host, or not where commands of the sandbox see it: /usr, /opt and toolchains in the home directory"
            )),
            _ => err,
        }
    }

    /// The files that this script prints, for reports that a program wrote; nothing where there are none.
    pub(crate) async fn collect(&self, host: &Host, ctx: &CallCtx, script: &str) -> Result<String> {
        // It is a program of ours, not the one that was judged.
        let ctx = ctx.clone().with_program(None);
        let argv = ["/bin/sh".to_owned(), "-c".to_owned(), format!("PATH=/usr/bin:/bin; {script}")];
        let none = BTreeMap::new();
        let step = Step {
            argv: &argv,
            directory: &self.place(&ctx)?,
            environment: &none,
            network: &Network::default(),
            timeout_seconds: READ_SECONDS,
            memory_mib: 256,
        };
        Ok(host.run_step(&ctx, &step).await?.stdout)
    }
}

/// A new file in the home that commands of the workspace share, for a report that no other call reads.
pub(crate) fn report_file(ctx: &CallCtx) -> Result<String> {
    let home = ctx.origin()?.caller.home.display();
    Ok(format!("{home}/.skynet-report-{}", Uuid::new_v4().simple()))
}

/// Prints such a file, and removes it.
pub(crate) fn taking(file: &str) -> String {
    let quoted = format!("'{}'", file.replace('\'', r"'\''"));
    format!("cat {quoted} 2>/dev/null; rm -f {quoted}")
}

/// What keeps programs from asking, colouring, phoning home and trying again what was refused.
fn variables(home: &Path, is_offline: bool) -> BTreeMap<String, String> {
    // Java looks at no variable of a proxy (Networking Properties, `http.proxyHost`), nor at `HOME`.
    let home = home.display();
    let java = format!(
        "-Duser.home={home} -Dhttp.proxyHost=127.0.0.1 -Dhttp.proxyPort={PROXY_PORT} -Dhttps.proxyHost=127.0.0.1 -Dhttps.proxyPort={PROXY_PORT}"
    );
    let always = [
        ("CARGO_TERM_COLOR", "never"),
        ("CI", "1"),
        ("GOTOOLCHAIN", "local"),
        ("GRADLE_OPTS", &java),
        ("MAVEN_OPTS", &java),
        ("NO_COLOR", "1"),
        ("PIP_DISABLE_PIP_VERSION_CHECK", "1"),
        ("PIP_NO_INPUT", "1"),
        ("PYTHONDONTWRITEBYTECODE", "1"),
        ("npm_config_audit", "false"),
        ("npm_config_fund", "false"),
        ("npm_config_update_notifier", "false"),
        ("YARN_ENABLE_TELEMETRY", "0"),
    ];
    let never_again = [
        ("CARGO_NET_RETRY", "0"),
        ("PIP_RETRIES", "0"),
        ("UV_HTTP_RETRIES", "0"),
        ("npm_config_fetch_retries", "0"),
    ];
    let chosen = always.into_iter().chain(never_again.into_iter().filter(|_| is_offline));
    chosen.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// The end of what it wrote, more of it if something went wrong.
fn tail(output: &Output, succeeded: bool) -> String {
    let most = if succeeded { TAIL_BYTES } else { TAIL_BYTES_OF_FAILURE };
    let both = [output.stdout.trim(), output.stderr.trim()];
    let both: Vec<_> = both.into_iter().filter(|text| !text.is_empty()).collect();
    last(&both.join("\n"), most)
}

/// Reads a report where nobody waits for it: it may be long, and is a stranger's.
pub(crate) async fn reading<T: Send + 'static>(read: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(read).await;
    done.map_err(|err| Error::internal("the report could not be read").with_source(err))
}

/// The last lines that fit.
pub(crate) fn last(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let from = text.ceil_char_boundary(text.len() - most);
    let tail = text.get(from..).unwrap_or_default();
    let whole = tail.split_once('\n').map_or(tail, |(_, rest)| rest);
    format!("[...]\n{whole}")
}
