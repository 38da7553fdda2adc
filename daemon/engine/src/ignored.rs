//! What a context is sent without, as Docker reads it: the lines of a `.dockerignore` as moby/patternmatcher takes them
//! (`ignorefile`, `patternmatcher.go`). It reads no file, and knows nothing of how one is packed.

use regex::{Regex, RegexBuilder};
use skynet_core::{Error, Result};
use std::{iter::Peekable, str::Chars};

/// As long as the file may be.
pub(crate) const MOST_BYTES: u64 = 64 << 10;

/// Each pattern is tried with each name.
const MOST_PATTERNS: usize = 1000;

/// Of one pattern that is understood, and of what is remembered of where it was tried.
const MOST_REGEX_BYTES: usize = 256 << 10;
const MOST_CACHE_BYTES: usize = 64 << 10;

/// The patterns of a context, in their order: the last one that a path or a directory above it fits decides.
#[derive(Debug, Default)]
pub(crate) struct Ignored(Vec<Pattern>);

#[derive(Debug)]
struct Pattern {
    /// As it was understood, without the `!`.
    cleaned: String,
    /// Whether it takes back what others name.
    is_exception: bool,
    /// Fits a path that the pattern names, and all that is below one.
    fits: Regex,
}

impl Ignored {
    /// Reads the lines of the file.
    ///
    /// # Errors
    /// `InvalidInput` for a pattern that Docker refuses as well.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        // Only a line that begins with it is a comment: behind a blank it is part of a name.
        let is_pattern = |line: &str| !line.starts_with('#') && !line.trim().is_empty();
        let count = text.lines().filter(|line| is_pattern(line)).count();
        if count > MOST_PATTERNS {
            return Err(Error::invalid_input(format!(
                "the context's ignore file has {count} patterns, and no more than {MOST_PATTERNS} are followed"
            )));
        }
        let lines = text.lines().enumerate().filter(|(_, line)| is_pattern(line));
        let patterns = lines.map(|(index, line)| {
            Pattern::parse(line.trim()).map_err(|why| {
                Error::invalid_input(format!(
                    "line {} of the context's ignore file is no pattern: `{}` {why}",
                    index + 1,
                    line.trim()
                ))
            })
        });
        Ok(Self(patterns.collect::<Result<_>>()?))
    }

    /// Whether it names nothing.
    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether that path of the context, such as `src/main.rs`, is left out.
    pub(crate) fn leaves_out(&self, path: &str) -> bool {
        let decides = |is_out: bool, pattern: &Pattern| {
            // One that would say what is so already is not tried.
            if pattern.is_exception == is_out && pattern.fits.is_match(path) { !is_out } else { is_out }
        };
        self.0.iter().fold(false, decides)
    }

    /// Whether an exception names that directory or something in it; one that may name anything does.
    pub(crate) fn may_take_back_from(&self, directory: &str) -> bool {
        let is_wild = |text: &str| text.contains(['*', '?', '[', '\\']);
        let below = format!("{directory}/");
        self.0
            .iter()
            .filter(|pattern| pattern.is_exception)
            .any(|pattern| is_wild(&pattern.cleaned) || format!("{}/", pattern.cleaned).starts_with(&below))
    }
}

impl Pattern {
    fn parse(line: &str) -> std::result::Result<Self, &'static str> {
        let (is_exception, named) = match line.strip_prefix('!') {
            Some(rest) => (true, rest.trim()),
            None => (false, line),
        };
        if named.is_empty() {
            return Err("takes back nothing");
        }
        let cleaned = clean(named);
        let fits = RegexBuilder::new(&format!("(?s)^(?:{})(?:/.*)?$", expression(&cleaned)?))
            .size_limit(MOST_REGEX_BYTES)
            .dfa_size_limit(MOST_CACHE_BYTES)
            .build()
            .map_err(|_| "is too long or has a range that ends before it begins")?;
        Ok(Self { cleaned, is_exception, fits })
    }
}

/// The path as `filepath.Clean` of Go writes it, and from the context on: a slash in front means the same.
fn clean(pattern: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in pattern.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            // Above a root there is nothing.
            ".." if pattern.starts_with('/') => {}
            part => parts.push(part),
        }
    }
    // The context itself is always sent, and no path of it has this name.
    if parts.is_empty() { ".".to_owned() } else { parts.join("/") }
}

/// The same in words of the crate `regex`.
fn expression(pattern: &str) -> std::result::Result<String, &'static str> {
    // With no other sign in it, a name behind `**` may also be the end of a name: `suffixMatch` of the original.
    let is_end_of_name = pattern
        .strip_prefix("**")
        .is_some_and(|rest| !rest.starts_with('/') && !rest.contains(['*', '?', '[', ']', '\\']));
    let mut chars = pattern.chars().peekable();
    let mut text = String::new();
    while let Some(ch) = chars.next() {
        match ch {
            '*' if chars.next_if_eq(&'*').is_some() => {
                let has_slash = chars.next_if_eq(&'/').is_some();
                let is_last = chars.peek().is_none();
                let is_any = is_last || (is_end_of_name && !has_slash);
                // Any number of directories, none as well.
                text.push_str(if is_any { ".*" } else { "(?:.*/)?" });
            }
            '*' => text.push_str("[^/]*"),
            '?' => text.push_str("[^/]"),
            '[' => class(&mut chars, &mut text)?,
            '\\' => literal(chars.next().ok_or("ends with a backslash")?, &mut text),
            ch => literal(ch, &mut text),
        }
    }
    Ok(text)
}

/// What is between brackets. `^` in front stands for all others, which here includes `/`, as in the original.
fn class(chars: &mut Peekable<Chars<'_>>, text: &mut String) -> std::result::Result<(), &'static str> {
    const UNCLOSED: &str = "has a bracket that is not closed";
    text.push('[');
    if chars.next_if_eq(&'^').is_some() {
        text.push('^');
    }
    let mut is_empty = true;
    loop {
        let first = match chars.next().ok_or(UNCLOSED)? {
            ']' if is_empty => return Err("has empty brackets"),
            ']' => break,
            '-' => return Err("has a `-` in brackets that is in no range; write `\\-`"),
            '\\' => chars.next().ok_or(UNCLOSED)?,
            ch => ch,
        };
        is_empty = false;
        literal(first, text);
        if chars.next_if_eq(&'-').is_some() {
            let last = match chars.next().ok_or(UNCLOSED)? {
                ']' | '-' => return Err("has a range in brackets without an end"),
                '\\' => chars.next().ok_or(UNCLOSED)?,
                ch => ch,
            };
            text.push('-');
            literal(last, text);
        }
    }
    text.push(']');
    Ok(())
}

/// A character that stands for itself. These two mean the edges of a word where they are escaped.
fn literal(ch: char, text: &mut String) {
    if ch.is_ascii_punctuation() && !matches!(ch, '<' | '>') {
        text.push('\\');
    }
    text.push(ch);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left_out(lines: &str, path: &str) -> bool {
        Ignored::parse(lines).unwrap().leaves_out(path)
    }

    /// What the documentation of Docker says of the file ("Build context", ".dockerignore files", "Syntax"), line by line.
    #[test]
    fn the_file_is_read_as_documented() {
        for (lines, out, sent) in [
            // "# comment" / "*/temp*" / "*/*/temp*" / "temp?"
            ("# comment\n*/temp*", &["somedir/temporary.txt", "somedir/temp"][..], &["temp", "a/b/temp"][..]),
            ("*/*/temp*", &["somedir/subdir/temporary.txt"], &["somedir/temporary.txt", "a/b/c/temp"]),
            ("temp?", &["tempa", "tempb", "tempa/below"], &["temp", "tempab", "a/tempa"]),
            // A slash in front or at the end means nothing.
            ("/foo/bar", &["foo/bar", "foo/bar/x"], &["bar", "x/foo/bar"]),
            ("foo/bar/", &["foo/bar", "foo/bar/x"], &["foo", "foo/barn"]),
            ("./foo//bar/../baz", &["foo/baz"], &["foo/bar"]),
            ("/../foo", &["foo"], &["bar"]),
            ("/", &[], &["foo"]),
            (".", &[], &["foo", ".foo"]),
            // "**" stands for any number of directories, none as well.
            ("**/*.go", &["main.go", "a/main.go", "a/b/main.go"], &["main.gob", "go"]),
            // "!" takes back, and the last line that fits decides.
            ("*.md\n!README.md", &["CHANGES.md"], &["README.md", "docs/x.md"]),
            (
                "*.md\n!README*.md\nREADME-secret.md",
                &["README-secret.md", "a.md"],
                &["README.md", "README-b.md"],
            ),
            ("*.md\nREADME-secret.md\n!README*.md", &["a.md"], &["README-secret.md", "README.md"]),
            ("*\n!src", &["target", "target/x"], &["src", "src/a/b"]),
            ("*\n!**/*.rs", &["a", "a/b.txt"], &["main.rs", "a/b.rs"]),
            ("*\n!src\nsrc/secret", &["src/secret", "src/secret/key"], &["src/open"]),
            ("a\n!a/b\na/b/c\n!a/b/c/d", &["a/x", "a/b/c/e"], &["a/b", "a/b/c/d/f"]),
            ("!README.md", &[], &["README.md", "x"]),
            // Comments, blanks, ends of lines.
            ("  target  \r\n\r\n\t\n", &["target"], &["  target"]),
            ("! keep\nkeep", &["keep"], &[]),
            ("*\n!  keep  ", &["other"], &["keep"]),
            ("#target", &[], &["target", "#target"]),
            (" #target", &["#target"], &["target"]),
            ("\\#target", &["#target"], &["target"]),
            ("\u{feff}target", &["target"], &[]),
        ] {
            for path in out {
                assert!(left_out(lines, path), "{lines:?} leaves out {path}");
            }
            for path in sent {
                assert!(!left_out(lines, path), "{lines:?} sends {path}");
            }
        }
    }

    /// The table of moby/patternmatcher (`TestMatches`), as far as it is about one pattern and one path.
    #[test]
    fn patterns_fit_what_they_fit_in_the_original() {
        for (pattern, path, fits) in [
            ("**", "file", true),
            ("**", "file/", true),
            ("**/", "file", true),
            ("**", "dir/file", true),
            ("**/**", "dir/file", true),
            ("dir/**", "file", false),
            ("dir/**", "dir/file", true),
            ("dir/**", "dir/dir2/file", true),
            ("dir/**", "dir", false),
            ("**/dir", "dir", true),
            ("**/dir", "dir/file", true),
            ("**/dir2/*", "dir/dir2/file", true),
            ("**/dir2/*", "dir/dir2/dir2/file", true),
            ("**/dir2/**", "dir/dir2/file", true),
            ("**file", "file", true),
            ("**file", "dir/file", true),
            ("**/file", "dir/file", true),
            ("**file", "dir/dir/file", true),
            ("**/file", "dir/dir/file", true),
            ("**/file*", "dir/dir/file", true),
            ("**/file*", "dir/dir/file.txt", true),
            ("**/file*txt", "dir/dir/file.txt", true),
            ("**/file*.txt", "dir/dir/file.txt", true),
            ("**/file*.txt*", "dir/dir/file.txt", true),
            ("**/**/*.txt", "dir/dir/file.txt", true),
            ("**/**/*.txt2", "dir/dir/file.txt", false),
            ("**/*.txt", "file.txt", true),
            ("**/**/*.txt", "file.txt", true),
            ("a**/*.txt", "a/file.txt", true),
            ("a**/*.txt", "a/dir/file.txt", true),
            ("a**/*.txt", "a/dir/dir/file.txt", true),
            ("a/*.txt", "a/dir/file.txt", false),
            ("a/*.txt", "a/file.txt", true),
            ("a/*.txt**", "a/file.txt", true),
            ("a[b-d]e", "ae", false),
            ("a[b-d]e", "ace", true),
            ("a[b-d]e", "aae", false),
            ("a[^b-d]e", "aze", true),
            (".*", ".foo", true),
            (".*", "foo", false),
            ("abc.def", "abcdef", false),
            ("abc.def", "abc.def", true),
            ("abc.def", "abcZdef", false),
            ("abc?def", "abcZdef", true),
            ("abc?def", "abcdef", false),
            ("a\\\\", "a\\", true),
            ("**/foo/bar", "foo/bar", true),
            ("**/foo/bar", "dir/foo/bar", true),
            ("**/foo/bar", "dir/dir2/foo/bar", true),
            ("abc/**", "abc", false),
            ("abc/**", "abc/def", true),
            ("abc/**", "abc/def/ghi", true),
            ("**/.foo", ".foo", true),
            ("**/.foo", "bar.foo", false),
            ("a(b)c/def", "a(b)c/def", true),
            ("a(b)c/def", "a(b)c/xyz", false),
            ("a.|)$(}+{bc", "a.|)$(}+{bc", true),
            (
                "dist/proxy.py-2.4.0rc3.dev36+g08acad9-py3-none-any.whl",
                "dist/proxy.py-2.4.0rc3.dev36+g08acad9-py3-none-any.whl",
                true,
            ),
            ("dist/*.whl", "dist/proxy.py-2.4.0rc3.dev36+g08acad9-py3-none-any.whl", true),
            // A sign that is one elsewhere stands for itself.
            ("a<b>&&~", "a<b>&&~", true),
            ("[<&&>]", "&", true),
            ("[\\]\\-]", "-", true),
            ("?", "é", true),
            ("[α-ω]", "π", true),
            ("^a$", "^a$", true),
        ] {
            // A path ends with no slash, whatever the original was asked.
            assert_eq!(left_out(pattern, path.trim_end_matches('/')), fits, "{pattern} {path}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused_with_its_line() {
        for (lines, part) in [
            ("ok\n!", "line 2 of the context's ignore file is no pattern: `!` takes back nothing"),
            ("[", "not closed"),
            ("[a", "not closed"),
            ("[]a]", "empty brackets"),
            ("[-x]", "no range"),
            ("[a-]", "without an end"),
            ("[z-a]", "ends before it begins"),
            ("a\\", "ends with a backslash"),
        ] {
            let refused = Ignored::parse(lines).unwrap_err();
            assert!(refused.message.contains(part), "{lines:?}: {}", refused.message);
        }
        // A path that long there is not, and it would be held in memory many times over.
        assert!(Ignored::parse(&"é".repeat(16 << 10)).unwrap_err().message.contains("is too long"));
        assert!(left_out(&"?".repeat(100), &"é".repeat(100)));
        assert!(Ignored::parse(&"a\n".repeat(1001)).unwrap_err().message.contains("1001 patterns"));
        assert!(Ignored::parse("# nothing\n\n").unwrap().is_empty());
    }

    #[test]
    fn it_is_known_where_something_may_be_taken_back() {
        let ignored = Ignored::parse("*\n!src/lib/x\n!docs").unwrap();
        for (directory, may) in
            [("src", true), ("src/lib", true), ("docs", true), ("data", false), ("sr", false)]
        {
            assert_eq!(ignored.may_take_back_from(directory), may, "{directory}");
        }
        assert!(Ignored::parse("*\n!**/x").unwrap().may_take_back_from("data"));
        assert!(!Ignored::parse("data").unwrap().may_take_back_from("data"));
    }
}
