//! What a booted host tells an ordinary user about itself: of users, schedules, packages, certificates and its firewall.

use serde_json::{Value, json};
use skynet_tests::{
    machine::{Machine, USER},
    programs::Shim,
};
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use zbus::{fdo, zvariant::Value as Variant};

fn call(shim: &mut Shim, tool: &str, input: Value) -> Value {
    shim.call(tool, input.clone()).unwrap_or_else(|err| panic!("{tool} {input}: {err}"))
}

fn list<'a>(value: &'a Value, name: &str) -> &'a Vec<Value> {
    value[name].as_array().unwrap_or_else(|| panic!("{name}: {value}"))
}

#[test]
fn a_host_is_described_to_an_ordinary_user() {
    let Some(mut machine) = Machine::boot() else { return };
    machine.sh("groupadd builders; usermod -aG builders ann; useradd --system --shell /usr/sbin/nologin --no-create-home robot");
    prepare_schedules(&machine);
    prepare_firewall(&machine);
    let mut shim = machine.client();
    users(&machine, &mut shim);
    schedules(&mut shim);
    firewall(&mut shim);
    packages(&machine, &mut shim);
    ports(&machine, &mut shim);
    diagnosis(&machine, &mut shim);
}

/// Who listens where, as far as a confined process of hers may look.
fn ports(machine: &Machine, shim: &mut Shim) {
    machine.sh("setpriv --reuid ann --regid ann --init-groups setsid perl -MIO::Socket::INET -e 'my $s = IO::Socket::INET->new(Listen => 1, LocalPort => 7777, ReuseAddr => 1); sleep 1000' > /dev/null 2>&1 < /dev/null & until grep -q ':1E61 ' /proc/net/tcp; do :; done");
    let mut found = call(shim, "system_list_network", json!({ "port": 7777, "ports_only": true }));
    // Where the kernel tells, it is the group that the process is in.
    let group = found["listening"][0].as_object_mut().unwrap().remove("control_group");
    if let Some(group) = group.as_ref().and_then(Value::as_str) {
        machine.sh(&format!("grep -qF '{group}' /proc/$(pgrep -o perl)/cgroup"));
    }
    // It is hers, and still neither its process nor its name is told: Landlock lets nobody behind it look into a process
    // that is not (landlock(7), "Ptrace restrictions").
    let expected = json!({ "address": "0.0.0.0", "port": 7777, "protocol": "tcp", "user": USER });
    assert_eq!(found, json!({ "listening": [expected] }));
    machine.sh("pkill perl");
}

fn users(machine: &Machine, shim: &mut Shim) {
    let found = call(shim, "system_list_users", json!({ "name": USER }));
    let uid: u32 = machine.sh(&format!("id -u {USER}")).parse().unwrap();
    let ann = json!({ "name": USER, "uid": uid, "gid": uid, "home": format!("/home/{USER}"), "shell": "/bin/sh", "can_log_in": true, "groups": [USER, "builders"] });
    assert_eq!((&found["users"], &found["you"]), (&json!([ann]), &json!(USER)));
    assert_eq!(found["sessions"], json!([]), "her own manager is no login");
    let found = call(shim, "system_list_users", json!({}));
    let builders = list(&found, "groups").iter().find(|group| group["name"] == "builders").unwrap();
    assert_eq!(builders["members"], json!([USER]));
    assert!(list(&found, "users").iter().all(|user| user["name"] != "robot"), "{found}");
    let robot = call(shim, "system_list_users", json!({ "name": "robot" }));
    assert_eq!((&robot["users"][0]["can_log_in"], &robot["total_users"]), (&json!(false), &json!(1)));
}

fn prepare_schedules(machine: &Machine) {
    machine.write("/etc/crontab", "17 3 * * * root cd / && run-parts --report /etc/cron.daily\n");
    machine.write("/etc/cron.d/save", "CRON_TZ=UTC\n0 12 31 12 * ann backup --password=hunter2\nnonsense\n");
    machine.write("/etc/cron.d/secret", "* * * * * root x\n");
    machine.write("/etc/cron.daily/rotate", "#!/bin/sh\n");
    machine.write("/etc/systemd/system/tick.service", "[Service]\nType=oneshot\nExecStart=true\n");
    machine.write("/etc/systemd/system/tick.timer", "[Timer]\nOnActiveSec=1h\n");
    machine.sh("chmod +x /etc/cron.daily/rotate; chmod 600 /etc/cron.d/secret; mkdir -p /var/spool/cron/crontabs; chmod 1730 /var/spool/cron/crontabs; systemctl daemon-reload; systemctl start tick.timer");
}

fn schedules(shim: &mut Shim) {
    let found = call(shim, "system_list_schedules", json!({ "name": "cron.d/save" }));
    let line = &found["schedules"][0];
    let year = jiff::Zoned::now().year();
    assert_eq!(
        found["schedules"],
        json!([{ "kind": "cron", "source": "/etc/cron.d/save:2", "schedule": "0 12 31 12 * (UTC)", "user": "ann", "command": "backup --password=***", "next": line["next"] }])
    );
    let next = line["next"].as_str().unwrap();
    assert!(next.ends_with("-12-31T12:00:00Z") && next[..4].parse::<i16>().unwrap() >= year, "{next}");
    let notes = found["notes"].to_string();
    for part in [
        "`/etc/cron.d/save`: line 3",
        "`/etc/cron.d/secret` may not be read",
        "`/var/spool/cron/crontabs/ann` is hidden",
        "no cron daemon runs",
    ] {
        assert!(notes.contains(part), "{part}: {notes}");
    }
    let found = call(shim, "system_list_schedules", json!({ "kind": "cron_directory", "name": "rotate" }));
    let rotate = &found["schedules"][0];
    assert_eq!(
        (&rotate["schedule"], &rotate["user"]),
        (&json!("17 3 * * * (/etc/crontab:1)"), &json!("root"))
    );
    assert!(rotate["next"].as_str().unwrap().contains(":17:00"), "{rotate}");
    // One that counts from when it was started is due within the hour.
    let found = call(shim, "system_list_schedules", json!({ "kind": "timer", "name": "tick.timer" }));
    let tick = &found["schedules"][0];
    assert_eq!((&tick["schedule"], &tick["command"]), (&json!("OnActiveSec=3600s"), &json!("tick.service")));
    let next: jiff::Timestamp = tick["next"].as_str().unwrap().parse().unwrap();
    let minutes = (next.as_second() - jiff::Timestamp::now().as_second()) / 60;
    assert!((50..=60).contains(&minutes), "{tick}");
}

fn prepare_firewall(machine: &Machine) {
    machine.write("/etc/ufw/ufw.conf", "ENABLED=yes\n");
    machine.write("/etc/default/ufw", "DEFAULT_INPUT_POLICY=\"DROP\"\nDEFAULT_OUTPUT_POLICY=\"ACCEPT\"\n");
    machine.write("/etc/ufw/user.rules", "### tuple ### allow tcp 22 0.0.0.0/0 any 0.0.0.0/0 in\n");
    machine.write("/etc/ufw/user6.rules", "### tuple ### allow tcp 22 ::/0 any ::/0 in\n");
    machine.write("/etc/nftables.conf", "flush ruleset\n");
    let unit = "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=true\n";
    machine.write("/etc/systemd/system/ufw.service", unit);
    machine.write("/etc/systemd/system/nftables.service", unit);
    machine.sh("chmod 640 /etc/ufw/user6.rules; systemctl daemon-reload; systemctl start ufw");
}

fn firewall(shim: &mut Shim) {
    let found = call(shim, "system_show_firewall", json!({}));
    assert_eq!(found["conclusion"], "in charge: ufw");
    let backend =
        |name: &str, unit: &str, active: &str| json!({ "name": name, "unit": unit, "active": active });
    assert_eq!(
        found["backends"],
        json!([backend("ufw", "ufw.service", "active"), backend("nftables", "nftables.service", "inactive")])
    );
    let rule = "allow tcp 22 0.0.0.0/0 any 0.0.0.0/0 in";
    assert_eq!(
        found["ufw"],
        json!({ "is_enabled": true, "defaults": { "input": "DROP", "output": "ACCEPT" }, "rules": [rule] })
    );
    assert_eq!(found["files"], json!([{ "path": "/etc/nftables.conf", "text": "flush ruleset\n" }]));
    let hidden = json!({ "what": "/etc/ufw/user6.rules", "why": "only an administrator may read it" });
    assert!(list(&found, "unreadable").contains(&hidden), "{found}");
}

/// Its programs may read their own databases in the confinement of what asks about the host.
fn packages(machine: &Machine, shim: &mut Shim) {
    let found = call(shim, "system_list_packages", json!({ "name": "polkitd" }));
    let version = machine.sh("dpkg-query --show --showformat='${Version}' polkitd");
    assert_eq!((&found["manager"], &found["packages"][0]["version"]), (&json!("dpkg"), &json!(version)));
    // A newer version of what is installed, in a list as a mirror has it.
    machine.write("/etc/apt/sources.list", "deb [trusted=yes] copy:/srv/mirror ./\n");
    machine.write(
        "/srv/mirror/Packages",
        "Package: polkitd\nVersion: 999-1\nArchitecture: amd64\nDescription: newer\nFilename: ./x.deb\nSize: 1\n\nPackage: gadget\nVersion: 1\nArchitecture: all\nDescription: a thing with a c++ (odd) name\nFilename: ./y.deb\nSize: 1\n",
    );
    machine.sh("rm -f /etc/apt/sources.list.d/*; apt-get update");
    let found = call(shim, "system_list_packages", json!({ "which": "upgradable" }));
    let polkitd = &found["packages"][0];
    assert_eq!((&found["total"], &polkitd["name"]), (&json!(1), &json!("polkitd")), "{found}");
    assert_eq!((&polkitd["version"], &polkitd["installed_version"]), (&json!("999-1"), &json!(version)));
    assert!(found["lists_of"].as_str().unwrap().ends_with('Z'), "{found}");
    let found = call(shim, "system_list_packages", json!({ "which": "available", "name": "C++ (odd)" }));
    let gadget = json!({ "name": "gadget", "summary": "a thing with a c++ (odd) name" });
    assert_eq!(found["packages"], json!([gadget]));

    let input = json!({ "install": ["gadget=1"], "remove": ["polkitd"] });
    let found = call(shim, "system_simulate_packages", input);
    assert_eq!(
        (&found["installed"][0]["name"], &found["installed"][0]["to"]),
        (&json!("gadget"), &json!("1"))
    );
    assert!(list(&found, "removed").contains(&json!({ "name": "polkitd", "from": version })), "{found}");
    let found = call(shim, "system_simulate_packages", json!({ "upgrade": true }));
    let polkitd = &found["upgraded"][0];
    assert_eq!((&polkitd["from"], &polkitd["to"]), (&json!(version), &json!("999-1")), "{found}");
    assert_eq!(machine.sh("dpkg-query --show --showformat='${Version}' polkitd"), version);
    for (input, kind, part) in [
        (json!({ "install": ["no-such-thing"] }), "not_found", "Unable to locate"),
        (json!({ "install": ["--reinstall"] }), "invalid_input", "no name of a package"),
        (json!({}), "invalid_input", "`upgrade`"),
        (json!({ "upgrade": true, "remove": ["gadget"] }), "invalid_input", "name none"),
    ] {
        let refused = shim.call("system_simulate_packages", input.clone()).unwrap_err();
        assert!(refused.starts_with(kind) && refused.contains(part), "{input}: {refused}");
    }
}

fn diagnosis(machine: &Machine, shim: &mut Shim) {
    machine.write("/etc/systemd/system/bad.service", "[Service]\nExecStart=false\n");
    machine.write(
        "/etc/systemd/system/loop.service",
        "[Unit]\nStartLimitIntervalSec=0\n[Service]\nExecStart=sh -c 'exit 3'\nRestart=always\nRestartSec=10ms\n",
    );
    machine.sh("touch /run/reboot-required; systemctl daemon-reload; systemctl start bad || true; systemctl start loop; while [ $(systemctl show --property=NRestarts --value loop) -lt 5 ]; do :; done");
    let found = call(shim, "system_diagnose_host", json!({}));
    let finding = |text: &str| {
        let all = list(&found, "findings").iter();
        let one = all.clone().find(|one| one["finding"].as_str().unwrap().contains(text));
        one.unwrap_or_else(|| panic!("{text}: {found}"))
    };
    let rank =
        |one: &Value| ["critical", "warning", "notice"].iter().position(|name| one["severity"] == *name);
    assert!(list(&found, "findings").is_sorted_by_key(rank), "{found}");
    let looping = finding("over and over");
    assert_eq!((&looping["severity"], &looping["next_tool"]), (&json!("critical"), &json!("service_show")));
    assert!(looping["evidence"][0].as_str().unwrap().starts_with("loop.service: restarted "), "{looping}");
    let failed = finding("units failed");
    assert_eq!(failed["severity"], "warning");
    assert!(failed["evidence"].to_string().contains("bad.service"), "{failed}");
    assert_eq!(finding("restart of the host")["severity"], "notice");
    assert_eq!(finding("could be newer")["next_tool"], "system_list_packages");
    assert!(found["conclusion"].as_str().unwrap().contains("critical"), "{found}");
    machine.sh("systemctl stop loop");
}

/// firewalld as it answers on the bus (firewalld.dbus(5)).
struct Firewalld;

#[zbus::interface(name = "org.fedoraproject.FirewallD1")]
impl Firewalld {
    #[zbus(name = "getDefaultZone")]
    fn default_zone(&self) -> String {
        "public".into()
    }
}

/// Its zones, which it may keep to itself.
struct Zones(Arc<AtomicBool>);

#[zbus::interface(name = "org.fedoraproject.FirewallD1.zone")]
impl Zones {
    #[zbus(name = "getActiveZones")]
    fn active_zones(&self) -> HashMap<String, HashMap<String, Vec<String>>> {
        let bound = |kind: &str, name: &str| HashMap::from([(kind.to_owned(), vec![name.to_owned()])]);
        HashMap::from([
            ("inner".into(), bound("sources", "10.0.0.0/8")),
            ("public".into(), bound("interfaces", "eth0")),
        ])
    }

    #[zbus(name = "getZoneSettings2")]
    fn zone_settings(&self, zone: &str) -> fdo::Result<HashMap<String, Variant<'static>>> {
        if self.0.load(Ordering::Relaxed) {
            return Err(fdo::Error::AccessDenied("not yours".into()));
        }
        Ok(match zone {
            "public" => HashMap::from([
                ("target".into(), "DROP".into()),
                ("services".into(), vec!["ssh"].into()),
                ("ports".into(), vec![("443", "tcp")].into()),
            ]),
            _ => HashMap::from([("rules_str".into(), vec!["rule family=ipv4 accept"].into())]),
        })
    }
}

#[test]
fn zones_of_firewalld_are_shown_as_it_tells_them() {
    let Some(mut machine) = Machine::boot() else { return };
    machine.write(
        "/etc/dbus-1/system.d/firewalld.conf",
        "<busconfig><policy user='root'><allow own='org.fedoraproject.FirewallD1'/></policy><policy context='default'><allow send_destination='org.fedoraproject.FirewallD1'/></policy></busconfig>",
    );
    machine.write(
        "/etc/systemd/system/firewalld.service",
        "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=true\n",
    );
    machine.sh("systemctl reload dbus; systemctl daemon-reload; systemctl start firewalld");
    let is_closed = Arc::new(AtomicBool::new(false));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let zones = Zones(is_closed.clone());
    let _serving = runtime.block_on(async {
        let path = "/org/fedoraproject/FirewallD1";
        let builder = zbus::connection::Builder::address(&*machine.bus()).unwrap();
        let builder = builder.serve_at(path, Firewalld).unwrap().serve_at(path, zones).unwrap();
        builder.name("org.fedoraproject.FirewallD1").unwrap().build().await.unwrap()
    });
    let mut shim = machine.client();
    let found = call(&mut shim, "system_show_firewall", json!({}));
    assert_eq!(found["conclusion"], "in charge: firewalld");
    let inner = json!({ "name": "inner", "is_default": false, "interfaces": [], "sources": ["10.0.0.0/8"], "target": "default", "services": [], "ports": [], "rich_rules": ["rule family=ipv4 accept"] });
    let public = json!({ "name": "public", "is_default": true, "interfaces": ["eth0"], "sources": [], "target": "DROP", "services": ["ssh"], "ports": ["443/tcp"] });
    assert_eq!(found["zones"], json!([inner, public]));
    is_closed.store(true, Ordering::Relaxed);
    let found = call(&mut shim, "system_show_firewall", json!({}));
    let hidden = list(&found, "unreadable").iter().find(|one| one["what"] == "zones of firewalld").unwrap();
    assert!(hidden["why"].as_str().unwrap().starts_with("firewalld says: not yours; "), "{hidden}");
    assert!(found.get("zones").is_none(), "{found}");
}
