//! Has documents read and cut. Asked by the daemon, never by an agent.

use crate::{
    document::{About, Document, Reading},
    source::{Content, Fetched, SourceKind, Sources},
    work::{Batch, MOST_ANSWER_BYTES},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use rustix::fs::{MemfdFlags, memfd_create};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Error, ErrorKind, Place, Result, Tool};
use std::{
    fs::File,
    io::{self, BufReader, Read as _, Seek as _, Write as _},
    os::fd::{AsFd as _, BorrowedFd},
    time::Duration,
};

pub(crate) struct KnowledgeReadDocuments(pub(crate) Sources);

/// Documents of one call; a parser takes [`skynet_parser::MOST_FILES`].
pub const MOST_FILES: usize = 240;

/// What is to be read.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Read {
    /// What they are of, as it was listed.
    #[serde(default)]
    #[schemars(with = "serde_json::Value")]
    pub source: SourceKind,
    /// [`crate::List::path`].
    #[serde(default)]
    pub path: String,
    /// [`crate::Listing::cursor`].
    #[serde(default)]
    pub cursor: Option<String>,
    /// The names of documents in the listing; at most 240.
    pub paths: Vec<String>,
    /// Larger ones are skipped, in bytes.
    pub max_bytes: u64,
    /// Their contents, where whoever asks has them; then no source is asked.
    #[serde(default)]
    pub given: Vec<Given>,
}

/// The content of a document that no source here has.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Given {
    /// Tells by its extension how it is written.
    pub name: String,
    /// Itself, in base64.
    pub base64: String,
    /// What is known of it.
    #[serde(default)]
    pub about: About,
}

/// What became of each.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Readings {
    /// In the order of the paths; of as many as an answer takes, at least one.
    #[schemars(with = "Vec<serde_json::Value>")]
    pub readings: Vec<Reading>,
}

impl Tool for KnowledgeReadDocuments {
    const NAME: &'static str = "knowledge_read_documents";
    const SUMMARY: &'static str = "Read documents of any kind and cut them into passages.";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Hands;
    const TIMEOUT: Duration = Duration::from_secs(600);
    type Input = Read;
    type Output = Readings;

    async fn call(&self, ctx: &CallCtx, input: Read) -> Result<Readings> {
        let contents = match input.given.as_slice() {
            [] => self.0.find(&input.source)?.fetch(ctx, &input).await?,
            given => given.iter().map(content).collect::<Result<_>>()?,
        };
        let good: Vec<(&str, &File)> = contents
            .iter()
            .filter_map(|content| content.as_ref().ok())
            .map(|content| (content.name.as_str(), &content.file))
            .collect();
        let mut read = read(ctx, &good, input.max_bytes).await?.into_iter();
        let readings = contents.into_iter().map_while(|content| match content {
            Ok(content) => read.next().map(|reading| known(reading, content.about, content.changed_at)),
            Err(why) => Some(Reading::Skipped(why)),
        });
        Ok(Readings { readings: readings.collect() })
    }
}

/// Hands out contents without reading them, for a source whose hands have no parser.
pub(crate) struct KnowledgeFetchDocuments(pub(crate) Sources);

/// Contents as they are.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Contents {
    /// In the order of the paths; of what cannot be had, why.
    #[schemars(with = "Vec<serde_json::Value>")]
    pub contents: Vec<Result<Given, String>>,
}

impl Tool for KnowledgeFetchDocuments {
    const NAME: &'static str = "knowledge_fetch_documents";
    const SUMMARY: &'static str = "Hand out documents as they are.";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Host;
    const TIMEOUT: Duration = Duration::from_secs(600);
    type Input = Read;
    type Output = Contents;

    async fn call(&self, ctx: &CallCtx, input: Read) -> Result<Contents> {
        let fetched = self.0.find(&input.source)?.fetch(ctx, &input).await?;
        let given = |content: Content| {
            let mut bytes = Vec::new();
            let read = content.file.take(input.max_bytes + 1).read_to_end(&mut bytes);
            read.map_err(|err| format!("it cannot be read: {err}"))?;
            let mut about = content.about;
            about.at = about.at.or(content.changed_at);
            Ok(Given { name: content.name, base64: BASE64_STANDARD.encode(&bytes), about })
        };
        Ok(Contents { contents: fetched.into_iter().map(|content| content.and_then(given)).collect() })
    }
}

/// What a source knows is truer than what a document says of itself.
fn known(reading: Reading, mut about: About, changed_at: Option<i64>) -> Reading {
    match reading {
        Reading::Document(document) => {
            about.complete(document.about);
            about.at = about.at.or(changed_at);
            Reading::Document(Document { about, ..document })
        }
        skipped @ Reading::Skipped(_) => skipped,
    }
}

fn content(given: &Given) -> Result<Fetched> {
    let bytes = BASE64_STANDARD
        .decode(&given.base64)
        .map_err(|err| Error::invalid_input("the content of a document is no base64").with_source(err))?;
    let file = held(&bytes)?;
    Ok(Ok(Content { name: given.name.clone(), file, about: given.about.clone(), changed_at: None }))
}

/// A file in memory that holds just that.
///
/// # Errors
/// `Unavailable` when there is no memory for it.
pub fn held(bytes: &[u8]) -> Result<File> {
    let mut file = File::from(memfd_create("document", MemfdFlags::CLOEXEC).map_err(cannot_hold)?);
    file.write_all(bytes).and_then(|()| file.rewind()).map_err(cannot_hold)?;
    Ok(file)
}

/// One parser for all of them. If it dies, two for a half of them each: in the end, only the file that killed it is lost. Ends early when
/// there is as much as an answer takes.
async fn read(ctx: &CallCtx, files: &[(&str, &File)], max_bytes: u64) -> Result<Vec<Reading>> {
    let mut readings = Vec::with_capacity(files.len());
    let mut told = 0;
    // The first of them is last.
    let mut todo: Vec<&[(&str, &File)]> = files.chunks(MOST_FILES).rev().collect();
    while let Some(part) = todo.pop() {
        ctx.check_canceled()?;
        let batch = Batch { names: part.iter().map(|(name, _)| (*name).to_owned()).collect(), max_bytes };
        let mut output = File::from(memfd_create("readings", MemfdFlags::CLOEXEC).map_err(cannot_hold)?);
        let files = part.iter().map(|(_, file)| file.as_fd());
        let descriptors: Vec<BorrowedFd<'_>> = files.chain([output.as_fd()]).collect();
        match skynet_parser::parse::<_, u64>(ctx, &batch, &descriptors).await {
            Ok(bytes) => {
                told += bytes;
                if told > MOST_ANSWER_BYTES as u64 && !readings.is_empty() {
                    return Ok(readings);
                }
                output.rewind().map_err(cannot_hold)?;
                let all: Vec<Reading> = serde_json::from_reader(BufReader::new(&output))
                    .map_err(|err| Error::internal("the parser wrote something else").with_source(err))?;
                let count = all.len();
                if count == 0 {
                    return Err(Error::internal("the parser read nothing"));
                }
                readings.extend(all.into_iter().take(part.len()));
                if count < part.len() {
                    return Ok(readings);
                }
            }
            Err(err) if err.kind == ErrorKind::InvalidInput && part.len() > 1 => {
                let (first, second) = part.split_at(part.len() / 2);
                todo.extend([second, first]);
            }
            Err(err) if err.kind == ErrorKind::InvalidInput => {
                readings.push(Reading::Skipped(err.to_string()));
            }
            Err(err) => return Err(err),
        }
    }
    Ok(readings)
}

fn cannot_hold(err: impl Into<io::Error>) -> Error {
    Error::unavailable("there is no memory for what is read").with_source(err.into())
}
