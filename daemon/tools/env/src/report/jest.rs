//! Jest's JSON (`--json`), which Vitest writes too.

use super::{Failure, Tests};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    test_results: Vec<File>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    name: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    status: String,
    assertion_results: Vec<Assertion>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Assertion {
    full_name: String,
    status: String,
    #[serde(default)]
    failure_messages: Vec<String>,
    location: Option<Location>,
}

#[derive(Deserialize)]
struct Location {
    line: u32,
}

/// `None` for what is no report.
pub(crate) fn parse(json: &str) -> Option<Tests> {
    let report: Report = serde_json::from_str(json.trim()).ok()?;
    let mut tests = Tests::default();
    for file in report.test_results {
        if file.assertion_results.is_empty() && file.status == "failed" {
            tests.fail(Failure {
                name: file.name.clone(),
                file: Some(file.name),
                line: None,
                message: file.message,
            });
            continue;
        }
        for one in file.assertion_results {
            match &*one.status {
                "passed" => tests.passed += 1,
                "failed" => tests.fail(Failure {
                    name: one.full_name,
                    file: Some(file.name.clone()),
                    line: one.location.map(|location| location.line),
                    message: one.failure_messages.join("\n"),
                }),
                _ => tests.skipped += 1,
            }
        }
    }
    Some(tests)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_loaded_failed() {
        let json = r#"{"numTotalTests":2,"testResults":[
            {"name":"/w/a.test.js","status":"failed","message":"","assertionResults":[
                {"fullName":"adds","status":"passed","failureMessages":[]},
                {"fullName":"fails","status":"failed","failureMessages":["expected 1"],"location":{"line":4,"column":1}},
                {"fullName":"later","status":"pending"}]},
            {"name":"/w/b.test.js","status":"failed","message":"SyntaxError","assertionResults":[]}]}"#;
        let tests = parse(json).unwrap();
        assert_eq!((tests.passed, tests.failed, tests.skipped), (1, 2, 1));
        assert_eq!(
            tests.failures.iter().map(|one| &*one.name).collect::<Vec<_>>(),
            ["fails", "/w/b.test.js"]
        );
        assert_eq!(parse("{}"), None);
    }
}
