//! `skynetctl`: what each command prints, and its exit codes.

use serde_json::{Value, json};
use skynet_tests::programs::{Daemon, Home, Shim, outcome};
use std::{fs, io::BufRead as _, process::Stdio};

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|err| panic!("{err}: {text}"))
}

#[test]
fn without_a_daemon_the_exit_code_is_3() {
    let home = Home::new();
    for command in
        [&["status"][..], &["tools", "list"], &["sessions"], &["audit", "verify"], &["approvals", "list"]]
    {
        let (code, _, err) = home.ctl(command);
        assert_eq!(code, 3, "{command:?}");
        assert!(err.contains("no skynetd answers at"), "{err}");
    }
    let (code, out, _) = home.ctl(&["status", "--json"]);
    assert_eq!((code, &parsed(&out)["error"]["kind"]), (3, &json!("unreachable")));
    assert_eq!(home.ctl(&["nonsense"]).0, 2);
    assert_eq!(home.ctl(&["doctor"]).0, 1);
}

#[test]
fn status_and_sessions_tell_who_is_there() {
    let home = Home::new();
    let _daemon = Daemon::start(&home);
    let mut shim = Shim::connected(&home, "2025-06-18", json!({}));
    shim.call("files_list", json!({})).unwrap();
    let status = parsed(&home.ctl(&["status", "--json"]).1);
    assert_eq!(
        (&status["sessions"], &status["mode"], &status["hands"]),
        (&json!(1), &json!("user"), &json!(1))
    );
    assert_eq!(status["calls"][0]["tool"], "files_list");
    assert!(home.ctl(&["status"]).1.contains("warning   user mode: memory is watched"));
    let sessions = parsed(&home.ctl(&["sessions", "--json"]).1);
    let session = &sessions[0];
    assert_eq!(
        (&session["client"], &session["protocol_version"], &session["calls"]),
        (&json!("test 1"), &json!("2025-06-18"), &json!(1))
    );
    assert!(home.ctl(&["sessions"]).1.contains("attached"));
}

#[test]
fn tools_are_listed_described_and_called() {
    let home = Home::new();
    let _daemon = Daemon::start(&home);
    fs::write(home.project.join("f"), "text").unwrap();
    let tools = parsed(&home.ctl(&["tools", "list", "--json"]).1);
    assert!(tools.as_array().unwrap().iter().any(|tool| tool["name"] == "git_log"));
    assert!(home.ctl(&["tools", "list"]).1.contains("files_read"));
    let described = parsed(&home.ctl(&["tools", "describe", "files_read", "--json"]).1);
    assert_eq!(described["input_schema"]["required"], json!(["path"]));
    assert!(home.ctl(&["tools", "describe", "files_read"]).1.contains("output"));
    let (code, out, _) = home.ctl(&["tools", "call", "files_read", r#"{"path":"f"}"#, "--json"]);
    assert_eq!((code, &parsed(&out)["content"]), (0, &json!("text")));
    let (code, _, err) = home.ctl(&["tools", "call", "files_read", r#"{"path":"../x"}"#]);
    assert_eq!(code, 4);
    assert!(err.contains("leads out of the workspace"), "{err}");
    let (code, _, err) = home.ctl(&["tools", "describe", "files_red"]);
    assert_eq!(code, 1);
    assert!(err.contains("`files_read`"), "{err}");
}

#[test]
fn the_audit_log_is_queried_exported_and_followed() {
    let home = Home::new();
    let _daemon = Daemon::start(&home);
    let mut follow = home
        .command("skynetctl")
        .arg("--socket")
        .arg(home.socket())
        .args(["audit", "query", "--follow", "--json"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut shim = Shim::connected(&home, "2025-11-25", json!({}));
    shim.call("files_write", json!({ "path": "f", "content": "hunter2" })).unwrap();
    shim.call("files_read", json!({ "path": "g" })).unwrap_err();
    let mut line = String::new();
    std::io::BufReader::new(follow.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(parsed(&line)["tool"], "files_write");
    follow.kill().unwrap();
    follow.wait().unwrap();

    let (_, text, _) = home.ctl(&["audit", "query"]);
    assert!(text.contains("not_found") && !text.contains("hunter2"), "{text}");
    let lines = home.ctl(&["audit", "query", "--outcome", "not_found", "--json"]).1;
    assert_eq!(lines.lines().count(), 1);
    let all = parsed(&home.ctl(&["audit", "export", "--format", "json"]).1);
    assert_eq!(all.as_array().unwrap().len(), 2);
    let csv = home.ctl(&["audit", "export", "--format", "csv", "--tool", "files_write"]).1;
    assert!(csv.starts_with("seq,at,call,tool,") && csv.lines().count() == 2, "{csv}");
    assert_eq!(parsed(&home.ctl(&["audit", "verify", "--json"]).1)["records"], 2);
    assert_eq!(home.ctl(&["audit", "query", "--since", "2999-01-01T00:00:00Z"]).1, "");
    assert_eq!(home.ctl(&["audit", "query", "--since", "yesterday"]).0, 2);
}

#[test]
fn approvals_are_listed_and_decided() {
    let home = Home::new();
    home.configure("[[policy.rules]]\nname = 'careful'\nverdict = 'ask'\ntools = ['files_write']\n");
    let _daemon = Daemon::start(&home);
    let mut shim = Shim::connected(&home, "2025-11-25", json!({}));
    let write = json!({ "path": "f", "content": "x" });
    let err = shim.call("files_write", write.clone()).unwrap_err();
    assert!(err.starts_with("needs_confirmation"), "{err}");
    let queue = parsed(&home.ctl(&["approvals", "list", "--json"]).1);
    assert_eq!((&queue[0]["tool"], &queue[0]["input"]), (&json!("files_write"), &write));
    let id = queue[0]["id"].as_str().unwrap();
    assert!(home.ctl(&["approvals", "list"]).1.contains(&format!("skynetctl approvals approve {id}")));
    assert_eq!(home.ctl(&["approvals", "approve", id]).0, 0);
    assert_eq!(home.ctl(&["approvals", "deny", id]).0, 1, "it is decided");
    shim.call("files_write", write.clone()).unwrap();

    // While somebody watches, a call waits for the answer.
    let mut watch = home
        .command("skynetctl")
        .arg("--socket")
        .arg(home.socket())
        .args(["approvals", "watch", "--json"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut seen = std::io::BufReader::new(watch.stdout.take().unwrap());
    let mut line = String::new();
    seen.read_line(&mut line).unwrap();
    assert_eq!(parsed(&line), json!([]));
    let call = shim.post("tools/call", json!({ "name": "files_write", "arguments": write }));
    line.clear();
    seen.read_line(&mut line).unwrap();
    let queue = parsed(&line);
    let _ = home.ctl(&["approvals", "deny", queue[0]["id"].as_str().unwrap()]);
    assert!(outcome(&shim.answer(call)).unwrap_err().starts_with("denied"), "the human declined");
    // What he said is on record for itself: a call that is denied may never come back.
    let log = home.ctl(&["audit", "query", "--json"]).1;
    let decisions: Vec<Value> = log.lines().map(parsed).filter(|line| line["kind"] == "decision").collect();
    let said: Vec<_> = decisions.iter().map(|line| (&line["decision"], &line["tool"], &line["by"])).collect();
    let (uid, tool) = (json!(rustix::process::getuid().as_raw()), json!("files_write"));
    assert_eq!(said, [(&json!("approved"), &tool, &uid), (&json!("denied"), &tool, &uid)], "{log}");
    assert!(
        decisions.iter().all(|line| line["through"] == "skynetctl" && line["by_user"].is_string()),
        "{log}"
    );
    // The call that ran says the same, wherever it is shown.
    let ran = log.lines().map(parsed).find(|line| line["outcome"] == "ok").unwrap();
    assert_eq!((&ran["confirmed_by"], &ran["confirmed_uid"]), (&json!("skynetctl"), &uid), "{ran}");
    let who = format!("confirmed by {} ({uid}) through skynetctl", ran["confirmed_user"].as_str().unwrap());
    let shown = home.ctl(&["audit", "query", "--outcome", "ok"]).1;
    assert!(shown.contains(&format!(" [{who}]")), "{shown}");
    let session = ran["call"].as_str().unwrap().split('.').next().unwrap();
    let script = home.ctl(&["audit", "replay", "--session", session]).1;
    assert!(script.contains(&format!("files_write (write), {who}\n")), "{script}");
    let csv = home.ctl(&["audit", "export", "--format", "csv", "--outcome", "ok"]).1;
    let (header, row) = csv.trim_end().split_once('\n').unwrap();
    assert!(header.ends_with(",hash,confirmed_by,confirmed_uid,confirmed_user,grant"), "{csv}");
    let user = ran["confirmed_user"].as_str().unwrap();
    assert!(row.ends_with(&format!(",skynetctl,{uid},{user},")), "{csv}");
    watch.kill().unwrap();
    watch.wait().unwrap();
    assert_eq!(home.ctl(&["approvals", "approve", "ffffffff"]).0, 1);
    assert!(home.ctl(&["approvals", "list"]).1.contains("nothing waits"));
}

#[test]
fn what_is_approved_for_always_is_listed_and_revoked() {
    let home = Home::new();
    home.configure("[[policy.rules]]\nname = 'careful'\nverdict = 'ask'\ntools = ['files_write']\n");
    let daemon = Daemon::start(&home);
    let mut shim = Shim::connected(&home, "2025-11-25", json!({}));
    let write = json!({ "path": "f", "content": "one\n\u{1b}[2Jtwo\u{202e}\n" });
    shim.call("files_write", write.clone()).unwrap_err();
    let queue = parsed(&home.ctl(&["approvals", "list", "--json"]).1);
    let id = queue[0]["id"].as_str().unwrap();
    for command in ["list", "show"] {
        let id = (command == "show").then_some(id);
        let arguments = ["approvals", command].into_iter().chain(id);
        let (code, shown, _) = home.ctl(&arguments.collect::<Vec<_>>());
        assert_eq!(code, 0);
        assert!(shown.contains("  | one\n  | \\u{1b}[2Jtwo\\u{202e}\n"), "{shown}");
        assert!(shown.contains(&format!("sha256   {}", queue[0]["digest"].as_str().unwrap())), "{shown}");
    }
    assert_eq!(home.ctl(&["approvals", "approve", id, "--for", "7d"]).0, 2, "for always, or not");
    assert_eq!(home.ctl(&["approvals", "approve", id, "--always", "--for", "soon"]).0, 2);
    let (code, granted, said) = home.ctl(&["--json", "approvals", "approve", id, "--always", "--for", "7d"]);
    assert_eq!(code, 0, "{said}");
    let grant = parsed(&granted)["grant"]["id"].as_str().unwrap().to_owned();
    // That it was approved is on record for itself, and once.
    let log = home.ctl(&["audit", "query", "--json"]).1;
    let decisions = log.lines().map(parsed).filter(|line| line["kind"] == "decision").count();
    assert_eq!(decisions, 1, "{log}");
    for _ in 0..3 {
        shim.call("files_write", write.clone()).unwrap();
    }
    daemon.kill();
    let _daemon = Daemon::start(&home);
    shim.call("files_write", write.clone()).unwrap();
    let listed = parsed(&home.ctl(&["--json", "grant", "list"]).1);
    assert_eq!((&listed[0]["id"], &listed[0]["tool"]), (&json!(grant), &json!("files_write")));
    assert!(home.ctl(&["grant", "list"]).1.contains(&grant));
    assert_eq!(home.ctl(&["grant", "revoke", &grant]).0, 0);
    assert_eq!(home.ctl(&["grant", "revoke", &grant]).0, 1, "it is gone");
    assert!(home.ctl(&["grant", "list"]).1.contains("nothing is granted"));
    assert!(shim.call("files_write", write).unwrap_err().starts_with("needs_confirmation"));
    let records = home.ctl(&["audit", "query"]).1;
    assert_eq!(records.matches(&format!("{grant} for `files_write`")).count(), 2, "{records}");
}

#[test]
fn the_configuration_is_checked_shown_and_located() {
    let home = Home::new();
    assert!(home.ctl(&["config", "path"]).1.contains("no file exists"));
    home.configure("[quota]\ncalls_per_minute = 5\n");
    assert!(home.ctl(&["config", "path"]).1.contains("config.toml"));
    assert_eq!(home.ctl(&["config", "check"]).0, 0);
    assert_eq!(parsed(&home.ctl(&["config", "show", "--json"]).1)["quota"]["calls_per_minute"], 5);
    assert!(home.ctl(&["config", "show"]).1.contains("calls_per_minute = 5"));
    home.configure("[quota]\ncalls = 5\n");
    let (code, _, err) = home.ctl(&["config", "check"]);
    assert_eq!(code, 1);
    assert!(err.contains("config.toml:2"), "{err}");
}

#[test]
fn completion_and_man_pages_are_generated() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish"] {
        let (code, script, _) = home.ctl(&["completion", shell]);
        assert!(code == 0 && script.contains("approvals"), "{shell}");
    }
    let directory = home.path.join("man");
    fs::create_dir(&directory).unwrap();
    assert_eq!(home.ctl(&["man", directory.to_str().unwrap()]).0, 0);
    assert!(fs::read_to_string(directory.join("skynetctl.1")).unwrap().contains("Exit codes"));
}
