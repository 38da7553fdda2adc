//! Compose projects, by the program that knows them.

use super::{AGREED, Stage, texts};
use serde_json::json;
use skynet_tests::{components, engine::IMAGE};
use std::fs;

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
    let up = json!({ "action": "up", "directory": "shop" });
    let err = shim.call("docker_run_compose", up.clone()).unwrap_err();
    assert!(err.starts_with("needs_confirmation") && err.contains("always asked, as it starts"), "{err}");
    let id = err.split("approve ").nth(1).and_then(|rest| rest.split('`').next()).unwrap();
    assert_eq!(stage.host.ctl(None, &["approvals", "approve", id]).0, 0);
    let done = shim.call("docker_run_compose", up).unwrap();
    assert_eq!(done["exit_code"], 0, "{done}");
    let projects = shim.call("docker_list_projects", json!({})).unwrap();
    assert_eq!(projects["projects"][0]["services"], json!({ "talk": "running" }), "{projects}");
    let listed = shim.call("docker_run_compose", json!({ "action": "ps", "directory": "shop" })).unwrap();
    assert!(texts(&listed).join("\n").contains("talk"), "{listed}");
    let log =
        shim.call("docker_run_compose", json!({ "action": "logs", "directory": "shop", "tail": 5 })).unwrap();
    assert!(texts(&log).join("\n").contains("from-compose"), "{log}");
    for (input, part) in [
        (json!({ "action": "down", "services": ["talk"] }), "ends all of a project"),
        (json!({ "action": "ps", "file": "/etc/x.yml" }), "is no path from"),
        (json!({ "action": "ps", "directory": "../.." }), "leads out of the workspace"),
    ] {
        let err = shim.call("docker_run_compose", input.clone()).unwrap_err();
        assert!(err.contains(part), "{input}: {err}");
    }
    let without = shim.call("docker_run_compose", json!({ "action": "ps" })).unwrap();
    assert_ne!(without["exit_code"], 0, "{without}");
    let down = shim.call("docker_run_compose", json!({ "action": "down", "directory": "shop" })).unwrap();
    assert_eq!(down["exit_code"], 0, "{down}");
    assert_eq!(stage.engine.docker(&["ps", "-aq"]), "");
}
