//! Models where many users are served: installed by root, and run by nobody.

use serde_json::Value;
use skynet_tests::{components, host::Host};
use std::fs;

/// The workers of a daemon, by the process that each of them ends with.
fn workers(parents: &[u64]) -> Vec<u64> {
    let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let pid: u64 = entry.ok()?.file_name().to_str()?.parse().ok()?;
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let parent: u64 = status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()?;
        parents.contains(&parent).then_some(pid)
    });
    processes.collect()
}

#[test]
fn models_are_roots_to_install_and_nobodys_to_run() {
    let Some(host) = Host::start() else { return };
    let Some(record) = components::find("models", "all-minilm-l6-v2/installed.json") else { return };
    let from = record.parent().unwrap().parent().unwrap().display().to_string();
    let [ann, _] = host.users();
    let (code, _, said) = host.ctl(Some(&ann), &["models", "list"]);
    assert!(code == 1 && said.contains("only root may do that"), "{said}");
    let install = ["models", "install", "onnxruntime", "all-minilm-l6-v2", "--from", &from];
    let (code, _, said) = host.ctl(None, &install);
    assert_eq!(code, 0, "{said}");
    let (code, _, said) = host.ctl(None, &["models", "bench", "all-minilm-l6-v2"]);
    assert_eq!(code, 0, "{said}");
    let (_, listed, _) = host.ctl(None, &["--json", "models", "list"]);
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let slots: Vec<_> = listed["workers"].as_array().unwrap().iter().filter_map(Value::as_u64).collect();
    let workers = workers(&slots);
    assert!(!workers.is_empty() && workers.len() == slots.len(), "{slots:?} {workers:?}");
    for pid in workers {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        for line in [
            "Uid:\t65534\t65534\t65534\t65534",
            "Gid:\t65534\t65534\t65534\t65534",
            "Groups:\t",
            "CapEff:\t0000000000000000",
            "CapBnd:\t0000000000000000",
            "NoNewPrivs:\t1",
            "Seccomp:\t2",
        ] {
            assert!(status.lines().any(|found| found.trim_end() == line.trim_end()), "{line}: {status}");
        }
        // Whatever it sees, it may only read; a device holds nothing.
        let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap();
        for mount in mounts.lines() {
            let fields: Vec<&str> = mount.split(' ').collect();
            let (place, options) = (fields[4], fields[5]);
            assert!(
                options.split(',').any(|option| option == "ro") || place == "/" || place.starts_with("/dev/"),
                "{mount}"
            );
        }
        assert!(!fs::exists(format!("/proc/{pid}/root/home")).unwrap());
        // What was handed to it, and nothing that can be written but the way back.
        let opened = fs::read_dir(format!("/proc/{pid}/fd"))
            .unwrap()
            .map(|entry| fs::read_link(entry.unwrap().path()).unwrap().to_string_lossy().into_owned());
        let strange: Vec<_> = opened
            .filter(|target| {
                !["/dev/null", "socket:", "pipe:", "/memfd:onnxruntime"]
                    .iter()
                    .any(|known| target.starts_with(known))
            })
            .collect();
        assert_eq!(strange, Vec::<String>::new());
        // Its own network has nothing but a loopback.
        let devices = fs::read_to_string(format!("/proc/{pid}/net/dev")).unwrap();
        assert_eq!(devices.lines().count(), 3, "{devices}");
    }
}
