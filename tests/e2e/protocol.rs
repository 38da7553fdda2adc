//! MCP through shim and daemon, every revision, and what happens to bad input.

use serde_json::{Value, json};
use skynet_tests::programs::{Daemon, Home, Shim, outcome};
use std::fs;

const LEGACY: [&str; 4] = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"];

pub(crate) fn modern_meta() -> Value {
    json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": { "name": "test", "version": "1" },
        "io.modelcontextprotocol/clientCapabilities": {},
    })
}

#[test]
fn every_revision_lists_and_calls() {
    let home = Home::new();
    let _daemon = Daemon::start(&home);
    fs::write(home.project.join("f"), "content\n").unwrap();
    for revision in LEGACY {
        let mut shim = Shim::connected(&home, revision, json!({}));
        let tools = shim.request("tools/list", json!({}))["result"]["tools"].clone();
        let tools = tools.as_array().unwrap();
        assert!(
            tools.len() >= 20 && tools.iter().all(|tool| tool["annotations"]["readOnlyHint"].is_boolean()),
            "{revision}"
        );
        assert_eq!(shim.call("files_read", json!({ "path": "f" })).unwrap()["content"], "content\n");
        assert!(shim.finish().success());
    }
    let mut shim = Shim::start(&home);
    let discovered = shim.request("server/discover", json!({ "_meta": modern_meta() }));
    let versions = discovered["result"]["supportedVersions"].as_array().unwrap();
    assert!(versions.contains(&json!("2026-07-28")), "{discovered}");
    let listed = shim.request("tools/list", json!({ "_meta": modern_meta() }));
    assert_eq!(listed["result"]["resultType"], "complete", "{listed}");
    let called = shim.request(
        "tools/call",
        json!({ "name": "files_read", "arguments": { "path": "f" }, "_meta": modern_meta() }),
    );
    assert_eq!(called["result"]["resultType"], "complete", "{called}");
    assert_eq!(outcome(&called).unwrap()["content"], "content\n");
    assert!(shim.finish().success());
}

#[test]
fn the_answer_is_the_same_as_text_and_as_structure() {
    let home = Home::new();
    let _daemon = Daemon::start(&home);
    fs::write(home.project.join("f"), "\"quoted\" \u{1F980} \\ \t\n").unwrap();
    let mut shim = Shim::connected(&home, "2025-11-25", json!({}));
    let answer = shim.request("tools/call", json!({ "name": "files_read", "arguments": { "path": "f" } }));
    let text: Value = serde_json::from_str(answer["result"]["content"][0]["text"].as_str().unwrap()).unwrap();
    assert_eq!(text, answer["result"]["structuredContent"]);
    assert_eq!(text["content"], "\"quoted\" \u{1F980} \\ \t\n");
}

#[test]
fn bad_lines_get_errors_and_the_session_goes_on() {
    let home = Home::new();
    let _daemon = Daemon::start(&home);
    let mut shim = Shim::connected(&home, "2025-11-25", json!({}));
    let call = |arguments: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":"c","method":"tools/call","params":{{"name":"files_list","arguments":{arguments}}}}}"#
        )
    };
    for (line, id, code) in [
        ("{nonsense".to_owned(), Value::Null, -32700),
        ("[]".to_owned(), Value::Null, -32600),
        (r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#.to_owned(), Value::Null, -32600),
        (r#"{"jsonrpc":"2.0","id":7}"#.to_owned(), json!(7), -32600),
        (r#"{"jsonrpc":"1.0","id":7,"method":"ping"}"#.to_owned(), json!(7), -32600),
        (r#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#.to_owned(), Value::Null, -32600),
        (r#"{"jsonrpc":"2.0","id":8,"method":"no/such"}"#.to_owned(), json!(8), -32601),
        (
            r#"{"jsonrpc":"2.0","id":9,"method":"tools/call","params":{"name":"nope"}}"#.to_owned(),
            json!(9),
            -32602,
        ),
        (r#"{"jsonrpc":"2.0","id":9,"method":"tools/call","params":[]}"#.to_owned(), json!(9), -32602),
    ] {
        shim.send_raw(line.as_bytes());
        let answer = shim.receive();
        assert_eq!((&answer["id"], &answer["error"]["code"]), (&id, &json!(code)), "{line}: {answer}");
    }
    for (arguments, part) in [
        (r#"{"path":".","path":"x"}"#, "`path` appears twice"),
        (r#"{"paht":"."}"#, "arguments are:"),
        (r#"{"limit":1e30}"#, "argument `limit`"),
        (r#"{"limit":-1}"#, "argument `limit`"),
        (r#"{"path":"a\u0000b"}"#, "NUL"),
        (r#"{"path":"../.."}"#, "leads out"),
        ("[]", "must be a JSON object"),
    ] {
        shim.send_raw(call(arguments).as_bytes());
        let err = outcome(&shim.receive()).unwrap_err();
        assert!(err.contains(part), "{arguments}: {err}");
    }
    assert!(shim.call("files_list", json!({})).is_ok());
}

#[test]
fn a_line_of_20_mb_is_refused_with_its_id() {
    let home = Home::new();
    let _daemon = Daemon::start(&home);
    let mut shim = Shim::connected(&home, "2025-11-25", json!({}));
    let line = format!(
        r#"{{"jsonrpc":"2.0","method":"tools/call","params":{{"x":"{}"}},"id":"late"}}"#,
        "y".repeat(20 << 20)
    );
    shim.send_raw(line.as_bytes());
    let answer = shim.receive();
    assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!("late"), &json!(-32600)), "{answer}");
    assert!(shim.call("files_list", json!({})).is_ok());
}

#[test]
fn a_repeated_id_does_not_disturb_the_first() {
    let home = Home::new();
    home.configure("[[policy.rules]]\nname = 'ask'\nverdict = 'ask'\ntools = ['files_list']\n");
    let _daemon = Daemon::start(&home);
    let mut shim = Shim::connected(&home, "2025-11-25", json!({ "elicitation": {} }));
    let call = json!({ "jsonrpc": "2.0", "id": 50, "method": "tools/call", "params": { "name": "files_list", "arguments": {} } });
    shim.send(&call);
    let question = shim.receive();
    assert_eq!(question["method"], "elicitation/create", "{question}");
    shim.send(&call);
    let refusal = shim.receive();
    assert_eq!((&refusal["id"], &refusal["error"]["code"]), (&Value::Null, &json!(-32600)), "{refusal}");
    shim.send(&json!({ "jsonrpc": "2.0", "id": question["id"], "result": { "action": "accept", "content": { "approve": true } } }));
    assert!(outcome(&shim.answer(50)).is_ok());
}

#[test]
fn batches_are_answered_as_batches_in_their_revision() {
    let home = Home::new();
    let _daemon = Daemon::start(&home);
    let mut shim = Shim::connected(&home, "2025-03-26", json!({}));
    let request = |id: i64, tool: &str| json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": { "name": tool, "arguments": {} } });
    shim.send(&json!([request(10, "files_list"), { "jsonrpc": "2.0", "method": "x/y" }, request(11, "nope"), { "jsonrpc": "2.0", "id": 12 }]));
    let answers = shim.receive();
    let mut found: Vec<_> = answers
        .as_array()
        .unwrap()
        .iter()
        .map(|answer| (answer["id"].as_i64().unwrap(), answer.get("error").is_some()))
        .collect();
    found.sort_unstable();
    assert_eq!(found, [(10, false), (11, true), (12, true)]);
    shim.send(&json!([{ "jsonrpc": "2.0", "method": "x/y" }]));
    assert!(shim.call("files_list", json!({})).is_ok(), "a batch of notifications has no answer");
}

#[test]
fn a_batch_that_is_too_long_is_refused_and_the_session_goes_on() {
    let home = Home::new();
    let _daemon = Daemon::start(&home);
    let mut shim = Shim::connected(&home, "2025-03-26", json!({}));
    // Of each of these the answer is many times as long.
    shim.send_raw(format!("[{}0]", "0,".repeat(4 << 20)).as_bytes());
    let refused = shim.receive();
    assert_eq!(refused["error"]["code"], -32600, "{refused}");
    assert!(refused["error"]["message"].as_str().unwrap().contains("at most 1024 messages"), "{refused}");
    let ping = json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" });
    shim.send(&json!([ping]));
    assert_eq!(shim.receive()[0]["id"], 1);
}

#[test]
fn a_dialog_at_the_client_decides() {
    let home = Home::new();
    home.configure("[[policy.rules]]\nname = 'careful'\nverdict = 'ask'\ntools = ['files_write']\n");
    let _daemon = Daemon::start(&home);
    let mut shim = Shim::connected(&home, "2025-11-25", json!({ "elicitation": { "form": {} } }));
    for (action, content, is_written) in [
        ("accept", json!({ "approve": true }), true),
        ("accept", json!({ "approve": false }), false),
        ("accept", json!({}), false),
        ("decline", json!({}), false),
    ] {
        let path = home.project.join("f");
        // The file of the case before.
        let _ = fs::remove_file(&path);
        let id = shim.post(
            "tools/call",
            json!({ "name": "files_write", "arguments": { "path": "f", "content": "x" } }),
        );
        let question = shim.receive();
        let message = question["params"]["message"].as_str().unwrap();
        assert!(message.contains("`files_write` (write)") && message.contains("careful"), "{message}");
        shim.send(&json!({ "jsonrpc": "2.0", "id": question["id"], "result": { "action": action, "content": content } }));
        assert_eq!(outcome(&shim.answer(id)).is_ok(), is_written);
        assert_eq!(path.exists(), is_written, "{action} {content}");
    }
}

#[test]
fn a_cancel_stops_the_call_and_the_session_goes_on() {
    let home = Home::new();
    home.configure("[[policy.rules]]\nname = 'ask'\nverdict = 'ask'\ntools = ['files_list']\n");
    let _daemon = Daemon::start(&home);
    let mut shim = Shim::connected(&home, "2025-11-25", json!({ "elicitation": {} }));
    // With `_meta`, and without, where calls take a shorter way.
    let calls = [
        json!({ "name": "files_list", "arguments": {}, "_meta": { "note": 1 } }),
        json!({ "name": "files_list", "arguments": {} }),
    ];
    for call in calls {
        let id = shim.post("tools/call", call);
        let question = shim.receive();
        assert_eq!(question["method"], "elicitation/create");
        shim.send(
            &json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": id } }),
        );
        is_withdrawn(&shim.receive(), &question);
        let next = shim.post("tools/call", json!({ "name": "files_stat", "arguments": { "path": "." } }));
        let answer = shim.receive();
        assert_eq!(answer["id"], next, "a canceled request gets no answer: {answer}");
        assert!(outcome(&answer).is_ok(), "{answer}");
    }
    let (_, canceled, _) = home.ctl(&["audit", "query", "--outcome", "canceled", "--json"]);
    assert_eq!(canceled.matches("\"files_list\"").count(), 2, "{canceled}");
}

/// Checks that a message takes a question back.
pub(crate) fn is_withdrawn(message: &Value, question: &Value) {
    assert_eq!(message["method"], "notifications/cancelled", "{message}");
    assert!(question["id"].is_string() && message["params"]["requestId"] == question["id"], "{message}");
}

#[test]
fn progress_is_reported_to_who_asked_for_it() {
    let home = Home::new();
    home.configure("[[policy.rules]]\nname = 'ask'\nverdict = 'ask'\ntools = ['files_list']\n");
    let _daemon = Daemon::start(&home);
    let mut shim = Shim::connected(&home, "2025-11-25", json!({ "elicitation": {} }));
    let params = json!({ "name": "files_list", "arguments": {}, "_meta": { "progressToken": "p1" } });
    let id = shim.post("tools/call", params);
    let (mut question, mut progress) = (None, None);
    while question.is_none() || progress.is_none() {
        let message = shim.receive();
        match message["method"].as_str() {
            Some("elicitation/create") => question = Some(message),
            Some("notifications/progress") => progress = Some(message),
            other => panic!("{other:?}"),
        }
    }
    let progress = progress.unwrap();
    assert_eq!(progress["params"]["progressToken"], "p1");
    assert!(progress["params"]["message"].as_str().unwrap().contains("waiting for approval"), "{progress}");
    shim.send(&json!({ "jsonrpc": "2.0", "id": question.unwrap()["id"], "result": { "action": "accept", "content": { "approve": true } } }));
    assert!(outcome(&shim.answer(id)).is_ok());
}

#[test]
fn a_long_result_is_a_resource_that_only_its_user_reads() {
    let home = Home::new();
    let _daemon = Daemon::start(&home);
    for number in 0..3000 {
        fs::write(home.project.join(format!("a-rather-long-name-to-fill-the-answer-{number:05}.txt")), "")
            .unwrap();
    }
    let mut shim = Shim::connected(&home, "2025-11-25", json!({}));
    let answer = shim.request("tools/call", json!({ "name": "files_list", "arguments": { "limit": 10000 } }));
    let link = &answer["result"]["content"][1];
    assert_eq!(link["type"], "resource_link", "{}", answer["result"]["content"][1]);
    assert_eq!(answer["result"]["structuredContent"]["total"], 3000);
    let uri = link["uri"].as_str().unwrap();
    let whole = shim.request("resources/read", json!({ "uri": uri }));
    let whole: Value =
        serde_json::from_str(whole["result"]["contents"][0]["text"].as_str().unwrap()).unwrap();
    assert_eq!(whole["entries"].as_array().unwrap().len(), 3000);
    let part = shim.request("resources/read", json!({ "uri": format!("{uri}?offset=2&length=7") }));
    assert_eq!(part["result"]["contents"][0]["text"], "entries");
    let wrong = shim.request("resources/read", json!({ "uri": "skynet://result/x" }));
    assert_eq!(wrong["error"]["code"], -32002, "{wrong}");
}

#[test]
fn an_answer_that_no_frame_holds_is_an_error() {
    let home = Home::new();
    let _daemon = Daemon::start(&home);
    // Each quote is two bytes in the structure and four in the text.
    fs::write(home.project.join("quotes"), "\"".repeat(4_000_000)).unwrap();
    let mut shim = Shim::connected(&home, "2025-11-25", json!({}));
    let read = json!({ "path": "quotes", "max_bytes": 4 << 20 });
    let err = shim.call("files_read", read).unwrap_err();
    assert!(err.contains("too long"), "{err}");
    assert!(shim.call("files_stat", json!({ "path": "quotes" })).is_ok());
}

#[test]
fn a_session_without_workspace_says_how_to_get_one() {
    let home = Home::new();
    let _daemon = Daemon::start(&home);
    let mut shim = Shim::start_in(&home, &home.path);
    let params = json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "t", "version": "1" } });
    shim.request("initialize", params);
    let err = shim.call("files_list", json!({})).unwrap_err();
    assert!(err.starts_with("invalid_input") && err.contains("--workspace"), "{err}");
}
