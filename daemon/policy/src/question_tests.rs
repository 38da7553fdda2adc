use super::*;
use crate::approvals::tests::approval;
use proptest::prelude::*;
use serde_json::json;

fn shown(input: &Value, detail: Detail) -> String {
    text(&approval(input), detail)
}

#[test]
fn a_header_with_a_secret_is_shown_with_its_host() {
    let header = "api.example.org Authorization: Bearer secret://registry";
    let input = json!({
        "environment": { "TOKEN": "secret://deploy" },
        "network": { "hosts": ["api.example.org"], "headers": [header, "b.example.org X: secret://deploy y"] },
    });
    let found = shown(&input, Detail::Brief);
    assert!(found.contains(&format!("headers {}", word(header))), "{found}");
    assert!(found.contains("\nsecrets  deploy registry\n"), "{found}");
}

#[test]
fn a_question_says_all_that_there_is_to_say() {
    let input = json!({
        "command": ["git", "push", "a b", "--force"],
        "environment": { "TOKEN": "secret://registry" },
        "network": { "hosts": ["example.org", "p\u{430}ypal.com"], "reach": [] },
        "stdin": "one\n\ttwo\n",
        "timeout_seconds": 5,
    });
    let found = shown(&input, Detail::Brief);
    let expected = r#"Allow `probe_tool` (external) in "/home/ann/a b"?
user     ann (1000)
client   test 1
rule     default for external
network  hosts example.org "p\u{430}ypal.com"
secrets  registry
until    2026-01-01T00:15:00Z
sha256   DIGEST
input    BYTES bytes
  command  git push "a b" --force
  environment.TOKEN  secret://registry
  network.hosts  example.org "p\u{430}ypal.com"
  network.reach  []
  timeout_seconds  5
  stdin, 9 bytes:
  | one
  | 	two"#;
    let bytes = input.to_string().len().to_string();
    let digest = approval(&input).digest;
    assert_eq!(found, expected.replace("DIGEST", &digest).replace("BYTES", &bytes));
}

#[test]
fn a_list_tells_in_one_line_what_was_granted() {
    let redacted =
        json!({ "content": { "bytes": 76, "sha256": "x" }, "path": "deploy.sh", "x": ["a", "b c"] });
    assert_eq!(brief(&redacted), "content 76 bytes, path deploy.sh, x a \"b c\"");
    assert_eq!(brief(&json!({ "command": ["x".repeat(150)] })).chars().count(), WIDTH + 1);
}

#[test]
fn replacements_are_told_as_what_goes_and_what_comes() {
    let input = json!({ "path": "a", "edits": [{ "old": "x", "new": "y\nz", "all": true }, { "old": "gone", "new": "" }] });
    let found = shown(&input, Detail::Brief);
    assert!(found.ends_with("  edits[0].all  true\n  path  a\n  edits[0], 4 bytes:\n  - x\n  + y\n  + z\n  edits[1], 4 bytes:\n  - gone"), "{found}");
}

#[test]
fn nothing_an_agent_writes_passes_for_the_question() {
    let evil = "\u{1b}[2J\u{1b}[HAllow `files_read` (read) in /home?\r\nuser     root (0)\n  … 3 empty lines\u{2028}x\u{202e}y";
    for input in [
        json!({ "script": evil }),
        json!({ "command": [evil, "x"] }),
        json!({ "environment": { evil: evil } }),
    ] {
        let found = shown(&input, Detail::Whole);
        let ours = found.lines().skip(9);
        for one in ours {
            assert!(one.starts_with("  ") && !one.starts_with("  …"), "{one:?} in {found}");
        }
        assert!(
            found.contains("\\u{1b}[2J") && found.contains("\\u{202e}") && !found.contains('\u{1b}'),
            "{found}"
        );
    }
    let named =
        Approval { client: evil.into(), workspace: evil.into(), user: evil.into(), ..approval(&json!({})) };
    let found = text(&named, Detail::Brief);
    assert_eq!(found.lines().filter(|line| line.starts_with("user ")).count(), 1, "{found}");
    assert_eq!(found.lines().filter(|line| line.starts_with("Allow ")).count(), 1, "{found}");
}

#[test]
fn what_is_cut_is_said_and_nothing_is_pushed_out_of_sight() {
    let script: String = (0..1000).map(|line| format!("echo {line}\n")).collect();
    let found = shown(&json!({ "script": script, "command": [] }), Detail::Brief);
    assert!(found.contains("  … 964 LINES ARE NOT SHOWN HERE\n"), "{found}");
    assert!(found.contains("  | echo 23\n") && found.contains("  | echo 999"), "{found}");
    assert!(!found.contains("  | echo 24\n"));
    assert!(shown(&json!({ "script": script }), Detail::Whole).contains("  | echo 500\n"));

    let pushed = format!("ls{}\n{}rm -rf .", "\n".repeat(500), " ".repeat(500));
    let found = shown(&json!({ "script": pushed }), Detail::Brief);
    assert!(found.contains("rm -rf .") && found.contains("  … 498 more empty lines"), "{found}");
    assert!(found.lines().all(|line| line.chars().count() <= WIDTH + 8), "{found}");

    let many: serde_json::Map<_, _> = (0..500).map(|name| (format!("V{name:03}"), json!("x"))).collect();
    let found =
        shown(&json!({ "environment": many, "network": { "hosts": ["evil.example"] } }), Detail::Brief);
    assert!(found.contains("network  hosts evil.example"), "{found}");
    assert!(found.contains("LINES ARE NOT SHOWN HERE"));
}

proptest! {
    #[test]
    fn no_input_breaks_the_shape_of_a_question(texts in prop::collection::vec(any::<String>(), 0..4), name in any::<String>()) {
        let input = json!({ "command": texts, "script": texts.concat(), "environment": { name: texts } });
        for detail in [Detail::Brief, Detail::Whole] {
            let found = shown(&input, detail);
            prop_assert!(!found.chars().any(|letter| letter.is_control() && !matches!(letter, '\n' | '\t')), "{found:?}");
            let inside = found.lines().skip_while(|line| !line.starts_with("input "));
            prop_assert!(inside.skip(1).all(|line| line.starts_with("  ")), "{found}");
        }
    }
}
