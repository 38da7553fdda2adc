//! What the host tells, compared with what the host's own programs say.

use serde_json::{Value, json};
use skynet_core::ErrorKind;
use skynet_tests::workbench::{Manner, Setup, Workbench};
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

#[tokio::test]
async fn users_are_those_that_getent_knows() {
    let bench = Workbench::new(Setup::default());
    let found = bench.call("system_list_users", json!({ "name": "0" })).await.unwrap();
    assert_eq!(found["total_users"], 1, "{found}");
    let entry = printed("getent", &["passwd", "0"]);
    let fields: Vec<&str> = entry.split(':').collect();
    let root = &found["users"][0];
    assert_eq!((&root["name"], &root["home"]), (&json!(fields[0]), &json!(fields[5])));
    assert_eq!((&root["shell"], &root["can_log_in"]), (&json!(fields[6]), &json!(true)));
    let groups: Vec<&str> =
        root["groups"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    let mut expected: Vec<String> =
        printed("id", &["--groups", "--name", fields[0]]).split(' ').map(str::to_owned).collect();
    expected.dedup();
    assert_eq!(groups, expected);
    assert_eq!(found["you"], printed("id", &["--user", "--name"]));

    // Accounts of services are left out unless they are asked for.
    let names = |found: &Value| -> Vec<String> {
        let users = found["users"].as_array().unwrap().iter();
        users.map(|user| user["name"].as_str().unwrap().to_owned()).collect()
    };
    let people = names(&bench.call("system_list_users", json!({})).await.unwrap());
    assert!(!people.contains(&"daemon".to_owned()) && people.contains(&"root".to_owned()), "{people:?}");
    for input in [json!({ "with_system": true }), json!({ "name": "DAEMON" })] {
        let found = bench.call("system_list_users", input).await.unwrap();
        assert!(names(&found).contains(&"daemon".to_owned()), "{found}");
    }
    let found = bench.call("system_list_users", json!({ "sessions_only": true })).await.unwrap();
    assert!(found.get("users").is_none() && found["sessions"].is_array(), "{found}");
    bench.check_refused("system_list_users", json!({ "name": "" }), "invalid_input", "name").await;
}

/// What a host has of them varies; that of a machine of the tests' own is compared in `host::system`.
#[tokio::test]
async fn schedules_keep_to_what_is_asked() {
    let bench = Workbench::new(Setup::default());
    let found = bench.call("system_list_schedules", json!({ "kind": "cron" })).await.unwrap();
    let schedules = found["schedules"].as_array().unwrap();
    assert!(schedules.iter().all(|one| one["kind"] == "cron"), "{found}");
    assert_eq!(found["total"], schedules.len());
    let found = bench.call("system_list_schedules", json!({ "name": "no such thing" })).await.unwrap();
    assert_eq!((&found["schedules"], &found["total"]), (&json!([]), &json!(0)));
    bench
        .check_refused("system_list_schedules", json!({ "kind": "at" }), "invalid_input", "cron_directory")
        .await;
}

#[tokio::test]
async fn certificates_are_listed_by_what_is_over_first() {
    let bench = Workbench::new(Setup::default());
    let now = jiff::Timestamp::now().as_second();
    let certificate = |name: &str, days: i64| {
        let mut parameters =
            rcgen::CertificateParams::new(vec![name.to_owned(), "192.0.2.7".to_owned()]).unwrap();
        parameters.distinguished_name.push(rcgen::DnType::CommonName, name);
        let time = |days: i64| {
            rcgen::date_time_ymd(1970, 1, 1)
                + std::time::Duration::from_secs(u64::try_from(now + days * 86400 + 3600).unwrap())
        };
        (parameters.not_before, parameters.not_after) = (time(-100), time(days));
        let key = rcgen::KeyPair::generate().unwrap();
        (parameters.self_signed(&key).unwrap(), key.serialize_pem())
    };
    let (long, key) = certificate("long.example", 300);
    let (short, _) = certificate("short.example", 5);
    let (over, _) = certificate("over.example", -2);
    bench.write("tls/bundle.pem", format!("{key}{}{}", long.pem(), over.pem()));
    bench.write("tls/live/short.der", short.der());
    bench.write("tls/broken.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    bench.write("tls/secret.key", &key);
    std::os::unix::fs::symlink("bundle.pem", bench.root.join("tls/again.pem")).unwrap();

    let root = bench.root.join("tls");
    let found = bench.call("system_check_certificates", json!({ "path": root })).await.unwrap();
    let certificates = found["certificates"].as_array().unwrap();
    let shown: Vec<_> =
        certificates.iter().map(|one| (one["names"][0].clone(), one["days_left"].clone())).collect();
    let expected = [("over.example", -2), ("short.example", 5), ("long.example", 300)];
    assert_eq!(shown, expected.map(|(name, days)| (json!(name), json!(days))));
    let one = &certificates[1];
    assert_eq!(
        (&one["subject"], &one["names"], &one["path"]),
        (
            &json!("CN=short.example"),
            &json!(["short.example", "192.0.2.7"]),
            &json!(root.join("live/short.der"))
        )
    );
    assert_eq!((&one["is_self_signed"], &one["is_authority"]), (&json!(true), &json!(false)));
    assert!(!found.to_string().contains("PRIVATE"), "{found}");

    let input = json!({ "path": root.join("live"), "within_days": 4 });
    let nothing = json!({ "certificates": [], "total": 0, "files_looked_at": 1 });
    bench.check("system_check_certificates", input, nothing).await;
    for (path, kind, part) in [
        ("relative", "invalid_input", "absolute path"),
        ("/etc/../root", "invalid_input", "without `..`"),
        ("/proc/self", "invalid_input", "on a disk"),
        ("/etc/no such", "not_found", "does not exist"),
        ("/dev/null", "invalid_input", "on a disk"),
    ] {
        bench.check_refused("system_check_certificates", json!({ "path": path }), kind, part).await;
    }
    // Where servers have theirs: whatever this host has, whom all programs trust is left out.
    let found = bench.call("system_check_certificates", json!({ "limit": 1 })).await.unwrap();
    assert!(found["total"].as_u64().unwrap() < 50, "{found}");
}

#[tokio::test]
async fn the_firewall_is_told_as_far_as_it_may_be_known() {
    let bench = Workbench::new(Setup::default());
    let found = bench.call("system_show_firewall", json!({})).await.unwrap();
    let conclusion = found["conclusion"].as_str().unwrap();
    let is_there = |name: &str| found["backends"].as_array().unwrap().iter().any(|one| one["name"] == name);
    for (name, program) in [("iptables", "/usr/sbin/iptables"), ("nftables", "/usr/sbin/nft")] {
        if std::path::Path::new(program).exists() {
            assert!(is_there(name) && !conclusion.starts_with("no firewall"), "{found}");
        }
    }
    if std::path::Path::new("/sys/module/nf_tables").exists() {
        assert!(found["unreadable"].to_string().contains("CAP_NET_ADMIN"), "{found}");
    }
    bench.check_refused("system_show_firewall", json!({ "zone": "x" }), "invalid_input", "zone").await;
}

#[tokio::test]
async fn packages_are_those_of_the_hosts_manager() {
    let bench = Workbench::new(Setup::default());
    if !std::path::Path::new("/var/lib/dpkg/status").exists() {
        eprintln!("SKIP packages: the host has no dpkg");
        return;
    }
    let found = bench.call("system_list_packages", json!({ "name": "BASE-files" })).await.unwrap();
    let asked = ["--show", "--showformat=${Version} ${Architecture} ${Installed-Size}", "base-files"];
    let expected = printed("dpkg-query", &asked);
    let [version, architecture, size] = expected.split(' ').collect::<Vec<_>>().try_into().unwrap();
    let package = &found["packages"][0];
    assert_eq!(
        (&found["manager"], &found["total"], &package["name"]),
        (&json!("dpkg"), &json!(1), &json!("base-files"))
    );
    assert_eq!((&package["version"], &package["architecture"]), (&json!(version), &json!(architecture)));
    assert_eq!(package["size_bytes"], size.parse::<u64>().unwrap() * 1024);
    let all = bench.call("system_list_packages", json!({ "limit": 1 })).await.unwrap();
    let count = printed("dpkg-query", &["--show", "--showformat=${db:Status-Status}\n"]);
    assert_eq!(all["total"], count.lines().filter(|state| *state != "not-installed").count());
    assert_eq!(all["packages"].as_array().unwrap().len(), 1);
    let nothing =
        bench.call("system_list_packages", json!({ "which": "available", "name": "no-such.thing" }));
    assert_eq!(nothing.await.unwrap()["total"], 0);
    for (input, part) in [
        (json!({ "which": "available" }), "by `name`"),
        (json!({ "which": "removed" }), "upgradable"),
        (json!({ "name": "x" }), "name"),
    ] {
        bench.check_refused("system_list_packages", input, "invalid_input", part).await;
    }
}

#[tokio::test]
async fn a_diagnosis_says_what_it_looked_at_and_the_worst_first() {
    let bench = Workbench::new(Setup::default());
    let found = bench.call("system_diagnose_host", json!({})).await.unwrap();
    let rank = |finding: &Value| match finding["severity"].as_str().unwrap() {
        "critical" => 0,
        "warning" => 1,
        _ => 2,
    };
    let findings = found["findings"].as_array().unwrap();
    assert!(findings.is_sorted_by_key(rank), "{found}");
    for finding in findings {
        let tool = finding["next_tool"].as_str().unwrap();
        assert!(bench.registry.find(tool).is_ok(), "{tool}");
    }
    let subjects = [
        "memory",
        "load",
        "processes",
        "disks",
        "ports",
        "services",
        "clock",
        "kernel errors",
        "certificates",
        "upgrades",
    ];
    let said = format!("{}{}", found["checked"], found["unchecked"]);
    assert!(subjects.iter().all(|subject| said.contains(&format!("\"{subject}\""))), "{said}");
    let found = bench.call("system_diagnose_host", json!({ "at_least": "critical" })).await.unwrap();
    assert!(found["findings"].as_array().unwrap().iter().all(|finding| rank(finding) == 0), "{found}");
    bench
        .check_refused("system_diagnose_host", json!({ "at_least": "fatal" }), "invalid_input", "critical")
        .await;
    // Nobody waits for the rest once the client is gone.
    let manner = Manner::default();
    manner.cancel.cancel();
    let err = bench.call_raw("system_diagnose_host", b"{}", manner).await.err().unwrap();
    assert_eq!(err.kind, ErrorKind::Canceled, "{err}");
}
