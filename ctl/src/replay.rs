//! What a session did, as a script for sh(1) of `skynetctl tools call`. It is printed and never run here: whoever runs it
//! makes the calls again, by the rules that hold then.

use crate::{
    audit::confirmation,
    daemon::Daemon,
    output::{Failure, Output},
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use skynet_proto::AuditQueryRequest;

pub(crate) async fn run(daemon: &Daemon, session: &str, output: &mut Output) -> Result<(), Failure> {
    // Records have it without hyphens.
    let session = session.replace('-', "");
    let request = AuditQueryRequest { session: session.clone(), ..AuditQueryRequest::default() };
    let mut records = daemon.audit().await?.query(request).await?.into_inner();
    let mut script = Script::default();
    while let Some(record) = records.message().await? {
        script.add(&serde_json::from_str(&record.json).unwrap_or_default());
    }
    if script.calls == 0 {
        return Err(Failure::refused(format!("no call of the session `{session}` is recorded")));
    }
    let text = script.finish(&session);
    if output.is_json() {
        let json = json!({
            "session": session,
            "calls": script.calls,
            "repeatable": script.repeatable,
            "script": text,
        });
        return output.line(&serde_json::to_string_pretty(&json).unwrap_or_default());
    }
    output.bytes(text.as_bytes())
}

#[derive(Default)]
struct Script {
    calls: usize,
    /// Those that are no comments.
    repeatable: usize,
    first_at: String,
    last_at: String,
    body: String,
}

impl Script {
    /// Adds the call of a record; other records are left out.
    fn add(&mut self, record: &Value) {
        let field = |name: &str| record.get(name).and_then(Value::as_str).unwrap_or_default();
        if field("kind") != "call" {
            return;
        }
        self.calls += 1;
        field("at").clone_into(&mut self.last_at);
        if self.calls == 1 {
            self.first_at.clone_from(&self.last_at);
        }
        let confirmed = confirmation(record).map_or_else(String::new, |who| format!(", {who}"));
        self.comment(&format!("{} {} ({}){confirmed}", field("at"), field("tool"), field("effect")));
        let input = record.get("input").unwrap_or(&Value::Null);
        let command = command(field("tool"), input, field("workspace"));
        let outcome = field("outcome");
        if outcome != "ok" {
            let separator = if field("message").is_empty() { "" } else { ": " };
            self.comment(&format!("not repeated, it failed: {outcome}{separator}{}", field("message")));
            // Of a call that was interrupted nothing but the digest of its input is known.
            if !input.is_null() {
                self.comment(&command);
            }
        } else if !is_whole(input, field("input_digest")) {
            let missing = redacted(input);
            let what = if missing.is_empty() { "the input".to_owned() } else { missing.join(", ") };
            self.comment(&format!("not repeated, the log has of {what} only size and digest"));
            self.comment(&command);
        } else {
            self.repeatable += 1;
            self.body.push_str(&command);
            self.body.push('\n');
        }
        self.body.push('\n');
    }

    /// One line, whatever is in it: a line feed would end the comment.
    fn comment(&mut self, text: &str) {
        self.body.push_str("# ");
        self.body.extend(text.chars().flat_map(|letter| {
            let escaped = letter.is_control().then(|| letter.escape_default());
            let plain = escaped.is_none().then_some(letter);
            escaped.into_iter().flatten().chain(plain)
        }));
        self.body.push('\n');
    }

    fn finish(&mut self, session: &str) -> String {
        let body = std::mem::take(&mut self.body);
        let mut script = Self { body: "#!/bin/sh\n".into(), ..Self::default() };
        script.comment(&format!(
            "Session {session}: {} calls from {} to {}, of which {} can be made again.",
            self.calls, self.first_at, self.last_at, self.repeatable
        ));
        script.comment("Running this makes them again, as whoever runs it, by the rules that hold then.");
        script.body + "set -eu\n\n" + body.trim_end() + "\n"
    }
}

fn command(tool: &str, input: &Value, workspace: &str) -> String {
    // JSON may have such characters as they are; some of them are commands to a terminal.
    let input: String = input
        .to_string()
        .chars()
        .map(
            |letter| {
                if letter.is_control() { format!("\\u{:04x}", u32::from(letter)) } else { letter.into() }
            },
        )
        .collect();
    let mut command = format!("skynetctl tools call {} {}", quoted(tool), quoted(&input));
    if !workspace.is_empty() {
        command.push_str(" --workspace ");
        command.push_str(&quoted(workspace));
    }
    command
}

/// As one word: within single quotes sh takes everything as it is but the quote itself (POSIX.1-2024, Shell Command
/// Language, 2.2.2).
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Whether the log has the input as it was: its digest is that of the sorted JSON without white space.
fn is_whole(input: &Value, digest: &str) -> bool {
    let found = Sha256::digest(input.to_string().as_bytes());
    let found: String = found.iter().map(|byte| format!("{byte:02x}")).collect();
    found == digest
}

/// The members of an input that the log has only size and digest of.
fn redacted(input: &Value) -> Vec<String> {
    let is_digest = |value: &Value| {
        value.as_object().is_some_and(|object| object.len() <= 2 && object.contains_key("bytes"))
    };
    let holds_digest = |value: &Value| {
        let mut inside = vec![value];
        while let Some(value) = inside.pop() {
            if is_digest(value) {
                return true;
            }
            inside.extend(value.as_object().into_iter().flat_map(|object| object.values()));
            inside.extend(value.as_array().into_iter().flatten());
        }
        false
    };
    let members = input.as_object().into_iter().flatten();
    members.filter(|(_, value)| holds_digest(value)).map(|(name, _)| format!("`{name}`")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn record(input: &Value, change: &[(&str, Value)]) -> Value {
        let digest = Sha256::digest(input.to_string().as_bytes());
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut record = json!({
            "at": "2026-01-31T12:00:00.000000Z", "kind": "call", "call": "ab.1", "tool": "files_write",
            "effect": "write", "workspace": "/home/ann/it's", "input": input, "input_digest": digest, "outcome": "ok",
        });
        for (name, value) in change {
            record[*name] = value.clone();
        }
        record
    }

    fn script(records: &[Value]) -> String {
        let mut script = Script::default();
        for record in records {
            script.add(record);
        }
        script.finish("ab")
    }

    #[test]
    fn words_reach_the_program_as_they_were() {
        let input = json!({ "path": "$(touch x) `id` 'a' \"b\" \\ \n ! * \u{9b} é", "count": 3 });
        let text = script(&[record(&input, &[])]);
        assert!(!text.contains('\u{9b}'));
        // In place of the program, a function that prints its arguments.
        let text = text.replace("set -eu\n", "set -eu\nskynetctl() { printf '%s\\0' \"$@\"; }\n");
        let printed = Command::new("/bin/sh").arg("-c").arg(&text).output().unwrap();
        assert!(printed.status.success(), "{printed:?}");
        let printed = String::from_utf8(printed.stdout).unwrap();
        let words: Vec<&str> = printed.trim_end_matches('\0').split('\0').collect();
        assert_eq!(words[..3], ["tools", "call", "files_write"]);
        assert_eq!(serde_json::from_str::<Value>(words[3]).unwrap(), input);
        assert_eq!(words[4..], ["--workspace", "/home/ann/it's"]);
    }

    #[test]
    fn what_failed_or_is_not_whole_is_a_comment() {
        let whole = json!({ "path": "a" });
        let part = json!({ "content": { "bytes": 3, "sha256": "ab" }, "path": "a" });
        let text = script(&[
            record(&whole, &[("outcome", json!("denied")), ("message", json!("no\nrm -rf /"))]),
            record(&part, &[("input_digest", json!("of the whole"))]),
            record(&whole, &[("workspace", json!("/tmp\nreboot")), ("outcome", json!("timed_out"))]),
            json!({ "kind": "recovered", "dropped_bytes": 3 }),
            record(&whole, &[("confirmed_by", json!("polkit")), ("confirmed_uid", json!(1000))]),
        ]);
        assert!(text.contains("), confirmed by 1000 through polkit\n"), "{text}");
        assert!(text.contains("# not repeated, it failed: denied: no\\nrm -rf /\n"), "{text}");
        assert!(text.contains("# not repeated, the log has of `content` only size and digest\n"), "{text}");
        assert!(text.contains("4 calls") && text.contains("1 can be made again"), "{text}");
        let commands: Vec<&str> =
            text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
        let expected = r#"skynetctl tools call 'files_write' '{"path":"a"}' --workspace '/home/ann/it'\''s'"#;
        assert_eq!(commands, ["set -eu", expected]);
    }
}
