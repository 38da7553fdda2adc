//! Packages of what was built: `cargo xtask package deb`. One file per kind of package.

mod archive;
mod copyright;
mod crates;
mod deb;
mod image;
mod libraries;
mod sbom;
mod snap;
mod tree;

use crate::{build, changelog, shell};
use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand};
use crates::Crates;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command as Process,
};

#[derive(Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    command: Command,
    /// Package the programs in this directory instead of building a release.
    #[arg(long, value_name = "DIR", global = true)]
    binaries: Option<PathBuf>,
    /// Write into this directory instead of `target/package`.
    #[arg(long, value_name = "DIR", global = true)]
    out: Option<PathBuf>,
    /// Compress little, for tests.
    #[arg(long, global = true)]
    fast: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Debian and Ubuntu.
    Deb,
    /// Systems with snapd, for one user.
    Snap,
    /// Containers: an archive for `docker load`, Podman and registries.
    Image,
    /// What `install.sh` unpacks, for one user.
    Archive,
    /// What is compiled in, as CycloneDX lists it; no package.
    Sbom,
    /// All of them.
    All,
}

/// Who answers for the packages.
const MAINTAINER: &str = "The Skynet developers <packages@skynet.invalid>";

/// One line for lists of packages.
const SUMMARY: &str = "hands for AI agents, without giving them the host";

/// For those who look closer, wrapped as control files have it.
const DESCRIPTION: &str = "\
Skynet is one daemon instead of a server per client and tool. It takes each
call of an MCP client through permission, quota, validation, confirmation by
a human and audit, and has it done by helpers that are confined to the
directory the client works in: files, commands in a sandbox, git, containers,
units, search by meaning, memory, and taking back what was done.";

/// Whether packages are made to be kept or to be looked at.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Compression {
    Best,
    Fast,
}

/// What every kind of package is made of.
pub(crate) struct Material {
    programs: PathBuf,
    out: PathBuf,
    crates: Crates,
    /// Seconds since 1970 that every file is given, so that the same source makes the same package.
    epoch: u64,
    compression: Compression,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let built = tempfile::tempdir()?;
    let material = Material::gather(options, built.path())?;
    match options.command {
        Command::Deb => deb::make(&material),
        Command::Snap => snap::make(&material),
        Command::Image => image::make(&material),
        Command::Archive => archive::make(&material),
        Command::Sbom => sbom::make(&material),
        Command::All => [deb::make, snap::make, image::make, archive::make, sbom::make]
            .iter()
            .try_for_each(|make| make(&material)),
    }
}

impl Material {
    fn gather(options: &Options, built: &Path) -> Result<Self> {
        let programs = match &options.binaries {
            Some(directory) => std::path::absolute(directory)?,
            None => {
                build::release_into(built, build::For::All)?;
                built.to_owned()
            }
        };
        if let Some(missing) = build::PROGRAMS.iter().find(|name| !programs.join(name).is_file()) {
            bail!("there is no `{missing}` in `{}`", programs.display());
        }
        let out = options.out.clone().unwrap_or_else(|| crate::root().join("target/package"));
        fs::create_dir_all(&out).with_context(|| format!("making `{}`", out.display()))?;
        Ok(Self {
            programs,
            out: std::path::absolute(out)?,
            crates: Crates::read()?,
            epoch: epoch()?,
            compression: if options.fast { Compression::Fast } else { Compression::Best },
        })
    }

    /// A program whose result depends on nothing but what it is given.
    fn command(&self, program: &str) -> Process {
        let mut command = Process::new(program);
        command.env("SOURCE_DATE_EPOCH", self.epoch.to_string()).env("LC_ALL", "C.UTF-8").env("TZ", "UTC");
        command
    }
}

/// What packages are made of, besides programs.
const SOURCES: [&str; 6] = [".github", "CHANGELOG.md", "LICENSE", "changelog.d", "packaging", "systemd"];

/// Copies what packages are made of, for an account that may enter neither the checkout nor the directory of crates.
pub(crate) fn copy_source(to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("making `{}`", to.display()))?;
    let here = SOURCES.iter().map(|name| crate::root().join(name)).filter(|path| path.exists());
    shell::run(Process::new("cp").arg("-r").args(here).arg(to))?;
    Crates::of_source()?.save(&to.join(crates::PREPARED))
}

/// The version of this source.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// When what is packaged was made: as it was given (<https://reproducible-builds.org/specs/source-date-epoch/>), or when
/// the last change was committed.
pub(crate) fn epoch() -> Result<u64> {
    let given = match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(given) => given,
        Err(_) => {
            shell::capture(Process::new("git").args(["log", "-1", "--format=%ct"]).current_dir(crate::root()))
                .context("set SOURCE_DATE_EPOCH where there is no Git")?
        }
    };
    given.trim().parse().with_context(|| format!("`{}` is no number of seconds", given.trim()))
}

/// Runs what needs a program that is not everywhere, or says which package has it.
fn require(program: &str, package: &str) -> Result<()> {
    if shell::has(program) { Ok(()) } else { bail!("there is no `{program}`; install {package}") }
}
