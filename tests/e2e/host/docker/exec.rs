//! Commands of the exec family in containers, on a copy of the workspace.

use super::{AGREED, Stage};
use serde_json::{Value, json};
use skynet_tests::{
    engine::{Dockerd, IMAGE},
    programs::wait_until,
};
use std::fs;

#[test]
fn a_command_in_a_container_has_a_copy_of_the_workspace_and_is_limited() {
    let Some(stage) = Stage::set(AGREED) else { return };
    fs::create_dir(stage.project.join("sub")).unwrap();
    fs::write(stage.project.join("sub/given"), "text").unwrap();
    for path in ["sub", "sub/given"] {
        std::os::unix::fs::chown(stage.project.join(path), Some(stage.ann.uid), Some(stage.ann.gid)).unwrap();
    }
    let mut shim = stage.member();
    let mut run = |more: Value| {
        let mut input = json!({ "backend": "docker", "image": IMAGE });
        input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        shim.call("exec_run", input)
    };
    let ran = run(json!({
        "interpreter": "sh", "script": "cat given; read line; echo \" $line $WORD $1\"; id -u; pwd; echo changed > given; echo bad >&2; exit 3",
        "command": ["arg"], "stdin": "in\n", "environment": { "WORD": "word" }, "cwd": "sub"
    }))
    .unwrap();
    let expected = format!("text in word arg\n{}\n/workspace/sub\n", stage.ann.uid);
    assert_eq!(
        (&ran["exit_code"], &ran["stdout"], &ran["stderr"]),
        (&json!(3), &json!(expected), &json!("bad\n")),
        "{ran}"
    );
    assert_eq!(ran["ended_by"], "itself", "{ran}");
    // It was a copy.
    assert_eq!(fs::read_to_string(stage.project.join("sub/given")).unwrap(), "text");
    // No network, no capability, and nothing to get one by.
    let ran = run(json!({ "interpreter": "sh", "script": "ls /sys/class/net; grep -E 'CapBnd|NoNewPrivs' /proc/self/status" })).unwrap();
    let stdout = ran["stdout"].as_str().unwrap();
    assert!(
        stdout.starts_with("lo\n")
            && stdout.contains("CapBnd:\t0000000000000000")
            && stdout.contains("NoNewPrivs:\t1"),
        "{ran}"
    );
    let ran = run(json!({ "command": ["sleep", "600"], "timeout_seconds": 1 })).unwrap();
    assert_eq!((&ran["ended_by"], &ran["signal"]), (&json!("timeout"), &json!(9)), "{ran}");
    let ran =
        run(json!({ "interpreter": "sh", "script": "x=a; while :; do x=$x$x; done", "memory_mib": 32 }))
            .unwrap();
    assert_eq!(ran["ended_by"], "memory", "{ran}");
    let ran =
        run(json!({ "interpreter": "sh", "script": "while :; do :; done", "limits": { "cpu_seconds": 1 } }))
            .unwrap();
    assert_eq!(ran["ended_by"], "cpu", "{ran}");
    let ran =
        run(json!({ "interpreter": "sh", "script": "yes > much", "limits": { "disk_mib": 1 } })).unwrap();
    assert_eq!(ran["ended_by"], "disk", "{ran}");
    let ran = run(json!({ "command": ["yes"] })).unwrap();
    assert_eq!(
        (&ran["ended_by"], ran["stdout"].as_str().unwrap().starts_with("y\ny\n")),
        (&json!("output"), true)
    );
    for (input, complaint) in [
        (json!({ "command": ["true"], "image": "absent:1" }), "not_found"),
        (json!({ "command": ["no-such-program"] }), "no-such-program"),
        (json!({ "command": ["true"], "network": { "hosts": ["example.org"] } }), "has no `network`"),
        (json!({ "command": ["true"], "environment": { "A": "secret://a" } }), "secret"),
        (json!({ "command": ["true"], "cwd": "../x" }), "denied"),
    ] {
        let err = run(input.clone()).unwrap_err();
        assert!(err.contains(complaint), "{input}: {err}");
    }
    let err = shim.call("exec_run", json!({ "backend": "docker", "command": ["true"] })).unwrap_err();
    assert!(err.contains("give `image`"), "{err}");
    let err = shim
        .call("exec_preview", json!({ "backend": "docker", "image": IMAGE, "command": ["true"] }))
        .unwrap_err();
    assert!(err.contains("leave `backend` out"), "{err}");
    // A piece of code has nothing of the workspace, and is limited as well.
    let code = |code: &str, more: Value| {
        let mut input = json!({ "backend": "docker", "image": IMAGE, "language": "bash", "code": code });
        input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        input
    };
    let script = "pwd; echo $1 > here && cat here; ls /workspace; ls /sys/class/net";
    let ran = shim.call("exec_run_code", code(script, json!({ "arguments": ["word"] }))).unwrap();
    assert_eq!(ran["stdout"], "/tmp\nword\nlo\n", "{ran}");
    let ran =
        shim.call("exec_run_code", code("while :; do :; done", json!({ "timeout_seconds": 1 }))).unwrap();
    assert_eq!(ran["ended_by"], "timeout", "{ran}");
    let ran = shim.call("exec_run_code", code("yes", json!({ "output_kib": 2 }))).unwrap();
    let length = ran["stdout"].as_str().unwrap().len();
    assert_eq!((&ran["ended_by"], length), (&json!("output"), 2 << 10), "{ran}");
    let err = shim.call("exec_run_code", code("true", json!({ "image": null }))).unwrap_err();
    assert!(err.contains("give `image`"), "{err}");
    // Each container is gone.
    assert_eq!(stage.engine.docker(&["ps", "-aq"]).trim(), "");
    // Who may not use the engine may not use it so.
    let mut outsider = stage.host.client(&stage.bob, &stage.bob.project(), json!({}));
    let err = outsider
        .call("exec_run", json!({ "backend": "docker", "image": IMAGE, "command": ["true"] }))
        .unwrap_err();
    assert!(err.starts_with("denied: "), "{err}");
}

#[test]
fn a_list_of_commands_is_no_list_of_what_is_in_images() {
    let list = format!("{AGREED}[[policy.commands]]\nname = 'who'\nverdict = 'allow'\nprogram = 'id'\n");
    let Some(stage) = Stage::set(&list) else { return };
    let mut shim = stage.host.client_in_group(&stage.ann, Dockerd::group(), &stage.project);
    let input = json!({ "backend": "docker", "image": IMAGE, "command": ["id"] });
    let err = shim.call("exec_run", input).unwrap_err();
    assert!(err.starts_with("denied: ") && err.contains("a list of commands holds"), "{err}");
    assert_eq!(stage.engine.docker(&["ps", "-aq"]).trim(), "");
}

#[test]
fn who_may_make_no_container_may_run_no_command_in_one() {
    let deny = format!(
        "{AGREED}[[policy.rules]]\nname = 'none made'\nverdict = 'deny'\ntools = ['docker_run_container']\n"
    );
    let Some(stage) = Stage::set(&deny) else { return };
    let mut shim = stage.member();
    let err = shim
        .call("exec_run", json!({ "backend": "docker", "image": IMAGE, "command": ["true"] }))
        .unwrap_err();
    assert!(err.starts_with("denied: ") && err.contains("none made"), "{err}");
    assert_eq!(shim.call("exec_run", json!({ "command": ["true"] })).unwrap()["exit_code"], 0);
}

#[test]
fn a_container_is_gone_whatever_becomes_of_its_call() {
    let Some(stage) = Stage::set(AGREED) else { return };
    // What a daemon that died over it left, and what another one is at.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    for (name, until) in [("left", now - 5), ("other", now + 500)] {
        let label = format!("skynet.until={until}");
        let _ = stage.engine.docker(&[
            "run",
            "-d",
            "--network",
            "none",
            "--name",
            name,
            "--label",
            &label,
            IMAGE,
            "sleep",
            "600",
        ]);
    }
    let mut shim = stage.member();
    let input = json!({ "backend": "docker", "image": IMAGE, "command": ["sleep", "600"] });
    shim.send(&json!({ "jsonrpc": "2.0", "id": "x", "method": "tools/call", "params": { "name": "exec_run", "arguments": input } }));
    let running = || stage.engine.docker(&["ps", "--format", "{{.Command}} {{.Names}}"]);
    wait_until(|| {
        let now = running();
        now.lines().count() == 2 && !now.contains(" left")
    });
    shim.send(
        &json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": "x" } }),
    );
    wait_until(|| stage.engine.docker(&["ps", "-a", "--format", "{{.Names}}"]).trim() == "other");
    // Given up at any moment, also while the engine makes the container.
    for number in 0..8 {
        let input = json!({ "backend": "docker", "image": IMAGE, "command": ["sleep", "600"] });
        let id = format!("y{number}");
        shim.send(&json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": { "name": "exec_run", "arguments": input } }));
        wait_until(|| number % 2 == 0 || stage.engine.docker(&["ps", "-aq"]).lines().count() > 1);
        shim.send(
            &json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": id } }),
        );
    }
    wait_until(|| stage.engine.docker(&["ps", "-a", "--format", "{{.Names}}"]).trim() == "other");
    // No more of the workspace is copied than may be written.
    fs::File::create(stage.project.join("big")).unwrap().set_len(4 << 20).unwrap();
    let big =
        json!({ "backend": "docker", "image": IMAGE, "command": ["true"], "limits": { "disk_mib": 1 } });
    let err = shim.call("exec_run", big).unwrap_err();
    assert!(err.contains("larger than 1 MiB"), "{err}");
    wait_until(|| stage.engine.docker(&["ps", "-a", "--format", "{{.Names}}"]).trim() == "other");
}
