//! Disks that are full.

use serde_json::{Value, json};
use skynet_tests::{
    components,
    programs::{Daemon, Home, Shim},
};
use std::{
    fs::{self, File},
    io::Write as _,
    path::Path,
};

/// Takes all room that is left.
fn fill(disk: &Path) {
    let mut file = File::create(disk.join("filler")).unwrap();
    for block in [1 << 20, 4096, 1] {
        while file.write_all(&vec![0; block]).is_ok() {}
    }
}

/// Writes new files until one is refused, when the room that was taken in advance is used up; returns its name and
/// the refusal.
fn write_until_refused(shim: &mut Shim) -> (String, String) {
    (0..5000)
        .find_map(|number| {
            let name = format!("new-{number}");
            let refusal = shim.call("files_write", json!({ "path": name, "content": "x" })).err()?;
            Some((name, refusal))
        })
        .expect("no write is refused on a full disk")
}

fn connected(home: &Home, workspace: &Path) -> Shim {
    let mut shim = Shim::start_in(home, workspace);
    let client = json!({ "name": "test", "version": "1" });
    let answer = shim.request(
        "initialize",
        json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client }),
    );
    assert_eq!(answer["error"], Value::Null, "{answer}");
    shim
}

#[test]
fn a_full_disk_refuses_changes_in_words_and_serves_reads() {
    let Some(disk) = components::small_disk() else { return };
    // The project is on the full disk: the file that does not fit is not there, and the old one still is.
    let home = Home::new();
    let project = disk.join("project");
    fs::create_dir(&project).unwrap();
    home.configure(&format!("[policy]\nworkspaces = ['{}']\n", project.display()));
    let daemon = Daemon::start(&home);
    let mut shim = connected(&home, &project);
    shim.call("files_write", json!({ "path": "kept", "content": "old" })).unwrap();
    fill(&disk);
    let content = "x".repeat(1 << 20);
    let refusal = shim.call("files_write", json!({ "path": "kept", "content": content })).unwrap_err();
    assert!(refusal.starts_with("unavailable: ") && refusal.contains("no space is left"), "{refusal}");
    assert_eq!(fs::read_to_string(project.join("kept")).unwrap(), "old");
    let names: Vec<_> = fs::read_dir(&project).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["kept"]);
    drop((shim, daemon));
    fs::remove_file(disk.join("filler")).unwrap();
    fs::remove_dir_all(&project).unwrap();

    // The state is on the full disk.
    let mut home = Home::new();
    home.state = disk.join("state");
    let daemon = Daemon::start(&home);
    let mut shim = Shim::connected(&home, "2025-11-25", json!({}));
    shim.call("files_write", json!({ "path": "first", "content": "x" })).unwrap();
    fill(&disk);
    let (name, refusal) = write_until_refused(&mut shim);
    assert!(refusal.contains("disk of the daemon's state is full"), "{refusal}");
    assert!(refusal.contains("reads go on"), "{refusal}");
    assert!(!home.project.join(name).exists());
    assert_eq!(shim.call("files_read", json!({ "path": "first" })).unwrap()["content"], "x");
    assert!(Shim::connected(&home, "2025-11-25", json!({})).call("files_list", json!({})).is_ok());

    fs::remove_file(disk.join("filler")).unwrap();
    shim.call("files_write", json!({ "path": "last", "content": "x" })).unwrap();
    let (code, verdict, _) = home.ctl(&["audit", "verify", "--json"]);
    assert_eq!(code, 0, "{verdict}");
    drop((shim, daemon));
    let daemon = Daemon::start(&home);
    assert_eq!(home.ctl(&["audit", "verify", "--json"]).0, 0);
    drop(daemon);
    fs::remove_dir_all(&home.state).unwrap();
}
