//! A broker and a daemon of the whole host, and users of it. Only root can have them.

use crate::programs::{Shim, program};
use serde_json::Value;
use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// The socket of the container engine, in the directory of a host.
const ENGINE: &str = "docker.sock";

/// An account of this host.
#[derive(Clone)]
pub struct User {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
    pub home: PathBuf,
}

impl User {
    /// # Panics
    /// When passwd(5) does not know it.
    #[must_use]
    pub fn find(name: &str) -> Self {
        let text = fs::read_to_string("/etc/passwd").unwrap();
        let fields: Vec<&str> = text
            .lines()
            .map(|line| line.split(':').collect())
            .find(|fields: &Vec<&str>| fields.first() == Some(&name))
            .unwrap_or_else(|| panic!("there is no account `{name}`"));
        let number = |at: usize| fields[at].parse().unwrap();
        Self { name: name.to_owned(), uid: number(2), gid: number(3), home: fields[5].into() }
    }

    /// Makes a command this user's, with the environment that MCP clients give.
    pub fn owns(&self, command: &mut Command) {
        command
            .uid(self.uid)
            .gid(self.gid)
            .env_clear()
            .env("HOME", &self.home)
            .env("USER", &self.name)
            .env("PATH", "/usr/local/bin:/usr/bin:/bin");
    }

    /// A shell command as this user; what it printed.
    #[must_use]
    pub fn sh(&self, script: &str) -> String {
        let mut command = Command::new("sh");
        self.owns(&mut command);
        let output = command.args(["-c", script]).current_dir("/").output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    /// A new directory of this user's, that nobody else can enter.
    #[must_use]
    pub fn project(&self) -> PathBuf {
        let keep = tempfile::Builder::new().prefix("project").tempdir_in(&self.home).unwrap();
        let path = keep.keep();
        std::os::unix::fs::chown(&path, Some(self.uid), Some(self.gid)).unwrap();
        path
    }
}

/// Both programs, in directories of their own.
pub struct Host {
    pub path: PathBuf,
    pub broker: Child,
    pub daemon: Child,
    /// The bus that the daemon finds, of those that come to be started.
    pub bus: Option<String>,
    /// In place of the host's `/etc/ssl`, for the broker and what it starts.
    authorities: Option<PathBuf>,
    users: Vec<User>,
    _keep: tempfile::TempDir,
}

impl Host {
    /// Starts them; `None` after saying on stderr what makes that possible.
    #[must_use]
    pub fn start() -> Option<Self> {
        let names = std::env::var("SKYNET_HOST_USERS").ok();
        let Some(names) = names.filter(|_| rustix::process::geteuid().is_root()) else {
            eprintln!("SKIP host: `cargo xtask test` as root makes the accounts it needs");
            return None;
        };
        let users: Vec<User> = names.split(',').map(User::find).collect();
        let keep = tempfile::Builder::new().prefix("skh").tempdir_in("/run").unwrap();
        let path = keep.path().to_owned();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(path.join("state")).unwrap();
        fs::set_permissions(path.join("state"), fs::Permissions::from_mode(0o700)).unwrap();
        std::os::unix::fs::chown(path.join("state"), Some(users[0].uid), None).unwrap();
        let broker = start_broker(&path, &users, None);
        let daemon = start_daemon(&path, &users[0], None);
        Some(Self { path, broker, daemon, bus: None, authorities: None, users, _keep: keep })
    }

    /// Two users who have nothing to do with each other.
    #[must_use]
    pub fn users(&self) -> [User; 2] {
        [self.users[1].clone(), self.users[2].clone()]
    }

    /// Whose the daemon is.
    #[must_use]
    pub fn daemon_user(&self) -> &str {
        &self.users[0].name
    }

    /// Kills the broker and starts another.
    pub fn replace_broker(&mut self) {
        self.broker.kill().unwrap();
        self.broker.wait().unwrap();
        self.broker = start_broker(&self.path, &self.users, self.authorities.as_deref());
    }

    /// Has what runs here find the authorities in that directory, which takes the place of `/etc/ssl`.
    pub fn trust(&mut self, authorities: &Path) {
        self.authorities = Some(authorities.to_owned());
        self.replace_broker();
    }

    /// Another broker, as one in a container is: no process of this host is there for it, and the control groups are.
    #[must_use]
    pub fn broker_of_a_container(&self) -> Child {
        let path = self.path.join("container");
        fs::create_dir(&path).unwrap();
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--kill-child", "--mount-proc"]).arg(program("skynet-sandbox"));
        until(broker_at(command, &path, &self.users), "ready at")
    }

    /// Kills the daemon and starts another.
    pub fn replace_daemon(&mut self) {
        self.daemon.kill().unwrap();
        self.daemon.wait().unwrap();
        self.daemon = start_daemon(&self.path, &self.users[0], self.bus.as_deref());
    }

    /// Where clients connect.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.path.join("s")
    }

    /// Where the broker looks for a container engine.
    #[must_use]
    pub fn engine_socket(&self) -> PathBuf {
        self.path.join(ENGINE)
    }

    /// A client of that user while he is in another group, besides his own.
    #[must_use]
    pub fn client_in_group(&self, user: &User, group: u32, workspace: &Path) -> Shim {
        let mut command = Command::new("setpriv");
        command.env_clear().env("HOME", &user.home).env("USER", &user.name);
        command.env("PATH", "/usr/local/bin:/usr/bin:/bin");
        command.args(["--reuid", &user.uid.to_string(), "--regid", &user.gid.to_string()]);
        command.args(["--groups", &group.to_string()]).arg(program("skynet-shim"));
        Shim::of(command, &self.socket(), workspace).shaken("2025-11-25", serde_json::json!({}))
    }

    /// A client of that user.
    #[must_use]
    pub fn client(&self, user: &User, workspace: &Path, capabilities: Value) -> Shim {
        let mut command = Command::new(program("skynet-shim"));
        user.owns(&mut command);
        Shim::of(command, &self.socket(), workspace).shaken("2025-11-25", capabilities)
    }

    /// `skynetctl`, as that user or as root; exit code, stdout and stderr.
    #[must_use]
    pub fn ctl(&self, user: Option<&User>, arguments: &[&str]) -> (i32, String, String) {
        let mut command = Command::new(program("skynetctl"));
        if let Some(user) = user {
            user.owns(&mut command);
        }
        let output = command.arg("--socket").arg(self.socket()).args(arguments).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        for child in [&mut self.daemon, &mut self.broker] {
            // It may have ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn start_broker(path: &Path, users: &[User], authorities: Option<&Path>) -> Child {
    let command = match authorities {
        Some(authorities) => {
            let mut command = among(authorities);
            command.arg(program("skynet-sandbox"));
            command
        }
        None => Command::new(program("skynet-sandbox")),
    };
    until(broker_at(command, path, users), "ready at")
}

/// What becomes the program that its next argument names, with that directory in place of `/etc/ssl`: in mounts of its own, so that the
/// host's files are as they were.
fn among(authorities: &Path) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", "mount --bind \"$0\" /etc/ssl && exec \"$@\""]).arg(authorities);
    command
}

/// The engine may be lent to the last of the users, agents of all of them.
fn broker_at(mut command: Command, path: &Path, users: &[User]) -> Command {
    command.arg("system").arg("--socket").arg(path.join("s")).arg("--daemon-socket").arg(path.join("b"));
    command.arg("--homes").arg(path.join("homes")).args(["--daemon-user", &users[0].name]);
    command.arg("--engine-socket").arg(path.join(ENGINE)).arg("--lend-ssh-agents");
    if let Some(last) = users.last() {
        command.args(["--engine-user", &last.name]);
    }
    command
}

fn start_daemon(path: &Path, user: &User, bus: Option<&str>) -> Child {
    let mut command = Command::new(program("skynetd"));
    user.owns(&mut command);
    command.arg("--system").arg("--broker").arg(path.join("b")).arg("--state").arg(path.join("state"));
    command.arg("--config").arg(path.join("config.toml")).current_dir("/");
    command.envs(bus.map(|bus| ("DBUS_SYSTEM_BUS_ADDRESS", bus)));
    until(command, "the broker is there")
}

/// A daemon of one user while he is in another group, with its socket, state and configuration below `directory`.
#[must_use]
pub fn daemon_of(user: &User, group: u32, directory: &Path) -> Child {
    until(daemon_at(Command::new("setpriv"), user, group, directory), "ready")
}

/// One with that directory in place of the host's `/etc/ssl`.
#[must_use]
pub fn daemon_among(authorities: &Path, user: &User, directory: &Path) -> Child {
    let mut command = among(authorities);
    command.arg("setpriv");
    until(daemon_at(command, user, user.gid, directory), "ready")
}

fn daemon_at(mut command: Command, user: &User, group: u32, directory: &Path) -> Command {
    command.env_clear().env("HOME", &user.home).env("USER", &user.name);
    command.env("PATH", "/usr/local/bin:/usr/bin:/bin").current_dir("/");
    command.args(["--reuid", &user.uid.to_string(), "--regid", &user.gid.to_string()]);
    command.args(["--groups", &group.to_string()]).arg(program("skynetd"));
    command.arg("--socket").arg(directory.join("run/s")).arg("--state").arg(directory.join("state"));
    command.arg("--config").arg(directory.join("config.toml"));
    command
}

/// Starts a program and waits until it says so.
fn until(mut command: Command, said: &str) -> Child {
    let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let mut written = String::new();
    while !written.contains(said) {
        assert!(log.read_line(&mut written).unwrap() > 0, "it ended: {written}");
    }
    // It must not block on a full pipe.
    std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
    child
}
