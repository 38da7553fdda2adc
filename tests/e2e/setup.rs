//! The first five minutes, and what is collected for whoever helps when they do not go well.

use serde_json::{Value, json};
use skynet_tests::programs::{Daemon, Home, Shim};
use std::{fs, process::Command};

fn steps(home: &Home, arguments: &[&str]) -> (i32, Vec<Value>) {
    let (code, out, said) =
        home.ctl(&[&["--json", "setup", "--yes", "--without-models"], arguments].concat());
    let steps: Value = serde_json::from_str(&out).unwrap_or_else(|err| panic!("{err}: {out}{said}"));
    (code, steps.as_array().unwrap().clone())
}

fn outcome<'a>(steps: &'a [Value], name: &str) -> &'a str {
    let step = steps.iter().find(|step| step["step"] == name).unwrap_or_else(|| panic!("{name}: {steps:?}"));
    step["outcome"].as_str().unwrap()
}

#[test]
fn a_new_user_is_set_up_and_setting_up_again_changes_nothing() {
    let home = Home::new();
    fs::write(home.path.join(".claude.json"), "{}\n").unwrap();
    let _daemon = Daemon::start(&home);
    let (_, planned) = steps(&home, &["--dry-run"]);
    assert_eq!((outcome(&planned, "policy"), outcome(&planned, "clients")), ("would", "would"));
    let file = home.path.join(".config/skynet/config.d/10-setup.toml");
    assert!(!file.exists() && fs::read_to_string(home.path.join(".claude.json")).unwrap() == "{}\n");

    let (code, done) = steps(&home, &["--policy", "careful", "--toolsets", "system"]);
    assert_eq!(code, 0, "{done:?}");
    for (step, expected) in [
        ("daemon", "is so"),
        ("policy", "done"),
        ("toolsets", "done"),
        ("clients", "done"),
        ("doctor", "done"),
    ] {
        assert_eq!(outcome(&done, step), expected, "{step}: {done:?}");
    }
    assert!(fs::read_to_string(home.path.join(".claude.json")).unwrap().contains("skynet-shim"));
    // In force at once, without another start.
    let mut shim = Shim::connected(&home, "2025-11-25", json!({}));
    let asked = shim.call("files_write", json!({ "path": "f", "content": "" }));
    assert!(asked.as_ref().is_err_and(|err| err.contains("each change is asked about")), "{asked:?}");
    let listed = shim.request("tools/list", json!({}));
    assert!(listed.to_string().contains("system_describe"));

    let (code, again) = steps(&home, &[]);
    assert_eq!(code, 0);
    assert_eq!((outcome(&again, "policy"), outcome(&again, "clients")), ("is so", "is so"), "{again:?}");
    let (_, other) = steps(&home, &["--policy", "usual"]);
    assert_eq!(outcome(&other, "policy"), "done");
    shim.call("files_write", json!({ "path": "f", "content": "" })).unwrap();
}

#[test]
fn without_a_terminal_it_wants_to_be_told() {
    let home = Home::new();
    let (code, _, said) = home.ctl(&["setup"]);
    assert!(code == 2 && said.contains("--yes"), "{said}");
    let (code, _, said) = home.ctl(&["setup", "--yes", "--user", "ann"]);
    assert!(code == 2 && said.contains("root"), "{said}");
}

#[test]
fn what_is_collected_for_whoever_helps_holds_no_credential() {
    let home = Home::new();
    home.configure("[[policy.rules]]\nname = 'ghp_0123456789abcdefghijABCDEFGHIJ012345'\nverdict = 'deny'\ntools = ['files_write']\n");
    let _daemon = Daemon::start(&home);
    home.give(&["secret", "set", "shop-db"], "hunter2hunter2");
    let mut shim = Shim::connected(&home, "2025-11-25", json!({}));
    fs::write(home.project.join("private"), "the content of a file").unwrap();
    shim.call("files_read", json!({ "path": "private" })).unwrap();
    let bundle = home.path.join("bundle.tar.gz");
    let (code, out, said) = home.ctl(&["--json", "support-bundle", bundle.to_str().unwrap()]);
    assert_eq!(code, 0, "{said}");
    assert!(serde_json::from_str::<Value>(&out).unwrap()["parts"].as_array().unwrap().len() > 10);
    let unpacked =
        Command::new("tar").args(["-xzf", "bundle.tar.gz"]).current_dir(&home.path).status().unwrap();
    assert!(unpacked.success());
    let all = Command::new("grep").args(["-r", ""]).arg(home.path.join("skynet-support")).output().unwrap();
    let all = String::from_utf8_lossy(&all.stdout);
    for (needle, is_there) in [
        ("\"mode\": \"user\"", true),
        ("[redacted:pattern:github-token]", true),
        ("Landlock", true),
        ("ghp_0123456789", false),
        ("hunter2", false),
        ("the content of a file", false),
    ] {
        assert_eq!(all.contains(needle), is_there, "{needle}:\n{all}");
    }
    let (code, _, said) = home.ctl(&["support-bundle", bundle.to_str().unwrap()]);
    assert!(code == 1 && said.contains("exists"), "{said}");
}
