//! Rules about arguments, and those that a project brings, through the pipeline with the real tools.

use jiff::Timestamp;
use serde_json::json;
use skynet_core::{Canonical, Group};
use skynet_policy::{Matcher, Roles, Rule, Rules, Verdict, Who};
use skynet_tests::workbench::{Manner, Setup, Workbench, rule};
use std::{fs, os::unix::fs::symlink};

/// A rule about the argument `path` of tools.
fn about_path(name: &str, verdict: Verdict, tools: &[&str], path: Matcher) -> Rule {
    Rule { arguments: [("path".to_owned(), path)].into(), ..rule(name, verdict, tools, &[]) }
}

fn under(path: &str) -> Matcher {
    Matcher { under: vec![path.into()], ..Matcher::default() }
}

#[tokio::test]
async fn a_secret_is_denied_by_whatever_name() {
    let rules = vec![about_path("no secrets", Verdict::Deny, &["files_*"], under("secret"))];
    let bench = Workbench::new(Setup { rules, ..Setup::default() });
    bench.write("secret/key", "k");
    bench.write("src/main.rs", "fn main() {}");
    symlink("secret", bench.root.join("link")).unwrap();
    symlink("../secret/key", bench.root.join("src/innocent")).unwrap();
    symlink("/etc", bench.root.join("out")).unwrap();
    let absolute = bench.workspace.path().join("src/../secret//key").display().to_string();
    for path in [
        "secret/key",
        "./secret//key",
        "src/../secret/key",
        "link/key",
        "src/innocent",
        &absolute,
        // Where it leads, nobody can say, so it may be there.
        "out/passwd",
        "missing/../secret/key",
    ] {
        bench.check_refused("files_read", json!({ "path": path }), "denied", "`no secrets`").await;
    }
    bench.call("files_read", json!({ "path": "src/main.rs" })).await.unwrap();
    // What is not there is where it would be made.
    fs::remove_dir_all(bench.root.join("secret")).unwrap();
    bench
        .check_refused(
            "files_write",
            json!({ "path": "secret/new", "content": "" }),
            "denied",
            "or this value of `path`",
        )
        .await;
    bench.call("files_write", json!({ "path": "new", "content": "" })).await.unwrap();
    let lines = bench.audit();
    assert_eq!(lines[0]["rule"], "no secrets: deny");
    assert_eq!(lines.last().unwrap()["rule"], "default for write: allow");
}

#[tokio::test]
async fn what_is_allowed_below_a_directory_is_asked_about_elsewhere() {
    let paths = [("paths".to_owned(), under("build"))].into();
    let allow =
        Rule { arguments: paths, ..rule("build is disposable", Verdict::Allow, &["git_checkout"], &[]) };
    let bench = Workbench::new(Setup { rules: vec![allow], ..Setup::default() });
    for name in ["build/a", "build/b", "keep"] {
        bench.write(name, "");
    }
    symlink("../keep", bench.root.join("build/link")).unwrap();
    for (paths, is_asked) in [
        (json!(["build/a"]), false),
        (json!(["build/a", "build/../build//b"]), false),
        (json!(["build/a", "keep"]), true),
        (json!(["build/../keep"]), true),
        (json!(["build/link"]), true),
    ] {
        // This is no repository, so what is allowed fails by itself.
        let err = bench.call("git_checkout", json!({ "paths": paths })).await.unwrap_err();
        assert_eq!(err.starts_with("needs_confirmation: "), is_asked, "{paths}: {err}");
    }
}

#[tokio::test]
async fn the_rules_of_a_project_count_while_they_are_trusted() {
    let bench = Workbench::new(Setup {
        rules: vec![rule("no tree", Verdict::Deny, &["files_tree"], &[])],
        ..Setup::default()
    });
    bench.write("generated/x", "x");
    let read = || bench.call("files_read", json!({ "path": "generated/x" }));
    let text = "[[rules]]\nname = 'generated'\nverdict = 'deny'\ntools = ['files_*']\narguments = { path = { under = 'generated' } }\n\
                [[rules]]\nname = 'lists'\nverdict = 'ask'\ntools = ['files_list', 'files_tree']\n";
    bench.write(".skynet.toml", text);
    read().await.unwrap();
    let projects = &bench.services.projects;
    let trusted = projects.trust_now(&bench.caller(), &bench.registry).await.unwrap();
    assert_eq!(trusted.rules, 2);
    let err = read().await.unwrap_err();
    assert!(
        err.starts_with("denied: `files_read` (read) is denied by the rule `generated (.skynet.toml)`"),
        "{err}"
    );
    bench.check_refused("files_list", json!({}), "needs_confirmation", "`lists (.skynet.toml)`").await;
    // What the administrator denied is not asked about.
    bench.check_refused("files_tree", json!({}), "denied", "`no tree`").await;
    assert_eq!(bench.audit()[1]["rule"], "generated (.skynet.toml): deny");

    bench.write(".skynet.toml", format!("{text}# changed\n"));
    read().await.unwrap();
    bench.write(".skynet.toml", text);
    read().await.unwrap_err();
    fs::rename(bench.root.join(".skynet.toml"), bench.root.join("elsewhere")).unwrap();
    symlink("elsewhere", bench.root.join(".skynet.toml")).unwrap();
    read().await.unwrap();
    fs::remove_file(bench.root.join(".skynet.toml")).unwrap();
    bench.write(".skynet.toml", "[[rules]]\nname = 'wide'\nverdict = 'allow'\n");
    assert!(projects.trust_now(&bench.caller(), &bench.registry).await.is_err());
    bench.write(
        ".skynet.toml",
        "[[rules]]\nname = 'odd'\nverdict = 'deny'\ntools = ['files_*']\narguments = { pth = 'x' }\n",
    );
    let err = projects.trust_now(&bench.caller(), &bench.registry).await.unwrap_err();
    assert!(err.message.contains("has an argument `pth`; did you mean `path`?"), "{err}");
    // No tool may write what decides about tools.
    let manner = Manner::default();
    let raw = br#"{"path":".skynet.toml","content":""}"#;
    bench.call_raw("files_write", raw, manner).await.unwrap_err();
}

/// The configuration and the tests of the guide, and the file of a project in it.
#[derive(Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Guide {
    policy: Policy,
    tests: Vec<Expectation>,
}

#[derive(Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Policy {
    rules: Vec<Rule>,
    roles: Roles,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Expectation {
    #[serde(default)]
    name: String,
    tool: String,
    #[serde(default = "nobody")]
    user: String,
    #[serde(default)]
    groups: Vec<String>,
    #[serde(default)]
    input: toml::Table,
    at: Option<toml::value::Datetime>,
    verdict: Verdict,
    rule: Option<String>,
}

fn nobody() -> String {
    "nobody".into()
}

#[tokio::test]
async fn every_example_of_the_guide_is_true() {
    let guide = include_str!("../../docs/policy.md");
    let blocks = guide.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let (projects, blocks): (Vec<_>, Vec<_>) = blocks.partition(|block| block.starts_with("# .skynet.toml"));
    let all: Guide = toml::from_str(&blocks.concat()).unwrap();
    let bench = Workbench::new(Setup::default());
    let rules = Rules::new(all.policy.rules, &all.policy.roles).unwrap();
    rules.check(&bench.registry).unwrap();
    assert!(all.tests.len() >= 8);
    bench.write("config/secrets/key", "k");
    for test in &all.tests {
        let groups: Vec<_> =
            test.groups.iter().map(|name| Group { gid: u32::MAX, name: name.as_str().into() }).collect();
        let caller = bench.caller();
        let who = Who { user: &test.user, uid: u32::MAX, groups: &groups, ..Who::of(&caller) };
        let input = Canonical::parse(&serde_json::to_vec(&test.input).unwrap()).unwrap();
        let at = test.at.as_ref().map_or_else(Timestamp::now, |at| at.to_string().parse().unwrap());
        let tool = bench.registry.find(&test.tool).unwrap();
        let said = rules.explain(&who, tool, &input, at).unwrap();
        assert_eq!(said.verdict, test.verdict, "{} {}", test.name, test.tool);
        assert!(test.rule.as_ref().is_none_or(|rule| *rule == said.rule), "{} {said:?}", test.name);
    }
    for project in projects {
        bench.write(".skynet.toml", project);
        bench.services.projects.trust_now(&bench.caller(), &bench.registry).await.unwrap();
    }
    bench
        .check_refused(
            "files_write",
            json!({ "path": "src/generated/x", "content": "" }),
            "denied",
            "`generated code",
        )
        .await;
    bench.check_refused("git_push", json!({}), "needs_confirmation", "default for external").await;
}
