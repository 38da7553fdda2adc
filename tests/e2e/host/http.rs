//! Clients that come by HTTP to a daemon of the whole host: each token acts for its own user, and the broker alone makes one.

use super::{bash, client};
use rustix::{
    process::{Gid, Uid},
    thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid},
};
use serde_json::{Value, json};
use skynet_proto::{
    CreateTokenRequest, RevokeTokenRequest, token_desk, token_desk_reply::Reply as Told,
    token_desk_request::Request as Asked,
};
use skynet_sandbox::{
    channel::{self, BlockingSocket, Buffer},
    protocol::{
        Admit, Admitted, Begun, Connected, FromBroker, Kind, Limits, Open, Refused, Reply, Request, Run,
        ToBroker,
    },
};
use skynet_tests::{
    host::{Host, User},
    programs::{is_running, outcome, program, wait_until},
    web::Web,
};
use std::{
    fs,
    os::{
        fd::AsFd as _,
        unix::{
            fs::{MetadataExt as _, chown, symlink},
            net::UnixStream,
        },
    },
    path::Path,
    process::Command,
};

/// What a made-up token looks like.
const NONE: &str = "skynet_00000000_0000000000000000000000000000000000000000000000000000000000000000";

fn host() -> Option<Host> {
    let mut host = Host::start()?;
    fs::write(host.path.join("config.toml"), "[http]\nlisten = '127.0.0.1:0'\n").unwrap();
    host.replace_daemon();
    Some(host)
}

/// `skynetctl token create` as that user, or as root.
fn create(host: &Host, user: Option<&User>, name: &str, workspace: &Path, more: &[&str]) -> Value {
    let workspace = workspace.to_str().unwrap();
    let arguments = [&["--json", "token", "create", name, "--workspace", workspace], more].concat();
    let (code, created, said) = host.ctl(user, &arguments);
    assert_eq!(code, 0, "{said}{created}");
    serde_json::from_str(&created).unwrap()
}

fn web(created: &Value) -> Web {
    Web::with(created["url"].as_str().unwrap(), created["secret"].as_str().unwrap())
}

/// Calls a tool by a request that stands for itself.
fn call(web: &Web, tool: &str, arguments: Value) -> Result<Value, String> {
    let reply = web.modern("tools/call", json!({ "name": tool, "arguments": arguments }), json!({}));
    assert_eq!(reply.status, 200, "{reply:?}");
    outcome(reply.messages.last().unwrap())
}

fn status(web: &Web) -> u16 {
    web.modern("tools/list", json!({}), json!({})).status
}

fn url(host: &Host) -> String {
    let (code, told, said) = host.ctl(None, &["--json", "status"]);
    assert_eq!(code, 0, "{said}");
    serde_json::from_str::<Value>(&told).unwrap()["http"].as_str().unwrap().to_owned()
}

fn own(user: &User, path: &Path, content: &str) {
    fs::write(path, content).unwrap();
    chown(path, Some(user.uid), Some(user.gid)).unwrap();
}

#[test]
fn a_token_acts_for_its_user_and_reaches_nothing_of_another() {
    let Some(host) = host() else { return };
    let [ann, bob] = host.users();
    let (hers, his) = (ann.project(), bob.project());
    own(&bob, &his.join("secret"), "his");
    let created = create(&host, Some(&ann), "ci", &hers, &["--effect", "read", "--effect", "write"]);
    assert_eq!(created["uid"], ann.uid);
    let annes = web(&created);
    assert_eq!(status(&annes), 200);
    call(&annes, "files_write", json!({ "path": "by-hands", "content": "x" })).unwrap();
    let ran = call(&annes, "exec_run", json!({ "script": "id -u; id -g; touch by-command" })).unwrap();
    assert_eq!(ran["stdout"], format!("{}\n{}\n", ann.uid, ann.gid), "{ran}");
    for file in ["by-hands", "by-command"] {
        let found = fs::metadata(hers.join(file)).unwrap();
        assert_eq!((found.uid(), found.gid()), (ann.uid, ann.gid), "{file}");
    }
    // Not by a path, not by a link, not by naming his directory.
    let secret = his.join("secret");
    symlink(&secret, hers.join("link")).unwrap();
    for path in [secret.to_str().unwrap(), "link"] {
        let refused = call(&annes, "files_read", json!({ "path": path })).unwrap_err();
        assert!(refused.starts_with("denied"), "{path}: {refused}");
    }
    let ran =
        call(&annes, "exec_run", json!({ "script": format!("cat {} link", secret.display()) })).unwrap();
    assert!(!ran["stdout"].as_str().unwrap().contains("his"), "{ran}");
    let begin = json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "t", "version": "1" } } });
    let named = annes.post(&[("skynet-workspace", his.to_str().unwrap())], &begin.to_string());
    assert_eq!(named.status, 403, "{named:?}");
    // A token of hers for his directory opens nothing, though root made it: it is judged as a claim of hers.
    let misled = create(&host, None, "misled", &his, &["--user", &ann.name]);
    let refused = call(&web(&misled), "files_list", json!({})).unwrap_err();
    assert!(refused.contains("no workspace"), "{refused}");
    // What comes in the place of her directory is another one.
    let swapped = hers.join("swapped");
    fs::create_dir(&swapped).unwrap();
    chown(&swapped, Some(ann.uid), Some(ann.gid)).unwrap();
    let turned = web(&create(&host, Some(&ann), "turned", &swapped, &[]));
    call(&turned, "files_list", json!({})).unwrap();
    fs::rename(&swapped, hers.join("moved")).unwrap();
    let other = ann.project();
    symlink(&other, &swapped).unwrap();
    let refused = call(&turned, "files_list", json!({})).unwrap_err();
    assert!(refused.contains("not bound to"), "{refused}");

    // He neither sees nor ends it, and nobody makes one for another.
    let (code, listed, _) = host.ctl(Some(&bob), &["--json", "token", "list"]);
    assert_eq!((code, listed.trim()), (0, "[]"));
    for arguments in [
        &["token", "revoke", "ci"][..],
        &["token", "revoke", created["id"].as_str().unwrap()],
        &["token", "revoke", "ci", "--user", &ann.name],
        &["token", "list", "--user", &ann.name],
        &["token", "create", "mine", "--workspace", his.to_str().unwrap(), "--user", &ann.name],
    ] {
        let (code, _, said) = host.ctl(Some(&bob), arguments);
        assert_eq!(code, 1, "{arguments:?}: {said}");
    }
    assert_eq!(status(&annes), 200);
    let (_, audit, _) = host.ctl(None, &["--json", "audit", "query", "--tool", "files_write"]);
    assert!(audit.contains(r#""token":"ci""#) && audit.contains(&ann.uid.to_string()), "{audit}");
}

#[test]
fn root_makes_tokens_for_users_and_none_for_itself() {
    let Some(host) = host() else { return };
    let [ann, bob] = host.users();
    let his = bob.project();
    own(&bob, &his.join("f"), "content\n");
    let created = create(&host, None, "robot", &his, &["--user", &bob.name]);
    assert_eq!(created["uid"], bob.uid);
    let robot = web(&created);
    assert_eq!(call(&robot, "files_read", json!({ "path": "f" })).unwrap()["content"], "content\n");
    let refused = call(&robot, "files_write", json!({ "path": "g", "content": "x" })).unwrap_err();
    assert!(refused.starts_with("denied") && refused.contains("token"), "{refused}");
    for more in [&[][..], &["--user", "root"], &["--user", "0"], &["--user", "no-such-user"]] {
        let arguments = [&["token", "create", "t", "--workspace", his.to_str().unwrap()], more].concat();
        let (code, _, said) = host.ctl(None, &arguments);
        assert_eq!(code, 1, "{more:?}: {said}");
    }
    // Both see it, and she does not.
    for (user, sees) in [(None, true), (Some(&bob), true), (Some(&ann), false)] {
        let (_, listed, _) = host.ctl(user, &["--json", "token", "list"]);
        assert_eq!(listed.contains("robot"), sees, "{listed}");
    }
    assert_eq!(host.ctl(Some(&bob), &["token", "revoke", "robot"]).0, 0);
    assert_eq!(status(&robot), 401);
}

#[test]
fn a_token_that_is_revoked_takes_what_it_runs_with_it() {
    let Some(host) = host() else { return };
    let [ann, _] = host.users();
    let project = ann.project();
    let annes = web(&create(&host, Some(&ann), "ci", &project, &["--effect", "read", "--effect", "write"]));
    let session = annes.begin("2025-11-25", json!({}));
    assert_eq!(annes.request(&session, "tools/list", json!({})).status, 200);
    let mut shim = client(&host, &ann, &project);
    bash(&mut shim, "true");
    let marker = format!("{}.9", 5_000_000 + std::process::id());
    let run = json!({ "jsonrpc": "2.0", "id": 9, "method": "tools/call", "params": {
        "name": "exec_run", "arguments": { "script": format!("sleep {marker}") } } });
    let _stream = annes.stream("POST", &[("mcp-session-id", &session)], &run.to_string());
    wait_until(|| is_running(&marker));
    assert_eq!(host.ctl(Some(&ann), &["token", "revoke", "ci"]).0, 0);
    wait_until(|| !is_running(&marker));
    assert_eq!(status(&annes), 401);
    assert_eq!(annes.request(&session, "tools/list", json!({})).status, 401);
    for wrong in [NONE, "", "skynet_", "x"] {
        assert_eq!(status(&annes.with_token(wrong)), 401, "{wrong}");
    }
    // She herself goes on.
    assert_eq!(bash(&mut shim, "echo on")["stdout"], "on\n");
    shim.call("files_list", json!({})).unwrap();
}

#[test]
fn tokens_outlive_daemon_and_broker_and_a_torn_book_knows_none() {
    let Some(mut host) = host() else { return };
    let [ann, _] = host.users();
    let project = ann.project();
    own(&ann, &project.join("f"), "content\n");
    let created = create(&host, Some(&ann), "ci", &project, &[]);
    let secret = created["secret"].as_str().unwrap();
    let reads = |web: &Web| {
        let read = json!({ "name": "files_read", "arguments": { "path": "f" } });
        let session = web.begin("2025-11-25", json!({}));
        let reply = web.request(&session, "tools/call", read);
        assert_eq!(outcome(&reply.messages[0]).unwrap()["content"], "content\n");
        session
    };
    reads(&web(&created));
    host.replace_daemon();
    let annes = Web::with(&url(&host), secret);
    let session = reads(&annes);
    host.replace_broker();
    wait_until(|| status(&annes) == 200);
    // What stood for the token has gone with the broker: the client begins again.
    wait_until(|| annes.request(&session, "tools/list", json!({})).status == 404);
    reads(&annes);

    let book = host.path.join("tokens");
    let whole = fs::read(&book).unwrap();
    fs::write(&book, &whole[..whole.len() - 1]).unwrap();
    host.replace_broker();
    wait_until(|| status(&annes) == 401);
    let (_, listed, _) = host.ctl(None, &["--json", "token", "list"]);
    assert_eq!(listed.trim(), "[]");
}

/// A process with the rights of the daemon has the broker's ear, and makes nothing of it but what tokens allow.
#[test]
fn a_daemon_that_was_taken_over_makes_no_token_and_knows_none() {
    let Some(mut host) = host() else { return };
    let [ann, bob] = host.users();
    let (hers, other) = (ann.project(), ann.project());
    let created = create(&host, Some(&ann), "ci", &hers, &[]);
    let secret = created["secret"].as_str().unwrap().to_owned();
    host.daemon.kill().unwrap();
    host.daemon.wait().unwrap();
    let daemon = User::find(host.daemon_user());
    let (broker, desk, book) = (host.path.join("b"), host.path.join("tokens.sock"), host.path.join("tokens"));
    let its = std::thread::spawn(move || {
        // Of this thread alone (credentials(7), the system call itself).
        let uid = Uid::from_raw(daemon.uid);
        set_thread_res_uid(uid, uid, uid).unwrap();
        assert!(fs::read(&book).is_err(), "it may read the book");
        let (code, workspaces) = ("0".repeat(64), vec![hers.to_str().unwrap().to_owned()]);
        let create = |user: &str| CreateTokenRequest {
            name: "t".into(),
            workspaces: workspaces.clone(),
            effects: vec!["read".into()],
            user: user.into(),
            ..CreateTokenRequest::default()
        };
        for asked in [
            Asked::Create(create(&ann.name)),
            Asked::Create(create(&bob.uid.to_string())),
            Asked::Revoke(RevokeTokenRequest { name: "ci".into(), user: ann.name.clone() }),
            Asked::Revoke(RevokeTokenRequest { name: "ci".into(), user: String::new() }),
        ] {
            assert!(matches!(token_desk::ask(&desk, asked).unwrap(), Told::Refused(_)));
        }
        // For itself it may, as anybody who may connect.
        let made = token_desk::ask(&desk, Asked::Create(create(""))).unwrap();
        assert!(matches!(&made, Told::Created(made) if made.token.as_ref().unwrap().uid == Some(daemon.uid)));

        let broker = BlockingSocket::new(channel::connect(&broker).unwrap());
        let mut buffer = Buffer::default();
        let mut ask = |request: Request| {
            broker.send(&ToBroker { request: Some(request) }, &[]).unwrap();
            let (told, _) = broker.receive::<FromBroker>(&mut buffer).unwrap().unwrap();
            told.reply.unwrap()
        };
        let id = created["id"].as_str().unwrap();
        for wrong in [NONE.to_owned(), String::new(), format!("skynet_{id}_{code}"), secret[1..].to_owned()] {
            let told = ask(Request::Admit(Admit { id: 1, secret: wrong }));
            assert!(matches!(told, Reply::Refused(refused) if refused.kind == "denied"));
        }
        let told = ask(Request::Admit(Admit { id: 2, secret }));
        let Reply::Admitted(Admitted { connection, uid, .. }) = told else { panic!("it is a token") };
        assert_eq!(uid, ann.uid);
        let path = |path: &Path| path.as_os_str().as_encoded_bytes().to_vec();
        let opened = ask(Request::Open(Open { id: 3, connection, path: path(&hers) }));
        assert!(matches!(opened, Reply::Opened(_)));
        for (connection, path) in [
            (connection, path(&other)),
            (connection, path(&bob.home)),
            (connection, b"/".to_vec()),
            (connection + 1, path(&hers)),
            (1, path(&hers)),
            (0, path(&hers)),
        ] {
            let told = ask(Request::Open(Open { id: 4, connection, path }));
            assert!(matches!(told, Reply::Refused(_)));
        }
    });
    its.join().unwrap();
}

/// What runs in a slot has the user that a connection was cited for. It gets no token of his, and neither does a container.
#[test]
fn tokens_are_asked_for_beside_the_broker_and_not_from_a_slot() {
    let Some(host) = Host::start() else { return };
    let [ann, _] = host.users();
    let mut shim = client(&host, &ann, &ann.project());
    let own = fs::read_link("/proc/self/ns/cgroup").unwrap();
    let seen = bash(&mut shim, "readlink /proc/self/ns/cgroup");
    let seen = seen["stdout"].as_str().unwrap();
    assert!(seen.starts_with("cgroup:[") && Path::new(seen.trim()) != own, "{seen}");
    // As one of a slot would, if it found the socket: all is hers but the namespace. With another one of her own she is let in.
    for (namespace, is_let_in) in [("--uts", true), ("--cgroup", false)] {
        let mut command = Command::new("unshare");
        command.arg(namespace).args(["setpriv", "--reuid", &ann.uid.to_string()]);
        command.args(["--regid", &ann.gid.to_string(), "--clear-groups"]).arg(program("skynetctl"));
        command.arg("--socket").arg(host.socket()).args(["token", "list"]).env("HOME", &ann.home);
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.success(), is_let_in, "{namespace}: {said}");
        assert_eq!(said.contains("by a process of the host itself"), !is_let_in, "{namespace}: {said}");
    }
}

/// Does something as that user, in a thread that is his: the kernel notes who connects when he does.
fn as_user<T: Send + 'static>(user: &User, what: impl FnOnce() -> T + Send + 'static) -> T {
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    let doing = std::thread::spawn(move || {
        // The user last: after that nothing else may be changed.
        set_thread_groups(&[]).unwrap();
        set_thread_res_gid(gid, gid, gid).unwrap();
        set_thread_res_uid(uid, uid, uid).unwrap();
        what()
    });
    doing.join().unwrap()
}

/// One that cites a user who is connected is shown no directory from which the broker is reached, and has no code of its own run in a
/// program that sees the host.
#[test]
fn a_daemon_that_was_taken_over_comes_to_the_broker_by_no_workspace_and_no_variable() {
    let Some(mut host) = Host::start() else { return };
    let [ann, _] = host.users();
    let hers = ann.project();
    host.daemon.kill().unwrap();
    host.daemon.wait().unwrap();
    let (at, clients) = (host.path.join("b"), host.socket());
    let broker = as_user(&User::find(host.daemon_user()), move || channel::connect(&at).unwrap());
    let broker = BlockingSocket::new(broker);
    let mut buffer = Buffer::default();
    let mut hear = || {
        let (told, _) = broker.receive::<FromBroker>(&mut buffer).unwrap().unwrap();
        told.reply.unwrap()
    };
    // What it answers it says to this daemon, and no longer to the one that ended: only then is the client told here.
    let nobodys = Open { id: 0, connection: 0, path: b"/".to_vec() };
    broker.send(&ToBroker { request: Some(Request::Open(nobodys)) }, &[]).unwrap();
    assert!(matches!(hear(), Reply::Refused(_)));
    let _client = as_user(&ann, move || UnixStream::connect(clients).unwrap());
    let Reply::Connected(Connected { connection, uid, .. }) = hear() else { panic!("she has connected") };
    assert_eq!(uid, ann.uid);
    let mut open = |path: &Path| {
        let path = path.as_os_str().as_encoded_bytes().to_vec();
        broker
            .send(&ToBroker { request: Some(Request::Open(Open { id: 1, connection, path })) }, &[])
            .unwrap();
        hear()
    };
    assert!(matches!(open(&hers), Reply::Opened(_)));
    // By its name, by a link, and from above.
    let link = hers.join("link");
    symlink(&host.path, &link).unwrap();
    for path in
        [&*host.path, &host.path.join("homes"), &link, Path::new("/"), Path::new("/run"), Path::new("/etc")]
    {
        let Reply::Refused(Refused { message, .. }) = open(path) else { panic!("{}", path.display()) };
        assert!(message.contains("never a workspace"), "{}: {message}", path.display());
    }
    // Through a process, which could have mounts of its own.
    let through = format!("/proc/self/root{}", hers.display());
    assert!(matches!(open(Path::new(&through)), Reply::Refused(_)));

    let told =
        ["HOME=/nonexistent", "LD_PRELOAD=/x.so", "GLIBC_TUNABLES=x", "DBUS_SYSTEM_BUS_ADDRESS=unix:path=/x"];
    let run = Run {
        id: 2,
        connection,
        kind: Kind::Host as i32,
        environment: told.map(|variable| variable.as_bytes().to_vec()).to_vec(),
        home: b"/nonexistent".to_vec(),
        limits: Limits { memory_bytes: 1 << 30, processes: 64, ..Limits::default() },
        ..Run::default()
    };
    // It waits for what it is asked for as long as this end is open.
    let (_asks, stdin) = channel::pair().unwrap();
    let null = fs::File::options().write(true).open("/dev/null").unwrap();
    let stdio = [stdin.as_fd(), null.as_fd(), null.as_fd()];
    broker.send(&ToBroker { request: Some(Request::Run(run)) }, &stdio).unwrap();
    let begun = hear();
    let Reply::Begun(Begun { pid, .. }) = begun else { panic!("{begun:?}") };
    let given = fs::read(format!("/proc/{pid}/environ")).unwrap();
    assert_eq!(String::from_utf8(given).unwrap(), "HOME=/nonexistent\0");
}
