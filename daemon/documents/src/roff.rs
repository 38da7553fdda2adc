//! Manual pages as Markdown: the macros of man(7) and mdoc(7), and the escapes of groff(7) that pages use. What is about the
//! look alone is left out; a macro that is not known leaves its arguments.

mod escapes;
mod mdoc;

use escapes::plain;
use mdoc::{inline, is_inline, is_silent};

/// Conditions within conditions; no page has as many.
const DEEPEST: usize = 32;

/// A line that is longer was written for no reader, in bytes.
const LONGEST_LINE: usize = 20_000;

/// Whether it is a page of the manual: it begins with a title by one of the two sets of macros.
pub(crate) fn is_manual(text: &str) -> bool {
    let begins = |line: &&str| [".TH ", ".Dd ", ".Dt ", ".so "].iter().any(|title| line.starts_with(title));
    text.lines().take(200).any(|line| begins(&line))
}

/// The page as Markdown; its first heading is what it is called, such as `ls(1)`.
pub(crate) fn to_markdown(text: &str) -> String {
    let mut page = Page::default();
    // A line that ends with a backslash goes on in the next one, unless that begins what a condition is about.
    let whole = text.replace("\\{\\\n", "\\{\n").replace("\\\n", "");
    for line in whole.lines() {
        page.take(line);
    }
    page.text
}

#[derive(Default)]
struct Page {
    text: String,
    /// What mdoc calls the subject where it is not named again.
    name: String,
    /// The end of what is being defined, and left out.
    until: Option<String>,
    /// Parts of a condition that does not hold, still open.
    hidden: usize,
    /// Whether the next line is what an indented paragraph is about.
    is_tag: bool,
    /// Whether lines stay as they are, as in examples and tables.
    is_literal: bool,
    table: Table,
    /// Whether a cell of the table goes on in the next line.
    is_in_cell: bool,
}

/// Where a line is in a table of tbl(1).
#[derive(Default, PartialEq, Eq)]
enum Table {
    #[default]
    Outside,
    /// Among the lines that tell how columns look; the last of them ends with a dot.
    Format,
    Rows,
}

impl Page {
    fn take(&mut self, line: &str) {
        self.take_part(line, 0);
    }

    /// A line, or what follows a condition on one.
    fn take_part(&mut self, line: &str, depth: usize) {
        // A condition on nothing begins what it is about, in the lines that follow.
        if line.len() > LONGEST_LINE || depth > DEEPEST || line.is_empty() && depth > 0 {
            return;
        }
        if let Some(end) = &self.until {
            if line.trim_start_matches(['\'', ' ']).starts_with(end.as_str()) {
                self.until = None;
            }
            return;
        }
        if self.table != Table::Outside && !line.starts_with(".TE") && !line.starts_with(".PP") {
            return self.take_row(line);
        }
        if self.hidden > 0 {
            self.hidden += line.matches("\\{").count().min(DEEPEST);
            self.hidden = self.hidden.saturating_sub(line.matches("\\}").count());
            return;
        }
        let control = line.strip_prefix('.').or_else(|| line.strip_prefix('\''));
        match control {
            Some(request) => self.request(request.trim_start(), depth),
            None => self.say(&plain(line)),
        }
    }

    fn request(&mut self, line: &str, depth: usize) {
        let (name, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
        match name {
            "if" | "ie" => return self.condition(rest, depth),
            "el" => {
                // It goes with a condition for paper, of which what is for terminals is here.
                let rest = rest.trim_start();
                return self.take_part(rest.strip_prefix("\\{").unwrap_or(rest), depth + 1);
            }
            _ => {}
        }
        let arguments = arguments(rest);
        let words = || arguments.join(" ");
        match name {
            "TH" | "Dt" => {
                let mut title = arguments.iter();
                if let (Some(name), Some(section)) = (title.next(), title.next()) {
                    self.heading("#", &format!("{}({section})", name.to_lowercase()));
                }
            }
            "SH" | "Sh" => self.heading("##", &words()),
            "SS" | "Ss" => self.heading("###", &words()),
            "br" => self.end_line(false),
            "PP" | "P" | "LP" | "Pp" | "Lp" | "sp" | "Bl" | "El" | "RS" | "RE" => self.end_line(true),
            "EX" | "nf" | "Bd" | "EE" | "fi" | "Ed" => {
                self.end_line(true);
                self.is_literal = matches!(name, "EX" | "nf" | "Bd");
            }
            "TS" | "TE" => {
                self.end_line(true);
                self.table = if name == "TS" { Table::Format } else { Table::Outside };
            }
            "TP" | "TQ" => {
                self.end_line(name == "TP");
                self.is_tag = true;
            }
            "IP" | "HP" => {
                self.end_line(true);
                self.say(arguments.first().map_or("", String::as_str));
                self.end_line(false);
            }
            "It" => {
                self.end_line(true);
                self.say(&inline(&arguments, &self.name));
                self.end_line(false);
            }
            "B" | "I" | "SM" | "SB" | "UR" | "MT" | "R" | "CW" => self.say(&words()),
            "BR" | "BI" | "IB" | "IR" | "RB" | "RI" => self.say(&arguments.concat()),
            "de" | "de1" | "am" | "ig" => {
                let end = if name == "ig" { arguments.first() } else { arguments.get(1) };
                self.until = Some(format!(".{}", end.map_or(".", String::as_str)));
            }
            "Nm" => {
                if let Some(name) = arguments.first().filter(|_| self.name.is_empty()) {
                    self.name.clone_from(name);
                }
                let all: Vec<String> = std::iter::once("Nm".to_owned()).chain(arguments).collect();
                self.say(&inline(&all, &self.name));
            }
            "Nd" => self.say(&format!("- {}", words())),
            _ if is_inline(name) => {
                let all: Vec<String> = std::iter::once(name.to_owned()).chain(arguments).collect();
                self.say(&inline(&all, &self.name));
            }
            // Of a reference: author, title, date.
            _ if name.starts_with('%') => self.say(&words()),
            // Such as fonts, distances, registers and strings; all of groff's are lower case or numbers.
            _ if name.starts_with(|first: char| !first.is_ascii_uppercase()) || is_silent(name) => {}
            _ => self.say(&words()),
        }
    }

    /// Of conditions, that for terminals (`n`) holds, and what compares does not.
    fn condition(&mut self, rest: &str, depth: usize) {
        let rest = rest.trim_start();
        match rest.strip_prefix('n').filter(|rest| rest.starts_with([' ', '\\'])) {
            Some(holds) => {
                let holds = holds.trim_start();
                let holds = holds.strip_prefix("\\{").unwrap_or(holds).trim_start_matches('\\');
                self.take_part(holds, depth + 1);
            }
            None => {
                let (opened, closed) = (rest.matches("\\{").count(), rest.matches("\\}").count());
                self.hidden = opened.saturating_sub(closed).min(DEEPEST);
            }
        }
    }

    /// Cells are separated by tabs, or are text between `T{` and `T}`; lines between rows say nothing.
    fn take_row(&mut self, line: &str) {
        match self.table {
            Table::Format => {
                if line.trim_end().ends_with('.') {
                    self.table = Table::Rows;
                }
            }
            _ if line.starts_with(".T&") => self.table = Table::Format,
            _ if line.starts_with('.') || line.chars().all(|c| matches!(c, '_' | '=' | ' ' | '\t')) => {}
            _ => {
                let cells = plain(line).replace("T{", "").replace("T}", "");
                let cells: Vec<&str> =
                    cells.split('\t').map(str::trim).filter(|cell| !cell.is_empty()).collect();
                self.text.push_str(&cells.join("  "));
                self.is_in_cell =
                    line.trim_end().ends_with("T{") || self.is_in_cell && !line.starts_with("T}");
                if self.is_in_cell {
                    self.text.push(' ');
                } else {
                    self.text.truncate(self.text.trim_end_matches(' ').len());
                    self.end_line(false);
                }
            }
        }
    }

    fn heading(&mut self, mark: &str, text: &str) {
        self.is_tag = false;
        if !text.is_empty() {
            self.end_line(true);
            self.text.push_str(&format!("{mark} {text}\n\n"));
        }
    }

    fn say(&mut self, text: &str) {
        if text.is_empty() {
            return self.end_line(true);
        }
        if !self.text.is_empty() && !self.text.ends_with('\n') {
            self.text.push(if self.is_literal { '\n' } else { ' ' });
        }
        // What a shell takes for a comment is no heading.
        if text.starts_with('#') && (self.text.is_empty() || self.text.ends_with('\n')) {
            self.text.push_str("    ");
        }
        self.text.push_str(text);
        if std::mem::take(&mut self.is_tag) {
            self.text.push('\n');
        }
    }

    fn end_line(&mut self, is_paragraph: bool) {
        if !self.text.is_empty() && !self.text.ends_with('\n') {
            self.text.push('\n');
        }
        if is_paragraph && !self.text.is_empty() && !self.text.ends_with("\n\n") {
            self.text.push('\n');
        }
    }
}

/// The arguments of a macro: words, or what stands between quotes (groff_man_style(7)).
fn arguments(rest: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = rest.trim_start();
    while !rest.is_empty() && !rest.starts_with("\\\"") {
        let (argument, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => {
                let mut escaped = false;
                let end = rest.find(|c: char| {
                    let ends = (c == ' ' || c == '\t') && !escaped;
                    escaped = c == '\\' && !escaped;
                    ends
                });
                rest.split_at(end.unwrap_or(rest.len()))
            }
        };
        found.push(plain(argument));
        rest = after.trim_start();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_both_kinds_are_read() {
        let man = r#".\" A comment
.TH GREET 1 2026-01-31 "greet 2.0"
.SH NAME
greet \- say hello
.SH SYNOPSIS
.B greet
.RI [ name ]
.SH OPTIONS
.TP
.BR \-l ", " \-\-language =\fILANG\fR
The language,
as in \(aqfr\(aq.
.if t .ft CW
.ie n \{\
Of terminals.
.\}
.el \{\
.\}
.de XX
not shown
not shown either
..
.ig
not shown
..
.PP
.TS
l c
lB r l.
HUP	1	T{
Hang up
T}
_
.TE
.EX
# one
two
.EE
.PP
See\ also \fBhello\fP(1).
"#;
        assert!(is_manual(man));
        let text = to_markdown(man);
        for line in [
            "# greet(1)",
            "## NAME",
            "greet - say hello",
            "greet [name]",
            "-l, --language=LANG",
            "The language, as in 'fr'. Of terminals.",
            "See also hello(1).",
            "HUP  1 Hang up",
            "    # one",
            "two",
        ] {
            assert!(text.lines().any(|one| one == line), "{line}: {text}");
        }
        assert!(!text.contains("not shown") && !text.contains('\\'), "{text}");

        // What would be read once for each of its parts is given up.
        assert_eq!(to_markdown(&".if n ".repeat(200_000)), "");
        assert_eq!(to_markdown(&".el ".repeat(4000)), "");

        let mdoc = ".Dd January 31, 2026\n.Dt GREET 8\n.Os\n.Sh NAME\n.Nm greet\n.Nd say hello\n.Sh SYNOPSIS\n.Nm\n.Op Fl l Ar language\n.Sh SEE ALSO\n.Xr hello 1 ,\n.Pa /etc/greet\n";
        let text = to_markdown(mdoc);
        for line in ["# greet(8)", "greet - say hello", "greet [-l language]", "hello(1), /etc/greet"] {
            assert!(text.lines().any(|one| one == line), "{line}: {text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn nothing_that_looks_like_a_page_fails(lines in proptest::collection::vec("[.'\\\\]{0,2}[A-Za-z(\\[\"]{0,4}.{0,12}", 0..30)) {
            let _ = to_markdown(&lines.join("\n"));
        }
    }
}
