//! Reads a file, whole or in part.

use crate::{
    content::digest,
    text::{self, Wanted},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{
    CallCtx, Effect, Error, Place, RelativePath, Result, Tool, error::IoContext as _, json,
    target::open_regular,
};
use std::{fs::File, io::Read as _, os::unix::fs::FileExt as _};

/// Files up to this size are read whole, so that their digest can be told.
const WHOLE_BYTES: u64 = 8 << 20;

pub(crate) struct FilesRead;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// The file.
    path: String,
    /// First line, from 1.
    #[serde(default)]
    #[schemars(range(min = 1))]
    start_line: Option<u64>,
    /// How many lines; all that fit if left out.
    #[serde(default)]
    #[schemars(range(min = 1))]
    line_count: Option<u64>,
    /// How to decode: `auto` by byte order mark, else as UTF-8, else as Latin-1; `base64` returns bytes of any file.
    #[serde(default)]
    encoding: Wanted,
    /// With `base64`: first byte.
    #[serde(default)]
    offset_bytes: u64,
    /// Most bytes (default 65536).
    #[serde(default)]
    #[schemars(range(min = 1, max = 4194304))]
    #[allow(dead_code, reason = "the pipeline reads it and tells `ctx.max_bytes`")]
    max_bytes: Option<u64>,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// The lines, or base64.
    content: String,
    #[serde(flatten)]
    about: About,
}

// What there is to say of the content. A doc comment here would become the description of all of the output.
#[derive(Serialize, JsonSchema)]
struct About {
    /// How the content was decoded.
    encoding: &'static str,
    /// Of the whole file.
    size_bytes: u64,
    /// Of the whole file; pass it as `expected_sha256` when changing it. Absent above 8 MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
    /// The first line returned.
    #[serde(skip_serializing_if = "Option::is_none")]
    start_line: Option<u64>,
    /// Lines in the whole file. Absent above 8 MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    total_lines: Option<u64>,
    /// Where to go on: `start_line`, or `offset_bytes` with base64. Absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<u64>,
}

impl Tool for FilesRead {
    const NAME: &'static str = "files_read";
    const SUMMARY: &'static str = "Read a text file, whole or a range of lines; bytes of any file with encoding `base64`. Tells the sha256 that guards a later change.";
    const KEYWORDS: &'static str = "open cat view show display print content head tail lines | lire ouvrir afficher voir contenu montrer fichier lignes";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Hands;
    type Input = Input;
    type Output = Output;

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let workspace = ctx.workspace()?;
        let path = workspace.relative(&input.path)?;
        let mut file = open_regular(workspace, &path)?;
        let size_bytes = file.metadata().on(&path)?.len();
        if input.encoding == Wanted::Base64 {
            return read_bytes(&file, &path, input.offset_bytes, size_bytes, ctx.max_bytes);
        }
        if input.offset_bytes > 0 {
            return Err(Error::invalid_input(
                "`offset_bytes` goes with encoding `base64`; use `start_line` for text",
            ));
        }
        // A sparse file of 10 GB is told from text by its first bytes.
        let most = size_bytes.min(WHOLE_BYTES);
        let mut content = Vec::with_capacity(usize::try_from(most).unwrap_or(0));
        file.by_ref().take(most).read_to_end(&mut content).on(&path)?;
        if text::is_binary(&content) {
            return Err(Error::invalid_input(format!(
                "`{path}` is a binary file of {size_bytes} bytes; read its bytes with encoding `base64`"
            )));
        }
        let start_line = input.start_line.unwrap_or(1);
        if size_bytes > WHOLE_BYTES {
            return read_large(ctx, &path, file, &content, start_line, &input, size_bytes);
        }
        let (decoded, encoding) = text::decode(&content, input.encoding)?;
        let total_lines = count_lines(&decoded);
        if start_line > total_lines.max(1) {
            return Err(Error::invalid_input(format!(
                "`{path}` has {total_lines} lines; `start_line` is {start_line}"
            )));
        }
        let tail = decoded.get(offset_of_line(&decoded, start_line)..).unwrap_or_default();
        let (range, next) = select(tail, start_line, input.line_count, ctx.max_bytes)?;
        let about = About {
            encoding,
            size_bytes,
            sha256: Some(digest(&content)),
            start_line: Some(start_line),
            total_lines: Some(total_lines),
            next,
        };
        Ok(Output { content: range.to_owned(), about })
    }

    fn to_json(output: &Output) -> Result<Vec<u8>> {
        json::write_text_and("content", &output.content, &output.about)
    }
}

/// Lines of a file that is too large to be read whole; its encoding must have one byte for a line feed.
fn read_large(
    ctx: &CallCtx,
    path: &RelativePath,
    mut file: File,
    head: &[u8],
    start_line: u64,
    input: &Input,
    size_bytes: u64,
) -> Result<Output> {
    let mut line = 1;
    let mut wanted = Vec::new();
    let mut chunk = head.to_vec();
    loop {
        ctx.check_canceled()?;
        let mut rest = chunk.as_slice();
        while line < start_line {
            let Some(end) = rest.iter().position(|&byte| byte == b'\n') else {
                rest = &[];
                break;
            };
            rest = rest.get(end + 1..).unwrap_or_default();
            line += 1;
        }
        wanted.extend_from_slice(rest);
        if wanted.len() > ctx.max_bytes.saturating_mul(2) {
            break;
        }
        chunk.resize(1 << 20, 0);
        let count = read_full(&mut file, &mut chunk).on(path)?;
        if count == 0 {
            break;
        }
        chunk.truncate(count);
    }
    if line < start_line {
        return Err(Error::invalid_input(format!("`{path}` has {line} lines; `start_line` is {start_line}")));
    }
    // A character may be cut at the end of what was read; that part is not returned anyway.
    let (decoded, encoding) = match std::str::from_utf8(&wanted) {
        Err(err) if err.error_len().is_none() => {
            text::decode(wanted.get(..err.valid_up_to()).unwrap_or_default(), input.encoding)?
        }
        _ => text::decode(&wanted, input.encoding)?,
    };
    let (range, next) = select(&decoded, start_line, input.line_count, ctx.max_bytes)?;
    let about =
        About { encoding, size_bytes, sha256: None, start_line: Some(start_line), total_lines: None, next };
    Ok(Output { content: range.to_owned(), about })
}

fn read_bytes(
    file: &File,
    path: &RelativePath,
    offset: u64,
    size_bytes: u64,
    max_bytes: usize,
) -> Result<Output> {
    // Base64 makes four bytes of three.
    let most = max_bytes / 4 * 3;
    let left = usize::try_from(size_bytes.saturating_sub(offset)).unwrap_or(usize::MAX);
    let mut bytes = vec![0; left.min(most)];
    file.read_exact_at(&mut bytes, offset).on(path)?;
    let end = offset + bytes.len() as u64;
    let about = About {
        encoding: "base64",
        size_bytes,
        sha256: (end == size_bytes && offset == 0).then(|| digest(&bytes)),
        start_line: None,
        total_lines: None,
        next: (end < size_bytes).then_some(end),
    };
    Ok(Output { content: BASE64_STANDARD.encode(&bytes), about })
}

/// The wanted lines of `rest`, which starts with line `start_line`, that fit, and the number of the line after
/// them if there is one.
fn select(
    rest: &str,
    start_line: u64,
    line_count: Option<u64>,
    max_bytes: usize,
) -> Result<(&str, Option<u64>)> {
    if line_count.is_none() && rest.len() <= max_bytes {
        return Ok((rest, None));
    }
    let mut end = 0;
    let mut line = start_line;
    while end < rest.len() && line_count.is_none_or(|count| line - start_line < count) {
        let tail = rest.get(end..).unwrap_or_default();
        let length = tail.find('\n').map_or(tail.len(), |position| position + 1);
        if end + length > max_bytes {
            if end == 0 {
                return Err(Error::invalid_input(format!(
                    "line {line} alone has {length} bytes; raise `max_bytes` (now {max_bytes}), or read with encoding `base64`"
                )));
            }
            break;
        }
        end += length;
        line += 1;
    }
    Ok((rest.get(..end).unwrap_or_default(), (end < rest.len()).then_some(line)))
}

fn offset_of_line(text: &str, line: u64) -> usize {
    let skipped = usize::try_from(line - 1).unwrap_or(usize::MAX);
    match skipped.checked_sub(1) {
        None => 0,
        Some(nth) => text.match_indices('\n').nth(nth).map_or(text.len(), |(at, _)| at + 1),
    }
}

fn count_lines(text: &str) -> u64 {
    let feeds = memchr::memchr_iter(b'\n', text.as_bytes()).count();
    (feeds + usize::from(!text.is_empty() && !text.ends_with('\n'))) as u64
}

/// Reads until `buffer` is full or the file ends.
fn read_full(file: &mut File, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read(rest)? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_selected_by_number_and_size() {
        let text = "one\ntwo\nthree";
        for (start, count, max, expected) in [
            (1, None, 100, ("one\ntwo\nthree", None)),
            (2, Some(1), 100, ("two\n", Some(3))),
            (3, Some(9), 100, ("three", None)),
            (1, None, 8, ("one\ntwo\n", Some(3))),
            (1, None, 9, ("one\ntwo\n", Some(3))),
        ] {
            let tail = &text[offset_of_line(text, start)..];
            assert_eq!(select(tail, start, count, max).unwrap(), expected, "{start} {count:?} {max}");
        }
        assert!(select("three", 3, None, 2).is_err());
        assert_eq!(
            (count_lines(""), count_lines("a"), count_lines("a\n"), count_lines("a\nb")),
            (0, 1, 1, 2)
        );
    }
}
