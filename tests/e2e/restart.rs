//! The daemon or its hands die with calls in flight: nothing is lost, nothing runs twice.

mod cycles;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use skynet_tests::programs::{Daemon, Home, Shim, outcome};
use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    time::{Duration, Instant},
};

/// How often to kill; `cargo xtask torture` raises it.
fn rounds() -> u32 {
    std::env::var("SKYNET_TEST_KILLS").map_or(3, |text| text.parse().unwrap())
}

/// Starts mutating calls, each of which can succeed only once, and reads; kills with `kill` in the middle; then
/// compares what was answered with what is on the disk.
fn calls_survive(kill: impl Fn(&Home, Daemon) -> Daemon) {
    let home = Home::new();
    fs::write(home.project.join("seed"), "seed").unwrap();
    let mut daemon = Daemon::start(&home);
    let mut shim = Shim::connected(&home, "2025-11-25", json!({}));
    let mut stdin = shim.take_stdin();
    let mut next_id = 1000;
    for round in 0..rounds() {
        let mut open: BTreeMap<i64, Option<String>> = BTreeMap::new();
        for number in 0..60 {
            let (target, params) = if number % 3 == 0 {
                (None, json!({ "name": "files_stat", "arguments": { "path": "seed" } }))
            } else {
                let target = format!("copies/{round}-{number}");
                // A second run would find its own copy and answer `conflict`.
                let params = json!({ "name": "files_copy", "arguments": { "from": "seed", "to": target } });
                (Some(target), params)
            };
            writeln!(
                stdin,
                "{}",
                json!({ "jsonrpc": "2.0", "id": next_id, "method": "tools/call", "params": params })
            )
            .unwrap();
            open.insert(next_id, target);
            next_id += 1;
        }
        // Some answers first, so that the kill hits the middle.
        for _ in 0..(10 + 10 * (round % 4)) {
            settle(&mut open, &shim.receive(), &home);
        }
        daemon = kill(&home, daemon);
        while !open.is_empty() {
            settle(&mut open, &shim.receive(), &home);
        }
    }
    let (code, verdict, _) = home.ctl(&["audit", "verify", "--json"]);
    assert_eq!(code, 0, "{verdict}");
    drop(stdin);
    drop(daemon);
}

/// Checks one answer against the disk.
fn settle(open: &mut BTreeMap<i64, Option<String>>, answer: &Value, home: &Home) {
    let id = answer["id"].as_i64().unwrap();
    let target = open.remove(&id).unwrap_or_else(|| panic!("{id} was answered twice: {answer}"));
    match (target, outcome(answer)) {
        (_, Err(err)) if err.starts_with("interrupted: ") || err.starts_with("unavailable: ") => {}
        (Some(target), Ok(_)) => assert_eq!(fs::read_to_string(home.project.join(target)).unwrap(), "seed"),
        (None, Ok(_)) => {}
        (_, Err(err)) => panic!("{id}: {err}"),
    }
}

#[test]
fn a_killed_daemon_loses_nothing_and_runs_nothing_twice() {
    calls_survive(|home, daemon| {
        daemon.kill();
        Daemon::start(home)
    });
}

#[test]
fn a_stopped_daemon_finishes_what_runs() {
    calls_survive(|home, daemon| {
        assert!(daemon.terminate().success());
        Daemon::start(home)
    });
}

fn signal(pids: &[u32], signal: Signal) {
    for &pid in pids {
        // It may have ended by itself.
        let _ = kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), signal);
    }
}

#[test]
fn killed_hands_are_replaced() {
    calls_survive(|_, daemon| {
        signal(&daemon.hands(), Signal::KILL);
        daemon
    });
}

#[test]
fn hands_of_a_killed_broker_are_replaced() {
    calls_survive(|_, daemon| {
        signal(&daemon.children(), Signal::KILL);
        daemon
    });
}

#[test]
fn an_interrupted_call_is_in_the_audit_log() {
    let home = Home::new();
    fs::create_dir(home.project.join("tree")).unwrap();
    for number in 0..3000 {
        fs::write(home.project.join(format!("tree/{number}")), "x").unwrap();
    }
    let mut daemon = Some(Daemon::start(&home));
    let mut shim = Shim::connected(&home, "2025-11-25", json!({}));
    // Hands are stopped in the middle of a copy, unless it was done before they could be.
    let id = (0..20).find_map(|attempt| {
        let to = format!("copy-{attempt}");
        let before = fs::read_dir(&home.project).unwrap().count();
        let id = shim
            .post("tools/call", json!({ "name": "files_copy", "arguments": { "from": "tree", "to": to } }));
        let deadline = Instant::now() + Duration::from_secs(20);
        while fs::read_dir(&home.project).unwrap().count() == before {
            assert!(Instant::now() < deadline, "the copy never began");
            std::thread::yield_now();
        }
        let hands = daemon.as_ref().unwrap().hands();
        signal(&hands, Signal::STOP);
        let is_caught = !home.project.join(to).exists();
        if is_caught {
            daemon.take().unwrap().kill();
            signal(&hands, Signal::KILL);
        } else {
            signal(&hands, Signal::CONT);
            outcome(&shim.answer(id)).unwrap();
        }
        is_caught.then_some(id)
    });
    let id = id.expect("a copy that was not done at once");
    let _daemon = Daemon::start(&home);
    let err = outcome(&shim.answer(id)).unwrap_err();
    assert!(err.starts_with("interrupted: ") && err.contains("audit query --call"), "{err}");
    let call = err.split("--call ").nth(1).unwrap().trim_end_matches('`');
    let (_, record, _) = home.ctl(&["audit", "query", "--call", call, "--json"]);
    let record: Value = serde_json::from_str(record.lines().next().unwrap()).unwrap();
    assert_eq!((&record["outcome"], &record["tool"]), (&json!("interrupted"), &json!("files_copy")));
}

/// The next notification about `uri`, passing over other messages but those that would tell of the reconnection.
fn told_of(shim: &mut Shim, uri: &str) -> Value {
    loop {
        let message = shim.receive();
        assert_ne!(message["method"], "notifications/subscriptions/acknowledged", "{message}");
        assert!(message.get("id").is_none(), "no subscription ends: {message}");
        if message["method"] == "notifications/resources/updated" && message["params"]["uri"] == uri {
            return message;
        }
    }
}

/// Subscriptions go on when a daemon is followed by another one, in both eras.
fn subscriptions_survive(end: impl Fn(Daemon)) {
    let home = Home::new();
    let (files, gone) = (["f1", "f2"].map(|name| home.project.join(name)), home.project.join("gone"));
    let uris = ["f1", "f2", "gone"].map(|name| format!("skynet://workspace/{name}"));
    let [first, second, given_up] = &uris;
    let mut daemon = Daemon::start(&home);
    let mut legacy = Shim::connected(&home, "2025-11-25", json!({}));
    for uri in &uris {
        assert!(legacy.request("resources/subscribe", json!({ "uri": uri })).get("error").is_none());
    }
    assert!(legacy.request("resources/unsubscribe", json!({ "uri": given_up })).get("error").is_none());
    let mut modern = Shim::start(&home);
    let wanted = json!({ "resourceSubscriptions": [first, second] });
    let params = json!({ "notifications": wanted, "_meta": crate::protocol::modern_meta() });
    let id = modern.post("subscriptions/listen", params);
    assert_eq!(modern.receive()["method"], "notifications/subscriptions/acknowledged");
    told_of(&mut modern, first);
    told_of(&mut modern, second);
    for (round, (file, uri)) in files.iter().zip(&uris).enumerate() {
        end(daemon);
        daemon = Daemon::start(&home);
        // Of what nobody saw meanwhile. Only this tells of the second file before it changes.
        for shim in [&mut legacy, &mut modern] {
            told_of(shim, second);
        }
        if round == 1 {
            fs::write(&gone, "x").unwrap();
        }
        fs::write(file, "x").unwrap();
        let told = told_of(&mut modern, uri);
        assert_eq!(told["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"], id, "{told}");
        // What was given up before the daemon ended is not told of.
        loop {
            let message = legacy.receive();
            assert_ne!(&message["params"]["uri"], given_up, "{message}");
            if message["params"]["uri"] == *uri {
                break;
            }
        }
    }
    drop(daemon);
}

#[test]
fn subscriptions_survive_a_killed_daemon() {
    subscriptions_survive(Daemon::kill);
}

#[test]
fn subscriptions_survive_a_daemon_that_is_stopped() {
    subscriptions_survive(|daemon| assert!(daemon.terminate().success()));
}

#[test]
fn what_a_session_chose_to_see_survives_the_daemon() {
    let home = Home::new();
    let daemon = Daemon::start(&home);
    let mut shim = Shim::connected(&home, "2025-11-25", json!({}));
    shim.call("skynet_enable_toolset", json!({ "toolset": "system" })).unwrap();
    shim.call("skynet_enable_toolset", json!({ "toolset": "git", "disable": true })).unwrap();
    let is_listed = |shim: &mut Shim, tool: &str| {
        let answer = shim.request("tools/list", json!({}));
        answer["result"]["tools"].as_array().unwrap().iter().any(|listed| listed["name"] == tool)
    };
    daemon.kill();
    let daemon = Daemon::start(&home);
    assert!(is_listed(&mut shim, "system_describe") && !is_listed(&mut shim, "git_status"));
    // Another session has a list of its own.
    let mut other = Shim::connected(&home, "2025-11-25", json!({}));
    assert!(!is_listed(&mut other, "system_describe") && is_listed(&mut other, "git_status"));
    drop((shim, other, daemon));
}
