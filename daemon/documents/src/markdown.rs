//! Markdown, cut at its headings; each passage knows those above it.

use crate::{
    document::{Definition, Passage},
    lines::Lines,
    prose,
};
use pulldown_cmark::{Event, HeadingLevel, Parser, Tag, TagEnd};

/// A section that is shorter keeps company with those below its heading, up to so many bytes.
const SHORT: usize = 700;

/// Bytes of a heading: what is longer is text that somebody put a `#` before.
const LONGEST_HEADING: usize = 200;

struct Heading {
    level: HeadingLevel,
    name: String,
    start: usize,
}

/// The passages, the outline, and the title.
pub(crate) fn cut(text: &str) -> (Vec<Passage>, Vec<Definition>, Option<String>) {
    let lines = Lines::new(text);
    let headings = headings(text);
    let mut passages = Vec::new();
    let mut outline = Vec::new();
    let first = headings.first().map_or(text.len(), |heading| heading.start);
    passages.extend(prose::cut(text.get(..first).unwrap_or_default(), &[], 1));
    let mut chain: Vec<(HeadingLevel, String)> = Vec::new();
    // The section that is still short, and its headings.
    let mut open: Option<(usize, Vec<String>)> = None;
    for (number, heading) in headings.iter().enumerate() {
        let end = headings.get(number + 1).map_or(text.len(), |next| next.start);
        chain.retain(|(level, _)| *level < heading.level);
        let parents: Vec<String> = chain.iter().map(|(_, name)| name.clone()).collect();
        chain.push((heading.level, heading.name.clone()));
        outline.push(Definition {
            name: heading.name.clone(),
            kind: "heading".into(),
            parents,
            signature: format!("{} {}", "#".repeat(heading.level as usize), heading.name),
            first_line: lines.of(heading.start),
            last_line: lines.of(end.saturating_sub(1)),
        });
        let names: Vec<String> = chain.iter().map(|(_, name)| name.clone()).collect();
        if let Some((start, above)) = &open
            && (end - start > SHORT || !names.starts_with(above))
        {
            passages.extend(section(text, *start, heading.start, above, &lines));
            open = None;
        }
        let (start, _) = open.get_or_insert((heading.start, names));
        if end - *start > SHORT
            && let Some((start, above)) = open.take()
        {
            passages.extend(section(text, start, end, &above, &lines));
        }
    }
    if let Some((start, above)) = open {
        passages.extend(section(text, start, text.len(), &above, &lines));
    }
    let title = headings.into_iter().next().map(|heading| heading.name);
    (passages, outline, title)
}

fn section(text: &str, start: usize, end: usize, chain: &[String], lines: &Lines) -> Vec<Passage> {
    prose::cut(text.get(start..end).unwrap_or_default(), chain, lines.of(start))
}

/// A line of Markdown as people read it: without its signs.
pub(crate) fn plain(line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    headings(&format!("# {}", words.join(" ")))
        .into_iter()
        .next()
        .map(|heading| heading.name)
        .unwrap_or_default()
}

fn headings(text: &str) -> Vec<Heading> {
    let mut headings: Vec<Heading> = Vec::new();
    let mut is_open = false;
    for (event, range) in Parser::new(text).into_offset_iter() {
        match event {
            Event::Start(Tag::Heading { level, .. }) => {
                headings.push(Heading { level, name: String::new(), start: range.start });
                is_open = true;
            }
            Event::End(TagEnd::Heading(_)) => {
                is_open = false;
                if let Some(heading) = headings.last_mut() {
                    heading.name.truncate(heading.name.floor_char_boundary(LONGEST_HEADING));
                }
            }
            Event::Text(part) | Event::Code(part) if is_open => {
                if let Some(heading) = headings.last_mut() {
                    heading.name.push_str(&part);
                }
            }
            _ => {}
        }
    }
    headings
}
