//! What prompts written for v1.0.0 call of Docker and systemd, by the names and arguments they know.

use super::docker::{AGREED, Stage};
use serde_json::{Value, json};
use skynet_tests::{machine::Machine, programs::Shim};

fn call(shim: &mut Shim, tool: &str, input: Value) -> Value {
    shim.call(tool, input.clone()).unwrap_or_else(|err| panic!("{tool} {input}: {err}"))
}

#[test]
fn containers_are_listed_read_and_controlled() {
    let Some(stage) = Stage::set(AGREED) else { return };
    stage.run("web", "echo ready; sleep 600");
    let mut shim = stage.member();
    call(&mut shim, "skynet_enable_toolset", json!({ "toolset": "v1" }));
    let listed = call(
        &mut shim,
        "list_containers",
        json!({ "all": false, "filters": { "name": "we", "status": "running" } }),
    );
    let web = &listed["containers"][0];
    assert_eq!((&listed["total"], &web["name"]), (&json!(1), &json!("web")), "{listed}");
    let log = call(
        &mut shim,
        "container_logs",
        json!({ "containerId": "web", "tail": 10, "follow": false, "timestamps": true }),
    );
    assert_eq!(log["lines"][0]["text"], "ready", "{log}");
    call(&mut shim, "stop_container", json!({ "containerId": "web", "timeout": 1 }));
    let listed =
        call(&mut shim, "list_containers", json!({ "all": true, "filters": { "status": "exited" } }));
    assert_eq!(listed["total"], 1, "{listed}");
    call(&mut shim, "start_container", json!({ "containerId": "web", "timeout": 10 }));
    call(&mut shim, "restart_container", json!({ "containerId": "web", "timeout": 1 }));
    let listed = call(&mut shim, "list_containers", json!({}));
    assert_eq!(listed["total"], 1, "{listed}");
    assert!(call(&mut shim, "list_images", json!({}))["total"].as_u64() >= Some(1));
    let dangling = call(&mut shim, "list_images", json!({ "filters": { "dangling": true } }));
    assert_eq!(dangling["total"], 0, "{dangling}");
    let refused =
        shim.call("list_containers", json!({ "filters": { "label": "x", "colour": 1 } })).unwrap_err();
    assert!(refused.starts_with("invalid_input") && refused.contains("colour"), "{refused}");
}

#[test]
fn services_are_listed_shown_and_restarted() {
    let Some(mut machine) = Machine::boot() else { return };
    super::services::prepare(&machine);
    let mut shim = machine.client();
    call(&mut shim, "skynet_enable_toolset", json!({ "toolset": "v1" }));
    let listed = call(&mut shim, "list_services", json!({ "filter": "running", "pattern": "good" }));
    assert_eq!(listed["units"][0]["name"], "good.service", "{listed}");
    let shown = call(&mut shim, "service_status", json!({ "serviceName": "good" }));
    assert_eq!(shown["sub"], "running", "{shown}");
    let again = call(&mut shim, "restart_service", json!({ "serviceName": "good", "sudo": true }));
    assert_ne!(again["main_pid"], shown["main_pid"], "{again}");
    let refused = shim.call("restart_service", json!({ "serviceName": "helper", "sudo": true })).unwrap_err();
    assert!(refused.starts_with("denied") && refused.contains("polkit"), "{refused}");
}
