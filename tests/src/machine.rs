//! A booted systemd: a container whose first process it is, from the tree of the component `systemd`. Only root can have one.

use crate::{
    components,
    programs::{Shim, program},
};
use serde_json::json;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
};

/// Where the programs under test are, inside.
const PROGRAMS: &str = "/opt/skynet";

/// The account that works inside.
pub const USER: &str = "ann";

/// A running machine, gone when dropped.
pub struct Machine {
    container: Child,
    leader: u32,
    _scratch: tempfile::TempDir,
}

impl Machine {
    /// Boots one that has an account for [`USER`], who has a manager of units of her own; `None` after saying on stderr what makes
    /// that possible.
    #[must_use]
    pub fn boot() -> Option<Self> {
        let tree = components::find("systemd", "tree")?;
        let nspawn = components::program("systemd-nspawn")?;
        let scratch = tempfile::Builder::new().prefix("skm").tempdir().unwrap();
        let programs = program("skynetd");
        let mut command = Command::new(nspawn);
        command.args(["--quiet", "--register=no", "--keep-unit", "--private-network", "--link-journal=no"]);
        // Nothing of it outlives it, and the tree stays as it is.
        command.args(["--volatile=overlay", "--kill-signal=SIGRTMIN+3", "--console=pipe", "--boot"]);
        command.arg("--directory").arg(tree).arg(format!("--machine=skynet-{}", std::process::id()));
        command.arg(format!("--bind-ro={}:{PROGRAMS}", programs.parent().unwrap().display()));
        let log = fs::File::create(scratch.path().join("console")).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let mut container = command.spawn().unwrap();
        let leader = loop {
            let children = format!("/proc/{0}/task/{0}/children", container.id());
            let children = fs::read_to_string(children).unwrap_or_default();
            if let Some(leader) = children.split_whitespace().next() {
                break leader.parse().unwrap();
            }
            assert!(container.try_wait().unwrap().is_none(), "{}", said(scratch.path()));
            thread::yield_now();
        };
        let machine = Self { container, leader, _scratch: scratch };
        // The bus is there once systemd is.
        while !machine.run("root", &["systemctl", "is-system-running", "--wait"]).status.success() {
            let state = machine.run("root", &["systemctl", "is-system-running"]);
            if String::from_utf8_lossy(&state.stdout).trim() == "degraded" {
                break;
            }
            thread::yield_now();
        }
        machine.sh(&format!(
            "useradd --create-home --shell /bin/sh {USER} && loginctl enable-linger {USER} && systemctl start user@$(id -u {USER})"
        ));
        Some(machine)
    }

    fn command(&self, user: &str, program: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.leader.to_string(), "--all", "--"]);
        let home = if user == "root" { "/root".to_owned() } else { format!("/home/{user}") };
        command.args([
            "setpriv",
            "--reuid",
            user,
            "--regid",
            user,
            "--init-groups",
            "env",
            "--ignore-environment",
        ]);
        command.args([
            format!("HOME={home}"),
            format!("USER={user}"),
            "PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin".into(),
        ]);
        command.args(program).stdin(Stdio::null());
        command
    }

    /// Runs a program inside.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn run(&self, user: &str, program: &[&str]) -> Output {
        self.command(user, program).output().unwrap()
    }

    /// Runs a script inside, as root; what it printed.
    ///
    /// # Panics
    /// When it fails.
    pub fn sh(&self, script: &str) -> String {
        let output = self.run("root", &["sh", "-ec", script]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{script}: {said}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Writes a file inside.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write(&self, path: &str, content: &str) {
        use std::io::Write as _;
        let mut command =
            self.command("root", &["sh", "-ec", "mkdir -p \"$(dirname \"$1\")\"; cat > \"$1\"", "sh", path]);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(content.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success(), "{path}");
    }

    /// A client of [`USER`], with a daemon of hers that is started for it, and a workspace.
    #[must_use]
    pub fn client(&self) -> Shim {
        let home = PathBuf::from("/home").join(USER);
        let workspace = home.join("project");
        let _ = self.sh(&format!(
            "install -d -o {USER} -g {USER} {0} {1}/run",
            workspace.display(),
            home.display()
        ));
        let shim = format!("{PROGRAMS}/skynet-shim");
        Shim::of(self.command(USER, &[&shim]), &home.join("run/socket"), &workspace)
            .shaken("2025-11-25", json!({}))
    }
}

fn said(scratch: &Path) -> String {
    fs::read_to_string(scratch.join("console")).unwrap_or_default()
}

impl Drop for Machine {
    fn drop(&mut self) {
        // It may have ended already, and otherwise it ends at once with all that is in it.
        let _ = self.container.kill();
        let _ = self.container.wait();
    }
}
