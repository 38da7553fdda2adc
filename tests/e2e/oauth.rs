//! Access tokens of a provider as secrets, by a server that holds each request against the RFCs.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use skynet_tests::{
    authority::{Authority, CLIENT, CLIENT_SECRET, agree, ask},
    programs::{Daemon, Home, Shim, wait_until},
};
use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::fs::PermissionsExt as _,
    process::{Child, ChildStderr, Command, Stdio},
};

struct Bench {
    shim: Shim,
    home: Home,
    authority: Authority,
    daemon: Daemon,
}

/// `skynetctl secret login`, which waits for somebody to agree.
struct Login {
    child: Child,
    said: BufReader<ChildStderr>,
}

impl Login {
    /// The first line that it says which begins like this.
    fn line(&mut self, start: &str) -> String {
        loop {
            let mut line = String::new();
            assert!(self.said.read_line(&mut line).unwrap() > 0, "it ended");
            if line.trim().starts_with(start) {
                return line.trim().to_owned();
            }
        }
    }

    /// Its exit code and all that it wrote since.
    fn end(mut self) -> (i32, String) {
        let mut text = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
        self.said.read_to_string(&mut text).unwrap();
        (self.child.wait().unwrap().code().unwrap(), text)
    }
}

impl Bench {
    /// With access tokens that live for that long.
    fn new(life_seconds: u64) -> Self {
        Self::with(life_seconds, "")
    }

    /// The same, with more in the configuration.
    fn with(life_seconds: u64, more: &str) -> Self {
        let home = Home::new();
        home.configure(&format!(
            "[[policy.rules]]\nname = 'out'\nverdict = 'allow'\neffects = ['external']\n{more}"
        ));
        let daemon = Daemon::start(&home);
        let shim = Shim::connected(&home, "2025-11-25", json!({}));
        Self { shim, home, authority: Authority::start(life_seconds), daemon }
    }

    fn begin(&self, arguments: &[&str]) -> Login {
        self.begin_as(self.home.command("skynetctl"), arguments)
    }

    fn begin_as(&self, mut command: Command, arguments: &[&str]) -> Login {
        command.arg("--socket").arg(self.home.socket()).args(["secret", "login", "mail"]).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let said = BufReader::new(child.stderr.take().unwrap());
        // It may not read.
        let _ = child.stdin.take().unwrap().write_all(format!("{CLIENT_SECRET}\n").as_bytes());
        Login { child, said }
    }

    fn first(&self, more: &[&str]) -> Login {
        self.first_as(self.home.command("skynetctl"), more)
    }

    fn first_as(&self, command: Command, more: &[&str]) -> Login {
        let issuer = self.authority.issuer();
        let arguments =
            ["--issuer", &issuer, "--client-id", CLIENT, "--client-secret-stdin", "--scope", "mail.read"];
        self.begin_as(command, &[&arguments, more].concat())
    }

    fn log_in(&self) {
        let mut login = self.first(&["--no-browser"]);
        let url = login.line("http");
        let page = ask(&agree(&url));
        assert!(page.starts_with("HTTP/1.1 200 OK") && page.contains("You can close this window"), "{page}");
        let (code, said) = login.end();
        assert!(code == 0 && said.contains("`secret://mail`"), "{said}");
    }

    fn run(&mut self, script: &str) -> Result<Value, String> {
        self.shim.call("exec_run", json!({ "script": script, "environment": { "TOKEN": "secret://mail" } }))
    }

    /// The token that a command gets, told in a way that is not looked for.
    fn token(&mut self) -> String {
        let got = self.run("printf %s \"$TOKEN\" | tr A-Za-z N-ZA-Mn-za-m").unwrap();
        let turn = |letter: char| match letter {
            'a'..='m' | 'A'..='M' => char::from_u32(u32::from(letter) + 13).unwrap(),
            'n'..='z' | 'N'..='Z' => char::from_u32(u32::from(letter) - 13).unwrap(),
            other => other,
        };
        got["stdout"].as_str().unwrap().chars().map(turn).collect()
    }

    fn listed(&self) -> Value {
        let (code, listed, said) = self.home.ctl(&["--json", "secret", "list"]);
        assert_eq!(code, 0, "{said}");
        serde_json::from_str::<Value>(&listed).unwrap()["secrets"][0].clone()
    }

    fn restarted(self) -> Self {
        let Self { shim, home, authority, daemon } = self;
        drop(shim);
        daemon.kill();
        let daemon = Daemon::start(&home);
        let shim = Shim::connected(&home, "2025-11-25", json!({}));
        Self { shim, home, authority, daemon }
    }
}

#[test]
fn a_login_in_a_browser_gives_commands_a_token_that_nobody_sees() {
    let mut bench = Bench::new(3600);
    let mut login = bench.first(&["--no-browser", "--host", "mail.example.org"]);
    let url = login.line("http");
    let back = agree(&url);
    // What does not belong to it is turned away, and changes nothing.
    let (place, _) = back.split_once('?').unwrap();
    assert!(ask(&format!("{place}?code=stolen&state=guessed")).starts_with("HTTP/1.1 400"));
    assert!(ask(&place.replace("/callback", "/favicon.ico")).starts_with("HTTP/1.1 404"));
    assert!(ask(&back).contains("You can close this window"));
    let (code, said) = login.end();
    assert_eq!(code, 0, "{said}");
    let token = bench.authority.access_tokens().remove(0);
    let refresh = bench.authority.refresh_tokens().remove(0);
    assert!(!said.contains(&token) && !said.contains(&refresh) && !url.contains(CLIENT_SECRET), "{said}");

    assert_eq!(bench.token(), token);
    let basic = STANDARD.encode(&token);
    for script in ["echo $TOKEN", "printf %s \"$TOKEN\" | base64 --wrap=0", &format!("echo {refresh}")] {
        let got = bench.run(script).unwrap().to_string();
        assert!(got.contains("[redacted:mail]"), "{script}: {got}");
        assert!(!got.contains(&token) && !got.contains(&basic) && !got.contains(&refresh), "{script}: {got}");
    }
    let listed = bench.listed();
    let wanted = json!({
        "provider": bench.authority.issuer(), "scopes": ["mail.read"], "state": "valid", "reason": null,
        "expires_at": listed["oauth"]["expires_at"],
    });
    assert_eq!((&listed["kind"], &listed["oauth"]), (&json!("oauth"), &wanted));
    assert!(listed["oauth"]["expires_at"].as_str().unwrap().ends_with('Z'));
    let (_, table, _) = bench.home.ctl(&["secret", "list"]);
    assert!(table.contains("PROVIDER") && table.contains("mail.read") && !table.contains(&token), "{table}");
    // Where it may be told is a matter of this daemon's, as for all secrets.
    let input = json!({
        "command": ["true"], "environment": { "TOKEN": "secret://mail" }, "network": { "hosts": ["evil.example.org"] },
    });
    let err = bench.shim.call("exec_run", input).unwrap_err();
    assert!(
        err.starts_with("denied: ")
            && err.contains("skynetctl secret login mail --host mail.example.org --host evil.example.org"),
        "{err}"
    );
    assert_eq!(bench.authority.faults(), [""; 0]);
}

#[test]
fn tokens_are_renewed_when_they_have_ended_and_when_that_is_asked_for_also_by_the_next_daemon() {
    let mut bench = Bench::new(2);
    bench.log_in();
    let first = bench.token();
    while bench.authority.asked("refresh_token") < 2 {
        bench.run("true").unwrap();
    }
    bench.authority.set_life(3600);
    assert_eq!(bench.home.ctl(&["secret", "rotate", "mail"]).0, 0);
    let long = bench.token();
    assert_eq!(Some(&long), bench.authority.access_tokens().last());
    assert_ne!(first, long);
    let mut bench = bench.restarted();
    assert_eq!(bench.token(), long);
    // In any case, when its user says so.
    let (code, said, err) = bench.home.ctl(&["secret", "rotate", "mail"]);
    assert!(code == 0 && said.contains("`mail` is at version"), "{said}{err}");
    assert_ne!(bench.token(), long);
    // Those of before may still count.
    for token in [first, long] {
        let got = bench.run(&format!("echo {token}")).unwrap();
        assert_eq!(got["stdout"], "[redacted:mail]\n", "{got}");
    }
    assert_eq!(bench.authority.faults(), [""; 0], "no refresh token was used twice");
}

#[test]
fn tokens_are_renewed_before_they_end_though_no_command_asks_for_them() {
    let bench = Bench::with(5, "[secrets.oauth]\nrest_seconds = 1\n");
    bench.log_in();
    // What was kept, not what was asked for: one that ends in between has lost what it was given.
    let version = |bench: &Bench| bench.listed()["version"].as_u64().unwrap();
    wait_until(|| version(&bench) >= 2);
    // Also by a daemon that has just been started, and to which nobody has said anything.
    let mut bench = bench.restarted();
    let before = version(&bench);
    wait_until(|| version(&bench) >= before + 2);
    assert!(bench.run("true").is_ok());
    assert_eq!(bench.authority.faults(), [""; 0], "no refresh token was used twice");
}

#[test]
fn a_grant_that_was_taken_back_names_the_login_that_gives_it_again() {
    let mut bench = Bench::new(3600);
    bench.log_in();
    bench.authority.withdraw();
    let (code, _, err) = bench.home.ctl(&["secret", "rotate", "mail"]);
    assert!(code == 1 && err.contains("`skynetctl secret login mail`"), "{err}");
    let err = bench.run("true").unwrap_err();
    assert!(
        err.starts_with("denied: ")
            && err.contains("Token has been revoked.")
            && err.contains("its user has to log in again with `skynetctl secret login mail`"),
        "{err}"
    );
    let listed = bench.listed();
    assert_eq!(listed["oauth"]["state"], "login_needed", "{listed}");
    assert!(listed["oauth"]["reason"].as_str().unwrap().contains("invalid_grant"), "{listed}");
    // All else is known.
    let mut login = bench.begin(&["--no-browser"]);
    let page = ask(&agree(&login.line("http")));
    assert!(page.contains("You can close this window"), "{page}");
    assert_eq!(login.end().0, 0);
    assert_eq!(Some(&bench.token()), bench.authority.access_tokens().last());
    assert_eq!((bench.authority.faults(), bench.authority.asked("refresh_token")), (Vec::new(), 1));
}

#[test]
fn a_provider_that_fails_is_asked_again_and_told_from_one_that_refuses() {
    let mut bench = Bench::new(3600);
    bench.log_in();
    let token = bench.token();
    bench.authority.fail(1, 503, "down");
    let (code, _, err) = bench.home.ctl(&["secret", "rotate", "mail"]);
    assert!(code == 1 && err.contains("fails with 503"), "{err}");
    assert_eq!((bench.token(), bench.listed()["oauth"]["state"].as_str()), (token.clone(), Some("valid")));
    assert_eq!(bench.home.ctl(&["secret", "rotate", "mail"]).0, 0);
    assert_ne!(bench.token(), token);
    // A login that makes no sense changes nothing.
    for (arguments, words) in [
        (&["--provider", "nobody"][..], "`mail` already"),
        (&["--issuer", "http://id.example.org", "--replace", "--client-id", "x"], "tokens go over `https`"),
        (&["--scope", "a b"], "is no scope"),
    ] {
        let (code, said) = bench.begin(arguments).end();
        assert!(code != 0 && said.contains(words), "{arguments:?}: {said}");
    }
    assert!(bench.run("true").is_ok());
}

#[test]
fn a_code_that_is_entered_elsewhere_gives_tokens_too() {
    let mut bench = Bench::new(3600);
    for is_allowed in [false, true] {
        let mut login = bench.first(&["--device"]);
        assert_eq!(login.line("WDJB"), "WDJB-MJHT");
        wait_until(|| {
            bench.authority.asked("urn:ietf:params:oauth:grant-type:device_code") > usize::from(is_allowed)
        });
        bench.authority.decide(is_allowed);
        let (code, said) = login.end();
        assert_eq!(code == 0, is_allowed, "{said}");
        assert!(is_allowed || said.contains("access_denied"), "{said}");
    }
    assert_eq!(Some(&bench.token()), bench.authority.access_tokens().last());
    assert_eq!(bench.authority.faults(), [""; 0]);
}

#[test]
fn where_no_browser_can_be_opened_the_address_and_another_way_are_said() {
    let bench = Bench::new(3600);
    // One that there is, and that opens nothing.
    let directory = bench.home.path.join("desktop");
    fs::create_dir(&directory).unwrap();
    let program = directory.join("xdg-open");
    fs::write(&program, "#!/bin/sh\nexit 3\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    for has_desktop in [false, true] {
        let mut command = bench.home.command("skynetctl");
        if has_desktop {
            let path = format!("{}:/usr/bin:/bin", directory.display());
            command.env("DISPLAY", ":99").env("XDG_RUNTIME_DIR", &directory).env("PATH", path);
        }
        let mut login = bench.first_as(command, &[]);
        let url = login.line("http");
        let said = login.line("No browser can be opened here");
        assert!(said.contains("`--device`"), "{said}");
        // It is still waited for.
        assert!(ask(&agree(&url)).contains("You can close this window"));
        assert_eq!(login.end().0, 0);
    }
    let left: Vec<_> = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["xdg-open"], "the page is gone");
}

#[test]
fn a_deleted_token_is_revoked() {
    let mut bench = Bench::new(3600);
    bench.log_in();
    let refresh = bench.authority.refresh_tokens();
    let (code, said, err) = bench.home.ctl(&["--json", "secret", "delete", "mail"]);
    assert_eq!(code, 0, "{err}");
    assert_eq!(serde_json::from_str::<Value>(&said).unwrap(), json!({ "name": "mail", "not_revoked": null }));
    assert_eq!(bench.authority.revoked(), refresh);
    assert!(bench.run("true").unwrap_err().contains("no secret `mail`"));
    assert_eq!(bench.authority.faults(), [""; 0]);
}
