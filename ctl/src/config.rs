//! `skynetctl config`: the daemon's own program reads the configuration, so that both agree on it, also while no
//! daemon runs.

use crate::output::{Failure, Output};
use clap::Subcommand;
use serde_json::json;
use std::process;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Say whether the configuration can be used; exit 1 if not.
    Check,
    /// Print the configuration in force, defaults and drop-ins included.
    Show,
    /// Print the files that are read, in order.
    Path,
}

pub(crate) fn run(command: &Command, output: &mut Output) -> Result<(), Failure> {
    let mut arguments = vec!["config"];
    arguments.push(match command {
        Command::Check => "check",
        Command::Show => "show",
        Command::Path => "path",
    });
    if matches!(command, Command::Show) && output.is_json() {
        arguments.push("--json");
    }
    let text = ask(&arguments)?;
    match command {
        Command::Show => output.line(text.trim_end()),
        Command::Check => output.show(&json!({ "valid": true }), || text),
        Command::Path => output.show(&text.lines().collect(), || {
            if text.is_empty() { "no file exists; the defaults hold".into() } else { text.clone() }
        }),
    }
}

/// Fails where the configuration cannot be used.
pub(crate) fn check() -> Result<(), Failure> {
    ask(&["config", "check"]).map(drop)
}

/// What the daemon's program says.
pub(crate) fn ask(arguments: &[&str]) -> Result<String, Failure> {
    let program = std::env::current_exe()?.with_file_name("skynetd");
    let mut command = process::Command::new(&program);
    // Root has no daemon of his own: what he asks about is that of the host.
    if rustix::process::geteuid().is_root() && !arguments.contains(&"--state") {
        command.arg("--system");
    }
    let ran = command
        .args(arguments)
        .output()
        .map_err(|err| Failure::refused(format!("`{}`: {err}", program.display())))?;
    if !ran.status.success() {
        let said = String::from_utf8_lossy(&ran.stderr);
        return Err(Failure::refused(said.trim().trim_start_matches("skynetd: ").to_owned()));
    }
    Ok(String::from_utf8_lossy(&ran.stdout).into_owned())
}
