//! A Redis of a test's own: in memory, at a socket of its own, with a password, gone when dropped.

use crate::{components, programs::wait_until};
use std::{
    fs,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// What it is opened with.
const PASSWORD: &str = "open-for-tests";

pub struct Redis {
    child: Child,
    server: PathBuf,
    client: PathBuf,
    keep: tempfile::TempDir,
}

impl Redis {
    /// Starts it; `None` after saying on stderr what installs it.
    #[must_use]
    pub fn start() -> Option<Self> {
        // One file for both, which goes by its name; where it has the other name too, Debian starts it as a service.
        let server = components::program("redis-check-rdb")?;
        let client = components::program("redis-cli")?;
        let keep = tempfile::Builder::new().prefix("skr").tempdir_in("/tmp").unwrap();
        fs::write(keep.path().join("password"), format!("{PASSWORD}\n")).unwrap();
        let child = spawn(&server, keep.path());
        let redis = Self { child, server, client, keep };
        redis.wait();
        Some(redis)
    }

    /// The part of a configuration that says where it is. Of packages, answers live for an hour.
    #[must_use]
    pub fn settings(&self) -> String {
        let at = self.keep.path().display();
        format!(
            "[cache]\nbackend = 'redis'\nurl = 'unix://{at}/socket'\npassword_file = '{at}/password'\n[cache.ttl_seconds]\npackages = 3600\n"
        )
    }

    /// What its own client prints.
    #[must_use]
    pub fn ask(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(&self.client);
        command.env_clear().env("REDISCLI_AUTH", PASSWORD).arg("-s").arg(self.keep.path().join("socket"));
        let output = command.args(arguments).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Ends it at once, as when it goes down.
    pub fn stop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again, at the same place and with nothing in it.
    pub fn start_again(&mut self) {
        self.stop();
        self.child = spawn(&self.server, self.keep.path());
        self.wait();
    }

    fn wait(&self) {
        wait_until(|| self.ask(&["ping"]).trim() == "PONG");
    }
}

fn spawn(server: &Path, directory: &Path) -> Child {
    let mut command = Command::new(server);
    command.arg0("redis-server").args(["--port", "0", "--save", "", "--appendonly", "no"]);
    command.arg("--unixsocket").arg(directory.join("socket")).args(["--unixsocketperm", "700"]);
    command.args(["--requirepass", PASSWORD]).current_dir(directory).env_clear();
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.stop();
    }
}
