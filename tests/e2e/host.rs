//! Skynet for a whole host: the broker is root's, the daemon is nobody's, and whatever is done for a user is done as him.

mod docker;
mod factor;
mod http;
mod image;
mod knowledge;
mod models;
mod packages;
mod polkit;
mod remotes;
mod services;
mod shipped;
mod system;
mod trust;
mod v1;

use crate::{
    escapes::{Target, attack_by_system_calls, attack_from_a_shell, plant},
    remotes::server::Server,
};
use serde_json::{Value, json};
use skynet_tests::{
    components,
    host::{Host, User},
    programs::{Shim, is_running, outcome, program, wait_until},
    web::service,
};
use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    path::Path,
    process::Command,
};

fn client(host: &Host, user: &User, workspace: &Path) -> Shim {
    host.client(user, workspace, json!({}))
}

fn bash(shim: &mut Shim, script: &str) -> Value {
    shim.call("exec_run", json!({ "script": script })).unwrap_or_else(|err| panic!("{script}: {err}"))
}

#[test]
fn each_user_works_as_himself() {
    let Some(host) = Host::start() else { return };
    for user in host.users() {
        let project = user.project();
        let mut shim = client(&host, &user, &project);
        shim.call("files_write", json!({ "path": "by-hands", "content": "x" })).unwrap();
        let ended =
            bash(&mut shim, "id -u; id -g; id -G; touch by-command; echo kept > ~/note; cat ~/note; pwd");
        let (uid, gid, pwd) = (user.uid, user.gid, project.display());
        assert_eq!(ended["stdout"], format!("{uid}\n{gid}\n{gid}\nkept\n{pwd}\n"), "{ended}");
        for file in ["by-hands", "by-command"] {
            let found = fs::metadata(project.join(file)).unwrap();
            assert_eq!((found.uid(), found.gid()), (uid, gid), "{file}");
        }
        // What asks about the host is his as well, and sees all of it.
        let processes = shim.call("system_list_processes", json!({ "limit": 500 })).unwrap();
        let listed = processes["processes"].as_array().unwrap();
        let hands = listed.iter().filter(|one| one["name"] == "skynet-hands" && one["user"] == *user.name);
        assert!(hands.count() >= 1 && listed.iter().any(|one| one["pid"] == 1), "{processes}");
        assert!(!user.home.join("note").exists(), "the home of commands is the user's own");
    }
}

#[test]
fn a_broker_in_a_container_leaves_the_slots_of_the_host_alone() {
    let Some(host) = Host::start() else { return };
    let [ann, _] = host.users();
    let mut shim = client(&host, &ann, &ann.project());
    // From here on another slot waits for its command, in a group that is empty until then.
    bash(&mut shim, "true");
    let mut other = host.broker_of_a_container();
    let ended = shim.call("exec_run", json!({ "script": "echo whole" }));
    other.kill().unwrap();
    other.wait().unwrap();
    assert_eq!(ended.unwrap()["stdout"], "whole\n");
}

#[test]
fn nothing_of_another_user_is_reached() {
    let Some(host) = Host::start() else { return };
    let [ann, bob] = host.users();
    let (hers, his) = (ann.project(), bob.project());
    fs::write(hers.join("secret"), "hers").unwrap();
    // Readable for all, but not the way to it.
    fs::set_permissions(hers.join("secret"), fs::Permissions::from_mode(0o644)).unwrap();
    fs::set_permissions(&ann.home, fs::Permissions::from_mode(0o700)).unwrap();
    let mut annes = client(&host, &ann, &hers);
    let marker = format!("{}.3", 3_000_000 + std::process::id());
    let call = json!({ "name": "exec_run", "arguments": { "script": format!("echo of-ann > ~/note; sleep {marker}") } });
    let running = annes.post("tools/call", call);
    wait_until(|| is_running(&marker));

    // Her directory is no workspace of his: by its name, by a link, or from a directory that takes its place.
    symlink(&hers, his.join("link")).unwrap();
    for claim in [hers.clone(), his.join("link")] {
        let err = client(&host, &bob, &claim).call("files_list", json!({})).unwrap_err();
        assert!(err.contains("no workspace"), "{}: {err}", claim.display());
    }
    let swapped = his.join("swapped");
    fs::create_dir(&swapped).unwrap();
    std::os::unix::fs::chown(&swapped, Some(bob.uid), Some(bob.gid)).unwrap();
    let mut late = client(&host, &bob, &swapped);
    late.call("files_list", json!({})).unwrap();
    fs::rename(&swapped, his.join("moved")).unwrap();
    symlink(&hers, &swapped).unwrap();
    for ended in [bash(&mut late, "cat secret; ls -la"), bash(&mut late, "cat ../swapped/secret")] {
        assert!(!ended["stdout"].as_str().unwrap().contains("hers"), "{ended}");
    }

    let mut shim = client(&host, &bob, &his);
    let secret = hers.join("secret");
    let secret = secret.display();
    for script in [
        format!("cat {secret}"),
        format!("cat link/secret /proc/*/root{secret} /proc/*/cwd/secret"),
        "cat /home/*/note /root/.ssh/* /run/*/homes/*/*/note".to_owned(),
        "for p in $(seq 2 400000); do kill -9 $p 2>/dev/null && echo hers $p; done; true".to_owned(),
        "cat /proc/[0-9]*/cmdline | tr '\\0' '\\n'".to_owned(),
    ] {
        let ended = bash(&mut shim, &script);
        let said = ended["stdout"].as_str().unwrap();
        let is_hers = ["hers", "of-ann", &marker].iter().any(|word| said.contains(word));
        assert!(!is_hers, "{script}: {ended}");
    }
    for (tool, input) in [
        ("files_read", json!({ "path": secret.to_string() })),
        ("files_read", json!({ "path": "link/secret" })),
        ("files_copy", json!({ "from": "link/secret", "to": "mine" })),
    ] {
        let err = shim.call(tool, input).unwrap_err();
        assert!(err.starts_with("denied"), "{tool}: {err}");
    }
    let (_, sessions, _) = host.ctl(Some(&bob), &["sessions", "--json"]);
    assert!(!sessions.contains(&format!("\"uid\": {}", ann.uid)), "{sessions}");
    // Root sees all of them, and whose each is.
    for arguments in [&["sessions"][..], &["audit", "query", "--tool", "files_read"]] {
        let (_, table, _) = host.ctl(None, arguments);
        assert!(table.split_whitespace().any(|word| word == bob.uid.to_string()), "{table}");
    }
    assert!(is_running(&marker), "her command goes on");
    annes.send(
        &json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": running } }),
    );
    wait_until(|| !is_running(&marker));
}

#[test]
fn root_is_nobody_and_only_root_administers() {
    let Some(host) = Host::start() else { return };
    let [ann, _] = host.users();
    let project = ann.project();
    let workspace = project.to_str().unwrap();
    let (code, _, said) = host.ctl(None, &["tools", "call", "files_list", "{}", "--workspace", workspace]);
    assert!(code != 0 && said.contains("root has no rights in the sandbox"), "{code}: {said}");
    assert_eq!(host.ctl(Some(&ann), &["tools", "call", "files_list", "{}", "--workspace", workspace]).0, 0);
    for arguments in [&["audit", "query"][..], &["approvals", "list"]] {
        let (code, _, said) = host.ctl(Some(&ann), arguments);
        assert!(code != 0 && said.contains("only root"), "{arguments:?}: {code}: {said}");
        assert_eq!(host.ctl(None, arguments).0, 0, "{arguments:?}");
    }
}

#[test]
fn what_a_client_approves_for_itself_does_not_count() {
    let Some(host) = Host::start() else { return };
    let [ann, _] = host.users();
    let project = ann.project();
    fs::write(project.join("f"), "old").unwrap();
    std::os::unix::fs::chown(project.join("f"), Some(ann.uid), Some(ann.gid)).unwrap();
    for command in
        ["git init -q", "git add f", "git -c user.name=a -c user.email=a@x commit -qm m", "echo new > f"]
    {
        let _ = ann.sh(&format!("cd {} && {command}", project.display()));
    }
    fs::write(host.path.join("config.toml"), "[confirm]\nwait_seconds = 1\n").unwrap();
    let mut host = host;
    host.replace_daemon();
    // It says that it can ask, and would say yes.
    let mut shim = host.client(&ann, &project, json!({ "elicitation": {} }));
    let checkout = json!({ "paths": ["f"] });
    let err = shim.call("git_checkout", checkout.clone()).unwrap_err();
    let id = err.split("approve ").nth(1).and_then(|rest| rest.split('`').next()).unwrap();
    let (code, _, said) = host.ctl(Some(&ann), &["approvals", "approve", id]);
    assert!(code != 0 && said.contains("only root"), "{said}");
    assert_eq!(host.ctl(None, &["approvals", "approve", id]).0, 0);
    shim.call("git_checkout", checkout).unwrap();
    assert_eq!(fs::read_to_string(project.join("f")).unwrap(), "old");
}

#[test]
fn groups_with_roots_power_stay_outside() {
    let Some(host) = Host::start() else { return };
    let [ann, _] = host.users();
    let project = ann.project();
    let group = |name: &str| {
        let text = fs::read_to_string("/etc/group").unwrap();
        let line = text.lines().find(|line| line.split(':').next() == Some(name)).unwrap().to_owned();
        line.split(':').nth(2).unwrap().to_owned()
    };
    let groups = format!("{},{}", group("disk"), group("games"));
    let run = |script: &str| {
        let input = json!({ "script": script }).to_string();
        let output = Command::new("setpriv")
            .args(["--reuid", &ann.uid.to_string(), "--regid", &ann.gid.to_string(), "--groups", &groups])
            .arg(program("skynetctl"))
            .args(["--json", "--socket"])
            .arg(host.path.join("s"))
            .args(["tools", "call", "exec_run", &input, "--workspace"])
            .arg(&project)
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let ended: Value = serde_json::from_str(&run("id -G")).unwrap();
    assert_eq!(ended["stdout"], format!("{} {}\n", ann.gid, group("games")), "{ended}");
}

#[test]
fn the_kernel_holds_memory_and_processes() {
    let Some(host) = Host::start() else { return };
    let [ann, _] = host.users();
    let mut shim = client(&host, &ann, &ann.project());
    let bomb = json!({ "interpreter": "python", "script": "x = bytearray(512 << 20)", "memory_mib": 64 });
    let ended = shim.call("exec_run", bomb).unwrap();
    assert_eq!(ended["ended_by"], "memory", "{ended}");
    assert!(ended["peak_memory_bytes"].as_u64().unwrap() <= 80 << 20, "{ended}");
    // Also what belongs to no process: files of scratch.
    let files = json!({ "script": "head -c 400M /dev/zero > /tmp/a; echo $?", "memory_mib": 64 });
    let ended = shim.call("exec_run", files).unwrap();
    assert_ne!(ended["stdout"], "0\n", "{ended}");
    let forks = "import os, time
made = 0
try:
    while made < 3000:
        if os.fork() == 0: time.sleep(60)
        made += 1
except OSError: print(made < 3000)";
    let ended = shim.call("exec_run", json!({ "interpreter": "python", "script": forks })).unwrap();
    assert_eq!(ended["stdout"], "True\n", "{ended}");
    assert_eq!(bash(&mut shim, "echo on")["stdout"], "on\n");
}

/// Every mount of this process, without its numbers.
fn mounts() -> Vec<String> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    table.lines().map(|line| line.split(' ').skip(2).collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn the_mounts_of_the_host_stay_as_they_are() {
    let Some(host) = Host::start() else { return };
    let [ann, _] = host.users();
    let project = ann.project();
    let mount = |arguments: &[&str]| {
        assert!(Command::new("mount").args(arguments).arg(&project).status().unwrap().success());
    };
    // A source whose copies would be its peers, with a mount below it.
    mount(&["--bind", project.to_str().unwrap()]);
    mount(&["--make-shared"]);
    std::os::unix::fs::chown(&project, Some(ann.uid), Some(ann.gid)).unwrap();
    let nested = project.join("nested");
    fs::create_dir(&nested).unwrap();
    assert!(Command::new("mount").args(["-t", "tmpfs", "nested"]).arg(&nested).status().unwrap().success());
    fs::write(nested.join("file"), "below").unwrap();
    let before = mounts();
    let mut shim = client(&host, &ann, &project);
    for _ in 0..slots() {
        assert_eq!(bash(&mut shim, "cat nested/file")["stdout"], "below");
    }
    let after = mounts();
    for path in [&nested, &project] {
        assert!(Command::new("umount").arg("--lazy").arg(path).status().unwrap().success());
    }
    assert_eq!(before, after);
}

/// How many slots; `SKYNET_TEST_SLOTS=1000` is the promise.
fn slots() -> u32 {
    std::env::var("SKYNET_TEST_SLOTS").map_or(40, |text| text.parse().unwrap())
}

#[test]
fn a_broker_or_daemon_that_dies_is_replaced_under_the_client() {
    let Some(mut host) = Host::start() else { return };
    let [ann, _] = host.users();
    let project = ann.project();
    let mut shim = client(&host, &ann, &project);
    for round in 0..3 {
        let marker = format!("{}.{round}", 4_000_000 + std::process::id());
        let call = json!({ "name": "exec_run", "arguments": { "script": format!("echo {round} >> log; sleep {marker}") } });
        let id = shim.post("tools/call", call);
        wait_until(|| is_running(&marker));
        if round % 2 == 0 {
            host.replace_broker();
        } else {
            host.replace_daemon();
        }
        let err = outcome(&shim.answer(id)).unwrap_err();
        assert!(err.contains("interrupted"), "{err}");
        wait_until(|| !is_running(&marker));
        assert_eq!(
            bash(&mut shim, "tail -1 log; wc -l < log")["stdout"],
            format!("{round}\n{}\n", round + 1)
        );
        shim.call("files_read", json!({ "path": "log" })).unwrap();
    }
}

#[test]
fn a_job_of_a_user_outlives_broker_and_daemon_and_is_nobody_elses() {
    let Some(mut host) = Host::start() else { return };
    let [ann, bob] = host.users();
    let project = ann.project();
    let mut shim = client(&host, &ann, &project);
    let memory = "x = []\nwhile True: x.append(bytearray(1 << 20))";
    let input = json!({ "script": memory, "interpreter": "python", "memory_mib": 64, "timeout_seconds": 60 });
    let hog = shim.call("exec_start_job", input).unwrap()["job"].clone();
    let script = "id -un; tty; echo kept > ~/note; while read line; do echo said $line; done; exit 7";
    let input = json!({ "script": script, "pty": true, "timeout_seconds": 120 });
    let job = shim.call("exec_start_job", input).unwrap()["job"].clone();
    host.replace_broker();
    host.replace_daemon();
    shim.call("exec_write_job", json!({ "job": job, "text": "on\n\u{4}" })).unwrap();
    let ended = shim.call("exec_wait_job", json!({ "job": job })).unwrap();
    assert_eq!(
        (&ended["status"]["exit_code"], &ended["status"]["ended_by"]),
        (&json!(7), &json!("itself")),
        "{ended}"
    );
    let output = shim.call("exec_read_job", json!({ "job": job })).unwrap();
    let said = output["output"].as_str().unwrap();
    assert!(
        said.starts_with(&format!("{}\r\n/dev/pts/0\r\n", ann.name)) && said.contains("said on"),
        "{output}"
    );
    assert_eq!(bash(&mut shim, "cat ~/note")["stdout"], "kept\n");
    let ended = shim.call("exec_wait_job", json!({ "job": hog })).unwrap();
    assert_eq!(ended["status"]["ended_by"], "memory", "{ended}");

    let mut other = client(&host, &bob, &bob.project());
    assert_eq!(other.call("exec_list_jobs", json!({})).unwrap()["jobs"], json!([]));
    let refused = other.call("exec_read_job", json!({ "job": job })).unwrap_err();
    assert!(refused.starts_with("not_found"), "{refused}");
}

#[test]
fn a_user_previews_and_gets_the_network_that_was_granted() {
    let Some(mut host) = Host::start() else { return };
    let allowed = "[[policy.rules]]\nname = 'out'\nverdict = 'allow'\neffects = ['external']\n";
    fs::write(host.path.join("config.toml"), allowed).unwrap();
    host.replace_daemon();
    let [ann, _] = host.users();
    let project = ann.project();
    let mut shim = client(&host, &ann, &project);
    bash(&mut shim, "mkdir -p dir/old; echo 1 > dir/a; echo 1 > b");
    let script = "rm -r dir; mkdir dir; echo 2 > dir/c; echo 2 >> b; chmod 600 b";
    let preview = shim.call("exec_preview", json!({ "script": script })).unwrap();
    assert_eq!(preview["changes_count"], 4, "{preview}");
    assert_eq!(bash(&mut shim, "cat b; ls dir")["stdout"], "1\na\nold\n");
    shim.call("exec_apply_preview", json!({ "preview": preview["preview"] })).unwrap();
    assert_eq!(bash(&mut shim, "cat b; ls dir; stat -c %a b")["stdout"], "1\n2\nc\n600\n");
    assert_eq!(fs::metadata(project.join("dir/c")).unwrap().uid(), ann.uid);

    let port = service();
    let fetch = |network: Value| json!({ "script": format!("curl -sS --noproxy '' http://127.0.0.1:{port}/"), "network": network });
    for network in [json!({ "reach": [port] }), json!({ "hosts": [format!("127.0.0.1:{port}")] })] {
        let ended = shim.call("exec_run", fetch(network)).unwrap();
        assert!(ended["stdout"].as_str().unwrap().starts_with("GET / HTTP/1.1"), "{ended}");
    }
    assert_eq!(shim.call("exec_run", fetch(json!({}))).unwrap()["exit_code"], 7);
}

#[test]
fn a_users_secret_opens_his_remotes_and_nobody_elses() {
    let Some(mut host) = Host::start() else { return };
    let allowed = "[[policy.rules]]\nname = 'out'\nverdict = 'allow'\neffects = ['external']\n";
    fs::write(host.path.join("config.toml"), allowed).unwrap();
    host.replace_daemon();
    let [ann, bob] = host.users();
    let server = Server::for_users("", &["x-access-token:of ann"]);
    let keep = |value: &str, name: &str| {
        let ctl = format!("{} --socket {}", program("skynetctl").display(), host.socket().display());
        ann.sh(&format!("printf -- '{value}' | {ctl} secret set {name} --git --host 127.0.0.1"))
    };
    assert!(keep("of ann", "forge").contains("`forge` is kept"));
    let clone = json!({ "url": server.url() });
    let project = ann.project();
    let mut shim = client(&host, &ann, &project);
    shim.call("git_clone", clone.clone()).unwrap();
    assert_eq!(fs::metadata(project.join("sample/file")).unwrap().uid(), ann.uid);
    // Nobody listens there, but the helpers, OpenSSH and the way to the host are his.
    assert!(keep("-----BEGIN OPENSSH PRIVATE KEY-----\nx", "key").contains("as SSH key"));
    let nobody = shim.call("git_clone", json!({ "url": "ssh://git@127.0.0.1:1/a" })).unwrap_err();
    assert!(nobody.starts_with("unavailable: `127.0.0.1:1` cannot be connected to"), "{nobody}");
    let mut shim = client(&host, &bob, &bob.project());
    let refused = shim.call("git_clone", clone).unwrap_err();
    assert!(refused.starts_with("not_found"), "{refused}");
}

#[test]
fn no_attack_of_a_user_of_a_host_escapes() {
    let attacks: [fn(&mut Target); 3] = [attack_from_a_shell, attack_by_system_calls, plant];
    for attack in attacks {
        let Some(host) = Host::start() else { return };
        let [ann, _] = host.users();
        attack(&mut Target::of_host(host, &ann));
    }
}

/// As on a file server that does not trust root, root may not enter a filesystem of the user's own (fuse(4)).
#[test]
fn a_workspace_that_root_may_not_enter_is_one_all_the_same() {
    let Some(host) = Host::start() else { return };
    if components::program("bindfs").is_none() || !Path::new("/dev/fuse").exists() {
        eprintln!("SKIP FUSE: this kernel has none");
        return;
    }
    let [ann, bob] = host.users();
    let project = ann.project();
    let mounted = project.join("mounted");
    let _ = ann.sh(&format!(
        "cd {} && mkdir source mounted && echo inner > source/file && bindfs --no-allow-other source mounted",
        project.display()
    ));
    assert!(fs::read_dir(&mounted).is_err(), "root is one of those who may enter");
    let mut shim = client(&host, &ann, &mounted);
    assert_eq!(
        bash(&mut shim, "cat file; echo made > by-command; pwd")["stdout"],
        format!("inner\n{}\n", mounted.display())
    );
    shim.call("files_write", json!({ "path": "by-hands", "content": "x" })).unwrap();
    let listed = shim.call("files_list", json!({})).unwrap();
    assert_eq!(listed["entries"].as_array().unwrap().len(), 3, "{listed}");
    // Also where a rename cannot be told to replace nothing.
    let ended = bash(&mut shim, "echo evil > .envrc");
    assert_eq!(ended["quarantined"], json!([".envrc"]), "{ended}");
    assert!(project.join("source/.envrc.quarantined").exists() && !project.join("source/.envrc").exists());
    let err = client(&host, &bob, &mounted).call("files_list", json!({})).unwrap_err();
    assert!(err.contains("no workspace"), "{err}");
    drop(shim);
    drop(host);
    let _ = ann.sh(&format!("fusermount3 -u -z {}", mounted.display()));
    assert_eq!(fs::read_to_string(project.join("source/by-command")).unwrap(), "made\n");
}
