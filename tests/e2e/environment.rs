//! Encrypted files of variables: made by skynetctl, kept in a project, given to commands and to nobody else.

use serde_json::{Value, json};
use skynet_tests::programs::{Daemon, Home, Shim, give};
use std::fs;

const VALUE: &str = "postgres://app:hunter2-and-more@db/app";

struct Bench {
    shim: Shim,
    home: Home,
    daemon: Daemon,
}

impl Bench {
    fn new() -> Self {
        let home = Home::new();
        home.configure("[[policy.rules]]\nname = 'out'\nverdict = 'allow'\neffects = ['external']\n");
        let daemon = Daemon::start(&home);
        let shim = Shim::connected(&home, "2025-11-25", json!({}));
        Self { shim, home, daemon }
    }

    /// `skynetctl secret env ...` in the project.
    fn ctl(&self, arguments: &[&str], value: &str) -> (i32, String) {
        let mut command = self.home.command("skynetctl");
        command.arg("--socket").arg(self.home.socket()).args(["secret", "env"]).args(arguments);
        command.current_dir(&self.home.project);
        give(&mut command, value)
    }

    fn set(&self, arguments: &[&str], value: &str) {
        let (code, said) = self.ctl(&[&["set"], arguments].concat(), value);
        assert_eq!(code, 0, "{said}");
    }

    fn file(&self) -> String {
        fs::read_to_string(self.home.project.join(".env.skynet")).unwrap()
    }

    fn put(&self, text: &str) {
        fs::write(self.home.project.join(".env.skynet"), text).unwrap();
    }

    fn run(&mut self, script: &str, environment: Value) -> Result<Value, String> {
        self.shim.call("exec_run", json!({ "script": script, "environment": environment }))
    }

    /// The whole file, or why not.
    fn refused(&mut self) -> String {
        self.run("env", json!({ "*": "secret://.env.skynet" })).unwrap_err()
    }
}

#[test]
fn a_command_gets_one_variable_or_all_and_no_answer_tells_them() {
    let mut bench = Bench::new();
    fs::write(bench.home.project.join(".env"), "# for tests\nexport API_KEY='k3y with spaces'\nMODE=fast\n")
        .unwrap();
    let (code, said) = bench.ctl(&["import", ".env"], "");
    assert!(code == 0 && said.contains("2 variables"), "{said}");
    bench.set(&["DATABASE_URL"], &format!("{VALUE}\n"));
    let text = bench.file();
    assert!(text.starts_with("# Encrypted") && text.contains("# for tests\nAPI_KEY="), "{text}");
    assert!(!text.contains("k3y with") && !text.contains("hunter2"), "{text}");

    let one = json!({ "URL": "secret://.env.skynet#DATABASE_URL" });
    let got = bench.run("printf %s \"$URL\" | wc -c; echo \"$URL\"; echo ${API_KEY-none}", one).unwrap();
    assert_eq!(got["stdout"], format!("{}\n[redacted:env:DATABASE_URL]\nnone\n", VALUE.len()), "{got}");
    let all = json!({ "*": "secret://.env.skynet", "MODE": "slow" });
    let got = bench.run(
        "echo \"$DATABASE_URL\"; printf %s \"$API_KEY\" | base64; echo $MODE; cd \"$API_KEY\"",
        all.clone(),
    );
    let got = got.unwrap();
    assert_eq!(got["stdout"], "[redacted:env:DATABASE_URL]\n[redacted:env:API_KEY]\nslow\n", "{got}");
    assert!(got["stderr"].as_str().unwrap().contains("[redacted:env:API_KEY]"), "{got}");

    // A job that is read by a daemon that never gave it anything tells nothing either.
    let input = json!({ "script": "echo $DATABASE_URL; sleep 600", "environment": all });
    let job = bench.shim.call("exec_start_job", input).unwrap()["job"].clone();
    let Bench { shim, home, daemon } = bench;
    drop(shim);
    assert!(daemon.terminate().success());
    let daemon = Daemon::start(&home);
    let mut bench = Bench { shim: Shim::connected(&home, "2025-11-25", json!({})), home, daemon };
    let mut output = Value::Null;
    while output["output"].as_str().is_none_or(str::is_empty) {
        output = bench.shim.call("exec_read_job", json!({ "job": job })).unwrap();
    }
    assert_eq!(output["output"], "[redacted:env:DATABASE_URL]\n", "{output}");
    bench.shim.call("exec_signal_job", json!({ "job": job, "signal": "KILL" })).unwrap();
    // Nor does what the daemon keeps of all that.
    let (code, audit, _) = bench.home.ctl(&["audit", "export"]);
    assert!(code == 0 && audit.contains("exec_start_job") && !audit.contains("hunter2"), "{audit}");
    let secrets = bench.home.state.join("secrets");
    let mut pending = vec![secrets];
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            pending.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            assert!(
                !String::from_utf8_lossy(&fs::read(&path).unwrap()).contains("hunter2"),
                "{}",
                path.display()
            );
        }
    }
    drop(bench.daemon);
}

#[test]
fn a_variable_is_not_given_to_what_could_tell_others() {
    let mut bench = Bench::new();
    bench.set(&["OPEN", "--host", "api.example.org"], VALUE);
    bench.set(&["CLOSED"], "stays at home");
    for (variables, hosts, wanted) in [
        (json!({ "X": "secret://.env.skynet#OPEN" }), json!(["api.example.org"]), None),
        (
            json!({ "X": "secret://.env.skynet#OPEN" }),
            json!(["evil.example.org"]),
            Some("`OPEN` of `.env.skynet` is for api.example.org"),
        ),
        (
            json!({ "X": "secret://.env.skynet#CLOSED" }),
            json!(["api.example.org"]),
            Some("`CLOSED` of `.env.skynet` is for no host"),
        ),
        (
            json!({ "*": "secret://.env.skynet" }),
            json!(["api.example.org"]),
            Some("secret env set CLOSED --host api.example.org"),
        ),
    ] {
        let input = json!({ "command": ["true"], "environment": variables, "network": { "hosts": hosts } });
        let answer = bench.shim.call("exec_run", input);
        match wanted {
            None => assert!(answer.is_ok(), "{variables}: {answer:?}"),
            Some(part) => {
                let err = answer.unwrap_err();
                assert!(err.starts_with("denied: ") && err.contains(part), "{variables}: {err}");
            }
        }
    }
    // A host that is added to the line is not one that its value was encrypted for.
    bench.put(&bench.file().replace(" api.example.org", " api.example.org evil.example.org"));
    let input = json!({
        "command": ["true"], "network": { "hosts": ["evil.example.org"] },
        "environment": { "X": "secret://.env.skynet#OPEN" },
    });
    let err = bench.shim.call("exec_run", input).unwrap_err();
    assert!(err.contains("`OPEN` cannot be decrypted") && err.contains("the line was altered"), "{err}");
}

#[test]
fn what_is_wrong_with_a_file_is_said() {
    let mut bench = Bench::new();
    let missing = bench.refused();
    assert!(
        missing.starts_with("not_found: ") && missing.contains("skynetctl secret env set NAME"),
        "{missing}"
    );
    bench.set(&["TOKEN"], VALUE);
    bench.set(&["OTHER"], "another value");
    let whole = bench.file();
    let cut = |bytes: usize| whole[..whole.len() - bytes].to_owned();
    for (text, words) in [
        (cut(6), "`OTHER` cannot be decrypted: its line ends too early"),
        (cut(25), "`OTHER` cannot be decrypted: its value has"),
        (whole.replace("TOKEN=", "T0KEN="), "`T0KEN` cannot be decrypted: its value, its name or its hosts"),
        (whole.replace("TOKEN=", "<<<<<<<\nTOKEN="), "line 2: this is neither a comment nor `NAME=`"),
        (format!("{whole}OTHER=x\n"), "line 4: `OTHER` is set twice"),
        ("TOKEN=plain text".to_owned(), "`TOKEN` cannot be decrypted: its line holds no encrypted value"),
        ("x".repeat(300_000), "has at most 262144 bytes"),
        ("x".repeat(5_000_000), "`.env.skynet` is no file of variables"),
    ] {
        bench.put(&text);
        let err = bench.refused();
        assert!(err.starts_with("invalid_input: ") && err.contains(words), "{err}");
        assert!(!err.contains("plain text"), "{err}");
    }
    bench.put(&whole);
    for (environment, words) in [
        (json!({ "X": "secret://.env.skynet#NOPE" }), "has no variable `NOPE` (`TOKEN`, `OTHER`)"),
        (json!({ "X": "secret://.env.skynet" }), "take all of them with the variable `*`"),
        (json!({ "*": "plain" }), "its value is like `secret://.env.skynet`"),
        (json!({ "X": "secret://../.env.skynet#TOKEN" }), "leads out of the workspace"),
        (json!({ "X": "secret://nowhere/.env.skynet#TOKEN" }), "nowhere/.env.skynet"),
    ] {
        let err = bench.run("true", environment).unwrap_err();
        assert!(err.contains(words), "{err}");
    }
    // Neither is there a way to read one back.
    let (code, listed) = bench.ctl(&["list", "--json"], "");
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let wanted = json!([
        { "name": "TOKEN", "hosts": [], "fault": null }, { "name": "OTHER", "hosts": [], "fault": null },
    ]);
    assert_eq!((code, &listed["variables"]), (0, &wanted));
    bench.put(&whole.replace("TOKEN=", "T0KEN="));
    let (code, listed) = bench.ctl(&["list"], "");
    assert!(code == 0 && listed.contains("refused") && listed.contains("the line was altered"), "{listed}");
    assert_eq!(bench.ctl(&["delete", "T0KEN"], "").0, 0);
    assert!(
        !bench.file().contains("T0KEN") && bench.run("true", json!({ "*": "secret://.env.skynet" })).is_ok()
    );
    let (code, said) = bench.ctl(&["set", "1"], "value");
    assert!(code == 2 && said.contains("does not begin with a digit"), "{code} {said}");
    let (code, said) = bench.ctl(&["set", "EMPTY"], "");
    assert!(code == 2 && said.contains("secret env set EMPTY"), "{code} {said}");
}

#[test]
fn a_list_of_commands_lets_no_file_set_variables() {
    let home = Home::new();
    home.configure(
        "[[policy.commands]]\nname = 'look'\nverdict = 'allow'\nprogram = 'ls'\nenvironment = ['MODE']\n",
    );
    let _daemon = Daemon::start(&home);
    let mut shim = Shim::connected(&home, "2025-11-25", json!({}));
    let input = json!({ "command": ["ls"], "environment": { "*": "secret://.env.skynet" } });
    let err = shim.call("exec_run", input).unwrap_err();
    assert!(err.starts_with("denied: "), "{err}");
}

/// As root, with two users of a host.
mod host {
    use super::{VALUE, give, json};
    use skynet_tests::{
        host::{Host, User},
        programs::program,
    };
    use std::{fs, path::Path, process::Command};

    #[test]
    fn users_cannot_use_each_others_files() {
        let Some(host) = Host::start() else { return };
        let [ann, bob] = host.users();
        let (hers, his) = (ann.project(), bob.project());
        let set = |user: &User, project: &Path| {
            let mut command = Command::new(program("skynetctl"));
            user.owns(&mut command);
            command
                .arg("--socket")
                .arg(host.socket())
                .args(["secret", "env", "set", "TOKEN"])
                .current_dir(project);
            give(&mut command, VALUE)
        };
        assert_eq!(set(&ann, &hers).0, 0);
        let input =
            json!({ "script": "echo $TOKEN", "environment": { "TOKEN": "secret://.env.skynet#TOKEN" } });
        // Her file is read as her: nobody else can enter the project, the daemon included.
        let got = host.client(&ann, &hers, json!({})).call("exec_run", input.clone()).unwrap();
        assert_eq!(got["stdout"], "[redacted:env:TOKEN]\n", "{got}");
        let copy = his.join(".env.skynet");
        fs::copy(hers.join(".env.skynet"), &copy).unwrap();
        std::os::unix::fs::chown(&copy, Some(bob.uid), Some(bob.gid)).unwrap();
        let err = host.client(&bob, &his, json!({})).call("exec_run", input).unwrap_err();
        let wanted = format!("it was encrypted for user {}, and this is user {}", ann.uid, bob.uid);
        assert!(err.contains(&wanted), "{err}");
    }
}
