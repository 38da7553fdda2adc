//! The service of a host as its package installs it, in a booted systemd: how soon it is ready, and what it holds while nothing
//! is asked of it.

use crate::shell;
use anyhow::{Context as _, Result, ensure};
use skynet_tests::{machine::Machine, programs::program};
use std::{fs, process::Command};

/// What any service takes that says when it is ready: a shell, and a program that tells systemd.
const PEER: &str = "[Unit]\nStartLimitIntervalSec=0\n[Service]\nType=notify\nNotifyAccess=all\nExecStart=/bin/sh -c 'systemd-notify --ready; exec sleep infinity'\n";

pub(crate) fn run(starts: usize) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let mut package = Command::new(std::env::current_exe()?);
    package.args(["package", "deb", "--fast", "--binaries"]).arg(program("."));
    shell::run(package.arg("--out").arg(directory.path()))?;
    let made = fs::read_dir(directory.path())?.next().context("no package was made")??;
    let machine =
        Machine::boot_for_host().context("`cargo xtask env up systemd`, as root, makes what is booted")?;
    machine.write("/root/skynet.deb", fs::read(made.path())?);
    machine.sh("dpkg --install /root/skynet.deb");
    machine.write("/run/systemd/system/peer.service", PEER);
    machine.sh("systemctl daemon-reload");
    let (peer, ours) = (median(&machine, "peer", starts)?, median(&machine, "skynetd", starts)?);
    println!("{:<34} {:>12} {:>12} {:>8}  goal", "", "Skynet", "peer", "ratio");
    let ratio = peer / ours;
    println!("{:<34} {ours:>9.0} ms {peer:>9.0} ms {ratio:>8.2}  <= 150 ms", "start to ready, a shell's");
    let idle = machine.sh(
        "for pid in $(pgrep --full ^/usr/lib/skynet/); do cat /proc/$pid/smaps_rollup; done | awk '/^Pss:/ { sum += $2 } END { print sum }'",
    );
    let idle: u64 = idle.parse().context("the memory of the service")?;
    println!("{:<34} {:>9} MB {:>34}", "memory without models (PSS)", idle >> 10, "<= 80 MB");
    Ok(())
}

/// From the start of its process to when it says that it is ready, in milliseconds, as systemd notes both.
fn median(machine: &Machine, unit: &str, starts: usize) -> Result<f64> {
    let script = format!(
        "for _ in $(seq {starts}); do systemctl stop {unit}; systemctl start {unit}; \
         systemctl show --property=ExecMainStartTimestampMonotonic --property=ActiveEnterTimestampMonotonic --value {unit} | grep . | sort -n | tr '\\n' ' '; echo; done"
    );
    let mut took: Vec<f64> = machine
        .sh(&script)
        .lines()
        .filter_map(|line| {
            let (begun, ready) = line.trim().split_once(' ')?;
            Some((ready.parse::<f64>().ok()? - begun.parse::<f64>().ok()?) / 1e3)
        })
        .collect();
    ensure!(took.len() == starts, "`{unit}` was started {} of {starts} times", took.len());
    took.sort_by(f64::total_cmp);
    took.get(took.len() / 2).copied().context("it was never started")
}
