//! Units of a booted systemd, as an ordinary user of it.

use serde_json::{Value, json};
use skynet_tests::{
    machine::{Machine, USER},
    programs::Shim,
};

/// Lets the user start, stop and restart one unit, and nothing else (polkit(8)).
const RULE: &str = r#"
polkit.addRule(function(action, subject) {
    if (action.id == "org.freedesktop.systemd1.manage-units" && subject.user == "ann" &&
        action.lookup("unit") == "good.service") {
        return polkit.Result.YES;
    }
});
"#;

pub(super) fn prepare(machine: &Machine) {
    let unit = |name: &str, text: &str| machine.write(&format!("/etc/systemd/system/{name}"), text);
    unit(
        "good.service",
        "[Unit]\nDescription=A good one\nWants=helper.service\n[Service]\nExecStart=sleep infinity\nExecReload=true\n[Install]\nWantedBy=multi-user.target\n",
    );
    unit("helper.service", "[Service]\nExecStart=sleep infinity\n");
    unit("bad.service", "[Service]\nExecStart=sh -c 'echo no way; exit 7'\n");
    unit("lost.service", "[Service]\nExecStart=/no/such/program\n");
    unit("tick.service", "[Service]\nType=oneshot\nExecStart=true\n");
    unit("tick.timer", "[Timer]\nOnCalendar=*-*-* 03:00:00\n");
    machine.write("/etc/polkit-1/rules.d/50-test.rules", RULE);
    machine.write(
        &format!("/home/{USER}/.config/systemd/user/mine.service"),
        "[Service]\nExecStart=sleep infinity\n[Install]\nWantedBy=default.target\n",
    );
    machine.write(
        &format!("/home/{USER}/.config/skynet/config.toml"),
        "[[policy.rules]]\nname = 'units'\nverdict = 'allow'\ntools = ['service_control', 'service_set_limits', 'service_reload_manager']\n",
    );
    machine.sh(&format!(
        "chown -R {USER}: /home/{USER}; usermod -aG systemd-journal {USER}; systemctl daemon-reload; systemctl restart polkit; \
         systemctl start good.service tick.timer; systemctl start bad.service || true; systemctl start lost.service || true"
    ));
}

fn call(shim: &mut Shim, tool: &str, input: Value) -> Value {
    shim.call(tool, input.clone()).unwrap_or_else(|err| panic!("{tool} {input}: {err}"))
}

fn names(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|unit| unit["name"].as_str().unwrap()).collect()
}

#[test]
fn units_are_seen_and_changed_only_as_the_user_may() {
    let Some(mut machine) = Machine::boot() else { return };
    prepare(&machine);
    let mut shim = machine.client();

    let found = call(&mut shim, "service_list", json!({ "pattern": "good" }));
    let good = json!({ "name": "good.service", "description": "A good one", "active": "active", "sub": "running", "enabled": "disabled" });
    assert_eq!(found, json!({ "units": [good], "total": 1 }));
    let failed = call(&mut shim, "service_list", json!({ "state": "failed" }));
    assert_eq!(names(&failed["units"]), ["bad.service", "lost.service"]);
    let timers = call(&mut shim, "service_list", json!({ "kind": "timer", "pattern": "tick.timer" }));
    assert_eq!(names(&timers["units"]), ["tick.timer"]);

    let shown = call(&mut shim, "service_show", json!({ "name": "good" }));
    assert_eq!(
        (&shown["sub"], &shown["file"]),
        (&json!("running"), &json!("/etc/systemd/system/good.service"))
    );
    let pid = machine.sh("systemctl show --property=MainPID --value good");
    assert_eq!(shown["main_pid"].to_string(), pid);
    let bad = call(&mut shim, "service_show", json!({ "name": "bad" }));
    assert_eq!(
        (&bad["active"], &bad["result"], &bad["exit_status"]),
        (&json!("failed"), &json!("exit-code"), &json!(7))
    );
    assert!(bad["journal"].to_string().contains("no way"), "{bad}");
    let refused = shim.call("service_show", json!({ "name": "goood" })).unwrap_err();
    assert!(refused.starts_with("not_found") && refused.contains("good.service"), "{refused}");
    let refused = shim.call("service_show", json!({ "name": "good; reboot" })).unwrap_err();
    assert!(refused.starts_with("invalid_input"), "{refused}");

    let failures = call(&mut shim, "service_explain_failures", json!({}));
    assert_eq!(names(&failures["failures"]), ["bad.service", "lost.service"]);
    let explanation = |at: usize| failures["failures"][at]["explanation"].as_str().unwrap();
    assert!(explanation(0).contains("exit code 7") && explanation(1).contains("`ExecStart=`"), "{failures}");
    let timers = call(&mut shim, "service_list_timers", json!({}));
    let tick =
        timers["timers"].as_array().unwrap().iter().find(|timer| timer["name"] == "tick.timer").unwrap();
    assert_eq!(tick["starts"], "tick.service");
    assert!(tick["next"].as_str().unwrap().contains("T03:00:00"), "{tick}");
    let tree = call(&mut shim, "service_list_dependencies", json!({ "name": "good", "depth": 1 }));
    assert!(tree["tree"].as_str().unwrap().contains("\n  helper.service active\n"), "{tree}");
    let tree = call(
        &mut shim,
        "service_list_dependencies",
        json!({ "name": "helper", "reverse": true, "depth": 1 }),
    );
    assert!(tree["tree"].as_str().unwrap().contains("\n  good.service active\n"), "{tree}");

    // What polkit lets her, and nothing more.
    let control = |name: &str, action: &str| json!({ "name": name, "action": action });
    let restarted = call(&mut shim, "service_control", control("good", "restart"));
    assert_ne!(restarted["main_pid"].to_string(), pid);
    assert_eq!(call(&mut shim, "service_control", control("good", "stop"))["active"], "inactive");
    assert_eq!(call(&mut shim, "service_control", control("good", "start"))["sub"], "running");
    for (name, action) in [("helper", "stop"), ("good", "enable"), ("good", "mask"), ("bad", "reset-failed")]
    {
        let refused = shim.call("service_control", control(name, action)).unwrap_err();
        assert!(
            refused.starts_with("denied") && refused.contains("polkit rule"),
            "{name} {action}: {refused}"
        );
    }
    assert_eq!(
        machine.sh("systemctl is-active helper; systemctl is-enabled good || true"),
        "active\ndisabled"
    );

    // The host hangs on these: no rule allows that nobody is asked.
    for name in ["dbus.socket", "systemd-journald", "user@1000"] {
        let refused = shim.call("service_control", control(name, "stop")).unwrap_err();
        assert!(
            refused.starts_with("needs_confirmation") && refused.contains("always asked"),
            "{name}: {refused}"
        );
    }

    let refused = shim.call("service_control", control("poweroff.target", "start")).unwrap_err();
    assert!(refused.contains("always asked"), "{refused}");
    // Also under another name.
    machine.sh("ln -s /lib/systemd/system/systemd-logind.service /etc/systemd/system/innocent.service; systemctl daemon-reload");
    let refused = shim.call("service_control", control("innocent", "stop")).unwrap_err();
    assert!(refused.starts_with("denied") && refused.contains("`systemd-logind.service`"), "{refused}");

    // Her own units are hers.
    let own = |action: &str| json!({ "name": "mine", "action": action, "scope": "user" });
    assert_eq!(call(&mut shim, "service_control", own("start"))["sub"], "running");
    let enabled = call(&mut shim, "service_control", own("enable"));
    assert_eq!(enabled["enabled"], "enabled");
    assert_eq!(enabled["links"][0]["change"], "symlink");
    let refused = shim.call("service_control", own("mask")).unwrap_err();
    assert!(refused.contains("already exists"), "{refused}");
    assert_eq!(call(&mut shim, "service_control", own("disable"))["enabled"], "disabled");
}

#[test]
fn limits_are_set_as_polkit_lets_the_user_and_shown_as_a_difference() {
    let Some(mut machine) = Machine::boot() else { return };
    prepare(&machine);
    let mut shim = machine.client();
    let limits = |name: &str| json!({ "name": name, "tasks_max": 77, "cpu_quota_percent": 150 });
    // Not hers to change.
    let refused = shim.call("service_set_limits", limits("helper")).unwrap_err();
    assert!(refused.starts_with("denied") && refused.contains("`set-property`"), "{refused}");
    let set = call(&mut shim, "service_set_limits", limits("good"));
    let diff = set["diff"].as_str().unwrap();
    for line in ["\n-CPUQuota=\n", "\n+CPUQuota=150%\n", "\n+TasksMax=77\n"] {
        assert!(diff.contains(line), "{diff}");
    }
    assert!(!diff.contains("Memory"), "{diff}");
    assert_eq!(machine.sh("systemctl show --property=TasksMax --value good"), "77");
    // Kept by systemd, for later starts too.
    let file = machine.sh("cat /etc/systemd/system.control/good.service.d/50-TasksMax.conf");
    assert!(
        file.contains("TasksMax=77") && set["drop_ins"].to_string().contains("50-TasksMax.conf"),
        "{set}"
    );
    let lifted = json!({ "name": "good", "unlimited": ["tasks_max"], "until_restart": true });
    let lifted = call(&mut shim, "service_set_limits", lifted);
    assert!(lifted["diff"].as_str().unwrap().contains("-TasksMax=77\n+TasksMax=infinity\n"), "{lifted}");
    let own = json!({ "name": "mine", "cpu_weight": 50, "scope": "user" });
    assert!(call(&mut shim, "service_set_limits", own)["diff"].as_str().unwrap().contains("+CPUWeight=50\n"));
    for (input, kind, part) in [
        (json!({ "name": "good" }), "invalid_input", "name a limit"),
        (json!({ "name": "tick.timer", "tasks_max": 5 }), "invalid_input", "no processes"),
        (json!({ "name": "good", "tasks_max": 5, "unlimited": ["tasks_max"] }), "invalid_input", "both"),
        (json!({ "name": "gooood", "tasks_max": 5 }), "not_found", "good.service"),
        (json!({ "name": "ssh", "tasks_max": 5 }), "needs_confirmation", "always asked"),
    ] {
        let refused = shim.call("service_set_limits", input.clone()).unwrap_err();
        assert!(refused.starts_with(kind) && refused.contains(part), "{input}: {refused}");
    }

    let refused = shim.call("service_reload_manager", json!({})).unwrap_err();
    assert!(refused.starts_with("denied") && refused.contains("reload-daemon"), "{refused}");
    let rule = RULE.replace(
        "manage-units\" &&",
        "reload-daemon\" || action.id == \"org.freedesktop.systemd1.manage-units\" &&",
    );
    machine.write("/etc/polkit-1/rules.d/50-test.rules", &rule);
    machine.sh("systemctl restart polkit; systemctl daemon-reload");
    machine.write(
        "/etc/systemd/system/good.service",
        "[Unit]\nDescription=A better one\n[Service]\nExecStart=sleep infinity\n",
    );
    let reloaded = call(&mut shim, "service_reload_manager", json!({}));
    assert_eq!(reloaded, json!({ "changed": ["good.service"] }));
    assert_eq!(call(&mut shim, "service_show", json!({ "name": "good" }))["description"], "A better one");
}

#[test]
fn the_unit_that_a_client_sits_in_is_always_asked_about() {
    let Some(mut machine) = Machine::boot() else { return };
    prepare(&machine);
    let mut shim = machine.client();
    let restart = json!({ "name": "good", "action": "restart" });
    assert_eq!(call(&mut shim, "service_control", restart.clone())["sub"], "running");
    machine.sh(
        "group=$(systemctl show --property=ControlGroup --value good); for root in /sys/fs/cgroup /sys/fs/cgroup/systemd /sys/fs/cgroup/unified; do \
         if [ -f $root$group/cgroup.procs ]; then for pid in $(pgrep skynet-shim); do echo $pid > $root$group/cgroup.procs; done; fi; done",
    );
    let refused = shim.call("service_control", restart).unwrap_err();
    assert!(refused.starts_with("needs_confirmation") && refused.contains("the very client"), "{refused}");
    // Nothing is lost by starting it, or by what becomes of others.
    let start = json!({ "name": "good", "action": "start" });
    assert_eq!(call(&mut shim, "service_control", start)["sub"], "running");
}

#[test]
fn the_journal_is_followed_and_resumed() {
    let Some(mut machine) = Machine::boot() else { return };
    prepare(&machine);
    let mut shim = machine.client();
    let say =
        |text: &str| machine.sh(&format!("systemd-cat --identifier=probe echo {text}; journalctl --sync"));
    say("first");
    say("second");
    let messages = |found: &Value| -> Vec<String> {
        let entries = found["entries"].as_array().unwrap().iter();
        entries.map(|entry| entry["message"].as_str().unwrap().to_owned()).collect()
    };
    let first = call(&mut shim, "system_read_journal", json!({ "identifier": "probe", "limit": 1 }));
    assert_eq!(messages(&first), ["second"]);
    let cursor = first["cursor"].clone();
    // The oldest that came later, as many as are wanted.
    say("third");
    say("fourth");
    let input = json!({ "identifier": "probe", "after_cursor": cursor, "limit": 1 });
    assert_eq!(messages(&call(&mut shim, "system_read_journal", input)), ["third"]);

    // Each is shown as it comes, until there are enough.
    let input = json!({ "identifier": "probe", "follow_seconds": 600, "limit": 4, "after_cursor": cursor });
    let call_of = |input: &Value| json!({ "name": "system_read_journal", "arguments": input, "_meta": { "progressToken": 7 } });
    let id = shim.post("tools/call", call_of(&input));
    let mut heard = String::new();
    while !heard.contains("probe") || !heard.contains("fourth") {
        heard = shim.receive()["params"]["message"].as_str().unwrap_or_default().to_owned();
    }
    say("fifth");
    say("sixth");
    let found = skynet_tests::programs::outcome(&shim.answer(id)).unwrap();
    assert_eq!(messages(&found), ["third", "fourth", "fifth", "sixth"]);
    // With nothing new it goes on from the same place.
    let input = json!({ "identifier": "probe", "follow_seconds": 1, "after_cursor": found["cursor"] });
    let nothing = call(&mut shim, "system_read_journal", input);
    assert_eq!((messages(&nothing).len(), &nothing["cursor"]), (0, &found["cursor"]));
    // Who goes away is not waited for, and the session goes on.
    let id = shim.post("tools/call", call_of(&json!({ "identifier": "probe", "follow_seconds": 600 })));
    shim.send(
        &json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": id } }),
    );
    let refused = shim.call("system_read_journal", json!({ "follow_seconds": 601 })).unwrap_err();
    assert!(refused.starts_with("invalid_input"), "{refused}");
}
