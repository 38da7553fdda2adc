//! What every tool does, whatever it is for: nothing where a rule denies it, nothing with what is no input, and nothing where its
//! client takes the call back. The calls are made of the tools' own schemas, so that a new tool is here as soon as it is in the
//! catalog, with or without what it works on. What each does when it succeeds is in the tests of its family.

use async_trait::async_trait;
use serde_json::{Map, Value, json};
use skynet_core::{
    CallId, Entry, ErrorKind,
    call::{Ask, Asked, Question},
};
use skynet_policy::Verdict;
use skynet_tests::workbench::{self, Manner, Setup, Workbench, rule};
use std::{fs, sync::Arc};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// What no schema tells: of some fields one must be there.
const MORE: &[(&str, &str)] = &[
    ("exec_preview", r#"{"command":["true"]}"#),
    ("exec_run", r#"{"command":["true"]}"#),
    ("exec_start_job", r#"{"command":["true"]}"#),
    ("system_change_packages", r#"{"packages":["x"]}"#),
];

/// A file of the workspace, by the name that calls give to everything.
const FILE: &str = "x";

fn bench(setup: Setup) -> Workbench {
    let bench = Workbench::new(setup);
    bench.write(FILE, "kept");
    bench
}

/// The workspace as it was.
fn check_untouched(bench: &Workbench) {
    let names: Vec<_> = fs::read_dir(&bench.root).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!((names, bench.read(FILE)), (vec![FILE.into()], "kept".to_owned()));
}

/// Arguments that the tool takes.
fn input_of(tool: &Entry) -> Map<String, Value> {
    let mut input = members(&Value::Object((*tool.input_schema).clone()));
    if let Some((_, more)) = MORE.iter().find(|(name, _)| *name == tool.name) {
        input.extend(serde_json::from_str::<Map<String, Value>>(more).unwrap());
    }
    input
}

/// What an object of that schema must have.
fn members(schema: &Value) -> Map<String, Value> {
    let required = schema["required"].as_array().cloned().unwrap_or_default();
    let names = required.iter().filter_map(Value::as_str);
    names.map(|name| (name.to_owned(), sample(&schema["properties"][name]))).collect()
}

fn sample(schema: &Value) -> Value {
    if let Some(first) = schema["enum"].get(0) {
        return first.clone();
    }
    match schema["type"].as_str().unwrap() {
        "string" => match schema["pattern"].as_str() {
            Some("^[0-9a-f]{64}$") => "0".repeat(64).into(),
            Some(pattern) if pattern.starts_with("^[0-9a-f]{32}") => format!("{}.1", "0".repeat(32)).into(),
            Some(_) | None => FILE.into(),
        },
        "integer" | "number" => schema.get("minimum").cloned().unwrap_or_else(|| 1.into()),
        "boolean" => true.into(),
        "array" => json!([sample(&schema["items"])]),
        "object" => Value::Object(members(schema)),
        other => panic!("no sample of `{other}`"),
    }
}

/// What does not fit it.
fn wrong(schema: &Value) -> Value {
    if schema["type"] == "object" { "text".into() } else { json!({ "wrong": true }) }
}

#[tokio::test]
async fn a_denied_tool_names_the_rule_and_does_nothing() {
    let registry = workbench::product();
    let deny = |tool: &Arc<Entry>| rule(&format!("no {}", tool.name), Verdict::Deny, &[tool.name], &[]);
    let bench = bench(Setup { rules: registry.iter().map(deny).collect(), ..Setup::default() });
    for tool in registry.iter() {
        let refused = bench.call(tool.name, Value::Object(input_of(tool))).await.expect_err(tool.name);
        assert!(
            refused.starts_with(&format!("denied: `{}` ", tool.name))
                && refused.contains(&format!("by the rule `no {}`", tool.name)),
            "{refused}"
        );
    }
    check_untouched(&bench);
    let audit = bench.audit();
    assert_eq!(audit.len(), registry.iter().count());
    for (line, tool) in audit.iter().zip(registry.iter()) {
        assert_eq!((&line["tool"], &line["outcome"]), (&json!(tool.name), &json!("denied")), "{line}");
    }
}

#[tokio::test]
async fn what_is_no_input_is_refused_by_the_name_of_the_argument() {
    let allow = rule("all", Verdict::Allow, &[], &[]);
    let bench = bench(Setup { rules: vec![allow], ..Setup::default() });
    let mut count = 0;
    for tool in bench.registry.iter() {
        let with = |name: &str, value: Value| {
            let mut input = input_of(tool);
            input.insert(name.to_owned(), value);
            Value::Object(input)
        };
        let unknown = with("no_such_argument", json!(1));
        let refused = bench.call(tool.name, unknown).await.expect_err(tool.name);
        assert!(
            refused.starts_with(&format!("invalid_input: `{}`: ", tool.name))
                && refused.contains("'no_such_argument'")
                && refused.contains("arguments are: "),
            "{refused}"
        );
        let properties = tool.input_schema.get("properties").and_then(Value::as_object);
        for (name, schema) in properties.into_iter().flatten() {
            let refused = bench.call(tool.name, with(name, wrong(schema))).await.expect_err(tool.name);
            assert!(
                refused.starts_with(&format!("invalid_input: `{}`: argument `{name}`: ", tool.name)),
                "{refused}"
            );
            count += 1;
        }
        for name in input_of(tool).keys() {
            let mut input = input_of(tool);
            input.remove(name);
            let is_required = tool.input_schema.get("required").is_some_and(|all| {
                all.as_array().is_some_and(|all| all.iter().any(|required| required == name))
            });
            if is_required {
                let refused = bench.call(tool.name, Value::Object(input)).await.expect_err(tool.name);
                assert!(
                    refused.starts_with("invalid_input: ") && refused.contains(&format!("\"{name}\"")),
                    "{refused}"
                );
            }
        }
    }
    assert!(count > 100, "{count}");
    check_untouched(&bench);
}

/// A client that shows a question for good.
struct Silent;

#[async_trait]
impl Ask for Silent {
    async fn ask(&self, _question: Question<'_>) -> Asked {
        std::future::pending().await
    }
}

#[tokio::test]
async fn a_call_that_is_taken_back_does_nothing_and_the_session_goes_on() {
    let allow = rule("all", Verdict::Allow, &[], &[]);
    let bench = bench(Setup { rules: vec![allow], ..Setup::default() });
    let (session, cancel) = (Uuid::new_v4(), CancellationToken::new());
    cancel.cancel();
    let id = |sequence| Some(CallId { session, sequence, index: 0 });
    for (number, tool) in (0_u64..).zip(bench.registry.iter()) {
        let manner = Manner {
            id: id(2 * number + 1),
            ask: Some(Arc::new(Silent)),
            cancel: cancel.clone(),
            ..Manner::default()
        };
        let input = Value::Object(input_of(tool)).to_string();
        let outcome = bench.call_raw(tool.name, input.as_bytes(), manner).await;
        let err = outcome.err().unwrap_or_else(|| panic!("`{}` answered", tool.name));
        assert_eq!(err.kind, ErrorKind::Canceled, "{}: {err}", tool.name);
        let next = Manner { id: id(2 * number + 2), ..Manner::default() };
        let found = bench.call_raw("files_read", br#"{"path":"x"}"#, next).await.unwrap();
        let found: Value = serde_json::from_slice(&found.json).unwrap();
        assert!(found.to_string().contains("kept"), "after `{}`: {found}", tool.name);
    }
    check_untouched(&bench);
}
