//! What the test harness of Rust prints (The rustc book, "Tests"); its JSON is not stable.

use super::{Failure, Tests, place};
use std::collections::BTreeMap;

/// `None` where no harness ran.
pub(crate) fn parse(text: &str) -> Option<Tests> {
    let (mut tests, mut is_report) = (Tests::default(), false);
    let mut failed = Vec::new();
    let mut said: BTreeMap<&str, String> = BTreeMap::new();
    let mut telling: Option<&str> = None;
    for line in text.lines() {
        is_report |= line.starts_with("running ") && line.contains(" test");
        if let Some(name) = line.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" stdout ----")) {
            telling = Some(name);
        } else if line == "failures:" || line.starts_with("test result:") {
            telling = None;
        } else if let Some(name) = telling {
            let said = said.entry(name).or_default();
            said.push_str(line);
            said.push('\n');
        } else if let Some((name, outcome)) =
            line.strip_prefix("test ").and_then(|rest| rest.rsplit_once(" ... "))
        {
            match outcome {
                "ok" => tests.passed += 1,
                outcome if outcome.starts_with("ignored") => tests.skipped += 1,
                outcome if outcome.starts_with("FAILED") => failed.push(name),
                _ => {}
            }
        }
    }
    for name in failed {
        // A test that should panic is listed as `NAME - should panic`.
        let name = name.strip_suffix(" - should panic").unwrap_or(name);
        let message = said.remove(name).unwrap_or_default().trim().to_owned();
        let at = message.split(" panicked at ").nth(1).and_then(place);
        let (file, line) = at.unzip();
        tests.fail(Failure { name: name.to_owned(), file, line, message });
    }
    is_report.then_some(tests)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_told_with_their_place() {
        let text = "running 3 tests\ntest a::one ... ok\ntest a::two ... FAILED\ntest a::three ... ignored, slow\n\nfailures:\n\n---- a::two stdout ----\n\nthread 'a::two' (12) panicked at src/lib.rs:5:9:\nassertion failed: false\n\n\nfailures:\n    a::two\n\ntest result: FAILED. 1 passed; 1 failed\n\n     Running tests/x.rs\nrunning 1 test\ntest x ... ok\n";
        let tests = parse(text).unwrap();
        assert_eq!((tests.passed, tests.failed, tests.skipped), (2, 1, 1));
        let [failure] = &*tests.failures else { panic!("{tests:?}") };
        assert_eq!((failure.file.as_deref(), failure.line), (Some("src/lib.rs"), Some(5)));
        assert!(failure.message.ends_with("assertion failed: false"), "{failure:?}");
        assert_eq!(parse("error: could not compile"), None);
    }
}
