//! `go test -json` (cmd/test2json) and `go vet -json`.

use super::{Failure, Tests, findings::Finding, place};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Event {
    action: String,
    #[serde(default)]
    package: String,
    test: Option<String>,
    #[serde(default)]
    output: String,
}

/// `None` where no line is an event.
pub(crate) fn parse(text: &str) -> Option<Tests> {
    let (mut tests, mut is_report) = (Tests::default(), false);
    let mut said: BTreeMap<(String, Option<String>), String> = BTreeMap::new();
    let mut blamed = BTreeSet::new();
    for event in text.lines().filter_map(|line| serde_json::from_str::<Event>(line).ok()) {
        is_report = true;
        let key = (event.package, event.test);
        match (&*event.action, &key.1) {
            ("output", _) => said.entry(key).or_default().push_str(&event.output),
            ("pass", Some(_)) => tests.passed += 1,
            ("skip", Some(_)) => tests.skipped += 1,
            ("fail", Some(test)) => {
                let message = said.remove(&key).unwrap_or_default();
                let at =
                    message.lines().find_map(|line| place(line).filter(|(file, _)| file.ends_with(".go")));
                let (file, line) = at.unzip();
                blamed.insert(key.0.clone());
                tests.fail(Failure {
                    name: format!("{}.{test}", key.0),
                    file,
                    line,
                    message: message.trim().to_owned(),
                });
            }
            // A package that fails without a test that does: it does not compile, or ended early.
            ("fail", None) if !blamed.contains(&key.0) => {
                let message = said.remove(&key).unwrap_or_default().trim().to_owned();
                tests.fail(Failure { name: key.0, file: None, line: None, message });
            }
            _ => {}
        }
    }
    is_report.then_some(tests)
}

#[derive(Deserialize)]
struct Diagnostic {
    posn: String,
    message: String,
}

/// What `go vet -json` found: packages, each with its analyzers. Comments stand between them.
pub(crate) fn vetted(text: &str, root: &str) -> Option<Vec<Finding>> {
    let json: String = text.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n");
    let mut found = Vec::new();
    let packages = serde_json::Deserializer::from_str(&json)
        .into_iter::<BTreeMap<String, BTreeMap<String, Vec<Diagnostic>>>>();
    for package in packages {
        for (rule, diagnostics) in package.ok()?.into_values().flatten() {
            for Diagnostic { posn, message } in diagnostics {
                let (path, line) = place(&posn)?;
                let path = path.strip_prefix(root).unwrap_or(&path).trim_start_matches('/').to_owned();
                found.push(Finding::at(path, line).with("warning", &rule, &message));
            }
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_and_packages_that_fail_are_told() {
        let text = r#"{"Action":"run","Package":"m","Test":"TestA"}
{"Action":"output","Package":"m","Test":"TestA","Output":"    a_test.go:9: no\n"}
{"Action":"fail","Package":"m","Test":"TestA","Elapsed":0}
{"Action":"pass","Package":"m","Test":"TestB","Elapsed":0}
{"Action":"skip","Package":"m","Test":"TestC","Elapsed":0}
{"Action":"fail","Package":"m","Elapsed":0.1}
{"Action":"output","Package":"n","Output":"FAIL\tn [build failed]\n"}
{"Action":"fail","Package":"n","Elapsed":0}"#;
        let tests = parse(text).unwrap();
        assert_eq!((tests.passed, tests.failed, tests.skipped), (1, 2, 1));
        let names: Vec<_> = tests.failures.iter().map(|one| (&*one.name, one.line)).collect();
        assert_eq!(names, [("m.TestA", Some(9)), ("n", None)]);
        assert_eq!(parse("ok  \tm\t0.1s"), None);
    }

    #[test]
    fn what_vet_found_is_told() {
        let text =
            "# m\n{\n\"m\": {\"printf\": [{\"posn\": \"/w/a.go:6:2\", \"message\": \"bad\"}]}\n}\n# n\n{}\n";
        assert_eq!(
            vetted(text, "/w").unwrap(),
            [Finding::at("a.go".into(), 6).with("warning", "printf", "bad")]
        );
    }
}
