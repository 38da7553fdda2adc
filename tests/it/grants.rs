//! What was approved for always, through the pipeline with the real tools.

use proptest::{collection, option, prelude::*};
use serde_json::{Map, Value, json};
use skynet_core::{
    Caller, Token, Workspace,
    call::{Means, Respondent},
};
use skynet_policy::{ApprovalState, Breadth, CommandRule, Grant, Rule, Verdict, Wish};
use skynet_tests::workbench::{Manner, Setup, Workbench, rule};
use std::{fs, sync::Arc, time::Duration};

const INPUT: Wish = Wish { breadth: Breadth::Input, lives_for: None };
const PATH: Wish = Wish { breadth: Breadth::Path, ..INPUT };

/// Root, by `skynetctl`.
pub(super) fn root() -> Respondent {
    Respondent { means: Means::Skynetctl, uid: 0, user: Some("root".into()) }
}

/// Asks about everything.
fn careful() -> Rule {
    rule("careful", Verdict::Ask, &["files_*"], &[])
}

fn bench(rules: Vec<Rule>) -> Workbench {
    Workbench::new(Setup { rules, confirm_wait: Duration::from_millis(1), ..Setup::default() })
}

/// Makes a call that is asked about, grants it, and lets it run this once.
async fn granted(bench: &Workbench, tool: &str, input: Value, wish: Wish) -> Grant {
    bench.check_refused(tool, input.clone(), "needs_confirmation", "nobody answered").await;
    let on = &bench.services;
    let id = on.approvals.list().into_iter().find(|one| one.state == ApprovalState::Pending).unwrap().id;
    let (approval, grant) = on.grants.approve(&on.approvals, &id, wish, &root()).await.unwrap();
    assert_eq!(approval.state, ApprovalState::Approved);
    let answer = bench.call(tool, input).await;
    assert!(answer.as_ref().err().is_none_or(|err| !err.starts_with("needs_confirmation")), "{answer:?}");
    grant
}

#[tokio::test]
async fn a_granted_call_is_asked_about_no_more_until_it_is_revoked() {
    let mut bench = bench(vec![careful()]);
    let write = json!({ "path": "a", "content": "x" });
    let grant = granted(&bench, "files_write", write.clone(), INPUT).await;
    bench.call("files_write", write.clone()).await.unwrap();
    let lines = bench.audit();
    let rules: Vec<_> = lines.iter().map(|line| line["rule"].as_str().unwrap_or("-")).collect();
    let by = format!("careful: allow by grant {}", grant.id);
    assert_eq!(rules, ["careful: ask", "-", "-", &by, &by]);
    assert_eq!((&lines[1]["kind"], &lines[1]["approval"]), (&json!("decision"), &json!(grant.approval)));
    assert_eq!((&lines[2]["kind"], &lines[2]["grant"]), (&json!("grant"), &json!(grant.id)));
    assert_eq!(lines[2]["input"]["content"]["bytes"], 1, "content is not recorded");
    // Nobody was asked: it is the word of who granted.
    for line in &lines[3..5] {
        let who = [&line["confirmed_by"], &line["grant"], &line["confirmed_uid"], &line["confirmed_user"]];
        assert_eq!(who, [&json!("grant"), &json!(grant.id), &json!(0), &json!("root")], "{line}");
    }
    let other = json!({ "path": "a", "content": "y" });
    bench.check_refused("files_write", other, "needs_confirmation", "`careful`").await;

    // The approval that the grant came with ends with it.
    let fresh = json!({ "path": "b", "content": "x" });
    let on = &bench.services;
    bench.check_refused("files_write", fresh.clone(), "needs_confirmation", "").await;
    let id = on.approvals.list().into_iter().find(|one| one.input.contains("\"b\"")).unwrap().id;
    let (_, unused) = on.grants.approve(&on.approvals, &id, INPUT, &root()).await.unwrap();
    on.grants.revoke(&on.approvals, &unused.id, None, 0).await.unwrap();
    bench.check_refused("files_write", fresh, "needs_confirmation", "").await;

    bench.restart(vec![careful()]);
    bench.call("files_write", write.clone()).await.unwrap();
    bench.services.grants.revoke(&bench.services.approvals, &grant.id, None, 0).await.unwrap();
    bench.check_refused("files_write", write.clone(), "needs_confirmation", "`careful`").await;
    bench.restart(vec![careful()]);
    bench.check_refused("files_write", write, "needs_confirmation", "`careful`").await;
    assert_eq!(bench.audit().iter().filter(|line| line["kind"] == "grant_revoked").count(), 2);
}

#[tokio::test]
async fn what_was_approved_is_recorded_also_where_nobody_waits_for_the_grant() {
    let bench = bench(vec![careful()]);
    let write = json!({ "path": "a", "content": "x" });
    bench.check_refused("files_write", write.clone(), "needs_confirmation", "").await;
    let on = &bench.services;
    let id = on.approvals.list()[0].id.clone();
    let by = root();
    let approving = on.grants.approve(&on.approvals, &id, INPUT, &by);
    // Whoever grants it hangs up at once, whether that was enough or not.
    let _ = tokio::time::timeout(Duration::ZERO, approving).await;
    assert_eq!(on.approvals.find(&id, None).unwrap().state, ApprovalState::Approved, "it counts");
    let lines = bench.audit();
    let decision = lines.iter().find(|line| line["kind"] == "decision").unwrap();
    let said = [&decision["approval"], &decision["decision"], &decision["by"], &decision["through"]];
    assert_eq!(said, [&json!(id), &json!("approved"), &json!(by.uid), &json!("skynetctl")]);
    bench.call("files_write", write).await.unwrap();
}

#[tokio::test]
async fn a_path_is_granted_and_no_other_spelling_tool_or_effect() {
    let bench = bench(vec![careful()]);
    granted(&bench, "files_write", json!({ "path": "a", "content": "x" }), PATH).await;
    bench
        .call("files_write", json!({ "path": "a", "content": "another", "if_exists": "replace" }))
        .await
        .unwrap();
    for path in ["b", "./a", "a/b", "A"] {
        let other = json!({ "path": path, "content": "x" });
        bench.check_refused("files_write", other, "needs_confirmation", "`careful`").await;
    }
    bench.check_refused("files_read", json!({ "path": "a" }), "needs_confirmation", "`careful`").await;
    bench.check_refused("files_tree", json!({}), "needs_confirmation", "`careful`").await;
    let on = &bench.services;
    let tree = on.approvals.list().into_iter().find(|one| one.tool == "files_tree").unwrap();
    let refused = on.grants.approve(&on.approvals, &tree.id, PATH, &root()).await.unwrap_err();
    assert!(refused.message.contains("no `path`"), "{refused}");
    assert_eq!(
        on.approvals.find(&tree.id, None).unwrap().state,
        ApprovalState::Pending,
        "nothing was decided"
    );
}

#[tokio::test]
async fn a_grant_is_of_one_user_one_token_and_one_workspace() {
    let bench = bench(vec![careful()]);
    bench.write("a", "x");
    granted(&bench, "files_read", json!({ "path": "a" }), INPUT).await;
    let elsewhere = bench.root.with_file_name("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::write(elsewhere.join("a"), "x").unwrap();
    let token = Token { id: "1".into(), name: "t".into(), effects: skynet_core::Effect::ALL.to_vec() };
    let own = bench.caller();
    for (caller, is_asked) in [
        (own.clone(), false),
        (Caller { client: "other 2".into(), pid: 1, ..own.clone() }, false),
        (Caller { uid: own.uid + 1, ..own.clone() }, true),
        (Caller { token: Some(Arc::new(token)), ..own.clone() }, true),
        (Caller { workspace: Some(Arc::new(Workspace::open(&elsewhere).unwrap())), ..own.clone() }, true),
    ] {
        let manner = Manner { caller: Some(caller.clone()), ..Manner::default() };
        let answer = bench.call_raw("files_read", br#"{"path":"a"}"#, manner).await;
        assert_eq!(answer.is_err(), is_asked, "{caller:?} {answer:?}");
    }
}

#[tokio::test]
async fn a_deny_beats_a_grant_and_a_new_question_is_asked() {
    let mut bench = bench(vec![careful()]);
    let write = json!({ "path": "a", "content": "x" });
    granted(&bench, "files_write", write.clone(), INPUT).await;
    for (more, kind) in [
        (rule("never", Verdict::Deny, &["files_write"], &[]), "denied"),
        (rule("watched", Verdict::Ask, &["files_write"], &[]), "needs_confirmation"),
        (Rule { grantable: false, ..careful() }, "needs_confirmation"),
    ] {
        bench.restart(vec![careful(), more]);
        bench.check_refused("files_write", write.clone(), kind, "").await;
    }
    bench.restart(vec![careful()]);
    bench.call("files_write", write.clone()).await.unwrap();
    bench.write(".skynet.toml", "[[rules]]\nname = 'frozen'\nverdict = 'deny'\neffects = ['write']\n");
    bench.services.projects.trust_now(&bench.caller(), &bench.registry).await.unwrap();
    bench.check_refused("files_write", write.clone(), "denied", "`frozen (.skynet.toml)`").await;
    bench.write(".skynet.toml", "[[rules]]\nname = 'seen'\nverdict = 'ask'\neffects = ['write']\n");
    bench.services.projects.trust_now(&bench.caller(), &bench.registry).await.unwrap();
    // The project had not asked when it was granted.
    bench.check_refused("files_write", write, "needs_confirmation", "nobody answered").await;
}

#[tokio::test]
async fn what_is_not_grantable_is_approved_once() {
    let bench = bench(vec![
        careful(),
        Rule { grantable: false, ..rule("each time", Verdict::Ask, &["files_write"], &[]) },
    ]);
    let write = json!({ "path": "a", "content": "x" });
    bench.check_refused("files_write", write.clone(), "needs_confirmation", "").await;
    let on = &bench.services;
    let waiting = &on.approvals.list()[0];
    assert_eq!((waiting.is_grantable, waiting.rules.len()), (false, 2));
    let refused = on.grants.approve(&on.approvals, &waiting.id, INPUT, &root()).await.unwrap_err();
    assert!(refused.message.contains("leave out `--always`"), "{refused}");
    on.approvals.decide(&waiting.id, ApprovalState::Approved, root()).unwrap();
    bench.call("files_write", write.clone()).await.unwrap();
    bench.check_refused("files_write", write, "needs_confirmation", "").await;
    assert!(on.grants.list(None).is_empty());
}

#[tokio::test]
async fn a_command_is_granted_with_the_file_that_was_judged() {
    let entry: CommandRule =
        toml::from_str("name = 'true'\nverdict = 'ask'\nprogram = 'true'\narguments = ['*']\n").unwrap();
    let unlisted = Verdict::Ask;
    let setup = Setup { commands: vec![entry], unlisted_commands: unlisted, ..Setup::default() };
    let bench = Workbench::new(Setup { confirm_wait: Duration::from_millis(1), ..setup });
    let judged = |grant: &Grant| grant.program.as_ref().unwrap().file_name().unwrap().to_owned();
    let grant = granted(&bench, "exec_run", json!({ "command": ["true", "x"] }), INPUT).await;
    assert!(!judged(&grant).is_empty());
    for other in [
        json!({ "command": ["true", "y"] }),
        json!({ "command": ["true", "x"], "cwd": "." }),
        json!({ "command": ["true", "x"], "stdin": "" }),
        json!({ "command": ["x"], "script": "true", "interpreter": "sh" }),
    ] {
        bench.check_refused("exec_run", other, "needs_confirmation", "").await;
    }
    // What the workspace says it is, it may say otherwise tomorrow.
    bench.write("tool", "#!/bin/sh\n");
    bench.check_refused("exec_run", json!({ "command": ["./tool"] }), "needs_confirmation", "").await;
    let waiting = bench.services.approvals.list();
    assert!(!waiting.iter().find(|one| one.input.contains("./tool")).unwrap().is_grantable);
}

#[tokio::test]
async fn an_approval_survives_no_restart_and_serves_nobody_else() {
    let mut bench = bench(vec![careful()]);
    let write = json!({ "path": "a", "content": "x" });
    bench.check_refused("files_write", write.clone(), "needs_confirmation", "").await;
    let id = bench.services.approvals.list()[0].id.clone();
    bench.services.approvals.decide(&id, ApprovalState::Approved, root()).unwrap();
    let own = bench.caller();
    let elsewhere = bench.root.with_file_name("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    for caller in [
        Caller { uid: own.uid + 1, ..own.clone() },
        Caller { workspace: Some(Arc::new(Workspace::open(&elsewhere).unwrap())), ..own.clone() },
    ] {
        let manner = Manner { caller: Some(caller), ..Manner::default() };
        bench.call_raw("files_write", write.to_string().as_bytes(), manner).await.unwrap_err();
    }
    bench.restart(vec![careful()]);
    bench.check_refused("files_write", write.clone(), "needs_confirmation", "").await;
    assert!(
        bench.services.approvals.decide(&id, ApprovalState::Approved, root()).is_err(),
        "the question is gone too"
    );
    assert!(!bench.root.join("a").exists());
}

#[tokio::test]
async fn records_of_before_who_confirmed_was_kept_are_of_the_same_chain() {
    let bench = bench(vec![careful()]);
    let old = json!({ "kind": "call", "tool": "files_write", "outcome": "ok", "confirmed_by": "client" });
    bench.services.audit.append(old.to_string().as_bytes()).unwrap();
    granted(&bench, "files_write", json!({ "path": "a", "content": "x" }), INPUT).await;
    let lines = bench.audit();
    assert_eq!((&lines[0]["confirmed_by"], lines[0].get("confirmed_uid")), (&json!("client"), None));
    assert_eq!(lines.last().unwrap()["confirmed_by"], "grant");
    let verdict = bench.services.audit.verify().unwrap();
    assert_eq!((verdict.records, verdict.faults), (lines.len() as u64, Vec::new()));
}

/// Any input of `exec_run`, as far as the policy looks.
fn any_input() -> impl Strategy<Value = Map<String, Value>> {
    let member = |name: &'static str, value: BoxedStrategy<Value>| {
        option::of(value).prop_map(move |value| value.map(|value| (name.to_owned(), value)))
    };
    let text = || "[a-c]{1,2}".prop_map(Value::from).boxed();
    let words = collection::vec("[a-c]", 1..3).prop_map(|words| json!(words)).boxed();
    let hosts = collection::vec("[a-c]\\.example", 1..3).prop_map(|hosts| json!({ "hosts": hosts })).boxed();
    let variables = collection::hash_map("[A-C]", "[a-c]", 0..2).prop_map(|all| json!(all)).boxed();
    (
        (words, member("script", text()), member("cwd", text()), member("stdin", text())),
        (
            member("network", hosts),
            member("environment", variables),
            member("timeout_seconds", (1..3_u32).prop_map(Value::from).boxed()),
        ),
    )
        .prop_map(|((command, script, cwd, stdin), (network, environment, timeout))| {
            let rest = [script, cwd, stdin, network, environment, timeout];
            [("command".to_owned(), command)].into_iter().chain(rest.into_iter().flatten()).collect()
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_grant_for_one_call_allows_no_other_and_nothing_that_is_denied(first in any_input(), second in any_input(), is_denied: bool) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let ask = rule("careful", Verdict::Ask, &["exec_run"], &[]);
            let mut bench = bench(vec![ask.clone()]);
            let input = Value::from(first.clone());
            bench.check_refused("exec_run", input.clone(), "needs_confirmation", "").await;
            let on = &bench.services;
            let id = on.approvals.list()[0].id.clone();
            on.grants.approve(&on.approvals, &id, INPUT, &root()).await.unwrap();
            let never = rule("never", Verdict::Deny, &["exec_*"], &[]);
            bench.restart(if is_denied { vec![ask, never] } else { vec![ask] });
            let verdict = |outcome: Result<Value, String>| match outcome {
                Err(err) if err.starts_with("denied: ") => Verdict::Deny,
                Err(err) if err.starts_with("needs_confirmation: ") => Verdict::Ask,
                _ => Verdict::Allow,
            };
            let of = |is_same: bool| match (is_denied, is_same) {
                (true, _) => Verdict::Deny,
                (false, true) => Verdict::Allow,
                (false, false) => Verdict::Ask,
            };
            let other = bench.call("exec_run", Value::from(second.clone())).await;
            assert_eq!(verdict(other), of(first == second), "{first:?} {second:?}");
            assert_eq!(verdict(bench.call("exec_run", input).await), of(true));
        });
    }
}
