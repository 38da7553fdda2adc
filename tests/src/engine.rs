//! A container engine of a test's own: started by it, at a socket of its own, gone with it. Only root can have one.

use crate::components;
use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// The image that is there: of this host's busybox, because there is no registry.
pub const IMAGE: &str = "busybox:latest";

const PROGRAM: &str = "/usr/sbin/dockerd";

/// The engine, and what it has made.
pub struct Dockerd {
    child: Child,
    socket: PathBuf,
    data: tempfile::TempDir,
    client: PathBuf,
}

impl Dockerd {
    /// One that serves members of a group at a socket; `None` after saying on stderr what makes that possible. Where there
    /// is systemd, installing one would start one, so that is its administrator's to do.
    #[must_use]
    pub fn start(socket: &Path, group: u32) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIP docker: only root starts one");
            return None;
        }
        if Path::new("/run/systemd/system").exists() && !Path::new(PROGRAM).exists() {
            eprintln!("SKIP docker: there is no {PROGRAM} (docker.io)");
            return None;
        }
        let dockerd = components::program(PROGRAM)?;
        let client = components::program("docker")?;
        let data = tempfile::Builder::new().prefix("skd").tempdir().unwrap();
        let path = |name: &str| data.path().join(name);
        let log = path("log");
        let mut command = Command::new(dockerd);
        command.arg("--data-root").arg(path("data")).arg("--exec-root").arg(path("exec"));
        command.arg("--pidfile").arg(path("pid")).args(["--group", &group.to_string()]);
        command.arg("--host").arg(format!("unix://{}", socket.display()));
        command.args(["--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap());
        let mut all = String::new();
        while !all.contains("API listen on") {
            assert!(said.read_line(&mut all).unwrap() > 0, "dockerd ended: {all}");
        }
        // It must not block on a full pipe.
        let mut file = File::create(log).unwrap();
        std::thread::spawn(move || std::io::copy(&mut said, &mut file));
        let engine = Self { child, socket: socket.to_owned(), data, client };
        engine.import();
        Some(engine)
    }

    /// The group whose members may use Docker, as its package made it.
    #[must_use]
    pub fn group() -> u32 {
        let text = fs::read_to_string("/etc/group").unwrap();
        let line = text.lines().find(|line| line.starts_with("docker:"));
        line.map_or(0, |line| line.split(':').nth(2).unwrap().parse().unwrap())
    }

    /// What Docker's own program prints.
    #[must_use]
    pub fn docker(&self, arguments: &[&str]) -> String {
        self.try_docker(arguments).unwrap_or_else(|said| panic!("docker {arguments:?}: {said}"))
    }

    /// The same; all that it said where it fails.
    ///
    /// # Errors
    /// When it fails.
    pub fn try_docker(&self, arguments: &[&str]) -> Result<String, String> {
        let output = self.command(arguments).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() {
            Ok(text(&output.stdout))
        } else {
            Err(text(&[output.stdout, output.stderr].concat()))
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.client);
        // Without a configuration of whoever runs the tests.
        command.env("DOCKER_CONFIG", self.data.path()).env("DOCKER_BUILDKIT", "0").args(arguments);
        command.env("DOCKER_HOST", format!("unix://{}", self.socket.display()));
        command
    }

    fn import(&self) {
        let root = self.data.path().join("root");
        fs::create_dir_all(root.join("bin")).unwrap();
        fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
        let listed = Command::new("/bin/busybox").arg("--list").output().unwrap();
        for name in String::from_utf8(listed.stdout).unwrap().lines().filter(|name| *name != "busybox") {
            std::os::unix::fs::symlink("busybox", root.join("bin").join(name)).unwrap();
        }
        // As much of a bash as a test needs.
        fs::write(root.join("bin/bash"), "#!/bin/sh\nexec sh \"$@\"\n").unwrap();
        fs::set_permissions(root.join("bin/bash"), fs::Permissions::from_mode(0o755)).unwrap();
        let tar = self.data.path().join("root.tar");
        let status = Command::new("tar").arg("-C").arg(&root).arg("-cf").arg(&tar).arg(".").status().unwrap();
        assert!(status.success());
        let _ = self.docker(&["import", "--change", "CMD [\"sh\"]", tar.to_str().unwrap(), IMAGE]);
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        // What runs would keep the engine from ending for as long as it is given to end by itself.
        if let Ok(output) = self.command(&["ps", "--all", "--quiet"]).output() {
            let names = String::from_utf8_lossy(&output.stdout).into_owned();
            let names: Vec<&str> = names.split_whitespace().collect();
            if !names.is_empty() {
                // One that is going already is no matter.
                let _ = self.command(&[&["rm", "--force", "--volumes"], names.as_slice()].concat()).output();
            }
        }
        let pid = rustix::process::Pid::from_child(&self.child);
        // It may have ended, which a test could be about.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.child.wait();
        let directory = self.data.path().display().to_string();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let points = mounts.lines().filter_map(|line| line.split(' ').nth(4));
        for point in
            points.filter(|point| point.starts_with(&directory)).collect::<Vec<_>>().into_iter().rev()
        {
            let _ = Command::new("umount").arg("--lazy").arg(point).status();
        }
    }
}
