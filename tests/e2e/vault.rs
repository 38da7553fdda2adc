//! Secrets that a vault keeps, by a real server of OpenBao.

use serde_json::{Value, json};
use skynet_tests::{
    programs::{Daemon, Home, Shim, wait_until},
    vault::Server,
};

const OUT: &str = "[[policy.rules]]\nname = 'out'\nverdict = 'allow'\neffects = ['external']\n";

struct Bench {
    shim: Shim,
    home: Home,
    _daemon: Daemon,
}

impl Bench {
    fn new(settings: &str) -> Self {
        let home = Home::new();
        home.configure(&format!("{OUT}{settings}"));
        let daemon = Daemon::start(&home);
        let shim = Shim::connected(&home, "2025-11-25", json!({}));
        Self { shim, home, _daemon: daemon }
    }

    fn link(&self, arguments: &[&str]) -> (i32, String) {
        let (code, out, err) = self.home.ctl(&[&["secret", "link"], arguments].concat());
        (code, out + &err)
    }

    fn run(&mut self, script: &str) -> Result<Value, String> {
        self.shim.call("exec_run", json!({ "script": script, "environment": { "DB": "secret://db" } }))
    }
}

/// What `USER` is for programs of a test.
const USER: &str = "tester";

fn put(server: &Server, password: &str) {
    let path = format!("secret/users/{USER}/db");
    let (password, long) = (format!("password={password}"), format!("long={}", "x".repeat(70_000)));
    server.bao(&["kv", "put", &path, &password, "port=5432", "empty=", &long]);
}

#[test]
fn a_command_gets_what_the_vault_has_now() {
    let Some(server) = Server::start() else { return };
    put(&server, "first-of-the-vault");
    let mut bench = Bench::new(&server.approle(None));
    let (code, said) = bench.link(&["db", "db#password", "--host", "api.example.org"]);
    assert!(code == 0 && said.contains("`db` is `db#password` of the vault"), "{said}");
    let got = bench.run("printf %s \"$DB\" | wc -c; echo $DB; printf %s $DB | base64").unwrap();
    assert_eq!(got["stdout"], "18\n[redacted:db]\n[redacted:db]\n", "{got}");
    // A new value is there at once, and the one before is still taken out.
    put(&server, "second-of-the-vault");
    let got = bench.run("printf %s \"$DB\" | wc -c; echo $DB; echo first-of-the-vault").unwrap();
    assert_eq!(got["stdout"], "19\n[redacted:db]\n[redacted:db]\n", "{got}");

    let (_, listed, _) = bench.home.ctl(&["secret", "list", "--json"]);
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(
        (&listed["secrets"][0]["place"], &listed["secrets"][0]["size_bytes"]),
        (&json!("db#password"), &json!(0))
    );
    // Numbers are given as they are written.
    assert_eq!(bench.link(&["port", "db#port"]).0, 0);
    // Where it may be told is a matter of this daemon's, as for all secrets.
    let input = json!({
        "command": ["true"], "environment": { "DB": "secret://db" }, "network": { "hosts": ["evil.example.org"] },
    });
    let err = bench.shim.call("exec_run", input).unwrap_err();
    assert!(
        err.starts_with("denied: ")
            && err.contains(
                "secret link db PATH#FIELD --replace --host api.example.org --host evil.example.org"
            ),
        "{err}"
    );
    let (code, _, err) = bench.home.ctl(&["secret", "delete", "db"]);
    assert!(code == 0 && bench.run("true").unwrap_err().contains("no secret `db`"), "{err}");
}

#[test]
fn what_is_not_there_or_not_allowed_is_said() {
    let Some(server) = Server::start() else { return };
    put(&server, "value-of-the-vault");
    server.bao(&["kv", "put", "secret/users/other/db", "password=not-for-you"]);
    let mut bench = Bench::new(&server.approle(None));
    let address = server.address();
    let own = format!("`secret/users/{USER}");
    for (place, words) in [
        ("nothing#password", format!("there is nothing at {own}/nothing` in the vault at `{address}`")),
        ("db#nothing", format!("{own}/db` in the vault at `{address}` has no field `nothing`")),
        ("db#empty", "is empty".to_owned()),
        ("db#long", "`db` has 70000 bytes, and a command gets at most 65536".to_owned()),
        ("../other/db#password", "is no place in the vault".to_owned()),
        ("db", "it has no `#`".to_owned()),
    ] {
        let (code, said) = bench.link(&["db", place]);
        assert!(code != 0 && said.contains(&words), "{place}: {said}");
        assert!(bench.run("true").unwrap_err().contains("no secret `db`"), "it is not linked");
    }
    assert_eq!(bench.link(&["db", "db#password"]).0, 0);
    let (code, said) = bench.link(&["db", "db#password"]);
    assert!(code == 1 && said.contains("`db` already"), "{said}");
    // A policy that no longer allows it, and a secret that is gone since.
    server
        .bao_with(&["policy", "write", "skynet", "-"], "path \"sys/x\" { capabilities = [\"read\"] }")
        .unwrap();
    let err = bench.run("true").unwrap_err();
    assert!(
        err.starts_with("denied: ") && err.contains("permission denied; its policy needs `read` there"),
        "{err}"
    );
    server.allow(None);
    assert!(bench.run("true").is_ok());
    server.bao(&["kv", "delete", &format!("secret/users/{USER}/db")]);
    let err = bench.run("true").unwrap_err();
    assert!(err.starts_with("not_found: ") && err.contains("or it was deleted"), "{err}");
    let mut rotate = bench.home.command("skynetctl");
    rotate.arg("--socket").arg(bench.home.socket()).args(["secret", "rotate", "db"]);
    let rotated = pipe(rotate, "a value");
    assert!(rotated.contains("kept elsewhere, at `db#password`"), "{rotated}");
}

fn pipe(mut command: std::process::Command, value: &str) -> String {
    use std::{io::Write as _, process::Stdio};
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(value.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

#[test]
fn without_its_vault_a_secret_is_not_given_and_all_else_goes_on() {
    let Some(mut server) = Server::start() else { return };
    put(&server, "value-of-the-vault");
    let settings = server.approle(None);
    let mut bench = Bench::new(&settings);
    assert_eq!(bench.link(&["db", "db#password"]).0, 0);
    bench.run("true").unwrap();
    let address = server.address();
    server.bao(&["operator", "seal"]);
    let err = bench.run("true").unwrap_err();
    assert!(
        err.starts_with("unavailable: ")
            && err.contains(&format!("the vault at `{address}` is sealed; nothing of it is given out until")),
        "{err}"
    );
    server.stop();
    let wanted = format!("the vault at `{address}` does not answer: ");
    for _ in 0..2 {
        // Not even a value that was given a moment ago.
        let err = bench.run("true").unwrap_err();
        assert!(
            err.starts_with("unavailable: ") && err.contains(&wanted) && err.contains("refused"),
            "{err}"
        );
    }
    let (code, said) = bench.link(&["more", "db#password"]);
    assert!(code == 1 && said.contains(&wanted), "{said}");
    assert!(bench.shim.call("exec_run", json!({ "script": "echo fine" })).is_ok());
    // What was given is still taken out, also by a daemon that starts without a vault.
    let Bench { shim, home, _daemon: daemon } = bench;
    drop((shim, daemon));
    let _daemon = Daemon::start(&home);
    let mut shim = Shim::connected(&home, "2025-11-25", json!({}));
    let got = shim.call("exec_run", json!({ "script": "echo value-of-the-vault" })).unwrap();
    assert_eq!(got["stdout"], "[redacted:db]\n", "{got}");
}

#[test]
fn a_server_that_nobody_vouches_for_is_sent_nothing() {
    let Some(server) = Server::start() else { return };
    put(&server, "value-of-the-vault");
    let settings = server.approle(None);
    let own = settings.lines().filter(|line| !line.starts_with("ca_file")).collect::<Vec<_>>().join("\n");
    let bench = Bench::new(&own);
    let (code, said) = bench.link(&["db", "db#password"]);
    assert!(
        code == 1 && said.contains("does not answer") && said.to_lowercase().contains("certificate"),
        "{said}"
    );
    // Neither is there a daemon with settings that make no sense.
    for (settings, words) in [
        (server.settings("users/{user}"), "needs `token_file` or"),
        (
            settings.replace("https:", "http:").replace("127.0.0.1", "vault.example.org"),
            "secrets go over `https`",
        ),
        (settings.replace("ca_file", "ca_fil"), "unknown field `ca_fil`"),
        (settings.replace("ca.pem", "no.pem"), "no.pem` cannot be used"),
    ] {
        let home = Home::new();
        home.configure(&settings);
        let err = Daemon::try_start(&home).err().expect("it must not start");
        assert!(err.contains(words), "{err}");
    }
}

#[test]
fn a_token_is_renewed_and_a_lost_one_replaced() {
    let Some(server) = Server::start() else { return };
    put(&server, "value-of-the-vault");
    server.allow(None);
    let made = server.json(&[
        "token",
        "create",
        "-format=json",
        "-policy=skynet",
        "-orphan",
        "-ttl=5s",
        "-explicit-max-ttl=1h",
    ]);
    let token = made["auth"]["client_token"].as_str().unwrap().to_owned();
    let file = server.credential("token", &token, None);
    let settings = format!("{}token_file = '{}'\n", server.settings("users/{user}"), file.display());
    let mut bench = Bench::new(&settings);
    assert_eq!(bench.link(&["db", "db#password"]).0, 0);
    let renewed_at = || {
        let state = server.json(&["token", "lookup", "-format=json", &token]);
        state["data"]["last_renewal_time"].as_u64().unwrap_or_default()
    };
    wait_until(|| renewed_at() > 0);
    let first = renewed_at();
    // Twice, which is longer than its first lease.
    wait_until(|| renewed_at() > first);
    bench.run("true").unwrap();
    // One that is revoked is refused, until the file has another.
    server.bao(&["token", "revoke", &token]);
    let err = bench.run("true").unwrap_err();
    assert!(err.starts_with("unavailable: ") && err.contains("refuses the token in `"), "{err}");
    let made = server.json(&["token", "create", "-format=json", "-policy=skynet", "-orphan", "-ttl=1h"]);
    server.credential("token", made["auth"]["client_token"].as_str().unwrap(), None);
    bench.run("true").unwrap();
}

#[test]
fn a_login_by_role_is_made_anew_when_it_is_lost() {
    let Some(server) = Server::start() else { return };
    put(&server, "value-of-the-vault");
    let mut bench = Bench::new(&server.approle(None));
    assert_eq!(bench.link(&["db", "db#password"]).0, 0);
    let accessors = || server.json(&["list", "-format=json", "auth/token/accessors"]);
    for accessor in accessors().as_array().unwrap() {
        let accessor = accessor.as_str().unwrap();
        let state = server.json(&["token", "lookup", "-format=json", "-accessor", accessor]);
        if state["data"]["path"] == "auth/approle/login" {
            server.bao(&["token", "revoke", "-accessor", accessor]);
        }
    }
    bench.run("true").unwrap();
    // A secret id that the server does not know is told from a server that is away.
    server.credential("secret-id", "00000000-0000-0000-0000-000000000000", None);
    let bench = Bench::new(
        &std::fs::read_to_string(bench.home.path.join(".config/skynet/config.toml"))
            .unwrap()
            .replace(OUT, ""),
    );
    let (code, said) = bench.link(&["db", "db#password"]);
    assert!(code == 1 && said.contains("does not let Skynet log in by AppRole"), "{said}");
}

#[test]
fn a_login_by_role_is_renewed_until_its_longest_life_and_then_made_anew() {
    let Some(server) = Server::start() else { return };
    put(&server, "value-of-the-vault");
    let settings = server.approle(None);
    let role = "auth/approle/role/skynet";
    server.bao(&["write", role, "token_policies=skynet", "token_ttl=4s", "token_max_ttl=8s"]);
    let mut bench = Bench::new(&settings);
    assert_eq!(bench.link(&["db", "db#password"]).0, 0);
    // Who logged in, and when that was renewed.
    let logins = || {
        let accessors = server.json(&["list", "-format=json", "auth/token/accessors"]);
        let accessors: Vec<String> = serde_json::from_value(accessors).unwrap();
        let state = |accessor: String| {
            // One that has ended meanwhile is not found.
            let told = server.bao_with(&["token", "lookup", "-format=json", "-accessor", &accessor], "");
            let state: Value = serde_json::from_str(&told.ok()?).unwrap();
            let is_login = state["data"]["path"] == "auth/approle/login";
            is_login.then(|| (accessor, state["data"]["last_renewal_time"].as_u64().unwrap_or_default()))
        };
        accessors.into_iter().filter_map(state).collect::<Vec<(String, u64)>>()
    };
    // No command asks for anything meanwhile.
    wait_until(|| logins().iter().any(|(_, renewed_at)| *renewed_at > 0));
    let known: Vec<String> = logins().into_iter().map(|(accessor, _)| accessor).collect();
    wait_until(|| logins().iter().any(|(accessor, _)| !known.contains(accessor)));
    bench.run("true").unwrap();
}

#[test]
fn a_namespace_is_told_from_the_others() {
    let Some(server) = Server::start() else { return };
    put(&server, "value-of-the-root");
    server.bao(&["namespace", "create", "team"]);
    server.bao(&["secrets", "enable", "-namespace=team", "-path=secret", "-version=2", "kv"]);
    server.allow(Some("team"));
    let path = format!("secret/users/{USER}/db");
    server.bao(&["kv", "put", "-namespace=team", &path, "password=value-of-a-team"]);
    let made = server.json(&[
        "token",
        "create",
        "-namespace=team",
        "-format=json",
        "-policy=skynet",
        "-orphan",
        "-ttl=1h",
    ]);
    let file = server.credential("token", made["auth"]["client_token"].as_str().unwrap(), None);
    let settings =
        format!("{}namespace = 'team'\ntoken_file = '{}'\n", server.settings("users/{user}"), file.display());
    let mut bench = Bench::new(&settings);
    assert_eq!(bench.link(&["db", "db#password"]).0, 0);
    let got = bench.run("printf %s \"$DB\" | rev | rev; echo; echo value-of-the-root").unwrap();
    assert_eq!(got["stdout"], "[redacted:db]\nvalue-of-the-root\n", "{got}");
}

/// As root, with two users of a host.
mod host {
    use super::json;
    use skynet_tests::{host::Host, vault::Server};
    use std::{fs, os::unix::fs::MetadataExt as _};

    #[test]
    fn users_get_what_is_their_own_in_the_vault() {
        let Some(mut host) = Host::start() else { return };
        let Some(server) = Server::start() else { return };
        let daemon = fs::metadata(host.path.join("state")).unwrap().uid();
        let settings = server.approle(Some(daemon));
        fs::write(host.path.join("config.toml"), &settings).unwrap();
        host.replace_daemon();
        let users = host.users();
        for user in &users {
            let path = format!("secret/users/{}/db", user.name);
            server.bao(&["kv", "put", &path, &format!("password=of-{}-alone", user.name)]);
        }
        for user in &users {
            let (code, out, err) = host.ctl(Some(user), &["secret", "link", "db", "db#password"]);
            assert_eq!(code, 0, "{out}{err}");
            let mut shim = host.client(user, &user.project(), json!({}));
            let script =
                format!("[ \"$DB\" = \"$(printf %s of- {} -alone)\" ] && echo mine; echo $DB", user.name);
            let input = json!({ "script": script, "environment": { "DB": "secret://db" } });
            let got = shim.call("exec_run", input).unwrap();
            assert_eq!(got["stdout"], "mine\n[redacted:db]\n", "{got}");
        }
        // Who has linked nothing has nothing, and root is nobody.
        let (code, _, err) =
            host.ctl(None, &["secret", "link", "db", &format!("../{}/db#password", users[0].name)]);
        assert!(code != 0 && err.contains("no place in the vault"), "{err}");
        // Where users are not told apart by the path, there is no daemon.
        fs::write(host.path.join("config.toml"), settings.replace("{user}", "all")).unwrap();
        let mut command = std::process::Command::new(skynet_tests::programs::program("skynetd"));
        command.arg("--system").arg("--config").arg(host.path.join("config.toml")).args(["config", "check"]);
        let output = command.output().unwrap();
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(!output.status.success() && said.contains("users could read each other's secrets"), "{said}");
    }
}
