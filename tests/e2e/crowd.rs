//! Many clients on one daemon, in small; `cargo xtask crowd` does it with a thousand, and
//! measures what a flood costs the others.

use serde_json::{Value, json};
use skynet_tests::{
    programs::{Daemon, Home, Shim, outcome},
    web::Web,
};
use std::{fs, io::Write as _, sync::Barrier, thread};

const CLIENTS: usize = 40;
const CALLS: usize = 5;

#[test]
fn every_call_of_every_client_is_answered() {
    let home = Home::new();
    fs::write(home.project.join("f"), "content\n").unwrap();
    let _daemon = Daemon::start(&home);
    let mut clients: Vec<Shim> =
        (0..CLIENTS).map(|_| Shim::connected(&home, "2025-11-25", json!({}))).collect();
    for _ in 0..CALLS {
        let params = json!({ "name": "files_stat", "arguments": { "path": "f" } });
        let ids: Vec<i64> =
            clients.iter_mut().map(|client| client.post("tools/call", params.clone())).collect();
        for (client, id) in clients.iter_mut().zip(ids) {
            assert_eq!(client.answer(id)["result"]["structuredContent"]["size_bytes"], 8);
        }
    }
    let (_, audit, _) = home.ctl(&["audit", "verify"]);
    assert!(audit.contains(&format!("{} records", CLIENTS * CALLS)), "{audit}");
}

/// How many calls of a flood ended before the last call of somebody else.
fn flood_before(home: &Home, is_flood: impl Fn(&Value) -> bool) -> usize {
    let (code, audit, said) = home.ctl(&["--json", "audit", "query", "--limit", "10000"]);
    assert_eq!(code, 0, "{said}");
    let records: Vec<bool> =
        audit.lines().map(|line| is_flood(&serde_json::from_str::<Value>(line).unwrap())).collect();
    let last = records.iter().rposition(|is_flood| !is_flood).unwrap();
    records[..last].iter().filter(|is_flood| **is_flood).count()
}

#[test]
fn one_that_calls_now_and_then_does_not_wait_for_a_flood() {
    const FLOOD: usize = 1000;
    const OTHERS: usize = 20;
    let home = Home::new();
    fs::write(home.project.join("f"), "content\n").unwrap();
    let _daemon = Daemon::start(&home);
    let mut other = Shim::connected(&home, "2025-11-25", json!({}));
    other.call("files_list", json!({})).unwrap();
    let mut flood = Shim::connected(&home, "2025-11-25", json!({}));
    let mut stdin = flood.take_stdin();
    let writing = thread::spawn(move || {
        for id in 100..100 + FLOOD {
            let params = json!({ "name": "files_stat", "arguments": { "path": "f" } });
            let line = json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params });
            writeln!(stdin, "{line}").unwrap();
        }
        stdin
    });
    // The first answer, whichever it is: the flood is there.
    flood.receive();
    let reading = thread::spawn(move || (1..FLOOD).for_each(|_| drop(flood.receive())));
    for _ in 0..OTHERS {
        other.call("files_list", json!({})).unwrap();
    }
    reading.join().unwrap();
    drop(writing.join().unwrap());
    // In a fair daemon a call waits for a few of them; behind all that may run at once, it would wait for dozens.
    let before = flood_before(&home, |record| record["tool"] == "files_stat");
    assert!(before < FLOOD / 2, "{OTHERS} calls waited for {before} of a flood of {FLOOD}");
}

#[test]
fn one_token_does_not_wait_for_the_flood_of_another() {
    const THREADS: usize = 48;
    const EACH: usize = 20;
    const OTHERS: usize = 20;
    let home = Home::new();
    home.configure("[http]\nlisten = '127.0.0.1:0'\n");
    fs::write(home.project.join("f"), "content\n").unwrap();
    let _daemon = Daemon::start(&home);
    let (flood, other) = (Web::connect(&home, "flood", &["read"]), Web::connect(&home, "other", &["read"]));
    let call = |web: &Web, tool: &str, arguments: Value| {
        let params = json!({ "name": tool, "arguments": arguments });
        outcome(&web.modern("tools/call", params, json!({})).messages[0]).unwrap();
    };
    call(&other, "files_list", json!({}));
    let all_are_there = Barrier::new(THREADS + 1);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                call(&flood, "files_stat", json!({ "path": "f" }));
                all_are_there.wait();
                (1..EACH).for_each(|_| call(&flood, "files_stat", json!({ "path": "f" })));
            });
        }
        all_are_there.wait();
        (0..OTHERS).for_each(|_| call(&other, "files_list", json!({})));
    });
    let before = flood_before(&home, |record| record["tool"] == "files_stat");
    assert!(before < THREADS * EACH / 2, "{OTHERS} calls waited for {before} of {}", THREADS * EACH);
}
