//! Lists of commands over real commands: what was judged is what runs.

use serde_json::{Value, json};
use skynet_tests::programs::{Daemon, Home, Shim};
use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
};

const LIST: &str = "\
    [[policy.commands]]\nname = 'who'\nverdict = 'allow'\nprogram = 'id'\noptions = ['-u']\n\
    [[policy.commands]]\nname = 'variables'\nverdict = 'allow'\nprogram = 'env'\nenvironment = ['LISTED']\n\
    [[policy.commands]]\nname = 'files'\nverdict = 'allow'\nprogram = 'cat'\narguments = ['<path>...']\n\
    [[policy.commands]]\nname = 'shells'\nverdict = 'ask'\ninterpreter = 'sh'\n";

fn plant(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn connect(home: &Home) -> Shim {
    Shim::connected(home, "2025-11-25", json!({}))
}

#[test]
fn the_judged_program_runs_and_no_other_of_its_name() {
    let home = Home::new();
    let planted = "#!/bin/sh\necho planted\n";
    for place in ["id", "sub/id"] {
        plant(&home.project.join(place), planted);
    }
    symlink("/etc", home.project.join("etc")).unwrap();
    fs::write(home.project.join("f"), "text\n").unwrap();
    // Without a list a command can put a program into its home that is found before the system's.
    let daemon = Daemon::start(&home);
    let mut shim = connect(&home);
    let script =
        format!("mkdir -p ~/.local/bin && printf '{planted}' > ~/.local/bin/id && chmod +x ~/.local/bin/id");
    let ended = shim.call("exec_run", json!({ "script": script })).unwrap();
    assert_eq!(ended["exit_code"], 0, "{ended}");
    let ended = shim.call("exec_run", json!({ "command": ["id", "-u"] })).unwrap();
    assert_eq!(ended["stdout"], "planted\n", "{ended}");
    drop(shim);
    assert!(daemon.terminate().success());
    // With one, that is not what was judged.
    home.configure(LIST);
    let daemon = Daemon::start(&home);
    let mut shim = connect(&home);
    let own = format!("{}\n", rustix::process::getuid().as_raw());
    for input in [
        json!({ "command": ["id", "-u"] }),
        json!({ "command": ["id", "-u"], "cwd": "sub" }),
        json!({ "command": ["/usr/bin/id", "-u"] }),
    ] {
        let ended = shim.call("exec_run", input.clone()).unwrap();
        assert_eq!(ended["stdout"], json!(own), "{input}: {ended}");
    }
    let ended =
        shim.call("exec_run", json!({ "command": ["env"], "environment": { "LISTED": "x" } })).unwrap();
    let shown = ended["stdout"].as_str().unwrap();
    assert!(shown.contains("LISTED=x\n") && !shown.contains(".local/bin"), "{shown}");
    let ended = shim.call("exec_run", json!({ "command": ["cat", "f", "../f"], "cwd": "sub" }));
    assert_eq!(ended.unwrap()["exit_code"], 1);
    for input in [
        json!({ "command": ["./id", "-u"] }),
        json!({ "command": ["sub/id", "-u"] }),
        json!({ "command": [home.project.join("id"), "-u"] }),
        json!({ "command": [home.path.join(".local/bin/id"), "-u"] }),
        json!({ "command": ["id", "-u"], "environment": { "PATH": home.project } }),
        json!({ "command": ["id", "-u"], "environment": { "LD_PRELOAD": "x" } }),
        json!({ "command": ["id", "-u"], "cwd": "/usr" }),
        json!({ "command": ["env", "id"] }),
        json!({ "command": ["cat", "etc/passwd"] }),
        json!({ "command": ["cat", "../state/lock"] }),
        json!({ "command": ["sh", "-c", "id -u"], "environment": { "ENV": "x" } }),
        json!({ "script": "id -u" }),
    ] {
        let err = shim.call("exec_run", input.clone()).expect_err(&input.to_string());
        assert!(err.starts_with("denied: `exec_run` is denied to `tester`"), "{input}: {err}");
    }
    let err = shim.call("exec_run", json!({ "script": "id -u", "interpreter": "sh" })).unwrap_err();
    assert!(err.contains("needs approval by rule `shells`"), "{err}");
    let err =
        shim.call("skynet_call_tool", json!({ "name": "exec_run", "arguments": { "script": "id -u" } }));
    assert!(err.unwrap_err().starts_with("denied: `exec_run` is denied to `tester`"));
    let (_, lines, _) = home.ctl(&["--json", "audit", "query", "--tool", "exec_run"]);
    let rules: Vec<Value> = lines
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .map(|line| line["rule"].clone())
        .collect();
    for rule in ["who: allow", "commands not listed: deny", "shells: ask"] {
        assert!(rules.contains(&json!(rule)), "{rule}: {rules:?}");
    }
    drop(daemon);
}

#[test]
fn what_was_approved_runs_as_it_was_judged() {
    let home = Home::new();
    home.configure(LIST);
    let _daemon = Daemon::start(&home);
    let mut shim = connect(&home);
    let input = json!({ "script": "echo approved; echo $PATH", "interpreter": "sh" });
    let err = shim.call("exec_run", input.clone()).unwrap_err();
    let id = err.split("approvals approve ").nth(1).unwrap().split('`').next().unwrap();
    assert_eq!(home.ctl(&["approvals", "approve", id]).0, 0);
    let ended = shim.call("exec_run", input).unwrap();
    let shown = ended["stdout"].as_str().unwrap();
    assert!(shown.starts_with("approved\n/") && !shown.contains(".local"), "{ended}");
}

#[test]
fn a_configuration_names_the_line_of_a_pattern_that_is_none() {
    let home = Home::new();
    let entry = "[[policy.commands]]\nname = 'x'\nverdict = 'allow'\nprogram = 'ls'\n";
    for (text, expected) in [
        (format!("{entry}arguments = [\n  'fine',\n  '*.py',\n]\n"), "config.toml:5: `*.py` is no pattern"),
        (format!("{entry}options = ['-l', 'all']\n"), "config.toml:5: `all` is no option"),
        (format!("{entry}option = ['-l']\n"), "config.toml:5: unknown field `option`"),
        (format!("{entry}option = ['-l']\n"), "did you mean `options`?"),
        (
            format!("\n{}", entry.replace("ls", "bash") + "arguments = ['**']\n"),
            "config.toml:2: the command `x`: `bash` runs",
        ),
        ("[policy]\nunlisted_commands = 'allow'\n".into(), "`policy.unlisted_commands` is `deny` or `ask`"),
        ("[policy]\nunlisted_command = 'ask'\n".into(), "did you mean `unlisted_commands`?"),
    ] {
        home.configure(&text);
        for command in [&["config", "check"][..], &["policy", "check"]] {
            let (code, shown, said) = home.ctl(command);
            assert!(code == 1 && said.contains(expected), "{command:?} {text}: {code} {shown}{said}");
        }
    }
    home.configure(entry);
    let (code, shown, _) = home.ctl(&["config", "show"]);
    assert!(
        code == 0 && shown.contains("program = \"ls\"") && shown.contains("unlisted_commands = \"deny\""),
        "{shown}"
    );
    assert_eq!(home.ctl(&["policy", "check"]).0, 3, "no daemon runs");
}
