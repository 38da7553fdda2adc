//! Answers that are given again, by a real Redis that comes and goes.

use serde_json::{Value, json};
use skynet_tests::{
    programs::{Daemon, Home, Shim, wait_until},
    redis::Redis,
};
use std::{cell::RefCell, path::Path};

struct Bench {
    shim: RefCell<Shim>,
    home: Home,
    _daemon: Daemon,
}

impl Bench {
    fn new(settings: &str) -> Self {
        let home = Home::new();
        home.configure(settings);
        let daemon = Daemon::start(&home);
        let shim = RefCell::new(Shim::connected(&home, "2025-11-25", json!({})));
        Self { shim, home, _daemon: daemon }
    }

    /// Asks for packages; whether the answer is one that was given before.
    fn is_given_again(&self) -> bool {
        let input = json!({ "name": "libc6", "limit": 1 });
        let found = self.shim.borrow_mut().call("system_list_packages", input).unwrap();
        assert_eq!(found["manager"], "dpkg", "{found}");
        let (_, lines, said) = self.home.ctl(&["--json", "audit", "query", "--tool", "system_list_packages"]);
        let last: Value = serde_json::from_str(lines.lines().last().expect(&said)).unwrap();
        assert_eq!(last["outcome"], "ok", "{last}");
        last["from_cache"] == true
    }

    /// What `doctor` finds wrong with the daemon.
    fn fault(&self) -> Option<String> {
        let (_, found, said) = self.home.ctl(&["--json", "doctor"]);
        let found: Value = serde_json::from_str(&found).unwrap_or_else(|err| panic!("{err}: {found}{said}"));
        let wrong =
            found.as_array().unwrap().iter().find(|one| one["what"] == "daemon" && one["ok"] == false);
        wrong.map(|one| one["detail"].as_str().unwrap().to_owned())
    }
}

/// The test is about packages of dpkg.
fn has_dpkg() -> bool {
    Path::new("/var/lib/dpkg/status").exists()
}

#[test]
fn answers_lie_sealed_in_a_redis_and_calls_go_on_without_it() {
    let Some(mut redis) = Redis::start().filter(|_| has_dpkg()) else { return };
    let bench = Bench::new(&redis.settings());
    assert!(!bench.is_given_again());
    wait_until(|| bench.is_given_again());
    wait_until(|| bench.fault().is_none());
    let names = redis.ask(&["--raw", "keys", "skynet:*:answer:*"]);
    let name = names.lines().next().unwrap();
    assert!(!redis.ask(&["get", name]).contains("libc6"));
    // It goes by itself.
    let left: u64 = redis.ask(&["--raw", "pttl", name]).trim().parse().unwrap();
    assert!(left <= 3_600_000, "{left}");

    redis.stop();
    assert!(!bench.is_given_again());
    let fault = bench.fault().unwrap();
    assert!(fault.contains("the Redis of `cache.url` cannot be used"), "{fault}");
    let (_, status, _) = bench.home.ctl(&["status"]);
    assert!(status.contains("fault     the Redis of `cache.url`"), "{status}");

    redis.start_again();
    wait_until(|| bench.fault().is_none());
    wait_until(|| bench.is_given_again());
}

#[test]
fn what_one_daemon_changes_another_of_the_host_does_not_tell_from_before() {
    let Some(redis) = Redis::start().filter(|_| has_dpkg()) else { return };
    let (one, other) = (Bench::new(&redis.settings()), Bench::new(&redis.settings()));
    wait_until(|| one.is_given_again());
    // What a command does may be about anything.
    other.shim.borrow_mut().call("exec_run", json!({ "command": ["true"] })).unwrap();
    assert!(!one.is_given_again());
    wait_until(|| one.is_given_again());
}

#[test]
fn a_redis_that_is_not_named_as_one_is_refused_before_a_start() {
    let home = Home::new();
    for (settings, part) in [
        ("[cache]\nbackend = 'redis'\n", "needs its `url`"),
        ("[cache.ttl_seconds]\ncontainer = 1\n", "did you mean `containers`?"),
        ("[cache]\nbackend = 'redis'\nurl = 'redis://:hunter2@127.0.0.1'\n", "`password_file`"),
    ] {
        home.configure(settings);
        let (code, out, err) = home.ctl(&["config", "check"]);
        let told = format!("{out}{err}");
        assert!(code != 0 && told.contains(part) && !told.contains("hunter2"), "{settings}: {told}");
    }
}
