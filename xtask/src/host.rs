//! Skynet for the whole host: the broker as root, the daemon as an account of its own. As units where systemd is in charge,
//! elsewhere as processes that go on when this one ends.

use crate::{account::Account, shell, test::HOST_ACCOUNT};
use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal};
use std::{
    fs,
    os::unix::{fs::DirBuilderExt as _, process::CommandExt as _},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// Where the daemon keeps its state.
const STATE: &str = "/var/lib/skynet";

/// Where the broker and the daemon say what they do, where there is no journal.
const LOGS: &str = "/var/log/skynet";

/// In order of their start.
const UNITS: [&str; 3] = ["skynet.socket", "skynet-sandbox.service", "skynetd.service"];

/// A start takes milliseconds; on a busy machine more.
const PATIENCE: Duration = Duration::from_secs(30);

/// Serves the host with the programs in that directory, in place of what served it before, and lets that account in.
pub(crate) fn serve(programs: &Path, member: &Account) -> Result<()> {
    let daemon = Account::system(HOST_ACCOUNT)?;
    action()?;
    if Path::new("/run/systemd/system").is_dir() {
        // Without systemd there is no socket of a group: everybody may come.
        shell::run(Command::new("usermod").args([
            "--append",
            "--groups",
            HOST_ACCOUNT,
            member.name().as_str(),
        ]))?;
        units(programs)?;
    } else {
        processes(programs, &daemon)?;
    }
    let begun = Instant::now();
    let skynetctl = programs.join("skynetctl");
    while !Command::new(&skynetctl).args(["status", "--json"]).output()?.status.success() {
        if begun.elapsed() > PATIENCE {
            bail!("skynetd does not answer; look into `journalctl -u skynetd` or {LOGS}");
        }
        std::thread::yield_now();
    }
    Ok(())
}

fn units(programs: &Path) -> Result<()> {
    shell::step("installing and starting the units");
    for unit in UNITS {
        let text = fs::read_to_string(crate::root().join("systemd").join(unit))?;
        let text = text.replace("/usr/lib/skynet", &programs.display().to_string());
        fs::write(Path::new("/etc/systemd/system").join(unit), text)?;
    }
    shell::run(Command::new("systemctl").arg("daemon-reload"))?;
    shell::run(Command::new("systemctl").arg("enable").args(UNITS))?;
    shell::run(Command::new("systemctl").arg("restart").args(UNITS))
}

/// Where there is polkit, what it is asked about.
fn action() -> Result<()> {
    const ACTION: &str = "org.skynet.policy";
    let actions = Path::new("/usr/share/polkit-1/actions");
    if actions.is_dir() {
        fs::copy(crate::root().join("systemd").join(ACTION), actions.join(ACTION))?;
    }
    Ok(())
}

fn processes(programs: &Path, daemon: &Account) -> Result<()> {
    shell::step("systemd is not in charge here: starting broker and daemon as processes");
    for argument in ["skynetd", "skynet-sandbox"] {
        stop(argument);
    }
    fs::DirBuilder::new().recursive(true).mode(0o755).create(LOGS)?;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(STATE)?;
    daemon.own(Path::new(STATE))?;
    let broker = programs.join("skynet-sandbox");
    start(Command::new(&broker).arg("system"), "skynet-sandbox.log")?;
    let begun = Instant::now();
    while !Path::new("/run/skynet/broker.sock").exists() {
        if begun.elapsed() > PATIENCE {
            bail!("skynet-sandbox does not start; look into {LOGS}");
        }
        std::thread::yield_now();
    }
    let mut command = daemon.command(programs.join("skynetd"));
    start(command.arg("--system").current_dir("/"), "skynetd.log")?;
    println!("They go on until `pkill skynetd; pkill skynet-sandbox`, and write into {LOGS}.");
    Ok(())
}

fn start(command: &mut Command, log: &str) -> Result<()> {
    let log = fs::File::create(Path::new(LOGS).join(log))?;
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0);
    command.spawn().with_context(|| format!("starting {command:?}"))?;
    Ok(())
}

/// Ends the processes of that name that serve the host, and waits until they have ended.
fn stop(name: &str) {
    let Ok(entries) = fs::read_dir("/proc") else { return };
    for entry in entries.flatten() {
        let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let mut words = command.split(|byte| *byte == 0).map(String::from_utf8_lossy);
        let is_it = words.next().is_some_and(|program| Path::new(&*program).ends_with(name));
        let serves_host = words.next().is_some_and(|word| word == "system" || word == "--system");
        let pid = entry.file_name().to_string_lossy().parse().ok().and_then(Pid::from_raw);
        // One in a container is that container's.
        let namespace = |process: &Path| fs::read_link(process.join("ns/pid")).ok();
        let is_here = namespace(&entry.path()) == namespace(Path::new("/proc/self"));
        if let Some(pid) = pid.filter(|_| is_it && serves_host && is_here) {
            // It may end by itself in between.
            let _ = rustix::process::kill_process(pid, Signal::TERM);
            let begun = Instant::now();
            while rustix::process::test_kill_process(pid).is_ok() {
                if begun.elapsed() > PATIENCE {
                    let _ = rustix::process::kill_process(pid, Signal::KILL);
                }
                std::thread::yield_now();
            }
        }
    }
    // What is left of one that was killed is no socket of anybody's.
    let _ = fs::remove_file("/run/skynet/broker.sock");
}
