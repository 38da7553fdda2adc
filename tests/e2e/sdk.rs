//! The official SDKs' clients through the shim, in each of their protocol modes.

use skynet_tests::{
    components,
    programs::{Daemon, Home, program},
};
use std::{fs, path::Path, process::Command};

fn drive(home: &Home, interpreter: &Path, script: &Path, mode: &str) {
    fs::write(home.project.join("hello.txt"), "hello\n").unwrap();
    let output = Command::new(interpreter)
        .arg(script)
        .arg(mode)
        .arg(program("skynet-shim"))
        .arg(home.socket())
        .arg(&home.project)
        .env("HOME", &home.path)
        .output()
        .unwrap();
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("DONE"), "{mode}: {said}");
}

#[test]
fn python() {
    let Some(python) = components::find("python-sdk", "bin/python") else {
        return;
    };
    let home = Home::new();
    let script = home.path.join("client.py");
    fs::write(&script, include_str!("../clients/client.py")).unwrap();
    let _daemon = Daemon::start(&home);
    for mode in ["auto", "legacy", "2026-07-28"] {
        drive(&home, &python, &script, mode);
    }
}

#[test]
fn typescript_v1_and_v2() {
    let Some(modules) = components::find("typescript-sdk", "node_modules") else {
        return;
    };
    let home = Home::new();
    // Node looks for packages beside the script.
    std::os::unix::fs::symlink(&modules, home.path.join("node_modules")).unwrap();
    let _daemon = Daemon::start(&home);
    for (name, source, modes) in [
        ("client-v1.mjs", include_str!("../clients/client-v1.mjs"), &["legacy"][..]),
        ("client-v2.mjs", include_str!("../clients/client-v2.mjs"), &["legacy", "auto", "modern"]),
    ] {
        let script = home.path.join(name);
        fs::write(&script, source).unwrap();
        for mode in modes {
            drive(&home, Path::new("node"), &script, mode);
        }
    }
}
