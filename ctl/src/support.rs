//! `skynetctl support-bundle`: what somebody needs who is asked what is wrong with an installation, in one archive. What looks
//! like a credential is taken out. What agents read or wrote is not in it, but for what an error in the journal quotes.

use crate::{
    new_file::NewFile,
    output::{Failure, Output},
};
use flate2::{Compression, write::GzEncoder};
use rustix::fs::{Dir, Mode, OFlags};
use serde_json::json;
use skynet_secrets::Scanner;
use std::{
    fs,
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tar::{Builder, Header};

/// Of each part: the newest, where there is more.
const MOST_BYTES: usize = 2 << 20;

/// What skynetctl says of the installation. Of calls it is told which, when and how they ended, but not with what.
const ASKED: [(&str, &[&str]); 11] = [
    ("status.json", &["--json", "status"]),
    ("doctor.json", &["--json", "doctor"]),
    ("sessions.json", &["--json", "sessions"]),
    ("toolsets.json", &["--json", "toolset", "list"]),
    ("models.json", &["--json", "models", "list"]),
    ("clients.json", &["--json", "client", "list"]),
    ("quota.json", &["--json", "quota", "show"]),
    ("audit-verify.json", &["--json", "audit", "verify"]),
    ("config-files.txt", &["config", "path"]),
    ("config-check.txt", &["config", "check"]),
    ("config.toml", &["config", "show"]),
];

/// What the host says of itself.
const HOST: [(&str, &[&str]); 8] = [
    ("host/uname.txt", &["uname", "-srvm"]),
    ("host/units.txt", &["systemctl", "--no-pager", "status", "skynet.socket", "skynet-sandbox", "skynetd"]),
    (
        "host/journal.txt",
        &[
            "journalctl",
            "--no-pager",
            "-o",
            "short-iso",
            "-n",
            "5000",
            "-u",
            "skynetd",
            "-u",
            "skynet-sandbox",
        ],
    ),
    (
        "host/journal-user.txt",
        &["journalctl", "--no-pager", "-o", "short-iso", "-n", "2000", "--user", "-u", "skynetd"],
    ),
    ("host/mounts.txt", &["findmnt", "--noheadings", "--types", "cgroup,cgroup2,overlay,tmpfs"]),
    ("host/disk.txt", &["df", "-h"]),
    ("host/memory.txt", &["free", "-m"]),
    ("host/systemd.txt", &["systemctl", "--version"]),
];

/// Files of the host.
const FILES: [(&str, &str); 5] = [
    ("host/os-release", "/etc/os-release"),
    ("host/lsm", "/sys/kernel/security/lsm"),
    ("host/max_user_namespaces", "/proc/sys/user/max_user_namespaces"),
    ("host/inotify", "/proc/sys/fs/inotify/max_user_watches"),
    ("host/pressure", "/proc/pressure/memory"),
];

/// Where a daemon keeps reports of its defects: that of a host, and below a home that of a user.
const DEFECTS: [&str; 2] = ["/var/log/skynet/defects", ".local/state/skynet/defects"];

/// Writes one to `file`.
pub(crate) fn run(
    socket: Option<&PathBuf>,
    file: Option<PathBuf>,
    output: &mut Output,
) -> Result<(), Failure> {
    let new = NewFile::begin(file, "skynet-support")?;
    let mut bundle = Bundle::new(new.file())?;
    let this = std::env::current_exe()?;
    for (name, arguments) in ASKED {
        let mut command = in_time(&this);
        if let Some(socket) = socket {
            command.arg("--socket").arg(socket);
        }
        bundle.add_output(name, command.args(arguments))?;
    }
    bundle.add_output("sandbox.txt", in_time(&this.with_file_name("skynet-sandbox")).arg("check"))?;
    for (name, words) in HOST {
        if let Some((program, arguments)) = words.split_first() {
            bundle.add_output(name, in_time(Path::new(program)).args(arguments))?;
        }
    }
    for (name, path) in FILES {
        match fs::read(path) {
            Ok(bytes) => bundle.add(name, &bytes)?,
            Err(err) => bundle.missing.push(format!("{name}: `{path}`: {err}")),
        }
    }
    bundle.add_defects()?;
    let names = bundle.finish()?;
    let path = new.finish()?;
    output.show(&json!({ "file": path, "parts": names }), || {
        format!(
            "{}\n{} parts: {}\nCredentials of known shapes are taken out. Names of users, hosts and directories are in it: look through it before you pass it on.",
            path.display(),
            names.len(),
            names.join(" ")
        )
    })
}

/// A program that is given up when it hangs: what is asked may be why somebody asks for help.
fn in_time(program: &Path) -> Command {
    let mut command = Command::new("timeout");
    command.arg("20s").arg(program);
    command
}

/// Reports of defects in a directory, with their names. It is the daemon's, and whoever asks may be root: no link is followed,
/// and nothing is read but files.
fn reports(directory: &Path) -> io::Result<Vec<(String, Vec<u8>)>> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let (Some(above), Some(name)) = (directory.parent(), directory.file_name()) else {
        return Ok(Vec::new());
    };
    let above = rustix::fs::open(above, flags | OFlags::DIRECTORY, Mode::empty())?;
    let directory = rustix::fs::openat(above, name, flags | OFlags::DIRECTORY, Mode::empty())?;
    let mut reports = Vec::new();
    for entry in Dir::read_from(&directory)? {
        let name = entry?.file_name().to_owned();
        let Ok(file) = rustix::fs::openat(&directory, &name, flags, Mode::empty()) else { continue };
        let file = fs::File::from(file);
        if file.metadata()?.is_file() {
            let mut bytes = Vec::new();
            file.take(MOST_BYTES as u64).read_to_end(&mut bytes)?;
            reports.push((name.to_string_lossy().into_owned(), bytes));
        }
    }
    Ok(reports)
}

struct Bundle<'a> {
    tar: Builder<GzEncoder<&'a fs::File>>,
    scanner: Scanner,
    now: Duration,
    names: Vec<String>,
    /// What could not be had, and why.
    missing: Vec<String>,
}

impl<'a> Bundle<'a> {
    fn new(file: &'a fs::File) -> Result<Self, Failure> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // Of no known values: shapes alone, and tokens of Skynet's own.
        let scanner =
            Scanner::new(Vec::<(String, Vec<u8>)>::new()).map_err(|err| Failure::refused(err.to_string()))?;
        let tar = Builder::new(GzEncoder::new(file, Compression::default()));
        Ok(Self { tar, scanner, now, names: Vec::new(), missing: Vec::new() })
    }

    /// What a program prints, its complaints included.
    fn add_output(&mut self, name: &str, command: &mut Command) -> Result<(), Failure> {
        match command.stdin(Stdio::null()).output() {
            Ok(ran) => {
                let mut said = ran.stdout;
                if !ran.stderr.is_empty() {
                    said.extend_from_slice(b"\n-- stderr\n");
                    said.extend(ran.stderr);
                }
                self.add(name, &said)
            }
            Err(err) => {
                self.missing.push(format!("{name}: {:?}: {err}", command.get_program()));
                Ok(())
            }
        }
    }

    /// Those there are; most installations have none, and most users may not read those of a host.
    fn add_defects(&mut self) -> Result<(), Failure> {
        let home = std::env::home_dir().unwrap_or_default();
        for directory in DEFECTS.map(|directory| home.join(directory)) {
            for (name, bytes) in reports(&directory).unwrap_or_default() {
                self.add(&format!("defects/{name}"), &bytes)?;
            }
        }
        Ok(())
    }

    fn add(&mut self, name: &str, content: &[u8]) -> Result<(), Failure> {
        // Before it is cut: half a credential is known by nothing.
        let redacted = self.scanner.redact(content);
        let bytes = redacted.bytes.get(redacted.bytes.len().saturating_sub(MOST_BYTES)..).unwrap_or_default();
        let mut header = Header::new_gnu();
        header.set_mode(0o600);
        header.set_size(bytes.len() as u64);
        header.set_mtime(self.now.as_secs());
        self.tar.append_data(&mut header, format!("skynet-support/{name}"), bytes)?;
        self.names.push(name.to_owned());
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<String>, Failure> {
        let missing = self.missing.join("\n");
        self.add("missing.txt", missing.as_bytes())?;
        self.tar.into_inner()?.finish()?.flush()?;
        Ok(self.names)
    }
}
