//! `skynetctl policy`: asks the daemon what its policy says. It judges nothing itself.

mod expectations;

use crate::{
    config,
    daemon::Daemon,
    output::{Failure, Output},
};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use skynet_proto::{CheckCommandsRequest, ExplainCallRequest, ExplainCommandRequest};
use std::{io::Read as _, path::PathBuf};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Say whether a tool may be called or a command started, by which rule, and the smallest change that would allow it.
    #[command(after_help = "Exit codes: 0 it is allowed, 1 it is denied, 5 a human is asked.")]
    Explain(Box<Explain>),
    /// Say whether the configuration can be used and every program it allows is there; exit 1 if not.
    Check,
    /// Hold the policy against a file of calls and what is to happen with them; exit 1 if anything else would.
    Test {
        /// TOML with `[[tests]]`: `tool`, `verdict`, and as far as they matter `name`, `rule`, `input`, `user`, `groups`,
        /// `workspace` and `at`.
        file: PathBuf,
    },
}

#[derive(Args)]
pub(crate) struct Explain {
    /// The tool, by name, instead of a command.
    #[arg(value_name = "TOOL", conflicts_with_all = ["command", "script"])]
    tool: Option<String>,
    /// What the tool is called with, as JSON; `-` for what is on stdin.
    #[arg(long, value_name = "JSON", requires = "tool")]
    input: Option<String>,
    /// As if the user were in this group, and in no others than are given; may be repeated.
    #[arg(long, value_name = "NAME", requires = "tool")]
    group: Vec<String>,
    /// At this time instead of now, like `2026-03-04T12:00:00Z`.
    #[arg(long, value_name = "TIME", requires = "tool")]
    at: Option<String>,
    /// Program and arguments, after `--`; with `--script`, the script's arguments.
    #[arg(last = true, value_name = "COMMAND", required_unless_present_any = ["script", "tool"])]
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
    #[arg(long, value_name = "DIR", conflicts_with = "tool")]
    directory: Option<String>,
    /// With this variable set; may be repeated.
    #[arg(long, value_name = "NAME", conflicts_with = "tool")]
    env: Vec<String>,
    /// With something to read.
    #[arg(long, conflicts_with = "tool")]
    stdin: bool,
}

pub(crate) async fn run(daemon: &Daemon, command: Command, output: &mut Output) -> Result<(), Failure> {
    match command {
        Command::Check => check(daemon, output).await,
        Command::Test { file } => expectations::run(daemon, &file, output).await,
        Command::Explain(given) => explain(daemon, *given, output).await,
    }
}

/// What was given, or what is on stdin.
fn given(text: String) -> Result<String, Failure> {
    if text != "-" {
        return Ok(text);
    }
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    Ok(text)
}

/// Seconds since 1970 of a time in RFC 3339.
fn instant(text: &str) -> Result<prost_types::Timestamp, Failure> {
    text.parse().map_err(|_| {
        Failure::usage(format!(
            "`{text}` is no time; write it like `2026-03-04T12:00:00Z` or `2026-03-04T12:00:00+01:00`"
        ))
    })
}

async fn explain(daemon: &Daemon, wanted: Explain, output: &mut Output) -> Result<(), Failure> {
    let here = std::env::current_dir()?;
    let workspace = wanted.workspace.as_ref().map_or_else(|| here.clone(), |given| here.join(given));
    let workspace = workspace.to_string_lossy().into_owned();
    let user = wanted.user.unwrap_or_default();
    let mut client = daemon.policy().await?;
    let said = if let Some(tool) = wanted.tool {
        let input = wanted.input.map_or_else(|| Ok(String::new()), given)?;
        let request = ExplainCallRequest {
            tool,
            input: input.into(),
            user,
            only_these_groups: !wanted.group.is_empty(),
            groups: wanted.group,
            workspace,
            at: wanted.at.as_deref().map(instant).transpose()?,
        };
        let said = client.explain_call(request).await?.into_inner();
        Said {
            verdict: said.verdict,
            rule: said.rule,
            program: said.program,
            reason: said.reason,
            grant: said.grant,
            change: said.change,
            user: said.user,
            workspace: said.workspace,
            effect: Some(said.effect),
        }
    } else {
        let request = ExplainCommandRequest {
            command: wanted.command,
            script: wanted.script.map(given).transpose()?,
            interpreter: wanted.interpreter.unwrap_or_default(),
            variables: wanted.env,
            directory: wanted.directory.unwrap_or_default(),
            stdin: wanted.stdin,
            user,
            workspace,
        };
        let said = client.explain_command(request).await?.into_inner();
        Said {
            verdict: said.verdict,
            rule: said.rule,
            program: said.program,
            reason: said.reason,
            grant: said.grant,
            change: said.change,
            user: said.user,
            workspace: said.workspace,
            effect: None,
        }
    };
    said.show(output)
}

/// What the daemon says to a call or a command.
struct Said {
    verdict: String,
    rule: String,
    program: String,
    reason: String,
    grant: String,
    change: String,
    user: String,
    workspace: String,
    effect: Option<String>,
}

impl Said {
    fn show(&self, output: &mut Output) -> Result<(), Failure> {
        let present = |text: &String| (!text.is_empty()).then(|| text.clone());
        let mut json = json!({
            "verdict": self.verdict,
            "rule": self.rule,
            "user": self.user,
            "workspace": self.workspace,
            "program": present(&self.program),
            "reason": present(&self.reason),
            "grant": present(&self.grant),
            "change": present(&self.change),
        });
        if let (Some(effect), Some(members)) = (&self.effect, json.as_object_mut()) {
            members.insert("effect".into(), Value::from(effect.as_str()));
        }
        output.show(&json, || {
            let mut lines = vec![format!("{}: {} in {}", past(&self.verdict), self.user, self.workspace)];
            lines.push(format!("rule     {}", self.rule));
            let effect = self.effect.clone().unwrap_or_default();
            for (name, value) in [("effect", &effect), ("program", &self.program), ("reason", &self.reason)] {
                if !value.is_empty() {
                    lines.push(format!("{name:<8} {value}"));
                }
            }
            if !self.change.is_empty() {
                lines.push(format!("\nThe smallest change that would allow it: {}", self.change));
            }
            if !self.grant.is_empty() {
                lines.push(format!("\nThe smallest entry that would allow it:\n\n{}", self.grant));
            }
            lines.join("\n")
        })?;
        match self.verdict.as_str() {
            "allow" => Ok(()),
            "ask" => Err(Failure::said(5)),
            _ => Err(Failure::said(1)),
        }
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
