//! Compose projects, by the program that knows them.

use super::{AGREED, Stage, texts};
use serde_json::{Value, json};
use skynet_tests::{components, engine::IMAGE, programs::Shim};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// A call that a human is always asked about, and agrees to.
fn agreed(stage: &Stage, shim: &mut Shim, input: Value) -> Result<Value, String> {
    let err = shim.call("docker_run_compose", input.clone()).unwrap_err();
    assert!(err.starts_with("needs_confirmation") && err.contains("always asked, as it runs"), "{err}");
    let id = err.split("approve ").nth(1).and_then(|rest| rest.split('`').next()).unwrap();
    assert_eq!(stage.host.ctl(None, &["approvals", "approve", id]).0, 0);
    shim.call("docker_run_compose", input)
}

#[test]
fn a_project_is_started_once_a_human_agrees_and_ended() {
    let Some(stage) = Stage::set(AGREED) else { return };
    if components::program("docker-compose").is_none() {
        return;
    }
    let file = format!(
        "version: '2.4'\nservices:\n  talk:\n    image: {IMAGE}\n    network_mode: none\n    command: sh -c 'echo from-compose; exec sleep 600'\n"
    );
    fs::create_dir(stage.project.join("shop")).unwrap();
    fs::write(stage.project.join("shop/docker-compose.yml"), file).unwrap();
    let mut shim = stage.member();
    let done = agreed(&stage, &mut shim, json!({ "action": "up", "directory": "shop" })).unwrap();
    assert_eq!(done["exit_code"], 0, "{done}");
    let projects = shim.call("docker_list_projects", json!({})).unwrap();
    assert_eq!(projects["projects"][0]["services"], json!({ "talk": "running" }), "{projects}");
    let listed = shim.call("docker_run_compose", json!({ "action": "ps", "directory": "shop" })).unwrap();
    assert!(texts(&listed).join("\n").contains("talk"), "{listed}");
    let log =
        shim.call("docker_run_compose", json!({ "action": "logs", "directory": "shop", "tail": 5 })).unwrap();
    assert!(texts(&log).join("\n").contains("from-compose"), "{log}");
    for (input, part) in [
        (json!({ "action": "ps", "file": "/etc/x.yml" }), "is no path from"),
        (json!({ "action": "ps", "directory": "../.." }), "leads out of the workspace"),
    ] {
        let err = shim.call("docker_run_compose", input.clone()).unwrap_err();
        assert!(err.contains(part), "{input}: {err}");
    }
    let without = shim.call("docker_run_compose", json!({ "action": "ps" })).unwrap();
    assert_ne!(without["exit_code"], 0, "{without}");
    let err = agreed(&stage, &mut shim, json!({ "action": "down", "services": ["talk"] })).unwrap_err();
    assert!(err.contains("ends all of a project"), "{err}");
    let down = agreed(&stage, &mut shim, json!({ "action": "down", "directory": "shop" })).unwrap();
    assert_eq!(down["exit_code"], 0, "{down}");
    assert_eq!(stage.engine.docker(&["ps", "-aq"]), "");
}

/// Every directory of that name.
fn directories(below: &Path, name: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(below).into_iter().flatten().flatten();
    let inside: Vec<PathBuf> =
        entries.filter(|entry| entry.file_type().unwrap().is_dir()).map(|entry| entry.path()).collect();
    let deeper: Vec<PathBuf> = inside.iter().flat_map(|path| directories(path, name)).collect();
    inside.into_iter().filter(|path| path.ends_with(name)).chain(deeper).collect()
}

#[test]
fn what_lies_in_a_home_does_not_run_beside_the_engine() {
    /// As `skynet-engine` calls what its packers are shown.
    const HOME: &str = "0000000000000000000000000000000000000000000000000000000000656e67";
    let Some(stage) = Stage::set(AGREED) else { return };
    if components::program("docker-compose").is_none() {
        return;
    }
    let file = format!("version: '2.4'\nservices:\n  talk:\n    image: {IMAGE}\n    network_mode: none\n");
    fs::write(stage.project.join("docker-compose.yml"), file).unwrap();
    stage.run("web", "sleep 600");
    let mut shim = stage.member();
    // The home is there once something was packed.
    let out =
        json!({ "container": "web", "direction": "out_of_container", "from": "/bin/busybox", "into": "." });
    shim.call("docker_copy_files", out).unwrap();
    let homes = directories(&stage.host.path.join("homes"), HOME);
    assert!(!homes.is_empty());
    let mark = stage.project.join("was-here");
    let plant = |path: PathBuf, text: String| {
        use std::os::unix::fs::{PermissionsExt as _, chown};
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        chown(&path, Some(stage.ann.uid), Some(stage.ann.gid)).unwrap();
    };
    for home in &homes {
        for version in 9..16 {
            let module = format!(".local/lib/python3.{version}/site-packages/usercustomize.py");
            plant(home.join(module), format!("open({mark:?}, 'w')\n"));
        }
        plant(
            home.join(".docker/cli-plugins/docker-compose"),
            format!("#!/bin/sh\ntouch {}\n", mark.display()),
        );
    }
    let listed = shim.call("docker_run_compose", json!({ "action": "ps" })).unwrap();
    assert_eq!(listed["exit_code"], 0, "{listed}");
    assert!(!mark.exists());
}
