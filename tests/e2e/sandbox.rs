//! Commands in slots: what they can do, and what they cannot.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use skynet_tests::programs::{Daemon, Home, Shim, is_running, outcome, wait_until};
use std::fs;

/// A client of a new home whose commands run.
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

    fn run(&mut self, input: Value) -> Value {
        self.shim.call("exec_run", input).unwrap_or_else(|err| panic!("{err}"))
    }

    fn bash(&mut self, script: &str) -> Value {
        self.run(json!({ "script": script }))
    }
}

#[test]
fn a_command_says_how_it_ended() {
    let mut bench = Bench::new();
    let ended = bench.run(json!({ "command": ["echo", "a b", "$HOME"] }));
    assert_eq!((&ended["exit_code"], &ended["stdout"]), (&json!(0), &json!("a b $HOME\n")), "{ended}");
    let ended = bench.bash("echo out; echo err >&2; exit 7");
    assert_eq!((&ended["exit_code"], &ended["stderr"]), (&json!(7), &json!("err\n")), "{ended}");
    let ended = bench.bash("kill -SEGV $$");
    assert_eq!((&ended["exit_code"], &ended["signal"]), (&Value::Null, &json!(11)), "{ended}");
    let ended = bench.run(json!({ "script": "cat; pwd; echo $X $1", "command": ["arg"], "stdin": "in\n", "environment": { "X": "x" } }));
    assert_eq!(ended["stdout"], json!(format!("in\n{}\nx arg\n", bench.home.project.display())), "{ended}");
}

/// The children of a process that have not ended yet.
fn children(pid: u32) -> Vec<u32> {
    let all = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let is_alive = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The state follows the name, which may hold any character (proc_pid_stat(5)).
        stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
    };
    all.split_whitespace().map(|pid| pid.parse().unwrap()).filter(is_alive).collect()
}

#[test]
fn a_slot_that_was_ended_as_it_waited_refuses_no_command() {
    let mut bench = Bench::new();
    bench.bash("true");
    let [broker] = bench.daemon.children()[..] else { panic!("{:?}", bench.daemon.children()) };
    wait_until(|| children(broker).len() == skynet_sandbox::WARM);
    // As the kernel does where memory is short. The broker may just be making another one.
    wait_until(|| {
        let all = children(broker);
        for pid in &all {
            let pid = Pid::from_raw(i32::try_from(*pid).unwrap()).unwrap();
            // It may have ended.
            let _ = kill_process(pid, Signal::KILL);
        }
        all.is_empty()
    });
    assert_eq!(bench.bash("echo on")["stdout"], "on\n");
}

#[test]
fn hands_get_so_much_memory_and_no_more() {
    let mut bench = Bench::new();
    bench.shim.call("files_list", json!({})).unwrap();
    let hands = bench.daemon.hands();
    assert!(!hands.is_empty());
    for pid in hands {
        let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
        let most = (4_u64 << 30).to_string();
        let line = limits.lines().find(|line| line.starts_with("Max data size")).unwrap();
        assert_eq!(line.split_whitespace().filter(|word| *word == most).count(), 2, "{line}");
    }
}

#[test]
fn a_command_is_ended_by_its_limits() {
    let mut bench = Bench::new();
    let ended = bench.run(json!({ "script": "echo began; sleep 60 & sleep 60", "timeout_seconds": 1 }));
    assert_eq!((&ended["ended_by"], &ended["stdout"]), (&json!("timeout"), &json!("began\n")), "{ended}");
    let hog = "x = []\nwhile True: x.append(bytearray(1 << 20))";
    let ended = bench.run(json!({ "script": hog, "interpreter": "python", "memory_mib": 100 }));
    assert_eq!(ended["ended_by"], "memory", "{ended}");
    assert!(ended["peak_memory_bytes"].as_u64().unwrap() < 400 << 20, "{ended}");
    // Children that it waited for count, and those that nobody waits for.
    let busy = "while true; do timeout 0.1 sh -c 'while :; do :; done'; done";
    for script in [busy.to_owned(), format!("({busy}) & sleep 60")] {
        let ended = bench.run(json!({ "script": script, "limits": { "cpu_seconds": 1 } }));
        assert_eq!(ended["ended_by"], "cpu", "{ended}");
        assert!(ended["cpu_seconds"].as_f64().unwrap() < 10.0, "{ended}");
    }
    let filling = "for i in $(seq 100); do head -c 16M /dev/zero > big$i; sync big$i; done; echo all";
    for script in [filling.to_owned(), format!("({filling}) & sleep 60"), "exec fallocate -l 100M big".into()]
    {
        let ended = bench.run(json!({ "script": script, "limits": { "disk_mib": 64 } }));
        assert_eq!(ended["ended_by"], "disk", "{ended}");
        assert!(!ended["stdout"].as_str().unwrap().contains("all"), "{ended}");
    }
    let ended = bench.run(json!({ "script": "for i in $(seq 50); do sleep 60 & done; echo all", "limits": { "processes": 20 } }));
    assert!(!ended["stdout"].as_str().unwrap().contains("all"), "{ended}");
    let ended = bench.run(
        json!({ "script": "head -c 8M /dev/zero > /tmp/x || echo full", "limits": { "scratch_mib": 4 } }),
    );
    assert_eq!(ended["stdout"], "full\n", "{ended}");
    let call = json!({ "name": "exec_run", "arguments": { "command": ["yes", "0123456789"] } });
    let answer = bench.shim.request("tools/call", call);
    let ended = &answer["result"]["structuredContent"];
    assert_eq!(ended["ended_by"], "output", "{}", ended["ended_by"]);
    assert!(ended["stdout"].as_str().unwrap().contains("bytes left out"));
    // What was cut is there to be read.
    let uri = answer["result"]["content"][1]["uri"].as_str().unwrap();
    let part =
        bench.shim.request("resources/read", json!({ "uri": format!("{uri}?offset=4000000&length=24") }));
    let part = part["result"]["contents"][0]["text"].as_str().unwrap();
    assert!(part.contains("\\n0123456789\\n"), "{part}");
    // What it leaves running holds its output, and ends with it all the same.
    let ended = bench.bash("sleep 60 & setsid sleep 60 & echo done");
    assert_eq!((&ended["stdout"], &ended["ended_by"]), (&json!("done\n"), &json!("itself")), "{ended}");
}

#[test]
fn ordinary_work_is_done_as_outside() {
    let mut bench = Bench::new();
    fs::write(bench.home.project.join("Makefile"), "all:\n\t@echo made > made\n\t@cat made\n").unwrap();
    for (script, interpreter, said) in [
        ("mkdir d && echo x > d/f && mv d e && cat e/f && rm -r e", "bash", "x\n"),
        ("echo kept >> ~/log && cat ~/log", "bash", "kept\n"),
        ("echo kept >> ~/log && cat ~/log", "bash", "kept\nkept\n"),
        ("df . > /tmp/a && sort /tmp/a | head -0; echo $?", "bash", "0\n"),
        ("seq 200000 | sort -rn | head -1", "bash", "200000\n"),
        (
            "git init -q /tmp/r && cd /tmp/r && git config user.name n && git config user.email e@x && touch f && git add f && git commit -qm m && git log --format=%s",
            "bash",
            "m\n",
        ),
        (
            "id -u; whoami >/dev/null && echo named",
            "bash",
            &format!("{}\nnamed\n", rustix::process::getuid().as_raw()),
        ),
        (
            "import threading, urllib.request, http.server\ns = http.server.HTTPServer(('127.0.0.1', 8000), http.server.SimpleHTTPRequestHandler)\ns.RequestHandlerClass.log_message = lambda *a: None\nthreading.Thread(target=s.serve_forever, daemon=True).start()\nprint(urllib.request.urlopen('http://localhost:8000/Makefile').status)",
            "python",
            "200\n",
        ),
        (
            "import multiprocessing, sqlite3\nwith multiprocessing.Pool(4) as p: print(sum(p.map(abs, range(-100, 0))))\nd = sqlite3.connect('db'); d.execute('create table t (x)'); d.commit(); print('ok')",
            "python",
            "5050\nok\n",
        ),
    ] {
        let ended = bench.run(json!({ "script": script, "interpreter": interpreter }));
        assert_eq!((&ended["stdout"], &ended["exit_code"]), (&json!(said), &json!(0)), "{script}: {ended}");
    }
}

#[test]
fn what_is_wrong_with_a_command_is_said() {
    let mut bench = Bench::new();
    fs::write(bench.home.project.join("text"), "no program").unwrap();
    for (input, kind, reason) in [
        (json!({}), "invalid_input", "`command`"),
        (json!({ "command": [""] }), "invalid_input", "no program"),
        (json!({ "command": ["no-such-program"] }), "not_found", "`no-such-program` was not found"),
        (json!({ "command": ["./text"] }), "denied", "cannot be executed"),
        (json!({ "command": ["true"], "cwd": "nowhere" }), "not_found", "`nowhere`"),
        (json!({ "command": ["true"], "environment": { "A=B": "" } }), "invalid_input", "`A=B`"),
        (json!({ "command": ["a\0b"] }), "invalid_input", "NUL"),
        (json!({ "command": ["true", "x".repeat(200_000)] }), "invalid_input", "too long"),
        (json!({ "command": ["true"], "timeout_seconds": 0 }), "invalid_input", "timeout_seconds"),
    ] {
        let err = bench.shim.call("exec_run", input.clone()).expect_err("must be refused");
        assert!(err.contains(kind) && err.contains(reason), "{kind}, {reason}: {err}");
    }
    assert_eq!(bench.bash("echo on")["stdout"], "on\n");
}

#[test]
fn a_workspace_that_another_directory_has_replaced_is_refused() {
    let mut bench = Bench::new();
    let (project, moved) = (bench.home.project.clone(), bench.home.path.join("moved"));
    bench.bash("true");
    fs::rename(&project, &moved).unwrap();
    fs::create_dir(&project).unwrap();
    let err = bench.shim.call("exec_run", json!({ "command": ["ls"] })).expect_err("must be refused");
    assert!(err.contains("another directory has taken the place"), "{err}");
}

#[test]
fn sixty_four_commands_at_once_all_end() {
    let mut bench = Bench::new();
    let ids: Vec<i64> = (1000..1064).collect();
    for id in &ids {
        let input = json!({ "script": "sleep 0.1; echo $1", "command": [id.to_string()] });
        bench.shim.send(&json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": { "name": "exec_run", "arguments": input } }));
    }
    let mut left: std::collections::BTreeSet<i64> = ids.into_iter().collect();
    while !left.is_empty() {
        let answer = bench.shim.receive();
        let Some(id) = answer["id"].as_i64() else { continue };
        let ended = outcome(&answer).unwrap_or_else(|err| panic!("{err}"));
        assert_eq!(ended["stdout"], json!(format!("{id}\n")));
        assert!(left.remove(&id));
    }
}

#[test]
fn a_broker_that_dies_is_replaced_and_the_command_under_way_is_not_run_again() {
    let mut bench = Bench::new();
    let call = |script: &str, id: i64| json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": { "name": "exec_run", "arguments": { "script": script } } });
    bench.shim.send(&call("echo run >> log; sleep 60", 70));
    let log = bench.home.project.join("log");
    wait_until(|| !fs::read_to_string(&log).unwrap_or_default().is_empty());
    let [broker] = bench.daemon.children()[..] else { panic!("only a broker was needed") };
    let broker = Pid::from_raw(i32::try_from(broker).unwrap()).unwrap();
    kill_process(broker, Signal::KILL).unwrap();
    let err = outcome(&bench.shim.answer(70)).expect_err("it did not end");
    assert!(err.contains("interrupted"), "{err}");
    assert_eq!(bench.bash("cat log")["stdout"], "run\n");
}

#[test]
fn a_canceled_command_and_all_it_started_end() {
    let mut bench = Bench::new();
    let marker = format!("{}.7", 1_000_000 + std::process::id());
    let call = json!({ "jsonrpc": "2.0", "id": 80, "method": "tools/call", "params": { "name": "exec_run", "arguments": { "script": format!("setsid sleep {marker} & wait") } } });
    bench.shim.send(&call);
    wait_until(|| is_running(&marker));
    bench.shim.send(
        &json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": 80 } }),
    );
    wait_until(|| !is_running(&marker));
    assert_eq!(bench.bash("echo on")["stdout"], "on\n");
}

/// Outside of the slot, whoever ran such a file would be its owner.
#[test]
fn no_file_makes_others_its_owner() {
    let mut bench = Bench::new();
    let script = "cp /bin/true a; chmod 4755 a; chmod g+s a; install -m 2755 /bin/true b; mkdir c; chmod g+s c; \
         python3 -c 'import os; os.open(\"d\", os.O_CREAT | os.O_WRONLY, 0o4755)'; \
         python3 -c 'import os, stat; os.mknod(\"e\", 0o4755 | stat.S_IFREG)'; \
         find . -perm /6000; chmod 755 a && ./a && touch f && stat --format=%a a";
    assert_eq!(bench.bash(script)["stdout"], "755\n");
}

#[test]
fn commands_end_with_the_daemon() {
    let mut bench = Bench::new();
    let marker = format!("{}.5", 2_000_000 + std::process::id());
    let call = json!({ "jsonrpc": "2.0", "id": 90, "method": "tools/call", "params": { "name": "exec_run", "arguments": { "script": format!("echo evil > .envrc; setsid sleep {marker} & wait") } } });
    bench.shim.send(&call);
    wait_until(|| is_running(&marker));
    let Bench { daemon, home, .. } = bench;
    daemon.kill();
    wait_until(|| !is_running(&marker));
    // What it planted is found all the same.
    wait_until(|| home.project.join(".envrc.quarantined").exists());
}

#[test]
fn a_command_beside_many_others_ends_whatever_they_do_with_the_workspace() {
    let mut bench = Bench::new();
    let call = |id: i64, script: &str| json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": { "name": "exec_run", "arguments": { "script": script, "timeout_seconds": 3 } } });
    let churn = "while :; do mkdir -p c1/c2/c3 c4/c5; echo x > c1/.envrc; rm -rf c1 c4; done";
    bench.shim.send(&call(100, churn));
    for id in 101..131 {
        bench.shim.send(&call(id, "echo on"));
    }
    for _ in 100..131 {
        let answer = bench.shim.receive();
        let ended = outcome(&answer).unwrap_or_else(|err| panic!("{err}"));
        let (how, said) = if answer["id"] == 100 { ("timeout", "") } else { ("itself", "on\n") };
        assert_eq!((&ended["ended_by"], &ended["stdout"]), (&json!(how), &json!(said)), "{ended}");
    }
}

#[test]
fn what_a_command_leaves_in_its_home_leads_nowhere() {
    let mut bench = Bench::new();
    let tools = bench.home.path.join(".local/bin");
    fs::create_dir_all(&tools).unwrap();
    fs::create_dir(bench.home.path.join("victim")).unwrap();
    let link = "cd; mv .local .gone; ln -s /old/$HOME/victim .local";
    for script in [link, "true", "cd; rm -rf .local; touch .local", "true"] {
        let ended = bench.bash(script);
        assert!(ended["exit_code"].is_number(), "{script}: {ended}");
    }
    assert_eq!(fs::read_dir(bench.home.path.join("victim")).unwrap().count(), 0);
}

#[test]
fn the_users_own_change_of_a_repository_stays() {
    let mut bench = Bench::new();
    let git = |arguments: &[&str]| {
        let ran = std::process::Command::new("git").args(arguments).current_dir(&bench.home.project).output();
        assert!(ran.unwrap().status.success());
    };
    git(&["init", "-q"]);
    let call = json!({ "jsonrpc": "2.0", "id": 140, "method": "tools/call", "params": { "name": "exec_run", "arguments": { "script": "touch began; while test ! -e go; do :; done" } } });
    bench.shim.send(&call);
    wait_until(|| bench.home.project.join("began").exists());
    git(&["config", "user.name", "bob"]);
    fs::write(bench.home.project.join("go"), "").unwrap();
    let ended = outcome(&bench.shim.answer(140)).unwrap();
    assert_eq!(ended["quarantined"], json!([]), "{ended}");
    git(&["config", "--get", "user.name"]);
}
