//! What one user is trusted with is nothing of another's: roles, quotas, secrets, what calls changed, and the log of it.

use super::{bash, client};
use serde_json::{Value, json};
use skynet_tests::{
    host::{Host, User},
    programs::{self, program},
};
use std::{fs, process::Command};

/// A host with this configuration.
fn host(config: &str) -> Option<Host> {
    let mut host = Host::start()?;
    fs::write(host.path.join("config.toml"), config).unwrap();
    host.replace_daemon();
    Some(host)
}

/// `skynetctl` as a user, with something to read.
fn give(host: &Host, user: &User, arguments: &[&str], value: &str) {
    let mut command = Command::new(program("skynetctl"));
    user.owns(&mut command);
    let (code, said) = programs::give(command.arg("--socket").arg(host.socket()).args(arguments), value);
    assert_eq!(code, 0, "{arguments:?}: {said}");
}

#[test]
fn three_roles_may_what_each_is_for() {
    let names = std::env::var("SKYNET_HOST_USERS").unwrap_or_default();
    let mut names = names.split(',').skip(1);
    let [ann, bob] = [(); 2].map(|()| names.next().unwrap_or_default());
    let Some(host) = host(&format!(
        r#"
        [policy.roles.writers]
        users = ["{ann}"]
        [policy.roles.readers]
        groups = ["{bob}"]
        [policy.roles.everybody]
        users = ["{ann}", "{bob}"]
        [[policy.rules]]
        name = "readers read"
        verdict = "deny"
        effects = ["write", "destroy", "external"]
        roles = ["readers"]
        [[policy.rules]]
        name = "writers delete"
        verdict = "allow"
        tools = ["files_delete"]
        roles = ["writers"]
        [[policy.rules]]
        name = "nobody touches keys"
        verdict = "deny"
        roles = ["everybody"]
        families = ["files"]
        arguments = {{ path = {{ under = "keys" }} }}
        "#
    )) else {
        return;
    };
    let answers = |user: &User| -> Vec<Result<Value, String>> {
        let project = user.project();
        fs::create_dir(project.join("keys")).unwrap();
        let mut shim = client(&host, user, &project);
        [
            ("files_list", json!({})),
            ("files_write", json!({ "path": "f", "content": "x" })),
            ("files_delete", json!({ "path": "f" })),
            ("files_list", json!({ "path": "keys" })),
        ]
        .map(|(tool, input)| shim.call(tool, input))
        .into()
    };
    let [ann, bob] = host.users().map(|user| answers(&user));
    assert!(ann[..3].iter().all(Result::is_ok), "{ann:?}");
    assert!(bob[0].is_ok(), "{bob:?}");
    let is_by = |answer: &Result<Value, String>, rule: &str| answer.as_ref().unwrap_err().contains(rule);
    assert!(bob[1..3].iter().all(|answer| is_by(answer, "readers read")), "{bob:?}");
    assert!(
        is_by(&ann[3], "nobody touches keys") && is_by(&bob[3], "nobody touches keys"),
        "{ann:?} {bob:?}"
    );
}

#[test]
fn a_quota_that_one_has_used_up_is_no_quota_of_another() {
    let config = "[[quota.limits]]\nname = 'few'\nwindow = '1d'\ncalls = 2\n";
    let Some(host) = host(config) else { return };
    let [ann, bob] = host.users();
    let project = ann.project();
    let mut shim = client(&host, &ann, &project);
    for _ in 0..2 {
        shim.call("files_list", json!({})).unwrap();
    }
    // By another client it is the same user.
    let err = client(&host, &ann, &project).call("files_list", json!({})).unwrap_err();
    assert!(err.starts_with("quota_exceeded") && err.contains("few"), "{err}");
    client(&host, &bob, &bob.project()).call("files_list", json!({})).unwrap();
    let uid = ann.uid.to_string();
    let (code, _, said) = host.ctl(Some(&ann), &["quota", "reset", "--uid", &uid, "--limit", "few"]);
    assert!(code != 0 && said.contains("administrators"), "{said}");
    let (code, _, said) = host.ctl(Some(&bob), &["quota", "show", "--uid", &uid]);
    assert!(code != 0, "{said}");
    assert_eq!(host.ctl(None, &["quota", "reset", "--uid", &uid, "--limit", "few"]).0, 0);
    shim.call("files_list", json!({})).unwrap();
}

#[test]
fn a_secret_is_its_users_and_no_others() {
    let Some(host) = Host::start() else { return };
    let [ann, bob] = host.users();
    let value = "of-ann-and-nobody-else-4711";
    give(&host, &ann, &["secret", "set", "deploy"], value);
    let with = json!({ "script": "echo $TOKEN; env", "environment": { "TOKEN": "secret://deploy" } });
    let ended = client(&host, &ann, &ann.project()).call("exec_run", with.clone()).unwrap();
    let text = ended.to_string();
    assert!(text.contains("[redacted:deploy]") && !text.contains(value), "{text}");

    let mut bobs = client(&host, &bob, &bob.project());
    let err = bobs.call("exec_run", with).unwrap_err();
    assert!(err.contains("deploy") && !err.contains(value), "{err}");
    let (_, listed, _) = host.ctl(Some(&bob), &["secret", "list", "--json"]);
    assert!(!listed.contains("deploy"), "{listed}");
    let (_, listed, _) = host.ctl(None, &["secret", "list", "--json"]);
    assert!(!listed.contains("deploy"), "root: {listed}");
    // A guess of his stays as it is: a mark would tell him that it is right.
    let guessed = bash(&mut bobs, &format!("echo {value}"));
    assert_eq!(guessed["stdout"], format!("{value}\n"), "{guessed}");
    // Nor is it in anything that he can read.
    let found = bob.sh(&format!("grep -rl {value} {} /tmp /run 2>/dev/null", host.path.display()));
    assert_eq!(found, "");
    // He may have one of the same name.
    give(&host, &bob, &["secret", "set", "deploy"], "of-bob-0815");
    let with = json!({ "script": "echo ${#TOKEN}", "environment": { "TOKEN": "secret://deploy" } });
    assert_eq!(bobs.call("exec_run", with).unwrap()["stdout"], "11\n");
}

#[test]
fn nobody_sees_or_takes_back_what_another_changed() {
    let Some(host) = Host::start() else { return };
    let [ann, bob] = host.users();
    let project = ann.project();
    let mut annes = client(&host, &ann, &project);
    annes.call("files_write", json!({ "path": "f", "content": "hers" })).unwrap();
    let listed = annes.call("undo_list_changes", json!({ "diffs": true })).unwrap();
    assert_eq!(listed["calls_count"], 1, "{listed}");
    let call = listed["calls"][0]["call"].clone();

    // Even in a directory that both may enter.
    let _ = ann.sh(&format!("chmod 755 {0}; chmod 777 {1}", ann.home.display(), project.display()));
    for workspace in [bob.project(), project.clone()] {
        let mut bobs = client(&host, &bob, &workspace);
        // Hers may be no workspace of his at all; then nothing is shown either.
        if let Ok(listed) = bobs.call("undo_list_changes", json!({ "diffs": true })) {
            assert_eq!(listed["calls_count"], 0, "{listed}");
        }
        let err = bobs.call("undo_revert_call", json!({ "call": call })).unwrap_err();
        assert!(!err.contains("hers"), "{err}");
    }
    assert_eq!(fs::read_to_string(project.join("f")).unwrap(), "hers");
    annes.call("undo_revert_call", json!({ "call": call })).unwrap();
    assert!(!project.join("f").exists());
}

#[test]
fn the_rules_of_a_project_hold_for_whoever_trusts_them() {
    let Some(host) = Host::start() else { return };
    let [ann, _] = host.users();
    let project = ann.project();
    let rules = "[[rules]]\nname = 'made'\nverdict = 'deny'\ntools = ['files_write']\narguments = { path = { under = 'made' } }\n";
    let place = project.to_str().unwrap();
    let sh = |script: &str| ann.sh(&format!("cd {place} && {script}"));
    let _ = sh(&format!("mkdir made && umask 77 && cat > .skynet.toml <<'END'\n{rules}END\n"));
    let mut shim = host.client(&ann, &project, json!({}));
    let mut write = |path: &str| shim.call("files_write", json!({ "path": path, "content": "x" }));
    write("made/before").unwrap();
    let (code, said, complaint) = host.ctl(Some(&ann), &["trust", place]);
    assert_eq!(code, 0, "{said}{complaint}");
    write("other").unwrap();
    let refused = write("made/after").unwrap_err();
    assert!(refused.starts_with("denied: ") && refused.contains("made (.skynet.toml)"), "{refused}");
    // Another text is not what was trusted.
    let _ = sh("echo '# new' >> .skynet.toml");
    write("made/after").unwrap();
    let _ = sh("sed -i '/# new/d' .skynet.toml");
    let _ = write("made/last").unwrap_err();
    let (code, said, complaint) = host.ctl(Some(&ann), &["trust", "remove", place]);
    assert_eq!(code, 0, "{said}{complaint}");
    write("made/last").unwrap();
}
