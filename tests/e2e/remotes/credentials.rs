//! Passwords that Git is lent for a remote.

use super::server::{Bench, Server, git};
use serde_json::{Value, json};
use skynet_tests::programs::wait_until;
use std::fs;

const TOKEN: &str = "glpat-Zx81.Qv\"4+/k";

fn secret(bench: &Bench, name: &str, value: &str, more: &[&str]) -> String {
    let arguments = [&["secret", "set", name, "--git", "--host", "127.0.0.1"], more].concat();
    bench.give(&arguments, &format!("{value}\n"))
}

#[test]
fn a_secret_for_git_opens_the_remote_and_is_told_to_nobody() {
    let server = Server::for_users("", &[&format!("x-access-token:{TOKEN}")]);
    let mut bench = Bench::new();
    let said = secret(&bench, "forge", TOKEN, &[]);
    assert!(said.contains("use it for `https` remotes at 127.0.0.1, as user x-access-token"), "{said}");
    let mut told = vec![bench.call("git_clone", json!({ "url": server.url() }))];
    let copy = bench.home.project.join("sample");
    assert_eq!(fs::read_to_string(copy.join("file")).unwrap(), "one\n");
    server.commit("two\n");
    told.push(bench.call("git_fetch", json!({ "repository": "sample" })));
    told.push(bench.call("git_pull", json!({ "repository": "sample" })));
    git(&copy, "checkout -q -b mine");
    git(&copy, "commit -q --allow-empty -m mine");
    told.push(bench.call("git_push", json!({ "repository": "sample" })));
    assert_eq!(told[3]["pushed"][0]["result"], "[new branch]", "{told:?}");

    let (code, audit, _) = bench.home.ctl(&["audit", "export"]);
    let lines: Vec<Value> = audit.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    for tool in ["git_clone", "git_fetch", "git_pull", "git_push"] {
        let line = lines.iter().find(|line| line["tool"] == tool).expect(tool);
        assert_eq!((code, &line["secrets"]), (0, &json!(["forge"])), "{line}");
    }
    let everything = format!("{told:?}{audit}{}", bench.everything());
    let encoded = "eC1hY2Nlc3MtdG9rZW46";
    assert!(!everything.contains(TOKEN) && !everything.contains(encoded), "the value is somewhere");
    let (_, listed, _) = bench.home.ctl(&["secret", "list", "--json"]);
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed["secrets"][0]["git_username"], "x-access-token", "{listed}");
}

#[test]
fn the_user_of_the_secret_or_of_the_url_is_who_one_is() {
    let server = Server::for_users("", &["ann:of ann", "bob:of bob"]);
    let mut bench = Bench::new();
    secret(&bench, "anns", "of ann", &["--username", "ann"]);
    bench.call("git_clone", json!({ "url": server.url(), "directory": "a" }));
    secret(&bench, "bobs", "of bob", &["--username", "bob"]);
    let refused = bench.refused("git_clone", json!({ "url": server.url(), "directory": "b" }));
    assert!(refused.starts_with("conflict") && refused.contains("`anns`, `bobs`"), "{refused}");
    let of_bob = server.url().replace("//", "//bob@");
    bench.call("git_clone", json!({ "url": of_bob, "directory": "b" }));
}

#[test]
fn what_the_remote_does_not_take_is_named_with_what_would_work() {
    let server = Server::for_users("", &["x-access-token:right"]);
    let mut bench = Bench::new();
    let clone = json!({ "url": server.url() });
    let none = bench.refused("git_clone", clone.clone());
    assert!(
        none.starts_with("not_found") && none.contains("skynetctl secret set NAME --git --host 127.0.0.1`"),
        "{none}"
    );
    // One for commands is not for git, nor is one for another host.
    bench.give(&["secret", "set", "command", "--host", "127.0.0.1"], "right");
    bench.give(&["secret", "set", "other", "--git", "--host", "127.0.0.2"], "right");
    assert!(bench.refused("git_clone", clone.clone()).starts_with("not_found"));
    secret(&bench, "forge", "wrong-one", &[]);
    let wrong = bench.refused("git_clone", clone.clone());
    assert!(wrong.starts_with("denied") && wrong.contains("skynetctl secret rotate forge"), "{wrong}");
    assert!(!wrong.contains("wrong-one"), "{wrong}");
    assert_eq!(fs::read_dir(&bench.home.project).unwrap().count(), 0, "nothing is left of a failed clone");
    bench.give(&["secret", "rotate", "forge"], "right");
    bench.call("git_clone", clone);
}

#[test]
fn a_repository_cannot_have_a_password_told_elsewhere() {
    let other = Server::for_users("", &["x-access-token:right"]);
    let server = Server::for_users(&other.url(), &["x-access-token:right"]);
    let mut bench = Bench::new();
    secret(&bench, "forge", "right", &[]);
    bench.call("git_clone", json!({ "url": server.url() }));
    let config = bench.home.project.join("sample/.git/config");
    let plain = fs::read_to_string(&config).unwrap();
    let seen = bench.home.project.join("seen");
    let helper =
        format!("[credential]\n\thelper = \"!cat >{0}; true\"\n[core]\n\taskPass = {0}\n", seen.display());
    fs::write(&config, format!("{plain}{helper}")).unwrap();
    server.commit("two\n");
    bench.call("git_fetch", json!({ "repository": "sample" }));
    assert!(!seen.exists(), "a helper of the repository's own was asked");
    // Redirected, it would be told to whoever serves the other port.
    let elsewhere = format!("http://127.0.0.1:{}/elsewhere", server.port);
    bench.refused("git_clone", json!({ "url": elsewhere, "directory": "b" }));
    assert!(!bench.everything().contains("x-access-token:right"));
}

#[test]
fn a_command_beside_a_clone_gets_nothing_of_what_it_is_lent() {
    let server = Server::for_users("", &["x-access-token:right"]);
    let mut bench = Bench::new();
    secret(&bench, "forge", "right", &[]);
    // As soon as the new repository is there, its checkout would run this.
    let plant = r#"
import glob, os
open('ready', 'w').close()
while not os.path.exists('done'):
    for git in glob.glob('.skynet-*/.git'):
        try:
            if 'smudge' in open(git + '/config').read(): continue
            with open(git + '/config', 'a') as config:
                config.write('[filter "x"]\n\tsmudge = sh -c "env >%s/told; cat"\n' % os.getcwd())
            os.makedirs(git + '/info', exist_ok=True)
            with open(git + '/info/attributes', 'w') as attributes: attributes.write('* filter=x\n')
        except FileNotFoundError: pass
"#;
    let input = json!({ "script": plant, "interpreter": "python" });
    let planting = bench.shim.post("tools/call", json!({ "name": "exec_run", "arguments": input }));
    let ready = bench.home.project.join("ready");
    wait_until(|| ready.exists());
    // What it planted may be refused; the clone is then none.
    let clone = json!({ "name": "git_clone", "arguments": { "url": server.url() } });
    let cloning = bench.shim.post("tools/call", clone);
    let mut open = vec![planting, cloning];
    while !open.is_empty() {
        let message = bench.shim.receive();
        if message["id"] == cloning {
            fs::write(bench.home.project.join("done"), "").unwrap();
        }
        open.retain(|id| message["id"] != *id);
    }
    let told = fs::read_to_string(bench.home.project.join("told")).unwrap_or_default();
    assert!(told.is_empty(), "{told}");
}

#[test]
fn how_far_it_is_is_told() {
    let server = Server::start("");
    let mut bench = Bench::new();
    let params = json!({
        "name": "git_clone", "arguments": { "url": server.url() }, "_meta": { "progressToken": "p1" },
    });
    let id = bench.shim.post("tools/call", params);
    let mut last = None;
    loop {
        let message = bench.shim.receive();
        if message["id"] == id {
            break;
        }
        if message["method"] == "notifications/progress" {
            last = Some(message["params"].clone());
        }
    }
    let last = last.expect("some progress");
    assert_eq!((&last["progressToken"], &last["total"]), (&json!("p1"), &json!(100.0)), "{last}");
    assert!(last["message"].as_str().unwrap().contains("objects"), "{last}");
}
