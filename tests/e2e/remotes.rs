//! Remotes of repositories: a real server of Git's own on this host's loopback, and the way to it.

use serde_json::{Value, json};
use skynet_tests::programs::{Daemon, Home, Shim};
use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// Serves the directory that is its argument by git-http-backend(1), and says at which port.
const SERVER: &str = r#"
import http.server, os, subprocess, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.0'
    def serve(self):
        path, _, query = self.path.partition('?')
        if path == '/elsewhere/info/refs':
            self.send_response(302)
            self.send_header('Location', sys.argv[2] + '/info/refs?' + query)
            self.end_headers()
            return
        body = self.rfile.read(int(self.headers.get('Content-Length') or 0))
        env = dict(os.environ, GIT_PROJECT_ROOT=sys.argv[1], GIT_HTTP_EXPORT_ALL='1', PATH_INFO=path, QUERY_STRING=query,
            REQUEST_METHOD=self.command, CONTENT_TYPE=self.headers.get('Content-Type') or '', REMOTE_USER='tester',
            HTTP_CONTENT_ENCODING=self.headers.get('Content-Encoding') or '', GIT_PROTOCOL=self.headers.get('Git-Protocol') or '')
        said = subprocess.run(['git', 'http-backend'], input=body, env=env, stdout=subprocess.PIPE).stdout
        head, _, rest = said.partition(b'\r\n\r\n')
        lines = [line.split(': ', 1) for line in head.decode().split('\r\n')]
        self.send_response(int(dict(lines).get('Status', '200 OK').split()[0]))
        for name, value in lines:
            if name != 'Status': self.send_header(name, value)
        self.end_headers()
        self.wfile.write(rest)
    do_GET = do_POST = serve
    def log_message(self, *_): pass
server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"#;

struct Server {
    process: Child,
    port: u16,
    directory: tempfile::TempDir,
}

impl Server {
    /// One repository, `sample`, with a commit on `main`.
    fn start(redirect: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut process = Command::new("python3")
            .args(["-c", SERVER])
            .arg(directory.path())
            .arg(redirect)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let server = Self { process, port: line.trim().parse().unwrap(), directory };
        git(server.directory.path(), "init -q --bare -b main sample");
        git(&server.repository(), "config http.receivepack true");
        let work = server.work();
        fs::create_dir(&work).unwrap();
        git(&work, "init -q -b main");
        fs::write(work.join("file"), "one\n").unwrap();
        git(&work, "add file");
        git(&work, "commit -q -m first");
        git(&work, "remote add origin ../sample");
        git(&work, "push -q origin main");
        server
    }

    fn repository(&self) -> PathBuf {
        self.directory.path().join("sample")
    }

    fn work(&self) -> PathBuf {
        self.directory.path().join("work")
    }

    /// Another commit on `main`.
    fn commit(&self, content: &str) {
        fs::write(self.work().join("file"), content).unwrap();
        git(&self.work(), "commit -q -a -m more");
        git(&self.work(), "push -q origin main");
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/sample", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may be gone.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn git(directory: &Path, line: &str) {
    let status = Command::new("git")
        .args(["-c", "user.name=t", "-c", "user.email=t@x", "-c", "core.hooksPath=/dev/null"])
        .args(line.split(' '))
        .current_dir(directory)
        .status();
    assert!(status.unwrap().success(), "git {line}");
}

struct Bench {
    shim: Shim,
    home: Home,
    _daemon: Daemon,
}

impl Bench {
    fn new() -> Self {
        let home = Home::new();
        home.configure("[[policy.rules]]\nname = 'out'\nverdict = 'allow'\neffects = ['external']\n");
        let daemon = Daemon::start(&home);
        let shim = Shim::connected(&home, "2025-11-25", json!({}));
        Self { shim, home, _daemon: daemon }
    }

    fn call(&mut self, tool: &str, input: Value) -> Value {
        self.shim.call(tool, input).unwrap_or_else(|err| panic!("{tool}: {err}"))
    }

    fn refused(&mut self, tool: &str, input: Value) -> String {
        self.shim.call(tool, input).expect_err("must be refused")
    }
}

#[test]
fn a_repository_is_cloned_fetched_pulled_and_pushed() {
    let server = Server::start("");
    let mut bench = Bench::new();
    let cloned = bench.call("git_clone", json!({ "url": server.url() }));
    assert_eq!((&cloned["directory"], &cloned["branch"]), (&json!("sample"), &json!("main")), "{cloned}");
    let copy = bench.home.project.join("sample");
    assert_eq!(fs::read_to_string(copy.join("file")).unwrap(), "one\n");
    assert!(!copy.join(".git/hooks").exists(), "nothing of a template");

    server.commit("two\n");
    let fetched = bench.call("git_fetch", json!({ "repository": "sample" }));
    assert_eq!(fetched["moved"][0]["name"], "origin/main", "{fetched}");
    assert_eq!(fs::read_to_string(copy.join("file")).unwrap(), "one\n");
    server.commit("three\n");
    let pulled = bench.call("git_pull", json!({ "repository": "sample" }));
    assert_ne!(pulled["old"], pulled["new"], "{pulled}");
    assert_eq!(fs::read_to_string(copy.join("file")).unwrap(), "three\n");

    git(&copy, "checkout -q -b mine");
    fs::write(copy.join("other"), "mine\n").unwrap();
    git(&copy, "add other");
    git(&copy, "commit -q -m mine");
    let pushed = bench.call("git_push", json!({ "repository": "sample", "set_upstream": true }));
    assert_eq!(
        pushed["pushed"][0],
        json!({ "name": "refs/heads/mine", "result": "[new branch]" }),
        "{pushed}"
    );
    git(&copy, "commit -q --amend -m again");
    let refused = bench.refused("git_push", json!({ "repository": "sample" }));
    assert!(refused.starts_with("conflict"), "{refused}");
    bench.call("git_push", json!({ "repository": "sample", "force": true }));
    // What somebody else pushed since is not replaced.
    git(&server.repository(), "update-ref refs/heads/mine main");
    git(&copy, "commit -q --amend -m once-more");
    let refused = bench.refused("git_push", json!({ "repository": "sample", "force": true }));
    assert!(refused.starts_with("conflict"), "{refused}");
    git(&copy, "checkout -q main");
    git(&copy, "commit -q --allow-empty -m own");
    server.commit("four\n");
    let refused = bench.refused("git_pull", json!({ "repository": "sample" }));
    assert!(refused.starts_with("conflict"), "{refused}");
}

#[test]
fn only_the_host_of_the_remote_is_reached_whatever_a_repository_says() {
    let other = Server::start("");
    let server = Server::start(&other.url());
    let mut bench = Bench::new();
    // Redirected to another host, a clone fails and leaves nothing.
    let elsewhere = format!("http://127.0.0.1:{}/elsewhere", server.port);
    bench.refused("git_clone", json!({ "url": elsewhere }));
    assert_eq!(fs::read_dir(&bench.home.project).unwrap().count(), 0);
    for url in [
        "ssh://git@example.com/a",
        "git@example.com:a",
        "ext::touch%20evil",
        "file:///etc",
        "/etc",
        "--upload-pack=touch evil",
    ] {
        let refused = bench.refused("git_clone", json!({ "url": url }));
        assert!(refused.starts_with("invalid_input"), "{url}: {refused}");
    }
    bench.call("git_clone", json!({ "url": server.url(), "directory": "copy", "depth": 1 }));
    let refused = bench.refused("git_clone", json!({ "url": server.url(), "directory": "copy" }));
    assert!(refused.starts_with("conflict"), "{refused}");
    let refused = bench.refused("git_clone", json!({ "url": server.url(), "directory": "../out" }));
    assert!(refused.starts_with("denied"), "{refused}");

    let config = bench.home.project.join("copy/.git/config");
    let plain = fs::read_to_string(&config).unwrap();
    for (text, why) in [
        ("[http]\n\tsslVerify = false\n", "http.sslverify"),
        ("[http \"http://127.0.0.1\"]\n\tproxy = http://127.0.0.1:1\n", "http.proxy"),
        ("[http]\n\tcookieFile = /etc/passwd\n", "http.cookiefile"),
        ("[remote \"origin\"]\n\tvcs = evil\n", "remote.vcs"),
        ("[remote \"origin\"]\n\tuploadpack = touch evil\n", "remote.uploadpack"),
        ("[include]\n\tpath = other\n", "include.path"),
    ] {
        fs::write(&config, format!("{plain}{text}")).unwrap();
        for tool in ["git_fetch", "git_pull", "git_push"] {
            let refused = bench.refused(tool, json!({ "repository": "copy" }));
            assert!(refused.starts_with("denied") && refused.contains(why), "{tool} {text}: {refused}");
        }
    }
    // A hook, a helper for credentials and another URL for the same name do nothing, or are what is reached.
    let hooks = bench.home.project.join("copy/.git/hooks");
    fs::create_dir(&hooks).unwrap();
    for hook in ["pre-push", "post-merge", "reference-transaction"] {
        let script = hooks.join(hook);
        fs::write(&script, "#!/bin/sh\ntouch \"$GIT_DIR/evil\"\n").unwrap();
        fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    let armed = "[credential]\n\thelper = !touch evil\n[core]\n\taskPass = touch\n\tsshCommand = touch\n";
    fs::write(&config, format!("{plain}{armed}")).unwrap();
    server.commit("two\n");
    bench.call("git_pull", json!({ "repository": "copy" }));
    git(&bench.home.project.join("copy"), "commit -q --allow-empty -m own");
    bench.call("git_push", json!({ "repository": "copy" }));
    assert!(
        !bench.home.project.join("copy/.git/evil").exists() && !bench.home.project.join("copy/evil").exists()
    );
    let rewritten = format!("[url \"{}\"]\n\tinsteadOf = {}\n", other.url(), server.url());
    fs::write(&config, format!("{plain}{rewritten}")).unwrap();
    other.commit("of the other\n");
    let refused = bench.refused("git_pull", json!({ "repository": "copy" }));
    assert!(refused.starts_with("conflict"), "it is the other one now, with a history of its own: {refused}");

    let refused = bench.refused("git_fetch", json!({ "repository": "copy", "remote": "nobody" }));
    assert!(refused.starts_with("not_found") && refused.contains("origin"), "{refused}");
}
