//! What it takes to approve: the word of root, or that of the user and polkit's for him.

use super::client;
use serde_json::json;
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

    // Without polkit nobody is vouched for.
    let (_annes, hers) = waiting(&host, &ann);
    drop(polkit);
    let (code, _, said) = host.ctl(Some(&ann), &["approvals", "approve", &hers]);
    assert!(code != 0 && said.contains("polkit cannot be asked"), "{said}");
}
