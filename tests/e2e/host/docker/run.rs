//! Containers made, entered, filled, watched and removed; and those that reach the host, which a human is asked about.

use super::{AGREED, Stage, texts};
use serde_json::{Value, json};
use skynet_tests::{
    engine::IMAGE,
    programs::{outcome, wait_until},
};
use std::{fs, os::unix::fs::MetadataExt as _};

#[test]
fn containers_are_run_and_their_end_is_told() {
    let Some(stage) = Stage::set(AGREED) else { return };
    let mut shim = stage.member();
    let mut run = |input: Value| shim.call("docker_run_container", input);
    let done = run(json!({
        "image": IMAGE, "name": "once", "network": "none", "wait_seconds": 60, "memory_mib": 64, "cpus": 0.5, "processes": 50,
        "environment": { "WORD": "hello" }, "labels": { "of": "test" }, "working_directory": "/bin", "user": "7:8",
        "mounts": [{ "source": "kept", "target": "/kept" }, { "target": "/memory" }],
        "argv": ["sh", "-c", "echo $WORD; pwd; id -u; ls -d /kept /memory; echo bad >&2; exit 4"]
    }))
    .unwrap();
    assert_eq!(done["standing"]["exit_code"], 4, "{done}");
    let mut lines = texts(&done);
    lines.sort_unstable();
    assert_eq!(lines, ["/bin", "/kept", "/memory", "7", "bad", "hello"], "{done}");
    assert_eq!(
        (&done["timed_out"], &done["removed"], &done["container"]),
        (&json!(false), &json!(false), &json!("once"))
    );
    // Its time over, it is stopped; wanted no more, it is removed.
    let over = json!({ "image": IMAGE, "network": "none", "wait_seconds": 1, "remove": true, "argv": ["sh", "-c", "echo on; exec sleep 600"] });
    let over = run(over).unwrap();
    assert_eq!(
        (&over["timed_out"], &over["removed"], texts(&over)),
        (&json!(true), &json!(true), vec!["on"]),
        "{over}"
    );
    assert_eq!(stage.engine.docker(&["ps", "-aq"]).lines().count(), 1);
    let made =
        run(json!({ "image": IMAGE, "network": "none", "create_only": true, "name": "made" })).unwrap();
    assert_eq!(made["standing"]["state"], "created", "{made}");
    for (input, kind, part) in [
        (json!({ "image": "busybux" }), "not_found", "near it are `busybox:latest`"),
        (json!({ "image": "../x" }), "invalid_input", "is no name of an image"),
        (json!({ "image": IMAGE, "name": "once" }), "conflict", "already in use"),
        (json!({ "image": IMAGE, "ports": ["80"] }), "invalid_input", "publishes no port"),
        (
            json!({ "image": IMAGE, "mounts": [{ "source": "./here", "target": "/x" }] }),
            "invalid_input",
            "is no name or id",
        ),
        (
            json!({ "image": IMAGE, "environment": { "A": "secret://x" } }),
            "invalid_input",
            "no secret becomes one",
        ),
        (json!({ "image": IMAGE, "remove": true }), "invalid_input", "needs `wait_seconds`"),
        (
            json!({ "image": IMAGE, "network": "none", "argv": ["no-such-program"] }),
            "invalid_input",
            "no-such-program",
        ),
    ] {
        let err = run(input.clone()).unwrap_err();
        assert!(err.starts_with(kind) && err.contains(part), "{input}: {err}");
    }
    // What could not be started is not left behind.
    assert_eq!(stage.engine.docker(&["ps", "-aq"]).lines().count(), 2);

    // Canceled, it goes with its call.
    let call = json!({ "image": IMAGE, "name": "unwanted", "network": "none", "wait_seconds": 600, "argv": ["sh", "-c", "while true; do echo here; sleep 0.1; done"] });
    let call = json!({ "name": "docker_run_container", "arguments": call, "_meta": { "progressToken": 1 } });
    let id = shim.post("tools/call", call);
    while !shim.receive()["params"]["message"].as_str().is_some_and(|text| text.contains("here")) {}
    shim.send(
        &json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": id } }),
    );
    wait_until(|| !stage.engine.docker(&["ps", "-a", "--format", "{{.Names}}"]).contains("unwanted"));
}

#[test]
fn what_reaches_the_host_is_never_allowed_without_a_human() {
    // The rule allows all of the family, and yet.
    let Some(stage) = Stage::set(AGREED) else { return };
    let mut shim = stage.member();
    let _ = stage.engine.docker(&[
        "volume",
        "create",
        "--opt",
        "type=none",
        "--opt",
        "o=bind",
        "--opt",
        "device=/etc",
        "disguised",
    ]);
    let _ = stage.engine.docker(&[
        "run",
        "-d",
        "--network",
        "none",
        "-v",
        "/etc:/host",
        "--name",
        "open",
        IMAGE,
        "sleep",
        "600",
    ]);
    // Made by somebody else: its volume is a path of the host, and it looks like any other.
    let veiled =
        ["run", "-d", "--network", "none", "-v", "disguised:/x", "--name", "veiled", IMAGE, "sleep", "600"];
    let _ = stage.engine.docker(&veiled);
    let asked = "always asked, as it reaches the host from a container";
    for (tool, input) in [
        ("docker_run_container", json!({ "image": IMAGE, "host": { "privileged": true } })),
        ("docker_run_container", json!({ "image": IMAGE, "network": "host" })),
        (
            "docker_run_container",
            json!({ "image": IMAGE, "mounts": [{ "source": "/run/docker.sock", "target": "/s" }] }),
        ),
        (
            "docker_exec_container",
            json!({ "container": "open", "argv": ["cat", "/host/shadow"], "reaches_host": true }),
        ),
        ("docker_control_container", json!({ "container": "open", "action": "start", "reaches_host": true })),
    ] {
        let err = shim.call(tool, input.clone()).unwrap_err();
        assert!(err.starts_with("needs_confirmation") && err.contains(asked), "{input}: {err}");
        assert!(err.contains("nothing would allow it always"), "{err}");
    }
    // What was not declared is found out.
    for (tool, input, part) in [
        (
            "docker_exec_container",
            json!({ "container": "open", "argv": ["cat", "/host/shadow"] }),
            "set `reaches_host`",
        ),
        (
            "docker_control_container",
            json!({ "container": "open", "action": "restart" }),
            "set `reaches_host`",
        ),
        (
            "docker_exec_container",
            json!({ "container": "veiled", "argv": ["cat", "/x/shadow"] }),
            "volume disguised, which is a path of the host",
        ),
        (
            "docker_copy_files",
            json!({ "container": "open", "direction": "out_of_container", "from": "/host/shadow", "into": "." }),
            "set `reaches_host`",
        ),
        (
            "docker_run_container",
            json!({ "image": IMAGE, "network": "none", "mounts": [{ "source": "disguised", "target": "/x" }] }),
            "set `host.host_volumes`",
        ),
    ] {
        let err = shim.call(tool, input.clone()).unwrap_err();
        assert!(err.starts_with("denied") && err.contains(part), "{input}: {err}");
    }
    assert!(!stage.project.join("shadow").exists());
    // Once a human agrees, it is done, and the answer counts once.
    let input = json!({ "image": IMAGE, "network": "none", "create_only": true, "mounts": [{ "source": "/etc", "target": "/x" }] });
    let err = shim.call("docker_run_container", input.clone()).unwrap_err();
    let id = err.split("approve ").nth(1).and_then(|rest| rest.split('`').next()).unwrap();
    let (code, _, said) = stage.host.ctl(None, &["approvals", "approve", id, "--always"]);
    assert!(code != 0, "{said}");
    assert_eq!(stage.host.ctl(None, &["approvals", "approve", id]).0, 0);
    assert_eq!(shim.call("docker_run_container", input.clone()).unwrap()["standing"]["state"], "created");
    assert!(shim.call("docker_run_container", input).unwrap_err().starts_with("needs_confirmation"));
}

#[test]
fn a_rule_may_deny_what_reaches_the_host() {
    let config =
        "[[policy.rules]]\nname = 'no'\nverdict = 'deny'\nfamilies = ['docker']\neffects = ['destroy']\n";
    let Some(stage) = Stage::set(config) else { return };
    let input = json!({ "image": IMAGE, "host": { "privileged": true } });
    let err = stage.member().call("docker_run_container", input).unwrap_err();
    assert!(err.starts_with("denied") && err.contains("rule `no`"), "{err}");
}

#[test]
fn commands_run_inside_and_files_are_copied_both_ways() {
    let Some(stage) = Stage::set(AGREED) else { return };
    stage.run("box", "sleep 600");
    let mut shim = stage.member();
    let mut exec = |argv: Value, more: Value| {
        let mut input = json!({ "container": "box", "argv": argv });
        input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        shim.call("docker_exec_container", input)
    };
    let done = exec(
        json!(["sh", "-c", "cat; echo $A; echo e >&2; exit 3"]),
        json!({ "stdin": "in\n", "environment": { "A": "a" } }),
    )
    .unwrap();
    assert_eq!(done, json!({ "exit_code": 3, "still_running": false, "stdout": "in\na\n", "stderr": "e\n" }));
    let long = exec(json!(["sleep", "600"]), json!({ "timeout_seconds": 1 })).unwrap();
    assert_eq!(long["still_running"], true, "{long}");
    // It writes without end, and is read no longer.
    let loud = exec(json!(["yes"]), json!({})).unwrap();
    assert_eq!(loud["stdout"].as_str().map(|text| text.len() >= 60_000), Some(true));
    let err = exec(json!([]), json!({})).unwrap_err();
    assert!(err.starts_with("invalid_input"), "{err}");
    let missing =
        shim.call("docker_exec_container", json!({ "container": "bax", "argv": ["true"] })).unwrap_err();
    assert!(missing.contains("near it are `box`"), "{missing}");

    let own = |path: &str, text: &str| {
        let path = stage.project.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        let _ = stage.ann.sh("true");
    };
    own("site/a/index.html", "hello");
    let _ = std::process::Command::new("chown")
        .arg("-R")
        .arg(format!("{}:{}", stage.ann.uid, stage.ann.gid))
        .arg(&stage.project)
        .status();
    let mut copy = |direction: &str, from: &str, into: &str| {
        let input = json!({ "container": "box", "direction": direction, "from": from, "into": into });
        shim.call("docker_copy_files", input)
    };
    assert!(copy("into_container", "site", "/tmp").is_err(), "there is no such directory yet");
    let _ = stage.engine.docker(&["exec", "box", "mkdir", "/srv"]);
    assert!(copy("into_container", "site", "/srv").unwrap()["bytes"].as_u64().unwrap() > 1024);
    assert_eq!(stage.engine.docker(&["exec", "box", "cat", "/srv/site/a/index.html"]), "hello");
    copy("out_of_container", "/srv/site/a", ".").unwrap();
    let copied = stage.project.join("a/index.html");
    assert_eq!(fs::read_to_string(&copied).unwrap(), "hello");
    assert_eq!(fs::metadata(&copied).unwrap().uid(), stage.ann.uid);
    for (direction, from, into, part) in [
        ("into_container", "missing", "/srv", "missing"),
        ("into_container", "../../etc", "/srv", "leads out of the workspace"),
        ("into_container", "site", "srv", "is no absolute path"),
        ("out_of_container", "/nowhere", ".", "nowhere"),
        ("out_of_container", "/srv", "/etc", "outside of the workspace"),
    ] {
        let err = copy(direction, from, into).unwrap_err();
        assert!(err.contains(part), "{direction} {from} {into}: {err}");
    }
}

#[test]
fn what_runs_is_watched_changed_and_removed() {
    let Some(stage) = Stage::set(AGREED) else { return };
    stage.run("busy", "echo x > /made; while true; do :; done");
    stage.run("fails", "echo broken >&2; exit 9");
    let mut shim = stage.member();
    let ended = shim.call("docker_wait_container", json!({ "container": "fails" })).unwrap();
    assert_eq!(ended, json!({ "has_ended": true, "exit_code": 9, "oom_killed": false }));
    let waits =
        shim.call("docker_wait_container", json!({ "container": "busy", "timeout_seconds": 1 })).unwrap();
    assert_eq!(waits["has_ended"], false, "{waits}");
    let listed = shim.call("docker_top_container", json!({ "container": "busy" })).unwrap();
    assert!(listed["processes"].to_string().contains("while true"), "{listed}");
    assert!(
        shim.call("docker_top_container", json!({ "container": "fails" }))
            .unwrap_err()
            .starts_with("conflict")
    );
    let changes = shim.call("docker_diff_container", json!({ "container": "busy" })).unwrap();
    assert!(changes["added"].as_array().unwrap().contains(&json!("/made")), "{changes}");
    assert!(
        shim.call("docker_diff_container", json!({ "container": "bussy" }))
            .unwrap_err()
            .contains("near it are `busy`")
    );

    let stats = shim.call("docker_watch_stats", json!({})).unwrap();
    let one = &stats["stats"][0];
    assert_eq!((&one["container"], stats["stats"].as_array().unwrap().len()), (&json!("busy"), 1), "{stats}");
    assert!(
        one["cpu_percent"].as_f64().unwrap() > 0.0 && one["memory_bytes"].as_u64().unwrap() > 0,
        "{stats}"
    );
    assert!(
        shim.call("docker_watch_stats", json!({ "containers": ["fails"] }))
            .unwrap_err()
            .starts_with("conflict")
    );
    let call = json!({ "name": "docker_watch_stats", "arguments": { "seconds": 600 }, "_meta": { "progressToken": 1 } });
    let id = shim.post("tools/call", call);
    while !shim.receive()["params"]["message"].as_str().is_some_and(|text| text.starts_with("busy: ")) {}
    shim.send(
        &json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": id } }),
    );

    let health =
        outcome(&shim.request("tools/call", json!({ "name": "docker_check_health", "arguments": {} })))
            .unwrap();
    let ill = &health["problems"][0];
    assert_eq!(
        (&health["total"], &health["running"], &ill["container"]),
        (&json!(2), &json!(1), &json!("fails")),
        "{health}"
    );
    assert_eq!(ill["problems"], json!(["ended with exit code 9"]));
    assert_eq!(ill["last_lines"][0]["text"], "broken");

    let input = json!({ "container": "busy", "name": "calm", "memory_mib": 64, "cpus": 0.5, "restart": "unless-stopped" });
    let shown = shim.call("docker_update_container", input).unwrap();
    assert_eq!(
        (&shown["name"], &shown["limits"]["memory_bytes"], &shown["restart_policy"]),
        (&json!("calm"), &json!(64 << 20), &json!("unless-stopped")),
        "{shown}"
    );
    assert!(
        shim.call("docker_update_container", json!({ "container": "calm" }))
            .unwrap_err()
            .contains("nothing is to change")
    );
    let err = shim.call("docker_remove_container", json!({ "container": "calm" })).unwrap_err();
    assert!(err.starts_with("conflict"), "{err}");
    let gone = shim.call("docker_remove_container", json!({ "container": "calm", "force": true })).unwrap();
    assert_eq!(gone, json!({ "removed": "calm" }));
}
