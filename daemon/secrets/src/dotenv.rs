//! Reads plain `.env` files, as far as the programs that read them agree: `NAME=value`, `export`, comments, and quotes
//! in single (as it is) or double (with escapes), over several lines if need be. `$NAME` is not replaced: a secret that
//! has a `$` in it is more common than one that refers to another.

use crate::{Error, Result};
use zeroize::Zeroizing;

/// What a line of a file of variables is.
#[derive(Debug)]
pub(crate) enum Line {
    /// A comment or nothing, as it was written.
    Other(String),
    /// A variable, with the number of its first line.
    Variable { line: usize, name: String, value: Zeroizing<String> },
}

/// Reads a whole file.
///
/// # Errors
/// `Line`.
pub(crate) fn parse(text: &str) -> Result<Vec<Line>> {
    let mut lines = text.strip_prefix('\u{feff}').unwrap_or(text).lines().enumerate();
    let mut parsed = Vec::new();
    while let Some((index, written)) = lines.next() {
        let line = index + 1;
        let trimmed = written.trim();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            parsed.push(Line::Other(written.to_owned()));
            continue;
        }
        let (name, value) = trimmed.split_once('=').ok_or_else(|| {
            fault(line, "this is no `NAME=value`; a comment starts with `#`, and a value of several lines is in quotes")
        })?;
        let name = name.strip_prefix("export").filter(|rest| rest.starts_with([' ', '\t'])).unwrap_or(name);
        let name = checked_name(line, name.trim())?;
        // The right end of the line may belong to a value in quotes.
        let value = value.trim_start();
        let quote = value.chars().next().filter(|first| matches!(first, '"' | '\''));
        let value = match quote {
            None => Zeroizing::new(unquoted(value).to_owned()),
            Some(quote) => {
                let start = written.split_once(quote).map_or("", |(_, rest)| rest);
                quoted(line, quote, start, &mut lines)?
            }
        };
        parsed.push(Line::Variable { line, name: name.to_owned(), value });
    }
    Ok(parsed)
}

/// What a name of a variable may be: XBD of POSIX.1-2024, section 8.1, and lower case, which is in use.
///
/// # Errors
/// `Line`.
pub(crate) fn checked_name(line: usize, name: &str) -> Result<&str> {
    let is_name = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if is_name {
        return Ok(name);
    }
    Err(fault(line, "the name of a variable has letters, digits and `_`, and does not begin with a digit"))
}

pub(crate) fn fault(line: usize, reason: &str) -> Error {
    Error::Line { line, reason: reason.to_owned() }
}

/// Up to a comment, which has white space before it: `a#b` is a value.
fn unquoted(value: &str) -> &str {
    let is_comment =
        |(at, _): &(usize, &str)| value.get(..*at).is_none_or(|before| before.ends_with([' ', '\t']));
    let end =
        value.match_indices('#').find(|hit| hit.0 == 0 || is_comment(hit)).map_or(value.len(), |(at, _)| at);
    value.get(..end).unwrap_or(value).trim_end()
}

/// From behind the opening quote; takes more lines until it is closed.
fn quoted<'text>(
    line: usize,
    quote: char,
    start: &'text str,
    lines: &mut impl Iterator<Item = (usize, &'text str)>,
) -> Result<Zeroizing<String>> {
    let mut value = Zeroizing::new(String::with_capacity(start.len()));
    let mut rest = start;
    loop {
        let mut characters = rest.chars();
        while let Some(character) = characters.next() {
            if character == quote {
                let after = characters.as_str().trim();
                if after.is_empty() || after.starts_with('#') {
                    return Ok(value);
                }
                return Err(fault(
                    line,
                    "something follows the closing quote; write `\\\"` for a quote in double ones",
                ));
            }
            if character != '\\' || quote == '\'' {
                value.push(character);
                continue;
            }
            match characters.next() {
                Some('n') => value.push('\n'),
                Some('r') => value.push('\r'),
                Some('t') => value.push('\t'),
                Some(sign @ ('"' | '\'' | '\\' | '$' | '`')) => value.push(sign),
                // As a shell has it: other backslashes stand for themselves, one at the end joins two lines.
                Some(other) => value.extend(['\\', other]),
                None => {}
            }
        }
        let is_joined = quote == '"' && ends_with_lone_backslash(rest);
        let Some((_, next)) = lines.next() else {
            return Err(fault(line, "the value has an opening quote and no closing one"));
        };
        if !is_joined {
            value.push('\n');
        }
        rest = next;
    }
}

fn ends_with_lone_backslash(text: &str) -> bool {
    !text.bytes().rev().take_while(|byte| *byte == b'\\').count().is_multiple_of(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(text: &str) -> Vec<(usize, String, String)> {
        let lines = parse(text).unwrap();
        let taken = lines.into_iter().filter_map(|line| match line {
            Line::Other(_) => None,
            Line::Variable { line, name, value } => Some((line, name, value.to_string())),
        });
        taken.collect()
    }

    #[test]
    fn values_are_read_as_programs_read_them() {
        for (text, expected) in [
            ("A=b", "b"),
            ("  export   A = b c  ", "b c"),
            ("export\tA=b", "b"),
            ("A=", ""),
            ("A=#c", ""),
            ("A=b#c", "b#c"),
            ("A=b #c", "b"),
            ("A=b=c==", "b=c=="),
            ("A=it's", "it's"),
            ("A='b \\n $C # \"x\"' # comment", "b \\n $C # \"x\""),
            (r#"A="b \"c\" \\ \n\t$D \$E \x # f""#, "b \"c\" \\ \n\t$D $E \\x # f"),
            ("A=\"one\ntwo  \n\n=three\"", "one\ntwo  \n\n=three"),
            ("A=\"one\\\ntwo\"", "onetwo"),
            ("A='one\ntwo' ", "one\ntwo"),
            ("A=\"\"", ""),
            ("\u{feff}A=b\r\n", "b"),
            ("A=é😀", "é😀"),
        ] {
            assert_eq!(variables(text), [(1, "A".to_owned(), expected.to_owned())], "{text}");
        }
    }

    #[test]
    fn lines_are_counted_over_values_of_several() {
        let text = "# c\n\nA=\"1\n2\n3\"\n\tB=4\nexport_me=5\n";
        let found = variables(text);
        let lines: Vec<_> = found.iter().map(|(line, name, _)| (*line, name.as_str())).collect();
        assert_eq!(lines, [(3, "A"), (6, "B"), (7, "export_me")]);
    }

    #[test]
    fn faults_name_their_line() {
        for (text, line, words) in [
            ("A=b\nnonsense", 2, "no `NAME=value`"),
            ("\n1A=b", 2, "begin with a digit"),
            ("A-B=c", 1, "letters, digits"),
            ("=c", 1, "letters, digits"),
            ("A=\"b\n\nc", 1, "no closing one"),
            ("\nA='b'c", 2, "follows the closing quote"),
        ] {
            let err = parse(text).unwrap_err();
            assert!(matches!(err, Error::Line { line: found, .. } if found == line), "{text}: {err}");
            assert!(err.to_string().contains(words), "{text}: {err}");
        }
    }
}
