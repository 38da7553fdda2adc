//! The Debian package in a booted systemd, from its installation to the last file of it that goes.

use serde_json::{Value, json};
use skynet_tests::{
    components,
    machine::{Machine, USER},
    packages::{Workshop, run},
    programs::{Shim, wait_until},
};
use std::{fs, path::Path};

const WORKSPACE: &str = "/home/ann/project";

/// Exposure as `systemd-analyze security` counts it, from 0 (none) to 10.
const MOST_EXPOSED: f64 = 2.5;

/// A package of these programs, or that of `SKYNET_PACKAGE` where none can be made.
pub(super) fn package() -> Option<Vec<u8>> {
    components::program("dpkg-deb")?;
    match std::env::var_os("SKYNET_PACKAGE") {
        Some(file) => Some(fs::read(file).unwrap()),
        None => {
            let shop = Workshop::open_working()?;
            Some(fs::read(shop.make("deb", "deb")).unwrap())
        }
    }
}

/// The same, and one of the next release.
fn packages() -> Option<(Vec<u8>, Vec<u8>)> {
    let package = package()?;
    let scratch = tempfile::tempdir().unwrap();
    let (file, root, next) =
        (scratch.path().join("skynet.deb"), scratch.path().join("root"), scratch.path().join("next.deb"));
    fs::write(&file, &package).unwrap();
    run("dpkg-deb", &[Path::new("-R"), &file, &root]);
    let control = root.join("DEBIAN/control");
    let text = fs::read_to_string(&control).unwrap();
    let line = text.lines().find(|line| line.starts_with("Version: ")).unwrap();
    fs::write(&control, text.replace(line, &format!("{line}+next"))).unwrap();
    let arguments = ["-Znone", "--root-owner-group", "-b", root.to_str().unwrap(), next.to_str().unwrap()];
    run("dpkg-deb", &arguments);
    Some((package, fs::read(next).unwrap()))
}

fn pid(machine: &Machine) -> String {
    machine.sh("systemctl show --property=MainPID --value skynetd")
}

fn status(machine: &Machine) -> Value {
    serde_json::from_str(&machine.sh("skynetctl --json status")).unwrap()
}

#[test]
fn a_package_is_installed_used_upgraded_restored_and_purged() {
    let Some((package, next)) = packages() else { return };
    let Some(machine) = Machine::boot_for_host() else { return };
    machine.write("/root/skynet.deb", package);
    machine.write("/root/next.deb", next);
    machine.sh("dpkg --install /root/skynet.deb");
    assert_eq!(
        machine.sh("systemctl is-active skynet.socket skynet-sandbox skynetd"),
        "active\nactive\nactive"
    );
    let units = "/usr/lib/systemd/system/skynet*.service /usr/lib/systemd/system/skynet.socket";
    assert_eq!(machine.sh(&format!("systemd-analyze verify --man=no {units} 2>&1")), "");
    let told = machine.sh("systemd-analyze --no-pager --json=short security skynetd || true");
    let rows: Vec<Value> = serde_json::from_str(&told).unwrap();
    let exposed: f64 = rows.iter().filter_map(|row| row["exposure"].as_str()?.parse::<f64>().ok()).sum();
    assert!(exposed <= MOST_EXPOSED, "{exposed}");

    // Members of the group work as themselves; others do not.
    machine.sh(&format!(
        "install -d -o {USER} -g {USER} {WORKSPACE}; usermod -aG skynet,systemd-journal {USER}; useradd -m eve"
    ));
    let refused = machine.run("eve", &["skynetctl", "status"]);
    assert_eq!(refused.status.code(), Some(3), "{}", String::from_utf8_lossy(&refused.stderr));
    let told = machine.run("eve", &["skynetctl", "setup", "--yes", "--json"]);
    let steps: Value = serde_json::from_slice(&told.stdout).unwrap();
    assert_eq!((told.status.code(), &steps[0]["outcome"]), (Some(1), &json!("needed")), "{steps}");
    let mut shim = machine.client_of_host(USER, WORKSPACE);
    let ran = shim.call("exec_run", json!({ "script": "id -un; pwd" })).unwrap();
    assert_eq!(ran["stdout"], format!("{USER}\n{WORKSPACE}\n"));
    journal(&machine, &mut shim);

    // With calls under way the daemon is started again; every one has its answer, and happened once.
    let before = pid(&machine);
    let ids: Vec<i64> = (0..20)
        .map(|number| {
            let script = format!("sleep 0.2; echo {number} >> done");
            shim.post("tools/call", json!({ "name": "exec_run", "arguments": { "script": script } }))
        })
        .collect();
    machine.sh("systemctl restart skynetd");
    let answers = shim.answers(&ids);
    let count = |which: &dyn Fn(&&Value) -> bool| answers.iter().filter(which).count();
    let done = count(&|answer| answer["result"]["isError"] != true && answer["error"].is_null());
    // A slow machine may not end all of them while the daemon waits for them.
    let unknown = count(&|answer| answer.to_string().contains("interrupted: "));
    assert_eq!(machine.sh(&format!("sort -n {WORKSPACE}/done | uniq -d")), "", "no command ran twice");
    let ran: usize = machine.sh(&format!("wc -l < {WORKSPACE}/done")).parse().unwrap();
    assert!(
        (done..=done + unknown).contains(&ran),
        "{ran} ran, of which {done} are said to have: {answers:?}"
    );
    assert_ne!(pid(&machine), before);

    // One call is found in the journal by its number.
    shim.call("files_write", json!({ "path": "kept", "content": "before" })).unwrap();
    let record = machine.sh("skynetctl --json audit query --tool files_write --limit 1");
    let record: Value = serde_json::from_str(record.lines().last().unwrap()).unwrap();
    let record = if record.is_array() { record[0].clone() } else { record };
    let call = record["call"].as_str().unwrap();
    let line = machine.sh(&format!("journalctl --output=json CALL_ID={call}"));
    let line: Value = serde_json::from_str(line.lines().next().unwrap()).unwrap();
    assert_eq!((&line["TOOL"], &line["USER_ID"]), (&json!("files_write"), &json!("1000")));
    assert!(line["CLIENT"].as_str().is_some_and(|client| !client.is_empty()), "{line}");

    // Rules are put in force without anybody noticing; wrong ones are not, and the reason is told.
    let kept = pid(&machine);
    machine.write(
        "/etc/skynet/config.d/90.toml",
        "[[policy.rules]]\nname = 'frozen'\nverdict = 'deny'\ntools = ['files_write']\n",
    );
    machine.sh("systemctl reload skynetd");
    let frozen = shim.call("files_write", json!({ "path": "kept", "content": "after" })).unwrap_err();
    assert!(frozen.contains("`frozen`"), "{frozen}");
    machine.write("/etc/skynet/config.d/90.toml", "[policy]\nrulez = 1\n");
    assert_ne!(machine.sh("systemctl reload skynetd && echo yes || echo no"), "yes");
    assert!(machine.sh("journalctl -u skynetd -n 5").contains("did you mean `rules`?"));
    assert!(shim.call("files_write", json!({ "path": "kept", "content": "after" })).is_err());
    machine.sh("rm /etc/skynet/config.d/90.toml; systemctl reload skynetd");
    shim.call("files_write", json!({ "path": "kept", "content": "before" })).unwrap();
    assert_eq!(pid(&machine), kept);

    // A daemon that hangs is replaced, and its clients go on.
    machine.write("/run/systemd/system/skynetd.service.d/patience.conf", "[Service]\nWatchdogSec=1s\n");
    machine.sh("systemctl daemon-reload; systemctl restart skynetd");
    let hung = pid(&machine);
    machine.sh(&format!("kill -STOP {hung}"));
    assert_eq!(shim.call("files_read", json!({ "path": "kept" })).unwrap()["content"], "before");
    assert_eq!(machine.sh("systemctl show --property=NRestarts --value skynetd"), "1");
    machine.sh("rm -r /run/systemd/system/skynetd.service.d; systemctl daemon-reload");

    // An upgrade keeps the state and the session; a backup brings back what was.
    let records = status(&machine)["audit_records"].as_u64().unwrap();
    machine.sh("skynetctl backup create /root/backup.tar.gz; skynetctl backup verify /root/backup.tar.gz");
    assert_eq!(machine.sh("stat --format=%a /root/backup.tar.gz"), "600");
    machine.sh("dpkg --install /root/next.deb");
    assert!(status(&machine)["audit_records"].as_u64().unwrap() >= records);
    assert_eq!(shim.call("files_read", json!({ "path": "kept" })).unwrap()["content"], "before");
    shim.call("files_write", json!({ "path": "kept", "content": "after" })).unwrap();
    machine.sh("systemctl stop skynetd");
    let refused = machine.run("root", &["skynetctl", "backup", "restore", "/root/backup.tar.gz"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--replace"));
    machine.sh("skynetctl backup restore --replace /root/backup.tar.gz; systemctl start skynetd");
    wait_until(|| machine.run("root", &["skynetctl", "status"]).status.success());
    assert_eq!(machine.sh("skynetctl --json audit verify | grep -c '\"faults\": \\[\\]'"), "1");
    assert!(machine.sh("stat --format=%U /var/lib/skynet/keys/*").lines().all(|owner| owner == "skynet"));
    assert_eq!(shim.call("files_read", json!({ "path": "kept" })).unwrap()["content"], "after");

    // A job outlives broker and daemon, but not the package.
    let script = "while :; do date > alive; sleep 0.1; done";
    shim.call("exec_start_job", json!({ "script": script })).unwrap();
    machine.sh("systemctl restart skynet-sandbox");
    let job = || machine.sh(&format!("pgrep --euid {USER} --full 'date > alive' || true"));
    assert_ne!(job(), "");
    drop(shim);
    machine.sh("dpkg --remove skynet");
    wait_until(|| job().is_empty());
    assert_eq!(machine.sh("test ! -e /usr/lib/skynet; test -d /var/lib/skynet && echo state"), "state");
    machine.sh("dpkg --purge skynet");
    let left = "find / -xdev -name '*skynet*' -not -path '/proc/*' -not -path '/opt/*' -not -path '/root/*' -not -path '/skynet*' -not -path '/sys/*'";
    // Where dpkg and the journal keep what they know, and the account.
    let left = machine
        .sh(&format!("{left} -not -path '/var/log/*' -not -path '/var/lib/dpkg/*' -not -path '/etc/skel/*'"));
    assert_eq!(left, "");

    // A new host, the key of whose secrets systemd keeps: it is in no file of the state.
    let credential = "systemd-creds encrypt --with-key=host --name=skynet-master-key /run/key /etc/credstore.encrypted/skynet-master-key";
    machine
        .sh(&format!("mkdir -p /etc/credstore.encrypted; head -c 32 /dev/urandom > /run/key; {credential}"));
    machine.sh("dpkg --install /root/next.deb; echo hunter2hunter2 | skynetctl secret set shop-db");
    machine.sh("systemctl restart skynetd; skynetctl secret list | grep shop-db");
    assert_eq!(
        machine.sh("test -d /var/lib/skynet/keys; ls /var/lib/skynet/keys | grep secrets || true"),
        ""
    );
}

/// What the journal holds for her is a collection of hers: read where the host is seen, and cut where her workspace is.
fn journal(machine: &Machine, shim: &mut Shim) {
    let say = |level: &str, text: &str| {
        // Of a unit: whose a line of a process is that has ended by now, the journal may not find out.
        let unit = format!("systemd-run --quiet --wait --collect --unit=kettle -p SyslogLevel={level}");
        machine.sh(&format!("{unit} echo {text}; journalctl --sync"));
    };
    say("info", "the wombat is warm");
    say("err", "the wombat boiled over");
    let added = shim.call("knowledge_add_source", json!({ "kind": "journal", "days": 1 })).unwrap();
    assert!(added["files"].as_u64().unwrap() > 1, "{added}");
    let found = shim.call("knowledge_search", json!({ "query": "wombat", "tags": ["error"] })).unwrap();
    let (path, text) = (&found["found"][0]["path"], &found["found"][0]["text"]);
    let (path, text) = (path.as_str().unwrap(), text.as_str().unwrap());
    assert!(path.starts_with("journal/kettle.service/") && path.ends_with(".log"), "{found}");
    assert!(text.contains("the wombat is warm") && text.contains("the wombat boiled over"), "{found}");
    say("info", "an ocelot came by");
    shim.call("knowledge_refresh_collection", json!({ "name": "journal" })).unwrap();
    let found = shim.call("knowledge_search", json!({ "query": "ocelot" })).unwrap();
    assert!(found["found"][0]["text"].as_str().unwrap().contains("an ocelot came by"), "{found}");
    let wanted = json!({ "kind": "journal", "name": "more", "units": ["none.service"] });
    let refused = shim.call("knowledge_add_source", wanted).unwrap_err();
    assert!(refused.contains("nothing in it"), "{refused}");
    shim.call("knowledge_remove_collection", json!({ "name": "journal" })).unwrap();
}
