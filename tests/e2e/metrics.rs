//! What Prometheus is told: to whom, in what form, and whether what is drawn of it can be computed.

use serde_json::{Value, json};
use skynet_tests::{
    components, packages,
    programs::{Daemon, Home, Shim, wait_until},
    web::Web,
};
use std::{
    fs,
    io::Write as _,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

fn home() -> Home {
    let home = Home::new();
    home.configure("[http]\nlisten = '127.0.0.1:0'\n[metrics]\nlisten = '127.0.0.1:0'\n");
    fs::write(home.project.join("f"), "content\n").unwrap();
    home
}

/// The token for metrics, and where they are.
fn token(home: &Home) -> (String, String) {
    let (code, created, said) = home.ctl(&["--json", "token", "create", "prometheus", "--metrics"]);
    assert_eq!(code, 0, "{said}");
    let created: Value = serde_json::from_str(&created).unwrap();
    let address = created["url"].as_str().unwrap().trim_start_matches("http://");
    (created["secret"].as_str().unwrap().to_owned(), address.trim_end_matches("/metrics").to_owned())
}

fn get(web: &Web, accept: &str) -> (u16, String) {
    let Web { address, token, .. } = web;
    web.raw(
        format!(
            "GET /metrics HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\naccept: {accept}\r\nconnection: close\r\n\r\n"
        )
        .as_bytes(),
    )
}

/// The value of a sample, by the beginning of its line.
fn sample(text: &str, start: &str) -> f64 {
    let line =
        text.lines().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("{start}:\n{text}"));
    line.rsplit(' ').next().unwrap().trim().parse().unwrap()
}

#[test]
fn metrics_are_told_to_their_own_token_alone() {
    let home = home();
    let _daemon = Daemon::start(&home);
    let client = Web::connect(&home, "client", &["read"]);
    let (secret, address) = token(&home);
    let scraper = client.with_token(&secret).at(&address);
    let mut shim = Shim::connected(&home, "2025-11-25", json!({}));
    shim.call("files_read", json!({ "path": "f" })).unwrap();
    shim.call("files_read", json!({ "path": "none" })).unwrap_err();

    // That is the command's own fault, and no layer's.
    shim.call("exec_run", json!({ "command": ["there-is-no-such-program"] })).unwrap_err();
    let (status, text) = get(&scraper, "*/*");
    assert_eq!(sample(&text, "skynet_sandbox_refusals_total "), 0.0);
    assert_eq!(status, 200, "{text}");
    let calls = |outcome: &str| {
        format!("skynet_calls_total{{tool=\"files_read\",outcome=\"{outcome}\",user_class=\"user\"}}")
    };
    assert_eq!(sample(&text, &calls("ok")), 1.0);
    assert_eq!(sample(&text, &calls("not_found")), 1.0);
    assert_eq!(sample(&text, "skynet_call_duration_seconds_count{tool=\"files_read\"}"), 2.0);
    assert_eq!(sample(&text, "skynet_sessions_attached "), 1.0);
    assert!(sample(&text, "skynet_sandbox_slots{state=\"in_use\"}") >= 1.0);
    assert!(sample(&text, "process_resident_memory_bytes ") > 1e6);
    // Of nobody and of no place.
    let user = std::env::var("USER").unwrap_or_default();
    for private in [home.project.to_str().unwrap(), "clientInfo", &format!("\"{user}\"")] {
        assert!(!text.contains(private), "{private}");
    }
    let open = get(&scraper, "application/openmetrics-text;version=1.0.0,text/plain;q=0.5").1;
    assert!(open.contains("application/openmetrics-text") && open.trim_end().ends_with("# EOF"), "{open}");

    // Neither token does what the other is for, and one that is revoked does nothing.
    assert_eq!(get(&client.at(&address), "*/*").0, 403);
    assert_eq!(get(&scraper.with_token("skynet_0_0"), "*/*").0, 401);
    let list = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    assert_eq!(client.with_token(&secret).post(&[], list).status, 401);
    assert_eq!(home.ctl(&["token", "revoke", "prometheus"]).0, 0);
    assert_eq!(get(&scraper, "*/*").0, 401);
}

#[test]
fn others_cannot_listen_in() {
    let home = Home::new();
    home.configure("[metrics]\nlisten = '0.0.0.0:9464'\n");
    let refused = Daemon::try_start(&home).err().unwrap();
    assert!(
        refused.contains("`metrics.listen` is `0.0.0.0:9464`, which is not a loopback address"),
        "{refused}"
    );
}

fn prometheus(name: &str) -> Option<PathBuf> {
    components::find("prometheus", &format!("usr/bin/{name}"))
}

fn promtool(arguments: &[&str], directory: &Path, input: &str) {
    let mut command = Command::new(prometheus("promtool").unwrap());
    command.args(arguments).current_dir(directory).stdin(Stdio::piped());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "promtool {arguments:?}: {}", String::from_utf8_lossy(&said));
    let is_silent = arguments[..2] == ["check", "metrics"];
    assert!(!is_silent || said.is_empty(), "{}", String::from_utf8_lossy(&said));
}

#[test]
fn promtool_finds_nothing() {
    let Some(_) = prometheus("promtool") else { return };
    let home = home();
    let _daemon = Daemon::start(&home);
    let client = Web::connect(&home, "client", &["read"]);
    let (secret, address) = token(&home);
    Shim::connected(&home, "2025-11-25", json!({})).call("files_read", json!({ "path": "f" })).unwrap();
    let (_, answer) = get(&client.with_token(&secret).at(&address), "text/plain");
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let rules = packages::source().join("packaging/grafana");
    promtool(&["check", "metrics"], &rules, body);
    promtool(&["check", "rules", "alerts.yml"], &rules, "");
    promtool(&["check", "config", "--syntax-only", "prometheus.yml"], &rules, "");
    promtool(&["test", "rules", "alerts.test.yml"], &rules, "");
}

/// A server that scrapes; it ends when dropped.
struct Server {
    child: Child,
    address: String,
    agent: ureq::Agent,
    _directory: tempfile::TempDir,
}

impl Server {
    fn scraping(address: &str, secret: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("token"), secret).unwrap();
        let config = fs::read_to_string(packages::source().join("packaging/grafana/prometheus.yml")).unwrap();
        let config = config
            .replace("/etc/prometheus/skynet.token", directory.path().join("token").to_str().unwrap())
            .replace("127.0.0.1:9464", address);
        let config = format!("global:\n  scrape_interval: 1s\n{config}");
        fs::write(directory.path().join("prometheus.yml"), config).unwrap();
        // Free now; whoever takes it in between makes the test fail and not pass.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let own = format!("127.0.0.1:{port}");
        let child = Command::new(prometheus("prometheus").unwrap())
            .arg(format!("--web.listen-address={own}"))
            .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data", "--log.level=error"])
            .current_dir(directory.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        Self { child, address: own, agent, _directory: directory }
    }

    /// The answer to a query; `None` while the server does not serve yet.
    fn query(&self, expression: &str) -> Option<Value> {
        let url = format!("http://{}/api/v1/query", self.address);
        let mut answer = self.agent.get(url).query("query", expression).call().ok()?;
        serde_json::from_str(&answer.body_mut().read_to_string().ok()?).ok()
    }

    fn results(&self, expression: &str) -> usize {
        let answer = self.query(expression).unwrap();
        assert_eq!(answer["status"], "success", "{expression}: {answer}");
        answer["data"]["result"].as_array().unwrap().len()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn whatever_is_drawn_or_alerted_about_can_be_computed() {
    let Some(_) = prometheus("prometheus") else { return };
    let home = home();
    let _daemon = Daemon::start(&home);
    let (secret, address) = token(&home);
    let mut shim = Shim::connected(&home, "2025-11-25", json!({}));
    let server = Server::scraping(&address, &secret);
    // Rates need a first sample before what they count.
    wait_until(|| {
        server.query("count(skynet_build_info)").is_some_and(|answer| answer["data"]["result"][0].is_object())
    });
    wait_until(|| {
        shim_calls(&home);
        let counted = server.query("rate(skynet_calls_total{outcome=\"not_found\"}[1m]) > 0");
        counted.is_some_and(|answer| answer["data"]["result"][0].is_object())
    });
    shim.call("files_read", json!({ "path": "f" })).unwrap();

    let board = fs::read_to_string(packages::source().join("packaging/grafana/skynet.json")).unwrap();
    let board: Value = serde_json::from_str(&board).unwrap();
    let mut drawn = 0;
    for panel in board["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            let expression = target["expr"].as_str().unwrap();
            let asked = expression.replace("$instance", ".*").replace("$__rate_interval", "1m");
            assert!(!asked.contains('$'), "{asked}");
            let found = server.results(&asked);
            // Nobody asks a provider here, nor anything whose answer is kept.
            let is_empty = ["skynet_provider_", "skynet_cache_"].iter().any(|name| asked.contains(name));
            assert_eq!(found == 0, is_empty, "{}: {asked}: {found}", panel["title"]);
            drawn += 1;
        }
    }
    assert!(drawn >= 16);
    let rules = fs::read_to_string(packages::source().join("packaging/grafana/alerts.yml")).unwrap();
    let alerts: Vec<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("expr: ")).collect();
    for expression in &alerts {
        let _ = server.results(expression);
    }
    assert!(alerts.len() >= 7);
}

/// Calls that end well and one that does not.
fn shim_calls(home: &Home) {
    let mut shim = Shim::connected(home, "2025-11-25", json!({}));
    shim.call("files_read", json!({ "path": "f" })).unwrap();
    shim.call("files_read", json!({ "path": "none" })).unwrap_err();
}
