//! Remotes by SSH: a real server of OpenSSH, which each connection has for itself.

use super::server::{Bench, git};
use serde_json::{Value, json};
use skynet_tests::programs::{outcome, wait_until};
use std::{
    fs,
    net::{Shutdown, TcpListener, TcpStream},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

const PROGRAM: &str = "/usr/sbin/sshd";

pub(crate) struct Server {
    port: u16,
    directory: tempfile::TempDir,
    is_over: Arc<AtomicBool>,
    listener: Option<JoinHandle<()>>,
}

impl Server {
    /// One repository, `sample`, with a commit on `main`, for who has the key `user`. `None` without a server.
    pub(crate) fn start() -> Option<Self> {
        if !Path::new(PROGRAM).exists() {
            eprintln!("SKIP ssh: there is no {PROGRAM} (openssh-server)");
            return None;
        }
        if rustix::process::geteuid().is_root() {
            let shadow = fs::read_to_string("/etc/shadow").unwrap();
            if shadow.lines().any(|line| line.starts_with("root:!")) {
                eprintln!("SKIP ssh: root, for whom the server runs here, is locked");
                return None;
            }
            // Where it goes before it trusts anybody; a service has it made.
            fs::create_dir_all("/run/sshd").unwrap();
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        for name in ["host", "user", "stranger"] {
            make_key(&path.join(name), "");
        }
        fs::copy(path.join("user.pub"), path.join("authorized")).unwrap();
        let shown = path.display();
        let config = format!(
            "HostKey {shown}/host\nAuthorizedKeysFile {shown}/authorized\nStrictModes no\nUsePAM no\nPidFile none\nLogLevel QUIET\n"
        );
        fs::write(path.join("config"), config).unwrap();
        git(path, "init -q --bare -b main sample");
        let work = path.join("work");
        git(path, "init -q -b main work");
        fs::write(work.join("file"), "one\n").unwrap();
        git(&work, "add file");
        git(&work, "commit -q -m first");
        git(&work, "push -q ../sample main");

        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let is_over = Arc::new(AtomicBool::new(false));
        let (ended, config) = (is_over.clone(), path.join("config"));
        let listener = std::thread::spawn(move || {
            let mut running = Vec::new();
            for stream in listener.incoming().map_while(Result::ok) {
                if ended.load(Ordering::Relaxed) {
                    break;
                }
                let (stdin, stdout) = (OwnedFd::from(stream.try_clone().unwrap()), OwnedFd::from(stream));
                let mut command = Command::new(PROGRAM);
                command.arg("-i").arg("-f").arg(&config).stdin(stdin).stdout(stdout).stderr(Stdio::null());
                running.push(command.spawn().unwrap());
            }
            for mut process in running {
                // Most have ended.
                let _ = process.kill();
                let _ = process.wait();
            }
        });
        Some(Self { port, directory, is_over, listener: Some(listener) })
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn key(&self, name: &str) -> String {
        fs::read_to_string(self.file(name)).unwrap()
    }

    pub(crate) fn url(&self) -> String {
        let user = Command::new("id").arg("-un").output().unwrap();
        let user = String::from_utf8(user.stdout).unwrap();
        format!("ssh://{}@127.0.0.1:{}{}", user.trim(), self.port, self.file("sample").display())
    }

    /// Has the user of `bench` know the host by this key.
    fn introduce(&self, bench: &Bench, key: &str) {
        let directory = bench.home.path.join(".ssh");
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("known_hosts"), self.known_by(key)).unwrap();
    }

    /// What a list of known hosts says of one with this key.
    pub(crate) fn known_by(&self, key: &str) -> String {
        format!("[127.0.0.1]:{} {}", self.port, self.key(&format!("{key}.pub")))
    }

    /// Another commit on `main`.
    pub(crate) fn commit(&self, content: &str) {
        fs::write(self.file("work/file"), content).unwrap();
        git(&self.file("work"), "commit -q -a -m more");
        git(&self.file("work"), "push -q ../sample main");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Ok(last) = TcpStream::connect(("127.0.0.1", self.port)) {
            // It only has the listener look.
            let _ = last.shutdown(Shutdown::Both);
        }
        if let Some(listener) = self.listener.take() {
            // A panic of its own is told already.
            let _ = listener.join();
        }
    }
}

fn make_key(path: &Path, passphrase: &str) {
    let mut command = Command::new("ssh-keygen");
    command.args(["-q", "-t", "ed25519", "-N", passphrase, "-C", "test", "-f"]).arg(path);
    assert!(command.status().unwrap().success());
}

fn keep(bench: &Bench, key: &str) -> String {
    bench.give(&["secret", "set", "deploy", "--git", "--host", "127.0.0.1", "--replace"], key)
}

#[test]
fn a_private_key_opens_a_remote_by_ssh() {
    let Some(server) = Server::start() else { return };
    let mut bench = Bench::new();
    server.introduce(&bench, "host");
    let key = server.key("user");
    let said = keep(&bench, &key);
    assert!(said.contains("use it for `ssh` remotes at 127.0.0.1, as SSH key"), "{said}");
    let mut told = vec![bench.call("git_clone", json!({ "url": server.url() }))];
    let copy = bench.home.project.join("sample");
    assert_eq!(fs::read_to_string(copy.join("file")).unwrap(), "one\n");
    server.commit("two\n");
    told.push(bench.call("git_pull", json!({ "repository": "sample" })));
    assert_eq!(fs::read_to_string(copy.join("file")).unwrap(), "two\n");
    git(&copy, "checkout -q -b mine");
    git(&copy, "commit -q --allow-empty -m mine");
    told.push(bench.call("git_push", json!({ "repository": "sample" })));
    assert_eq!(told[2]["pushed"][0]["result"], "[new branch]", "{told:?}");

    let (_, audit, _) = bench.home.ctl(&["audit", "export"]);
    let lines: Vec<Value> = audit.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    assert!(
        lines.iter().any(|line| line["tool"] == "git_push" && line["secrets"] == json!(["deploy"])),
        "{audit}"
    );
    let inside = key.lines().nth(2).unwrap();
    assert!(!format!("{told:?}{audit}{}", bench.everything()).contains(inside), "the key is somewhere");
}

#[test]
fn a_host_that_is_not_known_and_a_key_that_is_not_taken_are_told_apart() {
    let Some(server) = Server::start() else { return };
    let mut bench = Bench::new();
    let clone = json!({ "url": server.url() });
    keep(&bench, &server.key("user"));
    let unknown = bench.refused("git_clone", clone.clone());
    assert!(unknown.starts_with("denied") && unknown.contains("known_hosts"), "{unknown}");
    server.introduce(&bench, "stranger");
    let changed = bench.refused("git_clone", clone.clone());
    assert!(changed.starts_with("denied") && changed.contains("known_hosts"), "{changed}");
    server.introduce(&bench, "host");
    keep(&bench, &server.key("stranger"));
    let stranger = bench.refused("git_clone", clone.clone());
    assert!(stranger.starts_with("denied") && stranger.contains("secret rotate deploy"), "{stranger}");
    let locked = server.file("locked");
    make_key(&locked, "a passphrase");
    keep(&bench, &fs::read_to_string(locked).unwrap());
    let locked = bench.refused("git_clone", clone.clone());
    assert!(locked.starts_with("denied") && locked.contains("without a passphrase"), "{locked}");
    assert_eq!(bench.home.ctl(&["secret", "delete", "deploy"]).0, 0);
    let none = bench.refused("git_clone", clone.clone());
    assert!(none.starts_with("not_found") && none.contains("< KEYFILE"), "{none}");
    // A password is no key.
    bench.give(&["secret", "set", "token", "--git", "--host", "127.0.0.1"], "a password");
    assert!(bench.refused("git_clone", clone.clone()).starts_with("not_found"));
    keep(&bench, &server.key("user"));
    bench.call("git_clone", clone);
}

/// An agent of OpenSSH's own with one key.
pub(crate) struct Agent(Child);

impl Agent {
    /// Of whoever `owns` makes its commands.
    pub(crate) fn start(socket: &Path, key: &Path, owns: impl Fn(&mut Command)) -> Self {
        let command = |name: &str| {
            let mut command = Command::new(name);
            owns(&mut command);
            command
        };
        let mut start = command("ssh-agent");
        let agent = Self(start.arg("-D").arg("-a").arg(socket).stdout(Stdio::null()).spawn().unwrap());
        wait_until(|| socket.exists());
        let mut add = command("ssh-add");
        assert!(add.arg("-q").arg(key).env("SSH_AUTH_SOCK", socket).status().unwrap().success());
        agent
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may be gone.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_agent_of_the_user_is_lent_to_a_call_that_he_confirms() {
    let Some(server) = Server::start() else { return };
    let socket = server.file("agent");
    let configuration = format!("[git]\nssh_agent = '{}'\n", socket.display());
    let _agent = Agent::start(&socket, &server.file("user"), |_| {});
    let clone = json!({ "url": server.url() });
    // Allowed by a rule, nobody was asked.
    let rule = "[[policy.rules]]\nname = 'out'\nverdict = 'allow'\neffects = ['external']\n";
    let mut bench = Bench::with(&format!("{configuration}{rule}"), json!({}));
    server.introduce(&bench, "host");
    let refused = bench.refused("git_clone", clone.clone());
    assert!(refused.starts_with("denied") && refused.contains("that a human confirms"), "{refused}");
    drop(bench);

    let mut bench = Bench::with(&configuration, json!({ "elicitation": {} }));
    server.introduce(&bench, "host");
    let id = bench.shim.post("tools/call", json!({ "name": "git_clone", "arguments": clone }));
    let question = bench.shim.receive();
    assert_eq!(question["method"], "elicitation/create", "{question}");
    let yes = json!({ "action": "accept", "content": { "approve": true } });
    bench.shim.send(&json!({ "jsonrpc": "2.0", "id": question["id"], "result": yes }));
    outcome(&bench.shim.answer(id)).unwrap();
    let copy = bench.home.project.join("sample");
    assert_eq!(fs::read_to_string(copy.join("file")).unwrap(), "one\n");
    let (_, audit, _) = bench.home.ctl(&["audit", "query", "--tool", "git_clone", "--json"]);
    assert!(audit.contains("\"SSH agent\""), "{audit}");
}

#[test]
fn no_setting_of_ssh_runs_a_program() {
    let Some(server) = Server::start() else { return };
    let mut bench = Bench::new();
    server.introduce(&bench, "host");
    keep(&bench, &server.key("user"));
    let evil = bench.home.project.join("evil");
    let touch = format!("touch {}", evil.display());
    fs::write(
        bench.home.path.join(".ssh/config"),
        format!("Host *\n\tProxyCommand {touch}\n\tKnownHostsCommand /usr/bin/{touch}\n\tPermitLocalCommand yes\n\tLocalCommand {touch}\n"),
    )
    .unwrap();
    bench.call("git_clone", json!({ "url": server.url() }));
    let config = bench.home.project.join("sample/.git/config");
    let plain = fs::read_to_string(&config).unwrap();
    let armed = format!("[core]\n\tsshCommand = {touch};ssh\n[ssh]\n\tvariant = simple\n");
    fs::write(&config, format!("{plain}{armed}")).unwrap();
    bench.call("git_fetch", json!({ "repository": "sample" }));
    assert!(!evil.exists());
    // An option of ssh in place of a host is none.
    for url in [format!("ssh://-oProxyCommand={touch}/a"), format!("-oProxyCommand={touch}:a")] {
        bench.refused("git_clone", json!({ "url": url, "directory": "b" }));
    }
    let nobody = bench.refused("git_clone", json!({ "url": "ssh://127.0.0.1:1/a" }));
    assert!(nobody.starts_with("unavailable: `127.0.0.1:1` cannot be connected to"), "{nobody}");
    assert!(!evil.exists());
}
