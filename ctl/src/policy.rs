//! `skynetctl policy`: asks the daemon what its policy says. It judges nothing itself.

use crate::{
    config,
    daemon::Daemon,
    output::{Failure, Output},
};
use clap::Subcommand;
use serde_json::json;
use skynet_proto::{CheckCommandsRequest, ExplainCommandRequest};
use std::{io::Read as _, path::PathBuf};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Say whether a command may be started, by which rule, and the smallest entry that would allow it.
    #[command(after_help = "Exit codes: 0 it is allowed, 1 it is denied, 5 a human is asked.")]
    Explain {
        /// Program and arguments, after `--`; with `--script`, the script's arguments.
        #[arg(last = true, value_name = "COMMAND", required_unless_present = "script")]
        command: Vec<String>,
        /// Judge this script, `-` for the one on stdin.
        #[arg(long, value_name = "TEXT")]
        script: Option<String>,
        /// What reads the script: bash, sh, python, node, ruby or perl.
        #[arg(long, value_name = "NAME", requires = "script")]
        interpreter: Option<String>,
        /// As this user, by name or number.
        #[arg(long, value_name = "NAME")]
        user: Option<String>,
        /// In this workspace instead of the current directory.
        #[arg(long, value_name = "DIR")]
        workspace: Option<PathBuf>,
        /// Started in this directory of the workspace.
        #[arg(long, value_name = "DIR")]
        directory: Option<String>,
        /// With this variable set; may be repeated.
        #[arg(long, value_name = "NAME")]
        env: Vec<String>,
        /// With something to read.
        #[arg(long)]
        stdin: bool,
    },
    /// Say whether the configuration can be used and every program it allows is there; exit 1 if not.
    Check,
}

pub(crate) async fn run(daemon: &Daemon, command: Command, output: &mut Output) -> Result<(), Failure> {
    match command {
        Command::Check => check(daemon, output).await,
        Command::Explain { command, script, interpreter, user, workspace, directory, env, stdin } => {
            let script = match script {
                Some(dash) if dash == "-" => {
                    let mut text = String::new();
                    std::io::stdin().read_to_string(&mut text)?;
                    Some(text)
                }
                given => given,
            };
            let here = std::env::current_dir()?;
            let workspace = workspace.map_or_else(|| here.clone(), |given| here.join(given));
            let request = ExplainCommandRequest {
                command,
                script,
                interpreter: interpreter.unwrap_or_default(),
                variables: env,
                directory: directory.unwrap_or_default(),
                stdin,
                user: user.unwrap_or_default(),
                workspace: workspace.to_string_lossy().into_owned(),
            };
            explain(daemon, request, output).await
        }
    }
}

async fn explain(
    daemon: &Daemon,
    request: ExplainCommandRequest,
    output: &mut Output,
) -> Result<(), Failure> {
    let said = daemon.policy().await?.explain_command(request).await?.into_inner();
    let json = json!({
        "verdict": said.verdict,
        "rule": said.rule,
        "user": said.user,
        "workspace": said.workspace,
        "program": (!said.program.is_empty()).then_some(&said.program),
        "reason": (!said.reason.is_empty()).then_some(&said.reason),
        "grant": (!said.grant.is_empty()).then_some(&said.grant),
    });
    output.show(&json, || {
        let mut lines = vec![format!("{}: {} in {}", past(&said.verdict), said.user, said.workspace)];
        lines.push(format!("rule     {}", said.rule));
        for (name, value) in [("program", &said.program), ("reason", &said.reason)] {
            if !value.is_empty() {
                lines.push(format!("{name:<8} {value}"));
            }
        }
        if !said.grant.is_empty() {
            lines.push(format!("\nThe smallest entry that would allow it:\n\n{}", said.grant));
        }
        lines.join("\n")
    })?;
    match said.verdict.as_str() {
        "allow" => Ok(()),
        "ask" => Err(Failure::said(5)),
        _ => Err(Failure::said(1)),
    }
}

fn past(verdict: &str) -> &'static str {
    match verdict {
        "allow" => "allowed",
        "ask" => "a human is asked",
        _ => "denied",
    }
}

async fn check(daemon: &Daemon, output: &mut Output) -> Result<(), Failure> {
    // Read again by the daemon's own program, so that what was changed since it started is checked.
    config::check()?;
    let found = daemon.policy().await?.check_commands(CheckCommandsRequest {}).await?.into_inner();
    let missing: Vec<_> =
        found.missing.iter().map(|one| json!({ "entry": one.entry, "reason": one.reason })).collect();
    let json = json!({ "valid": true, "entries": found.entries, "missing": missing });
    output.show(&json, || {
        let mut lines = vec![format!(
            "the configuration is valid; the daemon that runs has {} entries of `policy.commands`",
            found.entries
        )];
        lines.extend(found.missing.iter().map(|one| format!("`{}`: {}", one.entry, one.reason)));
        lines.join("\n")
    })?;
    if found.missing.is_empty() { Ok(()) } else { Err(Failure::said(1)) }
}
