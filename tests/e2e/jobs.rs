//! Background jobs: what they are told, what they tell, and whom they outlive.

mod kept;
mod terminal;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use rustix::{
    net::{SocketFlags, SocketType, accept_with},
    process::{Pid, Signal, kill_process},
};
use serde_json::{Value, json};
use skynet_sandbox::{
    channel::{BlockingSocket, Buffer},
    job::{Answer, Directory, FromKeeper, Request, ToKeeper, VERSION},
};
use skynet_tests::{
    programs::{Daemon, Home, Shim, outcome, wait_until},
    web::Web,
};
use std::{
    fs,
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
};

/// A client of a new home whose jobs run.
struct Bench {
    home: Home,
    shim: Shim,
    daemon: Daemon,
}

impl Bench {
    fn new() -> Self {
        let home = Home::new();
        let daemon = Daemon::start(&home);
        let shim = Shim::connected(&home, "2025-11-25", json!({}));
        Self { home, shim, daemon }
    }

    /// The same home after a power cut of everything but jobs: another daemon, another client.
    fn restarted(self) -> Self {
        let Self { home, shim, daemon } = self;
        drop(shim);
        daemon.kill();
        let daemon = Daemon::start(&home);
        let shim = Shim::connected(&home, "2025-11-25", json!({}));
        Self { home, shim, daemon }
    }

    fn call(&mut self, tool: &str, input: Value) -> Value {
        self.shim.call(tool, input).unwrap_or_else(|err| panic!("{tool}: {err}"))
    }

    fn refused(&mut self, tool: &str, input: Value) -> String {
        self.shim.call(tool, input).expect_err("must be refused")
    }

    /// Starts a job that would end by itself if the test did not.
    fn start(&mut self, mut input: Value) -> String {
        if input.get("timeout_seconds").is_none() {
            input["timeout_seconds"] = json!(120);
        }
        self.call("exec_start_job", input)["job"].as_str().unwrap().to_owned()
    }

    fn bash(&mut self, script: &str) -> String {
        self.start(json!({ "script": script }))
    }

    fn wait(&mut self, job: &str) -> Value {
        loop {
            let ended = self.call("exec_wait_job", json!({ "job": job }));
            if ended["status"]["state"] != "running" {
                return ended;
            }
        }
    }

    /// Waits until it has written all of that; returns what it wrote.
    fn read_until(&mut self, job: &str, wanted: &str) -> String {
        let (mut offset, mut all) = (json!(0), String::new());
        while !all.contains(wanted) {
            let part =
                self.call("exec_read_job", json!({ "job": job, "offset": offset, "wait_seconds": 40 }));
            all.push_str(part["output"].as_str().unwrap());
            let is_over = part["status"]["state"] != "running" && part["next_offset"] == offset;
            assert!(!is_over || all.contains(wanted), "{part}: {all}");
            offset = part["next_offset"].clone();
        }
        all
    }

    fn jobs(&mut self) -> Vec<Value> {
        self.call("exec_list_jobs", json!({}))["jobs"].as_array().unwrap().clone()
    }

    fn directory(&self, job: &str) -> PathBuf {
        self.home.state.join("jobs").join(job)
    }
}

/// A number of seconds that no other process sleeps.
fn marker() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!("{}.{}", 3_000_000 + std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// The processes that have `marker` for an argument.
fn running(marker: &str) -> Vec<u32> {
    let pids =
        fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    let has_it = |pid: &u32| {
        fs::read(format!("/proc/{pid}/cmdline"))
            .is_ok_and(|line| line.split(|byte| *byte == 0).any(|word| word == marker.as_bytes()))
    };
    pids.filter(has_it).collect()
}

fn kill(pid: u32) {
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), Signal::KILL).unwrap();
}

#[test]
fn a_job_says_what_it_wrote_and_how_it_ended() {
    let mut bench = Bench::new();
    let job = bench.start(json!({
        "script": "echo out; echo err >&2; pwd; echo $X $1 $TERM; exit 7",
        "command": ["arg"], "environment": { "X": "x" }, "name": "the build",
    }));
    let ended = bench.wait(&job);
    let status = &ended["status"];
    assert_eq!(
        (&status["state"], &status["exit_code"], &status["ended_by"], &status["name"]),
        (&json!("ended"), &json!(7), &json!("itself"), &json!("the build")),
        "{ended}"
    );
    let said = format!("out\nerr\n{}\nx arg dumb\n", bench.home.project.display());
    assert_eq!(
        (&ended["output_tail"], &status["output_bytes"]),
        (&json!(said), &json!(said.len())),
        "{ended}"
    );
    assert!(status["peak_memory_bytes"].as_u64().unwrap() > 0, "{ended}");
    for key in ["started_at", "ended_at"] {
        assert!(status[key].as_str().unwrap().ends_with('Z'), "{ended}");
    }
    let part = bench.call("exec_read_job", json!({ "job": job, "offset": 4 }));
    assert_eq!(
        (&part["output"], &part["offset"], &part["next_offset"]),
        (&json!(said[4..]), &json!(4), &json!(said.len())),
        "{part}"
    );
    let killed = bench.bash("kill -SEGV $$");
    assert_eq!(bench.wait(&killed)["status"]["signal"], 11);
    let listed = bench.jobs();
    assert_eq!([&listed[0]["job"], &listed[1]["job"]], [&json!(killed), &json!(job)]);
    assert_eq!(&listed[1], status);
}

#[test]
fn a_job_outlives_its_daemon_and_its_client() {
    let mut bench = Bench::new();
    let asked = bench.bash("echo before; read word; echo after $word; exit 3");
    bench.read_until(&asked, "before\n");
    let mut bench = bench.restarted();
    assert_eq!(bench.jobs()[0]["state"], "running");
    let answer = bench.call("exec_write_job", json!({ "job": asked, "text": "it\n" }));
    assert_eq!(answer["output_bytes"], 7);
    let ended = bench.wait(&asked);
    assert_eq!(
        (&ended["status"]["exit_code"], &ended["output_tail"]),
        (&json!(3), &json!("before\nafter it\n"))
    );
}

#[test]
fn the_end_of_a_job_is_told_by_a_daemon_that_was_not_there() {
    let mut bench = Bench::new();
    let job = bench
        .bash("echo evil > .envrc; echo ready; until test -e go; do sleep 0.02; done; echo ended; exit 4");
    bench.read_until(&job, "ready\n");
    let Bench { home, shim, daemon } = bench;
    drop(shim);
    daemon.kill();
    fs::write(home.project.join("go"), "").unwrap();
    let end = home.state.join("jobs").join(&job).join("end");
    wait_until(|| fs::metadata(&end).unwrap().len() > 0);
    let daemon = Daemon::start(&home);
    let shim = Shim::connected(&home, "2025-11-25", json!({}));
    let mut bench = Bench { home, shim, daemon };
    let ended = bench.wait(&job);
    assert_eq!(
        (&ended["status"]["exit_code"], &ended["status"]["quarantined"], &ended["output_tail"]),
        (&json!(4), &json!([".envrc"]), &json!("ready\nended\n")),
        "{ended}"
    );
    let err = bench.refused("exec_write_job", json!({ "job": job, "text": "x" }));
    assert!(err.contains("conflict") && err.contains("has ended"), "{err}");
}

#[test]
fn a_broker_that_dies_leaves_jobs_alive() {
    let mut bench = Bench::new();
    let job = bench.start(json!({ "command": ["cat"] }));
    let [broker] = bench.daemon.children()[..] else { panic!("only a broker was needed") };
    kill(broker);
    wait_until(|| bench.daemon.children().is_empty());
    bench.call("exec_write_job", json!({ "job": job, "text": "still\n" }));
    bench.read_until(&job, "still\n");
    // Another broker knows nothing of it, and need not.
    assert_eq!(bench.call("exec_run", json!({ "command": ["echo", "on"] }))["stdout"], "on\n");
    bench.call("exec_write_job", json!({ "job": job, "close": true }));
    assert_eq!(bench.wait(&job)["status"]["exit_code"], 0);
}

#[test]
fn a_job_whose_keeper_dies_ends_and_is_lost() {
    let mut bench = Bench::new();
    let marker = marker();
    let job = bench.bash(&format!("setsid sleep {marker} & echo ready; wait"));
    bench.read_until(&job, "ready\n");
    wait_until(|| !running(&marker).is_empty());
    let parent = |pid: u32| -> u32 {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap().trim().parse().unwrap()
    };
    // Above the command are pid 1 of its slot, and the keeper.
    let mut keeper = running(&marker)[0];
    while fs::read_to_string(format!("/proc/{keeper}/comm")).unwrap() != "skynet-sandbox\n" {
        keeper = parent(keeper);
    }
    kill(parent(keeper));
    wait_until(|| running(&marker).is_empty());
    let ended = bench.wait(&job);
    assert_eq!(
        (&ended["status"]["state"], &ended["status"]["ended_by"], &ended["output_tail"]),
        (&json!("lost"), &json!("host"), &json!("ready\n")),
        "{ended}"
    );
}

#[test]
fn a_killed_job_ends_with_everything_it_started() {
    let mut bench = Bench::new();
    let marker = marker();
    let job =
        bench.bash(&format!("trap '' TERM; (setsid sleep {marker} &) ; sleep {marker} & echo ready; wait"));
    bench.read_until(&job, "ready\n");
    wait_until(|| running(&marker).len() == 2);
    let status = bench.call("exec_signal_job", json!({ "job": job, "signal": "KILL" }));
    assert_eq!(
        (&status["state"], &status["ended_by"], &status["signal"]),
        (&json!("ended"), &json!("kill"), &json!(9)),
        "{status}"
    );
    assert!(running(&marker).is_empty());
}

#[test]
fn waiting_ends_when_it_should() {
    let mut bench = Bench::new();
    let job = bench.bash("sleep 100");
    let waited = bench.call("exec_wait_job", json!({ "job": job, "timeout_seconds": 0 }));
    assert_eq!(waited["status"]["state"], "running", "{waited}");
    let part = bench.call("exec_read_job", json!({ "job": job, "offset": 0, "wait_seconds": 1 }));
    assert_eq!((&part["output"], &part["next_offset"]), (&json!(""), &json!(0)), "{part}");
    // Who waits longer is told by the end.
    let call = json!({ "name": "exec_wait_job", "arguments": { "job": job, "timeout_seconds": 3600 } });
    let waiting = bench.shim.post("tools/call", call);
    bench.shim.send(&json!({ "jsonrpc": "2.0", "id": 900, "method": "tools/call", "params": { "name": "exec_signal_job", "arguments": { "job": job, "signal": "INT" } } }));
    let ended = outcome(&bench.shim.answer(waiting)).unwrap();
    assert_eq!(ended["status"]["state"], "ended", "{ended}");
}

#[test]
fn of_long_output_the_beginning_and_the_end_are_kept() {
    let mut bench = Bench::new();
    let job = bench.bash("echo BEGIN; head -c 12000000 /dev/zero | tr '\\0' x; echo END");
    let ended = bench.wait(&job);
    let total = 12_000_010;
    assert_eq!(ended["status"]["output_bytes"], total, "{ended}");
    assert!(ended["output_tail"].as_str().unwrap().ends_with("xEND\n"), "{ended}");
    let file = fs::metadata(bench.directory(&job).join("output")).unwrap();
    assert!(file.len() <= (8 << 20) + 4096, "{}", file.len());
    let mut read =
        |offset: u64| bench.call("exec_read_job", json!({ "job": job, "offset": offset, "max_bytes": 4096 }));
    assert!(read(0)["output"].as_str().unwrap().starts_with("BEGIN\nx"));
    let part = read((1 << 20) - 10);
    assert_eq!(
        (&part["next_offset"], part["output"].as_str().unwrap().len()),
        (&json!(1 << 20), 10),
        "{part}"
    );
    // What is gone is passed over, and says so.
    let part = read(1 << 20);
    assert_eq!(part["offset"], total - (7 << 20), "{part}");
    let part = read(total - 4);
    assert_eq!((&part["output"], &part["next_offset"]), (&json!("END\n"), &json!(total)), "{part}");
}

#[test]
fn a_job_is_ended_by_its_limits() {
    let mut bench = Bench::new();
    let late = bench.start(json!({ "script": "echo began; sleep 60 & sleep 60", "timeout_seconds": 1 }));
    let hog = "x = []\nwhile True: x.append(bytearray(1 << 20))";
    let hog = bench.start(json!({ "script": hog, "interpreter": "python", "memory_mib": 100 }));
    let ended = bench.wait(&late);
    assert_eq!(
        (&ended["status"]["ended_by"], &ended["output_tail"]),
        (&json!("timeout"), &json!("began\n")),
        "{ended}"
    );
    assert!(ended["status"]["wall_seconds"].as_f64().unwrap() >= 1.0, "{ended}");
    let ended = bench.wait(&hog);
    assert_eq!(ended["status"]["ended_by"], "memory", "{ended}");
    assert!(ended["status"]["peak_memory_bytes"].as_u64().unwrap() > 100 << 20, "{ended}");
}

#[test]
fn what_a_job_plants_is_set_aside_and_told() {
    let mut bench = Bench::new();
    let job = bench.bash("mkdir -p a .vscode; echo evil > a/.envrc; echo evil > .vscode/tasks.json");
    let ended = bench.wait(&job);
    assert_eq!(
        (&ended["status"]["quarantined"], &ended["status"]["quarantined_count"]),
        (&json!(["a/.envrc", ".vscode"]), &json!(2)),
        "{ended}"
    );
    assert!(bench.home.project.join("a/.envrc.quarantined").exists());
    assert!(!bench.home.project.join(".vscode").exists());
}

#[test]
fn what_a_job_plants_is_set_aside_while_it_runs() {
    let mut bench = Bench::new();
    let project = bench.home.project.clone();
    fs::create_dir(project.join("kept")).unwrap();
    fs::write(project.join("kept/.envrc"), "good").unwrap();
    let script = "for i in $(seq 300); do mkdir -p d/$i; done; echo evil > d/300/.envrc; echo ready; read x; echo evil > .envrc; read x; while test -w kept/.envrc; do sleep 0.05; done; echo evil > kept/.envrc; echo end";
    let job = bench.bash(script);
    bench.read_until(&job, "ready\n");
    wait_until(|| project.join("d/300/.envrc.quarantined").exists());
    bench.call("exec_write_job", json!({ "job": job, "text": "\n" }));
    wait_until(|| project.join(".envrc.quarantined").exists());
    // What the user replaces stays his, and soon cannot be written again.
    fs::write(project.join("kept/new"), "better").unwrap();
    fs::rename(project.join("kept/new"), project.join("kept/.envrc")).unwrap();
    bench.call("exec_write_job", json!({ "job": job, "text": "\n" }));
    let ended = bench.wait(&job);
    let expected = json!(["d/300/.envrc", ".envrc"]);
    assert_eq!(ended["status"]["quarantined"], expected, "{ended}");
    assert_eq!(fs::read_to_string(project.join("kept/.envrc")).unwrap(), "better");
    // What he removes is not his when it comes back.
    let job = bench.bash("read x; echo evil > kept/.envrc; read x");
    fs::remove_file(project.join("kept/.envrc")).unwrap();
    // A look that began before may end after it; the next one does not.
    fs::create_dir(project.join(".idea")).unwrap();
    wait_until(|| project.join(".idea.quarantined").exists());
    fs::create_dir(project.join(".idea")).unwrap();
    wait_until(|| project.join(".idea.quarantined-1").exists());
    bench.call("exec_write_job", json!({ "job": job, "text": "\n" }));
    wait_until(|| project.join("kept/.envrc.quarantined").exists());
    bench.call("exec_signal_job", json!({ "job": job, "signal": "KILL" }));
}

#[test]
fn a_job_is_its_owners_and_its_workspaces() {
    let home = Home::new();
    home.configure("[http]\nlisten = '127.0.0.1:0'\n");
    let daemon = Daemon::start(&home);
    let shim = Shim::connected(&home, "2025-11-25", json!({}));
    let mut bench = Bench { home, shim, daemon };
    let job = bench.start(json!({ "command": ["cat"] }));
    // Another session of the same user and workspace.
    let mut same = Shim::connected(&bench.home, "2025-11-25", json!({}));
    same.call("exec_write_job", json!({ "job": job, "text": "x\n" })).unwrap();
    assert_eq!(same.call("exec_list_jobs", json!({})).unwrap()["jobs"][0]["job"], json!(job));
    // Another workspace.
    let elsewhere = bench.home.path.join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let mut other = Shim::start_in(&bench.home, &elsewhere);
    let client = json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "t", "version": "1" } });
    other.request("initialize", client);
    other.send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
    assert_eq!(other.call("exec_list_jobs", json!({})).unwrap(), json!({ "jobs": [] }));
    let err = other.call("exec_read_job", json!({ "job": job })).expect_err("it is not there");
    assert!(err.contains("not_found"), "{err}");
    // Two tokens of the same user, in the same workspace.
    let web = ["mine", "other"].map(|name| Web::connect(&bench.home, name, &["read", "write"]));
    let call = |web: &Web, tool: &str, input: Value| {
        outcome(&web.modern("tools/call", json!({ "name": tool, "arguments": input }), json!({})).messages[0])
    };
    let [mine, others] = &web;
    let own = call(mine, "exec_start_job", json!({ "command": ["cat"], "timeout_seconds": 120 })).unwrap();
    for (tool, input) in [
        ("exec_read_job", json!({ "job": own["job"] })),
        ("exec_wait_job", json!({ "job": own["job"] })),
        ("exec_write_job", json!({ "job": own["job"], "text": "x" })),
        ("exec_resize_job", json!({ "job": own["job"], "rows": 1, "columns": 1 })),
        ("exec_signal_job", json!({ "job": own["job"], "signal": "KILL" })),
    ] {
        let err = call(others, tool, input).expect_err("it is another one's");
        assert!(err.contains("not_found"), "{tool}: {err}");
    }
    assert_eq!(call(others, "exec_list_jobs", json!({})).unwrap(), json!({ "jobs": [] }));
    assert_eq!(call(mine, "exec_list_jobs", json!({})).unwrap()["jobs"][0]["job"], own["job"]);
    call(mine, "exec_signal_job", json!({ "job": own["job"], "signal": "KILL" })).unwrap();
    bench.call("exec_signal_job", json!({ "job": job, "signal": "KILL" }));
}

#[test]
fn what_is_wrong_with_a_job_is_said() {
    let mut bench = Bench::new();
    let job = bench.start(json!({ "command": ["cat"] }));
    for (tool, input, kind, reason) in [
        ("exec_start_job", json!({}), "invalid_input", "`command`"),
        (
            "exec_start_job",
            json!({ "command": ["no-such-program"] }),
            "not_found",
            "`no-such-program` was not found",
        ),
        (
            "exec_start_job",
            json!({ "command": ["true"], "cwd": "nowhere", "pty": true }),
            "not_found",
            "`nowhere`",
        ),
        (
            "exec_start_job",
            json!({ "command": ["true"], "environment": { "A=B": "" } }),
            "invalid_input",
            "`A=B`",
        ),
        (
            "exec_start_job",
            json!({ "command": ["true"], "timeout_seconds": 604_801 }),
            "invalid_input",
            "timeout_seconds",
        ),
        ("exec_start_job", json!({ "command": ["true"], "pty": true, "rows": 0 }), "invalid_input", "rows"),
        ("exec_read_job", json!({ "job": "deadbeef" }), "not_found", "`exec_list_jobs`"),
        ("exec_read_job", json!({ "job": "../jobs" }), "not_found", "`exec_list_jobs`"),
        ("exec_read_job", json!({ "job": job, "max_bytes": 1 }), "invalid_input", "max_bytes"),
        ("exec_write_job", json!({ "job": job }), "invalid_input", "`text`"),
        ("exec_write_job", json!({ "job": job, "text": "x", "base64": "eA==" }), "invalid_input", "either"),
        ("exec_write_job", json!({ "job": job, "base64": "?" }), "invalid_input", "`base64`"),
        ("exec_resize_job", json!({ "job": job, "rows": 9, "columns": 9 }), "invalid_input", "`pty`"),
        ("exec_signal_job", json!({ "job": job, "signal": "SEGV" }), "invalid_input", "signal"),
    ] {
        let err = bench.refused(tool, input.clone());
        assert!(err.contains(kind) && err.contains(reason), "{tool} {input}: {kind}, {reason}: {err}");
    }
    // What never began left nothing.
    assert_eq!(bench.jobs().len(), 1);
    assert_eq!(fs::read_dir(bench.home.state.join("jobs")).unwrap().count(), 1);
    bench.call("exec_signal_job", json!({ "job": job, "signal": "KILL" }));
}

#[test]
fn output_that_takes_room_in_an_answer_is_read_in_more_parts() {
    let mut bench = Bench::new();
    let job = bench.bash("for i in $(seq 3000); do printf '\\033\\001é'; done");
    bench.wait(&job);
    let (mut offset, mut all, mut parts) = (json!(0), String::new(), 0);
    while offset != 12_000 {
        let input = json!({ "job": job, "offset": offset, "max_bytes": 4096 });
        let answer = bench.shim.request("tools/call", json!({ "name": "exec_read_job", "arguments": input }));
        assert_eq!(answer["result"]["content"].as_array().unwrap().len(), 1, "a part was cut");
        let part = outcome(&answer).unwrap();
        all.push_str(part["output"].as_str().unwrap());
        offset = part["next_offset"].clone();
        parts += 1;
    }
    assert_eq!(all, "\u{1b}\u{1}é".repeat(3000));
    assert!(parts > 3, "{parts}");
}
