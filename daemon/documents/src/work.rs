//! The parser's end: files are read, turned into text if they are none, and cut.

use crate::{
    about,
    code::Cutter,
    document::{About, Document, Format, Passage, Reading},
    html, languages, markdown, office, prose, roff, table,
};
use encoding_rs::{Encoding, WINDOWS_1252};
use flate2::read::GzDecoder;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use skynet_core::{Error, Result, canonical::hex};
use skynet_parser::{Fonts, Task};
use skynet_secrets::Scanner;
use std::{
    fs::File,
    io::{self, Read as _, Seek as _, Write as _},
    path::Path,
};

/// Text that has a line of so many bytes was written by a program for a program.
const LONGEST_LINE: usize = 20_000;

/// Text that is made of a file, in bytes: an archive may hold a thousand times its size.
const MOST_TEXT_BYTES: usize = 16 << 20;

/// What is told of all files of a batch, in bytes of JSON; the files after that are left for another one.
pub(crate) const MOST_ANSWER_BYTES: usize = 24 << 20;

/// In so many bytes from the beginning a NUL makes a file binary, as for Git.
const LOOKED_AT: usize = 8000;

/// Files to be read, in the order of their descriptors. One more descriptor is that of the file that takes what was read: a
/// socket takes less.
#[derive(Debug, Serialize, Deserialize)]
pub struct Batch {
    /// Their names, which tell how they are written.
    pub names: Vec<String>,
    /// Larger ones are skipped.
    pub max_bytes: u64,
}

/// What hands call this reader.
pub const READER: &str = "documents";

impl Task for Batch {
    const READER: &'static str = READER;
}

/// Reads all of them, or as many as an answer takes, at least one; writes a JSON array of [`Reading`] to the last file, and tells how many
/// bytes it has.
///
/// # Errors
/// `Internal` if the patterns of secrets cannot be used, as nothing is read without them, or if the result cannot be written.
#[expect(clippy::needless_pass_by_value, reason = "the parser hands it over")]
pub fn perform(batch: Batch, mut files: Vec<File>) -> Result<u64> {
    let mut output = files.pop().ok_or_else(|| Error::internal("there is no file for what is read"))?;
    let mut reader = Reader::new()?;
    let mut json = vec![b'['];
    for (name, mut file) in batch.names.iter().zip(files) {
        let mut bytes = Vec::new();
        // A parser that died may have read it before.
        let reading =
            match file.rewind().and_then(|()| file.take(batch.max_bytes + 1).read_to_end(&mut bytes)) {
                Ok(_) if bytes.len() as u64 > batch.max_bytes => {
                    Reading::Skipped(format!("larger than {} bytes", batch.max_bytes))
                }
                Ok(_) => reader.read(name, &bytes),
                Err(err) => Reading::Skipped(format!("it cannot be read: {err}")),
            };
        let cannot = |err| Error::internal("what was read cannot be written").with_source(err);
        let mut told = serde_json::to_vec(&reading).map_err(cannot)?;
        if told.len() > MOST_ANSWER_BYTES {
            told = serde_json::to_vec(&Reading::Skipped("it says too much".into())).map_err(cannot)?;
        }
        if json.len() > 1 {
            if json.len() + told.len() > MOST_ANSWER_BYTES {
                break;
            }
            json.push(b',');
        }
        json.append(&mut told);
    }
    json.push(b']');
    let unwritable = |err: io::Error| Error::internal("what was read cannot be written").with_source(err);
    output.write_all(&json).map_err(unwritable)?;
    Ok(json.len() as u64)
}

/// No font is needed to read.
#[must_use]
pub fn fonts(_: &Batch) -> Fonts {
    Fonts::None
}

/// Reads one file after the other.
pub struct Reader {
    scanner: Scanner,
    cutter: Cutter,
}

impl Reader {
    /// # Errors
    /// `Internal` if the patterns of secrets cannot be used: nothing is read without them.
    pub fn new() -> Result<Self> {
        let scanner = Scanner::new::<String, Vec<u8>>([])
            .map_err(|err| Error::internal("secrets cannot be looked for").with_source(err))?;
        Ok(Self { scanner, cutter: Cutter::default() })
    }

    /// Reads and cuts a file by its content and the name it has.
    pub fn read(&mut self, name: &str, bytes: &[u8]) -> Reading {
        read(name, bytes, &self.scanner, &mut self.cutter).unwrap_or_else(Reading::Skipped)
    }
}

fn read(name: &str, bytes: &[u8], scanner: &Scanner, cutter: &mut Cutter) -> Result<Reading, String> {
    let hash = hex(&Sha256::digest(bytes));
    let unpacked = unpack_manual(name, bytes)?;
    let (name, bytes) = unpacked.as_ref().map_or((name, bytes), |(name, bytes)| (*name, bytes.as_slice()));
    let extension = extension_of(name);
    let mut secrets = 0;
    let mut redact = |text: String| {
        let clean = scanner.redact(text.as_bytes());
        secrets += u32::try_from(clean.found.len()).unwrap_or(u32::MAX);
        if clean.found.is_empty() { text } else { String::from_utf8_lossy(&clean.bytes).into_owned() }
    };
    // Before it is turned into something else, which may put letters into it, and after that, when some are gone.
    let extension_in_lower_case = extension.to_ascii_lowercase();
    let (format, text, title) = match extension_in_lower_case.as_str() {
        "html" | "htm" | "xhtml" => {
            let html::Page { markdown, title } = html::read(&redact(decode(bytes)?))?;
            (Format::Html, markdown, title)
        }
        other => {
            let (format, text) = text_of(other, bytes)?;
            (format, text, None)
        }
    };
    if text.len() > MOST_TEXT_BYTES {
        return Err(format!("its text is larger than {} MiB", MOST_TEXT_BYTES >> 20));
    }
    let mut document = cut(name, extension, format, &redact(text), cutter);
    if let Some(title) = title {
        html::put_title(&mut document, redact(title));
    }
    // They are many and short, and almost never is there anything: one look at all of them.
    let names = document.names_mut();
    let together = names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join("\n");
    if !scanner.redact(together.as_bytes()).found.is_empty() {
        names.into_iter().for_each(|name| *name = redact(std::mem::take(name)));
    }
    (document.hash, document.secrets) = (hash, secrets);
    Ok(Reading::Document(document))
}

fn extension_of(name: &str) -> &str {
    Path::new(name).extension().and_then(|extension| extension.to_str()).unwrap_or_default()
}

/// A page of the manual that was packed by gzip, as distributions do: its name without that, and itself.
fn unpack_manual<'n>(name: &'n str, bytes: &[u8]) -> Result<Option<(&'n str, Vec<u8>)>, String> {
    let inner = name.strip_suffix(".gz");
    let Some(inner) =
        inner.filter(|name| extension_of(name).starts_with(|first: char| first.is_ascii_digit()))
    else {
        return Ok(None);
    };
    let mut unpacked = Vec::new();
    // One byte more than a text may have says that it is too long.
    let read = GzDecoder::new(bytes).take(MOST_TEXT_BYTES as u64 + 1).read_to_end(&mut unpacked);
    read.map_err(|err| format!("it cannot be unpacked: {err}"))?;
    Ok(Some((inner, unpacked)))
}

/// Cuts a text.
fn cut(name: &str, extension: &str, format: Format, text: &str, cutter: &mut Cutter) -> Document {
    let mut document = Document {
        format,
        code: None,
        title: None,
        hash: String::new(),
        about: About::default(),
        passages: Vec::new(),
        outline: Vec::new(),
        secrets: 0,
    };
    match format {
        Format::Text => {
            let grammar = languages::find(extension, text.lines().next().unwrap_or_default());
            let is_written_by_hand = text.lines().all(|line| line.len() <= LONGEST_LINE);
            if let Some(grammar) = grammar.filter(|_| is_written_by_hand)
                && let Some((passages, outline)) = cutter.cut(grammar, text)
            {
                (document.format, document.code) = (Format::Code, Some(grammar.name.to_owned()));
                (document.passages, document.outline) = (passages, outline);
            } else {
                document.passages = prose::cut(text, &[], 1);
            }
        }
        Format::Table => document.passages = table::cut(text),
        Format::Pdf => document.passages = pages(text),
        Format::Code | Format::Markdown | Format::Html | Format::Office => {
            (document.passages, document.outline, document.title) = markdown::cut(text);
            document.about = about::of_front_matter(text);
        }
        Format::Manual => {
            // Its title is above all of its sections.
            (document.passages, document.outline, document.title) = markdown::cut(&roff::to_markdown(text));
        }
    }
    if document.passages.is_empty() && document.outline.is_empty() && !name.is_empty() {
        document.title.get_or_insert_with(|| name.to_owned());
    }
    document
}

/// What a file says, and how it was written.
fn text_of(extension: &str, bytes: &[u8]) -> Result<(Format, String), String> {
    match extension {
        "pdf" => {
            let pages = pdf_extract::extract_text_from_mem_by_pages(bytes);
            let pages = pages.map_err(|err| format!("its text cannot be read: {err}"))?;
            Ok((Format::Pdf, pages.join("\u{c}")))
        }
        "docx" | "odt" => Ok((Format::Office, office::read(bytes)?)),
        "md" | "markdown" | "mdx" => Ok((Format::Markdown, decode(bytes)?)),
        "csv" | "tsv" => Ok((Format::Table, decode(bytes)?)),
        section if section.starts_with(|first: char| first.is_ascii_digit()) => {
            let text = decode(bytes)?;
            Ok((if roff::is_manual(&text) { Format::Manual } else { Format::Text }, text))
        }
        _ => Ok((Format::Text, decode(bytes)?)),
    }
}

/// UTF-8 or, by its mark, UTF-16; what is almost UTF-8 was written on an old Windows.
fn decode(bytes: &[u8]) -> Result<String, String> {
    if let Some((encoding, _)) = Encoding::for_bom(bytes) {
        return Ok(encoding.decode(bytes).0.into_owned());
    }
    if bytes.iter().take(LOOKED_AT).any(|byte| *byte == 0) {
        return Err("binary".into());
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.to_owned()),
        Err(_) => {
            let odd = bytes
                .iter()
                .filter(|byte| **byte < b' ' && !byte.is_ascii_whitespace() && **byte != 0x1b)
                .count();
            if odd * 100 > bytes.len() {
                Err("binary".into())
            } else {
                Ok(WINDOWS_1252.decode(bytes).0.into_owned())
            }
        }
    }
}

/// The pages of a text are separated by form feeds.
fn pages(text: &str) -> Vec<Passage> {
    let pages = text.split('\u{c}').enumerate();
    pages.flat_map(|(number, page)| prose::cut(page, &[format!("page {}", number + 1)], 1)).collect()
}
