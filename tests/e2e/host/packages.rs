//! Packages of a booted host, changed through PackageKit as polkit lets an ordinary user.

use serde_json::{Value, json};
use skynet_tests::machine::{Machine, USER};

/// Lets the user do some of what PackageKit does (polkit(8)).
fn rule(actions: &str) -> String {
    format!(
        "polkit.addRule(function(action, subject) {{
            if ([{actions}].indexOf(action.id) >= 0 && subject.user == \"{USER}\") {{ return polkit.Result.YES; }}
        }});"
    )
}

/// A mirror with packages that were made here.
const MIRROR: &str = r#"
mkdir -p /srv/mirror; cd /srv/mirror
make() {
    mkdir -p made/DEBIAN
    printf 'Package: %s\nVersion: %s\nArchitecture: all\nMaintainer: a <a@example.org>\nDescription: x\n%s' $1 $2 "$3" > made/DEBIAN/control
    dpkg-deb --build made $1_$2.deb > /dev/null
    { dpkg-deb --field $1_$2.deb; echo Filename: ./$1_$2.deb; stat -c 'Size: %s' $1_$2.deb; echo SHA256: $(sha256sum < $1_$2.deb | cut -d' ' -f1); echo; } >> Packages
}
"#;

fn publish(machine: &Machine, packages: &str) {
    machine.sh(&format!("{MIRROR}{packages}apt-get update > /dev/null"));
}

fn prepare(machine: &Machine) {
    machine.write(
        &format!("/home/{USER}/.config/skynet/config.toml"),
        "[[policy.rules]]\nname = 'packages'\nverdict = 'allow'\ntools = ['system_change_packages']\n",
    );
    machine.write("/etc/apt/sources.list", "deb [trusted=yes] copy:/srv/mirror ./\n");
    machine.sh(&format!("chown -R {USER}: /home/{USER}; rm -f /etc/apt/sources.list.d/*"));
    // PackageKit asks for none while the host has no way out, whatever source they are from.
    machine.sh("ip link set lo up; ip route add default dev lo");
    publish(machine, "make gear 2\nmake gadget 1 'Depends: gear\n'\n");
}

fn version(machine: &Machine, name: &str) -> String {
    machine.sh(&format!("dpkg-query --show --showformat='${{db:Status-Status}} ${{Version}}' {name} || true"))
}

#[test]
fn packages_are_changed_as_was_shown_and_as_polkit_lets_the_user() {
    let Some(mut machine) = Machine::boot() else { return };
    prepare(&machine);
    let mut shim = machine.client();
    let mut change = |action: &str, names: &[&str], plan: &Value| {
        let input = json!({ "action": action, "packages": names, "plan": plan });
        shim.call("system_change_packages", input)
    };
    let let_her = |actions: &str| {
        machine.write("/etc/polkit-1/rules.d/50-test.rules", rule(actions));
        machine.sh("systemctl restart polkit");
    };

    // Shown first, and nothing else than what was shown.
    let shown = change("install", &["gadget"], &json!([])).unwrap();
    assert_eq!(shown, json!({ "plan": ["install gadget 1 all", "install gear 2 all"], "is_done": false }));
    let other = change("install", &["gadget"], &json!(["install gadget 1 all"])).unwrap_err();
    assert!(other.starts_with("conflict") && other.contains("install gear 2 all"), "{other}");

    // As polkit lets her.
    let refused = change("install", &["gadget"], &shown["plan"]).unwrap_err();
    assert!(
        refused.starts_with("denied") && refused.contains("`org.freedesktop.packagekit.package-install`"),
        "{refused}"
    );
    assert_eq!(version(&machine, "gadget"), "");
    let_her("\"org.freedesktop.packagekit.package-install\"");
    let done = change("install", &["gadget"], &shown["plan"]).unwrap();
    assert_eq!(done, json!({ "plan": shown["plan"], "is_done": true }));
    assert_eq!((&*version(&machine, "gadget"), &*version(&machine, "gear")), ("installed 1", "installed 2"));

    publish(&machine, "make gadget 3 'Depends: gear\n'\n");
    let plan = json!(["upgrade gadget 3 all"]);
    assert_eq!(change("upgrade", &["gadget"], &json!([])).unwrap()["plan"], plan);
    let refused = change("upgrade", &["gadget"], &plan).unwrap_err();
    assert!(refused.contains("`org.freedesktop.packagekit.system-update`"), "{refused}");
    let_her("\"org.freedesktop.packagekit.system-update\", \"org.freedesktop.packagekit.package-remove\"");
    assert_eq!(change("upgrade", &[], &plan).unwrap()["is_done"], true);
    assert_eq!(version(&machine, "gadget"), "installed 3");

    // With what needs it.
    let plan = json!(["remove gadget 3 all", "remove gear 2 all"]);
    assert_eq!(change("remove", &["gear"], &json!([])).unwrap()["plan"], plan);
    assert_eq!(change("remove", &["gear"], &plan).unwrap()["is_done"], true);
    assert_eq!((&*version(&machine, "gadget"), &*version(&machine, "gear")), ("", ""));

    for (action, name, kind) in [
        ("install", "no-such-thing", "not_found"),
        ("remove", "gadget", "not_found"),
        ("upgrade", "polkitd", "not_found"),
        ("install", "polkitd", "conflict"),
        ("install", "--reinstall", "invalid_input"),
    ] {
        let refused = change(action, &[name], &json!([])).unwrap_err();
        assert!(refused.starts_with(kind), "{action} {name}: {refused}");
    }
    // What the host runs by is not removed without a human, whatever the rules say.
    let plan = change("remove", &["polkitd"], &json!([])).unwrap()["plan"].clone();
    let refused = change("remove", &["polkitd"], &plan).unwrap_err();
    assert!(refused.starts_with("needs_confirmation"), "{refused}");
}
