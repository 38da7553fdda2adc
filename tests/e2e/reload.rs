//! The configuration is read again under clients that do not notice, but for what they may do.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use skynet_tests::programs::{Daemon, Home, Shim, wait_until};

const FROZEN: &str = "[[policy.rules]]\nname = 'frozen'\nverdict = 'deny'\ntools = ['files_write']\n";

fn write(shim: &mut Shim) -> Result<Value, String> {
    shim.call("files_write", json!({ "path": "f", "content": "x" }))
}

#[test]
fn rules_lists_and_limits_count_from_the_next_call_on() {
    let home = Home::new();
    let daemon = Daemon::start(&home);
    let mut shim = Shim::connected(&home, "2025-11-25", json!({}));
    write(&mut shim).unwrap();

    home.configure(&format!("{FROZEN}[http]\nlisten = '127.0.0.1:0'\n"));
    let (code, out, said) = home.ctl(&["--json", "reload"]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap()["need_restart"], json!(["http"]));
    assert!(write(&mut shim).unwrap_err().contains("`frozen`"));

    // What is wrong changes nothing, whichever part of it was right.
    home.configure(
        "[log]\nfilter = 'debug'\n[[policy.rules]]\nname = 'a'\nverdict = 'deny'\ntools = ['files_wite']\n",
    );
    let (code, _, said) = home.ctl(&["reload"]);
    assert!(code == 1 && said.contains("did you mean `files_write`?"), "{said}");
    assert!(write(&mut shim).unwrap_err().contains("`frozen`"));

    home.configure(
        "[[policy.commands]]\nname = 'only true'\nverdict = 'allow'\nprogram = 'true'\narguments = []\n",
    );
    assert_eq!(home.ctl(&["reload"]).0, 0);
    write(&mut shim).unwrap();
    let refused = shim.call("exec_run", json!({ "command": ["id"] })).unwrap_err();
    assert!(refused.starts_with("denied"), "{refused}");

    // By the signal that daemons know.
    home.configure("[[quota.limits]]\nname = 'few'\nwindow = '1d'\ncalls = 1\n");
    kill_process(Pid::from_raw(daemon.pid().try_into().unwrap()).unwrap(), Signal::HUP).unwrap();
    let few = || home.ctl(&["quota", "show"]).1.contains("few");
    wait_until(few);
    let last = (0..3).map(|_| write(&mut shim)).last().unwrap();
    assert!(last.unwrap_err().contains("the limit `few`"));
}
