//! Subscriptions to files that cannot be watched now, that may not be known any more, and that are too many.

use crate::protocol::modern_meta;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use skynet_tests::programs::{Daemon, Home, Shim, wait_until};
use std::{collections::BTreeSet, fs};

/// One look at a file, and no more in a day.
const FEW: &str = "[[quota.limits]]\nname = 'few'\nwindow = '1d'\ncalls = 1\n";

const UPDATED: &str = "notifications/resources/updated";

fn uri(name: &str) -> String {
    format!("skynet://workspace/{name}")
}

/// The next message of a method, passing others over.
fn next(shim: &mut Shim, method: &str) -> Value {
    loop {
        let message = shim.receive();
        if message["method"] == method {
            return message;
        }
    }
}

/// Waits until each of these was told of.
fn hears_of_all(shim: &mut Shim, uris: &[&str]) {
    let mut missing: BTreeSet<&str> = uris.iter().copied().collect();
    while !missing.is_empty() {
        let told = next(shim, UPDATED)["params"]["uri"].clone();
        missing.remove(told.as_str().unwrap());
    }
}

/// Waits until a look at a file was refused for that reason.
fn wait_for_refusal(home: &Home, kind: &str) {
    wait_until(|| home.ctl(&["audit", "query", "--tool", "files_stat", "--json"]).1.contains(kind));
}

fn reload(home: &Home, toml: &str) {
    home.configure(toml);
    let (code, _, said) = home.ctl(&["reload"]);
    assert_eq!(code, 0, "{said}");
}

/// Asks to hear of these files; the id of the request.
fn listen(shim: &mut Shim, uris: &[&str]) -> i64 {
    let wanted = json!({ "resourceSubscriptions": uris });
    let id = shim.post("subscriptions/listen", json!({ "notifications": wanted, "_meta": modern_meta() }));
    let acknowledged = next(shim, "notifications/subscriptions/acknowledged");
    assert_eq!(acknowledged["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"], id);
    id
}

#[test]
fn a_listener_hears_of_a_file_once_what_kept_it_from_being_watched_has_passed() {
    let home = Home::new();
    home.configure(FEW);
    let daemon = Daemon::start(&home);
    let (first, second) = (uri("f1"), uri("f2"));
    let mut shim = Shim::start(&home);
    let id = listen(&mut shim, &[&first, &second]);
    // One is watched at once, and told of while the other waits.
    hears_of_all(&mut shim, &[&first]);
    wait_for_refusal(&home, "quota_exceeded");
    fs::write(home.project.join("f1"), "x").unwrap();
    assert_eq!(next(&mut shim, UPDATED)["params"]["uri"], first);
    reload(&home, "");
    hears_of_all(&mut shim, &[&second]);
    fs::write(home.project.join("f2"), "x").unwrap();
    let told = loop {
        let told = next(&mut shim, UPDATED);
        if told["params"]["uri"] == second {
            break told;
        }
    };
    assert_eq!(told["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"], id, "{told}");
    // The processes that watch die.
    for pid in daemon.hands() {
        let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
        // It may have ended by itself.
        let _ = kill_process(pid, Signal::KILL);
    }
    hears_of_all(&mut shim, &[&first, &second]);
    fs::write(home.project.join("f2"), "y").unwrap();
    hears_of_all(&mut shim, &[&second]);
}

#[test]
fn a_session_that_comes_back_hears_of_a_file_once_what_kept_it_from_being_watched_has_passed() {
    let home = Home::new();
    let daemon = Daemon::start(&home);
    let (first, second) = (uri("f1"), uri("f2"));
    let mut shim = Shim::connected(&home, "2025-11-25", json!({}));
    for uri in [&first, &second] {
        let answer = shim.request("resources/subscribe", json!({ "uri": uri }));
        assert!(answer.get("error").is_none(), "{answer}");
    }
    daemon.kill();
    home.configure(FEW);
    let _daemon = Daemon::start(&home);
    wait_for_refusal(&home, "quota_exceeded");
    reload(&home, "");
    hears_of_all(&mut shim, &[&first, &second]);
    for name in ["f1", "f2"] {
        fs::write(home.project.join(name), "x").unwrap();
        hears_of_all(&mut shim, &[&uri(name)]);
    }
}

/// A rule that begins to hold while no daemon runs ends one subscription and no other.
fn what_is_refused_ends(verdict: &str, kind: &str) {
    let home = Home::new();
    let daemon = Daemon::start(&home);
    // Asked about in this order.
    let (refused, allowed) = (uri("closed"), uri("open"));
    fs::write(home.project.join("closed"), "1").unwrap();
    let mut legacy = Shim::connected(&home, "2025-11-25", json!({}));
    for uri in [&refused, &allowed] {
        assert!(legacy.request("resources/subscribe", json!({ "uri": uri })).get("error").is_none());
    }
    let mut modern = Shim::start(&home);
    listen(&mut modern, &[&refused, &allowed]);
    hears_of_all(&mut modern, &[&refused, &allowed]);
    daemon.kill();
    home.configure(&format!(
        "[[policy.rules]]\nname = 'no'\nverdict = '{verdict}'\ntools = ['files_stat', 'files_read']\n\
         arguments = {{ path = {{ under = 'closed' }} }}\n"
    ));
    let daemon = Daemon::start(&home);
    for shim in [&mut legacy, &mut modern] {
        // The last news of the one; who looks is told why.
        hears_of_all(shim, &[&refused, &allowed]);
    }
    let (_, lines, _) = home.ctl(&["audit", "query", "--tool", "files_stat", "--json"]);
    assert!(lines.lines().all(|line| line.contains("\"test 1\"")), "{lines}");
    let why = legacy.request("resources/read", json!({ "uri": refused }));
    assert!(why["error"]["message"].as_str().unwrap().contains("`no`"), "{why}");
    for shim in [&mut legacy, &mut modern] {
        fs::write(home.project.join("closed"), "2").unwrap();
        fs::write(home.project.join("open"), verdict).unwrap();
        let told = next(shim, UPDATED);
        assert_eq!(told["params"]["uri"], allowed, "{told}");
    }
    // For good: the next daemon is not asked again on behalf of the session.
    drop(modern);
    let looked = || home.ctl(&["audit", "query", "--tool", "files_stat", "--json"]).1.matches(kind).count();
    let before = looked();
    assert_eq!(before, 2, "one for each client");
    daemon.kill();
    let _daemon = Daemon::start(&home);
    hears_of_all(&mut legacy, &[&allowed]);
    assert_eq!(looked(), before);
}

#[test]
fn a_subscription_that_is_denied_by_now_ends_and_others_go_on() {
    what_is_refused_ends("deny", "\"denied\"");
}

#[test]
fn a_subscription_that_a_human_would_have_to_allow_ends_and_others_go_on() {
    what_is_refused_ends("ask", "\"needs_confirmation\"");
}

#[test]
fn one_connection_listens_so_many_times_and_no_more() {
    let home = Home::new();
    let _daemon = Daemon::start(&home);
    let mut shim = Shim::start(&home);
    let ids: Vec<i64> = (0..16).map(|_| listen(&mut shim, &["skynet://session/audit"])).collect();
    let wanted = json!({ "toolsListChanged": true });
    let refused =
        shim.request("subscriptions/listen", json!({ "notifications": wanted, "_meta": modern_meta() }));
    assert_eq!(refused["error"]["code"], -32602, "{refused}");
    assert!(refused["error"]["message"].as_str().unwrap().contains("16 times"), "{refused}");
    let canceled = json!({ "requestId": ids[0] });
    shim.send(&json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": canceled }));
    listen(&mut shim, &["skynet://session/audit"]);
}

#[test]
fn subscriptions_that_are_asked_for_at_once_are_not_too_many_either() {
    let home = Home::new();
    let _daemon = Daemon::start(&home);
    let mut shim = Shim::connected(&home, "2025-11-25", json!({}));
    let subscribe = |shim: &mut Shim, number: i64| {
        shim.post("resources/subscribe", json!({ "uri": uri(&format!("f{number}")) }))
    };
    let ids: Vec<i64> = (0..96).map(|number| subscribe(&mut shim, number)).collect();
    let answers = shim.answers(&ids);
    let refused: Vec<_> = answers.iter().filter_map(|answer| answer["error"]["message"].as_str()).collect();
    assert_eq!(refused.len(), 32, "{refused:?}");
    assert!(refused.iter().all(|message| message.contains("64 files")), "{refused:?}");
}
