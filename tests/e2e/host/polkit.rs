//! polkit of a booted host and the package as it is shipped: whom the administrator's rule names approves his calls himself.

use super::shipped::package;
use serde_json::{Value, json};
use skynet_tests::{
    machine::{Machine, USER},
    programs::Shim,
};
use std::process::Output;

/// Vouches for one user, for one tool (polkit(8), "AUTHORIZATION RULES").
const RULE: &str = r#"
polkit.addRule(function(action, subject) {
    if (action.id == "org.skynet.approve" && subject.user == "ann" && action.lookup("tool") == "files_write") {
        return polkit.Result.YES;
    }
});
"#;

const RULE_FILE: &str = "/etc/polkit-1/rules.d/50-test.rules";

/// Whom no rule names.
const OTHER: &str = "eve";

const CONFIGURATION: &str = "[confirm]\nwait_seconds = 1\nfactor = \"polkit\"\n\
    [[policy.rules]]\nname = \"careful\"\nverdict = \"ask\"\ntools = [\"files_write\", \"files_copy\"]\n";

fn project(user: &str) -> String {
    format!("/home/{user}/project")
}

fn write(shim: &mut Shim, content: &str) -> Result<Value, String> {
    shim.call("files_write", json!({ "path": "f", "content": content, "if_exists": "replace" }))
}

/// The id that an error names.
fn id_in(refused: &str) -> String {
    let id = refused.split("approve ").nth(1).and_then(|rest| rest.split('`').next());
    id.unwrap_or_else(|| panic!("{refused}")).to_owned()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The newest record that meets these conditions.
fn newest(machine: &Machine, conditions: &str) -> Value {
    let lines = machine.sh(&format!("skynetctl --json audit query {conditions}"));
    serde_json::from_str(lines.lines().last().unwrap()).unwrap()
}

fn who(record: &Value) -> [&Value; 3] {
    [&record["confirmed_by"], &record["confirmed_uid"], &record["confirmed_user"]]
}

#[test]
fn whom_polkit_of_the_host_vouches_for_approves_his_calls_and_the_log_says_so() {
    let Some(package) = package() else { return };
    let Some(machine) = Machine::boot_for_host() else { return };
    machine.write("/root/skynet.deb", package);
    machine.sh(&format!(
        "dpkg --install /root/skynet.deb; useradd --create-home --shell /bin/sh {OTHER}; \
         for user in {USER} {OTHER}; do usermod -aG skynet $user; install -d -o $user -g $user /home/$user/project; done"
    ));
    machine.write("/etc/skynet/config.toml", CONFIGURATION);
    machine.write(RULE_FILE, RULE);
    machine.sh("systemctl restart polkit skynetd");
    let approve = |user: &str, id: &str| machine.run(user, &["skynetctl", "approvals", "approve", id]);
    let mut annes = machine.client_of_host(USER, &project(USER));
    let mut eves = machine.client_of_host(OTHER, &project(OTHER));
    let hers = id_in(&write(&mut annes, "one").unwrap_err());
    let others = id_in(&write(&mut eves, "one").unwrap_err());

    // Nobody vouches for her, and whom polkit vouches for says nothing about the calls of others.
    let refused = approve(OTHER, &others);
    assert!(!refused.status.success() && said(&refused).contains("polkit"), "{}", said(&refused));
    assert!(said(&refused).contains("still waits"), "{}", said(&refused));
    let refused = approve(USER, &others);
    assert!(!refused.status.success() && said(&refused).contains("no approval"), "{}", said(&refused));
    assert!(write(&mut eves, "one").unwrap_err().starts_with("needs_confirmation"));

    let approved = approve(USER, &hers);
    assert!(approved.status.success(), "{}", said(&approved));
    write(&mut annes, "one").unwrap();
    let uid: u32 = machine.sh(&format!("id -u {USER}")).parse().unwrap();
    let ran = newest(&machine, "--tool files_write --outcome ok");
    assert_eq!(who(&ran), [&json!("polkit"), &json!(uid), &json!(USER)], "{ran}");
    let decision = newest(&machine, "--grep '\"decision\"'");
    let by = [&decision["decision"], &decision["through"], &decision["by"], &decision["by_user"]];
    assert_eq!(by, [&json!("approved"), &json!("polkit"), &json!(uid), &json!(USER)], "{decision}");

    // Root needs nobody to vouch for him.
    assert!(approve("root", &others).status.success());
    write(&mut eves, "one").unwrap();
    let ran = newest(&machine, "--tool files_write --outcome ok");
    assert_eq!(who(&ran), [&json!("skynetctl"), &json!(0), &json!("root")], "{ran}");

    // The rule is for one tool.
    let other = id_in(&annes.call("files_copy", json!({ "from": "f", "to": "g" })).unwrap_err());
    let refused = approve(USER, &other);
    assert!(!refused.status.success() && said(&refused).contains("still waits"), "{}", said(&refused));

    // Without the rule it is her password again, for which there is no terminal; without polkit it is root.
    let again = id_in(&write(&mut annes, "two").unwrap_err());
    machine.sh(&format!("rm {RULE_FILE}; systemctl restart polkit"));
    let refused = approve(USER, &again);
    assert!(!refused.status.success() && said(&refused).contains("still waits"), "{}", said(&refused));
    machine.sh("systemctl mask --runtime --now polkit");
    let refused = approve(USER, &again);
    assert!(
        !refused.status.success() && said(&refused).contains("polkit cannot be asked"),
        "{}",
        said(&refused)
    );
    assert_eq!(machine.sh(&format!("cat {}/f", project(USER))), "one");
    assert_eq!(machine.sh("skynetctl --json audit verify | grep -c '\"faults\": \\[\\]'"), "1");
}
