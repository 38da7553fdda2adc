//! What a daemon keeps, copied while it serves and brought back; and states that other releases left.

use serde_json::{Value, json};
use skynet_tests::programs::{Daemon, Home, Shim};
use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

/// States as releases left them, by the version.
const STATES: [(&str, &[u8]); 1] =
    [("2.0.0-alpha.1", include_bytes!("../fixtures/states/2.0.0-alpha.1.tar.gz"))];

fn shim(home: &Home) -> Shim {
    Shim::connected(home, "2025-11-25", json!({}))
}

/// `skynetctl --json`, which succeeds.
fn told(home: &Home, arguments: &[&str]) -> Value {
    let (code, out, said) = home.ctl(&[&["--json"], arguments].concat());
    assert_eq!(code, 0, "{arguments:?}: {said}{out}");
    serde_json::from_str(&out).unwrap()
}

/// `skynetctl backup` for the state of this home, which a daemon need not serve.
fn restore(home: &Home, backup: &Path, more: &[&str]) -> (i32, String, String) {
    let arguments = ["backup", "restore", backup.to_str().unwrap(), "--state", home.state.to_str().unwrap()];
    home.ctl(&[&arguments, more].concat())
}

/// One of a home with something of everything.
fn made(home: &Home) -> PathBuf {
    let backup = home.path.join("backup.tar.gz");
    let daemon = Daemon::start(home);
    let mut client = shim(home);
    client.call("files_write", json!({ "path": "f", "content": "first" })).unwrap();
    client.call("files_write", json!({ "path": "f", "content": "second" })).unwrap();
    client.call("memory_remember", json!({ "text": "Releases are cut from quicksilver." })).unwrap();
    home.give(&["secret", "set", "shop-db"], "hunter2hunter2");
    told(home, &["token", "create", "ci"]);
    // With calls under way it is as whole.
    let calls: Vec<i64> = (0..30)
        .map(|number| {
            let arguments = json!({ "path": format!("g{number}"), "content": "x" });
            client.post("tools/call", json!({ "name": "files_write", "arguments": arguments }))
        })
        .collect();
    let shown = told(home, &["backup", "create", backup.to_str().unwrap()]);
    assert!(client.answers(&calls).iter().all(|answer| answer["error"].is_null()));
    assert_eq!(shown["file"], backup.to_str().unwrap());
    assert_eq!(shown["bytes"], fs::metadata(&backup).unwrap().len());
    drop(client);
    daemon.kill();
    backup
}

#[test]
fn a_backup_brings_everything_back() {
    let home = Home::new();
    let backup = made(&home);
    assert_eq!(fs::metadata(&backup).unwrap().permissions().mode() & 0o777, 0o600);
    let (code, _, said) = home.ctl(&["backup", "create", backup.to_str().unwrap()]);
    assert!(code == 1 && said.contains("exists"), "{said}");
    let verified = told(&home, &["backup", "verify", backup.to_str().unwrap()]);
    assert!(verified["audit_records"].as_u64().unwrap() >= 3, "{verified}");

    let (code, _, said) = restore(&home, &backup, &[]);
    assert!(code == 1 && said.contains("--replace"), "{said}");
    let running = Daemon::start(&home);
    let (code, _, said) = restore(&home, &backup, &["--replace"]);
    assert!(code == 1 && said.contains("another skynetd uses"), "{said}");
    assert!(running.terminate().success());
    let (code, out, said) = restore(&home, &backup, &["--replace"]);
    assert_eq!(code, 0, "{said}");
    assert!(out.contains("before-restore"), "{out}");

    // On another machine, so to say: nothing but the backup is there.
    fs::remove_dir_all(&home.state).unwrap();
    assert_eq!(restore(&home, &backup, &[]).0, 0);
    let _daemon = Daemon::start(&home);
    assert_eq!(told(&home, &["token", "list"])[0]["name"], "ci");
    assert!(told(&home, &["secret", "list"]).to_string().contains("shop-db"));
    assert_eq!(told(&home, &["audit", "verify"])["faults"], json!([]));
    let mut client = shim(&home);
    let recalled = client.call("memory_recall", json!({ "query": "quicksilver" })).unwrap();
    assert!(recalled.to_string().contains("Releases are cut from quicksilver."), "{recalled}");
    let script = "echo -n \"$P\" | wc -c";
    let arguments = json!({ "script": script, "environment": { "P": "secret://shop-db" } });
    assert_eq!(client.call("exec_run", arguments).unwrap()["stdout"].as_str().unwrap().trim(), "14");
    let changes = client.call("undo_list_changes", json!({ "path": "f" })).unwrap();
    assert!(changes.to_string().contains("files_write"), "{changes}");
}

#[test]
fn a_backup_that_is_not_whole_is_refused_and_touches_nothing() {
    let home = Home::new();
    let backup = made(&home);
    let bytes = fs::read(&backup).unwrap();
    let before = fs::read(home.state.join("keys/audit.pub")).unwrap();
    let broken = home.path.join("broken.tar.gz");
    let end = bytes.len();
    let changed = |at: usize| {
        let mut bytes = bytes.clone();
        bytes[at] ^= 0x10;
        bytes
    };
    let mut bad: Vec<Vec<u8>> =
        vec![Vec::new(), b"no backup".to_vec(), bytes[..end / 2].to_vec(), bytes[..end - 9].to_vec()];
    bad.extend((1..8).map(|part| changed(end * part / 8)));
    bad.push(archive(&home, "sed -i 's/write/wrote/' state/ledger/audit/*.jsonl", &backup));
    bad.push(archive(&home, "rm state/keys/audit.pub", &backup));
    bad.push(archive(&home, "touch state/keys/more", &backup));
    bad.push(archive(&home, "ln -s /etc/passwd state/keys/link", &backup));
    for (number, bytes) in bad.iter().enumerate() {
        fs::write(&broken, bytes).unwrap();
        for more in [&["--replace"][..], &[]] {
            let (code, _, said) = restore(&home, &broken, more);
            assert!(code == 1 && !said.contains("panicked"), "{number}: {said}");
        }
        assert_eq!(home.ctl(&["backup", "verify", broken.to_str().unwrap()]).0, 1, "{number}");
    }
    assert_eq!(fs::read(home.state.join("keys/audit.pub")).unwrap(), before);
    let beside = fs::read_dir(&home.path).unwrap().map(|entry| entry.unwrap().file_name());
    let left: Vec<_> = beside.filter(|name| name.to_string_lossy().contains("restor")).collect();
    assert!(left.is_empty(), "{left:?}");

    let newer = archive(&home, "sed -i 's/\"format\": 1/\"format\": 999/' backup.json", &backup);
    fs::write(&broken, newer).unwrap();
    let (code, _, said) = restore(&home, &broken, &["--replace"]);
    assert!(code == 1 && said.contains("knows formats up to"), "{said}");
}

/// A backup with something changed in it, in the order it had.
fn archive(home: &Home, change: &str, backup: &Path) -> Vec<u8> {
    let script = format!(
        "rm -rf x && mkdir x && cd x && tar -xzf '{0}' && tar -tzf '{0}' | grep -v SHA256SUMS > ../names && {change} && \
         (cat ../names; find state -type f -o -type l | grep -vxFf ../names || true) | while read -r name; do [ -e \"$name\" ] && echo \"$name\"; done > ../now && \
         echo SHA256SUMS >> ../now && tar -czf ../x.tar.gz --no-recursion -T ../now",
        backup.display()
    );
    let ran = Command::new("bash").args(["-ec", &script]).current_dir(&home.path).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    fs::read(home.path.join("x.tar.gz")).unwrap()
}

#[test]
fn states_of_every_release_are_brought_up() {
    for (version, state) in STATES {
        let home = Home::new();
        let packed = home.path.join("state.tar.gz");
        fs::write(&packed, state).unwrap();
        let unpacked = Command::new("tar").arg("-xzf").arg(&packed).current_dir(&home.path).status().unwrap();
        assert!(unpacked.success());
        let _daemon = Daemon::start(&home);
        let verdict = told(&home, &["audit", "verify"]);
        assert_eq!(verdict["faults"], json!([]), "{version}");
        let calls = home.ctl(&["audit", "query", "--tool", "files_read"]).1;
        assert!(calls.matches("files_read").count() >= 3, "{version}: {calls}");
        assert_eq!(told(&home, &["token", "list"])[0]["name"], "fixture", "{version}");
        let format = fs::read_to_string(home.state.join("format.json")).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&format).unwrap()["format"], 1, "{version}");
    }
}

#[test]
fn a_state_of_a_later_release_is_left_alone() {
    let home = Home::new();
    assert!(Daemon::start(&home).terminate().success());
    let file = home.state.join("format.json");
    let later = r#"{"format":2,"version":"3.0.0"}"#;
    fs::write(&file, later).unwrap();
    let refused = Daemon::try_start(&home).err().unwrap();
    assert!(refused.contains("was written by skynetd 3.0.0") && refused.contains("backup"), "{refused}");
    assert_eq!(fs::read_to_string(&file).unwrap(), later);
}
