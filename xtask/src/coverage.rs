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
    // The automation itself is run by hand and by CI, not by tests.
    shell::run(shell::cargo().args([
        "tarpaulin",
        "--engine",
        "llvm",
        "--workspace",
        "--follow-exec",
        "--skip-clean",
        "--exclude-files",
        "xtask/*",
        "--exclude-files",
        "tests/*",
        "--exclude-files",
        "proto/build.rs",
        "--fail-under",
        "80",
        "--out",
        "Stdout",
    ]))
}
