//! The tools about tools.

use serde_json::{Value, json};
use skynet_tests::workbench::{Setup, Workbench, product};
use std::fmt::Write as _;

/// Requests in plain words, each with the tool that is meant.
const REQUESTS: &str = include_str!("../golden/requests.tsv");

/// How many of them must find their tool in the first place.
const WANTED_PERCENT: usize = 95;

#[tokio::test]
async fn plain_words_find_the_right_tool() {
    let bench = Workbench::new(Setup::default());
    let requests: Vec<(&str, &str)> = REQUESTS.lines().filter_map(|line| line.split_once('\t')).collect();
    assert!(requests.len() >= 200, "{}", requests.len());
    let mut missed = String::new();
    let mut right = 0;
    for (wanted, request) in &requests {
        assert!(bench.registry.find(wanted).is_ok(), "{wanted}");
        let found = bench.call("skynet_search_tools", json!({ "query": request, "limit": 3 })).await.unwrap();
        let names: Vec<_> =
            found["tools"].as_array().unwrap().iter().map(|tool| tool["name"].clone()).collect();
        if names.first() == Some(&json!(wanted)) {
            right += 1;
        } else {
            writeln!(missed, "{request}: wanted {wanted}, found {names:?}").unwrap();
        }
    }
    println!("{right} of {} requests find their tool first\n{missed}", requests.len());
    assert!(right * 100 >= requests.len() * WANTED_PERCENT, "{right} of {}:\n{missed}", requests.len());
}

#[tokio::test]
async fn every_listed_or_hidden_tool_is_meant_by_some_request() {
    for tool in product().iter().filter(|tool| tool.toolset != "skynet") {
        let count = REQUESTS.lines().filter(|line| line.starts_with(&format!("{}\t", tool.name))).count();
        assert!(count >= 4, "{}: {count}", tool.name);
        assert!(tool.keywords.contains(" | "), "{} has no keywords in two languages", tool.name);
    }
}

#[tokio::test]
async fn search_says_what_there_is_when_nothing_fits() {
    let bench = Workbench::new(Setup::default());
    let found = bench.call("skynet_search_tools", json!({ "query": "zzzz" })).await.unwrap();
    assert_eq!(found["tools"], json!([]));
    assert!(found["next"].as_str().unwrap().contains("system: "), "{found}");
}

#[tokio::test]
async fn a_description_holds_the_schema_of_the_tool() {
    let bench = Workbench::new(Setup::default());
    let found = bench.call("skynet_describe_tool", json!({ "name": "git_blame" })).await.unwrap();
    let entry = bench.registry.find("git_blame").unwrap();
    assert_eq!(found["input_schema"], Value::Object((*entry.input_schema).clone()));
    assert_eq!((&found["toolset"], &found["effect"]), (&json!("git_more"), &json!("read")));
    assert!(found.get("output_schema").is_none());
    let input = json!({ "name": "git_blame", "with_output": true });
    assert!(bench.call("skynet_describe_tool", input).await.unwrap()["output_schema"].is_object());
    bench
        .check_refused("skynet_describe_tool", json!({ "name": "git_blam" }), "not_found", "`git_blame`")
        .await;
}

#[tokio::test]
async fn a_call_of_nothing_is_refused() {
    let bench = Workbench::new(Setup::default());
    for (input, kind, part) in [
        (json!({ "name": "git_blam" }), "not_found", "`git_blame`"),
        (json!({ "name": "skynet_call_tool", "arguments": {} }), "invalid_input", "itself"),
        (json!({ "arguments": {} }), "invalid_input", "name"),
        (json!({ "name": "git_blame", "arguments": [] }), "invalid_input", "arguments"),
    ] {
        bench.check_refused("skynet_call_tool", input, kind, part).await;
    }
    bench
        .check_refused("skynet_enable_toolset", json!({ "toolset": "sytem" }), "not_found", "`system`")
        .await;
    let input = json!({ "toolset": "system" });
    bench
        .check_refused("skynet_enable_toolset", input, "invalid_input", "skynetctl toolset enable system")
        .await;
    bench.check_refused("skynet_show_job", json!({ "job": "x" }), "internal", "no jobs").await;
}
