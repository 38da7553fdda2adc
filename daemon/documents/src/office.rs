//! Texts of word processors, turned into Markdown: Office Open XML (ECMA-376, part 1, section 17) and OpenDocument
//! (OASIS OpenDocument 1.3, part 3).

use quick_xml::{
    Reader,
    events::{BytesStart, Event},
};
use std::io::{Cursor, Read as _};
use zip::ZipArchive;

/// Bytes of XML that are looked at; a document of a thousand pages has less.
const MOST_XML_BYTES: u64 = 32 << 20;

/// The text of an archive, as Markdown.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn read(bytes: &[u8]) -> Result<String, String> {
    let mut archive =
        ZipArchive::new(Cursor::new(bytes)).map_err(|err| format!("it is no archive: {err}"))?;
    let part =
        ["word/document.xml", "content.xml"].into_iter().find(|name| archive.index_for_name(name).is_some());
    let part = part.ok_or("it has neither `word/document.xml` nor `content.xml`")?;
    let file = archive.by_name(part).map_err(|err| err.to_string())?;
    let mut xml = Vec::new();
    file.take(MOST_XML_BYTES + 1).read_to_end(&mut xml).map_err(|err| err.to_string())?;
    if xml.len() as u64 > MOST_XML_BYTES {
        return Err(format!("its text is larger than {} MiB", MOST_XML_BYTES >> 20));
    }
    let xml = String::from_utf8(xml).map_err(|_| "its text is not UTF-8")?;
    // Word has what is seen in elements of its own; other texts of a paragraph are commands.
    text_of(&xml, if part == "content.xml" { &["p", "h"] } else { &["t"] })
}

fn text_of(xml: &str, with_text: &[&str]) -> Result<String, String> {
    let mut reader = Reader::from_str(xml);
    let mut markdown = String::new();
    let mut paragraph = String::new();
    // Of the paragraph: 0 is no heading.
    let mut level = 0;
    // Only what is between these is text; elsewhere it is layout.
    let mut depth = 0_u32;
    let mut buffer = Vec::new();
    loop {
        match reader.read_event_into(&mut buffer).map_err(|err| format!("its text is damaged: {err}"))? {
            Event::Start(start) => match start.local_name().as_ref() {
                name @ ("t" | "p" | "h") => {
                    depth += u32::from(with_text.contains(&name));
                    if name == "h" {
                        level = attribute(&start, "outline-level")
                            .and_then(|value| value.parse().ok())
                            .unwrap_or(1);
                    }
                }
                "pStyle" => level = heading_of(&start).unwrap_or(level),
                _ => {}
            },
            Event::Empty(start) => match start.local_name().as_ref() {
                "pStyle" => level = heading_of(&start).unwrap_or(level),
                "tab" | "s" => paragraph.push(' '),
                "br" | "line-break" => paragraph.push('\n'),
                _ => {}
            },
            Event::Text(text) if depth > 0 => {
                paragraph.push_str(&text);
            }
            Event::GeneralRef(name) if depth > 0 => {
                paragraph.push_str(quick_xml::escape::resolve_xml_entity(&name).unwrap_or(" "));
            }
            Event::End(end) => match end.local_name().as_ref() {
                "t" if with_text.contains(&"t") => depth = depth.saturating_sub(1),
                name @ ("p" | "h") => {
                    depth = depth.saturating_sub(u32::from(with_text.contains(&name)));
                    if !paragraph.trim().is_empty() {
                        if level > 0 {
                            markdown.push_str(&"#".repeat(level.min(6)));
                            markdown.push(' ');
                        }
                        markdown.push_str(paragraph.trim());
                        markdown.push_str("\n\n");
                    }
                    paragraph.clear();
                    level = 0;
                }
                _ => {}
            },
            Event::Eof => return Ok(markdown),
            _ => {}
        }
        buffer.clear();
    }
}

/// The level that a style of Word is named after: `Heading2`.
fn heading_of(style: &BytesStart<'_>) -> Option<usize> {
    let name = attribute(style, "val")?;
    if name.eq_ignore_ascii_case("title") {
        return Some(1);
    }
    let digits = name.trim_start_matches(|c: char| !c.is_ascii_digit());
    let is_heading = ["heading", "titre"].iter().any(|word| name.to_ascii_lowercase().starts_with(word));
    if is_heading { digits.parse().ok() } else { None }
}

fn attribute(start: &BytesStart<'_>, name: &str) -> Option<String> {
    let attribute =
        start.attributes().flatten().find(|attribute| attribute.key.local_name().as_ref() == name)?;
    Some(attribute.value.into_owned())
}
