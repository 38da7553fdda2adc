//! What an edit changes, as a unified diff (diff(1), "Unified Format"): always one that can be applied, and never for longer
//! than it is given. What is too much to be compared is shown as one block for another.

use memchr::memchr_iter;
use similar::{DiffTag, TextDiff};
use std::time::Instant;

/// Lines around a change.
const CONTEXT: usize = 3;

/// Of both texts, from the first to the last that differs. Comparing them takes a hundred bytes of memory for each.
const MOST_COMPARED_LINES: usize = 200_000;

/// The difference between two texts; empty if there is none. What is not compared at `until` is not compared any more.
pub(crate) fn unified(old: &str, new: &str, path: &str, until: Instant) -> String {
    if old == new {
        return String::new();
    }
    let window = Window::between(old, new);
    let mut text = format!("--- a/{path}\n+++ b/{path}\n");
    if count_lines(window.old) + count_lines(window.new) > MOST_COMPARED_LINES {
        add_header(&mut text, window.line, count_lines(window.old), window.line, count_lines(window.new));
        lines_of(window.old).for_each(|line| add_line(&mut text, '-', line));
        lines_of(window.new).for_each(|line| add_line(&mut text, '+', line));
        return text;
    }
    let (old, new): (Vec<&str>, Vec<&str>) = (lines_of(window.old).collect(), lines_of(window.new).collect());
    let compared = TextDiff::configure().deadline(until).diff_slices(&old, &new);
    for hunk in compared.grouped_ops(CONTEXT) {
        let (Some(first), Some(last)) = (hunk.first(), hunk.last()) else { continue };
        let old_range = first.old_range().start..last.old_range().end;
        let new_range = first.new_range().start..last.new_range().end;
        let (old_line, new_line) = (window.line + old_range.start, window.line + new_range.start);
        add_header(&mut text, old_line, old_range.len(), new_line, new_range.len());
        for part in &hunk {
            let mut add =
                |sign, lines: &[&str]| lines.iter().for_each(|line| add_line(&mut text, sign, line));
            let removed = old.get(part.old_range()).unwrap_or_default();
            let added = new.get(part.new_range()).unwrap_or_default();
            match part.tag() {
                DiffTag::Equal => add(' ', removed),
                DiffTag::Delete | DiffTag::Insert | DiffTag::Replace => {
                    add('-', removed);
                    add('+', added);
                }
            }
        }
    }
    text
}

/// All that differs of two texts, in whole lines, with the context around it.
struct Window<'a> {
    old: &'a str,
    new: &'a str,
    /// How many lines are before it.
    line: usize,
}

impl<'a> Window<'a> {
    fn between(old: &'a str, new: &'a str) -> Self {
        let is_same = |(a, b): &(u8, u8)| a == b;
        let same = old.bytes().zip(new.bytes()).take_while(is_same).count();
        let shared = old.as_bytes().get(..same).unwrap_or_default();
        // The line that differs, and the context above it.
        let start = memchr::memrchr_iter(b'\n', shared).nth(CONTEXT).map_or(0, |feed| feed + 1);
        let rest = |text: &'a str| text.get(start..).unwrap_or_default();
        let (old_rest, new_rest) = (rest(old), rest(new));
        // The end that both have does not overlap what they have in common at the beginning.
        let most = old_rest.len().min(new_rest.len()).saturating_sub(same - start);
        let ends = old_rest.bytes().rev().zip(new_rest.bytes().rev()).take(most);
        let same_end = ends.take_while(is_same).count();
        let tail = old_rest.as_bytes().get(old_rest.len() - same_end..).unwrap_or_default();
        // Whole lines of it beyond the context are left out; its first one may have begun before.
        let kept = memchr_iter(b'\n', tail).nth(CONTEXT).map_or(tail.len(), |feed| feed + 1);
        let left_out = same_end - kept;
        let until_end = |text: &'a str| text.get(..text.len() - left_out).unwrap_or(text);
        let line = memchr_iter(b'\n', old.as_bytes().get(..start).unwrap_or_default()).count();
        Self { old: until_end(old_rest), new: until_end(new_rest), line }
    }
}

/// With their ends. Only a line feed ends one.
fn lines_of(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive('\n')
}

fn count_lines(text: &str) -> usize {
    memchr_iter(b'\n', text.as_bytes()).count() + usize::from(!text.is_empty() && !text.ends_with('\n'))
}

/// Lines are given from 0; where there are none, the one before counts.
fn add_header(text: &mut String, old_line: usize, old_count: usize, new_line: usize, new_count: usize) {
    let range = |line: usize, count: usize| match count {
        0 => format!("{line},0"),
        1 => format!("{}", line + 1),
        count => format!("{},{count}", line + 1),
    };
    text.push_str(&format!("@@ -{} +{} @@\n", range(old_line, old_count), range(new_line, new_count)));
}

fn add_line(text: &mut String, sign: char, line: &str) {
    text.push(sign);
    text.push_str(line);
    if !line.ends_with('\n') {
        text.push_str("\n\\ No newline at end of file\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn diff(old: &str, new: &str) -> String {
        unified(old, new, "f", Instant::now() + Duration::from_secs(60))
    }

    fn applied(old: &str, diff: &str) -> String {
        diffy::apply(old, &diffy::Patch::from_str(diff).unwrap()).unwrap()
    }

    #[test]
    fn what_is_shown_can_be_applied() {
        let long: String = (0..40).map(|number| format!("line {number}\n")).collect();
        let twice = long.replace("line 2\n", "").replace("line 30\n", "line thirty\nmore\n");
        for (old, new) in [
            ("one\ntwo\nthree\n", "one\n2\nthree\nfour\n"),
            ("", "new\n"),
            ("old", ""),
            ("no end", "no end\n"),
            ("a\nb", "a\nc"),
            ("a\r\nb\r\n", "a\r\nc\r\n"),
            ("a\rb\rc", "a\rx\rc"),
            ("a\na\na\n", "a\na\n"),
            ("a\n\n\n\n\n\nb\n", "a\n\n\n\n\n\n\nb\n"),
            (&long, &twice),
            (&twice, &long),
            ("ä\nö\n", "ä\nÖ\n"),
        ] {
            let diff = diff(old, new);
            assert_eq!(applied(old, &diff), new, "{diff}");
        }
        assert_eq!(
            diff("1\n2\n3\n4\n5\n6\n7\n8\n9\n", "1\n2\n3\n4\nfive\n6\n7\n8\n9\n"),
            "--- a/f\n+++ b/f\n@@ -2,7 +2,7 @@\n 2\n 3\n 4\n-5\n+five\n 6\n 7\n 8\n"
        );
        assert_eq!(diff("same", "same"), "");
    }

    #[test]
    fn what_takes_too_long_to_compare_is_shown_all_the_same() {
        let old: String = (0..20_000).map(|number| format!("{}\n", number % 7)).collect();
        let new: String = (0..20_000).map(|number| format!("{}\n", number % 11)).collect();
        let diff = unified(&old, &new, "f", Instant::now());
        assert_eq!(applied(&old, &diff), new);
    }

    #[test]
    fn too_many_lines_are_one_block_for_another() {
        let old = "a\n".repeat(MOST_COMPARED_LINES);
        let new = format!("first\n{}last\n", "b\na\n".repeat(MOST_COMPARED_LINES / 2));
        let block = diff(&old, &new);
        assert_eq!(block.matches("@@ -").count(), 1);
        assert!(!block.lines().any(|line| line.starts_with(' ')), "nothing is compared");
        assert_eq!(applied(&old, &block), new);
        // A small change of a large file is none of that.
        let small = diff(&old, &format!("{old}end\n"));
        assert_eq!(small.lines().filter(|line| line.starts_with('+')).count(), 2, "{small}");
    }
}
