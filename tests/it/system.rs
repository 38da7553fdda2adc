//! What the host tells, compared with what the host's own programs say.

use serde_json::{Value, json};
use skynet_tests::workbench::{Setup, Workbench};
use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, UdpSocket},
    process::{Command, Stdio},
};

fn printed(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[tokio::test]
async fn describe_says_what_uname_says() {
    let bench = Workbench::new(Setup::default());
    let found = bench.call("system_describe", json!({})).await.unwrap();
    assert_eq!(found["hostname"], printed("uname", &["--nodename"]));
    assert_eq!(found["kernel"], printed("uname", &["--kernel-release"]));
    assert_eq!(found["architecture"], printed("uname", &["--machine"]));
    assert_eq!(found["user"], printed("id", &["--user", "--name"]));
    assert!(found["cpus"].as_u64().unwrap() >= 1 && found["memory_bytes"].as_u64().unwrap() > 1 << 20);
    assert!(found["os"].as_str().unwrap().len() > 3 && found["booted_at"].as_str().unwrap().ends_with('Z'));
}

#[tokio::test]
async fn resources_are_within_their_ranges() {
    let bench = Workbench::new(Setup::default());
    let input = json!({ "interval_ms": 50, "top": 3, "sort_by": "memory" });
    let found = bench.call("system_show_resources", input).await.unwrap();
    for place in ["/cpu/used_percent", "/memory/used_percent", "/root_disk/used_percent"] {
        let percent = found.pointer(place).unwrap().as_f64().unwrap();
        assert!((0.0..=100.0).contains(&percent), "{place}: {percent}");
    }
    let memory = |process: &Value| process["memory_bytes"].as_u64().unwrap();
    let top = found["top"].as_array().unwrap();
    assert!(!top.is_empty() && top.len() <= 3 && top.is_sorted_by_key(|one| std::cmp::Reverse(memory(one))));
    bench
        .check_refused("system_show_resources", json!({ "interval_ms": 1 }), "invalid_input", "interval_ms")
        .await;
}

#[tokio::test]
async fn a_process_is_found_by_its_name_its_parent_and_its_user() {
    let bench = Workbench::new(Setup::default());
    // It ends with this test, and its echo shows that it runs: a process that just began has no command line yet.
    let mut child =
        Command::new("cat").args(["-", "7351"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.as_mut().unwrap().write_all(b"?").unwrap();
    child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    let found = bench.call("system_list_processes", json!({ "name": "CAT - 7351" })).await.unwrap();
    assert_eq!(found["total"], 1, "{found}");
    let process = &found["processes"][0];
    assert_eq!((&process["pid"], &process["name"]), (&json!(child.id()), &json!("cat")));
    assert_eq!(
        (&process["parent_pid"], &process["command"]),
        (&json!(std::process::id()), &json!("cat - 7351"))
    );
    let user = printed("id", &["--user", "--name"]);
    for (input, expected) in [
        (json!({ "name": "cat - 7351", "user": user }), 1),
        (json!({ "name": "cat - 7351", "user": "nobody-of-that-name" }), 0),
        (json!({ "pid": child.id() }), 1),
        (json!({ "name": "cat - 7351", "pid": std::process::id() }), 1),
    ] {
        let found = bench.call("system_list_processes", input.clone()).await.unwrap();
        assert_eq!(found["total"], expected, "{input}");
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

#[tokio::test]
async fn listeners_are_found_by_their_port_with_their_process() {
    let bench = Workbench::new(Setup::default());
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    for (protocol, address) in [("tcp", tcp.local_addr().unwrap()), ("udp", udp.local_addr().unwrap())] {
        let input = json!({ "port": address.port(), "ports_only": true });
        let found = bench.call("system_list_network", input).await.unwrap();
        let listening = found["listening"].as_array().unwrap();
        let ours: Vec<_> = listening.iter().filter(|one| one["protocol"] == protocol).collect();
        assert_eq!(ours.len(), 1, "{found}");
        assert_eq!((&ours[0]["address"], &ours[0]["pid"]), (&json!("127.0.0.1"), &json!(std::process::id())));
    }
    let found = bench.call("system_list_network", json!({})).await.unwrap();
    let interfaces = found["interfaces"].as_array().unwrap();
    let loopback = interfaces.iter().find(|one| one["name"] == "lo").unwrap();
    assert!(loopback["addresses"].as_array().unwrap().contains(&json!("127.0.0.1/8")), "{loopback}");
}

#[tokio::test]
async fn disks_are_as_full_as_df_says() {
    let bench = Workbench::new(Setup::default());
    let found = bench.call("system_list_disks", json!({ "path": "/usr/bin" })).await.unwrap();
    let mounts = found["mounts"].as_array().unwrap();
    assert_eq!(mounts.len(), 1, "{found}");
    let df = printed("df", &["--output=size,target", "--block-size=1", "/usr/bin"]);
    let fields: Vec<&str> = df.lines().last().unwrap().split_whitespace().collect();
    assert_eq!(mounts[0]["space"]["total_bytes"].to_string(), fields[0]);
    assert_eq!(mounts[0]["mount_point"], fields[1]);
    let all = bench.call("system_list_disks", json!({ "all": true })).await.unwrap();
    assert!(all["mounts"].as_array().unwrap().iter().any(|mount| mount["filesystem"] == "proc"));
}

/// The journal of a host may be empty or hidden from this user; what it shows must fit what was asked, and what makes
/// no sense is refused.
#[tokio::test]
async fn the_journal_keeps_to_what_is_asked() {
    let bench = Workbench::new(Setup::default());
    if Command::new("journalctl").arg("--version").output().is_err() {
        bench.check_refused("system_read_journal", json!({}), "unavailable", "no systemd journal").await;
        return;
    }
    let input = json!({ "limit": 5, "priority": "err", "since": "-1h" });
    let found = bench.call("system_read_journal", input).await.unwrap();
    let entries = found["entries"].as_array().unwrap();
    assert!(entries.len() <= 5 && entries.iter().all(|one| one["priority"].as_u64() <= Some(3)), "{found}");
    let wrong = json!({ "since": "--file=/etc/shadow" });
    bench.check_refused("system_read_journal", wrong, "invalid_input", "journalctl refused").await;
}
