//! Calls that wait, told to the desktop of a session and answered there (`confirm.notify`).

mod server;

use serde_json::{Value, json};
use server::Desktop;
use skynet_tests::programs::{Daemon, Home, Shim, outcome};

const ASK: &str = "[[policy.rules]]\nname = 'ask'\nverdict = 'ask'\ntools = ['files_write']\n";

/// A home whose daemon tells the desktop; the lines are more of its `[confirm]`.
fn home(confirm: &str) -> Home {
    let home = Home::new();
    home.configure(&format!("[confirm]\nnotify = true\n{confirm}\n{ASK}"));
    home
}

/// The daemon of a home, once it has found the desktop, and a client that shows no dialogs.
fn started(home: &Home, desktop: &Desktop) -> (Daemon, Shim) {
    let daemon = Daemon::start_on_bus(home, &desktop.address);
    desktop.wait_until_asked();
    (daemon, Shim::connected(home, "2025-11-25", json!({})))
}

/// Makes a call that is asked about.
fn write(shim: &mut Shim, path: &str, content: &str) -> i64 {
    let arguments = json!({ "path": path, "content": content });
    shim.post("tools/call", json!({ "name": "files_write", "arguments": arguments }))
}

/// The approval that waits.
fn waiting(home: &Home) -> Value {
    let (_, queue, said) = home.ctl(&["--json", "approvals", "list"]);
    let queue: Value = serde_json::from_str(&queue).unwrap_or_else(|err| panic!("{err}: {said}"));
    queue[0].clone()
}

/// The records of calls of `files_write`.
fn records(home: &Home) -> Vec<Value> {
    let lines = home.ctl(&["--json", "audit", "query", "--tool", "files_write"]).1;
    let all = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    all.filter(|record| record["kind"] == "call").collect()
}

#[test]
fn a_call_waits_and_runs_when_it_is_approved_on_the_desktop() {
    let home = home("");
    let Some(desktop) = Desktop::start(&home.path) else { return };
    let (_daemon, mut shim) = started(&home, &desktop);
    let id = write(&mut shim, "f", "<b>x</b> & y");
    let notice = desktop.notice();
    let approval = waiting(&home);
    assert_eq!(notice.summary, "files_write (write) waits for you");
    assert_eq!(notice.buttons, ["approve", "deny"]);
    // All that is asked, and nothing of it is markup.
    for part in [
        "Allow `files_write` (write) in ",
        "rule     ask",
        approval["digest"].as_str().unwrap(),
        "path  f",
        "&lt;b&gt;x&lt;/b&gt; &amp; y",
        &format!("skynetctl approvals show {}", approval["id"].as_str().unwrap()),
    ] {
        assert!(notice.body.contains(part), "{part}: {}", notice.body);
    }
    // Neither a click beside the buttons nor another program is an answer.
    desktop.press(notice.number, "default");
    desktop.forge(notice.number, "deny");
    desktop.press(notice.number, "approve");
    outcome(&shim.answer(id)).unwrap();
    desktop.wait_until_clear();
    let records = records(&home);
    let uid = json!(rustix::process::getuid().as_raw());
    let who = [&records[0]["confirmed_by"], &records[0]["confirmed_uid"], &records[0]["confirmed_user"]];
    assert_eq!(who, [&json!("desktop"), &uid, &json!("tester")], "{records:?}");
    let log = home.ctl(&["--json", "audit", "query", "--grep", "\"decision\""]).1;
    let decision: Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
    assert_eq!((&decision["decision"], &decision["through"]), (&json!("approved"), &json!("desktop")));

    let id = write(&mut shim, "g", "x");
    desktop.press(desktop.notice().number, "deny");
    let refused = outcome(&shim.answer(id)).unwrap_err();
    assert!(refused.starts_with("denied") && refused.contains("through desktop"), "{refused}");
    assert!(!home.project.join("g").exists());
    assert_eq!(desktop.faults(), Vec::<String>::new());
}

#[test]
fn a_notification_is_taken_back_when_the_call_is_answered_elsewhere_and_counts_for_no_other() {
    let home = home("");
    let Some(desktop) = Desktop::start(&home.path) else { return };
    let (_daemon, mut shim) = started(&home, &desktop);
    let first = write(&mut shim, "f", "x");
    let old = desktop.notice();
    assert_eq!(home.ctl(&["approvals", "approve", waiting(&home)["id"].as_str().unwrap()]).0, 0);
    outcome(&shim.answer(first)).unwrap();
    desktop.wait_until_clear();

    let second = write(&mut shim, "g", "x");
    let new = desktop.notice();
    assert_ne!(new.number, old.number);
    desktop.press(old.number, "approve");
    desktop.press(new.number, "deny");
    assert!(outcome(&shim.answer(second)).unwrap_err().starts_with("denied"));
    desktop.wait_until_clear();

    // What the user wiped away waits on, and is not shown again.
    let third = write(&mut shim, "h", "x");
    desktop.wipe_away(desktop.notice().number);
    assert_eq!(home.ctl(&["approvals", "approve", waiting(&home)["id"].as_str().unwrap()]).0, 0);
    outcome(&shim.answer(third)).unwrap();
    assert_eq!((desktop.count(), desktop.faults()), (3, Vec::new()));
}

#[test]
fn nothing_is_asked_where_the_answer_would_not_count_or_the_question_is_not_seen_whole() {
    for (confirm, capabilities, content) in [
        ("factor = 'admin-uid'", &["actions", "body"][..], "x".to_owned()),
        ("", &["body"][..], "x".to_owned()),
        ("", &["actions", "body"][..], "line\n".repeat(40)),
    ] {
        let home = home(confirm);
        let Some(desktop) = Desktop::with(&home.path, capabilities) else { return };
        let (_daemon, mut shim) = started(&home, &desktop);
        let id = write(&mut shim, "f", &content);
        let notice = desktop.notice();
        let approval = waiting(&home)["id"].as_str().unwrap().to_owned();
        assert_eq!(notice.body, format!("skynetctl approvals show {approval}"), "{confirm}");
        assert_eq!(notice.buttons, Vec::<String>::new(), "{confirm}");
        // A button that was not offered counts for nothing.
        desktop.press(notice.number, "approve");
        desktop.wipe_away(notice.number);
        assert_eq!(home.ctl(&["approvals", "deny", &approval]).0, 0);
        let refused = outcome(&shim.answer(id)).unwrap_err();
        assert!(refused.contains("through skynetctl"), "{confirm}: {refused}");
        assert_eq!(desktop.faults(), Vec::<String>::new());
    }
}

#[test]
fn a_daemon_that_ends_leaves_no_notification() {
    let home = home("wait_seconds = 1");
    let Some(desktop) = Desktop::start(&home.path) else { return };
    let (daemon, mut shim) = started(&home, &desktop);
    let id = write(&mut shim, "f", "x");
    let refused = outcome(&shim.answer(id)).unwrap_err();
    assert!(refused.starts_with("needs_confirmation"), "{refused}");
    // The call may still be approved for when it is made again.
    let notice = desktop.notice();
    assert!(daemon.terminate().success());
    desktop.wait_until_clear();
    assert_eq!((desktop.count(), notice.number, desktop.faults()), (1, 1, Vec::new()));
}

#[test]
fn who_takes_the_name_of_the_server_answers_nothing_and_no_button_stays() {
    let home = home("");
    let Some(desktop) = Desktop::start(&home.path) else { return };
    let (_daemon, mut shim) = started(&home, &desktop);
    let id = write(&mut shim, "f", "x");
    let notice = desktop.notice();
    assert_eq!(notice.buttons, ["approve", "deny"]);
    desktop.usurp(notice.number, "approve");
    // Whoever shows it has the name no more, and is told all the same.
    desktop.wait_until_clear();
    assert_eq!(home.ctl(&["approvals", "deny", waiting(&home)["id"].as_str().unwrap()]).0, 0);
    let refused = outcome(&shim.answer(id)).unwrap_err();
    assert!(refused.contains("through skynetctl"), "{refused}");
    assert!(!home.project.join("f").exists());
    assert_eq!(desktop.faults(), Vec::<String>::new());
}

#[test]
fn without_a_session_bus_nobody_is_taken_to_look() {
    let home = home("wait_seconds = 600");
    let nowhere = format!("unix:path={}", home.path.join("no-bus").display());
    let _daemon = Daemon::start_on_bus(&home, &nowhere);
    let mut shim = Shim::connected(&home, "2025-11-25", json!({}));
    let refused = shim.call("files_write", json!({ "path": "f", "content": "x" })).unwrap_err();
    assert!(refused.starts_with("needs_confirmation"), "{refused}");
}
