//! Daemon, broker and hands die in turn under load, and with the daemon sometimes the power: what was not synced is cut off
//! somewhere. What was answered stays on record, nothing runs twice, and the next daemon always starts.

use super::signal;
use rustix::process::Signal;
use serde_json::{Value, json};
use skynet_tests::programs::{Daemon, Home, Shim, outcome, wait_until};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::Write as _,
    path::PathBuf,
    process::ChildStdin,
};
use uuid::Uuid;

/// How often to kill; `cargo xtask torture` raises it.
fn cycles() -> u32 {
    std::env::var("SKYNET_TEST_CYCLES").map_or(8, |text| text.parse().unwrap())
}

#[derive(Clone, Copy, Debug)]
enum Victim {
    Daemon,
    Broker,
    Hands,
    /// With the daemon and the client, and what was not synced.
    Power,
}

const IN_TURN: [Victim; 4] = [Victim::Daemon, Victim::Broker, Victim::Hands, Victim::Power];

/// Requests that are sent at once.
const AT_ONCE: usize = 24;

struct Bench {
    home: Home,
    daemon: Option<Daemon>,
    client: Client,
    next_id: i64,
    /// Calls that are not answered.
    open: BTreeMap<i64, Call>,
    /// What calls make that change something, by their names.
    targets: BTreeMap<String, String>,
    /// The names of those that were answered.
    acknowledged: BTreeSet<String>,
}

struct Call {
    name: String,
    target: Option<String>,
}

struct Client {
    shim: Shim,
    stdin: ChildStdin,
    session: String,
    next_frame: u64,
}

impl Client {
    fn connect(home: &Home) -> Self {
        let mut shim = Shim::connected(home, "2025-11-25", json!({}));
        // A record of its own tells how its calls are named: by session and frame.
        shim.call("files_stat", json!({ "path": "seed" })).unwrap();
        let audit = audit(home);
        let name = audit.lines().rev().find_map(|line| call_of(&record_of(line))).unwrap();
        let (session, frame) = name.split_once('.').unwrap();
        let next_frame = frame.parse::<u64>().unwrap() + 1;
        Self { stdin: shim.take_stdin(), shim, session: session.to_owned(), next_frame }
    }
}

impl Bench {
    fn new() -> Self {
        let home = Home::new();
        fs::write(home.project.join("seed"), "seed").unwrap();
        for directory in ["copies", "counts"] {
            fs::create_dir(home.project.join(directory)).unwrap();
        }
        let daemon = Some(Daemon::start(&home));
        let client = Client::connect(&home);
        let (open, targets, acknowledged) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        Self { home, daemon, client, next_id: 1000, open, targets, acknowledged }
    }

    /// Sends reads, copies, and commands that leave a line each time they run.
    fn post(&mut self, cycle: u32) {
        for number in 0..AT_ONCE {
            let (target, tool, input) = match number % 6 {
                0 => (None, "files_stat", json!({ "path": "seed" })),
                1 => {
                    let target = format!("counts/{cycle}-{number}");
                    let script = format!("echo ran >> {target}");
                    (Some(target), "exec_run", json!({ "script": script }))
                }
                _ => {
                    let target = format!("copies/{cycle}-{number}");
                    (Some(target.clone()), "files_copy", json!({ "from": "seed", "to": target }))
                }
            };
            let params = json!({ "name": tool, "arguments": input });
            let request =
                json!({ "jsonrpc": "2.0", "id": self.next_id, "method": "tools/call", "params": params });
            writeln!(self.client.stdin, "{request}").unwrap();
            let name = format!("{}.{}", self.client.session, self.client.next_frame);
            self.targets.extend(target.iter().map(|target| (name.clone(), target.clone())));
            self.open.insert(self.next_id, Call { name, target });
            self.next_id += 1;
            self.client.next_frame += 1;
        }
    }

    /// Takes one answer.
    fn settle(&mut self) {
        let answer = self.client.shim.receive();
        let Some(id) = answer["id"].as_i64() else { return };
        let call = self.open.remove(&id).unwrap_or_else(|| panic!("{id} was answered twice: {answer}"));
        match (call.target, outcome(&answer)) {
            (_, Err(err)) if err.starts_with("interrupted: ") || err.starts_with("unavailable: ") => {}
            // On a busy host a daemon may start more slowly than a shim is patient.
            (_, Err(err)) if err.contains("no skynetd answers") => {}
            (Some(target), Ok(result)) => {
                // A command under way when its broker dies tells so in its answer.
                let is_done = target.starts_with("copies") || result["exit_code"] == 0;
                assert!(!is_done || self.home.project.join(&target).exists(), "{target}: {answer}");
                self.acknowledged.insert(call.name);
            }
            (None, Ok(_)) => {}
            (target, Err(err)) => panic!("{target:?}: {err}"),
        }
    }

    fn kill(&mut self, victim: Victim) {
        let daemon = self.daemon.take().unwrap();
        let hands = daemon.hands();
        match victim {
            Victim::Hands => signal(&hands, Signal::KILL),
            Victim::Broker => signal(&daemon.children(), Signal::KILL),
            Victim::Daemon => {
                daemon.kill();
                self.daemon = Some(Daemon::start(&self.home));
                return;
            }
            Victim::Power => {
                // Nobody is left who could be answered later.
                self.client.shim.child.kill().unwrap();
                daemon.kill();
                wait_until(|| hands.iter().all(|pid| is_gone(*pid)));
                self.open.clear();
                self.cut("audit", |line| self.is_needed_of_audit(line));
                self.cut("journal", |line| self.is_needed_of_journal(line));
                self.daemon = Some(Daemon::start(&self.home));
                self.client = Client::connect(&self.home);
                return;
            }
        }
        self.daemon = Some(daemon);
    }

    /// Cuts a ledger somewhere behind the last line that was synced for certain.
    fn cut(&self, ledger: &str, is_needed: impl Fn(&Value) -> bool) {
        let path = segments(&self.home, ledger).pop().unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let mut synced = 0;
        let mut at = 0;
        for line in text.split_inclusive('\n') {
            at += line.len();
            if is_needed(&record_of(line)) {
                synced = at;
            }
        }
        let tail = u128::try_from(text.len() - synced).unwrap();
        let kept = usize::try_from(Uuid::new_v4().as_u128() % (tail + 1)).unwrap();
        File::options().write(true).open(&path).unwrap().set_len((synced + kept) as u64).unwrap();
    }

    /// Checkpoints are synced before they are noted, records of changes before they are answered.
    fn is_needed_of_audit(&self, line: &Value) -> bool {
        line["kind"] == "checkpoint" || self.is_answered(line)
    }

    /// Intents are synced before there is anything to see of a call, outcomes before they are answered.
    fn is_needed_of_journal(&self, line: &Value) -> bool {
        let is_seen = call_of(line)
            .and_then(|name| self.targets.get(&name))
            .is_some_and(|target| self.home.project.join(target).exists());
        self.is_answered(line) || (line["kind"] == "intent" && is_seen)
    }

    fn is_answered(&self, line: &Value) -> bool {
        call_of(line).is_some_and(|name| self.acknowledged.contains(&name))
    }

    /// Everything that was answered is on record, nothing ran twice, and the chain is whole.
    fn check(&self, cycle: u32, victim: Victim) {
        let audit = audit(&self.home);
        let recorded = audit.lines().map(record_of).filter(|record| record["outcome"] == "ok");
        let recorded: BTreeSet<String> = recorded.filter_map(|record| call_of(&record)).collect();
        let lost: Vec<_> = self.acknowledged.difference(&recorded).collect();
        let about = |line: &&str| call_of(&record_of(line)).is_some_and(|name| lost.contains(&&name));
        let told: Vec<&str> = audit.lines().filter(about).collect();
        assert!(lost.is_empty(), "cycle {cycle}, {victim:?}: not on record: {lost:?}: {told:?}");
        for entry in fs::read_dir(self.home.project.join("counts")).unwrap() {
            let path = entry.unwrap().path();
            let runs = fs::read_to_string(&path).unwrap();
            assert!(runs.lines().count() <= 1, "cycle {cycle}, {victim:?}: {} ran twice", path.display());
        }
        let (code, verdict, err) = self.home.ctl(&["audit", "verify", "--json"]);
        assert_eq!(code, 0, "cycle {cycle}, {victim:?}: {verdict}{err}");
    }
}

/// The JSON behind the hash of a line; null for a torn one.
fn record_of(line: &str) -> Value {
    line.get(65..).and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default()
}

/// The name of the call that a record is about.
fn call_of(record: &Value) -> Option<String> {
    record["call"].as_str().map(str::to_owned)
}

fn segments(home: &Home, ledger: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(home.state.join("ledger").join(ledger)).unwrap();
    let mut segments: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    segments.retain(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
    segments.sort();
    segments
}

fn audit(home: &Home) -> String {
    segments(home, "audit").iter().map(|path| fs::read_to_string(path).unwrap()).collect()
}

/// Whether a process has ended, and be it that nobody has asked how (proc_pid_stat(5)).
fn is_gone(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| stat.contains(") Z "))
}

#[test]
fn whatever_dies_what_was_answered_is_on_record_and_nothing_ran_twice() {
    let mut bench = Bench::new();
    for cycle in 0..cycles() {
        let victim = IN_TURN[usize::try_from(cycle).unwrap() % IN_TURN.len()];
        bench.post(cycle);
        // Some answers first, so that the kill hits the middle.
        for _ in 0..(2 + cycle % 16) {
            bench.settle();
        }
        bench.kill(victim);
        while !bench.open.is_empty() {
            bench.settle();
        }
        bench.check(cycle, victim);
    }
    assert!(!bench.acknowledged.is_empty());
}
