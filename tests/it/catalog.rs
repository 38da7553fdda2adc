//! Rules that every tool must keep, checked over the registry.

use serde_json::{Map, Value};
use skynet_core::{Entry, Registry};
use skynet_tests::workbench;

fn registry() -> Registry {
    workbench::product()
}

#[test]
fn names_and_summaries_are_what_clients_can_take() {
    for tool in registry().iter() {
        let name = tool.name;
        assert!(name.len() <= 40 && name.contains('_'), "{name}");
        assert!(
            name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_' || byte.is_ascii_digit()),
            "{name}"
        );
        assert!((20..=1024).contains(&tool.summary.len()), "{name}");
    }
}

#[test]
fn every_field_is_described_and_every_schema_is_flat() {
    fn walk(path: &str, schema: &Map<String, Value>) {
        for forbidden in ["$ref", "$defs", "allOf", "oneOf", "anyOf"] {
            assert!(!schema.contains_key(forbidden), "{path} has {forbidden}");
        }
        let properties = schema.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
        for (name, property) in &properties {
            let path = format!("{path}.{name}");
            let property = property.as_object().unwrap();
            assert!(
                property.get("description").and_then(Value::as_str).is_some_and(|text| text.len() > 3),
                "{path} is not described"
            );
            walk(&path, property);
        }
        if let Some(items) = schema.get("items").and_then(Value::as_object) {
            walk(&format!("{path}[]"), items);
        }
    }
    for tool in registry().iter() {
        walk(tool.name, &tool.input_schema);
        walk(tool.name, &tool.output_schema);
        assert_eq!(tool.input_schema["additionalProperties"], false, "{} takes unknown arguments", tool.name);
    }
}

/// What a model sees of a tool; a change shows in review. `SKYNET_UPDATE_GOLDENS=1` rewrites the file.
#[test]
fn schemas_are_the_reviewed_ones() {
    let describe = |tool: &Entry| serde_json::json!({ "summary": tool.summary, "effect": tool.effect.as_str(), "timeout_seconds": tool.timeout.as_secs(), "input": *tool.input_schema, "output": *tool.output_schema });
    let all: Map<String, Value> =
        registry().iter().map(|tool| (tool.name.to_owned(), describe(tool))).collect();
    let found = serde_json::to_string_pretty(&all).unwrap() + "\n";
    if std::env::var_os("SKYNET_UPDATE_GOLDENS").is_some() {
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/golden/tools.json"), &found).unwrap();
        return;
    }
    assert!(
        found == include_str!("../golden/tools.json"),
        "the schemas changed; run with SKYNET_UPDATE_GOLDENS=1 and review the difference"
    );
}

/// What was released stays: a client that was written against it goes on working. The file only grows.
#[test]
fn nothing_that_was_released_is_broken() {
    let released: Map<String, Value> = serde_json::from_str(include_str!("../golden/released.json")).unwrap();
    let registry = registry();
    for (name, old) in &released {
        let tool = registry.find(name).unwrap_or_else(|_| panic!("`{name}` is gone"));
        let input = Value::Object((*tool.input_schema).clone());
        let output = Value::Object((*tool.output_schema).clone());
        let broken =
            [breaks(&old["input"], &input, Side::Given), breaks(&old["output"], &output, Side::Read)];
        assert_eq!(broken.concat(), Vec::<String>::new(), "{name}");
    }
}

/// Who depends on a schema.
#[derive(Clone, Copy, PartialEq)]
enum Side {
    /// A client fills it in: nothing may become required, nothing taken away.
    Given,
    /// A client reads it: nothing may become optional, nothing taken away.
    Read,
}

/// What a client written against `old` would stumble over in `new`.
fn breaks(old: &Value, new: &Value, side: Side) -> Vec<String> {
    let mut faults = Vec::new();
    if old["type"] != new["type"] {
        faults.push(format!("type {} became {}", old["type"], new["type"]));
    }
    let list = |schema: &Value, key: &str| schema[key].as_array().cloned().unwrap_or_default();
    let (before, after) = (list(old, "required"), list(new, "required"));
    let (must_hold, within) = if side == Side::Given { (&after, &before) } else { (&before, &after) };
    faults.extend(
        must_hold.iter().filter(|name| !within.contains(name)).map(|name| format!("required: {name}")),
    );
    let values = list(new, "enum");
    if side == Side::Given && !values.is_empty() {
        faults.extend(
            list(old, "enum")
                .iter()
                .filter(|name| !values.contains(name))
                .map(|name| format!("value {name}")),
        );
    }
    for (name, property) in old["properties"].as_object().into_iter().flatten() {
        match new["properties"].get(name) {
            None => faults.push(format!("`{name}` is gone")),
            Some(changed) => {
                faults.extend(
                    breaks(property, changed, side).into_iter().map(|fault| format!("{name}: {fault}")),
                );
            }
        }
    }
    if old["items"].is_object() {
        faults.extend(breaks(&old["items"], &new["items"], side));
    }
    faults
}

#[test]
fn every_tool_is_called_by_a_test() {
    let tests = [
        include_str!("../e2e/host/packages.rs"),
        include_str!("../e2e/host/services.rs"),
        include_str!("../e2e/host/system.rs"),
        include_str!("../e2e/image.rs"),
        include_str!("../e2e/host/docker.rs"),
        include_str!("../e2e/host/docker/compose.rs"),
        include_str!("../e2e/host/docker/images.rs"),
        include_str!("../e2e/host/docker/run.rs"),
        include_str!("../e2e/jobs.rs"),
        include_str!("../e2e/knowledge.rs"),
        include_str!("../e2e/knowledge/meaning.rs"),
        include_str!("../e2e/knowledge/sources.rs"),
        include_str!("../e2e/host/knowledge.rs"),
        include_str!("../e2e/memory.rs"),
        include_str!("../e2e/jobs/terminal.rs"),
        include_str!("../e2e/preview.rs"),
        include_str!("../e2e/projects.rs"),
        include_str!("../e2e/remotes.rs"),
        include_str!("../e2e/toolchains.rs"),
        include_str!("../e2e/sandbox.rs"),
        include_str!("../e2e/undo.rs"),
        include_str!("files.rs"),
        include_str!("git.rs"),
        include_str!("leases.rs"),
        include_str!("skynet.rs"),
        include_str!("system.rs"),
    ]
    .concat();
    for tool in registry().iter() {
        assert!(tests.contains(&format!("\"{}\"", tool.name)), "no test calls {}", tool.name);
    }
}

/// What clients are told of a tool is the most it may do: a client may let calls pass that only read.
#[test]
fn a_tool_that_does_more_for_some_input_says_so() {
    let registry = registry();
    for (name, input) in [
        ("docker_control_container", r#"{"container":"x","action":"start"}"#),
        ("docker_control_network", r#"{"network":"x","action":"connect","container":"y"}"#),
        ("docker_control_volume", r#"{"volume":"x","action":"remove"}"#),
        (
            "docker_copy_files",
            r#"{"container":"x","direction":"into_container","from":"f","into":"/","reaches_host":true}"#,
        ),
        ("docker_exec_container", r#"{"container":"x","argv":["true"]}"#),
        ("docker_run_container", r#"{"image":"x"}"#),
        ("exec_run", r#"{"command":["true"],"network":{"reach":[80]}}"#),
        ("exec_preview", r#"{"command":["true"],"network":{"hosts":["example.com"]}}"#),
        ("exec_start_job", r#"{"command":["true"],"network":{"publish":[3000]}}"#),
        ("files_edit", r#"{"path":"f","edits":[{"old":"a","new":"b"}]}"#),
        ("git_branch", r#"{"action":"delete","name":"x","force":true}"#),
        ("git_checkout", r#"{"paths":["f"]}"#),
        ("git_stash", r#"{"action":"drop"}"#),
        ("git_worktree", r#"{"action":"remove","path":"x"}"#),
    ] {
        let tool = registry.find(name).unwrap();
        let input = skynet_core::Canonical::parse(input.as_bytes()).unwrap();
        assert_eq!(tool.effect_of(&input).unwrap(), tool.most, "{name}");
    }
    assert!(registry.iter().all(|tool| tool.most >= tool.effect));
}

/// A tool that starts what its caller names says what that is, or no list of commands would judge it.
#[test]
fn what_takes_a_command_declares_it() {
    let takes_command = |tool: &Entry| {
        ["command", "script", "code"].iter().any(|name| tool.input_schema["properties"].get(name).is_some())
    };
    let mut count = 0;
    for tool in registry().iter().filter(|tool| takes_command(tool)) {
        let input: &[u8] = match tool.name {
            "exec_run_code" => br#"{"language":"bash","code":"x","arguments":["true"]}"#,
            _ => br#"{"command":["true"]}"#,
        };
        let input = skynet_core::Canonical::parse(input).unwrap();
        let command =
            tool.command_of(&input).unwrap().unwrap_or_else(|| panic!("{} declares nothing", tool.name));
        assert_eq!(command.argv, ["true"], "{}", tool.name);
        count += 1;
    }
    assert!(count > 0);
}

/// What it looks at first is a command too.
#[test]
fn what_is_started_first_is_declared() {
    let registry = registry();
    let tool = registry.find("env_install").unwrap();
    let before = |input: &[u8]| {
        let input = skynet_core::Canonical::parse(input).unwrap();
        tool.command_before(&input).unwrap().map(|command| command.argv.join(" "))
    };
    assert_eq!(before(br#"{"manager":"npm","node_version":"20"}"#).as_deref(), Some("node --version"));
    assert_eq!(before(br#"{"manager":"npm"}"#), None);
}
