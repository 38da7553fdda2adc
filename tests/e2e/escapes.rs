//! Attacks on the sandbox, written from the kernel's side. Each is a script that says `ESCAPED` when it got what a command
//! must not get. Those that work for any program of the user are run outside of the sandbox first, where they must
//! say so: an attack that cannot bite proves nothing.

mod attacks;

use attacks::{
    Outside::{self, Bites},
    PLANTED, PRELUDE, PYTHON, SHELL,
};
use serde_json::json;
use skynet_tests::{
    host::{Host, User},
    programs::{Daemon, Home, Shim},
};
use std::{
    any::Any,
    ffi::OsString,
    fs,
    net::TcpListener,
    os::{
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixListener},
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// What attacks aim at.
pub(crate) struct Target {
    project: PathBuf,
    /// A program of the same user, outside of the sandbox.
    outside: Box<dyn Fn(&str) -> Command>,
    /// Whether the user is one of several of a host. There it is enough that the same attacks bite where he is the only one.
    is_of_host: bool,
    shim: Shim,
    victim: Child,
    _tcp: TcpListener,
    _abstract: UnixListener,
    host_tmp: tempfile::TempDir,
    environment: Vec<(&'static str, String)>,
    _keep: Box<dyn Any>,
}

/// Where everything is.
struct Place<'a> {
    home: &'a Path,
    project: &'a Path,
    socket: &'a Path,
    state: &'a Path,
}

impl Target {
    fn new() -> Self {
        let home = Home::new();
        let daemon = Daemon::start(&home);
        let shim = Shim::connected(&home, "2025-11-25", json!({}));
        let environment: Vec<(OsString, OsString)> = home
            .command("skynetctl")
            .get_envs()
            .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
            .collect();
        let outside = move |program: &str| {
            let mut command = Command::new(program);
            command.env_clear().envs(environment.clone());
            command
        };
        let (path, project, socket, state) =
            (home.path.clone(), home.project.clone(), home.socket(), home.state.clone());
        let place = Place { home: &path, project: &project, socket: &socket, state: &state };
        Self::at(&place, Box::new(outside), shim, false, Box::new((daemon, home)))
    }

    /// For a user of a host.
    pub(crate) fn of_host(host: Host, user: &User) -> Self {
        let project = user.project();
        let shim = host.client(user, &project, json!({}));
        let (owner, socket, state) = (user.clone(), host.socket(), host.path.join("state"));
        let outside = move |program: &str| {
            let mut command = Command::new(program);
            owner.owns(&mut command);
            command
        };
        let place = Place { home: &user.home, project: &project, socket: &socket, state: &state };
        Self::at(&place, Box::new(outside), shim, true, Box::new(host))
    }

    fn at(
        place: &Place<'_>,
        outside: Box<dyn Fn(&str) -> Command>,
        shim: Shim,
        is_of_host: bool,
        keep: Box<dyn Any>,
    ) -> Self {
        let prepare =
            "echo 'the secret' > ~/secret; mkdir -p ~/other; echo other > ~/other/file; git init -q";
        let prepared = outside("sh").args(["-c", prepare]).current_dir(place.project).status().unwrap();
        assert!(prepared.success());
        let victim = outside("cat")
            .args(["-", "/dev/null/skynet-victim"])
            .env("VICTIM_SECRET", "x")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let name = format!("skynet{}", place.project.display());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let listener = UnixListener::bind_addr(&address).unwrap();
        let host_tmp = tempfile::tempdir_in("/tmp").unwrap();
        let environment = vec![
            ("VICTIM", victim.id().to_string()),
            ("PORT", tcp.local_addr().unwrap().port().to_string()),
            ("ABSTRACT", name),
            ("SOCKET", place.socket.display().to_string()),
            ("STATE", place.state.display().to_string()),
            ("HOST_TMP", host_tmp.path().display().to_string()),
            ("HOST_NAME", fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim().to_owned()),
            ("HOME", place.home.display().to_string()),
        ];
        let project = place.project.to_owned();
        Self {
            project,
            outside,
            is_of_host,
            shim,
            victim,
            _tcp: tcp,
            _abstract: listener,
            host_tmp,
            environment,
            _keep: keep,
        }
    }

    fn outside(&self, program: &str, script: &str) -> String {
        let mut command = (self.outside)(program);
        command.args(["-c", script]).current_dir(&self.project).envs(self.environment.clone());
        String::from_utf8_lossy(&command.output().unwrap().stdout).into_owned()
    }

    fn inside(&mut self, interpreter: &str, script: &str) -> serde_json::Value {
        let environment: serde_json::Map<_, _> =
            self.environment.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        let input = json!({ "script": script, "interpreter": interpreter, "environment": environment });
        self.shim.call("exec_run", input).unwrap_or_else(|err| panic!("{err}"))
    }

    /// What is wrong with the defence against one attack.
    fn attack(
        &mut self,
        name: &str,
        outside: Outside,
        program: &str,
        interpreter: &str,
        script: &str,
    ) -> Vec<String> {
        let mut faults = Vec::new();
        if outside == Bites && !self.is_of_host && !self.outside(program, script).contains("ESCAPED") {
            faults.push(format!("{name}: does not bite outside"));
        }
        let ended = self.inside(
            interpreter,
            &format!("{script}\n{}", if interpreter == "bash" { "echo TRIED" } else { "print('TRIED')" }),
        );
        let said = ended["stdout"].as_str().unwrap();
        if said.contains("ESCAPED") || !said.contains("TRIED") {
            faults.push(format!("{name}: {ended}"));
        }
        faults
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.victim.kill().unwrap();
        self.victim.wait().unwrap();
        assert!(self.host_tmp.path().exists());
    }
}

#[test]
fn no_attack_from_a_shell_escapes() {
    attack_from_a_shell(&mut Target::new());
}

#[test]
fn no_attack_by_system_calls_escapes() {
    attack_by_system_calls(&mut Target::new());
}

#[test]
fn what_a_command_plants_is_not_there_when_it_has_ended() {
    plant(&mut Target::new());
}

pub(crate) fn attack_from_a_shell(target: &mut Target) {
    let faults: Vec<String> = SHELL
        .iter()
        .flat_map(|(name, outside, script)| target.attack(name, *outside, "bash", "bash", script))
        .collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

pub(crate) fn attack_by_system_calls(target: &mut Target) {
    let faults: Vec<String> = PYTHON
        .iter()
        .flat_map(|(name, outside, script)| {
            target.attack(name, *outside, "python3", "python", &format!("{PRELUDE}{script}"))
        })
        .collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

pub(crate) fn plant(target: &mut Target) {
    let project = target.project.clone();
    let sample = "mkdir kept linked.d; printf good > kept/.envrc; printf good > linked.d/good; ln -s good linked.d/.envrc";
    target.outside("bash", sample);
    let read = |path: &Path| fs::read_to_string(path).unwrap_or_default();
    let mut faults = Vec::new();
    for (script, path) in PLANTED {
        let found = project.join(path);
        // A link cannot be kept from being replaced: then nothing may be left.
        let may_go = found.is_symlink();
        let before = read(&found);
        let (cwd, script) = match script.strip_prefix("cd ").and_then(|rest| rest.split_once(':')) {
            Some((cwd, script)) => (cwd, script),
            None => (".", *script),
        };
        let input = json!({ "script": script, "cwd": cwd, "timeout_seconds": 1 });
        let ended = target.shim.call("exec_run", input).unwrap_or_else(|err| panic!("{script}: {err}"));
        let is_there = found.symlink_metadata().is_ok();
        let is_planted = is_there && (before.is_empty() || read(&found) != before);
        if is_planted || (!is_there && !before.is_empty() && !may_go) {
            faults.push(format!("{script}: {ended}"));
        }
        let clean = "chmod -R u+rwX . 2>/dev/null; rm -rf a x evil old c linked gone deep* dark nested* bare.git* objects refs HEAD config* .*.quarantined* .git/*.quarantined*; ln -sfn good linked.d/.envrc; rm -f linked.d/*.quarantined linked.d/.*.quarantined; true";
        target.outside("bash", clean);
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
