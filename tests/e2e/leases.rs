//! Two clients in one project: what one has leased, the other does not change, and a new daemon knows it.

use serde_json::{Value, json};
use skynet_tests::programs::{Daemon, Home, Shim, wait_until};
use std::fs;

fn listed(home: &Home) -> Vec<Value> {
    let (code, out, err) = home.ctl(&["leases", "list", "--json"]);
    assert_eq!(code, 0, "{err}");
    serde_json::from_str(&out).unwrap()
}

fn lease(shim: &mut Shim, path: &str) -> String {
    let input = json!({ "path": path, "purpose": "split the parser" });
    shim.call("lease_acquire", input).unwrap()["id"].as_str().unwrap().to_owned()
}

#[test]
fn a_lease_holds_for_all_that_is_written_and_for_the_next_daemon() {
    let home = Home::new();
    let daemon = Daemon::start(&home);
    let mut one = Shim::connected(&home, "2025-11-25", json!({}));
    let mut two = Shim::connected(&home, "2025-11-25", json!({}));
    let notes = home.project.join("notes");
    let write = json!({ "path": "notes", "content": "two", "if_exists": "replace" });
    two.call("files_write", write.clone()).unwrap();
    let id = lease(&mut one, "notes");

    let is_refused = |answer: Result<Value, String>| {
        let err = answer.unwrap_err();
        assert!(
            err.starts_with("conflict: ") && err.contains(&id) && err.contains("split the parser"),
            "{err}"
        );
    };
    is_refused(two.call("files_write", write.clone()));
    // What a list of changes writes is known before the first is made.
    is_refused(two.call("undo_revert_session", json!({})));
    let script = json!({ "script": "echo new > made; echo three > notes" });
    let seen = two.call("exec_preview", script).unwrap();
    is_refused(two.call("exec_apply_preview", json!({ "preview": seen["preview"] })));
    assert!(fs::read_to_string(&notes).unwrap() == "two" && !home.project.join("made").exists());
    // A command may write anywhere, and is told.
    let run = json!({ "name": "exec_run", "arguments": { "command": ["true"] } });
    let answer = two.request("tools/call", run.clone());
    let content = answer["result"]["content"].as_array().unwrap();
    let told = content.last().unwrap()["text"].as_str().unwrap();
    assert!(content.len() == 2 && told.starts_with("`notes` is leased to `test 1`"), "{answer}");
    let own = one.request("tools/call", run);
    assert_eq!(own["result"]["content"].as_array().unwrap().len(), 1, "{own}");

    assert!(daemon.terminate().success());
    let _daemon = Daemon::start(&home);
    is_refused(two.call("files_write", write.clone()));
    one.call("files_write", write.clone()).unwrap();
    one.call("lease_renew", json!({ "id": id, "lasts_seconds": 900 })).unwrap();
    let all = listed(&home);
    assert_eq!(
        (all.len(), &all[0]["id"], &all[0]["path"], &all[0]["purpose"]),
        (1, &json!(id), &json!(notes.display().to_string()), &json!("split the parser"))
    );
    assert!(home.ctl(&["leases", "list"]).1.contains("split the parser"));
    assert_eq!(home.ctl(&["leases", "end", &id]).0, 0);
    assert_eq!(home.ctl(&["leases", "end", &id]).0, 1, "it is over");
    two.call("files_write", write.clone()).unwrap();
    assert!(home.ctl(&["leases", "list"]).1.contains("nothing is leased"));

    // A client that leaves holds nothing.
    lease(&mut one, "notes");
    two.call("files_write", write.clone()).unwrap_err();
    one.finish();
    wait_until(|| listed(&home).is_empty());
    two.call("files_write", write).unwrap();
}

#[test]
fn a_lease_is_over_in_time_and_commands_can_be_refused() {
    let home = Home::new();
    home.configure("[leases]\ncommands = 'refuse'\n");
    let _daemon = Daemon::start(&home);
    let mut one = Shim::connected(&home, "2025-11-25", json!({}));
    let mut two = Shim::connected(&home, "2025-11-25", json!({}));
    lease(&mut one, "src");
    let run = json!({ "command": ["true"] });
    let err = two.call("exec_run", run.clone()).unwrap_err();
    assert!(err.starts_with("conflict: `src` is leased to `test 1`"), "{err}");
    two.call("exec_preview", run.clone()).unwrap();
    home.configure("[leases]\ncommands = 'warn'\n");
    assert_eq!(home.ctl(&["reload"]).0, 0);
    two.call("exec_run", run).unwrap();

    let id = listed(&home)[0]["id"].as_str().unwrap().to_owned();
    one.call("lease_renew", json!({ "id": id, "lasts_seconds": 1 })).unwrap();
    wait_until(|| listed(&home).is_empty());
    two.call("files_write", json!({ "path": "src/new", "content": "" })).unwrap();
    // A call that no client makes who stays holds nothing.
    let input = r#"{"path":"src","purpose":"x"}"#;
    let (code, _, err) = home.ctl(&["tools", "call", "lease_acquire", input]);
    assert!(code == 4 && err.contains("stays connected"), "{err}");
}
