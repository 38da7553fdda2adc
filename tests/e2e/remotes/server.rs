//! A server of Git's own, and a client beside it.

use serde_json::{Value, json};
use skynet_tests::programs::{Daemon, Home, Shim};
use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// Serves the directory that is its first argument by git-http-backend(1), and says at which port. Sends those who want
/// `elsewhere` to its second argument; serves only the users that follow, as `NAME:PASSWORD`, if there are any. By TLS, with the
/// certificate and the key in the file that `TLS` names, if it does.
const SERVER: &str = r#"
import base64, http.server, os, ssl, subprocess, sys
WANTED = ['Basic ' + base64.b64encode(user.encode()).decode() for user in sys.argv[3:]]
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.0'
    def serve(self):
        path, _, query = self.path.partition('?')
        if WANTED and self.headers.get('Authorization') not in WANTED:
            self.send_response(401)
            self.send_header('WWW-Authenticate', 'Basic realm="test"')
            self.send_header('Content-Length', '0')
            self.end_headers()
            return
        if path == '/elsewhere/info/refs':
            self.send_response(302)
            self.send_header('Location', sys.argv[2] + '/info/refs?' + query)
            self.send_header('Content-Length', '0')
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
            if name.lower() not in ('status', 'content-length'): self.send_header(name, value)
        self.send_header('Content-Length', str(len(rest)))
        self.end_headers()
        self.wfile.write(rest)
    do_GET = do_POST = serve
    def log_message(self, *_): pass
server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
if os.environ.get('TLS'):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(os.environ['TLS'])
    server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_port, flush=True)
server.serve_forever()
"#;

pub(crate) struct Server {
    process: Child,
    scheme: &'static str,
    pub(super) port: u16,
    directory: tempfile::TempDir,
}

impl Server {
    /// One repository, `sample`, with a commit on `main`.
    pub(super) fn start(redirect: &str) -> Self {
        Self::for_users(redirect, &[])
    }

    /// The same for these users alone.
    pub(crate) fn for_users(redirect: &str, users: &[&str]) -> Self {
        Self::begin(redirect, users, None)
    }

    /// The same by TLS, with the certificate and the key in that file.
    pub(crate) fn over_tls(users: &[&str], identity: &Path) -> Self {
        Self::begin("", users, Some(identity))
    }

    fn begin(redirect: &str, users: &[&str], identity: Option<&Path>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut process = Command::new("python3")
            .args(["-c", SERVER])
            .arg(directory.path())
            .arg(redirect)
            .args(users)
            .envs(identity.map(|identity| ("TLS", identity)))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let scheme = if identity.is_some() { "https" } else { "http" };
        let server = Self { process, scheme, port: line.trim().parse().unwrap(), directory };
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

    pub(super) fn repository(&self) -> PathBuf {
        self.directory.path().join("sample")
    }

    pub(super) fn work(&self) -> PathBuf {
        self.directory.path().join("work")
    }

    /// Another commit on `main`.
    pub(crate) fn commit(&self, content: &str) {
        fs::write(self.work().join("file"), content).unwrap();
        git(&self.work(), "commit -q -a -m more");
        git(&self.work(), "push -q origin main");
    }

    pub(crate) fn url(&self) -> String {
        format!("{}://127.0.0.1:{}/sample", self.scheme, self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may be gone.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub(crate) fn git(directory: &Path, line: &str) {
    let status = Command::new("git")
        .args(["-c", "user.name=t", "-c", "user.email=t@x", "-c", "core.hooksPath=/dev/null"])
        .args(line.split(' '))
        .current_dir(directory)
        .status();
    assert!(status.unwrap().success(), "git {line}");
}

pub(super) struct Bench {
    pub(super) shim: Shim,
    pub(super) home: Home,
    _daemon: Daemon,
}

impl Bench {
    /// One where nobody is asked.
    pub(super) fn new() -> Self {
        Self::with("[[policy.rules]]\nname = 'out'\nverdict = 'allow'\neffects = ['external']\n", json!({}))
    }

    pub(super) fn with(configuration: &str, capabilities: Value) -> Self {
        let home = Home::new();
        home.configure(configuration);
        let daemon = Daemon::start(&home);
        let shim = Shim::connected(&home, "2025-11-25", capabilities);
        Self { shim, home, _daemon: daemon }
    }

    pub(super) fn call(&mut self, tool: &str, input: Value) -> Value {
        self.shim.call(tool, input).unwrap_or_else(|err| panic!("{tool}: {err}"))
    }

    pub(super) fn refused(&mut self, tool: &str, input: Value) -> String {
        self.shim.call(tool, input).expect_err("must be refused")
    }

    /// Runs skynetctl with something to read.
    pub(super) fn give(&self, arguments: &[&str], value: &str) -> String {
        self.home.give(arguments, value)
    }

    /// All that the daemon and the workspace hold, as one text.
    pub(super) fn everything(&self) -> String {
        let mut all = Vec::new();
        for directory in [&self.home.state, &self.home.project] {
            read_all(directory, &mut all);
        }
        String::from_utf8_lossy(&all).into_owned()
    }
}

fn read_all(directory: &Path, into: &mut Vec<u8>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read_all(&path, into);
        } else {
            into.extend(fs::read(path).unwrap_or_default());
        }
    }
}
