//! A booted systemd: a container whose first process it is, from the tree of the component `systemd`. Only root can have one.

use crate::{
    components,
    programs::{Shim, program},
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

/// Where the programs under test are, inside.
const PROGRAMS: &str = "/opt/skynet";

/// The account that works inside.
pub const USER: &str = "ann";

/// A running machine, gone when dropped.
pub struct Machine {
    /// None of a machine that is not ours to end.
    container: Option<Child>,
    leader: u32,
    daemons: Vec<Child>,
    _scratch: tempfile::TempDir,
}

impl Machine {
    /// Boots one that has an account for [`USER`], who has a manager of units of her own; `None` after saying on stderr what makes
    /// that possible.
    #[must_use]
    pub fn boot() -> Option<Self> {
        Self::boot_with(&[])
    }

    /// Boots one in which a whole host can be served: with control groups to make, and with what sandboxes are made of.
    #[must_use]
    pub fn boot_for_host() -> Option<Self> {
        if std::env::var_os("SKYNET_MACHINE").is_some_and(|which| which == "this") {
            return Some(Self::this());
        }
        let calls = "--system-call-filter=@sandbox @mount @privileged @keyring @debug landlock_create_ruleset landlock_add_rule landlock_restrict_self";
        let machine = Self::boot_with(&["--capability=all", calls])?;
        // With version 1 of control groups they are those of this host, read-only unless somebody says otherwise.
        machine.sh(
            "for name in memory pids; do [ ! -d /sys/fs/cgroup/$name ] || mount -o remount,bind,rw /sys/fs/cgroup/$name; done",
        );
        Some(machine)
    }

    /// The one that this process is in, which is there for tests alone.
    fn this() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let machine = Self { container: None, leader: 1, daemons: Vec::new(), _scratch: scratch };
        machine.add_user();
        machine
    }

    fn add_user(&self) {
        self.sh(&format!(
            "useradd --create-home --shell /bin/sh {USER} && loginctl enable-linger {USER} && systemctl start user@$(id -u {USER})"
        ));
    }

    fn boot_with(arguments: &[&str]) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIP machine: only root boots one");
            return None;
        }
        let tree = components::find("systemd", "tree")?;
        let nspawn = components::program("systemd-nspawn")?;
        let scratch = tempfile::Builder::new().prefix("skm").tempdir().unwrap();
        let programs = program("skynetd");
        let mut command = Command::new(nspawn);
        command.args(["--quiet", "--register=no", "--keep-unit", "--private-network", "--link-journal=no"]);
        // Nothing of it outlives it, and the tree stays as it is.
        command.args(["--volatile=overlay", "--kill-signal=SIGRTMIN+3", "--console=pipe", "--boot"]);
        command.arg("--directory").arg(tree).arg(format!("--machine=skynet-{}", std::process::id()));
        command.arg(format!("--bind-ro={}:{PROGRAMS}", programs.parent().unwrap().display())).args(arguments);
        let log = fs::File::create(scratch.path().join("console")).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let mut container = command.spawn().unwrap();
        // What is started first is not yet the first process of the machine, and the bus is there once systemd is.
        let leader = loop {
            if let Some(leader) = find_leader(&container) {
                break leader;
            }
            let console = || fs::read_to_string(scratch.path().join("console")).unwrap_or_default();
            assert!(container.try_wait().unwrap().is_none(), "{}", console());
        };
        let machine = Self { container: Some(container), leader, daemons: Vec::new(), _scratch: scratch };
        machine.add_user();
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
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        use std::io::Write as _;
        let mut command =
            self.command("root", &["sh", "-ec", "mkdir -p \"$(dirname \"$1\")\"; cat > \"$1\"", "sh", path]);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(content.as_ref()).unwrap();
        assert!(child.wait().unwrap().success(), "{path}");
    }

    /// The address of its system bus, for root outside of it.
    #[must_use]
    pub fn bus(&self) -> String {
        format!("unix:path=/proc/{}/root/run/dbus/system_bus_socket", self.leader)
    }

    /// A client of [`USER`], with a workspace and a daemon of hers.
    ///
    /// # Panics
    /// When one of them does not start.
    #[must_use]
    pub fn client(&mut self) -> Shim {
        let home = PathBuf::from("/home").join(USER);
        let (workspace, socket) = (home.join("project"), home.join("run/socket"));
        let _ = self.sh(&format!("install -d -o {USER} -g {USER} {}", workspace.display()));
        let skynetd = format!("{PROGRAMS}/skynetd");
        // It ends with the machine. The shim waits until it listens.
        let mut daemon = self.command(USER, &[&skynetd, "--socket"]);
        daemon.arg(&socket).stdout(Stdio::null()).stderr(Stdio::null());
        self.daemons.push(daemon.spawn().unwrap());
        let shim = format!("{PROGRAMS}/skynet-shim");
        Shim::of(self.command(USER, &[&shim]), &socket, &workspace).shaken("2025-11-25", json!({}))
    }
}

impl Machine {
    /// A client of that user's, of the daemon that serves the whole machine.
    #[must_use]
    pub fn client_of_host(&self, user: &str, workspace: &str) -> Shim {
        let socket = Path::new("/run/skynet/skynet.sock");
        let command = self.command(user, &["/usr/bin/skynet-shim"]);
        Shim::of(command, socket, Path::new(workspace)).shaken("2025-11-25", json!({}))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let Some(container) = &mut self.container else { return };
        // With its first process all of it ends; without that, what made the machine would leave it behind.
        let leader = Pid::from_raw(i32::try_from(self.leader).unwrap()).unwrap();
        let _ = kill_process(leader, Signal::KILL);
        let _ = container.wait();
        for daemon in &mut self.daemons {
            let _ = daemon.wait();
        }
    }
}

/// The first process of a machine, once its systemd says that all is started.
fn find_leader(container: &Child) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", container.id())).ok()?;
    let child = children.split_whitespace().next()?;
    let asked = Command::new("nsenter")
        .args(["--target", child, "--all", "--", "systemctl", "is-system-running", "--wait"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let state = String::from_utf8_lossy(&asked.stdout).trim().to_owned();
    if ["running", "degraded"].contains(&&*state) { child.parse().ok() } else { None }
}
