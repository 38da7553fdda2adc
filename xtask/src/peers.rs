//! The servers that are measured: Skynet as released, and well-known others from their registries.

use crate::{account::Account, build, environment};
use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// What is measured with.
pub(crate) struct Bench {
    account: Account,
    programs: PathBuf,
    /// The workspace: `read` of 100 kB, `list` with 1000 entries, `repo` with a history.
    pub(crate) work: PathBuf,
}

/// One server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Server {
    Skynet,
    Everything,
    Filesystem,
    Git,
    Sharp,
}

/// Those that are measured: given ones, as the tests take them, or a release of this checkout.
pub(crate) fn programs() -> Result<PathBuf> {
    if let Some(given) = std::env::var_os("SKYNET_BIN_DIR") {
        return Ok(given.into());
    }
    let programs = if crate::shell::is_root() {
        PathBuf::from("/var/tmp/skynet-bench")
    } else {
        crate::root().join("target/bench")
    };
    fs::create_dir_all(&programs)?;
    build::release_into(&programs, build::For::All)?;
    build::make_readable(&programs)?;
    Ok(programs)
}

impl Bench {
    /// Builds and installs everything, and makes the files.
    pub(crate) fn prepare() -> Result<Self> {
        environment::up(&environment::FOR_BENCH)?;
        let account = Account::unprivileged("skynet-test")?;
        let programs = programs()?;
        let work = account.home().join("skynet-bench");
        if work.exists() {
            fs::remove_dir_all(&work).with_context(|| format!("removing `{}`", work.display()))?;
        }
        account.make_directory(&work.join("list"))?;
        account.make_directory(&work.join("repo"))?;
        for number in 0..1000 {
            fs::write(work.join(format!("list/entry-{number:04}")), "x")?;
        }
        fs::write(work.join("read"), "A line of text as it stands in any file, 50 bytes.\n".repeat(2000))?;
        fs::write(work.join("small"), "x")?;
        for number in 0..200 {
            fs::write(work.join(format!("repo/file-{number}")), format!("{number}\n"))?;
        }
        let bench = Self { account, programs, work };
        bench.account.own(&bench.work)?;
        for arguments in [
            &["init", "--quiet"][..],
            &["add", "."],
            &["-c", "user.name=b", "-c", "user.email=b@x", "commit", "--quiet", "--message=first"],
        ] {
            crate::shell::run(
                bench.account.command("git").arg("-C").arg(bench.work.join("repo")).args(arguments),
            )?;
        }
        fs::write(bench.work.join("repo/file-7"), "changed\n")?;
        Ok(bench)
    }

    /// Gives the account what was made in its workspace.
    pub(crate) fn own(&self, below: &Path) -> Result<()> {
        self.account.own(&self.work.join(below))
    }

    /// Starts the daemon, with the default policy and a durable audit log.
    pub(crate) fn start_daemon(&self) -> Result<Daemon> {
        let run = self.work.join(".run");
        self.account.make_directory(&run)?;
        crate::shell::run(self.account.command("chmod").arg("700").arg(&run))?;
        let mut command = self.account.command(self.programs.join("skynetd"));
        command.arg("--socket").arg(run.join("s")).arg("--state").arg(self.work.join(".state"));
        command.stderr(std::process::Stdio::null());
        let child = command.spawn().context("starting skynetd")?;
        let daemon = Daemon(child);
        while std::os::unix::net::UnixStream::connect(run.join("s")).is_err() {
            std::thread::yield_now();
        }
        Ok(daemon)
    }

    /// Whether the chain of the audit log is whole.
    pub(crate) fn verify_audit(&self) -> Result<()> {
        let mut command = self.account.command(self.programs.join("skynetctl"));
        command.arg("--socket").arg(self.work.join(".run/s")).args(["audit", "verify"]);
        crate::shell::run(&mut command)
    }

    /// One of the programs that are measured.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.programs.join(name)
    }

    /// How to start a server.
    pub(crate) fn command(&self, server: Server) -> Command {
        let component = |name: &str| environment::directory().join(name);
        let node = |script: &str| {
            let mut command = self.account.command("node");
            command.arg(component("bench-node").join("node_modules/@modelcontextprotocol").join(script));
            command
        };
        match server {
            Server::Skynet => {
                let mut command = self.account.command(self.programs.join("skynet-shim"));
                command.arg("--socket").arg(self.work.join(".run/s")).arg("--workspace").arg(&self.work);
                command
            }
            Server::Everything => node("server-everything/dist/index.js"),
            Server::Filesystem => {
                let mut command = node("server-filesystem/dist/index.js");
                command.arg(&self.work);
                command
            }
            Server::Sharp => {
                let mut command = self.account.command("node");
                command.arg(component("bench-node").join("pictures.mjs")).arg(component("bench-node"));
                command
            }
            Server::Git => {
                let mut command = self.account.command(component("bench-python").join("bin/mcp-server-git"));
                command.arg("--repository").arg(self.work.join("repo"));
                command
            }
        }
    }

    /// The same question in each server's words.
    pub(crate) fn question(&self, server: Server, what: What) -> (&'static str, Value) {
        let at = |name: &str| self.path(name);
        match (server, what) {
            (Server::Skynet, What::Trivial) => ("files_stat", json!({ "path": "small" })),
            (Server::Skynet, What::Read) => ("files_read", json!({ "path": "read", "max_bytes": 200_000 })),
            (Server::Skynet, What::List) => ("files_list", json!({ "path": "list" })),
            (Server::Skynet, What::GitStatus) => ("git_status", json!({ "repository": "repo" })),
            (Server::Filesystem, What::Read) => ("read_text_file", json!({ "path": at("read") })),
            (Server::Filesystem, What::List) => ("list_directory", json!({ "path": at("list") })),
            (Server::Git, _) => ("git_status", json!({ "repo_path": at("repo") })),
            (Server::Filesystem, _) => ("get_file_info", json!({ "path": at("small") })),
            (Server::Everything | Server::Sharp, _) => ("echo", json!({ "message": "x" })),
        }
    }

    fn path(&self, name: &str) -> String {
        Path::join(&self.work, name).to_string_lossy().into_owned()
    }
}

/// What is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum What {
    Trivial,
    Read,
    List,
    GitStatus,
}

/// A daemon, stopped when dropped.
pub(crate) struct Daemon(std::process::Child);

impl Daemon {
    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Asks it to end, as a service manager does, and waits until it has.
    pub(crate) fn stop(mut self) -> Result<()> {
        let pid = Pid::from_child(&self.0);
        kill_process(pid, Signal::TERM).context("stopping skynetd")?;
        self.0.wait().context("waiting for skynetd")?;
        Ok(())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
