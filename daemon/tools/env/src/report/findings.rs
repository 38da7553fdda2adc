//! What linters find.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One complaint.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
pub(crate) struct Finding {
    /// The file, relative to where the linter ran.
    pub(crate) path: String,
    /// The line, from 1.
    pub(crate) line: u32,
    /// The column, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<u32>,
    /// `error`, `warning` or `note`.
    pub(crate) severity: String,
    /// The rule, as the linter names it.
    #[serde(skip_serializing_if = "String::is_empty")]
    rule: String,
    /// What is wrong.
    message: String,
}

impl Finding {
    pub(crate) fn at(path: String, line: u32) -> Self {
        Self {
            path,
            line,
            column: None,
            severity: "warning".to_owned(),
            rule: String::new(),
            message: String::new(),
        }
    }

    pub(crate) fn with(mut self, severity: &str, rule: &str, message: &str) -> Self {
        self.severity = severity.to_owned();
        self.rule = rule.to_owned();
        self.message = message.to_owned();
        self
    }

    const fn in_column(mut self, column: Option<u32>) -> Self {
        self.column = column;
        self
    }
}

/// The path below where the linter ran, if it is.
fn below(root: &str, path: &str) -> String {
    let path = path.strip_prefix("file://").unwrap_or(path);
    path.strip_prefix(root).unwrap_or(path).trim_start_matches('/').to_owned()
}

/// SARIF 2.1.0, as ruff writes it.
pub(crate) fn sarif(json: &str, root: &str) -> Option<Vec<Finding>> {
    #[derive(Deserialize)]
    struct Log {
        runs: Vec<Run>,
    }
    #[derive(Deserialize)]
    struct Run {
        #[serde(default)]
        results: Vec<Found>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Found {
        rule_id: Option<String>,
        level: Option<String>,
        message: Message,
        #[serde(default)]
        locations: Vec<Location>,
    }
    #[derive(Deserialize)]
    struct Message {
        #[serde(default)]
        text: String,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Location {
        physical_location: Physical,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Physical {
        artifact_location: Artifact,
        region: Option<Region>,
    }
    #[derive(Deserialize)]
    struct Artifact {
        uri: String,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Region {
        start_line: Option<u32>,
        start_column: Option<u32>,
    }
    let log: Log = serde_json::from_str(json).ok()?;
    let found = log.runs.into_iter().flat_map(|run| run.results);
    Some(
        found
            .map(|one| {
                let place = one.locations.into_iter().next().map(|location| location.physical_location);
                let region = place.as_ref().and_then(|place| place.region.as_ref());
                let (line, column) = region
                    .map_or((0, None), |region| (region.start_line.unwrap_or_default(), region.start_column));
                let path = place.as_ref().map(|place| below(root, &place.artifact_location.uri));
                // SARIF 2.1.0, 3.27.10: without a level it is a warning.
                let level = one.level.unwrap_or_else(|| "warning".to_owned());
                Finding::at(path.unwrap_or_default(), line)
                    .with(&level, &one.rule_id.unwrap_or_default(), &one.message.text)
                    .in_column(column)
            })
            .collect(),
    )
}

/// `eslint --format json` (ESLint, "Formatters Reference").
pub(crate) fn eslint(json: &str, root: &str) -> Option<Vec<Finding>> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct File {
        file_path: String,
        messages: Vec<Message>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Message {
        rule_id: Option<String>,
        severity: u8,
        message: String,
        line: Option<u32>,
        column: Option<u32>,
    }
    let files: Vec<File> = serde_json::from_str(json.trim()).ok()?;
    let mut found = Vec::new();
    for file in files {
        for one in file.messages {
            let severity = if one.severity == 2 { "error" } else { "warning" };
            found.push(
                Finding::at(below(root, &file.file_path), one.line.unwrap_or_default())
                    .with(severity, &one.rule_id.unwrap_or_default(), &one.message)
                    .in_column(one.column),
            );
        }
    }
    Some(found)
}

/// `shellcheck --format json`.
pub(crate) fn shellcheck(json: &str, root: &str) -> Option<Vec<Finding>> {
    #[derive(Deserialize)]
    struct Comment {
        file: String,
        line: u32,
        column: u32,
        level: String,
        code: u32,
        message: String,
    }
    let comments: Vec<Comment> = serde_json::from_str(json.trim()).ok()?;
    let found = comments.into_iter().map(|one| {
        let severity = if one.level == "error" || one.level == "warning" { &*one.level } else { "note" };
        Finding::at(below(root, &one.file), one.line)
            .with(severity, &format!("SC{}", one.code), &one.message)
            .in_column(Some(one.column))
    });
    Some(found.collect())
}

/// Messages of rustc through Cargo (The Cargo Book, "External tools").
pub(crate) fn cargo(lines: &str) -> Option<Vec<Finding>> {
    #[derive(Deserialize)]
    struct Line {
        reason: String,
        message: Option<Message>,
    }
    #[derive(Deserialize)]
    struct Message {
        message: String,
        level: String,
        code: Option<Code>,
        spans: Vec<Span>,
    }
    #[derive(Deserialize)]
    struct Code {
        code: String,
    }
    #[derive(Deserialize)]
    struct Span {
        file_name: String,
        line_start: u32,
        column_start: u32,
        is_primary: bool,
    }
    let (mut found, mut is_report) = (Vec::new(), false);
    for line in lines.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok()) {
        is_report = true;
        let Some(message) = line.message.filter(|_| line.reason == "compiler-message") else { continue };
        // The sums at the end, such as "2 warnings emitted", are nowhere.
        let Some(span) = message.spans.iter().find(|span| span.is_primary) else { continue };
        let severity = if message.level.starts_with("error") { "error" } else { &*message.level };
        let rule = message.code.map(|code| code.code).unwrap_or_default();
        found.push(
            Finding::at(span.file_name.clone(), span.line_start)
                .with(severity, &rule, &message.message)
                .in_column(Some(span.column_start)),
        );
    }
    is_report.then_some(found)
}

/// `tsc --pretty false`: `FILE(LINE,COLUMN): error TS1234: MESSAGE`.
pub(crate) fn tsc(text: &str) -> Vec<Finding> {
    let complaint = |line: &str| {
        let (place, rest) = line.split_once("): ")?;
        let (path, place) = place.rsplit_once('(')?;
        let (number, column) = place.split_once(',')?;
        let (head, message) = rest.split_once(": ")?;
        let (severity, rule) = head.split_once(' ')?;
        Some(
            Finding::at(path.to_owned(), number.parse().ok()?)
                .with(severity, rule, message)
                .in_column(column.parse().ok()),
        )
    };
    text.lines().filter_map(complaint).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(found: Option<Vec<Finding>>) -> Finding {
        let mut found = found.unwrap();
        assert_eq!(found.len(), 1, "{found:?}");
        found.remove(0)
    }

    #[test]
    fn each_linter_is_read_alike() {
        let expected = |severity, rule| {
            Finding::at("src/a.x".into(), 3).with(severity, rule, "unused").in_column(Some(5))
        };
        let sarif_log = r#"{"version":"2.1.0","runs":[{"tool":{"driver":{"name":"ruff"}},"results":[{"ruleId":"F401","level":"error","message":{"text":"unused"},"locations":[{"physicalLocation":{"artifactLocation":{"uri":"file:///w/src/a.x"},"region":{"startLine":3,"startColumn":5}}}]}]}]}"#;
        assert_eq!(only(sarif(sarif_log, "/w")), expected("error", "F401"));
        let log = r#"[{"filePath":"/w/src/a.x","messages":[{"ruleId":"no-unused-vars","severity":2,"message":"unused","line":3,"column":5}]}]"#;
        assert_eq!(only(eslint(log, "/w")), expected("error", "no-unused-vars"));
        let log = r#"[{"file":"src/a.x","line":3,"endLine":3,"column":5,"endColumn":6,"level":"info","code":2086,"message":"unused","fix":null}]"#;
        assert_eq!(only(shellcheck(log, "/w")), expected("note", "SC2086"));
        let log = r#"{"reason":"compiler-message","message":{"message":"unused","level":"warning","code":{"code":"dead_code"},"spans":[{"file_name":"src/a.x","line_start":3,"column_start":5,"is_primary":true}]}}
{"reason":"compiler-message","message":{"message":"1 warning emitted","level":"warning","code":null,"spans":[]}}
{"reason":"build-finished","success":true}"#;
        assert_eq!(only(cargo(log)), expected("warning", "dead_code"));
        assert_eq!(
            only(Some(tsc("src/a.x(3,5): error TS6133: unused\nfound 1"))),
            expected("error", "TS6133")
        );
    }

    #[test]
    fn what_is_no_report_is_none() {
        assert_eq!(sarif("oops", "/w"), None);
        assert_eq!(eslint("oops", "/w"), None);
        assert_eq!(cargo("error: no such subcommand"), None);
    }
}
