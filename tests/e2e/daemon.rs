//! Starting and refusing to start.

use serde_json::json;
use skynet_tests::programs::{Daemon, Home, Shim, channel};
use std::{fs, os::unix::fs::PermissionsExt as _, process::Command};

fn refused(home: &Home, part: &str) {
    let err = Daemon::try_start(home).err().unwrap_or_else(|| panic!("started, but should say: {part}"));
    assert!(err.contains(part), "{part}: {err}");
}

#[test]
fn one_daemon_per_state() {
    let home = Home::new();
    let _daemon = Daemon::start(&home);
    refused(&home, "another skynetd uses");
}

#[test]
fn a_socket_directory_that_others_enter_is_refused() {
    let home = Home::new();
    fs::set_permissions(home.path.join("run"), fs::Permissions::from_mode(0o755)).unwrap();
    refused(&home, "must be a directory of mode 0700");
}

#[test]
fn a_wrong_configuration_is_refused_with_its_line() {
    let home = Home::new();
    home.configure("[confirm]\nwait_secnds = 3\n");
    refused(&home, "config.toml:2: unknown field `wait_secnds`");
    refused(&home, "did you mean `wait_seconds`?");
    home.configure("[[policy.rules]]\nname = 'x'\nverdict = 'deny'\ntools = ['[']\n");
    refused(&home, "rule `x`: tool pattern `[`");
}

#[test]
fn root_is_refused_in_words() {
    if !rustix::process::geteuid().is_root() {
        let may_become_root =
            Command::new("sudo").args(["-n", "true"]).output().is_ok_and(|ran| ran.status.success());
        if !may_become_root {
            eprintln!("SKIP root: this account cannot become root; `cargo xtask test` as root checks it");
            return;
        }
    }
    let home = Home::new();
    refused(&home, "running as root is refused");
}

#[test]
fn a_torn_ledger_is_repaired_and_a_changed_one_found() {
    let home = Home::new();
    let daemon = Daemon::start(&home);
    let mut shim = Shim::connected(&home, "2025-11-25", json!({}));
    for _ in 0..3 {
        shim.call("files_list", json!({})).unwrap();
    }
    daemon.kill();
    let segment = home.state.join("ledger/audit/0000000001.jsonl");
    let mut bytes = fs::read(&segment).unwrap();
    let whole = bytes.len();
    bytes.extend_from_slice(b"deadbeef {\"seq\":4,\"at");
    fs::write(&segment, &bytes).unwrap();
    let daemon = Daemon::start(&home);
    let (code, verdict, _) = home.ctl(&["audit", "verify", "--json"]);
    assert_eq!(code, 0, "{verdict}");
    let (_, records, _) = home.ctl(&["audit", "query", "--json"]);
    assert!(records.contains("\"kind\":\"recovered\""), "{records}");
    daemon.kill();
    bytes = fs::read(&segment).unwrap();
    let place = bytes[..whole].windows(10).rposition(|window| window == b"files_list").unwrap();
    bytes[place] = b'F';
    fs::write(&segment, &bytes).unwrap();
    let _daemon = Daemon::start(&home);
    let (code, verdict, _) = home.ctl(&["audit", "verify"]);
    assert_eq!(code, 1);
    assert!(verdict.contains("does not follow the one before it"), "{verdict}");
}

#[test]
fn a_damaged_state_database_is_replaced() {
    let home = Home::new();
    drop(Daemon::start(&home));
    let database = home.state.join("state/db");
    fs::remove_file(&database).unwrap();
    fs::create_dir(&database).unwrap();
    let _daemon = Daemon::start(&home);
    let mut shim = Shim::connected(&home, "2025-11-25", json!({}));
    shim.call("files_list", json!({})).unwrap();
}

#[tokio::test]
async fn health_and_reflection_are_served() {
    use tonic_health::pb::{
        HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
    };
    use tonic_reflection::pb::v1::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    };
    let home = Home::new();
    let _daemon = Daemon::start(&home);
    let channel = channel(&home).await;
    let request = HealthCheckRequest { service: "skynet.v1.Relay".into() };
    let health = HealthClient::new(channel.clone()).check(request).await.unwrap().into_inner();
    assert_eq!(health.status(), ServingStatus::Serving);

    let list = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let requests = tokio_stream::once(list);
    let mut answers =
        ServerReflectionClient::new(channel).server_reflection_info(requests).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response.unwrap();
    let MessageResponse::ListServicesResponse(services) = answer else { panic!("{answer:?}") };
    let names: Vec<_> = services.service.iter().map(|service| service.name.as_str()).collect();
    for name in ["Relay", "Daemon", "Tools", "Audit", "Approvals"] {
        assert!(names.contains(&format!("skynet.v1.{name}").as_str()), "{name}: {names:?}");
    }
}
