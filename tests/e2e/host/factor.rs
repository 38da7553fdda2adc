//! What it takes to approve: the word of root, or that of the user and polkit's for him.

use super::client;
use serde_json::{Value, json};
use skynet_tests::{
    host::{Host, User},
    polkit::Polkit,
    programs::Shim,
};
use std::fs;

/// A call that waits, and the id it waits under.
fn waiting(host: &Host, user: &User) -> (Shim, String) {
    let project = user.project();
    let _ = user.sh(&format!("cd {} && git init -q && echo old > f && git add f", project.display()));
    let mut shim = client(host, user, &project);
    let err = shim.call("git_checkout", json!({ "paths": ["f"] })).unwrap_err();
    let id = err.split("approve ").nth(1).and_then(|rest| rest.split('`').next()).unwrap().to_owned();
    (shim, id)
}

/// The records that root sees under these conditions, the newest last.
fn records(host: &Host, conditions: &[&str]) -> Vec<Value> {
    let (code, lines, said) = host.ctl(None, &[&["--json", "audit", "query"][..], conditions].concat());
    assert_eq!(code, 0, "{said}");
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn root_sees_and_ends_the_grants_of_everybody_and_a_user_his_own() {
    let Some(mut host) = Host::start() else { return };
    let [ann, bob] = host.users();
    fs::write(host.path.join("config.toml"), "[confirm]\nwait_seconds = 1\n").unwrap();
    host.replace_daemon();
    let (mut annes, hers) = waiting(&host, &ann);
    let (mut bobs, his) = waiting(&host, &bob);
    let checkout = json!({ "paths": ["f"] });
    let grant = |id: &str| {
        let (code, approved, said) = host.ctl(None, &["--json", "approvals", "approve", id, "--always"]);
        assert_eq!(code, 0, "{said}");
        let approved: Value = serde_json::from_str(&approved).unwrap();
        approved["grant"]["id"].as_str().unwrap().to_owned()
    };
    let (of_ann, of_bob) = (grant(&hers), grant(&his));
    for shim in [&mut annes, &mut bobs] {
        for _ in 0..2 {
            shim.call("git_checkout", checkout.clone()).unwrap();
        }
    }
    // It is the word of root, given once.
    let ran = records(&host, &["--tool", "git_checkout", "--outcome", "ok", "--uid", &ann.uid.to_string()]);
    assert_eq!(ran.len(), 2, "{ran:?}");
    for record in &ran {
        let who = ["confirmed_by", "grant", "confirmed_uid", "confirmed_user"].map(|name| &record[name]);
        assert_eq!(who, [&json!("grant"), &json!(of_ann), &json!(0), &json!("root")], "{record}");
    }

    let listed = |user: Option<&User>| {
        let (code, listed, said) = host.ctl(user, &["--json", "grant", "list"]);
        assert_eq!(code, 0, "{said}");
        let listed: Vec<Value> = serde_json::from_str(&listed).unwrap();
        listed.iter().map(|one| (one["id"].clone(), one["uid"].clone())).collect::<Vec<_>>()
    };
    let (annes_own, bobs_own) = ((json!(of_ann), json!(ann.uid)), (json!(of_bob), json!(bob.uid)));
    assert_eq!(listed(Some(&ann)), std::slice::from_ref(&annes_own));
    assert_eq!(listed(Some(&bob)), std::slice::from_ref(&bobs_own));
    assert_eq!(listed(None), [annes_own, bobs_own.clone()]);
    // What is another's is as if it were not there.
    let (code, _, said) = host.ctl(Some(&ann), &["grant", "revoke", &of_bob]);
    assert!(code != 0 && said.contains("there is no grant"), "{said}");
    bobs.call("git_checkout", checkout.clone()).unwrap();
    assert_eq!(host.ctl(Some(&ann), &["grant", "revoke", &of_ann]).0, 0);
    assert_eq!(listed(None), [bobs_own]);
    assert_eq!(host.ctl(None, &["grant", "revoke", &of_bob]).0, 0);
    assert!(listed(None).is_empty() && listed(Some(&bob)).is_empty());
    for shim in [&mut annes, &mut bobs] {
        let refused = shim.call("git_checkout", checkout.clone()).unwrap_err();
        assert!(refused.starts_with("needs_confirmation"), "{refused}");
    }
    let ended = records(&host, &["--grep", "\"grant_revoked\""]);
    let by: Vec<_> = ended.iter().map(|record| (&record["grant"], &record["uid"], &record["by"])).collect();
    let (anne, bobby) = (json!(ann.uid), json!(bob.uid));
    assert_eq!(by, [(&json!(of_ann), &anne, &anne), (&json!(of_bob), &bobby, &json!(0))], "{ended:?}");
}

#[test]
fn a_user_approves_what_polkit_vouches_for_and_no_call_of_another() {
    let Some(mut host) = Host::start() else { return };
    let [ann, bob] = host.users();
    // The question names call and tool, or a rule could not tell one from the other.
    let rules = format!(
        r#"polkit.addRule(function(action, subject) {{
            if (action.id == "org.skynet.approve" && subject.user == "{}" && action.lookup("tool") == "git_checkout"
                && action.lookup("question").indexOf("sha256") > 0)
                return polkit.Result.YES;
        }});"#,
        ann.name
    );
    let polkit = Polkit::start(&host.path.join("polkit"), &rules, host.daemon_user());
    fs::write(host.path.join("config.toml"), "[confirm]\nwait_seconds = 1\nfactor = \"polkit\"\n").unwrap();
    host.bus = Some(polkit.address());
    host.replace_daemon();

    let (mut annes, hers) = waiting(&host, &ann);
    let (mut bobs, his) = waiting(&host, &bob);
    // Each sees his own.
    for (user, own, other) in [(&ann, &hers, &his), (&bob, &his, &hers)] {
        let (code, listed, said) = host.ctl(Some(user), &["approvals", "list"]);
        assert!(
            code == 0 && listed.contains(own.as_str()) && !listed.contains(other.as_str()),
            "{listed}{said}"
        );
        for decide in ["show", "approve", "deny"] {
            let (code, _, said) = host.ctl(Some(user), &["approvals", decide, other]);
            assert!(code != 0 && said.contains("no approval"), "{decide}: {said}");
        }
    }
    // Nobody vouches for him, and there is no terminal to ask him on.
    let (code, _, said) = host.ctl(Some(&bob), &["approvals", "approve", &his]);
    assert!(code != 0 && said.contains("polkit") && said.contains("still waits"), "{said}");
    assert!(bobs.call("git_checkout", json!({ "paths": ["f"] })).is_err());
    // What holds for good is for root.
    let (code, _, said) = host.ctl(Some(&ann), &["approvals", "approve", &hers, "--always"]);
    assert!(code != 0 && said.contains("for root"), "{said}");
    let (code, _, said) = host.ctl(Some(&ann), &["approvals", "approve", &hers]);
    assert_eq!(code, 0, "{said}");
    annes.call("git_checkout", json!({ "paths": ["f"] })).unwrap();
    // Root needs nobody.
    assert_eq!(host.ctl(None, &["approvals", "approve", &his]).0, 0);
    bobs.call("git_checkout", json!({ "paths": ["f"] })).unwrap();
    let ran = records(&host, &["--tool", "git_checkout", "--outcome", "ok"]);
    let who =
        |record: &Value| ["confirmed_by", "confirmed_uid", "confirmed_user"].map(|name| record[name].clone());
    assert_eq!(who(&ran[0]), [json!("polkit"), json!(ann.uid), json!(ann.name)], "{ran:?}");
    assert_eq!(who(&ran[1]), [json!("skynetctl"), json!(0), json!("root")], "{ran:?}");

    // Without polkit nobody is vouched for.
    let (_annes, hers) = waiting(&host, &ann);
    drop(polkit);
    let (code, _, said) = host.ctl(Some(&ann), &["approvals", "approve", &hers]);
    assert!(code != 0 && said.contains("polkit cannot be asked"), "{said}");
}
