//! What is said to a job while it runs: input, signals, the size of its terminal.

use super::*;

#[test]
fn a_terminal_is_one() {
    let mut bench = Bench::new();
    let script = "tty; stty size; echo via > /dev/tty; test -t 0 -a -t 1 -a -t 2 && echo all $TERM; trap 'stty size' WINCH; echo ready; while ! read -t 0.05 x; do :; done; echo read $x; exit 5";
    let job = bench.start(json!({ "script": script, "pty": true, "rows": 33, "columns": 111 }));
    let said = bench.read_until(&job, "ready\r\n");
    assert!(said.starts_with("/dev/pts/0\r\n33 111\r\nvia\r\nall xterm-256color\r\n"), "{said}");
    bench.call("exec_resize_job", json!({ "job": job, "rows": 44, "columns": 55 }));
    bench.read_until(&job, "44 55\r\n");
    bench.call("exec_write_job", json!({ "job": job, "text": "word\r" }));
    let ended = bench.wait(&job);
    assert_eq!(ended["status"]["exit_code"], 5, "{ended}");
    assert!(ended["output_tail"].as_str().unwrap().ends_with("read word\r\n"), "{ended}");
    // Ctrl-C and Ctrl-D are keys.
    let cat = bench.start(json!({ "command": ["cat"], "pty": true }));
    bench.call("exec_write_job", json!({ "job": cat, "text": "echo\n" }));
    bench.read_until(&cat, "echo\r\necho\r\n");
    bench.call("exec_write_job", json!({ "job": cat, "close": true }));
    assert_eq!(bench.wait(&cat)["status"]["exit_code"], 0);
    let sleep = bench.start(json!({ "command": ["sleep", "100"], "pty": true }));
    bench.call("exec_write_job", json!({ "job": sleep, "text": "\u{3}" }));
    assert_eq!(bench.wait(&sleep)["status"]["signal"], 2);
    // The last words of a terminal are not lost.
    for _ in 0..10 {
        let last = bench.start(json!({ "script": "seq 2000; echo last", "pty": true }));
        let ended = bench.wait(&last);
        assert!(ended["output_tail"].as_str().unwrap().ends_with("2000\r\nlast\r\n"), "{ended}");
    }
}

#[test]
fn nothing_can_be_typed_into_a_terminal_from_within() {
    let mut bench = Bench::new();
    // TIOCSTI, TIOCLINUX, and another line discipline.
    let script = "import fcntl, struct\nfor number, argument in [(0x5412, b'x'), (0x541c, b'\\x03'), (0x5423, struct.pack('i', 13)), (0x5423, struct.pack('i', 0))]:\n  for path in ['/dev/tty', '/dev/pts/0']:\n    try:\n      fcntl.ioctl(open(path, 'rb', 0), number, argument)\n      print('ESCAPED', hex(number))\n    except OSError as err: print(err.errno)\nprint('TRIED')";
    let job = bench.start(json!({ "script": script, "interpreter": "python", "pty": true }));
    let said = bench.wait(&job)["output_tail"].as_str().unwrap().to_owned();
    assert_eq!(said, "1\r\n".repeat(8) + "TRIED\r\n");
}

#[test]
fn input_comes_as_it_was_written_until_it_is_closed() {
    let mut bench = Bench::new();
    let job = bench.start(json!({ "script": "cat; echo rest" }));
    bench.call("exec_write_job", json!({ "job": job, "text": "é\n" }));
    bench.read_until(&job, "é\n");
    let bytes = BASE64_STANDARD.encode([b'a', 0xff, b'\n']);
    bench.call("exec_write_job", json!({ "job": job, "base64": bytes, "close": true }));
    let ended = bench.wait(&job);
    assert_eq!(
        (&ended["status"]["exit_code"], &ended["output_tail"]),
        (&json!(0), &json!("é\na\u{fffd}\nrest\n"))
    );
    let deaf = bench.bash("echo ready; sleep 100");
    bench.read_until(&deaf, "ready");
    let text = "x".repeat(250_000);
    let mut write =
        || bench.shim.call("exec_write_job", json!({ "job": deaf, "text": text, "close": false }));
    let refused = (0..6).find_map(|_| write().err()).expect("a keeper takes so much and no more");
    assert!(refused.contains("conflict") && refused.contains("does not read"), "{refused}");
    bench.call("exec_signal_job", json!({ "job": deaf, "signal": "KILL" }));
    let closed = bench.bash("exec <&-; echo closed; sleep 100");
    bench.read_until(&closed, "closed");
    let refused = bench.refused("exec_write_job", json!({ "job": closed, "text": "x" }));
    assert!(refused.contains("conflict") && refused.contains("stdin is closed"), "{refused}");
    bench.call("exec_signal_job", json!({ "job": closed, "signal": "KILL" }));
}

#[test]
fn signals_reach_a_job() {
    let mut bench = Bench::new();
    let script =
        "trap 'echo usr1' USR1; trap 'echo term; exit 6' TERM; echo ready; while :; do sleep 0.02; done";
    let job = bench.bash(script);
    bench.read_until(&job, "ready\n");
    let status = bench.call("exec_signal_job", json!({ "job": job, "signal": "USR1" }));
    assert_eq!(status["state"], "running", "{status}");
    bench.read_until(&job, "usr1\n");
    bench.call("exec_signal_job", json!({ "job": job }));
    let ended = bench.wait(&job);
    assert_eq!(
        (&ended["status"]["exit_code"], &ended["status"]["ended_by"]),
        (&json!(6), &json!("itself")),
        "{ended}"
    );
    let err = bench.refused("exec_signal_job", json!({ "job": job }));
    assert!(err.contains("conflict") && err.contains("has ended"), "{err}");
}
