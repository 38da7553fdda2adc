//! The book: every page is in its table of contents, and every link of a page leads somewhere. It never looks at what others
//! have on the web.

use anyhow::{Context as _, Result};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

/// Where its pages are; those beside it at the top of the checkout are looked at as well.
const PAGES: &str = "docs/";

/// Its table of contents, which need not name itself.
const SUMMARY: &str = "docs/SUMMARY.md";

/// Adds what is wrong; `files` are all that belong to the repository.
pub(crate) fn check(files: &[&str], faults: &mut Vec<String>) -> Result<()> {
    let mut pages = BTreeMap::new();
    for path in files.iter().copied().filter(|path| is_page(path)) {
        let text =
            fs::read_to_string(crate::root().join(path)).with_context(|| format!("reading `{path}`"))?;
        pages.insert(path, without_fences(&text));
    }
    let anchors: BTreeMap<&str, BTreeSet<String>> =
        pages.iter().map(|(path, text)| (*path, anchors(text))).collect();
    for (page, text) in &pages {
        for link in links(text) {
            if let Some(why) = fault(page, &link, files, &anchors) {
                faults.push(format!("{page}: the link `{link}` {why}"));
            }
        }
    }
    let summary = pages.get(SUMMARY).map(String::as_str).unwrap_or_default();
    let listed: BTreeSet<String> = links(summary).iter().filter_map(|link| resolve(SUMMARY, link)).collect();
    let unlisted =
        pages.keys().filter(|page| page.starts_with(PAGES) && **page != SUMMARY && !listed.contains(**page));
    faults.extend(unlisted.map(|page| format!("{page}: {SUMMARY} does not name it")));
    Ok(())
}

fn is_page(path: &str) -> bool {
    path.ends_with(".md") && (path.starts_with(PAGES) || !path.contains('/'))
}

/// What is wrong with a link, if anything.
fn fault(
    page: &str,
    link: &str,
    files: &[&str],
    anchors: &BTreeMap<&str, BTreeSet<String>>,
) -> Option<&'static str> {
    if link.contains("://") || link.starts_with("mailto:") {
        return None;
    }
    let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
    let target = if path.is_empty() { Some(page.to_owned()) } else { resolve(page, path) };
    let Some(target) = target else { return Some("leads out of the repository") };
    let is_there = files.iter().any(|file| {
        file.strip_prefix(target.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    });
    if !is_there {
        return Some("leads nowhere");
    }
    let has_anchor = anchors.get(target.as_str()).is_none_or(|known| known.contains(anchor));
    if anchor.is_empty() || has_anchor { None } else { Some("names no heading of that page") }
}

/// Where a link of `page` leads, from the top of the checkout.
fn resolve(page: &str, link: &str) -> Option<String> {
    let mut parts: Vec<&str> = page.split('/').collect();
    parts.pop();
    for part in link.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

/// The lines that are in no block of code.
fn without_fences(text: &str) -> String {
    let mut is_code = false;
    let mut kept = String::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        } else if !is_code {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

/// The targets of all links, those within code left out.
fn links(text: &str) -> Vec<String> {
    let text = without_spans(text);
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')'))
        .map(|(link, _)| link.to_owned())
        .collect()
}

/// The text without what stands between backticks. A span ends with as many of them as it began with, in the same
/// paragraph (CommonMark 0.31, 6.1).
fn without_spans(text: &str) -> String {
    let mut kept = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('`') {
        let (before, after) = rest.split_at(at);
        kept.push_str(before);
        let ticks = ticks_of(after);
        let (mark, body) = after.split_at(ticks);
        let paragraph = body.split("\n\n").next().unwrap_or_default();
        match end_of_span(paragraph, ticks) {
            Some(end) => rest = body.get(end + ticks..).unwrap_or_default(),
            None => {
                kept.push_str(mark);
                rest = body;
            }
        }
    }
    kept.push_str(rest);
    kept
}

fn end_of_span(text: &str, ticks: usize) -> Option<usize> {
    let mut from = 0;
    loop {
        let at = from + text.get(from..)?.find('`')?;
        let found = ticks_of(text.get(at..)?);
        if found == ticks {
            return Some(at);
        }
        from = at + found;
    }
}

fn ticks_of(text: &str) -> usize {
    text.bytes().take_while(|byte| *byte == b'`').count()
}

/// What the headings of a page are called in links, as forges do it: the second of a name has `-1` behind it.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut anchors = BTreeSet::new();
    for line in text.lines() {
        let heading = line.trim_start_matches('#');
        let level = line.len() - heading.len();
        let Some(heading) = heading.strip_prefix(' ').filter(|_| (1..=6).contains(&level)) else { continue };
        let name = slug(heading);
        let count = seen.entry(name.clone()).or_default();
        anchors.insert(if *count == 0 { name } else { format!("{name}-{count}") });
        *count += 1;
    }
    anchors
}

fn slug(heading: &str) -> String {
    let lower = heading.trim().to_lowercase();
    let kept = lower.chars().filter(|letter| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_'));
    kept.map(|letter| if letter == ' ' { '-' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_in_code_are_none() {
        let text =
            "[a](a.md) `[b](b.md)` ``[`c](c.md)`` ` [d](d.md)\n\n```text\n[e](e.md)\n```\n[f](f.md#g)\n";
        assert_eq!(links(&without_fences(text)), ["a.md", "d.md", "f.md#g"]);
    }

    #[test]
    fn headings_are_named_as_forges_do() {
        let text = "# The `audit` log\n## One user or a whole host\n## Été, l'hiver\n## One user or a whole host\n#no\n";
        let known = ["the-audit-log", "one-user-or-a-whole-host", "été-lhiver", "one-user-or-a-whole-host-1"];
        assert_eq!(anchors(text), known.map(str::to_owned).into());
    }

    #[test]
    fn a_link_leads_somewhere_or_is_a_fault() {
        let files = ["README.md", "docs/a.md", "docs/fr/b.md"];
        let anchors = BTreeMap::from([("docs/a.md", BTreeSet::from(["top".to_owned()]))]);
        for (link, why) in [
            ("../a.md", None),
            ("../a.md#top", None),
            ("../../README.md", None),
            ("../../docs", None),
            ("https://example.org/x", None),
            ("../a.md#bottom", Some("names no heading of that page")),
            ("a.md", Some("leads nowhere")),
            ("../../../README.md", Some("leads out of the repository")),
        ] {
            assert_eq!(fault("docs/fr/b.md", link, &files, &anchors), why, "{link}");
        }
    }
}
