//! All tests, on a fresh machine too. As root, everything is built as root and run as an unprivileged account,
//! because the daemon refuses root.

use crate::{account::Account, build, environment, package, shell};
use anyhow::{Context as _, Result, bail};
use clap::Args;
use rustix::process::{Pid, Signal};
use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{ChildStdout, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};
use wait_timeout::ChildExt as _;

#[derive(Args, Default)]
pub(crate) struct Options {
    /// Run only tests whose name contains this.
    pub(crate) filter: Option<String>,
    /// Show what passing tests print.
    #[arg(long)]
    pub(crate) nocapture: bool,
}

/// Where root's tests lie, for an account that cannot enter root's home.
const STAGE: &str = "/var/tmp/skynet-test";

/// A test program that takes longer hangs: all of them take two minutes together.
const LONGEST: Duration = Duration::from_mins(15);

pub(crate) fn run(options: &Options) -> Result<()> {
    if shell::is_root() {
        environment::up_for_tests()?;
    }
    crate::tidy::run()?;
    crate::docs::run(true)?;
    // What is quoted in the book was recorded.
    let mut casts = Command::new("python3");
    casts.args(["-B", "-m", "unittest", "--quiet", "docs/casts/test_render.py"]).current_dir(crate::root());
    if shell::has("python3") {
        shell::run(&mut casts)?;
    }
    run_with(options, &[])
}

/// Tests that only root can run: that root is refused, and Skynet for a whole host.
const OF_ROOT: [&str; 2] = ["daemon::root_is_refused", "host::"];

/// The daemon with the fixtures of the official suites. As a part of the workspace, so that what it is made of is what the
/// other programs are made of, and is compiled once.
const CONFORMANCE: [&str; 6] =
    ["build", "--workspace", "--bin", "skynetd", "--features", "skynetd/conformance"];

/// Whom the daemon of a whole host runs as.
pub(crate) const HOST_ACCOUNT: &str = "skynet";

/// This program: tests make packages with it.
const PACKAGER: &str = "xtask";

/// A second user of that host.
const OTHER_ACCOUNT: &str = "skynet-other";

fn is_wanted(options: &Options, of_root: &str) -> bool {
    options
        .filter
        .as_ref()
        .is_none_or(|filter| of_root.starts_with(filter.as_str()) || filter.starts_with(of_root))
}

/// Builds and runs the tests with more variables.
pub(crate) fn run_with(options: &Options, variables: &[(&str, String)]) -> Result<()> {
    shell::install_packages(&shell::COMPILERS)?;
    let account = Account::unprivileged("skynet-test")?;
    if shell::is_root() {
        Account::unprivileged(OTHER_ACCOUNT)?;
        Account::system(HOST_ACCOUNT)?;
    }
    let stage = Stage::new()?;
    // First, because the ordinary build replaces it in the target directory.
    for program in build::cargo(&CONFORMANCE)? {
        if program.name == "skynetd" && !program.is_test {
            stage.add(&program.path, "skynetd-conformance")?;
        }
    }
    let mut built = build::cargo(&["test", "--workspace", "--no-run"])?;
    built.extend(build::cargo(&["build", "--workspace", "--bins"])?);
    // The relay is tested as it is released: its size and memory are promises.
    built.extend(build::cargo(&["build", "--profile", "shim", "--package", "skynet-shim"])?);
    let mut tests = Vec::new();
    for program in built {
        if program.is_test {
            let name =
                program.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            tests.push((program.name, stage.add(&program.path, &name)?));
        } else if build::PROGRAMS.contains(&program.name.as_str()) || program.name == PACKAGER {
            stage.add(&program.path, &program.name)?;
        }
    }
    package::copy_source(&stage.0.join("source"))?;
    build::make_readable(&stage.0)?;
    let small_disk = SmallDisk::mount(&stage.0.join(SmallDisk::NAME), &account);
    let mut variables = variables.to_vec();
    variables.extend(small_disk.as_ref().map(|disk| ("SKYNET_SMALL_DISK", disk.0.display().to_string())));

    let (mut passed, mut failed) = (0, 0);
    for (name, path) in tests {
        shell::step(&format!("testing {name} as {}", account.name()));
        let (more_passed, more_failed) = run_one(&account, &path, &stage.0, options, &variables)?;
        passed += more_passed;
        failed += more_failed;
    }
    if shell::is_root() {
        let e2e = fs::read_dir(&stage.0)?.filter_map(|entry| Some(entry.ok()?.path()));
        let e2e = e2e
            .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("e2e-")))
            .max()
            .context("the e2e tests")?;
        for of_root in OF_ROOT.iter().filter(|of_root| is_wanted(options, of_root)) {
            shell::step(&format!("testing {of_root} as root"));
            let filter = options.filter.clone().filter(|filter| filter.starts_with(of_root));
            let only =
                Options { filter: filter.or_else(|| Some((*of_root).into())), nocapture: options.nocapture };
            let users = [HOST_ACCOUNT, "skynet-test", OTHER_ACCOUNT].join(",");
            let variables = [("SKYNET_HOST_USERS", users)];
            let (more_passed, more_failed) = run_one(&Account::Own, &e2e, &stage.0, &only, &variables)?;
            passed += more_passed;
            failed += more_failed;
        }
    }
    println!("{passed} passed, {failed} failed");
    if failed > 0 { bail!("{failed} tests failed") } else { Ok(()) }
}

/// Runs one test program; returns how many tests passed and failed.
fn run_one(
    account: &Account,
    path: &Path,
    stage: &Path,
    options: &Options,
    variables: &[(&str, String)],
) -> Result<(u32, u32)> {
    let mut command = account.command(path);
    command.env("SKYNET_BIN_DIR", stage).env("SKYNET_ENV", environment::directory());
    if shell::is_root() || std::env::var_os("CI").is_some() {
        command.env("SKYNET_REQUIRE_ALL", "1");
    }
    command.env("SKYNET_RELEASED", "1").envs(variables.iter().map(|(name, value)| (*name, value)));
    command.args(options.filter.iter());
    if options.nocapture {
        command.arg("--nocapture");
    }
    // A group of its own, so that it can be ended with all that it started.
    command.stdout(Stdio::piped()).process_group(0);
    let mut child = command.spawn().with_context(|| format!("running `{}`", path.display()))?;
    let summary = show(child.stdout.take().context("the output of a test")?);
    let group = Pid::from_child(&child);
    let status = child.wait_timeout(LONGEST)?;
    // It may be gone altogether, which is how it should be.
    let _ = rustix::process::kill_process_group(group, Signal::KILL);
    if status.is_none() {
        child.wait()?;
        println!("ended after {} minutes", LONGEST.as_secs() / 60);
    }
    // What left the group may hold the pipe open for ever, but says nothing that counts.
    let (passed, failed) = summary.recv_timeout(Duration::from_secs(10)).unwrap_or_default();
    let is_success = status.is_some_and(|status| status.success());
    // It may have crashed without a summary.
    Ok((passed, if is_success { failed } else { failed.max(1) }))
}

/// Shows what a test program prints as it comes; sends how many tests passed and failed when it says so.
fn show(stdout: ChildStdout) -> mpsc::Receiver<(u32, u32)> {
    let (found, summary) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            println!("{line}");
            if let Some(counts) = line.strip_prefix("test result: ") {
                let number = |after: &str| {
                    let before = counts.split(after).next()?;
                    before.rsplit(' ').next()?.parse::<u32>().ok()
                };
                let counts = (number(" passed").unwrap_or(0), number(" failed").unwrap_or(0));
                // Nobody asks any more if the run has ended.
                let _ = found.send(counts);
            }
        }
    });
    summary
}

/// A disk that the tests may fill; unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    const NAME: &str = "small-disk";

    /// Mounts one where this process may; elsewhere the tests that need it say that they are skipped.
    fn mount(path: &Path, account: &Account) -> Option<Self> {
        if !shell::is_root() {
            return None;
        }
        fs::create_dir_all(path).ok()?;
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=32m", "skynet-small-disk"]).arg(path);
        shell::run(&mut mount).ok()?;
        let disk = Self(path.to_owned());
        account.own(path).ok()?;
        Some(disk)
    }

    fn unmount(path: &Path) {
        // A process that still uses it keeps it, out of sight; and nothing may be mounted there.
        let _ = Command::new("umount").arg("--quiet").arg("--lazy").arg(path).status();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        Self::unmount(&self.0);
    }
}

/// Programs and tests, side by side in a directory that anybody can enter.
struct Stage(PathBuf);

impl Stage {
    fn new() -> Result<Self> {
        let path = if shell::is_root() { PathBuf::from(STAGE) } else { crate::root().join("target/stage") };
        if path.exists() {
            // Still mounted where a run before this one was killed.
            SmallDisk::unmount(&path.join(SmallDisk::NAME));
            fs::remove_dir_all(&path).with_context(|| format!("removing `{}`", path.display()))?;
        }
        fs::create_dir_all(path.parent().unwrap_or(&path))?;
        // Not one that somebody else put there meanwhile: what lies in it is run as root.
        fs::create_dir(&path).with_context(|| format!("making `{}`", path.display()))?;
        Ok(Self(path))
    }

    fn add(&self, from: &Path, name: &str) -> Result<PathBuf> {
        let to = self.0.join(name);
        shell::install(from, &to)?;
        Ok(to)
    }
}
