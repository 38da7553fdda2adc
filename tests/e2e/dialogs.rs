//! Dialogs at a client that are no longer asked: withdrawn, and no answer to them counts.

use crate::protocol::is_withdrawn;
use serde_json::{Value, json};
use skynet_tests::{
    programs::{Daemon, Home, Shim, outcome},
    web::Web,
};

/// Approves what waits in the queue.
fn approve(home: &Home) {
    let (_, queue, _) = home.ctl(&["approvals", "list", "--json"]);
    let queue: Value = serde_json::from_str(&queue).unwrap();
    assert_eq!(home.ctl(&["approvals", "approve", queue[0]["id"].as_str().unwrap()]).0, 0);
}

fn answer_to(question: &Value, approve: bool) -> Value {
    json!({ "jsonrpc": "2.0", "id": question["id"], "result": { "action": "accept", "content": { "approve": approve } } })
}

#[test]
fn a_dialog_that_nobody_answers_in_time_is_withdrawn_and_a_late_answer_counts_for_nothing() {
    let home = Home::new();
    home.configure(
        "[confirm]\nwait_seconds = 1\n[[policy.rules]]\nname = 'ask'\nverdict = 'ask'\ntools = ['files_write']\n",
    );
    let _daemon = Daemon::start(&home);
    let mut shim = Shim::connected(&home, "2025-11-25", json!({ "elicitation": {} }));
    let write = json!({ "name": "files_write", "arguments": { "path": "f", "content": "x" } });
    let id = shim.post("tools/call", write.clone());
    let question = shim.receive();
    // Before the answer of the call, which may end the stream that the client hears it on.
    is_withdrawn(&shim.receive(), &question);
    let answer = shim.receive();
    assert_eq!(answer["id"], id, "{answer}");
    assert!(outcome(&answer).unwrap_err().starts_with("needs_confirmation: "), "{answer}");
    shim.send(&answer_to(&question, true));
    // The same call is asked about anew, and what was said too late is no answer to that.
    let id = shim.post("tools/call", write);
    let again = shim.receive();
    assert_eq!(again["method"], "elicitation/create", "{again}");
    assert_ne!(again["id"], question["id"]);
    shim.send(&answer_to(&question, true));
    shim.send(&answer_to(&again, false));
    let refused = outcome(&shim.answer(id)).unwrap_err();
    assert!(refused.starts_with("denied: ") || refused.starts_with("needs_confirmation: "), "{refused}");
    assert!(!home.project.join("f").exists());
}

#[test]
fn a_dialog_is_withdrawn_when_the_queue_was_answered() {
    let home = Home::new();
    home.configure("[[policy.rules]]\nname = 'ask'\nverdict = 'ask'\ntools = ['files_write']\n");
    let _daemon = Daemon::start(&home);
    let mut shim = Shim::connected(&home, "2025-11-25", json!({ "elicitation": {} }));
    let id = shim
        .post("tools/call", json!({ "name": "files_write", "arguments": { "path": "f", "content": "x" } }));
    let question = shim.receive();
    approve(&home);
    is_withdrawn(&shim.receive(), &question);
    let answer = shim.receive();
    assert!(answer["id"] == id && outcome(&answer).is_ok(), "{answer}");
    // Who answers all the same disturbs nothing.
    shim.send(&answer_to(&question, false));
    assert!(shim.call("files_stat", json!({ "path": "f" })).is_ok());
}

#[test]
fn a_dialog_is_withdrawn_over_the_stream_of_its_call() {
    let home = Home::new();
    home.configure("[http]\nlisten = '127.0.0.1:0'\n[[policy.rules]]\nname = 'ask'\nverdict = 'ask'\ntools = ['files_write']\n");
    let _daemon = Daemon::start(&home);
    let web = Web::connect(&home, "t", &["read", "write"]);
    let session = web.begin("2025-11-25", json!({ "elicitation": {} }));
    let params = json!({ "name": "files_write", "arguments": { "path": "new", "content": "x" } });
    let body = json!({ "jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": params }).to_string();
    let mut stream = web.stream("POST", &[("mcp-session-id", &session)], &body);
    let asked = stream.message();
    approve(&home);
    is_withdrawn(&stream.message(), &asked);
    assert!(outcome(&stream.message()).is_ok());
    assert!(stream.try_message().is_none());
    // The stream of a call that its client cancels ends at once, so it is told over that of the session.
    let mut news = web.stream("GET", &[("mcp-session-id", &session)], "");
    let mut stream = web.stream("POST", &[("mcp-session-id", &session)], &body);
    let asked = stream.message();
    let cancel =
        json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": 5 } });
    assert_eq!(web.post(&[("mcp-session-id", &session)], &cancel.to_string()).status, 202);
    assert!(stream.try_message().is_none());
    is_withdrawn(&news.message(), &asked);
}
