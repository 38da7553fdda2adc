//! What a client is offered besides answers: lists, toolsets, resources, prompts, completion, skills, subscriptions.

use crate::protocol::modern_meta;
use serde_json::{Value, json};
use skynet_tests::programs::{Daemon, Home, Shim, outcome};
use std::{fs, process::Command};

/// What a list may cost: tools, and tokens of all of it, counted by the tokenizer of GPT-4o (`o200k_base`).
const MOST_TOOLS: usize = 30;
const MOST_TOKENS: usize = 6000;

fn names(listed: &Value) -> Vec<String> {
    let tools = listed["result"]["tools"].as_array().unwrap();
    tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
}

/// The next message of a method, passing others over.
fn next(shim: &mut Shim, method: &str) -> Value {
    loop {
        let message = shim.receive();
        if message["method"] == method {
            return message;
        }
    }
}

#[test]
fn the_default_list_is_short_sorted_and_the_same_for_all() {
    let home = Home::new();
    let _daemon = Daemon::start(&home);
    let mut legacy = Shim::connected(&home, "2025-11-25", json!({}));
    let mut modern = Shim::start(&home);
    let old = legacy.request("tools/list", json!({}));
    let new = modern.request("tools/list", json!({ "_meta": modern_meta() }));
    let tokenizer = tiktoken_rs::o200k_base_singleton();
    for listed in [&old, &new] {
        let tokens = tokenizer.encode_ordinary(&listed["result"].to_string()).len();
        let listed = names(listed);
        println!("{} tools, {tokens} tokens", listed.len());
        assert!(
            listed.len() <= MOST_TOOLS && tokens <= MOST_TOKENS,
            "{} tools, {tokens} tokens",
            listed.len()
        );
        assert!(listed.is_sorted() && listed.contains(&"skynet_search_tools".to_owned()));
    }
    // Where lists must not vary by connection, the tool that would do that is not offered.
    let old: Vec<String> = names(&old).into_iter().filter(|name| name != "skynet_enable_toolset").collect();
    assert_eq!(old, names(&new));
    assert_eq!((&new["result"]["ttlMs"], &new["result"]["cacheScope"]), (&json!(300_000), &json!("private")));
}

#[test]
fn a_session_adds_a_toolset_to_its_own_list() {
    let home = Home::new();
    let _daemon = Daemon::start(&home);
    let mut shim = Shim::connected(&home, "2025-11-25", json!({}));
    let mut other = Shim::connected(&home, "2025-11-25", json!({}));
    // The answer of a request behind `notifications/initialized` shows that it was heard.
    shim.request("ping", json!({}));
    shim.post("tools/call", json!({ "name": "skynet_enable_toolset", "arguments": { "toolset": "system" } }));
    next(&mut shim, "notifications/tools/list_changed");
    assert!(names(&shim.request("tools/list", json!({}))).contains(&"system_describe".to_owned()));
    assert!(!names(&other.request("tools/list", json!({}))).contains(&"system_describe".to_owned()));
    let input = json!({ "toolset": "system", "disable": true });
    assert_eq!(shim.call("skynet_enable_toolset", input).unwrap()["listed"], false);
    assert!(!names(&shim.request("tools/list", json!({}))).contains(&"system_describe".to_owned()));
    // In 2026-07-28 there is no list per connection.
    let mut modern = Shim::start(&home);
    let params = json!({ "name": "skynet_enable_toolset", "arguments": { "toolset": "system" }, "_meta": modern_meta() });
    let refused = outcome(&modern.request("tools/call", params)).unwrap_err();
    assert!(refused.contains("skynetctl toolset enable system"), "{refused}");
}

#[test]
fn a_hidden_tool_is_found_described_called_and_audited_by_its_own_name() {
    let home = Home::new();
    let _daemon = Daemon::start(&home);
    let mut shim = Shim::connected(&home, "2025-11-25", json!({}));
    let found = shim.call("skynet_search_tools", json!({ "query": "which ports are open" })).unwrap();
    let name = found["tools"][0]["name"].clone();
    assert_eq!(name, "system_list_network");
    let described = shim.call("skynet_describe_tool", json!({ "name": name })).unwrap();
    assert!(described["input_schema"]["properties"]["port"].is_object());
    let input = json!({ "name": name, "arguments": { "ports_only": true } });
    assert!(shim.call("skynet_call_tool", input).unwrap()["listening"].is_array());
    // Its own schema, its own policy.
    let input = json!({ "name": name, "arguments": { "prot": 1 } });
    let refused = shim.call("skynet_call_tool", input).unwrap_err();
    assert!(refused.starts_with("invalid_input: `system_list_network`"), "{refused}");
    let (_, audit, _) = home.ctl(&["--json", "audit", "query", "--tool", "system_list_network"]);
    assert_eq!(audit.matches(r#""via":"skynet_call_tool""#).count(), 2, "{audit}");
}

#[test]
fn resources_are_listed_and_read() {
    let home = Home::new();
    let _daemon = Daemon::start(&home);
    fs::create_dir(home.project.join("a b")).unwrap();
    fs::write(home.project.join("a b/f.txt"), "text\n").unwrap();
    fs::write(home.project.join("bytes"), [0, 159, 146, 150]).unwrap();
    let mut shim = Shim::connected(&home, "2025-11-25", json!({}));
    let listed = shim.request("resources/list", json!({}));
    let uris: Vec<_> =
        listed["result"]["resources"].as_array().unwrap().iter().map(|one| one["uri"].clone()).collect();
    assert!(uris.contains(&json!("skynet://session/audit")), "{listed}");
    let templates = shim.request("resources/templates/list", json!({}));
    assert!(templates.to_string().contains("skynet://workspace/{+path}"));
    let mut read = |uri: &str| {
        let answer = shim.request("resources/read", json!({ "uri": uri }));
        answer
            .get("error")
            .map_or_else(|| Ok(answer["result"]["contents"][0].clone()), |error| Err(error["code"].clone()))
    };
    assert_eq!(read("skynet://workspace/a%20b/f.txt").unwrap()["text"], "text\n");
    assert_eq!(read("skynet://workspace/bytes").unwrap()["blob"], "AJ+Slg==");
    assert_eq!(read("skynet://workspace/../x").unwrap_err(), -32602);
    assert_eq!(read("skynet://workspace/missing").unwrap_err(), -32002);
    assert_eq!(read("skynet://nothing").unwrap_err(), -32002);
    let audit = read("skynet://session/audit").unwrap()["text"].as_str().unwrap().to_owned();
    let audit: Value = serde_json::from_str(&audit).unwrap();
    let tools: Vec<_> = audit.as_array().unwrap().iter().map(|line| line["tool"].clone()).collect();
    assert!(tools.len() >= 4 && tools.iter().all(|tool| tool == "files_read"), "{audit}");
    for uri in uris.iter().filter_map(Value::as_str).filter(|uri| uri.starts_with("skill://")) {
        assert!(read(uri).unwrap()["text"].as_str().unwrap().starts_with("---\nname: "), "{uri}");
    }
}

#[test]
fn prompts_are_filled_in_and_their_arguments_completed() {
    let home = Home::new();
    let _daemon = Daemon::start(&home);
    fs::create_dir_all(home.project.join("source/deep")).unwrap();
    fs::write(home.project.join("source/main.rs"), "").unwrap();
    let git = |arguments: &[&str]| {
        assert!(Command::new("git").arg("-C").arg(&home.project).args(arguments).status().unwrap().success());
    };
    git(&["init", "--quiet", "--initial-branch=trunk"]);
    git(&["-c", "user.name=t", "-c", "user.email=t@t", "commit", "--quiet", "--allow-empty", "--message=x"]);
    let mut shim = Shim::connected(&home, "2025-11-25", json!({}));
    let listed = shim.request("prompts/list", json!({}));
    assert!(listed["result"]["prompts"].as_array().unwrap().len() >= 5, "{listed}");
    let got =
        shim.request("prompts/get", json!({ "name": "explain_file", "arguments": { "path": "source" } }));
    assert!(got["result"]["messages"][0]["content"]["text"].as_str().unwrap().contains("`source`"), "{got}");
    assert_eq!(shim.request("prompts/get", json!({ "name": "explain_file" }))["error"]["code"], -32602);
    let mut complete = |prompt: &str, name: &str, value: &str| {
        let reference = json!({ "type": "ref/prompt", "name": prompt });
        let params = json!({ "ref": reference, "argument": { "name": name, "value": value } });
        shim.request("completion/complete", params)["result"]["completion"]["values"].clone()
    };
    assert_eq!(complete("explain_file", "path", "so"), json!(["source/"]));
    assert_eq!(complete("explain_file", "path", "source/"), json!(["source/deep/", "source/main.rs"]));
    assert_eq!(complete("explain_file", "path", "../"), json!([]));
    assert_eq!(complete("review_changes", "branch", "tr"), json!(["trunk"]));
    assert_eq!(complete("use_tool", "tool", "git_bl"), json!(["git_blame"]));
}

#[test]
fn skills_come_with_the_server() {
    let home = Home::new();
    let _daemon = Daemon::start(&home);
    let mut shim = Shim::start(&home);
    let listed = shim.request("skills/list", json!({ "_meta": modern_meta() }));
    let skills = listed["result"]["skills"].as_array().unwrap();
    assert!(skills.len() >= 3, "{listed}");
    let uri = skills[0]["uri"].clone();
    let got = shim.request("skills/get", json!({ "uri": uri, "_meta": modern_meta() }));
    assert_eq!(got["result"]["skill"]["uri"], uri, "{got}");
}

#[test]
fn subscribers_hear_of_their_session_in_both_eras() {
    let home = Home::new();
    let _daemon = Daemon::start(&home);
    let uri = "skynet://session/audit";
    let mut legacy = Shim::connected(&home, "2025-11-25", json!({}));
    assert!(legacy.request("resources/subscribe", json!({ "uri": uri })).get("error").is_none());
    let refused = legacy.request("resources/subscribe", json!({ "uri": "skynet://result/x" }));
    assert_eq!(refused["error"]["code"], -32602);
    legacy.post("tools/call", json!({ "name": "files_list", "arguments": {} }));
    assert_eq!(next(&mut legacy, "notifications/resources/updated")["params"]["uri"], uri);

    let mut modern = Shim::start(&home);
    let wanted = json!({ "toolsListChanged": true, "resourceSubscriptions": [uri, "skynet://result/x"] });
    let id = modern.post("subscriptions/listen", json!({ "notifications": wanted, "_meta": modern_meta() }));
    let acknowledged = next(&mut modern, "notifications/subscriptions/acknowledged");
    assert_eq!(
        acknowledged["params"]["notifications"]["resourceSubscriptions"],
        json!([uri]),
        "{acknowledged}"
    );
    let params = json!({ "name": "files_list", "arguments": {}, "_meta": modern_meta() });
    modern.post("tools/call", params);
    let updated = next(&mut modern, "notifications/resources/updated");
    assert_eq!(updated["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"], id, "{updated}");
}

/// Waits until `uri` is told of, passing over what else is.
fn hears_of(shim: &mut Shim, uri: &str) {
    while next(shim, "notifications/resources/updated")["params"]["uri"] != uri {}
}

#[test]
fn subscribers_hear_of_files_however_they_change() {
    let home = Home::new();
    let daemon = Daemon::start(&home);
    let project = &home.project;
    fs::write(project.join("file é"), "1").unwrap();
    let (file, later) = ("skynet://workspace/file%20%C3%A9", "skynet://workspace/some/where/later");
    let mut shim = Shim::connected(&home, "2025-11-25", json!({}));
    for uri in [file, later] {
        let answer = shim.request("resources/subscribe", json!({ "uri": uri }));
        assert!(answer.get("error").is_none(), "{answer}");
    }
    let change = |shim: &mut Shim, uri: &str, change: &dyn Fn()| {
        change();
        hears_of(shim, uri);
    };
    change(&mut shim, file, &|| fs::write(project.join("file é"), "2").unwrap());
    // As editors write: another file takes its place.
    fs::write(project.join("new"), "3").unwrap();
    change(&mut shim, file, &|| fs::rename(project.join("new"), project.join("file é")).unwrap());
    change(&mut shim, file, &|| fs::remove_file(project.join("file é")).unwrap());
    change(&mut shim, file, &|| fs::write(project.join("file é"), "4").unwrap());
    // Its directories come, go, and come again.
    for _ in 0..2 {
        let directory = project.join("some/where");
        change(&mut shim, later, &|| fs::create_dir_all(&directory).unwrap());
        change(&mut shim, later, &|| fs::write(directory.join("later"), "x").unwrap());
        change(&mut shim, later, &|| fs::remove_dir_all(project.join("some")).unwrap());
    }
    // The process that watches dies.
    for pid in daemon.children() {
        let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    }
    hears_of(&mut shim, file);
    change(&mut shim, file, &|| fs::write(project.join("file é"), "5").unwrap());

    let mut modern = Shim::start(&home);
    let wanted = json!({ "resourceSubscriptions": [file, later] });
    let id = modern.post("subscriptions/listen", json!({ "notifications": wanted, "_meta": modern_meta() }));
    for uri in [file, later] {
        hears_of(&mut modern, uri);
    }
    fs::write(project.join("file é"), "6").unwrap();
    let updated = next(&mut modern, "notifications/resources/updated");
    assert_eq!(updated["params"]["uri"], file);
    assert_eq!(updated["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"], id, "{updated}");
}

#[test]
fn only_files_that_may_be_read_are_watched_and_not_too_many() {
    let home = Home::new();
    home.configure("[[policy.rules]]\nname = 'no'\nverdict = 'deny'\ntools = ['files_stat']\n");
    let daemon = Daemon::start(&home);
    let subscribe = |shim: &mut Shim, path: &str| {
        let uri = format!("skynet://workspace/{path}");
        shim.request("resources/subscribe", json!({ "uri": uri }))["error"]["message"].clone()
    };
    let mut shim = Shim::connected(&home, "2025-11-25", json!({}));
    assert!(subscribe(&mut shim, "f").as_str().unwrap().contains("`no`"));
    drop((shim, daemon));
    home.configure("");
    let _daemon = Daemon::start(&home);
    std::os::unix::fs::symlink("/etc", home.project.join("out")).unwrap();
    let mut shim = Shim::connected(&home, "2025-11-25", json!({}));
    for outside in ["../f", "out/passwd", "/etc/passwd"] {
        assert!(subscribe(&mut shim, outside).is_string(), "{outside}");
    }
    for number in 0..64 {
        assert_eq!(subscribe(&mut shim, &format!("f{number}")), Value::Null);
    }
    assert!(subscribe(&mut shim, "f64").as_str().unwrap().contains("64 files"));
    let uri = "skynet://workspace/f0";
    assert!(shim.request("resources/unsubscribe", json!({ "uri": uri })).get("error").is_none());
    assert_eq!(subscribe(&mut shim, "f64"), Value::Null);
    // Together, all sessions of a workspace have a limit as well.
    let refused = (0..5).find_map(|client| {
        let mut other = Shim::connected(&home, "2025-11-25", json!({}));
        let refused = (0..64)
            .map(|number| subscribe(&mut other, &format!("g{client}-{number}")))
            .find(Value::is_string);
        // Its watches last as long as it does.
        std::mem::forget(other);
        refused
    });
    assert!(refused.unwrap().as_str().unwrap().contains("256 files"), "no limit");
}

#[test]
fn without_systemd_that_is_said() {
    let home = Home::new();
    let _daemon = Daemon::start(&home);
    let mut shim = Shim::connected(&home, "2025-11-25", json!({}));
    if !std::path::Path::new("/run/systemd/system").exists() {
        for scope in ["system", "user"] {
            let refused = shim.call("service_list", json!({ "scope": scope })).unwrap_err();
            assert!(refused.starts_with("unavailable") && refused.contains("no systemd"), "{refused}");
        }
    }
}
