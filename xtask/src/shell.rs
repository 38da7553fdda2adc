//! Running other programs, visibly.

use anyhow::{Context as _, Result, bail};
use std::{
    ffi::OsStr,
    path::Path,
    process::{Command, Stdio},
};

/// Says what is being done.
pub(crate) fn step(what: &str) {
    println!("==> {what}");
}

/// Runs a command to its end; a failure is an error that names it.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| describe(command))?;
    if status.success() { Ok(()) } else { bail!("{} ended with {status}", describe(command)) }
}

/// Runs a command and returns what it wrote to stdout.
pub(crate) fn capture(command: &mut Command) -> Result<String> {
    let output = command.stderr(Stdio::inherit()).output().with_context(|| describe(command))?;
    if !output.status.success() {
        bail!("{} ended with {}", describe(command), output.status);
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// Whether a program is on the path.
pub(crate) fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

/// Whether this process may do everything.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The same cargo that runs this.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(crate::root());
    command
}

/// What parts of the product are compiled with that are not Rust.
pub(crate) const COMPILERS: [(&str, &str); 2] = [("c++", "g++"), ("cc", "gcc")];

/// Installs Debian packages that are missing; without root it prints the one line that would.
pub(crate) fn install_packages(wanted: &[(&str, &str)]) -> Result<()> {
    let missing: Vec<&str> =
        wanted.iter().filter(|(program, _)| !has(program)).map(|(_, package)| *package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let line = format!("apt-get install --yes --no-install-recommends {}", missing.join(" "));
    if !is_root() {
        bail!("missing: {}; run: sudo {line}", missing.join(", "));
    }
    if !has("apt-get") {
        bail!("missing: {}; install them with this system's package manager", missing.join(", "));
    }
    step(&line);
    // A stale list is worse than a second try.
    run(Command::new("apt-get").arg("update").arg("--quiet=2"))?;
    run(Command::new("sh").arg("-c").arg(&line).env("DEBIAN_FRONTEND", "noninteractive"))
}

/// Copies a program, replacing one that may be running.
pub(crate) fn install(from: &Path, to: &Path) -> Result<()> {
    let temporary = to.with_extension("new");
    std::fs::copy(from, &temporary).with_context(|| format!("copying `{}`", from.display()))?;
    std::fs::rename(&temporary, to).with_context(|| format!("installing `{}`", to.display()))
}

fn describe(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}
