//! `skynetctl policy test`: a file of calls, each with what is to happen with it, so that a change of the policy shows what else it
//! changes. The daemon judges every call; nothing is run.

use super::instant;
use crate::{
    daemon::Daemon,
    output::{Failure, Output},
};
use serde_json::{Map, Value, json};
use skynet_proto::{ExplainCallRequest, ExplainCallResponse};
use std::path::{Path, PathBuf};
use toml_edit::{ArrayOfTables, DocumentMut, Item, Table};

/// All that a test may say.
const KEYS: [&str; 9] = ["name", "tool", "verdict", "rule", "input", "user", "groups", "workspace", "at"];

/// One call, and what is to happen with it.
struct Expectation {
    name: String,
    request: ExplainCallRequest,
    verdict: String,
    /// Any, if absent.
    rule: Option<String>,
}

impl Expectation {
    /// `directory` is where the file lies, and the workspace of a test that names none.
    fn read(table: &Table, number: usize, directory: &Path) -> Result<Self, Failure> {
        let wrong = |what: String| Failure::usage(format!("test {number}: {what}"));
        if let Some((key, _)) = table.iter().find(|(key, _)| !KEYS.contains(key)) {
            return Err(wrong(format!("unknown key `{key}`; there are {}", KEYS.join(", "))));
        }
        let text = |key: &str| match table.get(key) {
            Some(item) => item
                .as_str()
                .map(|text| Some(text.to_owned()))
                .ok_or_else(|| wrong(format!("`{key}` is no text"))),
            None => Ok(None),
        };
        let needed = |key: &str| text(key)?.ok_or_else(|| wrong(format!("`{key}` is missing")));
        let verdict = needed("verdict")?;
        if !["allow", "ask", "deny"].contains(&verdict.as_str()) {
            return Err(wrong(format!("`{verdict}` is no verdict; there are allow, ask, deny")));
        }
        let groups = match table.get("groups").map(to_json) {
            None => None,
            Some(Some(Value::Array(groups))) => {
                let names = groups.iter().map(|group| group.as_str().map(str::to_owned));
                Some(
                    names
                        .collect::<Option<Vec<_>>>()
                        .ok_or_else(|| wrong("`groups` is a list of names".into()))?,
                )
            }
            Some(_) => return Err(wrong("`groups` is a list of names".into())),
        };
        let input = match table.get("input").map(to_json) {
            None => String::new(),
            Some(Some(input @ Value::Object(_))) => input.to_string(),
            Some(_) => return Err(wrong("`input` is a table of arguments".into())),
        };
        let at = match table.get("at") {
            None => None,
            Some(at) => {
                let text = at.as_datetime().map(ToString::to_string).or(at.as_str().map(str::to_owned));
                Some(instant(&text.unwrap_or_default()).map_err(|err| wrong(err.message().to_owned()))?)
            }
        };
        let tool = needed("tool")?;
        let workspace =
            text("workspace")?.map_or_else(|| directory.to_owned(), |given| directory.join(given));
        let request = ExplainCallRequest {
            tool: tool.clone(),
            input: input.into(),
            user: text("user")?.unwrap_or_default(),
            only_these_groups: groups.is_some(),
            groups: groups.unwrap_or_default(),
            workspace: workspace.to_string_lossy().trim_end_matches("/.").to_owned(),
            at,
        };
        let name = text("name")?.unwrap_or_else(|| format!("test {number}: {tool}"));
        Ok(Self { name, request, verdict, rule: text("rule")? })
    }

    fn is_met_by(&self, said: &ExplainCallResponse) -> bool {
        said.verdict == self.verdict && self.rule.as_ref().is_none_or(|rule| *rule == said.rule)
    }
}

fn to_json(item: &Item) -> Option<Value> {
    match item {
        Item::Value(value) => value_to_json(value),
        Item::Table(table) => {
            let members = table.iter().map(|(key, item)| Some((key.to_owned(), to_json(item)?)));
            members.collect::<Option<Map<_, _>>>().map(Value::Object)
        }
        Item::ArrayOfTables(tables) => {
            let items = tables.iter().map(|table| to_json(&Item::Table(table.clone())));
            items.collect::<Option<Vec<_>>>().map(Value::Array)
        }
        Item::None => None,
    }
}

/// `None` for a time, which JSON has no form for.
fn value_to_json(value: &toml_edit::Value) -> Option<Value> {
    Some(match value {
        toml_edit::Value::String(text) => json!(text.value()),
        toml_edit::Value::Integer(number) => json!(number.value()),
        toml_edit::Value::Float(number) => json!(number.value()),
        toml_edit::Value::Boolean(is_set) => json!(is_set.value()),
        toml_edit::Value::Datetime(_) => return None,
        toml_edit::Value::Array(items) => {
            Value::Array(items.iter().map(value_to_json).collect::<Option<Vec<_>>>()?)
        }
        toml_edit::Value::InlineTable(table) => {
            let members = table.iter().map(|(key, value)| Some((key.to_owned(), value_to_json(value)?)));
            Value::Object(members.collect::<Option<Map<_, _>>>()?)
        }
    })
}

/// The tests of a file, in order.
fn read(file: &Path) -> Result<Vec<Expectation>, Failure> {
    let text = std::fs::read_to_string(file)
        .map_err(|err| Failure::refused(format!("`{}`: {err}", file.display())))?;
    parse(&text, &directory_of(file)?)
        .map_err(|failure| Failure::usage(format!("`{}`: {}", file.display(), failure.message())))
}

fn directory_of(file: &Path) -> Result<PathBuf, Failure> {
    let here = std::env::current_dir()?;
    Ok(file.parent().map_or_else(|| here.clone(), |parent| here.join(parent)))
}

fn parse(text: &str, directory: &Path) -> Result<Vec<Expectation>, Failure> {
    let document: DocumentMut =
        text.parse().map_err(|err: toml_edit::TomlError| Failure::usage(err.to_string()))?;
    if let Some((key, _)) = document.iter().find(|(key, _)| *key != "tests") {
        return Err(Failure::usage(format!("unknown key `{key}`; there is `[[tests]]`")));
    }
    let tests = document.get("tests").and_then(Item::as_array_of_tables);
    let tests = tests.into_iter().flat_map(ArrayOfTables::iter).zip(1..);
    let tests = tests.map(|(table, number)| Expectation::read(table, number, directory));
    let tests = tests.collect::<Result<Vec<_>, _>>()?;
    // A file that tests nothing by mistake would always pass.
    if tests.is_empty() { Err(Failure::usage("there is no `[[tests]]` in it")) } else { Ok(tests) }
}

pub(super) async fn run(daemon: &Daemon, file: &Path, output: &mut Output) -> Result<(), Failure> {
    let tests = read(file)?;
    let mut client = daemon.policy().await?;
    let mut failures = Vec::new();
    for test in &tests {
        match client.explain_call(test.request.clone()).await {
            Ok(said) => {
                let said = said.into_inner();
                if !test.is_met_by(&said) {
                    failures.push((test, Ok(said)));
                }
            }
            // Nobody answers, so no other test says more.
            Err(status) if status.code() == tonic::Code::Unavailable => return Err(status.into()),
            Err(status) => failures.push((test, Err(status.message().to_owned()))),
        }
    }
    let json = json!({
        "tests": tests.len(),
        "failures": failures.iter().map(|(test, found)| json!({
            "name": test.name,
            "expected": { "verdict": test.verdict, "rule": test.rule },
            "found": match found {
                Ok(said) => json!({ "verdict": said.verdict, "rule": said.rule }),
                Err(message) => json!({ "error": message }),
            },
        })).collect::<Vec<_>>(),
    });
    output.show(&json, || {
        let mut lines: Vec<_> = failures.iter().map(|(test, found)| describe(test, found)).collect();
        lines.push(format!("{} of {} tests passed", tests.len() - failures.len(), tests.len()));
        lines.join("\n")
    })?;
    if failures.is_empty() { Ok(()) } else { Err(Failure::said(1)) }
}

/// In one line, what was expected and what is.
fn describe(test: &Expectation, found: &Result<ExplainCallResponse, String>) -> String {
    let by = test.rule.as_ref().map_or_else(String::new, |rule| format!(" by `{rule}`"));
    let found = match found {
        Ok(said) => format!("{} by `{}`", said.verdict, said.rule),
        Err(message) => format!("an error: {message}"),
    };
    format!("{}: expected {}{by}, found {found}", test.name, test.verdict)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_calls_with_a_verdict() {
        let text = "[[tests]]\ntool = 'files_read'\nverdict = 'deny'\nrule = 'r'\ngroups = []\nworkspace = 'app'\n\
            at = 2026-03-04T12:00:00+01:00\ninput = { path = 'x', list = [1, 2.5, true] }\n\
            [[tests]]\nname = 'n'\ntool = 'git_push'\nverdict = 'ask'\n[tests.input]\nbranch = 'main'\n";
        let tests = parse(text, Path::new("/d")).unwrap_or_else(|err| panic!("{}", err.message()));
        let first = &tests[0];
        assert_eq!(first.request.input, json!({ "path": "x", "list": [1, 2.5, true] }).to_string());
        assert_eq!((first.request.workspace.as_str(), first.request.only_these_groups), ("/d/app", true));
        assert_eq!(first.request.at.as_ref().map(|at| at.seconds), Some(1_772_622_000));
        assert_eq!((tests[1].name.as_str(), tests[1].request.workspace.as_str()), ("n", "/d"));
        let said = |verdict: &str, rule: &str| ExplainCallResponse {
            verdict: verdict.into(),
            rule: rule.into(),
            ..Default::default()
        };
        assert!(first.is_met_by(&said("deny", "r")) && !first.is_met_by(&said("deny", "s")));
        assert!(!first.is_met_by(&said("ask", "r")) && tests[1].is_met_by(&said("ask", "any")));
        for (text, part) in [
            ("", "no `[[tests]]`"),
            ("[[test]]\n", "unknown key `test`"),
            ("[[tests]]\ntool = 'x'\n", "test 1: `verdict` is missing"),
            ("[[tests]]\ntool = 'x'\nverdict = 'no'\n", "`no` is no verdict"),
            ("[[tests]]\ntool = 'x'\nverdict = 'ask'\nusr = 'x'\n", "unknown key `usr`"),
            ("[[tests]]\ntool = 'x'\nverdict = 'ask'\nat = 'noon'\n", "`noon` is no time"),
            ("[[tests]]\ntool = 'x'\nverdict = 'ask'\ninput = 'x'\n", "`input` is a table"),
        ] {
            let err = parse(text, Path::new("/d")).err().unwrap_or_else(|| panic!("{text}"));
            assert!(err.message().contains(part), "{text}: {}", err.message());
        }
    }
}
