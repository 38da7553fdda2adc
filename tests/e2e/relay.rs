//! The shim: starts without a daemon, ends with its client, costs little.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use skynet_tests::programs::{Daemon, Home, Shim, is_running, outcome, program, wait_until};
use std::{
    fs,
    io::Write as _,
    process::{Command, Stdio},
};

fn initialize() -> Value {
    let client = json!({ "name": "t", "version": "1" });
    let params = json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client });
    json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params })
}

#[test]
fn without_a_daemon_requests_are_answered_with_how_to_start_it() {
    let home = Home::new();
    let mut shim = Shim::start(&home);
    let answer = shim.request("tools/list", json!({}));
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(message.contains("no skynetd answers at") && message.contains("start it with"), "{answer}");
    // It has not given up: once there is a daemon, the same process works.
    let _daemon = Daemon::start(&home);
    let params = json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "t", "version": "1" } });
    assert!(shim.request("initialize", params)["result"].is_object());
    assert!(shim.finish().success());
}

#[test]
fn requests_in_a_pipe_are_answered_before_the_end() {
    let home = Home::new();
    let _daemon = Daemon::start(&home);
    let mut child = home
        .command("skynet-shim")
        .arg("--socket")
        .arg(home.socket())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let initialize = initialize();
    writeln!(stdin, "{initialize}").unwrap();
    writeln!(stdin, "{}", json!({ "jsonrpc": "2.0", "method": "notifications/initialized" })).unwrap();
    for id in 1..=20 {
        writeln!(stdin, "{}", json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": { "name": "files_list", "arguments": {} } })).unwrap();
    }
    // The last line has no line feed.
    write!(stdin, "{}", json!({ "jsonrpc": "2.0", "id": 21, "method": "tools/call", "params": { "name": "files_list", "arguments": {} } })).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let mut ids: Vec<i64> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].as_i64().unwrap())
        .collect();
    ids.sort_unstable();
    assert_eq!(ids, (0..=21).collect::<Vec<_>>());
}

#[test]
fn requests_in_a_pipe_wait_for_a_daemon_that_is_starting() {
    let home = Home::new();
    let mut command = home.command("skynet-shim");
    command.arg("--socket").arg(home.socket()).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    writeln!(stdin, "{}", initialize()).unwrap();
    drop(stdin);
    let _daemon = Daemon::start(&home);
    let output = child.wait_with_output().unwrap();
    assert!(String::from_utf8(output.stdout).unwrap().contains("serverInfo"));
}

#[test]
fn stdio_may_be_files() {
    let home = Home::new();
    let _daemon = Daemon::start(&home);
    let (input, output) = (home.path.join("in"), home.path.join("out"));
    let initialize = initialize();
    fs::write(&input, format!("\n{initialize}\n\n")).unwrap();
    let status = home
        .command("skynet-shim")
        .arg("--socket")
        .arg(home.socket())
        .stdin(fs::File::open(&input).unwrap())
        .stdout(fs::File::create(&output).unwrap())
        .status()
        .unwrap();
    assert!(status.success());
    assert!(fs::read_to_string(&output).unwrap().contains("serverInfo"));
}

#[test]
fn the_socket_is_found_with_home_path_and_user_alone() {
    let home = Home::new();
    // Where nothing else tells: the directory under the home, unless the login manager made one.
    let uid = rustix::process::getuid().as_raw();
    let directory = skynet_proto::socket::user_directory(uid, &home.path);
    if !directory.starts_with(&home.path) {
        eprintln!(
            "SKIP: the login manager made /run/user/{uid}, which this test would share with a real daemon"
        );
        return;
    }
    // No daemon runs: the shim starts the one beside it.
    let mut child = home.command("skynet-shim").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let initialize = initialize();
    let mut stdin = child.stdin.take().unwrap();
    writeln!(stdin, "{initialize}").unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().unwrap()), &mut line)
        .unwrap();
    assert!(line.contains("serverInfo"), "{line}");
    drop(stdin);
    child.wait().unwrap();
    let (code, status, _) = {
        let output = home.command("skynetctl").args(["status", "--json"]).output().unwrap();
        (output.status.code(), serde_json::from_slice::<Value>(&output.stdout).unwrap(), output.stderr)
    };
    assert_eq!(code, Some(0));
    let pid = Pid::from_raw(i32::try_from(status["pid"].as_i64().unwrap()).unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
}

#[test]
fn a_daemon_that_finishes_its_calls_is_followed_by_another_and_no_call_is_lost() {
    let home = Home::new();
    let uid = rustix::process::getuid().as_raw();
    if !skynet_proto::socket::user_directory(uid, &home.path).starts_with(&home.path) {
        eprintln!(
            "SKIP: the login manager made /run/user/{uid}, which this test would share with a real daemon"
        );
        return;
    }
    let stop = || {
        let output = home.command("skynetctl").args(["status", "--json"]).output().unwrap();
        let status: Value = serde_json::from_slice(&output.stdout).unwrap();
        let pid = i32::try_from(status["pid"].as_i64().unwrap()).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), Signal::TERM).unwrap();
        pid
    };
    let mut shim = Shim::alone(&home).shaken("2025-11-25", json!({}));
    let marker = format!("2.{}", std::process::id());
    let call = json!({ "name": "exec_run", "arguments": { "script": format!("sleep {marker}; echo done") } });
    let id = shim.post("tools/call", call);
    wait_until(|| is_running(&marker));
    let first = stop();
    assert_eq!(outcome(&shim.answer(id)).unwrap()["stdout"], "done\n");
    shim.call("files_list", json!({})).unwrap();
    assert_ne!(stop(), first);
}

#[test]
fn many_pipelined_calls_and_a_large_answer_leave_the_shim_small() {
    let home = Home::new();
    let _daemon = Daemon::start(&home);
    fs::write(home.project.join("big"), "0123456789abcdef".repeat(1 << 18)).unwrap();
    let mut shim = Shim::connected(&home, "2025-11-25", json!({}));
    shim.request("tools/list", json!({}));
    let count: i64 = std::env::var("SKYNET_TEST_PIPELINED").map_or(2000, |text| text.parse().unwrap());
    let mut stdin = shim.take_stdin();
    let writer = std::thread::spawn(move || {
        for id in 0..count {
            let call = json!({ "jsonrpc": "2.0", "id": 1000 + id, "method": "tools/call", "params": { "name": "files_stat", "arguments": { "path": "big" } } });
            let call = if id % 2 == 0 {
                json!({ "jsonrpc": "2.0", "id": 1000 + id, "method": "tools/list" })
            } else {
                call
            };
            writeln!(stdin, "{call}").unwrap();
        }
        let read = json!({ "path": "big", "encoding": "base64", "max_bytes": 4 << 20 });
        writeln!(stdin, "{}", json!({ "jsonrpc": "2.0", "id": "big", "method": "tools/call", "params": { "name": "files_read", "arguments": read } })).unwrap();
        stdin
    });
    let (mut answers, mut has_big) = (0, false);
    while answers < count || !has_big {
        let message = shim.receive();
        if message["id"] == "big" {
            has_big = true;
            assert!(outcome(&message).unwrap()["content"].as_str().unwrap().len() > 4_000_000);
        } else {
            answers += 1;
        }
    }
    // The shim lets go of an answer once it is written, so the next one finds it gone.
    let mut stdin = writer.join().unwrap();
    writeln!(stdin, "{}", json!({ "jsonrpc": "2.0", "id": "last", "method": "ping" })).unwrap();
    assert_eq!(shim.receive()["id"], "last");
    let resident = shim.resident_kb();
    // The promise is of the released program; a debug build only shows that memory does not grow with the calls.
    let limit = if std::env::var_os("SKYNET_RELEASED").is_some() { 16 << 10 } else { 64 << 10 };
    assert!(resident <= limit, "{resident} kB");
}

/// The promise of the specification, on the program as it is released.
#[test]
fn the_released_shim_is_small() {
    if std::env::var_os("SKYNET_RELEASED").is_none() {
        eprintln!("SKIP released shim: run cargo xtask test");
        return;
    }
    let size = fs::metadata(program("skynet-shim")).unwrap().len();
    assert!(size <= 1_200_000, "{size} bytes");
    let home = Home::new();
    let _daemon = Daemon::start(&home);
    let mut shim = Shim::connected(&home, "2025-11-25", json!({}));
    shim.request("tools/list", json!({}));
    let resident = shim.resident_kb();
    assert!(resident <= 4096, "{resident} kB");
    assert!(shim.finish().success());
}

#[test]
fn the_command_line_is_explained() {
    let help = Command::new(program("skynet-shim")).arg("--help").output().unwrap();
    assert!(String::from_utf8(help.stdout).unwrap().contains("--workspace DIR"));
    let wrong = Command::new(program("skynet-shim")).arg("--sockt").output().unwrap();
    assert_eq!(wrong.status.code(), Some(2));
    assert!(String::from_utf8(wrong.stderr).unwrap().contains("unknown argument `--sockt`"));
}
