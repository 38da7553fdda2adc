//! Remotes for the users of a host: keys and agents are each user's own, authorities are the host's.

use super::client;
use crate::remotes::{
    server::Server as Web,
    ssh::{Agent, Server},
};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use serde_json::{Value, json};
use skynet_tests::{
    host::{Host, User, daemon_among},
    programs::{Shim, program, wait_until},
};
use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::Command,
};

/// Nobody is asked.
const ALLOWED: &str = "[[policy.rules]]\nname = 'out'\nverdict = 'allow'\neffects = ['external']\n";

/// Has a user know the server by its key. Other tests have theirs in the same file.
fn introduce(server: &Server, user: &User) {
    let known = server.known_by("host");
    let script = "mkdir -p -m 700 ~/.ssh && cat >> ~/.ssh/known_hosts";
    let _ = user.sh(&format!("printf '%s\\n' '{}' | (umask 077; {script})", known.trim()));
}

/// Has a user keep a secret for Git.
fn keep(socket: &Path, user: &User, name: &str, value: &str) {
    let ctl = format!("{} --socket {}", program("skynetctl").display(), socket.display());
    let said = user.sh(&format!("printf '%s' '{value}' | {ctl} secret set {name} --git --host 127.0.0.1"));
    assert!(said.contains("is kept"), "{said}");
}

/// A commit of the user's in his repository, on a new branch.
fn commit(user: &User, repository: &Path) {
    let author = "-c user.name=a -c user.email=a@x";
    let _ = user.sh(&format!(
        "cd {} && git checkout -q -b mine && git {author} commit -q --allow-empty -m mine",
        repository.display()
    ));
}

#[test]
fn a_users_key_opens_a_remote_by_ssh_and_anothers_does_not() {
    let Some(mut host) = Host::start() else { return };
    let Some(server) = Server::start() else { return };
    fs::write(host.path.join("config.toml"), ALLOWED).unwrap();
    host.replace_daemon();
    let [ann, bob] = host.users();
    for (user, key) in [(&ann, "user"), (&bob, "stranger")] {
        introduce(&server, user);
        keep(&host.socket(), user, "deploy", &server.key(key));
    }
    let clone = json!({ "url": server.url() });
    let project = ann.project();
    let mut shim = client(&host, &ann, &project);
    shim.call("git_clone", clone.clone()).unwrap();
    let copy = project.join("sample");
    assert_eq!(fs::metadata(copy.join("file")).unwrap().uid(), ann.uid);
    server.commit("two\n");
    let fetched = shim.call("git_fetch", json!({ "repository": "sample" })).unwrap();
    assert_eq!(fetched["moved"][0]["name"], "origin/main", "{fetched}");
    commit(&ann, &copy);
    let push = json!({ "repository": "sample", "set_upstream": true });
    let pushed = shim.call("git_push", push).unwrap();
    assert_eq!(pushed["pushed"][0]["result"], "[new branch]", "{pushed}");

    let his = bob.project();
    let mut shim = client(&host, &bob, &his);
    let refused = shim.call("git_clone", clone.clone()).unwrap_err();
    assert!(refused.starts_with("denied") && refused.contains("secret rotate deploy"), "{refused}");
    assert_eq!(host.ctl(Some(&bob), &["secret", "delete", "deploy"]).0, 0);
    let refused = shim.call("git_clone", clone).unwrap_err();
    assert!(refused.starts_with("not_found"), "{refused}");
    assert_eq!(fs::read_dir(&his).unwrap().count(), 0);
}

/// A client of a user whose environment names an SSH agent.
fn client_with_agent(host: &Host, user: &User, workspace: &Path, agent: &Path) -> Shim {
    let mut command = Command::new(program("skynet-shim"));
    user.owns(&mut command);
    command.env("SSH_AUTH_SOCK", agent);
    Shim::of(command, &host.socket(), workspace).shaken("2025-11-25", json!({}))
}

/// A call that root approves.
fn confirmed(host: &Host, shim: &mut Shim, tool: &str, input: &Value) -> Result<Value, String> {
    let asked = shim.call(tool, input.clone()).unwrap_err();
    let id = asked.split("approve ").nth(1).and_then(|rest| rest.split('`').next());
    let id = id.unwrap_or_else(|| panic!("nobody is asked: {asked}"));
    let (code, _, said) = host.ctl(None, &["approvals", "approve", id]);
    assert_eq!(code, 0, "{said}");
    shim.call(tool, input.clone())
}

/// Who is connected to a socket that listens there (proc_net(5), `/proc/net/unix`: 03 is `SS_CONNECTED`).
fn connected(socket: &Path) -> usize {
    let all = fs::read_to_string("/proc/net/unix").unwrap();
    let here = all.lines().filter(|line| line.ends_with(&format!(" {}", socket.display())));
    here.filter(|line| line.split_whitespace().nth(5) == Some("03")).count()
}

#[test]
fn the_agent_of_a_user_of_a_host_is_lent_to_his_confirmed_calls_and_to_nobody_elses() {
    let Some(mut host) = Host::start() else { return };
    let Some(server) = Server::start() else { return };
    let lending = "[confirm]\nwait_seconds = 1\n[git]\nlend_ssh_agents = true\n";
    fs::write(host.path.join("config.toml"), lending).unwrap();
    host.replace_daemon();
    let [ann, bob] = host.users();
    introduce(&server, &ann);
    introduce(&server, &bob);
    // Where everybody finds it, and nobody but her may connect.
    let place = host.path.join("agent");
    fs::create_dir(&place).unwrap();
    fs::set_permissions(&place, fs::Permissions::from_mode(0o755)).unwrap();
    let (socket, key) = (place.join("socket"), place.join("key"));
    fs::copy(server.file("user"), &key).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    for path in [&place, &key] {
        chown(path, Some(ann.uid), Some(ann.gid)).unwrap();
    }
    let _agent = Agent::start(&socket, &key, |command| ann.owns(command));

    let clone = json!({ "url": server.url() });
    let project = ann.project();
    let mut shim = client_with_agent(&host, &ann, &project, &socket);
    confirmed(&host, &mut shim, "git_clone", &clone).unwrap();
    let copy = project.join("sample");
    assert_eq!(fs::metadata(copy.join("file")).unwrap().uid(), ann.uid);
    commit(&ann, &copy);
    let push = json!({ "repository": "sample", "set_upstream": true });
    let pushed = confirmed(&host, &mut shim, "git_push", &push).unwrap();
    assert_eq!(pushed["pushed"][0]["result"], "[new branch]", "{pushed}");
    let (_, audit, _) = host.ctl(None, &["audit", "query", "--tool", "git_clone", "--json"]);
    assert!(audit.contains("\"SSH agent\""), "{audit}");
    // Only for the call, and for nothing else that runs for her.
    wait_until(|| connected(&socket) == 0);
    let script = format!("env; ls {} 2>&1", place.display());
    let ended = shim.call("exec_run", json!({ "script": script })).unwrap();
    let said = ended["stdout"].as_str().unwrap();
    assert!(!said.contains("SSH_AUTH_SOCK") && !said.contains("\nsocket\n"), "{ended}");

    // What is not his, or no agent, is not lent to him.
    let elsewhere = json!({ "url": server.url(), "directory": "other" });
    let mut bobs = client_with_agent(&host, &bob, &bob.project(), &socket);
    let refused = confirmed(&host, &mut bobs, "git_clone", &elsewhere).unwrap_err();
    assert!(refused.starts_with("denied") && refused.contains("not this user's own"), "{refused}");
    let mut wrong = client_with_agent(&host, &ann, &project, &key);
    let refused = confirmed(&host, &mut wrong, "git_clone", &elsewhere).unwrap_err();
    assert!(refused.starts_with("denied") && refused.contains("not this user's own"), "{refused}");
    let mut without = client(&host, &ann, &project);
    let refused = confirmed(&host, &mut without, "git_clone", &elsewhere).unwrap_err();
    assert!(refused.starts_with("not_found"), "{refused}");
    // Where a rule allows it, nobody was asked.
    fs::write(host.path.join("config.toml"), format!("{ALLOWED}{lending}")).unwrap();
    host.replace_daemon();
    let refused = shim.call("git_clone", elsewhere.clone()).unwrap_err();
    assert!(refused.starts_with("denied") && refused.contains("that a human confirms"), "{refused}");
    // Nor is one lent where the administrator did not say so.
    fs::write(host.path.join("config.toml"), "[confirm]\nwait_seconds = 1\n").unwrap();
    host.replace_daemon();
    let refused = confirmed(&host, &mut shim, "git_clone", &elsewhere).unwrap_err();
    assert!(refused.starts_with("not_found"), "{refused}");
    wait_until(|| connected(&socket) == 0);
}

/// Where the libraries of Git look for authorities.
const BUNDLE: &str = "certs/ca-certificates.crt";

/// Remotes by HTTPS: one whose authority is trusted, and two that are not who they say.
struct Https {
    /// In place of `/etc/ssl`.
    authorities: tempfile::TempDir,
    trusted: Web,
    impostors: [Web; 2],
}

impl Https {
    /// For users of that password, or all.
    fn start(users: &[&str]) -> Option<Self> {
        if !Path::new("/etc/ssl").join(BUNDLE).exists() {
            eprintln!("SKIP https: this host has its authorities somewhere else");
            return None;
        }
        let authorities = tempfile::Builder::new().prefix("skc").tempdir_in("/run").unwrap();
        let path = authorities.path();
        let (issuer, certificate) = authority("an authority");
        let (stranger, _) = authority("a stranger");
        fs::create_dir(path.join("certs")).unwrap();
        fs::write(path.join(BUNDLE), certificate).unwrap();
        for (path, mode) in [("", 0o755), ("certs", 0o755), (BUNDLE, 0o644)] {
            let path = authorities.path().join(path);
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
        let server = |issuer: &Issuer<'_, KeyPair>, name: &str, file: &str| {
            Web::over_tls(users, &identity(issuer, name, path.join(file)))
        };
        let trusted = server(&issuer, "127.0.0.1", "one");
        let impostors = [server(&stranger, "127.0.0.1", "two"), server(&issuer, "other.example", "three")];
        Some(Self { authorities, trusted, impostors })
    }

    /// What that user does with them.
    fn use_by(&self, shim: &mut Shim, user: &User, project: &Path) {
        shim.call("git_clone", json!({ "url": self.trusted.url() })).unwrap();
        let copy = project.join("sample");
        assert_eq!(fs::metadata(copy.join("file")).unwrap().uid(), user.uid);
        self.trusted.commit("two\n");
        let fetched = shim.call("git_fetch", json!({ "repository": "sample" })).unwrap();
        assert_eq!(fetched["moved"][0]["name"], "origin/main", "{fetched}");
        commit(user, &copy);
        let push = json!({ "repository": "sample", "set_upstream": true });
        let pushed = shim.call("git_push", push).unwrap();
        assert_eq!(pushed["pushed"][0]["result"], "[new branch]", "{pushed}");
        for impostor in &self.impostors {
            let clone = json!({ "url": impostor.url(), "directory": "other" });
            let refused = shim.call("git_clone", clone).unwrap_err();
            let is_told = refused.starts_with("denied") && refused.contains("the certificate of the remote");
            assert!(is_told, "{refused}");
            assert!(!project.join("other").exists());
        }
    }
}

fn authority(name: &str) -> (Issuer<'static, KeyPair>, String) {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate().unwrap();
    let certificate = parameters.self_signed(&key).unwrap().pem();
    (Issuer::new(parameters, key), certificate)
}

/// Writes certificate and key of a host of that name into a file.
fn identity(issuer: &Issuer<'_, KeyPair>, name: &str, file: PathBuf) -> PathBuf {
    let mut parameters = CertificateParams::new(vec![name.to_owned()]).unwrap();
    parameters.distinguished_name.push(DnType::CommonName, "a remote");
    let key = KeyPair::generate().unwrap();
    let certificate = parameters.signed_by(&key, issuer).unwrap().pem();
    fs::write(&file, format!("{certificate}{}", key.serialize_pem())).unwrap();
    file
}

#[test]
fn a_remote_by_https_is_who_an_authority_of_the_host_says_for_its_users() {
    let Some(mut host) = Host::start() else { return };
    let Some(https) = Https::start(&["x-access-token:of ann"]) else { return };
    fs::write(host.path.join("config.toml"), ALLOWED).unwrap();
    host.trust(https.authorities.path());
    host.replace_daemon();
    let [ann, bob] = host.users();
    keep(&host.socket(), &ann, "forge", "of ann");
    let project = ann.project();
    https.use_by(&mut client(&host, &ann, &project), &ann, &project);
    let mut shim = client(&host, &bob, &bob.project());
    let refused = shim.call("git_clone", json!({ "url": https.trusted.url() })).unwrap_err();
    assert!(refused.starts_with("not_found"), "{refused}");
}

#[test]
fn a_remote_by_https_is_who_an_authority_of_the_host_says_for_one_user() {
    let Some(host) = Host::start() else { return };
    let Some(https) = Https::start(&["x-access-token:of ann"]) else { return };
    let [ann, _] = host.users();
    let directory = ann.project();
    fs::write(directory.join("config.toml"), ALLOWED).unwrap();
    let mut daemon = daemon_among(https.authorities.path(), &ann, &directory);
    let socket = directory.join("run/s");
    keep(&socket, &ann, "forge", "of ann");
    let project = ann.project();
    let mut command = Command::new(program("skynet-shim"));
    ann.owns(&mut command);
    let mut shim = Shim::of(command, &socket, &project).shaken("2025-11-25", json!({}));
    https.use_by(&mut shim, &ann, &project);
    drop(shim);
    daemon.kill().unwrap();
    daemon.wait().unwrap();
}
