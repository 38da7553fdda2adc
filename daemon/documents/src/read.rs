//! Has files of a workspace read and cut. Asked by the daemon, never by an agent.

use crate::{
    document::Reading,
    work::{Batch, MOST_ANSWER_BYTES},
};
use rustix::fs::{MemfdFlags, Mode, OFlags, memfd_create};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Error, ErrorKind, Place, Result, Tool, Workspace, target::regular};
use std::{
    fs::File,
    io::{self, BufReader, Seek as _},
    os::fd::{AsFd as _, BorrowedFd},
    time::Duration,
};

pub(crate) struct KnowledgeReadFiles;

/// Files of one call; a parser takes [`skynet_parser::MOST_FILES`].
pub const MOST_FILES: usize = 120;

/// What is to be read.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Read {
    /// Paths relative to the workspace; at most 120.
    pub paths: Vec<String>,
    /// Larger files are skipped, in bytes.
    pub max_bytes: u64,
}

/// What became of each.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Readings {
    /// In the order of the paths; of as many as an answer takes, at least one.
    #[schemars(with = "Vec<serde_json::Value>")]
    pub readings: Vec<Reading>,
}

impl Tool for KnowledgeReadFiles {
    const NAME: &'static str = "knowledge_read_files";
    const SUMMARY: &'static str = "Read files of any kind and cut them into passages.";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Hands;
    const TIMEOUT: Duration = Duration::from_secs(600);
    type Input = Read;
    type Output = Readings;

    async fn call(&self, ctx: &CallCtx, input: Read) -> Result<Readings> {
        let workspace = ctx.workspace()?;
        let opened: Vec<Result<File, String>> =
            input.paths.iter().map(|path| open(workspace, path).map_err(|err| err.to_string())).collect();
        let good: Vec<(&str, &File)> = input
            .paths
            .iter()
            .zip(&opened)
            .filter_map(|(path, file)| Some((path.as_str(), file.as_ref().ok()?)))
            .collect();
        let mut read = read(ctx, &good, input.max_bytes).await?.into_iter();
        let readings = opened.iter().map_while(|opened| match opened {
            Ok(_) => read.next(),
            Err(why) => Some(Reading::Skipped(why.clone())),
        });
        Ok(Readings { readings: readings.collect() })
    }
}

/// Links are not followed: what they lead to is read where it is.
fn open(workspace: &Workspace, path: &str) -> Result<File> {
    let path = workspace.relative(path)?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    regular(workspace.open_at(&path, flags, Mode::empty())?, &path)
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
