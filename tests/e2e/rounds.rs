//! Calls that take more than one round: questions to the human between two calls, tasks, jobs.

use serde_json::{Value, json};
use skynet_tests::programs::{Daemon, Home, Shim, outcome};
use std::fs;

const ASK_ALL_WRITES: &str = "[[policy.rules]]\nname = 'ask'\nverdict = 'ask'\ntools = ['files_write']\n";

/// Longer than any patience in these tests, and given up by them.
const LONG: &str = r#"{"interval_ms":10000}"#;

fn meta(capabilities: Value) -> Value {
    json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": { "name": "test", "version": "1" },
        "io.modelcontextprotocol/clientCapabilities": capabilities,
    })
}

fn forms() -> Value {
    meta(json!({ "elicitation": { "form": {} } }))
}

fn tasks() -> Value {
    meta(json!({ "extensions": { "io.modelcontextprotocol/tasks": {} } }))
}

fn write(content: &str) -> Value {
    json!({ "name": "files_write", "arguments": { "path": "f", "content": content }, "_meta": forms() })
}

/// The same call with an answer.
fn answered(call: &Value, state: &Value, action: &str, content: Value) -> Value {
    let mut call = call.clone();
    call["inputResponses"] = json!({ "approval": { "action": action, "content": content } });
    call["requestState"] = state.clone();
    call
}

#[test]
fn a_question_comes_back_with_its_answer() {
    let home = Home::new();
    home.configure(ASK_ALL_WRITES);
    let _daemon = Daemon::start(&home);
    let mut shim = Shim::start(&home);
    let call = write("one");
    let asked = shim.request("tools/call", call.clone());
    assert_eq!(asked["result"]["resultType"], "input_required", "{asked}");
    let question = &asked["result"]["inputRequests"]["approval"];
    assert_eq!(question["method"], "elicitation/create", "{asked}");
    assert!(question["params"]["message"].as_str().unwrap().contains("`files_write` (write)"), "{asked}");
    assert!(!home.project.join("f").exists());

    let state = &asked["result"]["requestState"];
    let agreed = answered(&call, state, "accept", json!({ "approve": true }));
    assert!(outcome(&shim.request("tools/call", agreed.clone())).is_ok());
    assert_eq!(fs::read_to_string(home.project.join("f")).unwrap(), "one");
    // A state counts once, also for the very same call.
    assert_eq!(shim.request("tools/call", agreed)["error"]["code"], -32602);

    for (action, content) in
        [("decline", json!({})), ("cancel", json!({})), ("accept", json!({ "approve": false }))]
    {
        let asked = shim.request("tools/call", call.clone());
        let answer = answered(&call, &asked["result"]["requestState"], action, content);
        let refused = outcome(&shim.request("tools/call", answer)).unwrap_err();
        assert!(refused.starts_with("denied: "), "{action}: {refused}");
    }
}

#[test]
fn a_state_is_worth_nothing_for_anything_else() {
    let home = Home::new();
    home.configure(ASK_ALL_WRITES);
    let daemon = Daemon::start(&home);
    let mut shim = Shim::start(&home);
    let call = write("one");
    let yes = json!({ "approve": true });
    let state = |shim: &mut Shim| shim.request("tools/call", call.clone())["result"]["requestState"].clone();

    // Forged, in each of its parts.
    let real = state(&mut shim).as_str().unwrap().to_owned();
    for place in [4, real.len() / 2, real.len() - 2] {
        let mut forged = real.clone().into_bytes();
        forged[place] = if forged[place] == b'A' { b'B' } else { b'A' };
        let forged = json!(String::from_utf8(forged).unwrap());
        let answer = shim.request("tools/call", answered(&call, &forged, "accept", yes.clone()));
        assert_eq!(answer["error"]["code"], -32602, "{place}: {answer}");
    }
    // For another call: the human is asked about that one.
    let other = write("two");
    let answer = shim.request("tools/call", answered(&other, &json!(real), "accept", yes.clone()));
    assert_eq!(answer["result"]["resultType"], "input_required", "{answer}");
    // From before a restart.
    let old = state(&mut shim);
    daemon.kill();
    let _daemon = Daemon::start(&home);
    // A new client: the frame of one that was cut off would come marked as sent again, and the human be asked anew.
    let mut shim = Shim::start(&home);
    let answer = shim.request("tools/call", answered(&call, &old, "accept", yes));
    assert_eq!(answer["error"]["code"], -32602, "{answer}");
    assert!(!home.project.join("f").exists());
}

#[test]
fn a_client_without_dialogs_is_told_how_to_get_an_approval() {
    let home = Home::new();
    home.configure(ASK_ALL_WRITES);
    let _daemon = Daemon::start(&home);
    let mut shim = Shim::start(&home);
    let mut call = write("one");
    call["_meta"] = meta(json!({}));
    let refused = outcome(&shim.request("tools/call", call.clone())).unwrap_err();
    let id = refused.split("approvals approve ").nth(1).unwrap().split('`').next().unwrap();
    assert_eq!(home.ctl(&["approvals", "approve", id]).0, 0);
    assert!(outcome(&shim.request("tools/call", call)).is_ok());
}

fn task_of(shim: &mut Shim, interval_ms: u64) -> String {
    let params = json!({ "name": "system_show_resources", "arguments": { "interval_ms": interval_ms }, "_meta": tasks() });
    let created = shim.request("tools/call", params);
    assert_eq!(
        (&created["result"]["resultType"], &created["result"]["status"]),
        (&json!("task"), &json!("working")),
        "{created}"
    );
    created["result"]["taskId"].as_str().unwrap().to_owned()
}

fn settled(shim: &mut Shim, task: &str) -> Value {
    loop {
        let shown = shim.request("tasks/get", json!({ "taskId": task, "_meta": tasks() }));
        assert!(shown.get("error").is_none(), "{shown}");
        if shown["result"]["status"] != "working" {
            return shown["result"].clone();
        }
    }
}

#[test]
fn a_long_call_becomes_a_task_that_outlives_its_client_and_the_daemon() {
    let home = Home::new();
    home.configure("[mcp]\ntask_after_seconds = 0\n");
    let daemon = Daemon::start(&home);
    let mut shim = Shim::start(&home);
    let task = task_of(&mut shim, 50);
    let done = settled(&mut shim, &task);
    assert_eq!(done["status"], "completed", "{done}");
    assert!(done["result"]["structuredContent"]["cpu"].is_object(), "{done}");

    let canceled = task_of(&mut shim, 10_000);
    assert!(
        shim.request("tasks/cancel", json!({ "taskId": canceled, "_meta": tasks() })).get("error").is_none()
    );
    assert_eq!(settled(&mut shim, &canceled)["status"], "cancelled");

    let interrupted = task_of(&mut shim, 10_000);
    daemon.kill();
    let _daemon = Daemon::start(&home);
    assert!(shim.finish().success());
    let mut other = Shim::start(&home);
    let failed = settled(&mut other, &interrupted);
    assert_eq!(failed["status"], "failed", "{failed}");
    assert!(failed["error"]["message"].as_str().unwrap().starts_with("interrupted: "), "{failed}");
    assert_eq!(settled(&mut other, &task)["result"], done["result"]);

    let unknown = other.request("tasks/get", json!({ "taskId": "0123", "_meta": tasks() }));
    assert_eq!(unknown["error"]["code"], -32602);
    let undeclared = other.request("tasks/get", json!({ "taskId": task, "_meta": meta(json!({})) }));
    assert_eq!(undeclared["error"]["code"], -32021, "{undeclared}");
}

#[test]
fn a_question_that_no_answer_can_carry_any_more_says_how_else_to_approve() {
    let home = Home::new();
    home.configure(&format!("{ASK_ALL_WRITES}[mcp]\ntask_after_seconds = 0\n"));
    let _daemon = Daemon::start(&home);
    let mut shim = Shim::start(&home);
    let extensions = json!({ "io.modelcontextprotocol/tasks": {} });
    let capabilities = json!({ "elicitation": { "form": {} }, "extensions": extensions });
    let arguments = json!({ "path": "f", "content": "x" });
    let params = json!({ "name": "files_write", "arguments": arguments, "_meta": meta(capabilities) });
    let answer = shim.request("tools/call", params);
    // Mostly it is a task before anybody could be asked; where the question was first, it is the answer.
    match answer["result"]["resultType"].as_str() {
        Some("task") => {
            let settled = settled(&mut shim, answer["result"]["taskId"].as_str().unwrap());
            let told = settled["result"]["content"][0]["text"].as_str().unwrap();
            assert!(told.contains("skynetctl approvals approve"), "{told}");
        }
        Some("input_required") => assert!(answer["result"]["requestState"].is_string(), "{answer}"),
        _ => panic!("{answer}"),
    }
    assert!(!home.project.join("f").exists());
}

#[test]
fn a_long_call_becomes_a_job_for_a_client_that_knows_no_better() {
    let home = Home::new();
    home.configure("[mcp]\njob_after_seconds = 0\ntoolsets = ['files', 'skynet', 'system']\n");
    let _daemon = Daemon::start(&home);
    let mut shim = Shim::connected(&home, "2025-06-18", json!({}));
    let job = |shim: &mut Shim, tool: &str, input: &str| {
        let params = json!({ "name": tool, "arguments": serde_json::from_str::<Value>(input).unwrap() });
        let told = outcome(&shim.request("tools/call", params)).unwrap_err();
        assert!(told.starts_with("running: "), "{told}");
        told.split("job `").nth(1).unwrap().split('`').next().unwrap().to_owned()
    };
    let long = job(&mut shim, "system_show_resources", LONG);
    // With a progress token, a client waits for the answer itself.
    let look = |shim: &mut Shim, input: Value| {
        let params =
            json!({ "name": "skynet_show_job", "arguments": input, "_meta": { "progressToken": 1 } });
        outcome(&shim.request("tools/call", params))
    };
    let shown = look(&mut shim, json!({ "job": long, "wait_seconds": 0 })).unwrap();
    assert_eq!((&shown["state"], &shown["tool"]), (&json!("running"), &json!("system_show_resources")));
    let shown = look(&mut shim, json!({ "job": long, "cancel": true })).unwrap();
    assert_eq!(shown["state"], "canceled", "{shown}");
    let short = job(&mut shim, "files_list", "{}");
    let shown = look(&mut shim, json!({ "job": short })).unwrap();
    assert_eq!(shown["state"], "done");
    assert!(shown["result"]["entries"].is_array(), "{shown}");
    assert!(look(&mut shim, json!({ "job": "nonsense" })).unwrap_err().starts_with("not_found"));
}
