//! The work on pictures, in the parser. Nothing here opens, starts or asks anything: bytes come in, bytes go out.

mod compare;
mod decode;
mod describe;
mod encode;
mod montage;
mod optimize;
mod transform;

use crate::task::{MOST_INPUT_BYTES, Task};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use skynet_core::{Error, Result};
use skynet_parser::Fonts;
use std::{
    fs::File,
    io::{Read as _, Write as _},
};

/// What hands call this reader.
pub const READER: &str = "pictures";

impl skynet_parser::Task for Task {
    const READER: &'static str = READER;
}

/// A task of this family.
#[derive(Deserialize)]
#[serde(transparent)]
pub struct Work(Task);

/// What it needs besides its files.
#[must_use]
pub const fn fonts(work: &Work) -> Fonts {
    if work.0.renders_text() { Fonts::System } else { Fonts::None }
}

/// Does it.
///
/// # Errors
/// `InvalidInput` when a picture is none, is damaged, or is larger than one may be.
pub fn perform(work: Work, mut files: Vec<File>) -> Result<Value> {
    match work.0 {
        Task::Describe => answer(describe::describe(&read_one(&files)?)?),
        Task::Transform(transform) => {
            let (made, bytes) = transform::transform(&read_one(&files)?, &transform)?;
            write(&mut files, &bytes)?;
            answer(made)
        }
        Task::Show { longest_side, most_bytes } => {
            let (made, bytes) = transform::show(&read_one(&files)?, longest_side, most_bytes)?;
            write(&mut files, &bytes)?;
            answer(made)
        }
        Task::Optimize { quality } => {
            let (made, bytes) = optimize::optimize(&read_one(&files)?, quality)?;
            write(&mut files, &bytes)?;
            answer(made)
        }
        Task::Strip => {
            let (made, bytes) = optimize::strip(read_one(&files)?)?;
            write(&mut files, &bytes)?;
            answer(made)
        }
        Task::Montage(montage) => {
            let output = files.pop();
            // One after another, so that no more than one is decoded at a time.
            let pictures = files.iter().map(read);
            let (made, bytes) = montage::montage(pictures, &montage)?;
            write(&mut output.into_iter().collect(), &bytes)?;
            answer(made)
        }
        Task::Compare { tolerance } => {
            let [first, second, rest @ ..] = &files[..] else { return Err(lacking()) };
            let (difference, painted) =
                compare::compare(&read(first)?, &read(second)?, !rest.is_empty(), tolerance)?;
            if let Some(painted) = painted {
                write(&mut files, &painted)?;
            }
            answer(difference)
        }
    }
}

fn answer(of: impl Serialize) -> Result<Value> {
    serde_json::to_value(of).map_err(|err| Error::internal("a result cannot be written").with_source(err))
}

fn read_one(files: &[File]) -> Result<Vec<u8>> {
    read(files.first().ok_or_else(lacking)?)
}

fn read(file: &File) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(MOST_INPUT_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|err| Error::unavailable("a picture cannot be read").with_source(err))?;
    if bytes.len() as u64 > MOST_INPUT_BYTES {
        return Err(Error::invalid_input(format!("the file is longer than {MOST_INPUT_BYTES} bytes")));
    }
    Ok(bytes)
}

fn write(files: &mut Vec<File>, bytes: &[u8]) -> Result<()> {
    let mut file = files.pop().ok_or_else(lacking)?;
    file.write_all(bytes).map_err(|err| Error::unavailable("a picture cannot be written").with_source(err))
}

fn lacking() -> Error {
    Error::internal("a task without its files")
}
