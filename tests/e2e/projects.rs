//! Projects as the env family begins, reads, installs, tests, lints and formats them, with the real programs.

use crate::toolchains::{Bench, Registry};
use serde_json::{Value, json};
use skynet_tests::components;
use std::{fs, process::Command};

impl Bench {
    /// The answer; the call must succeed.
    fn ask(&mut self, tool: &str, input: Value) -> Value {
        self.shim.call(tool, input.clone()).unwrap_or_else(|err| panic!("{tool} {input}: {err}"))
    }

    /// Begins a project of each kind in its own directory.
    fn begin(&mut self, kind: &str, template: &str) -> String {
        let name = format!("My-{kind}");
        let begun =
            self.ask("env_create_project", json!({ "name": name, "kind": kind, "template": template }));
        assert_eq!(begun["directory"], json!(name));
        name
    }

    /// The calls that fit the part of a project that lies there, by tool.
    fn suggested(&mut self, directory: &str) -> Vec<(String, Value)> {
        let shown = self.ask("env_show_project", json!({}));
        let parts = shown["parts"].as_array().unwrap();
        let part =
            parts.iter().find(|part| part["directory"] == directory).unwrap_or_else(|| panic!("{shown}"));
        let calls = part["calls"].as_array().unwrap().iter();
        calls.map(|call| (call["tool"].as_str().unwrap().to_owned(), call["arguments"].clone())).collect()
    }
}

fn counts(tested: &Value) -> (u64, u64, u64) {
    let count = |key: &str| tested["tests"][key].as_u64().unwrap_or_else(|| panic!("{tested}"));
    (count("passed"), count("failed"), count("skipped"))
}

#[test]
fn what_is_begun_tests_itself_as_is_suggested() {
    let mut bench = Bench::new();
    let kinds = [("node", "node"), ("go", "go"), ("rust", "cargo"), ("python", "python3")];
    for (kind, program) in kinds {
        if components::program(program).is_none() {
            continue;
        }
        for template in ["app", "library"] {
            let directory = bench.begin(kind, template);
            let calls = bench.suggested(&directory);
            let (_, test) =
                calls.iter().find(|(tool, _)| tool == "env_test").unwrap_or_else(|| panic!("{calls:?}"));
            let tested = bench.ask("env_test", test.clone());
            assert_eq!(counts(&tested), (1, 0, 0), "{kind} {template}: {tested}");
            for (tool, arguments) in calls.iter().filter(|(_, arguments)| {
                ["clippy", "go_vet", "rustfmt", "gofmt"].iter().any(|one| arguments.to_string().contains(one))
            }) {
                let looked = bench.ask(tool, arguments.clone());
                assert_eq!(looked["succeeded"], true, "{tool} {arguments}: {looked}");
                let complaints = looked.get("findings").or_else(|| looked.get("files")).unwrap();
                assert_eq!(complaints, &json!([]), "{tool} {arguments}: {looked}");
            }
            fs::remove_dir_all(bench.home.project.join(&directory)).unwrap();
        }
    }
    let directory = bench.begin("java", "app");
    let calls = bench.suggested(&directory);
    assert_eq!(calls[1], ("env_test".to_owned(), json!({ "runner": "maven", "directory": directory })));
    let directory = bench.begin("generic", "app");
    let names = fs::read_dir(bench.home.project.join(directory)).unwrap().count();
    assert_eq!(names, 2);
}

#[test]
fn a_new_project_replaces_nothing() {
    let mut bench = Bench::new();
    bench.write("taken/README.md", "mine");
    let refused = bench
        .shim
        .call("env_create_project", json!({ "name": "x", "kind": "node", "directory": "taken" }))
        .unwrap_err();
    assert!(refused.contains("`taken/README.md` is there already"), "{refused}");
    assert_eq!(fs::read_dir(bench.home.project.join("taken")).unwrap().count(), 1);
    for (input, complaint) in [
        (json!({ "name": "a b", "kind": "node" }), "name"),
        (json!({ "name": "-rf", "kind": "node" }), "start with `-`"),
        (json!({ "name": "x", "kind": "node", "directory": "../x" }), "leads out"),
        (json!({ "name": "x", "kind": "cobol" }), "kind"),
    ] {
        let refused = bench.shim.call("env_create_project", input.clone()).unwrap_err();
        assert!(refused.contains(complaint), "{input}: {refused}");
    }
}

#[test]
fn what_failed_is_told_with_its_place() {
    let mut bench = Bench::new();
    if components::program("pytest-3").is_some() {
        bench.write("py/test_it.py", "import pytest\ndef test_good(): pass\ndef test_bad():\n    assert 1 == 2\n@pytest.mark.skip\ndef test_later(): pass\n");
        let tested = bench.ask("env_test", json!({ "runner": "pytest", "directory": "py" }));
        assert_eq!(counts(&tested), (1, 1, 1), "{tested}");
        assert_eq!(tested["succeeded"], false);
        assert_eq!(tested["tests"]["failures"][0]["name"], "test_it.test_bad");
        assert!(
            tested["tests"]["failures"][0]["message"].as_str().unwrap().contains("assert 1 == 2"),
            "{tested}"
        );
        let tested =
            bench.ask("env_test", json!({ "runner": "pytest", "directory": "py", "filter": "good" }));
        assert_eq!(counts(&tested), (1, 0, 0), "{tested}");
    }
    if components::program("node").is_some() {
        bench.write("js/package.json", "{\"name\":\"js\"}");
        bench.write("js/a.test.js", "const { test } = require('node:test');\ntest('good', () => {});\ntest('bad', () => { throw new Error('broken & <bent>'); });\n");
        let tested = bench.ask("env_test", json!({ "runner": "node", "directory": "js" }));
        assert_eq!(counts(&tested), (1, 1, 0), "{tested}");
        assert_eq!(tested["tests"]["failures"][0]["name"], "bad");
        assert!(
            tested["tests"]["failures"][0]["message"].as_str().unwrap().contains("broken & <bent>"),
            "{tested}"
        );
    }
    if components::program("cargo").is_some() {
        bench.write("rs/Cargo.toml", "[package]\nname = 'rs'\nversion = '0.1.0'\nedition = '2021'\n");
        bench.write("rs/src/lib.rs", "pub fn f( ) {}\n#[test]\nfn good() {}\n#[test]\nfn bad() {\n    assert_eq!(1, 2);\n}\n#[test]\nfn later_on() {}\n");
        let tested = bench.ask("env_test", json!({ "runner": "cargo", "directory": "rs" }));
        assert_eq!(counts(&tested), (2, 1, 0), "{tested}");
        let failure = &tested["tests"]["failures"][0];
        assert_eq!(
            (&failure["name"], &failure["file"], &failure["line"]),
            (&json!("bad"), &json!("src/lib.rs"), &json!(6))
        );
        let looked =
            bench.ask("env_format", json!({ "formatter": "rustfmt", "directory": "rs", "check": true }));
        assert_eq!(looked["files"], json!(["src/lib.rs"]), "{looked}");
        let formatted = bench.ask("env_format", json!({ "formatter": "rustfmt", "directory": "rs" }));
        assert_eq!(formatted["succeeded"], true, "{formatted}");
        let text = fs::read_to_string(bench.home.project.join("rs/src/lib.rs")).unwrap();
        assert!(text.starts_with("pub fn f() {}\n"), "{text}");
        bench.write("rs/src/lib.rs", "pub fn f(x: u8) -> bool {\n    return x == x;\n}\n");
        let looked = bench.ask("env_lint", json!({ "linter": "clippy", "directory": "rs" }));
        let rules: Vec<_> =
            looked["findings"].as_array().unwrap().iter().map(|one| one["rule"].as_str().unwrap()).collect();
        assert!(rules.contains(&"clippy::eq_op") && rules.contains(&"clippy::needless_return"), "{looked}");
    }
    if components::program("go").is_some() {
        bench.write("go/go.mod", "module m\n\ngo 1.19\n");
        bench.write("go/a.go", "package m\n\nimport \"fmt\"\n\nfunc F() {\n\tfmt.Printf(\"%d\", \"x\")\n}\n");
        bench.write("go/a_test.go", "package m\n\nimport \"testing\"\n\nfunc TestGood(t *testing.T) {}\n\nfunc TestBad(t *testing.T) { t.Fatal(\"no\") }\n");
        let looked = bench.ask("env_lint", json!({ "linter": "go_vet", "directory": "go" }));
        assert_eq!(looked["findings"][0]["path"], "a.go", "{looked}");
        assert_eq!(looked["findings"][0]["line"], 6, "{looked}");
        bench.write("go/a.go", "package m\n");
        let tested = bench.ask("env_test", json!({ "runner": "go", "directory": "go" }));
        assert_eq!(counts(&tested), (1, 1, 0), "{tested}");
        assert_eq!(tested["tests"]["failures"][0]["name"], "m.TestBad", "{tested}");
    }
    let left = fs::read_dir(&bench.home.project)
        .unwrap()
        .flatten()
        .any(|entry| entry.file_name().to_string_lossy().contains("report"));
    assert!(!left);
}

#[test]
fn a_virtual_environment_is_made_and_listed() {
    if components::program("python3").is_none() {
        return;
    }
    let mut bench = Bench::new();
    bench.write("app/requirements.txt", "");
    let (tool, arguments) = bench.suggested("app").remove(0);
    assert_eq!((&*tool, &arguments), ("env_create", &json!({ "kind": "venv", "directory": "app" })));
    let made = bench.ask(&tool, arguments);
    assert_eq!(made["succeeded"], true, "{made}");
    let listed = bench.ask("env_list", json!({}));
    let environment = &listed["environments"][0];
    assert_eq!(
        (&environment["path"], &environment["kind"]),
        (&json!("app/.venv"), &json!("venv")),
        "{listed}"
    );
    assert!(environment["version"].as_str().unwrap().starts_with("3."), "{listed}");
    let install = json!({ "manager": "pip", "directory": "app", "environment": ".venv" });
    let installed = bench.ask("env_install", install);
    assert_eq!(installed["succeeded"], true, "{installed}");
    assert!(
        bench.ask("env_list", json!({ "language": "node" }))["environments"].as_array().unwrap().is_empty()
    );
    let refused = bench.shim.call("env_create", json!({ "kind": "venv", "path": "../x" })).unwrap_err();
    assert!(refused.contains("below `directory`"), "{refused}");
}

#[test]
fn registries_of_the_user_are_named_without_his_passwords() {
    let mut bench = Bench::new();
    let put = |bench: &Bench, name: &str, text: &str| {
        let path = bench.home.path.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    put(&bench, ".npmrc", "registry=https://npm.example/\n//npm.example/:_authToken=hidden-token\n");
    put(
        &bench,
        ".config/pip/pip.conf",
        "[global]\nindex-url = https://ann:hidden-word@pypi.example/simple\n",
    );
    put(&bench, ".cargo/credentials.toml", "[registry]\ntoken = \"hidden-token\"\n");
    let listed = bench.ask("env_list_registries", json!({ "manager": "npm" }));
    let own = |listed: &Value| -> Vec<Value> {
        let files = listed["files"].as_array().unwrap().iter();
        files.filter(|named| named["file"].as_str().unwrap().starts_with('~')).cloned().collect()
    };
    let npm = json!({ "manager": "npm", "file": "~/.npmrc", "hosts": ["npm.example"] });
    assert_eq!(own(&listed), std::slice::from_ref(&npm), "{listed}");
    let listed = bench.ask("env_list_registries", json!({}));
    let pip = json!({ "manager": "pip", "file": "~/.config/pip/pip.conf", "hosts": ["pypi.example"] });
    assert_eq!(own(&listed), [pip, npm], "{listed}");
    assert!(!listed.to_string().contains("hidden"), "{listed}");
    let refused = bench.shim.call("env_list_registries", json!({ "manager": "apt" })).unwrap_err();
    assert!(refused.starts_with("invalid_input") && refused.contains("manager"), "{refused}");
    // A command sees none of it.
    let script = json!({ "script": "cat ~/.npmrc ~/.config/pip/pip.conf" });
    let seen = bench.ask("exec_run", script);
    assert!(seen["exit_code"] != 0 && !seen.to_string().contains("hidden"), "{seen}");
}

#[test]
fn an_installation_asks_for_its_registry_and_gets_no_other() {
    let Some(Registry { host, reachable, .. }) = Registry::of_npm() else { return };
    let mut bench = Bench::with(&reachable);
    bench.write(
        "package.json",
        r#"{ "name": "sample", "version": "1.0.0", "dependencies": { "is-number": "6.0.0" } }"#,
    );
    let asked = bench.ask("env_install", json!({ "manager": "npm", "locked": false }));
    assert_eq!((&asked["succeeded"], &asked["refused_hosts"]), (&json!(false), &json!([host])), "{asked}");
    assert!(asked["next"].as_str().unwrap().contains(&host), "{asked}");
    let installed = bench.ask("env_install", json!({ "manager": "npm", "locked": false, "hosts": [host] }));
    assert_eq!(installed["succeeded"], true, "{installed}");
    assert!(bench.home.project.join("node_modules/is-number").is_dir());
    // From now on it has a lock file, and what it needs in its cache.
    fs::remove_dir_all(bench.home.project.join("node_modules")).unwrap();
    let (tool, arguments) = bench.suggested(".").remove(0);
    assert_eq!((&*tool, &arguments), ("env_install", &json!({ "manager": "npm", "locked": true })));
    let installed = bench.ask(&tool, arguments);
    assert_eq!(installed["command"], "npm ci");
    assert_eq!(installed["succeeded"], true, "{installed}");
    let listed = bench.ask("env_list_outdated", json!({ "manager": "npm", "hosts": [host] }));
    let outdated = &listed["outdated"][0];
    assert_eq!((&outdated["name"], &outdated["current"]), (&json!("is-number"), &json!("6.0.0")), "{listed}");
    let asked = bench.ask("env_list_outdated", json!({ "manager": "npm" }));
    assert!(asked.get("outdated").is_none() && asked["next"].is_string(), "{asked}");
    let audited = bench.ask("env_audit", json!({ "manager": "npm" }));
    assert!(audited.get("vulnerabilities").is_none() && audited["next"].is_string(), "{audited}");
}

#[test]
fn each_manager_asks_for_the_registry_of_its_own_configuration() {
    let mut bench = Bench::new();
    bench.write("pip/requirements.txt", "--index-url https://pip.example/simple\nabsent-package\n");
    bench.write(
        "npm/package.json",
        r#"{ "name": "a", "version": "1.0.0", "dependencies": { "is-number": "7.0.0" } }"#,
    );
    bench.write("npm/.npmrc", "registry=https://npm.example/\n");
    bench.write("cargo/Cargo.toml", "[package]\nname = 'a'\nversion = '0.1.0'\nedition = '2021'\n[lib]\npath = 'a.rs'\n[dependencies]\nitoa = '1'\n");
    bench.write("cargo/a.rs", "");
    bench.write("cargo/.cargo/config.toml", "[source.crates-io]\nreplace-with = 'own'\n[source.own]\nregistry = 'sparse+https://cargo.example/'\n");
    bench.write("go/go.mod", "module m\n\ngo 1.19\n\nrequire example.org/x v1.0.0\n");
    if components::program("python3").is_some() {
        bench.ask("env_create", json!({ "kind": "venv", "directory": "pip" }));
        let asked = bench.ask("env_install", json!({ "manager": "pip", "directory": "pip" }));
        assert_eq!(asked["refused_hosts"], json!(["pip.example"]), "{asked}");
    }
    for manager in ["npm", "cargo"] {
        if components::program(manager).is_some() {
            let asked = bench
                .ask("env_install", json!({ "manager": manager, "directory": manager, "locked": false }));
            assert_eq!(asked["refused_hosts"], json!([format!("{manager}.example")]), "{asked}");
        }
    }
    if let Some(go) = components::program("go") {
        let proxy =
            String::from_utf8(Command::new(go).args(["env", "GOPROXY"]).output().unwrap().stdout).unwrap();
        let asked = bench.ask("env_install", json!({ "manager": "go", "directory": "go" }));
        let refused = asked["refused_hosts"][0].as_str().unwrap_or_else(|| panic!("{asked}"));
        assert!(proxy.contains(refused) || refused == "sum.golang.org", "{proxy}: {asked}");
    }
    if components::program("mvn").is_some() {
        bench.begin("java", "app");
        let asked = bench.ask("env_install", json!({ "manager": "maven", "directory": "My-java" }));
        assert_eq!(asked["refused_hosts"].as_array().map(Vec::len), Some(1), "{asked}");
    }
}

#[test]
fn what_is_not_there_is_said() {
    let mut bench = Bench::new();
    bench.write("requirements.txt", "");
    for (tool, input, complaint) in [
        ("env_install", json!({ "manager": "pip" }), "env_create"),
        ("env_install", json!({ "manager": "conda" }), "`conda` is not installed"),
        ("env_install", json!({ "manager": "pip", "requirements": ["-x"] }), "start with `-`"),
        ("env_test", json!({ "runner": "pytest", "filter": "--help" }), "start with `-`"),
        ("env_test", json!({ "runner": "npm", "filter": "a" }), "takes no `filter`"),
        ("env_lint", json!({ "linter": "shellcheck" }), "needs `paths`"),
        ("env_lint", json!({ "linter": "go_vet", "fix": true }), "`fix` is for"),
        ("env_list_outdated", json!({ "manager": "gradle" }), "exec_run"),
        ("env_audit", json!({ "manager": "maven" }), "exec_run"),
        ("env_format", json!({ "formatter": "rustfmt", "paths": ["a"] }), "whole packages"),
        ("env_show_project", json!({ "directory": "absent" }), "absent"),
    ] {
        let refused = bench.shim.call(tool, input.clone()).unwrap_err();
        assert!(refused.contains(complaint), "{tool} {input}: {refused}");
    }
}

#[test]
fn a_list_of_commands_judges_what_is_started() {
    if components::program("gofmt").is_none() {
        return;
    }
    let list = "[[policy.commands]]\nname = 'look'\nverdict = 'allow'\nprogram = 'gofmt'\noptions = ['-l']\narguments = ['<path>...']\n";
    let mut bench = Bench::with(list);
    bench.write("a.go", "package  m\n");
    let looked = bench.ask("env_format", json!({ "formatter": "gofmt", "check": true }));
    assert_eq!(looked["files"], json!(["a.go"]), "{looked}");
    for (tool, input, command) in [
        ("env_format", json!({ "formatter": "gofmt" }), "gofmt -w"),
        ("env_install", json!({ "manager": "npm" }), "npm ci"),
        ("env_test", json!({ "runner": "go" }), "go test"),
    ] {
        let denied = bench.shim.call(tool, input.clone()).unwrap_err();
        assert!(denied.starts_with("denied"), "{tool} {input} ({command}): {denied}");
    }
    assert_eq!(fs::read_to_string(bench.home.project.join("a.go")).unwrap(), "package  m\n");
}

#[test]
fn who_may_run_no_command_may_run_no_tests_either() {
    let deny = "[[policy.rules]]\nname = 'nothing runs'\nverdict = 'deny'\nfamilies = ['exec']\n";
    let mut bench = Bench::with(deny);
    bench.write("package.json", r#"{ "name": "a", "scripts": { "test": "touch ran" } }"#);
    for (tool, input) in [
        ("env_test", json!({ "runner": "npm" })),
        ("env_create", json!({ "kind": "venv", "python": "/bin/sh" })),
        ("env_install", json!({ "manager": "npm" })),
        ("env_lint", json!({ "linter": "ruff" })),
        ("env_format", json!({ "formatter": "black" })),
        ("env_audit", json!({ "manager": "npm" })),
        ("env_list_outdated", json!({ "manager": "npm" })),
    ] {
        let denied = bench.shim.call(tool, input).unwrap_err();
        assert!(denied.starts_with("denied") && denied.contains("nothing runs"), "{tool}: {denied}");
    }
    assert!(!bench.home.project.join("ran").exists());
    bench.ask("env_show_project", json!({}));
}
