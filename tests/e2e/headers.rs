//! Headers with secrets, which the proxy adds: the host gets them, and the command that asks the host never has them.

use crate::secrets::read_all;
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    crypto::ring,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use serde_json::{Value, json};
use skynet_tests::{
    authority::{Authority, CLIENT, CLIENT_SECRET, agree, ask},
    programs::{Daemon, Home, Shim, wait_until},
};
use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpListener,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex},
    thread,
};

const VALUE: &str = "Tr0ub4dor-3-horse-staple";

/// What the secret is rotated to.
const NEXT: &str = "another-staple-altogether";

const SETTINGS: &str = "[network]\nreachable = ['127.0.0.0/8', '::1/128']\n\
    [[policy.rules]]\nname = 'out'\nverdict = 'allow'\neffects = ['external']\n";

/// A host of HTTPS at the loopback, by the names `localhost` and 127.0.0.1.
struct Host {
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Host {
    /// One with the certificate that is written to `certificates`.
    fn start(certificates: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let names = ["localhost", "127.0.0.1"].map(str::to_owned);
        let mut parameters = rcgen::CertificateParams::new(names).unwrap();
        // Those that trust both find each by its name.
        parameters.distinguished_name.push(rcgen::DnType::CommonName, format!("host at {port}"));
        let key = rcgen::KeyPair::generate().unwrap();
        let own = parameters.self_signed(&key).unwrap();
        let mut file = fs::OpenOptions::new().create(true).append(true).open(certificates).unwrap();
        file.write_all(own.pem().as_bytes()).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![own.der().clone()], key)
            .unwrap();
        let host = Self { port, asked: Arc::default() };
        let (config, asked) = (Arc::new(config), host.asked.clone());
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (config, asked) = (config.clone(), asked.clone());
                thread::spawn(move || {
                    let connection = ServerConnection::new(config).unwrap();
                    let mut stream = StreamOwned::new(connection, stream.unwrap());
                    let (mut head, mut byte) = (Vec::new(), [0]);
                    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or_default() == 1 {
                        head.push(byte[0]);
                    }
                    if head.is_empty() {
                        return;
                    }
                    asked.lock().unwrap().push(String::from_utf8(head).unwrap());
                    // Who asked may be gone.
                    let _ = stream.write_all(
                        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 8\r\n\r\nwelcome\n",
                    );
                    stream.conn.send_close_notify();
                    let _ = stream.flush();
                });
            }
        });
        host
    }

    /// What it was asked since the last time.
    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

struct Bench {
    shim: Shim,
    daemon: Daemon,
    home: Home,
    certificates: PathBuf,
    host: Host,
    other: Host,
}

impl Bench {
    fn new() -> Self {
        let home = Home::new();
        home.configure(SETTINGS);
        let certificates = home.path.join("certificates.pem");
        let (host, other) = (Host::start(&certificates), Host::start(&certificates));
        let daemon = Daemon::start_trusting(&home, &certificates);
        let shim = Shim::connected(&home, "2025-11-25", json!({}));
        home.give(&["secret", "set", "deploy", "--host", "localhost"], VALUE);
        Self { shim, daemon, home, certificates, host, other }
    }

    /// A way to both hosts by name and address, with a header to one of them.
    fn network(&self) -> Value {
        let (port, other) = (self.host.port, self.other.port);
        let hosts = [format!("localhost:{port}"), format!("localhost:{other}"), format!("127.0.0.1:{port}")];
        json!({ "hosts": hosts, "headers": [format!("localhost:{port} Authorization: Bearer secret://deploy")] })
    }

    fn run(&mut self, script: &str) -> Value {
        let input = json!({ "script": script, "network": self.network() });
        self.shim.call("exec_run", input).unwrap_or_else(|err| panic!("{err}"))
    }

    fn refused(&mut self, network: Value) -> String {
        let input = json!({ "command": ["true"], "network": network });
        self.shim.call("exec_run", input).expect_err("must be refused")
    }
}

#[test]
fn the_host_gets_the_header_and_the_command_never_has_it() {
    let mut bench = Bench::new();
    let (port, other) = (bench.host.port, bench.other.port);
    let ended = bench.run(&format!(
        "env; set -x; curl -sSv --noproxy '' -H 'Authorization: mine' https://localhost:{port}/one > answer 2> said; \
         cat answer said \"$SSL_CERT_FILE\" /proc/self/environ | tee all; \
         for url in https://localhost:{other}/two https://127.0.0.1:{port}/three; do curl -sS --noproxy '' $url; done"
    ));
    assert_eq!(ended["exit_code"], 0, "{ended}");
    assert_eq!(ended["stdout"].as_str().unwrap().matches("welcome").count(), 3, "{ended}");
    // Neither the value nor a mark that stands for it.
    let told = ended.to_string();
    assert!(!told.contains(VALUE) && !told.contains("[redacted:"), "{told}");
    assert!(told.contains("SSL_CERT_FILE=") && told.contains("BEGIN CERTIFICATE"), "{told}");
    let asked = bench.host.asked();
    assert_eq!(asked.len(), 2, "{asked:?}");
    assert!(asked[0].starts_with("GET /one HTTP/1.1\r\n"), "{asked:?}");
    assert!(asked[0].contains(&format!("authorization: Bearer {VALUE}\r\n")), "{asked:?}");
    assert!(!asked[0].contains("mine"), "{asked:?}");
    // Another name of the same host, and another host, are sent none.
    assert!(asked[1].starts_with("GET /three ") && !asked[1].contains(VALUE), "{asked:?}");
    let asked = bench.other.asked().concat();
    assert!(asked.starts_with("GET /two ") && !asked.contains(VALUE), "{asked}");
    let mut written = Vec::new();
    read_all(&bench.home.project, &mut written);
    read_all(&bench.home.state, &mut written);
    assert!(!String::from_utf8_lossy(&written).contains(VALUE));
    let (code, audit, _) = bench.home.ctl(&["audit", "export"]);
    assert!(code == 0 && audit.contains(r#""secrets":["deploy"]"#), "{audit}");
}

#[test]
fn nothing_is_added_to_what_is_for_another_host_or_not_encrypted() {
    let mut bench = Bench::new();
    let port = bench.host.port;
    for (more, status) in [
        (format!("https://localhost:{port}/ -H 'Host: evil.example'"), "421"),
        (format!("https://localhost:{port}/ -X TRACE"), "501"),
        (format!("https://localhost:{port}/ -H 'Connection: Upgrade' -H 'Upgrade: websocket'"), "501"),
        (format!("http://localhost:{port}/"), "403"),
    ] {
        let ended = bench.run(&format!("curl -sS --noproxy '' -w '%{{http_code}}' {more}"));
        assert!(ended["stdout"].as_str().unwrap().ends_with(status), "{more}: {ended}");
    }
    // By another name, as TLS has it.
    let ended = bench.run(&format!(
        "curl -sS --noproxy '' --connect-to evil.example:443:localhost:{port} https://evil.example/"
    ));
    assert_eq!(ended["exit_code"], 35, "{ended}");
    assert_eq!(bench.host.asked(), Vec::<String>::new());
}

#[test]
fn the_authority_of_a_call_is_believed_in_that_call_alone() {
    let mut bench = Bench::new();
    let port = bench.host.port;
    let fetch = format!("https://localhost:{port}/");
    let ended = bench.run(&format!("cat \"$SSL_CERT_FILE\" > first; curl -sS --noproxy '' {fetch}"));
    assert_eq!(ended["exit_code"], 0, "{ended}");
    let ended = bench.run(&format!("curl -sS --noproxy '' --cacert first {fetch}"));
    assert_eq!(ended["exit_code"], 60, "{ended}");
    // Nor is one there where no header is added, and a variable that the call sets stays.
    let network = json!({ "hosts": [format!("localhost:{port}")] });
    let script = "echo \"${SSL_CERT_FILE-none}\"; ls /etc/skynet-certificates.pem";
    let input = json!({ "script": script, "network": network });
    let ended = bench.shim.call("exec_run", input).unwrap();
    assert!(ended["stdout"] == "none\n" && ended["exit_code"] != 0, "{ended}");
    let script = "echo \"$SSL_CERT_FILE $PIP_CERT\"";
    let own = json!({ "SSL_CERT_FILE": "own" });
    let input = json!({ "script": script, "environment": own, "network": bench.network() });
    let ended = bench.shim.call("exec_run", input).unwrap();
    assert_eq!(ended["stdout"], "own /etc/skynet-certificates.pem\n", "{ended}");
}

#[test]
fn a_header_is_for_a_host_of_the_call_and_of_the_secret() {
    let mut bench = Bench::new();
    let header =
        |text: &str| json!({ "hosts": ["localhost", "api.example.org", "*.example.net"], "headers": [text] });
    for (network, why) in [
        (header("localhost:1 A: secret://deploy"), "not among `hosts`"),
        (header("evil.example A: secret://deploy"), "not among `hosts`"),
        (header("*.example.net A: secret://deploy"), "without `*`"),
        (header("api.example.org A: secret://deploy"), "is for localhost"),
        (header("a.example.net A: secret://deploy"), "is for localhost"),
        (header("localhost A: secret://depoly"), "there is no secret `depoly`"),
        (header("localhost A: plain"), "one `secret://NAME`"),
        (header("localhost Host: secret://deploy"), "not added"),
        (
            json!({ "hosts": ["localhost"], "headers": ["localhost A: secret://deploy", "localhost a: secret://deploy"] }),
            "another of that name",
        ),
        (json!({ "headers": ["localhost A: secret://deploy"] }), "not among `hosts`"),
    ] {
        let refused = bench.refused(network.clone());
        assert!(refused.contains(why), "{network}: {refused}");
    }
}

#[test]
fn a_job_has_its_header_until_the_daemon_ends() {
    let mut bench = Bench::new();
    let port = bench.host.port;
    let fetch = format!("curl -sS --noproxy '' https://localhost:{port}/");
    let script =
        format!("{fetch} > first; until [ -e go ]; do sleep 0.1; done; {fetch} 2> second; touch done");
    let input = json!({ "script": script, "network": bench.network(), "timeout_seconds": 120 });
    bench.shim.call("exec_start_job", input).unwrap();
    let project = bench.home.project.clone();
    let wrote = |name: &str, text: &str| {
        fs::read_to_string(project.join(name)).is_ok_and(|written| written.contains(text))
    };
    wait_until(|| wrote("first", "welcome"));
    assert!(bench.host.asked().concat().contains(VALUE));
    let Bench { shim, daemon, home, certificates, host, .. } = bench;
    drop(shim);
    daemon.kill();
    let _daemon = Daemon::start_trusting(&home, &certificates);
    fs::write(project.join("go"), "").unwrap();
    wait_until(|| project.join("done").exists());
    assert!(wrote("second", "403"), "{:?}", fs::read_to_string(project.join("second")));
    assert_eq!(host.asked(), Vec::<String>::new());
}

/// A job that asks the host whenever it is told to, four times at most.
struct Asking {
    project: PathBuf,
}

impl Asking {
    /// With a header that has this secret.
    fn start(bench: &mut Bench, secret: &str) -> Self {
        let port = bench.host.port;
        let fetch = format!("curl -sS --noproxy '' -w '%{{http_code}}' https://localhost:{port}/");
        let script = format!(
            "for turn in 1 2 3 4; do until [ -e ask$turn ]; do sleep 0.1; done; {fetch} > said$turn; touch done$turn; done"
        );
        let header = format!("localhost:{port} Authorization: Bearer secret://{secret}");
        let network = json!({ "hosts": [format!("localhost:{port}")], "headers": [header] });
        let input = json!({ "script": script, "network": network, "timeout_seconds": 120 });
        bench.shim.call("exec_start_job", input).unwrap();
        Self { project: bench.home.project.clone() }
    }

    /// What it is answered, and the status.
    fn ask(&self, turn: u32) -> String {
        fs::write(self.project.join(format!("ask{turn}")), "").unwrap();
        wait_until(|| self.project.join(format!("done{turn}")).exists());
        fs::read_to_string(self.project.join(format!("said{turn}"))).unwrap()
    }
}

#[test]
fn a_job_adds_what_the_secret_is_now_and_nothing_once_it_is_deleted() {
    let mut bench = Bench::new();
    let job = Asking::start(&mut bench, "deploy");
    assert_eq!(job.ask(1), "welcome\n200");
    assert!(bench.host.asked().concat().contains(VALUE));
    bench.home.give(&["secret", "rotate", "deploy"], NEXT);
    assert_eq!(job.ask(2), "welcome\n200");
    let asked = bench.host.asked().concat();
    assert!(asked.contains(&format!("authorization: Bearer {NEXT}\r\n")), "{asked}");
    assert!(!asked.contains(VALUE), "{asked}");
    // It is for another host now.
    bench.home.give(&["secret", "set", "deploy", "--replace", "--host", "api.example.org"], NEXT);
    let said = job.ask(3);
    assert!(said.ends_with("403") && said.contains("it is not for this host any more"), "{said}");
    // Where else it is for, and what else its user has, is no concern of the command's.
    assert!(!said.contains("api.example.org"), "{said}");
    assert_eq!(bench.home.ctl(&["secret", "delete", "deploy"]).0, 0);
    let said = job.ask(4);
    assert!(said.ends_with("403") && said.contains("there is no secret `deploy` any more"), "{said}");
    assert!(!said.contains("skynetctl"), "{said}");
    assert_eq!(bench.host.asked(), Vec::<String>::new());
}

/// Has a user agree that `mail` is an access token for `localhost`.
fn log_in(home: &Home, authority: &Authority) {
    let issuer = authority.issuer();
    let mut command = home.command("skynetctl");
    command.arg("--socket").arg(home.socket()).args(["secret", "login", "mail", "--no-browser"]);
    command.args([
        "--issuer",
        &issuer,
        "--client-id",
        CLIENT,
        "--client-secret-stdin",
        "--host",
        "localhost",
    ]);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(CLIENT_SECRET.as_bytes()).unwrap();
    // Read from until the end, so that it can write.
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let url = said.find(|line| line.trim().starts_with("http")).unwrap().trim().to_owned();
    assert!(ask(&agree(&url)).contains("You can close this window"));
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_job_adds_the_access_token_that_counts_now_and_none_once_the_login_is_over() {
    let mut bench = Bench::new();
    let authority = Authority::start(3600);
    log_in(&bench.home, &authority);
    let job = Asking::start(&mut bench, "mail");
    for turn in [1, 2] {
        assert_eq!(job.ask(turn), "welcome\n200");
        let token = authority.access_tokens().pop().unwrap();
        let asked = bench.host.asked().concat();
        assert!(asked.contains(&format!("authorization: Bearer {token}\r\n")), "{asked}");
        assert_eq!(bench.home.ctl(&["secret", "rotate", "mail"]).0, 0);
    }
    assert_eq!(authority.access_tokens().len(), 3);
    authority.withdraw();
    assert_ne!(bench.home.ctl(&["secret", "rotate", "mail"]).0, 0);
    let said = job.ask(3);
    assert!(said.ends_with("403") && said.contains("`skynetctl secret login mail`"), "{said}");
    assert_eq!(bench.home.ctl(&["secret", "delete", "mail"]).0, 0);
    let said = job.ask(4);
    assert!(said.ends_with("403") && said.contains("there is no secret `mail`"), "{said}");
    assert_eq!(bench.host.asked(), Vec::<String>::new());
}
