//! The real programs: a daemon in a home of its own, and shims on it.

use crate::components;
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread::JoinHandle,
};

/// Where the programs were built.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    let directory = std::env::var_os("SKYNET_BIN_DIR").map_or_else(
        || std::env::current_exe().unwrap().parent().unwrap().parent().unwrap().to_owned(),
        PathBuf::from,
    );
    directory.join(name)
}

/// A home directory with a project in it.
pub struct Home {
    pub path: PathBuf,
    pub project: PathBuf,
    /// Where the daemon keeps its state.
    pub state: PathBuf,
    _keep: tempfile::TempDir,
}

impl Home {
    #[must_use]
    pub fn new() -> Self {
        // Short: a socket's path has at most 107 bytes (unix(7)).
        let keep = tempfile::Builder::new().prefix("skt").tempdir_in("/tmp").unwrap();
        let path = keep.path().to_owned();
        let project = path.join("project");
        fs::create_dir(&project).unwrap();
        fs::DirBuilder::new().mode(0o700).create(path.join("run")).unwrap();
        let state = path.join("state");
        Self { path, project, state, _keep: keep }
    }

    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.path.join("run/s")
    }

    /// Adds to the configuration.
    pub fn configure(&self, toml: &str) {
        let directory = self.path.join(".config/skynet");
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("config.toml"), toml).unwrap();
    }

    /// A command with the environment that MCP clients give.
    #[must_use]
    pub fn command(&self, name: &str) -> Command {
        let mut command = Command::new(program(name));
        command.env_clear().env("HOME", &self.path).env("PATH", components::path()).env("USER", "tester");
        // A coverage run collects what every process counted.
        if let Some(profile) = std::env::var_os("LLVM_PROFILE_FILE") {
            command.env("LLVM_PROFILE_FILE", profile);
        }
        command.current_dir(&self.project);
        command
    }

    /// Runs `skynetctl` and returns exit code, stdout and stderr.
    #[must_use]
    pub fn ctl(&self, arguments: &[&str]) -> (i32, String, String) {
        let output =
            self.command("skynetctl").arg("--socket").arg(self.socket()).args(arguments).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
    }

    /// Runs skynetctl with something to read; all that it wrote.
    ///
    /// # Panics
    /// When it fails.
    pub fn give(&self, arguments: &[&str], value: &str) -> String {
        let mut command = self.command("skynetctl");
        let (code, text) = give(command.arg("--socket").arg(self.socket()).args(arguments), value);
        assert_eq!(code, 0, "{arguments:?}: {text}");
        text
    }
}

impl Default for Home {
    fn default() -> Self {
        Self::new()
    }
}

/// Runs a command with something to read; its exit code and all that it wrote.
#[must_use]
pub fn give(command: &mut Command, value: &str) -> (i32, String) {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(value.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    (output.status.code().unwrap_or(-1), text)
}

/// A running daemon, killed when dropped.
pub struct Daemon {
    child: Child,
    log: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

impl Daemon {
    /// Starts it and waits until it says that it is ready.
    #[must_use]
    pub fn start(home: &Home) -> Self {
        Self::try_start(home).expect("skynetd must start")
    }

    /// Starts it; what it wrote if it ended instead.
    pub fn try_start(home: &Home) -> Result<Self, String> {
        Self::start_program(home, "skynetd")
    }

    /// Starts one that believes hosts by the certificates in this file.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start_trusting(home: &Home, certificates: &Path) -> Self {
        let mut command = home.command("skynetd");
        command.env("SSL_CERT_FILE", certificates);
        Self::begin(home, command).expect("skynetd must start")
    }

    /// Starts one that finds the bus of a session at this address.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start_on_bus(home: &Home, address: &str) -> Self {
        let mut command = home.command("skynetd");
        command.env("DBUS_SESSION_BUS_ADDRESS", address);
        Self::begin(home, command).expect("skynetd must start")
    }

    /// Starts a daemon of another build.
    pub fn start_program(home: &Home, name: &str) -> Result<Self, String> {
        Self::begin(home, home.command(name))
    }

    fn begin(home: &Home, mut command: Command) -> Result<Self, String> {
        let mut child = command
            .arg("--socket")
            .arg(home.socket())
            .arg("--state")
            .arg(&home.state)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut written = String::new();
        loop {
            let start = written.len();
            if log.read_line(&mut written).unwrap() == 0 {
                child.wait().unwrap();
                return Err(written);
            }
            if written[start..].contains("ready socket=") {
                break;
            }
        }
        // Somebody must read on, or the daemon blocks on a full pipe.
        let all = Arc::new(Mutex::new(written));
        let (kept, mut line) = (all.clone(), String::new());
        let reader = std::thread::spawn(move || {
            while log.read_line(&mut line).is_ok_and(|count| count > 0) {
                kept.lock().unwrap().push_str(&line);
                line.clear();
            }
        });
        Ok(Self { child, log: all, reader: Some(reader) })
    }

    /// Kills it; all that it logged.
    #[must_use]
    pub fn kill_for_log(mut self) -> String {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        // Its broker holds the same pipe for a moment longer.
        let _ = self.reader.take().unwrap().join();
        let log = self.log.lock().unwrap();
        log.clone()
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its memory.
    #[must_use]
    pub fn resident_kb(&self) -> u64 {
        resident_kb(&self.child)
    }

    /// As the kernel's out-of-memory killer does it.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// As systemd does it.
    #[must_use]
    pub fn terminate(mut self) -> ExitStatus {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.child.wait().unwrap()
    }

    /// The hands it works with, in the slots of its broker, lowest first; without the parsers below them, which come and
    /// go.
    #[must_use]
    pub fn hands(&self) -> Vec<u32> {
        let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| {
            let pid: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            // The name is in parentheses and may hold any character (proc_pid_stat(5)).
            let (head, tail) = stat.rsplit_once(") ")?;
            let parent: u32 = tail.split(' ').nth(1)?.parse().ok()?;
            Some((pid, (parent, head.split_once('(')?.1.to_owned())))
        });
        let processes: HashMap<u32, (u32, String)> = processes.collect();
        let is_ours = |pid: &u32| {
            std::iter::successors(Some(*pid), |pid| Some(processes.get(pid)?.0)).any(|pid| pid == self.pid())
        };
        let hands = processes.iter().filter(|(_, (_, name))| name == "skynet-hands").map(|(pid, _)| *pid);
        let mut hands: Vec<u32> = hands.filter(|pid| is_ours(pid) && !is_parser(*pid)).collect();
        hands.sort_unstable();
        hands
    }

    /// The processes it started.
    #[must_use]
    pub fn children(&self) -> Vec<u32> {
        let path = format!("/proc/{0}/task/{0}/children", self.child.id());
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let mut all = fs::read_to_string(path).unwrap_or_default();
        for task in tasks {
            all.push(' ');
            all.push_str(&fs::read_to_string(task.unwrap().path().join("children")).unwrap_or_default());
        }
        let mut pids: Vec<u32> = all.split_whitespace().map(|pid| pid.parse().unwrap()).collect();
        pids.sort_unstable();
        pids.dedup();
        pids
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A gRPC connection to the daemon of a home.
pub async fn channel(home: &Home) -> tonic::transport::Channel {
    let socket = home.socket();
    let connector = tower::service_fn(move |_| {
        let socket = socket.clone();
        async move {
            let stream = tokio::net::UnixStream::connect(socket).await?;
            Ok::<_, std::io::Error>(hyper_util::rt::TokioIo::new(stream))
        }
    });
    let endpoint = tonic::transport::Endpoint::from_static("http://skynet")
        .initial_stream_window_size(skynet_proto::STREAM_WINDOW_BYTES)
        .initial_connection_window_size(skynet_proto::CONNECTION_WINDOW_BYTES);
    endpoint.connect_with_connector(connector).await.unwrap()
}

/// A running shim, and the client at its stdio.
pub struct Shim {
    pub child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    next_id: i64,
}

impl Shim {
    #[must_use]
    pub fn start(home: &Home) -> Self {
        Self::start_in(home, &home.project)
    }

    #[must_use]
    pub fn start_in(home: &Home, workspace: &Path) -> Self {
        Self::of(home.command("skynet-shim"), &home.socket(), workspace)
    }

    /// One that finds its daemon, or starts it, as clients that know nothing of it have it.
    #[must_use]
    pub fn alone(home: &Home) -> Self {
        let mut command = home.command("skynet-shim");
        Self::spawn(command.arg("--workspace").arg(&home.project))
    }

    /// Starts `command`, which is a shim, for the daemon at `socket`.
    #[must_use]
    pub fn of(mut command: Command, socket: &Path, workspace: &Path) -> Self {
        Self::spawn(command.arg("--socket").arg(socket).arg("--workspace").arg(workspace))
    }

    fn spawn(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Self { child, stdin, stdout, next_id: 0 }
    }

    /// With the handshake of that revision done.
    #[must_use]
    pub fn connected(home: &Home, revision: &str, capabilities: Value) -> Self {
        Self::start(home).shaken(revision, capabilities)
    }

    /// The same, once the handshake of that revision is done.
    #[must_use]
    pub fn shaken(mut self, revision: &str, capabilities: Value) -> Self {
        let client = json!({ "name": "test", "version": "1" });
        let params =
            json!({ "protocolVersion": revision, "capabilities": capabilities, "clientInfo": client });
        let answer = self.request("initialize", params);
        assert_eq!(answer["result"]["protocolVersion"], revision, "{answer}");
        self.send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
        self
    }

    pub fn send(&mut self, message: &Value) {
        self.send_raw(message.to_string().as_bytes());
    }

    pub fn send_raw(&mut self, line: &[u8]) {
        let stdin = self.stdin.as_mut().unwrap();
        stdin.write_all(line).unwrap();
        stdin.write_all(b"\n").unwrap();
        stdin.flush().unwrap();
    }

    /// The writing half, for a thread of its own.
    #[must_use]
    pub fn take_stdin(&mut self) -> ChildStdin {
        self.stdin.take().unwrap()
    }

    pub fn receive(&mut self) -> Value {
        let mut line = String::new();
        assert!(self.stdout.read_line(&mut line).unwrap() > 0, "the shim closed its stdout");
        serde_json::from_str(&line).unwrap()
    }

    /// Sends a request under a new id; returns the id.
    pub fn post(&mut self, method: &str, params: Value) -> i64 {
        let id = self.next_id;
        self.next_id += 1;
        self.send(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }));
        id
    }

    /// Sends a request and waits for its answer; other messages are passed over.
    pub fn request(&mut self, method: &str, params: Value) -> Value {
        let id = self.post(method, params);
        self.answer(id)
    }

    /// Waits for the answer to `id`.
    pub fn answer(&mut self, id: i64) -> Value {
        loop {
            let message = self.receive();
            if message["id"] == id && message.get("method").is_none() {
                return message;
            }
        }
    }

    /// Waits for the answers to all of these, in whatever order they come.
    pub fn answers(&mut self, ids: &[i64]) -> Vec<Value> {
        let mut answers = Vec::new();
        while answers.len() < ids.len() {
            let message = self.receive();
            if message.get("method").is_none() && message["id"].as_i64().is_some_and(|id| ids.contains(&id)) {
                answers.push(message);
            }
        }
        answers
    }

    /// Calls a tool: its structured output, or the text of its error.
    pub fn call(&mut self, tool: &str, arguments: Value) -> Result<Value, String> {
        outcome(&self.request("tools/call", json!({ "name": tool, "arguments": arguments })))
    }

    /// Closes stdin and waits for the exit.
    pub fn finish(mut self) -> ExitStatus {
        self.stdin = None;
        self.child.wait().unwrap()
    }

    /// Resident set size in kB.
    #[must_use]
    pub fn resident_kb(&self) -> u64 {
        resident_kb(&self.child)
    }
}

/// `VmRSS` of proc_pid_status(5).
fn resident_kb(child: &Child) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse().unwrap()
}

impl Drop for Shim {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a `tools/call` answer says.
pub fn outcome(answer: &Value) -> Result<Value, String> {
    if let Some(error) = answer.get("error") {
        return Err(format!("{}: {}", error["code"], error["message"].as_str().unwrap()));
    }
    let result = &answer["result"];
    if result["isError"] == true {
        return Err(result["content"][0]["text"].as_str().unwrap().to_owned());
    }
    Ok(result["structuredContent"].clone())
}

/// For what another process does.
pub fn wait_until(is_so: impl Fn() -> bool) {
    while !is_so() {
        std::thread::yield_now();
    }
}

/// Whether a process of hands only reads what others wrote.
#[must_use]
pub fn is_parser(pid: u32) -> bool {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.split(|byte| *byte == 0).any(|word| word == b"parser")
}

/// Whether a process has that word in its command line.
#[must_use]
pub fn is_running(marker: &str) -> bool {
    let lines = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| fs::read(entry.unwrap().path().join("cmdline")).ok());
    lines.into_iter().any(|line| line.split(|byte| *byte == 0).any(|word| word == marker.as_bytes()))
}
