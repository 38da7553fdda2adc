//! The clients people use, through the shim and over HTTP, in each of their protocol modes.

use skynet_tests::{
    components,
    programs::{Daemon, Home, program},
    web::Web,
};
use std::{fs, os::unix::fs::symlink, path::Path, process::Command};

/// A daemon that serves both ways.
fn served() -> (Home, Daemon, Web) {
    let home = Home::new();
    home.configure("[http]\nlisten = '127.0.0.1:0'\n");
    fs::write(home.project.join("hello.txt"), "hello\n").unwrap();
    let daemon = Daemon::start(&home);
    let web = Web::connect(&home, "sdk", &["read", "write"]);
    (home, daemon, web)
}

/// Runs a script once for each way in, and mode.
fn drive(interpreter: &Path, name: &str, source: &str, modules: Option<&Path>, modes: &[&str]) {
    let (home, _daemon, web) = served();
    // Node looks for packages beside the script.
    modules.into_iter().for_each(|modules| symlink(modules, home.path.join("node_modules")).unwrap());
    let script = home.path.join(name);
    fs::write(&script, source).unwrap();
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let stdio =
        ["stdio".to_owned(), text(&program("skynet-shim")), text(&home.socket()), text(&home.project)];
    let http = ["http".to_owned(), format!("http://{}/mcp", web.address), web.token.clone()];
    for mode in modes {
        for target in [&stdio[..], &http[..]] {
            let mut command = Command::new(interpreter);
            command.arg(&script).arg(mode).args(target).env("HOME", &home.path);
            let output = command.output().unwrap();
            let said = [output.stdout, output.stderr].concat();
            let said = String::from_utf8_lossy(&said);
            assert!(output.status.success() && said.contains("DONE"), "{name} {mode} {}: {said}", target[0]);
        }
    }
}

#[test]
fn python() {
    if let Some(python) = components::find("python-sdk", "bin/python") {
        let modes = ["auto", "legacy", "2026-07-28"];
        drive(&python, "client.py", include_str!("../clients/client.py"), None, &modes);
    }
}

#[test]
fn fastmcp() {
    if let Some(python) = components::find("python-sdk", "bin/python") {
        drive(
            &python,
            "fast.py",
            include_str!("../clients/fast.py"),
            None,
            &["auto", "legacy", "2026-07-28"],
        );
    }
}

#[test]
fn typescript_v1() {
    if let Some(modules) = components::find("typescript-sdk", "node_modules") {
        let source = include_str!("../clients/client-v1.mjs");
        drive(Path::new("node"), "client-v1.mjs", source, Some(&modules), &["legacy"]);
    }
}

#[test]
fn typescript_v2() {
    if let Some(modules) = components::find("typescript-sdk", "node_modules") {
        let source = include_str!("../clients/client-v2.mjs");
        drive(Path::new("node"), "client-v2.mjs", source, Some(&modules), &["legacy", "auto", "modern"]);
    }
}
