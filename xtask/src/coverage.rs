//! Which lines the tests run, counted by LLVM's instrumentation in every process that the tests start.

use crate::shell;
use anyhow::{Result, bail};

pub(crate) fn run() -> Result<()> {
    if shell::is_root() {
        bail!("coverage runs the tests where they were built; start it as an ordinary user");
    }
    if !shell::has("cargo-tarpaulin") {
        shell::step("cargo install cargo-tarpaulin");
        shell::run(shell::cargo().args(["install", "--locked", "cargo-tarpaulin"]))?;
    }
    // The tests start these programs, so they are counted too: built apart, and named to the merger.
    let directory = crate::root().join("target/coverage");
    shell::step("building the programs with counters");
    shell::run(
        shell::cargo()
            .args(["build", "--workspace", "--bins", "--exclude", "xtask", "--target-dir"])
            .arg(&directory)
            .env("RUSTFLAGS", "-C instrument-coverage"),
    )?;
    let programs = directory.join("debug");
    let mut command = shell::cargo();
    command.args(["tarpaulin", "--engine", "llvm", "--workspace", "--follow-exec", "--skip-clean"]);
    // The automation itself is run by hand and by CI, not by tests.
    for left_out in ["xtask/*", "tests/*", "proto/build.rs"] {
        command.args(["--exclude-files", left_out]);
    }
    command.arg("--objects").args(crate::build::PROGRAMS.map(|program| programs.join(program)));
    command.args(["--fail-under", "80", "--out", "Stdout"]).env("SKYNET_BIN_DIR", &programs);
    shell::run(&mut command)
}
