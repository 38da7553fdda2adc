//! Searches contents with ripgrep's engine.

use crate::walk::{self, Scope};
use grep_regex::RegexMatcherBuilder;
use grep_searcher::{BinaryDetection, Searcher, SearcherBuilder, Sink, SinkContext, SinkMatch};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Error, Place, Result, Tool, target::open_regular};
use std::{
    fs::File,
    io::{self, Read},
    time::Duration,
};

/// Longer lines are cut: they are generated, and one of them can fill an answer.
const LONGEST_LINE: usize = 500;

/// A line that is longer than that many bytes is not searched, nor the rest of its file.
const LONGEST_BUFFERED: usize = 64 << 20;

/// A regular expression may not compile to more, in bytes.
const REGEX_BYTES: usize = 10 << 20;

pub(crate) struct FilesSearch;

fn default_path() -> String {
    ".".into()
}

const fn default_limit() -> u32 {
    200
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Regular expression (no look-around, no backreferences), or text with `literal`.
    #[schemars(length(min = 1, max = 4096))]
    pattern: String,
    /// Directory or file to search.
    #[serde(default = "default_path")]
    path: String,
    /// Only files that match this glob, such as `src/**/*.ts`.
    #[serde(default)]
    glob: Option<String>,
    /// Take the pattern as plain text.
    #[serde(default)]
    literal: bool,
    /// Respect case; by default only if the pattern has a capital.
    #[serde(default)]
    case_sensitive: Option<bool>,
    /// Lines around each match.
    #[serde(default)]
    #[schemars(range(max = 20))]
    context: u32,
    /// Most matching lines.
    #[serde(default = "default_limit")]
    #[schemars(range(min = 1, max = 5000))]
    limit: u32,
    /// Search hidden files too.
    #[serde(default)]
    hidden: bool,
    /// Search what .gitignore leaves out too.
    #[serde(default)]
    ignored: bool,
    /// Most bytes of answer.
    #[serde(default)]
    #[schemars(range(min = 1, max = 4194304))]
    #[allow(dead_code, reason = "the pipeline reads it and tells `ctx.max_bytes`")]
    max_bytes: Option<u64>,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// In order of path and line.
    matches: Vec<Match>,
    /// Files that were searched.
    files_searched: u32,
    /// Whether the limit ended the search; narrow `path` or `glob`.
    truncated: bool,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Match {
    /// Relative to the workspace.
    path: String,
    /// From 1.
    line: u64,
    /// The line; cut after 500 bytes.
    text: String,
    /// Whether it is only there for context.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    context: bool,
}

impl Tool for FilesSearch {
    const NAME: &'static str = "files_search";
    const SUMMARY: &'static str = "Search file contents by regular expression or text, like ripgrep: respects .gitignore, skips binary files, shows line numbers.";
    const KEYWORDS: &'static str = "grep find text string occurrences usages where used mentions regex code | chercher rechercher texte mot occurrences utilisé mention contenu code expression régulière";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Hands;
    const TIMEOUT: Duration = Duration::from_secs(60);
    type Input = Input;
    type Output = Output;

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let workspace = ctx.workspace()?;
        let path = workspace.relative(&input.path)?;
        let mut regex = RegexMatcherBuilder::new();
        regex.line_terminator(Some(b'\n')).size_limit(REGEX_BYTES).fixed_strings(input.literal);
        match input.case_sensitive {
            Some(is_sensitive) => regex.case_insensitive(!is_sensitive),
            None => regex.case_smart(true),
        };
        let matcher = regex.build(&input.pattern).map_err(|err| {
            Error::invalid_input(format!(
                "`pattern` is no regular expression: {err}; set `literal` for plain text"
            ))
        })?;
        let glob = input.glob.as_deref().map(walk::glob).transpose()?;
        let mut searcher = SearcherBuilder::new()
            .binary_detection(BinaryDetection::quit(0))
            .heap_limit(Some(LONGEST_BUFFERED))
            .before_context(input.context as usize)
            .after_context(input.context as usize)
            .build();
        let scope = Scope { with_hidden: input.hidden, with_ignored: input.ignored, max_depth: None };
        let mut found = Collector {
            ctx,
            path: String::new(),
            matches: Vec::new(),
            bytes: 0,
            hits: 0,
            limit: input.limit,
            is_full: false,
        };
        let mut files_searched = 0;
        for entry in walk::walk(ctx, &path, scope)? {
            ctx.check_canceled()?;
            // A directory that may not be entered is passed over, as ripgrep does.
            let Ok(entry) = entry else { continue };
            if !entry.file_type().is_some_and(|kind| kind.is_file()) {
                continue;
            }
            let Some((place, shown)) = walk::below(workspace, entry.path()) else {
                continue;
            };
            if glob.as_ref().is_some_and(|glob| !glob.is_match(&shown)) {
                continue;
            }
            // A file that vanished or may not be read is passed over.
            let Ok(file) = open_regular(workspace, &place) else {
                continue;
            };
            files_searched += 1;
            if files_searched % 500 == 0 {
                ctx.progress(f64::from(files_searched), None, format!("searched {files_searched} files"));
            }
            found.path = shown;
            // A file that cannot be read on, or whose line is too long, is passed over.
            let file = OfCall { ctx, file: &file };
            if searcher.search_reader(&matcher, file, &mut found).is_err() {
                ctx.check_canceled()?;
            }
            if found.is_full {
                break;
            }
        }
        ctx.check_canceled()?;
        Ok(Output { matches: found.matches, files_searched, truncated: found.is_full })
    }
}

/// A file that is read for as long as the call goes on: one in which nothing is found says nothing until its end.
struct OfCall<'a> {
    ctx: &'a CallCtx,
    file: &'a File,
}

impl Read for OfCall<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // Not as an interrupt, after which readers try again.
        self.ctx.check_canceled().map_err(io::Error::other)?;
        self.file.read(buffer)
    }
}

struct Collector<'a> {
    ctx: &'a CallCtx,
    path: String,
    matches: Vec<Match>,
    bytes: usize,
    hits: u32,
    limit: u32,
    is_full: bool,
}

impl Collector<'_> {
    fn add(&mut self, line: Option<u64>, bytes: &[u8], context: bool) -> bool {
        let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        let cut = bytes.get(..LONGEST_LINE).unwrap_or(bytes);
        let text = String::from_utf8_lossy(cut).into_owned();
        self.bytes += text.len() + self.path.len() + 40;
        if self.bytes > self.ctx.max_bytes {
            self.is_full = true;
            return false;
        }
        self.matches.push(Match { path: self.path.clone(), line: line.unwrap_or(0), text, context });
        true
    }
}

impl Sink for Collector<'_> {
    type Error = io::Error;

    fn matched(&mut self, _searcher: &Searcher, found: &SinkMatch<'_>) -> io::Result<bool> {
        if self.ctx.cancel.is_cancelled() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        if self.hits >= self.limit {
            self.is_full = true;
            return Ok(false);
        }
        self.hits += 1;
        Ok(self.add(found.line_number(), found.bytes(), false))
    }

    fn context(&mut self, _searcher: &Searcher, found: &SinkContext<'_>) -> io::Result<bool> {
        Ok(self.add(found.line_number(), found.bytes(), true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn a_file_is_read_for_as_long_as_its_call_goes_on() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, "one\ntwo\n").unwrap();
        let ctx = sample::call_in(directory.path());
        let file = File::open(&path).unwrap();
        let mut reader = OfCall { ctx: &ctx, file: &file };
        let mut buffer = [0; 4];
        assert_eq!(reader.read(&mut buffer).unwrap(), 4);
        ctx.cancel.cancel();
        assert!(reader.read_to_end(&mut Vec::new()).is_err());
    }
}
