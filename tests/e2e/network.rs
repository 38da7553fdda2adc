//! What leads out of a slot: nothing, but what was granted.

use serde_json::{Value, json};
use skynet_tests::{
    programs::{Daemon, Home, Shim, wait_until},
    web::service,
};
use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
};

const ALLOWED: &str = "[[policy.rules]]\nname = 'out'\nverdict = 'allow'\neffects = ['external']\n";

/// A client of a new home whose commands may be given a network, and a service of this host.
struct Bench {
    shim: Shim,
    daemon: Daemon,
    home: Home,
    service: u16,
}

impl Bench {
    fn new() -> Self {
        let home = Home::new();
        home.configure(ALLOWED);
        let daemon = Daemon::start(&home);
        let shim = Shim::connected(&home, "2025-11-25", json!({}));
        Self { shim, daemon, home, service: service() }
    }

    fn run(&mut self, script: &str, network: Value) -> Value {
        let input = json!({ "script": script, "network": network });
        self.shim.call("exec_run", input).unwrap_or_else(|err| panic!("{err}"))
    }

    fn refused(&mut self, network: Value) -> String {
        let input = json!({ "command": ["true"], "network": network });
        self.shim.call("exec_run", input).expect_err("must be refused")
    }
}

/// A port of this host that nobody listens at.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// What a server of `exec_start_job` says at `port`.
fn fetch(port: u16) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.write_all(b"GET /page HTTP/1.0\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer).filter(|answer| !answer.is_empty())
}

#[test]
fn a_command_reaches_what_was_granted_and_nothing_else() {
    let mut bench = Bench::new();
    let (port, other) = (bench.service, service());
    let grant = json!({ "hosts": [format!("127.0.0.1:{port}"), format!("localhost:{port}")] });
    // By a request, by a tunnel, and past the proxy.
    let ended = bench.run(&format!("curl -sS --noproxy '' http://127.0.0.1:{port}/one -H 'Host: elsewhere' -H 'Connection: X-Hop' -H 'X-Hop: 1'"), grant.clone());
    let said = ended["stdout"].as_str().unwrap().to_lowercase();
    assert!(said.starts_with("get /one http/1.1\r\n"), "{ended}");
    assert!(said.contains(&format!("host: 127.0.0.1:{port}\r\n")), "{ended}");
    assert!(!said.contains("elsewhere") && !said.contains("x-hop") && !said.contains("proxy"), "{ended}");
    assert_eq!(ended["refused_hosts"], Value::Null, "{ended}");
    let ended = bench.run(&format!("curl -sSp --noproxy '' http://127.0.0.1:{port}/two"), grant.clone());
    assert!(ended["stdout"].as_str().unwrap().starts_with("GET /two HTTP/1.1\r\n"), "{ended}");
    let ended = bench.run(&format!("curl -sS http://127.0.0.1:{port}/three"), grant.clone());
    assert_eq!(ended["exit_code"], 7, "{ended}");
    // Another port, a name for an address that nobody granted, and other ways to write it.
    for (url, refused) in [
        (format!("http://127.0.0.1:{other}/"), Some(format!("127.0.0.1:{other}"))),
        (format!("http://localhost:{port}/"), Some(format!("localhost:{port}"))),
        (format!("http://[::1]:{port}/"), Some(format!("[::1]:{port}"))),
        (format!("http://example.com:{port}/"), Some(format!("example.com:{port}"))),
    ] {
        let ended = bench.run(&format!("curl -sS --noproxy '' -w '%{{http_code}}' '{url}'"), grant.clone());
        assert!(ended["stdout"].as_str().unwrap().ends_with("403"), "{url}: {ended}");
        assert_eq!(ended["refused_hosts"], json!(refused.into_iter().collect::<Vec<_>>()), "{url}");
    }
    let ended = bench.run(&format!("curl -sSp --noproxy '' http://127.0.0.1:{other}/"), grant);
    assert_eq!(ended["exit_code"], 56, "{ended}");
    assert!(ended["stderr"].as_str().unwrap().contains("403"), "{ended}");
    let ended = bench.run("env", json!({}));
    assert!(!ended["stdout"].as_str().unwrap().contains("proxy"), "{ended}");
}

#[test]
fn hostile_requests_to_the_proxy_get_an_answer() {
    let mut bench = Bench::new();
    let port = bench.service;
    let requests = r"
import socket
def ask(text):
    s = socket.create_connection(('127.0.0.1', 3128))
    answer = b''
    # Whoever is still sending when the proxy has read enough may find the connection reset.
    try:
        s.sendall(text)
        s.shutdown(socket.SHUT_WR)
        while part := s.recv(4096): answer += part
    except OSError: pass
    return answer.split(b'\r\n')[0].decode() or 'closed'
for text in [
    b'GET / HTTP/1.1\r\nHost: x\r\n\r\n', b'GET https://x/ HTTP/1.1\r\nHost: x\r\n\r\n',
    b'GET file:///etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n', b'CONNECT x HTTP/1.1\r\nHost: x\r\n\r\n',
    b'CONNECT user@127.0.0.1:PORT HTTP/1.1\r\nHost: x\r\n\r\n', b'\x16\x03\x01\x00', b'GET ' + b'a' * (1 << 20),
    b'CONNECT 127.1:PORT HTTP/1.1\r\n\r\n', b'CONNECT 2130706433:PORT HTTP/1.1\r\n\r\n',
    b'GET http://127.0.0.1:PORT@evil/ HTTP/1.1\r\nHost: x\r\n\r\n',
    b'GET http://127.0.0.1:PORT/ HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
]:
    print(ask(text))
";
    let script = requests.replace("PORT", &port.to_string());
    let input = json!({ "script": script, "interpreter": "python", "network": { "hosts": [format!("127.0.0.1:{port}")] } });
    let ended = bench.shim.call("exec_run", input).unwrap();
    let lines: Vec<&str> = ended["stdout"].as_str().unwrap().lines().collect();
    assert_eq!(lines.len(), 11, "{ended}");
    for line in &lines {
        let is_refused = ["400", "403", "414", "431", "502"].iter().any(|code| line.contains(code));
        assert!(is_refused || *line == "closed", "{line}: {ended}");
    }
    // The proxy is as it was.
    let ended = bench.run(
        &format!("curl -sS --noproxy '' http://127.0.0.1:{port}/"),
        json!({ "hosts": [format!("127.0.0.1:{port}")] }),
    );
    assert_eq!(ended["exit_code"], 0, "{ended}");
}

#[test]
fn a_port_of_the_host_is_reached_and_one_of_a_job_is_published_through_a_restart() {
    let mut bench = Bench::new();
    let (port, published) = (bench.service, free_port());
    let ended = bench.run(&format!("curl -sS http://localhost:{port}/mine"), json!({ "reach": [port] }));
    assert!(ended["stdout"].as_str().unwrap().starts_with("GET /mine "), "{ended}");
    let ended = bench.run(&format!("curl -sS http://localhost:{port}/"), json!({}));
    assert_eq!(ended["exit_code"], 7, "{ended}");

    let input = json!({
        "command": ["python3", "-m", "http.server", published.to_string()],
        "network": { "publish": [published], "reach": [port] },
        "timeout_seconds": 120,
    });
    fs_page(&bench.home);
    let job = bench.shim.call("exec_start_job", input.clone()).unwrap()["job"].as_str().unwrap().to_owned();
    wait_until(|| fetch(published).is_some_and(|answer| answer.contains("a page")));
    let taken = bench.shim.call("exec_start_job", input).expect_err("the port is taken");
    assert!(taken.contains("taken"), "{taken}");

    let Bench { shim, daemon, home, service } = bench;
    drop(shim);
    daemon.kill();
    assert!(fetch(published).is_none());
    let daemon = Daemon::start(&home);
    wait_until(|| fetch(published).is_some_and(|answer| answer.contains("a page")));

    let shim = Shim::connected(&home, "2025-11-25", json!({}));
    let mut bench = Bench { shim, daemon, home, service };
    bench.shim.call("exec_signal_job", json!({ "job": job, "signal": "KILL" })).unwrap();
    wait_until(|| TcpStream::connect(("127.0.0.1", published)).is_err());
}

fn fs_page(home: &Home) {
    std::fs::write(home.project.join("page"), "a page\n").unwrap();
}

#[test]
fn a_network_that_makes_no_sense_is_refused_and_one_needs_a_human() {
    let mut bench = Bench::new();
    for (network, why) in [
        (json!({ "hosts": ["https://example.com/"] }), "without scheme"),
        (json!({ "hosts": ["*"] }), "no host"),
        (json!({ "reach": [0] }), "no port 0"),
        (json!({ "reach": [5432], "publish": [5432] }), "but once"),
        (json!({ "hosts": ["example.com"], "reach": [3128] }), "proxy"),
        (json!({ "publish": [80] }), "1024"),
        (json!({ "reach": [1, 2, 3, 4, 5, 6, 7, 8, 9] }), "at most 8"),
        (json!({ "ports": [1] }), "ports"),
    ] {
        let refused = bench.refused(network.clone());
        assert!(refused.contains(why), "{network}: {refused}");
    }
    drop(bench);
    let home = Home::new();
    let _daemon = Daemon::start(&home);
    let mut shim = Shim::connected(&home, "2025-11-25", json!({}));
    for network in
        [json!({ "hosts": ["example.com"] }), json!({ "reach": [80] }), json!({ "publish": [free_port()] })]
    {
        let input = json!({ "command": ["true"], "network": network });
        let refused = shim.call("exec_run", input).expect_err("a human must be asked");
        assert!(refused.contains("needs approval"), "{network}: {refused}");
    }
    shim.call("exec_run", json!({ "command": ["true"], "network": {} })).unwrap();
}
