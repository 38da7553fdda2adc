//! The container engine: used by those who may use it themselves, as they may, and by nobody else.

mod compose;
mod exec;
mod images;
mod run;

use serde_json::{Value, json};
use skynet_tests::{
    engine::{Dockerd, IMAGE},
    host::{Host, User, daemon_of},
    programs::{Shim, outcome, program},
};
use std::{fs, path::PathBuf, process::Command};

/// A host with an engine, one user who may use it and one who may not.
pub(super) struct Stage {
    // In this order: what needs the other ends before it.
    engine: Dockerd,
    host: Host,
    ann: User,
    bob: User,
    project: PathBuf,
}

/// A human who agrees to all of the family that rules may allow.
pub(super) const AGREED: &str = "[confirm]\nwait_seconds = 1\n[[policy.rules]]\nname = 'docker'\nverdict = 'allow'\nfamilies = ['docker']\n";

impl Stage {
    pub(super) fn set(config: &str) -> Option<Self> {
        let mut host = Host::start()?;
        let engine = Dockerd::start(&host.engine_socket(), Dockerd::group())?;
        fs::write(host.path.join("config.toml"), config).unwrap();
        host.replace_daemon();
        let [ann, bob] = host.users();
        let project = ann.project();
        Some(Self { engine, host, ann, bob, project })
    }

    /// A client of whoever may.
    pub(super) fn member(&self) -> Shim {
        self.host.client_in_group(&self.ann, Dockerd::group(), &self.project)
    }

    /// Starts a container that prints what `script` does.
    pub(super) fn run(&self, name: &str, script: &str) {
        let _ = self.engine.docker(&[
            "run",
            "-d",
            "--network",
            "none",
            "--name",
            name,
            IMAGE,
            "sh",
            "-c",
            script,
        ]);
    }
}

fn texts(log: &Value) -> Vec<&str> {
    log["lines"].as_array().unwrap().iter().map(|line| line["text"].as_str().unwrap()).collect()
}

#[test]
fn who_may_not_open_the_socket_is_told_who_may() {
    let Some(stage) = Stage::set(AGREED) else { return };
    stage.run("web", "sleep 600");
    let mut outsider = stage.host.client(&stage.bob, &stage.bob.project(), json!({}));
    let name = &stage.bob.name;
    for (tool, input) in [
        ("docker_list_containers", json!({})),
        ("docker_show_container", json!({ "container": "web" })),
        ("docker_read_logs", json!({ "container": "web" })),
        ("docker_control_container", json!({ "container": "web", "action": "kill" })),
    ] {
        let err = outsider.call(tool, input).unwrap_err();
        let expected = format!("serves members of the group `docker`, and `{name}` is not one");
        assert!(err.starts_with("denied: ") && err.contains(&expected), "{tool}: {err}");
    }
    // Without the group her own user is no better off, and with it nothing of it is in her slots.
    let mut alone = stage.host.client(&stage.ann, &stage.project, json!({}));
    assert!(alone.call("docker_list_containers", json!({})).unwrap_err().starts_with("denied: "));
    let mut member = stage.member();
    assert_eq!(member.call("docker_list_containers", json!({})).unwrap()["total"], 1);
    let ended = member
        .call("exec_run", json!({ "script": format!("id -G; ls {}", stage.host.engine_socket().display()) }))
        .unwrap();
    assert_eq!(ended["stdout"], format!("{}\n", stage.ann.gid), "{ended}");
}

#[test]
fn who_is_lent_the_engine_for_some_calls_gets_no_more() {
    let lent = |user: &str| {
        format!(
            "[[policy.rules]]\nname = 'logs of the web'\nverdict = 'allow'\nlend = 'engine'\nusers = ['{user}']\ntools = ['docker_read_logs', 'docker_control_container', 'docker_show_container']\narguments = {{ container = 'web-*' }}\n\
             [[policy.rules]]\nname = 'creation'\nverdict = 'allow'\nlend = 'engine'\nusers = ['{user}']\ntools = ['docker_run_container', 'docker_list_projects', 'docker_run_compose', 'docker_top_container']\n"
        )
    };
    let Some(mut stage) = Stage::set(AGREED) else { return };
    let rules = format!("{AGREED}{}{}", lent(&stage.bob.name), lent(&stage.ann.name));
    fs::write(stage.host.path.join("config.toml"), &rules).unwrap();
    stage.host.replace_daemon();
    stage.run("web-1", "echo ready; sleep 600");
    stage.run("other", "echo hidden; sleep 600");
    let mut bob = stage.host.client(&stage.bob, &stage.bob.project(), json!({}));
    assert_eq!(texts(&bob.call("docker_read_logs", json!({ "container": "web-1" })).unwrap()), ["ready"]);
    bob.call(
        "docker_control_container",
        json!({ "container": "web-1", "action": "restart", "grace_seconds": 0 }),
    )
    .unwrap();
    for (tool, input) in [
        ("docker_read_logs", json!({ "container": "other" })),
        ("docker_list_containers", json!({})),
        ("docker_remove_container", json!({ "container": "web-1" })),
        ("docker_exec_container", json!({ "container": "web-1", "argv": ["true"] })),
    ] {
        let err = bob.call(tool, input.clone()).unwrap_err();
        assert!(err.starts_with("denied: ") && err.contains("lend = \"engine\""), "{tool} {input}: {err}");
    }
    // To the engine a slash before a name is nothing, and to rules it would be another name.
    let err = bob.call("docker_top_container", json!({ "container": "/web-1" })).unwrap_err();
    assert!(err.starts_with("invalid_input: ") && err.contains("no name or id"), "{err}");
    // To the engine the beginning of an id is a name.
    for container in ["be", "abc123"] {
        let err = bob.call("docker_top_container", json!({ "container": container })).unwrap_err();
        assert!(err.starts_with("denied: ") && err.contains("beginning of an id"), "{container}: {err}");
    }
    // An id that begins like a name that is lent is another's, and the glob does not fit it.
    let id = stage.engine.docker(&["inspect", "--format", "{{.Id}}", "other"]);
    assert!(
        bob.call("docker_read_logs", json!({ "container": id.trim() })).unwrap_err().starts_with("denied: ")
    );
    // What would give him the host is not lent, whoever would agree to it.
    let run = json!({ "image": IMAGE, "name": "web-2", "mounts": [{ "source": "/etc", "target": "/host" }] });
    let err = bob.call("docker_run_container", run).unwrap_err();
    assert!(err.starts_with("needs_confirmation: ") && err.contains("always asked"), "{err}");
    bob.call(
        "docker_run_container",
        json!({ "image": IMAGE, "name": "web-2", "argv": ["true"], "network": "none" }),
    )
    .unwrap();
    fs::write(stage.bob.project().join("compose.yaml"), "services: {}\n").unwrap();
    let err = bob.call("docker_run_compose", json!({ "action": "ps" })).unwrap_err();
    assert!(err.starts_with("denied: "), "{err}");
    // The broker lends to whom its own command line names.
    let mut ann = stage.host.client(&stage.ann, &stage.project, json!({}));
    let err = ann.call("docker_read_logs", json!({ "container": "web-1" })).unwrap_err();
    assert!(err.starts_with("denied: ") && err.contains("`--engine-user USER`"), "{err}");
    // A rule that lends says to whom, and nothing but the engine's tools.
    for wrong in [
        "verdict = 'allow'\ntools = ['docker_read_logs']",
        "verdict = 'deny'\nusers = ['bob']\ntools = ['docker_read_logs']",
        "verdict = 'ask'\nusers = ['bob']\ntools = ['docker_read_logs']",
        "verdict = 'allow'\nusers = ['bob']\ntools = ['docker_read_logs', 'files_read']",
        "verdict = 'allow'\nusers = ['bob']",
    ] {
        let path = stage.bob.project().join("wrong.toml");
        fs::write(&path, format!("[[policy.rules]]\nname = 'wrong'\nlend = 'engine'\n{wrong}\n")).unwrap();
        let checked = Command::new(program("skynetd"))
            .arg("--system")
            .arg("--config")
            .arg(&path)
            .args(["config", "check"])
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&checked.stderr).into_owned();
        assert!(!checked.status.success() && told.contains("`lend` is for a rule"), "{wrong}: {told}");
    }
}

#[test]
fn an_engine_that_is_not_there_is_named() {
    let Some(host) = Host::start() else { return };
    let [ann, _] = host.users();
    let mut shim = host.client(&ann, &ann.project(), json!({}));
    let err = shim.call("docker_list_containers", json!({})).unwrap_err();
    assert!(err.starts_with("unavailable: no container engine listens at"), "{err}");
}

#[test]
fn the_daemon_of_one_user_reaches_what_he_may() {
    let Some(host) = Host::start() else { return };
    let [ann, _] = host.users();
    let directory = ann.project();
    let socket = host.path.join("own.sock");
    let Some(engine) = Dockerd::start(&socket, Dockerd::group()) else { return };
    let config = format!("[docker]\nsocket = '{}'\n", socket.display());
    fs::write(directory.join("config.toml"), config).unwrap();
    let _ = engine.docker(&["create", "--name", "own", IMAGE]);
    for (group, expected) in [(Dockerd::group(), None), (ann.gid, Some("denied: the container engine at"))] {
        let mut daemon = daemon_of(&ann, group, &directory);
        let mut command = Command::new(program("skynet-shim"));
        ann.owns(&mut command);
        let mut shim =
            Shim::of(command, &directory.join("run/s"), &directory).shaken("2025-11-25", json!({}));
        let found = shim.call("docker_list_containers", json!({ "all": true }));
        daemon.kill().unwrap();
        daemon.wait().unwrap();
        match expected {
            None => assert_eq!(found.unwrap()["containers"][0]["name"], "own"),
            Some(expected) => assert!(found.unwrap_err().starts_with(expected)),
        }
    }
}

#[test]
fn containers_are_listed_shown_and_controlled() {
    let Some(stage) = Stage::set(AGREED) else { return };
    stage.run("web", "echo ready; trap 'exit 0' TERM; while true; do sleep 0.1; done");
    stage.run("fails", "echo no >&2; exit 3");
    let _ = stage.engine.docker(&["wait", "fails"]);
    let mut shim = stage.member();
    let names = |listed: &Value| {
        listed["containers"].as_array().unwrap().iter().map(|one| one["name"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(names(&shim.call("docker_list_containers", json!({})).unwrap()), ["web"]);
    assert_eq!(
        names(&shim.call("docker_list_containers", json!({ "all": true })).unwrap()),
        ["fails", "web"]
    );
    let exited = json!({ "state": "exited", "name": "ail" });
    let listed = shim.call("docker_list_containers", exited).unwrap();
    let one = &listed["containers"][0];
    assert_eq!((&one["state"], &one["image"]), (&json!("exited"), &json!(IMAGE)), "{listed}");
    assert!(one["status"].as_str().unwrap().starts_with("Exited (3)"), "{listed}");

    let shown = shim.call("docker_show_container", json!({ "container": "fails" })).unwrap();
    let standing = &shown["standing"];
    assert_eq!((&standing["exit_code"], &standing["oom_killed"]), (&json!(3), &json!(false)), "{shown}");
    assert_eq!(shown["last_lines"], json!([{ "stream": "stderr", "text": "no" }]));
    assert_eq!((&shown["reaches_host"], &shown["restart_policy"]), (&json!([]), &json!("no")), "{shown}");

    for (action, state) in [
        ("pause", "paused"),
        ("unpause", "running"),
        ("restart", "running"),
        ("stop", "exited"),
        ("start", "running"),
        ("kill", "exited"),
    ] {
        let input = json!({ "container": "web", "action": action });
        let standing = shim.call("docker_control_container", input).unwrap();
        // Killed, it is gone a moment later.
        let state_now = stage.engine.docker(&["wait", if state == "exited" { "web" } else { "fails" }]);
        assert!(standing["state"] == state || action == "kill", "{action}: {standing} {state_now}");
    }
    for (input, kind, part) in [
        (json!({ "container": "wep", "action": "start" }), "not_found", "near it are `web`"),
        (json!({ "container": "../volumes/prune", "action": "start" }), "invalid_input", "is no name or id"),
        (json!({ "container": "web", "action": "explode" }), "invalid_input", "action"),
        (json!({ "container": "web", "action": "pause" }), "conflict", "not running"),
        (json!({ "container": "web", "action": "kill", "signal": "a b" }), "invalid_input", "is no signal"),
    ] {
        let err = shim.call("docker_control_container", input.clone()).unwrap_err();
        assert!(err.starts_with(kind) && err.contains(part), "{input}: {err}");
    }
    let err = shim.call("docker_show_container", json!({ "container": "fail" })).unwrap_err();
    assert!(err.contains("near it are `fails`"), "{err}");
}

#[test]
fn what_ends_a_container_waits_for_a_human() {
    let Some(stage) = Stage::set("[confirm]\nwait_seconds = 1\n") else { return };
    stage.run("web", "sleep 600");
    let mut shim = stage.member();
    let stop = json!({ "container": "web", "action": "kill" });
    let err = shim.call("docker_control_container", stop).unwrap_err();
    assert!(err.starts_with("needs_confirmation"), "{err}");
    shim.call("docker_control_container", json!({ "container": "web", "action": "pause" })).unwrap();
}

#[test]
fn logs_are_read_searched_and_followed() {
    let Some(stage) = Stage::set(AGREED) else { return };
    stage.run("talk", "for i in 1 2 3 4 5 6 7 8 9; do echo line $i; done; echo bad >&2");
    let _ = stage.engine.docker(&["wait", "talk"]);
    let mut shim = stage.member();
    let mut read = |input: Value| shim.call("docker_read_logs", input);
    assert_eq!(
        texts(&read(json!({ "container": "talk", "tail": 2, "stream": "stdout" })).unwrap()),
        ["line 8", "line 9"]
    );
    let found = read(json!({ "container": "talk", "search": "line [12]|bad", "timestamps": true })).unwrap();
    // Which of both streams is read first is the engine's to say.
    let mut lines = texts(&found);
    lines.sort_unstable();
    assert_eq!(lines, ["bad", "line 1", "line 2"]);
    assert!(found["lines"][0]["at"].as_str().unwrap().ends_with('Z'), "{found}");
    let found = read(json!({ "container": "talk", "stream": "stderr", "since": "1h" })).unwrap();
    assert_eq!(
        found,
        json!({ "lines": [{ "stream": "stderr", "text": "bad" }], "left_out": 0, "ended_by": "end_of_log" })
    );
    assert_eq!(texts(&read(json!({ "container": "talk", "until": "1h" })).unwrap()), Vec::<&str>::new());
    // One that has ended has nothing more to say.
    let found = read(json!({ "container": "talk", "follow_seconds": 60, "tail": 1 })).unwrap();
    assert_eq!(found["ended_by"], "container_ended", "{found}");
    // A terminal has no frames, and what pretends to be the beginning of one is text like any other.
    let pretend = [
        "run",
        "-dt",
        "--network",
        "none",
        "--name",
        "tty",
        IMAGE,
        "printf",
        r"\001\000\000\000\377\377\377\377evil\nend\n",
    ];
    let _ = stage.engine.docker(&pretend);
    let _ = stage.engine.docker(&["wait", "tty"]);
    let found = read(json!({ "container": "tty" })).unwrap();
    assert!(texts(&found)[0].ends_with("evil") && texts(&found)[1] == "end", "{found}");
    assert_eq!(found["lines"][1]["stream"], "terminal", "{found}");
    for (input, part) in [
        (json!({ "container": "talk", "search": "(" }), "is no regular expression"),
        (json!({ "container": "talk", "since": "yesterday" }), "is no time"),
        (json!({ "container": "talk", "tail": 0 }), "tail"),
    ] {
        let err = read(input).unwrap_err();
        assert!(err.starts_with("invalid_input") && err.contains(part), "{err}");
    }
    assert!(read(json!({ "container": "talkk" })).unwrap_err().contains("near it are `talk`"));

    // Followed, each line is shown as it comes, and nobody waits for more than is wanted.
    stage.run("clock", "i=0; while true; do i=$((i+1)); echo tick $i; sleep 0.05; done");
    let call = json!({ "name": "docker_read_logs", "arguments": { "container": "clock", "follow_seconds": 600 }, "_meta": { "progressToken": 7 } });
    let id = shim.post("tools/call", call);
    let mut heard = 0;
    while heard < 2 {
        let message = shim.receive();
        assert!(message["id"] != id, "{message}");
        heard += usize::from(message["params"]["message"].as_str().is_some_and(|text| text.contains("tick")));
    }
    shim.send(
        &json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": id } }),
    );
    // The session goes on, and the engine serves it.
    let input = json!({ "container": "clock", "follow_seconds": 1, "tail": 3 });
    let log = outcome(&shim.request("tools/call", json!({ "name": "docker_read_logs", "arguments": input })))
        .unwrap();
    assert_eq!((&log["ended_by"], texts(&log).len()), (&json!("time"), 3), "{log}");
}
