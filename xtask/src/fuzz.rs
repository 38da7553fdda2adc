//! Readers of bytes that others wrote, under libFuzzer. What is found once belongs into a test.

use crate::shell;
use anyhow::{Context as _, Result, bail};
use clap::Args;
use std::{fs, process::Command};

#[derive(Args)]
pub(crate) struct Options {
    /// Only this target; all of them, one after the other, if absent.
    target: Option<String>,
    /// How long each target runs, in seconds.
    #[arg(long, default_value_t = 60)]
    seconds: u32,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let directory = crate::root().join("tests/fuzz");
    let mut targets = Vec::new();
    for entry in fs::read_dir(directory.join("targets")).context("the targets")? {
        let path = entry?.path();
        targets.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
    }
    targets.sort();
    if let Some(wanted) = &options.target {
        if !targets.contains(wanted) {
            bail!("`{wanted}` is no target; there are: {}", targets.join(", "));
        }
        targets.retain(|target| target == wanted);
    }
    if !shell::has("cargo-fuzz") {
        shell::step("cargo install cargo-fuzz");
        shell::run(shell::cargo().args(["install", "--locked", "cargo-fuzz"]))?;
    }
    for target in targets {
        shell::step(&format!("fuzzing {target} for {} s", options.seconds));
        // The cargo of the path and not the one that runs this: only rustup's takes a toolchain by name.
        let mut command = Command::new("cargo");
        command
            .current_dir(crate::root())
            .env_remove("CARGO")
            .env_remove("RUSTUP_TOOLCHAIN")
            .args(["+nightly", "fuzz", "run", "--fuzz-dir"])
            .arg(&directory)
            .args([&target, "--", &format!("-max_total_time={}", options.seconds)]);
        shell::run(&mut command).with_context(|| format!("fuzzing {target}"))?;
    }
    Ok(())
}
