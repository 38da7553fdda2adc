//! An OpenBao server of a test's own: in memory, by TLS, gone when dropped.

use crate::components;
use serde_json::Value;
use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::{Ipv4Addr, TcpListener},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

pub struct Server {
    program: PathBuf,
    child: Child,
    keep: tempfile::TempDir,
    port: u16,
}

impl Server {
    /// Starts it with a key/value engine, version 2, at `secret`, and the AppRole method; `None` after saying on stderr what installs it.
    #[must_use]
    pub fn start() -> Option<Self> {
        let program = components::find("openbao", "bin/bao")?;
        let keep = tempfile::Builder::new().prefix("bao").tempdir_in("/tmp").unwrap();
        fs::set_permissions(keep.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let mut command = Command::new(&program);
        command.args(["server", "-dev", "-dev-root-token-id=root", "-dev-no-store-token", "-dev-tls"]);
        command.arg(format!("-dev-listen-address=127.0.0.1:{port}"));
        command.arg(format!("-dev-tls-cert-dir={}", keep.path().display()));
        command.env_clear().env("HOME", keep.path()).env("PATH", "/usr/bin:/bin").current_dir(keep.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut log = BufReader::new(child.stdout.take().unwrap());
        let mut written = String::new();
        while !written.contains("Root Token: ") {
            assert!(log.read_line(&mut written).unwrap() > 0, "it ended: {written}");
        }
        // It must not block on a full pipe.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        let server = Self { program, child, keep, port };
        server.bao(&["auth", "enable", "approle"]);
        Some(server)
    }

    #[must_use]
    pub fn address(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// Who vouches for it.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        let files = fs::read_dir(self.keep.path()).unwrap().map(|entry| entry.unwrap().path());
        files.into_iter().find(|path| path.to_string_lossy().ends_with("ca.pem")).unwrap()
    }

    /// A file that only `uid` may read.
    pub fn credential(&self, name: &str, text: &str, uid: Option<u32>) -> PathBuf {
        let path = self.keep.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        std::os::unix::fs::chown(&path, uid, None).unwrap();
        path
    }

    /// Runs its own client as root; what that printed.
    pub fn bao(&self, arguments: &[&str]) -> String {
        self.bao_with(arguments, "").unwrap_or_else(|err| panic!("{arguments:?}: {err}"))
    }

    /// The same, with something to read.
    ///
    /// # Errors
    /// What it said.
    pub fn bao_with(&self, arguments: &[&str], stdin: &str) -> Result<String, String> {
        let mut command = Command::new(&self.program);
        command.env_clear().env("HOME", self.keep.path()).env("PATH", "/usr/bin:/bin");
        command.env("BAO_ADDR", self.address()).env("BAO_CACERT", self.ca()).env("BAO_TOKEN", "root");
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
    }

    /// Runs its client for JSON.
    #[must_use]
    pub fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.bao(arguments)).unwrap()
    }

    /// Lets whoever has the policy `skynet` read below `users/` of `secret`.
    pub fn allow(&self, namespace: Option<&str>) {
        let namespace = namespace.map(|namespace| format!("-namespace={namespace}"));
        let mut arguments = vec!["policy", "write"];
        arguments.extend(namespace.as_deref());
        arguments.extend(["skynet", "-"]);
        let policy = "path \"secret/data/users/*\" { capabilities = [\"read\"] }";
        self.bao_with(&arguments, policy).unwrap();
    }

    /// Makes an AppRole with that policy; the configuration of a daemon that logs in with it. `uid` is the daemon's.
    #[must_use]
    pub fn approle(&self, uid: Option<u32>) -> String {
        self.allow(None);
        self.bao(&["write", "auth/approle/role/skynet", "token_policies=skynet", "token_ttl=1h"]);
        let role = self.bao(&["read", "-field=role_id", "auth/approle/role/skynet/role-id"]);
        let secret = self.bao(&["write", "-f", "-field=secret_id", "auth/approle/role/skynet/secret-id"]);
        let file = self.credential("secret-id", &secret, uid);
        format!(
            "{}\n[secrets.vault.approle]\nrole_id = '{role}'\nsecret_id_file = '{}'\n",
            self.settings("users/{user}"),
            file.display()
        )
    }

    /// The part of a configuration that says where it is.
    #[must_use]
    pub fn settings(&self, path: &str) -> String {
        let (address, ca) = (self.address(), self.ca());
        format!("[secrets.vault]\naddress = '{address}'\nca_file = '{}'\npath = '{path}'\n", ca.display())
    }

    /// Ends it, as when it goes down.
    pub fn stop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    #[must_use]
    pub fn directory(&self) -> &Path {
        self.keep.path()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}
