//! Remotes of repositories: real servers of Git's own on this host's loopback, and the way to them.

mod credentials;
pub(crate) mod server;
pub(crate) mod ssh;

use serde_json::json;
use server::{Bench, Server, git};
use std::fs;

#[test]
fn a_repository_is_cloned_fetched_pulled_and_pushed() {
    let server = Server::start("");
    let mut bench = Bench::new();
    let cloned = bench.call("git_clone", json!({ "url": server.url() }));
    assert_eq!((&cloned["directory"], &cloned["branch"]), (&json!("sample"), &json!("main")), "{cloned}");
    let copy = bench.home.project.join("sample");
    assert_eq!(fs::read_to_string(copy.join("file")).unwrap(), "one\n");
    assert!(!copy.join(".git/hooks").exists(), "nothing of a template");

    server.commit("two\n");
    let fetched = bench.call("git_fetch", json!({ "repository": "sample" }));
    assert_eq!(fetched["moved"][0]["name"], "origin/main", "{fetched}");
    assert_eq!(fs::read_to_string(copy.join("file")).unwrap(), "one\n");
    server.commit("three\n");
    let pulled = bench.call("git_pull", json!({ "repository": "sample" }));
    assert_ne!(pulled["old"], pulled["new"], "{pulled}");
    assert_eq!(fs::read_to_string(copy.join("file")).unwrap(), "three\n");

    git(&copy, "checkout -q -b mine");
    fs::write(copy.join("other"), "mine\n").unwrap();
    git(&copy, "add other");
    git(&copy, "commit -q -m mine");
    let pushed = bench.call("git_push", json!({ "repository": "sample", "set_upstream": true }));
    assert_eq!(
        pushed["pushed"][0],
        json!({ "name": "refs/heads/mine", "result": "[new branch]" }),
        "{pushed}"
    );
    git(&copy, "commit -q --amend -m again");
    let refused = bench.refused("git_push", json!({ "repository": "sample" }));
    assert!(refused.starts_with("conflict"), "{refused}");
    bench.call("git_push", json!({ "repository": "sample", "force": true }));
    // What somebody else pushed since is not replaced.
    git(&server.repository(), "update-ref refs/heads/mine main");
    git(&copy, "commit -q --amend -m once-more");
    let refused = bench.refused("git_push", json!({ "repository": "sample", "force": true }));
    assert!(refused.starts_with("conflict"), "{refused}");
    git(&copy, "checkout -q main");
    git(&copy, "commit -q --allow-empty -m own");
    server.commit("four\n");
    let refused = bench.refused("git_pull", json!({ "repository": "sample" }));
    assert!(refused.starts_with("conflict"), "{refused}");
}

#[test]
fn a_pull_is_taken_back_but_for_what_the_remote_has() {
    let server = Server::start("");
    let mut bench = Bench::new();
    bench.call("git_clone", json!({ "url": server.url() }));
    let copy = bench.home.project.join("sample");
    server.commit("two\n");
    let pulled = bench.call("git_pull", json!({ "repository": "sample" }));
    assert_eq!(fs::read_to_string(copy.join("file")).unwrap(), "two\n");
    let call = bench.call("undo_list_changes", json!({ "limit": 1 }))["calls"][0].clone();
    assert_eq!((&call["tool"], call.get("not_undoable")), (&json!("git_pull"), None), "{call}");
    bench.call("undo_revert_call", json!({ "call": call["call"] }));
    assert_eq!(fs::read_to_string(copy.join("file")).unwrap(), "one\n");
    let head = fs::read_to_string(copy.join(".git/refs/heads/main")).unwrap();
    assert_eq!(head.trim_end(), pulled["old"]);
    // A later pull finds what was fetched.
    let again = bench.call("git_pull", json!({ "repository": "sample" }));
    assert_eq!((&again["old"], &again["new"]), (&pulled["old"], &pulled["new"]));
}

#[test]
fn a_pull_brings_nothing_that_other_programs_run() {
    let server = Server::start("");
    let mut bench = Bench::new();
    bench.call("git_clone", json!({ "url": server.url() }));
    let copy = bench.home.project.join("sample");
    // What is here alone is no reason to refuse.
    git(&copy, "commit -q --allow-empty -m own");
    let pulled = bench.call("git_pull", json!({ "repository": "sample" }));
    assert_eq!(pulled["old"], pulled["new"], "{pulled}");
    git(&copy, "reset -q --hard HEAD~1");
    fs::create_dir(server.work().join(".vscode")).unwrap();
    fs::write(server.work().join(".vscode/tasks.json"), "{}").unwrap();
    git(&server.work(), "add -f .vscode");
    git(&server.work(), "commit -q -m tasks");
    git(&server.work(), "push -q origin main");
    let head = fs::read_to_string(copy.join(".git/refs/heads/main")).unwrap();
    let refused = bench.refused("git_pull", json!({ "repository": "sample" }));
    assert!(refused.starts_with("denied") && refused.contains("`.vscode/tasks.json`"), "{refused}");
    assert!(refused.contains("git merge --ff-only"), "{refused}");
    assert!(!copy.join(".vscode").exists());
    assert_eq!(fs::read_to_string(copy.join(".git/refs/heads/main")).unwrap(), head);
}

#[test]
fn only_the_host_of_the_remote_is_reached_whatever_a_repository_says() {
    let other = Server::start("");
    let server = Server::start(&other.url());
    let mut bench = Bench::new();
    // Redirected to another host, a clone fails and leaves nothing.
    let elsewhere = format!("http://127.0.0.1:{}/elsewhere", server.port);
    bench.refused("git_clone", json!({ "url": elsewhere }));
    assert_eq!(fs::read_dir(&bench.home.project).unwrap().count(), 0);
    for url in ["git://example.com/a", "ext::touch%20evil", "file:///etc", "/etc", "--upload-pack=touch evil"]
    {
        let refused = bench.refused("git_clone", json!({ "url": url }));
        assert!(refused.starts_with("invalid_input"), "{url}: {refused}");
    }
    bench.call("git_clone", json!({ "url": server.url(), "directory": "copy", "depth": 1 }));
    let refused = bench.refused("git_clone", json!({ "url": server.url(), "directory": "copy" }));
    assert!(refused.starts_with("conflict"), "{refused}");
    let refused = bench.refused("git_clone", json!({ "url": server.url(), "directory": "../out" }));
    assert!(refused.starts_with("denied"), "{refused}");

    let config = bench.home.project.join("copy/.git/config");
    let plain = fs::read_to_string(&config).unwrap();
    for (text, why) in [
        ("[http]\n\tsslVerify = false\n", "http.sslverify"),
        ("[http \"http://127.0.0.1\"]\n\tproxy = http://127.0.0.1:1\n", "http.proxy"),
        ("[http]\n\tcookieFile = /etc/passwd\n", "http.cookiefile"),
        ("[remote \"origin\"]\n\tvcs = evil\n", "remote.vcs"),
        ("[remote \"origin\"]\n\tuploadpack = touch evil\n", "remote.uploadpack"),
        ("[include]\n\tpath = other\n", "include.path"),
    ] {
        fs::write(&config, format!("{plain}{text}")).unwrap();
        for tool in ["git_fetch", "git_pull", "git_push"] {
            let refused = bench.refused(tool, json!({ "repository": "copy" }));
            assert!(refused.starts_with("denied") && refused.contains(why), "{tool} {text}: {refused}");
        }
    }
    // A hook, a helper for credentials and another URL for the same name do nothing, or are what is reached.
    let hooks = bench.home.project.join("copy/.git/hooks");
    fs::create_dir(&hooks).unwrap();
    for hook in ["pre-push", "post-merge", "reference-transaction"] {
        let script = hooks.join(hook);
        fs::write(&script, "#!/bin/sh\ntouch \"$GIT_DIR/evil\"\n").unwrap();
        fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    let armed = "[credential]\n\thelper = !touch evil\n[core]\n\taskPass = touch\n\tsshCommand = touch\n";
    fs::write(&config, format!("{plain}{armed}")).unwrap();
    server.commit("two\n");
    bench.call("git_pull", json!({ "repository": "copy" }));
    git(&bench.home.project.join("copy"), "commit -q --allow-empty -m own");
    bench.call("git_push", json!({ "repository": "copy" }));
    assert!(
        !bench.home.project.join("copy/.git/evil").exists() && !bench.home.project.join("copy/evil").exists()
    );
    let rewritten = format!("[url \"{}\"]\n\tinsteadOf = {}\n", other.url(), server.url());
    fs::write(&config, format!("{plain}{rewritten}")).unwrap();
    other.commit("of the other\n");
    let refused = bench.refused("git_pull", json!({ "repository": "copy" }));
    assert!(refused.starts_with("conflict"), "it is the other one now, with a history of its own: {refused}");

    let refused = bench.refused("git_fetch", json!({ "repository": "copy", "remote": "nobody" }));
    assert!(refused.starts_with("not_found") && refused.contains("origin"), "{refused}");
}
