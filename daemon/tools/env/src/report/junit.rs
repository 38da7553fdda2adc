//! JUnit's XML, as pytest, Node, Maven and Gradle write it (the schema of Apache Ant's `junitreport`).

use super::{Failure, Tests};
use quick_xml::{
    Reader, XmlVersion,
    events::{BytesStart, Event},
};
use std::collections::BTreeMap;

/// Several documents, one after the other, are one report. `None` for what is none.
pub(crate) fn parse(xml: &str) -> Option<Tests> {
    let (mut tests, mut is_report) = (Tests::default(), false);
    // Each document has a declaration of its own, which may be but at the beginning (XML 1.0, section 2.8).
    for document in xml.split("<?xml").filter(|document| document.contains("<testsuite")) {
        let document = document.split_once("?>").map_or(document, |(_, rest)| rest);
        is_report |= document_of(document, &mut tests).is_some();
    }
    is_report.then_some(tests)
}

fn document_of(xml: &str, tests: &mut Tests) -> Option<()> {
    let mut reader = Reader::from_str(xml);
    let mut current: Option<Case> = None;
    loop {
        match reader.read_event().ok()? {
            Event::Start(start) => open(&start, &mut current),
            Event::Empty(start) => {
                open(&start, &mut current);
                if start.name().as_ref() == "testcase" {
                    close(current.take(), tests);
                }
            }
            Event::Text(text) => say(&mut current, &text.xml10_content()),
            Event::CData(text) => say(&mut current, &text),
            Event::GeneralRef(reference) => {
                if let Ok(Some(character)) = reference.resolve_char_ref() {
                    say(&mut current, character.encode_utf8(&mut [0; 4]));
                } else if let Some(text) = quick_xml::escape::resolve_xml_entity(&reference) {
                    say(&mut current, text);
                }
            }
            Event::End(end) => match end.name().as_ref() {
                "testcase" => close(current.take(), tests),
                "failure" | "error" => {
                    if let Some(case) = &mut current {
                        case.is_telling = false;
                    }
                }
                _ => {}
            },
            Event::Eof => return Some(()),
            Event::Decl(_) | Event::PI(_) | Event::Comment(_) | Event::DocType(_) => {}
        }
    }
}

/// A test under way.
#[derive(Default)]
struct Case {
    name: String,
    file: Option<String>,
    line: Option<u32>,
    is_skipped: bool,
    /// Of a failure: what its attribute says, and its text.
    failure: Option<(String, String)>,
    is_telling: bool,
}

fn open(start: &BytesStart<'_>, current: &mut Option<Case>) {
    let mut attributes: BTreeMap<String, String> = start
        .attributes()
        .flatten()
        .filter_map(|one| {
            Some((
                one.key.as_ref().to_owned(),
                one.normalized_value(XmlVersion::Implicit1_0).ok()?.into_owned(),
            ))
        })
        .collect();
    let mut take = |name: &str| attributes.remove(name);
    match (start.name().as_ref(), current) {
        ("testcase", current) => {
            let name = take("name").unwrap_or_default();
            // Node calls every suite `test`.
            let suite = take("classname").filter(|suite| !suite.is_empty() && suite != "test");
            *current = Some(Case {
                name: suite.map_or_else(|| name.clone(), |suite| format!("{suite}.{name}")),
                file: take("file"),
                line: take("line").and_then(|line| line.parse().ok()),
                ..Case::default()
            });
        }
        ("skipped", Some(case)) => case.is_skipped = true,
        ("failure" | "error", Some(case)) => {
            case.failure = Some((take("message").unwrap_or_default(), String::new()));
            case.is_telling = true;
        }
        _ => {}
    }
}

fn say(current: &mut Option<Case>, text: &str) {
    if let Some(Case { is_telling: true, failure: Some((_, said)), .. }) = current {
        said.push_str(text);
    }
}

fn close(case: Option<Case>, tests: &mut Tests) {
    let Some(case) = case else { return };
    match case.failure {
        Some((message, text)) => {
            let message = message.trim();
            let text = text.trim();
            let message = if text.contains(message) { text.to_owned() } else { format!("{message}\n{text}") };
            tests.fail(Failure {
                name: case.name,
                file: case.file,
                line: case.line,
                message: message.trim().to_owned(),
            });
        }
        None if case.is_skipped => tests.skipped += 1,
        None => tests.passed += 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_documents_are_one_report() {
        let first = r#"<?xml version="1.0" encoding="utf-8"?><testsuites><testsuite tests="3"><testcase classname="a.b" name="one" time="0.1"/><testcase classname="a.b" name="two" file="a/b.py" line="7"><failure message="assert 1 == 2">def two():
&gt;   assert 1 == 2</failure></testcase><testcase classname="a.b" name="three"><skipped message="later"/></testcase></testsuite></testsuites>"#;
        let second = "<?xml version=\"1.0\"?>\n<testsuite><testcase classname=\"C\" name=\"t\"><error message=\"broken\"><![CDATA[at <C>]]></error><system-out>x</system-out></testcase></testsuite>";
        let tests = parse(&format!("{first}\n{second}")).unwrap();
        assert_eq!((tests.passed, tests.failed, tests.skipped), (1, 2, 1));
        assert_eq!(
            tests.failures,
            [
                Failure {
                    name: "a.b.two".into(),
                    file: Some("a/b.py".into()),
                    line: Some(7),
                    message: "def two():\n>   assert 1 == 2".into()
                },
                Failure { name: "C.t".into(), file: None, line: None, message: "broken\nat <C>".into() }
            ]
        );
    }

    #[test]
    fn what_is_no_report_is_none() {
        for text in ["", "hello", "<testsuite><testcase", "<html></html>"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
