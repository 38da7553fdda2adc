//! Starts a server as a client would: with the command of its configuration and the few variables that clients pass on.

use serde_json::{Value, json};
use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

/// Clients give up after 5 to 30 seconds.
const WAIT: Duration = Duration::from_secs(5);

/// What the SDKs hand to a server they start.
const ENVIRONMENT: [&str; 6] = ["HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER"];

/// Shakes hands and lists the tools; says how that went.
pub(super) fn run(command: &[String], project: &Path) -> Result<String, String> {
    let [program, arguments @ ..] = command else {
        return Err("the entry names no command".into());
    };
    // What a client would fill in.
    let arguments =
        arguments.iter().map(|argument| argument.replace("${workspaceFolder}", &project.to_string_lossy()));
    let begun = Instant::now();
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(ENVIRONMENT.iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
        .current_dir(project)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|err| format!("`{program}` cannot be started: {err}"))?;
    let (Some(mut stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(format!("`{program}` has no stdio"));
    };
    let (lines, answers) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if lines.send(line).is_err() {
                return;
            }
        }
    });
    let mut ask = |id: u32, method: &str, params: Value| -> Result<Value, String> {
        let request = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        writeln!(stdin, "{request}").map_err(|err| format!("`{program}` does not listen: {err}"))?;
        loop {
            let left = WAIT.saturating_sub(begun.elapsed());
            let line = answers
                .recv_timeout(left)
                .map_err(|_| format!("`{program}` did not answer `{method}` within {} s", WAIT.as_secs()))?;
            let answer: Value =
                serde_json::from_str(&line).map_err(|_| format!("`{program}` wrote what is no JSON"))?;
            if answer.get("id") == Some(&id.into()) {
                let message = answer.pointer("/error/message").and_then(Value::as_str);
                return message.map_or_else(|| Ok(answer.clone()), |message| Err(message.to_owned()));
            }
        }
    };
    let talked = (|| {
        let info = json!({ "name": "skynetctl", "version": env!("CARGO_PKG_VERSION") });
        ask(
            0,
            "initialize",
            json!({ "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": info }),
        )?;
        let listed = ask(1, "tools/list", json!({}))?;
        let count = listed.pointer("/result/tools").and_then(Value::as_array).map_or(0, Vec::len);
        Ok(format!("{count} tools in {} ms", begun.elapsed().as_millis()))
    })();
    // It may have ended already.
    let _ = child.kill();
    let _ = child.wait();
    talked
}
