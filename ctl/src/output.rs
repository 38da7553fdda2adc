//! What is printed, as text for people or JSON for programs, and the exit codes.

use crate::terminal::{self, Tone, paint};
use serde_json::{Value, json};
use std::{
    fmt::Write as _,
    io::{self, IsTerminal as _, Write as _},
    process::ExitCode,
};

/// Why a command failed, and with which exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    kind: String,
    message: String,
}

impl Failure {
    /// The daemon said no, or something is wrong.
    pub(crate) fn refused(message: impl Into<String>) -> Self {
        Self { code: 1, kind: "refused".into(), message: message.into() }
    }

    /// The command line makes no sense.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { code: 2, kind: "usage".into(), message: message.into() }
    }

    /// No daemon answers.
    pub(crate) fn unreachable(message: impl Into<String>) -> Self {
        Self { code: 3, kind: "unreachable".into(), message: message.into() }
    }

    /// What there is to say was printed.
    pub(crate) const fn said(code: u8) -> Self {
        Self { code, kind: String::new(), message: String::new() }
    }

    /// In words.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// A tool failed, with the kind of its error.
    pub(crate) fn tool(kind: String, message: String) -> Self {
        Self { code: 4, kind, message }
    }
}

impl From<tonic::Status> for Failure {
    fn from(status: tonic::Status) -> Self {
        match status.code() {
            tonic::Code::Unavailable => Self::unreachable(status.message()),
            tonic::Code::InvalidArgument => Self::usage(status.message()),
            _ => Self::refused(status.message()),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(err: io::Error) -> Self {
        Self::refused(err.to_string())
    }
}

/// Stdout.
pub(crate) struct Output {
    is_json: bool,
}

impl Output {
    pub(crate) const fn new(is_json: bool) -> Self {
        Self { is_json }
    }

    pub(crate) const fn is_json(&self) -> bool {
        self.is_json
    }

    /// Prints `json`, or the text for people.
    pub(crate) fn show(&mut self, json: &Value, text: impl FnOnce() -> String) -> Result<(), Failure> {
        if self.is_json {
            self.line(&escaped(&serde_json::to_string_pretty(json).unwrap_or_default()))
        } else {
            let text = text();
            if terminal::page(text.trim_end()) { Ok(()) } else { self.line(text.trim_end()) }
        }
    }

    /// The same over what was there, on a terminal; below it elsewhere.
    pub(crate) fn show_again(&mut self, json: &Value, text: impl FnOnce() -> String) -> Result<(), Failure> {
        if self.is_json {
            return self.json(json);
        }
        // Home, and everything below it erased (ECMA-48, CUP and ED).
        let clear = if io::stdout().is_terminal() { "\x1b[H\x1b[J" } else { "" };
        self.line(&format!("{clear}{}", text().trim_end()))
    }

    /// Prints `json` in one line.
    pub(crate) fn json(&mut self, json: &Value) -> Result<(), Failure> {
        self.line(&escaped(&json.to_string()))
    }

    /// Prints one line as it is. A reader that left ends the command quietly, as with any filter.
    pub(crate) fn line(&mut self, text: &str) -> Result<(), Failure> {
        match writeln!(io::stdout(), "{text}").and_then(|()| io::stdout().flush()) {
            // What follows something without end would go on for nobody.
            Err(err) if err.kind() == io::ErrorKind::BrokenPipe => Err(Failure::said(0)),
            done => Ok(done?),
        }
    }

    /// Prints bytes as they are.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        match io::stdout().write_all(bytes) {
            Err(err) if err.kind() == io::ErrorKind::BrokenPipe => Err(Failure::said(0)),
            done => Ok(done?),
        }
    }

    /// The failure that what was just shown comes to. As JSON that says it already, and there is one document.
    pub(crate) fn verdict(&self, message: String) -> Failure {
        if self.is_json { Failure::said(1) } else { Failure::refused(message) }
    }

    /// Prints a failure; returns its exit code.
    pub(crate) fn fail(&mut self, failure: &Failure) -> ExitCode {
        if failure.message.is_empty() {
            return ExitCode::from(failure.code);
        }
        if self.is_json {
            let error = json!({ "error": { "kind": failure.kind, "message": failure.message } });
            // If stdout is closed, the exit code must do.
            let _ = self.line(&error.to_string());
        } else {
            eprintln!("skynetctl: {}", failure.message);
        }
        ExitCode::from(failure.code)
    }
}

/// Whether a terminal obeys a letter, hides it, or turns text around by it.
pub(crate) fn is_unseen(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{feff}' | '\u{200b}'..='\u{200f}')
        || matches!(letter, '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{e0000}'..='\u{e0fff}')
}

/// The same JSON, with nothing in its texts that a terminal obeys, hides or turns around: they may be an agent's. JSON itself
/// lets all but the first 32 characters stand (RFC 8259, section 7).
fn escaped(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for letter in json.chars() {
        if !letter.is_ascii_control() && is_unseen(letter) || letter == '\u{7f}' {
            let mut units = [0; 2];
            for unit in letter.encode_utf16(&mut units) {
                // Writing to a String cannot fail.
                let _ = write!(text, "\\u{unit:04x}");
            }
        } else {
            text.push(letter);
        }
    }
    text
}

/// Rows under a header, in columns.
pub(crate) fn table<const N: usize>(
    header: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(header.map(str::to_uppercase));
    for row in rows {
        table.add_row(row);
    }
    let text = table.to_string();
    // Colored afterwards, so that no width counts what is not seen.
    let lines = text.lines().map(str::trim_end).enumerate().map(|(row, line)| match row {
        0 => paint(line, Tone::Heading),
        _ => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// RFC 3339 in UTC, to the second; empty where there is none.
pub(crate) fn time(at: Option<&prost_types::Timestamp>) -> String {
    at.map_or_else(String::new, |at| prost_types::Timestamp { seconds: at.seconds, nanos: 0 }.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_says_the_same_and_steers_no_terminal() {
        let value = json!({ "a\u{202e}": "\u{1b}[2J\u{9b}2J\u{7f}\u{e0041}\u{2028}é日" });
        let shown = escaped(&value.to_string());
        assert_eq!(serde_json::from_str::<Value>(&shown).unwrap(), value);
        assert_eq!(shown, "{\"a\\u202e\":\"\\u001b[2J\\u009b2J\\u007f\\udb40\\udc41\\u2028é日\"}");
    }
}
