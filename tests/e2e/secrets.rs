//! Secrets: commands get them, and nobody else is told.

use serde_json::{Value, json};
use skynet_tests::programs::{Daemon, Home, Shim};
use std::{
    fs,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

const VALUE: &str = "Tr0ub4dor&3-\"q\\uote/+x";

struct Bench {
    shim: Shim,
    home: Home,
    _daemon: Daemon,
}

impl Bench {
    fn new() -> Self {
        let home = Home::new();
        home.configure("[[policy.rules]]\nname = 'out'\nverdict = 'allow'\neffects = ['external']\n");
        let daemon = Daemon::start(&home);
        let shim = Shim::connected(&home, "2025-11-25", json!({}));
        let bench = Self { shim, home, _daemon: daemon };
        bench.give(&["secret", "set", "deploy", "--host", "api.example.org"], &format!("{VALUE}\n"));
        bench
    }

    /// Runs skynetctl with something to read.
    fn give(&self, arguments: &[&str], value: &str) -> String {
        self.home.give(arguments, value)
    }

    fn run(&mut self, script: &str) -> Result<Value, String> {
        let input = json!({ "script": script, "environment": { "TOKEN": "secret://deploy" } });
        self.shim.call("exec_run", input)
    }
}

/// The value as it might be told.
fn forms() -> Vec<String> {
    let by = |program: &str, arguments: &[&str]| {
        let mut command = Command::new(program);
        let mut child = command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(VALUE.as_bytes()).unwrap();
        String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap().trim().to_owned()
    };
    let hex: String = VALUE.bytes().map(|byte| format!("{byte:02x}")).collect();
    vec![
        VALUE.to_owned(),
        json!(VALUE).to_string().trim_matches('"').to_owned(),
        by("base64", &["--wrap=0"]).trim_end_matches('=').to_owned(),
        hex.to_uppercase(),
        hex,
        VALUE.chars().rev().collect(),
    ]
}

fn is_told(text: &str, forms: &[String]) -> Option<String> {
    forms.iter().find(|form| text.contains(*form)).cloned()
}

/// Without white space, and without what stands for it in JSON.
fn dense(text: &str) -> String {
    text.replace("\\n", "").replace("\\r", "").replace("\\t", "").split_whitespace().collect()
}

/// Ways to tell a value that come to nothing; the table of `docs/security.md` lists them, and those that do not.
const WAYS: [&str; 56] = [
    "echo $TOKEN",
    "echo \"$TOKEN\"",
    "echo \"$TOKEN\" >&2",
    "printf '%s' \"$TOKEN\"",
    "printf 'a%sb' \"$TOKEN\"",
    "printf '%s%s' \"$TOKEN\" \"$TOKEN\"",
    "env",
    "export -p",
    "set",
    "cat /proc/self/environ",
    "tr '\\0' '\\n' < /proc/$$/environ",
    "printf %s \"$TOKEN\" | base64 --wrap=0",
    "printf 'x%s' \"$TOKEN\" | base64 --wrap=0",
    "printf 'xy%s' \"$TOKEN\" | base64 --wrap=0",
    "printf 'xyz%s and more' \"$TOKEN\" | base64 --wrap=0",
    "printf %s \"$TOKEN\" | base64 --wrap=0 | tr +/ -_ | tr -d =",
    "printf %s \"$TOKEN\" | od -An -v -tx1 | tr -d ' \\n'",
    "printf %s \"$TOKEN\" | od -An -v -tx1 | tr -d ' \\n' | tr a-f A-F",
    "printf %s \"$TOKEN\" | rev",
    "printf '%s' \"{\\\"token\\\": \\\"$TOKEN\\\"}\"",
    "python3 -c 'import json,os; print(json.dumps({\"t\": os.environ[\"TOKEN\"]}))'",
    "python3 -c 'import json,os; print(json.dumps(json.dumps({\"t\": os.environ[\"TOKEN\"]})))'",
    "python3 -c 'import urllib.parse,os; print(urllib.parse.quote(os.environ[\"TOKEN\"], safe=\"\"))'",
    "python3 -c 'import urllib.parse,os; print(urllib.parse.urlencode({\"a\": os.environ[\"TOKEN\"]}))'",
    "python3 -c 'import os; raise SystemExit(os.environ[\"TOKEN\"])'",
    "python3 -c 'import os; raise ValueError(os.environ[\"TOKEN\"])'",
    "python3 -c 'import os; print(repr(os.environ[\"TOKEN\"]))'",
    "python3 -c 'import html,os; print(html.escape(os.environ[\"TOKEN\"]))'",
    "printf '%q' \"$TOKEN\"",
    "declare -p TOKEN",
    "\"$TOKEN\"",
    "cd \"$TOKEN\"",
    "sh -x -c 'true \"$TOKEN\"'",
    "printf '%s\\n' \"$TOKEN\" | fold -w 1",
    "printf %s \"$TOKEN\" | base64 --wrap=8",
    "printf %s \"$TOKEN\" | base64 --wrap=8 | sed 's/^/    /'",
    "printf %s \"$TOKEN\" | od -An -v -tx1",
    "printf %s \"$TOKEN\" | od -An -v -tx1 | tr a-f A-F",
    "printf %s \"$TOKEN\" | sed 's/./& /g'",
    "printf '%s\\n%s\\n' \"${TOKEN:0:8}\" \"${TOKEN:8}\"",
    "printf %s \"$TOKEN\" | rev | fold -w 4",
    "cat <<< \"$TOKEN\"",
    "printf %s \"$TOKEN\" > f; cat f",
    "printf 'token=%s\\n' \"$TOKEN\" > log; grep token log",
    "printf '%s\\n' \"$TOKEN\" > f; diff f /dev/null",
    "git config --file c user.token \"$TOKEN\"; git config --file c user.token",
    "git config --file c user.token \"$TOKEN\"; cat c",
    "bash -c 'tr \"\\0\" \" \" < /proc/$$/cmdline; true' x \"$TOKEN\"",
    "mkdir -p \"d/$TOKEN\"; find d",
    "awk 'BEGIN { print ENVIRON[\"TOKEN\"] }'",
    "perl -e 'print $ENV{TOKEN}'",
    "python3 -c 'import os; print(os.environ)'",
    "python3 -c 'import os; print(os.environ[\"TOKEN\"].encode())'",
    "printf %s \"$TOKEN\" | xargs -0 echo",
    "python3 -c 'import os,sys; sys.stdout.buffer.write(b\"\\x89PNG tEXtComment\" + os.environ[\"TOKEN\"].encode())'",
    "printf 'Authorization: Basic %s' \"$(printf 'user:%s' \"$TOKEN\" | base64 --wrap=0)\"",
];

/// Ways that the same table says are open.
const OPEN: [&str; 4] = [
    "printf %s \"$TOKEN\" | base32",
    "printf %s \"$TOKEN\" | gzip | base64",
    "printf %s \"$TOKEN\" | tr a-z n-za-m",
    "printf %s \"$TOKEN\" | cut -c1-11",
];

#[test]
fn a_command_gets_a_secret_and_its_answer_does_not_tell_it() {
    let mut bench = Bench::new();
    let got = bench.run("printf %s \"$TOKEN\" | wc -c").unwrap();
    assert_eq!(got["stdout"].as_str().unwrap().trim(), VALUE.len().to_string(), "{got}");
    let forms = forms();
    for way in WAYS {
        let told = bench.run(way).map_or_else(|err| err, |answer| answer.to_string());
        assert_eq!(is_told(&told, &forms), None, "{way}: {told}");
        assert_eq!(is_told(&dense(&told), &forms), None, "{way}: {told}");
        assert!(told.contains("[redacted:deploy]"), "{way}: {told}");
    }
    for way in OPEN {
        let told = bench.run(way).map_or_else(|err| err, |answer| answer.to_string());
        assert!(!told.contains("[redacted:deploy]"), "{way} is no longer open: {told}");
    }
    // What is kept of all this does not tell it either.
    let (code, audit, _) = bench.home.ctl(&["audit", "export"]);
    assert!(code == 0 && audit.contains(r#""secrets":["deploy"]"#), "{audit}");
    assert_eq!(is_told(&audit, &forms), None);
    let mut kept = Vec::new();
    read_all(&bench.home.state, &mut kept);
    let kept = String::from_utf8_lossy(&kept);
    assert!(kept.contains("exec_run"));
    assert_eq!(is_told(&kept, &forms), None);
}

/// The content of all files below a directory.
pub(crate) fn read_all(directory: &Path, into: &mut Vec<u8>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read_all(&path, into);
        } else {
            into.extend(fs::read(path).unwrap_or_default());
        }
    }
}

#[test]
fn files_and_jobs_and_what_is_too_long_tell_no_secret() {
    let mut bench = Bench::new();
    let forms = forms();
    bench.run("printf '%s\\nrest\\n' \"$TOKEN\" > config; printf x > \"name-${TOKEN%%/*}\"").unwrap();
    let read = bench.shim.call("files_read", json!({ "path": "config" })).unwrap();
    assert_eq!(read["content"], "[redacted:deploy]\nrest\n");
    let found = bench.shim.call("files_search", json!({ "pattern": "Tr0ub4dor" })).unwrap().to_string();
    assert_eq!(is_told(&found, &forms), None, "{found}");
    // Written back, the mark would take the place of the value.
    for (tool, input) in [
        ("files_write", json!({ "path": "config", "content": "[redacted:deploy]\nother\n" })),
        ("files_edit", json!({ "path": "config", "edits": [{ "old": "rest", "new": "[redacted:deploy]" }] })),
        // `[redacted:deploy]` and a line feed.
        (
            "files_write",
            json!({ "path": "config", "content": "W3JlZGFjdGVkOmRlcGxveV0K", "encoding": "base64" }),
        ),
        ("exec_run", json!({ "command": ["tee", "config"], "stdin": "[redacted:deploy]\n" })),
        ("exec_preview", json!({ "script": "echo '[redacted:deploy]' > config" })),
        ("exec_write_job", json!({ "job": "any", "text": "[redacted:deploy]\n" })),
        ("exec_write_job", json!({ "job": "any", "base64": "W3JlZGFjdGVkOmRlcGxveV0K" })),
    ] {
        let refused = bench.shim.call(tool, input).unwrap_err();
        assert!(refused.starts_with("invalid_input: ") && refused.contains("mark"), "{refused}");
    }
    assert_eq!(fs::read_to_string(bench.home.project.join("config")).unwrap(), format!("{VALUE}\nrest\n"));
    let edit = json!({ "path": "config", "edits": [{ "old": "rest", "new": "other" }] });
    bench.shim.call("files_edit", edit).unwrap();
    assert_eq!(fs::read_to_string(bench.home.project.join("config")).unwrap(), format!("{VALUE}\nother\n"));
    // A preview shows marks, and what it does when it is applied is what the command did.
    let preview =
        bench.shim.call("exec_preview", json!({ "script": "sed -i s/other/last/ config" })).unwrap();
    assert!(preview.to_string().contains("[redacted:deploy]"), "{preview}");
    assert_eq!(is_told(&preview.to_string(), &forms), None, "{preview}");
    bench.shim.call("exec_apply_preview", json!({ "preview": preview["preview"] })).unwrap();
    assert_eq!(fs::read_to_string(bench.home.project.join("config")).unwrap(), format!("{VALUE}\nlast\n"));
    // As a resource, which is read in base64 inside.
    let uri = format!("skynet://workspace/{}", "config");
    let resource = bench.shim.request("resources/read", json!({ "uri": uri })).to_string();
    assert!(resource.contains("holds a secret") || resource.contains("[redacted:deploy]"), "{resource}");
    assert_eq!(is_told(&resource, &forms), None);
    let token = format!("ghp_{}", "a1B2c3".repeat(6));
    fs::write(bench.home.project.join("token"), &token).unwrap();
    let resource = bench.shim.request("resources/read", json!({ "uri": "skynet://workspace/token" }));
    assert_eq!(resource["result"]["contents"][0]["text"], "[redacted:pattern:github-token]", "{resource}");
    // A result that is kept because it is too long for the answer.
    let script = "for i in $(seq 9000); do echo \"$i $TOKEN and more\"; done";
    let input = json!({ "script": script, "environment": { "TOKEN": "secret://deploy" } });
    let long = bench.shim.request("tools/call", json!({ "name": "exec_run", "arguments": input }));
    let uri = find_uri(&long).expect("a link");
    let whole = bench.shim.request("resources/read", json!({ "uri": uri })).to_string();
    assert!(whole.contains("[redacted:deploy]"), "{}", &whole[..500]);
    assert_eq!(is_told(&whole, &forms), None);
    let job = json!({ "script": "echo $TOKEN", "environment": { "TOKEN": "secret://deploy" } });
    let job = bench.shim.call("exec_start_job", job).unwrap();
    bench.shim.call("exec_wait_job", json!({ "job": job["job"] })).unwrap();
    let output = bench.shim.call("exec_read_job", json!({ "job": job["job"] })).unwrap().to_string();
    assert!(output.contains("[redacted:deploy]") && is_told(&output, &forms).is_none(), "{output}");
}

fn find_uri(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => text.starts_with("skynet://result/").then(|| text.clone()),
        Value::Array(items) => items.iter().find_map(find_uri),
        Value::Object(members) => members.values().find_map(find_uri),
        _ => None,
    }
}

#[test]
fn secrets_are_named_listed_rotated_and_deleted() {
    let mut bench = Bench::new();
    let (code, listed, _) = bench.home.ctl(&["secret", "list", "--json"]);
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let one = &listed["secrets"][0];
    assert_eq!((code, &one["name"], &one["version"]), (0, &json!("deploy"), &json!(1)), "{listed}");
    assert_eq!((&one["hosts"], &one["size_bytes"]), (&json!(["api.example.org"]), &json!(VALUE.len())));
    bench.give(&["secret", "rotate", "deploy"], "another value");
    let told = bench.run(&format!("echo \"$TOKEN\"; echo '{VALUE}'")).unwrap();
    assert_eq!(told["stdout"], "[redacted:deploy]\n[redacted:deploy]\n", "the value before is still one");
    let mut wrong = bench.home.command("skynetctl");
    wrong.arg("--socket").arg(bench.home.socket()).args(["secret", "set", "deploy"]);
    let wrong = wrong.stdin(Stdio::null()).output().unwrap();
    assert!(!wrong.status.success() && String::from_utf8_lossy(&wrong.stderr).contains("empty"));
    let unknown = json!({ "script": "true", "environment": { "X": "secret://nowhere" } });
    let unknown = bench.shim.call("exec_run", unknown).unwrap_err();
    assert!(unknown.contains("no secret `nowhere` (`deploy`)"), "{unknown}");
    assert_eq!(bench.home.ctl(&["secret", "delete", "deploy"]).0, 0);
    let gone = bench.run("true").unwrap_err();
    assert!(gone.contains("no secret `deploy` (there are none)"), "{gone}");
    assert_eq!(bench.home.ctl(&["secret", "delete", "deploy"]).0, 1);
}

#[test]
fn a_secret_is_not_given_to_what_could_tell_others() {
    let mut bench = Bench::new();
    for (network, wanted) in [
        (json!({ "hosts": ["api.example.org"] }), None),
        (json!({ "hosts": ["api.example.org", "evil.example.org"] }), Some("could reach `evil.example.org`")),
        (json!({ "hosts": ["*.example.org"] }), Some("could reach `*.example.org`")),
        (json!({ "publish": [8080] }), Some("could reach `localhost`")),
    ] {
        let input = json!({
            "command": ["true"], "environment": { "TOKEN": "secret://deploy" }, "network": network,
        });
        let answer = bench.shim.call("exec_run", input);
        match wanted {
            None => assert!(answer.is_ok(), "{network}: {answer:?}"),
            Some(part) => {
                assert!(answer.as_ref().is_err_and(|err| err.contains(part)), "{network}: {answer:?}");
            }
        }
    }
}

#[test]
fn nobody_is_asked_about_a_call_that_cannot_be_done() {
    let home = Home::new();
    home.configure("[[policy.rules]]\nname = 'all'\nverdict = 'ask'\neffects = ['write', 'external']\n");
    let _daemon = Daemon::start(&home);
    let mut shim = Shim::connected(&home, "2025-11-25", json!({}));
    home.give(&["secret", "set", "deploy"], VALUE);
    let with = |secret: &str| json!({ "command": ["true"], "environment": { "TOKEN": secret } });
    let page = |url: &str| json!({ "kind": "pages", "urls": [url] });
    for (tool, input, wanted) in [
        ("exec_run", with("secret://depoly"), "there is no secret `depoly` (`deploy`)"),
        ("exec_run", with("secret://a/b"), "is no name of a secret"),
        ("knowledge_add_source", json!({ "kind": "pages" }), "needs `urls`"),
        ("knowledge_add_source", page("ftp://example.org"), "neither `https` nor `http`"),
        ("exec_run", with("secret://deploy"), "needs_confirmation"),
        ("exec_run", with("secret://.env.skynet#A"), "needs_confirmation"),
        ("knowledge_add_source", page("https://example.org"), "needs_confirmation"),
    ] {
        let err = shim.call(tool, input.clone()).unwrap_err();
        assert!(err.contains(wanted), "{input}: {err}");
    }
    let (_, waiting, _) = home.ctl(&["--json", "approvals", "list"]);
    assert_eq!(waiting.matches("\"tool\"").count(), 3, "{waiting}");
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    let home = Home::new();
    drop(Daemon::start(&home));
    let key = home.state.join("keys/secrets.key");
    let mut open = fs::metadata(&key).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut open, 0o644);
    fs::set_permissions(&key, open).unwrap();
    let err = Daemon::try_start(&home).err().expect("it must not start");
    assert!(err.contains("master key"), "{err}");
}
