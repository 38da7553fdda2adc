//! What a human is asked, in words: who wants to do what, where, and by which rule he is asked, with the whole input as it
//! would run. It knows inputs and no tool. What is cut is said to be cut, and no text of an agent begins a line of its own.

use crate::{
    approvals::Approval,
    visible::{line, word},
};
use serde_json::Value;

/// How much is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// What fits a dialog.
    Brief,
    /// What fits a pager.
    Whole,
}

/// How wide a line of an agent's text is before it is broken, in characters: nothing is pushed out of sight.
const WIDTH: usize = 120;

/// Longer values stand in a block of their own, in characters.
const LONGEST_VALUE: usize = 200;

/// What stands before each line of text that an agent wrote.
const QUOTED: &str = "  | ";

/// The same of what goes and of what comes.
const OLD: &str = "  - ";
const NEW: &str = "  + ";

/// Before the rest of a line that was broken.
const BROKEN: &str = "  > ";

/// Before what is said about the text.
const NOTE: &str = "  … ";

/// How many lines of a part are kept: of its beginning, and of its end.
type Kept = (usize, usize);

impl Detail {
    /// Of each text.
    const fn of_block(self) -> Kept {
        match self {
            Self::Brief => (24, 12),
            Self::Whole => (20_000, 5_000),
        }
    }

    /// Of all short values together, and of all texts together.
    const fn of_all(self) -> Kept {
        match self {
            Self::Brief => (80, 40),
            Self::Whole => (40_000, 10_000),
        }
    }
}

/// The question about a call.
pub(crate) fn text(approval: &Approval, detail: Detail) -> String {
    let place = if approval.workspace.is_empty() { "no workspace".into() } else { word(&approval.workspace) };
    let mut lines = vec![format!("Allow `{}` ({}) in {place}?", approval.tool, approval.effect)];
    let input: Value = serde_json::from_str(&approval.input).unwrap_or_default();
    let mut parts = Parts::default();
    if let Value::Object(members) = &input {
        for (name, value) in members {
            parts.add(word(name), value);
        }
    }
    let asking: Vec<_> = approval.rules.iter().map(|rule| sentence(rule)).collect();
    let token =
        approval.token.as_ref().map_or_else(String::new, |name| format!(", with the token {}", word(name)));
    let head = [
        ("user", format!("{} ({}){token}", word(&approval.user), approval.uid)),
        ("client", sentence(&approval.client)),
        ("rule", asking.join(", ")),
        ("network", input.get("network").map_or_else(String::new, network)),
        ("secrets", all_secrets(&input).join(" ")),
        ("until", format!("{:.0}", approval.expires_at)),
        ("sha256", approval.digest.clone()),
    ];
    let head = head.into_iter().filter(|(_, value)| !value.is_empty());
    lines.extend(head.flat_map(|(name, value)| broken(&format!("{name:<8} {value}"), "")));
    lines.push(format!("input    {} bytes", approval.input.len()));
    let short = parts.short.into_iter().flat_map(|(name, value)| broken(&format!("{name}  {value}"), "  "));
    lines.extend(cut(short.collect(), detail.of_all()));
    let long = parts.long.iter().flat_map(|block| block.lines(detail)).collect();
    lines.extend(cut(long, detail.of_all()));
    lines.join("\n")
}

/// In one line, as much of an input as fits: for a list.
pub(crate) fn brief(input: &Value) -> String {
    let mut parts = Parts::default();
    for (name, value) in input.as_object().into_iter().flatten() {
        match value.get("bytes").filter(|_| value.get("sha256").is_some()) {
            // Of what was redacted its length is enough here.
            Some(bytes) => parts.short.push((word(name), format!("{bytes} bytes"))),
            None => parts.add(word(name), value),
        }
    }
    let long = parts.long.iter().map(|block| (block.name.clone(), format!("{} bytes", block.length())));
    let all = parts.short.iter().cloned().chain(long).map(|(name, value)| format!("{name} {value}"));
    let all = all.collect::<Vec<_>>().join(", ");
    match all.char_indices().nth(WIDTH) {
        Some((end, _)) => format!("{}…", all.get(..end).unwrap_or_default()),
        None => all,
    }
}

/// An input, taken apart: what fits a line, and what does not, by name.
#[derive(Default)]
struct Parts {
    short: Vec<(String, String)>,
    long: Vec<Block>,
}

/// Text of more than a line, in pieces, each with what stands before its lines.
struct Block {
    name: String,
    pieces: Vec<(&'static str, String)>,
}

impl Parts {
    fn add(&mut self, name: String, value: &Value) {
        match value {
            Value::String(text) if is_long(text) => {
                self.long.push(Block { name, pieces: vec![(QUOTED, text.clone())] });
            }
            Value::String(text) => self.short.push((name, word(text))),
            Value::Null | Value::Bool(_) | Value::Number(_) => self.short.push((name, value.to_string())),
            Value::Array(items) if items.iter().all(is_short) => {
                let words: Vec<_> = items.iter().map(in_line).collect();
                self.short.push((name, if words.is_empty() { "[]".into() } else { words.join(" ") }));
            }
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.add(format!("{name}[{index}]"), item);
                }
            }
            Value::Object(members) if members.is_empty() => self.short.push((name, "{}".into())),
            Value::Object(members) => {
                let texts =
                    (members.get("old").and_then(Value::as_str), members.get("new").and_then(Value::as_str));
                let replaced = if let (Some(old), Some(new)) = texts { Some((old, new)) } else { None };
                if let Some((old, new)) = replaced {
                    let pieces = vec![(OLD, old.to_owned()), (NEW, new.to_owned())];
                    self.long.push(Block { name: name.clone(), pieces });
                }
                for (key, member) in members {
                    if replaced.is_some() && (key == "old" || key == "new") {
                        continue;
                    }
                    self.add(format!("{name}.{}", word(key)), member);
                }
            }
        }
    }
}

fn is_long(text: &str) -> bool {
    text.contains('\n') || text.chars().nth(LONGEST_VALUE).is_some()
}

fn is_short(value: &Value) -> bool {
    match value {
        Value::String(text) => !is_long(text),
        Value::Null | Value::Bool(_) | Value::Number(_) => true,
        Value::Array(_) | Value::Object(_) => false,
    }
}

fn in_line(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), word)
}

impl Block {
    fn length(&self) -> usize {
        self.pieces.iter().map(|(_, text)| text.len()).sum()
    }

    fn lines(&self, detail: Detail) -> Vec<String> {
        let head = format!("  {}, {} bytes:", self.name, self.length());
        let pieces = self.pieces.iter().filter(|(_, text)| !text.is_empty());
        let kept = pieces.flat_map(|(mark, text)| cut(marked(text, mark), detail.of_block()));
        [head].into_iter().chain(kept).collect()
    }
}

/// A text, each of its lines behind a mark.
fn marked(text: &str, mark: &str) -> Vec<String> {
    let mut shown = Vec::new();
    let mut empty = 0_usize;
    // Not `lines()`, which takes away a carriage return.
    for one in text.strip_suffix('\n').unwrap_or(text).split('\n') {
        if one.trim().is_empty() {
            empty += 1;
            if empty > 2 {
                continue;
            }
        } else {
            shown.extend(left_out(empty));
            empty = 0;
        }
        shown.extend(broken(&line(one), mark));
    }
    shown.extend(left_out(empty));
    shown
}

/// Says that of that many empty lines only two were shown.
fn left_out(empty: usize) -> Option<String> {
    (empty > 2).then(|| format!("{NOTE}{} more empty lines", empty - 2))
}

/// A line, broken where it is too wide; `first` stands before its beginning.
fn broken(text: &str, first: &str) -> Vec<String> {
    let letters: Vec<char> = text.chars().collect();
    if letters.is_empty() {
        return vec![first.trim_end().to_owned()];
    }
    let rows = letters.chunks(WIDTH).enumerate();
    rows.map(|(row, piece)| {
        let before = if row == 0 { first } else { BROKEN };
        format!("{before}{}", piece.iter().collect::<String>())
    })
    .collect()
}

/// The beginning and the end, with what is missing in between.
fn cut(lines: Vec<String>, (head, tail): Kept) -> Vec<String> {
    let missing = lines.len().saturating_sub(head + tail);
    if missing == 0 {
        return lines;
    }
    let (begins, ends) = (lines.iter().take(head), lines.iter().skip(head + missing));
    let note = format!("{NOTE}{missing} LINES ARE NOT SHOWN HERE");
    begins.cloned().chain([note]).chain(ends.cloned()).collect()
}

/// Where a command could connect to.
fn network(value: &Value) -> String {
    let Value::Object(ways) = value else { return String::new() };
    let ways = ways.iter().filter(|(_, to)| to.as_array().is_none_or(|to| !to.is_empty()));
    let ways = ways.map(|(name, to)| {
        let to: Vec<_> = to.as_array().into_iter().flatten().map(in_line).collect();
        format!("{} {}", word(name), to.join(" "))
    });
    ways.collect::<Vec<_>>().join("; ")
}

/// The names of the secrets that an input names, each once.
fn all_secrets(input: &Value) -> Vec<String> {
    // In a header other text stands around the name.
    let headers = input.pointer("/network/headers").and_then(Value::as_array).into_iter().flatten();
    let in_headers = headers.filter_map(|header| {
        let (_, rest) = header.as_str()?.split_once("secret://")?;
        rest.split_whitespace().next().map(word)
    });
    let mut names: Vec<String> = secrets(input).into_iter().chain(in_headers).collect();
    names.sort();
    names.dedup();
    names
}

/// Those that are all of a value.
fn secrets(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => text.strip_prefix("secret://").map(word).into_iter().collect(),
        Value::Array(items) => items.iter().flat_map(secrets).collect(),
        Value::Object(members) => members.values().flat_map(secrets).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => Vec::new(),
    }
}

/// Words of somebody who is not believed, on one line, without quotes where nothing needs them.
fn sentence(text: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "_-./ ()".contains(letter);
    let is_calm = !text.is_empty() && !text.contains("  ") && text.chars().all(is_plain);
    if is_calm { text.to_owned() } else { word(text) }
}

#[cfg(test)]
#[path = "question_tests.rs"]
mod tests;
