//! Building what is run.

use crate::shell;
use anyhow::{Context as _, Result};
use serde::Deserialize;
use std::{path::PathBuf, process::Command};

/// The programs of a release.
pub(crate) const PROGRAMS: [&str; 6] =
    ["skynetd", "skynet-hands", "skynet-models", "skynet-sandbox", "skynetctl", "skynet-shim"];

#[derive(Deserialize)]
struct Message {
    reason: String,
    #[serde(default)]
    executable: Option<PathBuf>,
    #[serde(default)]
    target: Target,
    #[serde(default)]
    profile: Profile,
}

#[derive(Default, Deserialize)]
struct Target {
    name: String,
}

#[derive(Default, Deserialize)]
struct Profile {
    test: bool,
}

/// A program that was built.
pub(crate) struct Built {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) is_test: bool,
}

/// Runs cargo and returns the programs it made.
pub(crate) fn cargo(arguments: &[&str]) -> Result<Vec<Built>> {
    shell::step(&format!("cargo {}", arguments.join(" ")));
    let messages =
        shell::capture(shell::cargo().args(arguments).arg("--message-format=json-render-diagnostics"))?;
    let mut built = Vec::new();
    for line in messages.lines() {
        let message: Message = serde_json::from_str(line).context("a message of cargo")?;
        if let ("compiler-artifact", Some(path)) = (message.reason.as_str(), message.executable) {
            built.push(Built { name: message.target.name, path, is_test: message.profile.test });
        }
    }
    Ok(built)
}

/// Builds all programs as this one was built; the path of the one that starts the others.
#[cfg(feature = "product")]
pub(crate) fn broker() -> Result<PathBuf> {
    let mut arguments = vec!["build", "--workspace", "--bins"];
    arguments.extend((!cfg!(debug_assertions)).then_some("--release"));
    let broker = cargo(&arguments)?.into_iter().find(|built| built.name == "skynet-sandbox");
    Ok(broker.context("no broker")?.path)
}

/// For whom programs are built.
#[derive(Clone, Copy)]
pub(crate) enum For {
    /// For this host, soon.
    Here,
    /// For everybody, as well as it can be done.
    All,
}

/// Builds the programs of a release and copies them into `directory`.
pub(crate) fn release_into(directory: &std::path::Path, whom: For) -> Result<()> {
    let profile = match whom {
        For::Here => "release",
        For::All => "dist",
    };
    let mut built = cargo(&[
        "build",
        "--profile",
        profile,
        "--package",
        "skynetd",
        "--package",
        "skynet-hands",
        "--package",
        "skynet-models",
        "--package",
        "skynet-sandbox",
        "--package",
        "skynetctl",
    ])?;
    built.extend(cargo(&["build", "--profile", "shim", "--package", "skynet-shim"])?);
    for program in built.iter().filter(|program| PROGRAMS.contains(&program.name.as_str())) {
        shell::install(&program.path, &directory.join(&program.name))?;
    }
    Ok(())
}

/// Makes sure that others can enter a directory and run what is in it.
pub(crate) fn make_readable(directory: &std::path::Path) -> Result<()> {
    shell::run(Command::new("chmod").args(["-R", "a+rX"]).arg(directory))
}
