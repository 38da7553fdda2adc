//! What the tools that write pictures have in common: which files, where to, and one after another.

use crate::task::{Format, Made, Task};
use futures_util::{StreamExt as _, stream};
use rustix::fs::{MemfdFlags, Mode, memfd_create};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{
    CallCtx, Error, RelativePath, Result,
    error::IoContext as _,
    target::{Audience, Existing, Target, make_parents, new_file_mode, open_regular},
};
use std::{
    collections::HashSet,
    fs::File,
    io::Seek as _,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    time::Duration,
};

/// A batch may be long.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(600);

/// Parsers at the same time: each may take hundreds of megabytes, and hands have a limit for all of them.
const MOST_AT_ONCE: usize = 3;

/// What to do with a file that exists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum IfExists {
    /// Nothing is written, of the whole call.
    #[default]
    Fail,
    /// It is replaced, and can be taken back.
    Replace,
}

/// Which pictures, and where to.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct Files {
    /// Pictures relative to the workspace: JPEG, PNG, WebP, GIF, TIFF, BMP or SVG.
    #[schemars(length(min = 1, max = 200))]
    pub(crate) paths: Vec<String>,
    /// Where to write: for one picture a file, whose extension says the format, or a directory; for several a directory. By
    /// default beside each picture, under a name that says what was done.
    #[serde(default)]
    pub(crate) output: Option<String>,
    /// What to do if a file of that name is there.
    #[serde(default)]
    pub(crate) if_exists: IfExists,
}

/// What came of one picture.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Written {
    /// The picture.
    path: String,
    /// What was written; absent if nothing was.
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<String>,
    /// Pixels of what was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    width: Option<u32>,
    /// Pixels of what was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    height: Option<u32>,
    /// Bytes of the picture.
    size_bytes: u64,
    /// Bytes of what was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    output_size_bytes: Option<u64>,
    /// Why nothing was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// One for each of `paths`, in that order.
    pictures: Vec<Written>,
    /// How many were written.
    written: u64,
}

/// What is done with each picture.
pub(crate) struct Plan<'a> {
    /// Given the format that a new file is to have, if its name or the caller says so.
    pub(crate) task: &'a (dyn Fn(Option<Format>) -> Task + Sync),
    /// Of new files, before the extension, such as `-small`.
    pub(crate) suffix: &'a str,
    /// Of new files; that of the picture if not said.
    pub(crate) format: Option<Format>,
}

/// A picture and the place for what is made of it.
struct Job {
    path: RelativePath,
    file: File,
    place: RelativePath,
    format: Option<Format>,
}

/// Makes a file of each picture. What cannot be opened or written to stops all before anything is written; a picture that
/// cannot be read is told of, beside those that were made.
pub(crate) async fn run(ctx: &CallCtx, files: &Files, plan: &Plan<'_>) -> Result<Output> {
    let jobs = files.paths.iter().map(|path| prepare(ctx, files, plan, path)).collect::<Result<Vec<_>>>()?;
    check_places(ctx, files, &jobs)?;
    let total = jobs.len();
    let made = stream::iter(jobs)
        .map(|job| async {
            let done = make(ctx, &job.file, &(plan.task)(job.format)).await;
            (job, done)
        })
        .buffered(std::thread::available_parallelism().map_or(1, usize::from).min(MOST_AT_ONCE));
    let mut made = std::pin::pin!(made);
    let mut pictures = Vec::with_capacity(total);
    let mut first_problem = None;
    while let Some((job, done)) = made.next().await {
        ctx.check_canceled()?;
        let size_bytes = job.file.metadata().on(&job.path)?.len();
        let path = job.path.to_string();
        let none = Written {
            path,
            output: None,
            width: None,
            height: None,
            size_bytes,
            output_size_bytes: None,
            problem: None,
        };
        pictures.push(match done {
            Ok((made, _)) if made.bytes == 0 => {
                Written { problem: Some("no shorter way to write it was found".into()), ..none }
            }
            Ok((made, content)) => {
                let output = write(ctx, &job.place, content, files.if_exists).await?;
                Written {
                    output: Some(output),
                    width: Some(made.width),
                    height: Some(made.height),
                    output_size_bytes: Some(made.bytes),
                    ..none
                }
            }
            Err(err) if err.kind == skynet_core::ErrorKind::InvalidInput => {
                let problem = err.message.to_string();
                first_problem
                    .get_or_insert_with(|| Error::new(err.kind, format!("`{}`: {problem}", job.path)));
                Written { problem: Some(problem), ..none }
            }
            Err(err) => return Err(err),
        });
        if total > 1 {
            ctx.progress(pictures.len() as f64, Some(total as f64), format!("{}", job.path));
        }
    }
    let written = pictures.iter().filter(|picture| picture.output.is_some()).count() as u64;
    match first_problem {
        Some(problem) if written == 0 => Err(problem),
        _ => Ok(Output { pictures, written }),
    }
}

fn prepare(ctx: &CallCtx, files: &Files, plan: &Plan<'_>, path: &str) -> Result<Job> {
    let workspace = ctx.workspace()?;
    let path = workspace.relative(path)?;
    let file = open_regular(workspace, &path)?;
    let extension =
        |path: &Path| path.extension().and_then(|extension| extension.to_str()).map(str::to_owned);
    let named = |directory: &Path| {
        let stem = path.as_path().file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let extension = match plan.format {
            Some(format) => format.extension().to_owned(),
            // What cannot be written again, as a drawing, becomes PNG.
            None => extension(path.as_path())
                .filter(|extension| Format::of_extension(extension).is_some())
                .unwrap_or_else(|| Format::Png.extension().to_owned()),
        };
        directory.join(format!("{stem}{}.{extension}", plan.suffix))
    };
    let place = match &files.output {
        None => named(path.as_path().parent().unwrap_or(Path::new(""))),
        Some(output) if is_directory(ctx, output, files.paths.len())? => {
            named(workspace.relative(output)?.as_path())
        }
        Some(output) => PathBuf::from(output),
    };
    let format = match plan.format {
        Some(format) => Some(format),
        None => extension(&place).as_deref().and_then(Format::of_extension),
    };
    let place = workspace.relative(&place.to_string_lossy())?;
    Ok(Job { path, file, place, format })
}

fn is_directory(ctx: &CallCtx, output: &str, pictures: usize) -> Result<bool> {
    let workspace = ctx.workspace()?;
    let is_there = workspace.open_directory(&workspace.relative(output)?).is_ok();
    Ok(pictures > 1 || output.ends_with('/') || is_there)
}

/// Each file is written once, and none that is in the way is found when others are written already.
fn check_places(ctx: &CallCtx, files: &Files, jobs: &[Job]) -> Result<()> {
    let workspace = ctx.workspace()?;
    let mut places = HashSet::new();
    if let Some(job) = jobs.iter().find(|job| !places.insert(job.place.as_path())) {
        return Err(Error::invalid_input(format!(
            "two pictures would become `{}`; write them in two calls, to different directories",
            job.place
        )));
    }
    for job in jobs.iter().filter(|_| files.if_exists == IfExists::Fail) {
        if workspace.stat(&job.place).is_ok() {
            return Err(in_the_way(&job.place));
        }
    }
    Ok(())
}

pub(crate) fn in_the_way(place: &RelativePath) -> Error {
    Error::conflict(format!(
        "`{place}` exists already; name another `output`, or set `if_exists` to `replace`"
    ))
}

/// Has a parser do a task that writes a file, of one picture.
pub(crate) async fn make(ctx: &CallCtx, picture: &File, task: &Task) -> Result<(Made, File)> {
    let output = scratch()?;
    let made = skynet_parser::parse(ctx, task, &[picture.as_fd(), output.as_fd()]).await?;
    Ok((made, output))
}

/// A file in memory, for what a parser writes.
pub(crate) fn scratch() -> Result<File> {
    Ok(memfd_create("picture", MemfdFlags::CLOEXEC).on("a file in memory")?.into())
}

/// Gives what a parser wrote its place; returns where that is, links resolved.
pub(crate) async fn write(
    ctx: &CallCtx,
    place: &RelativePath,
    mut content: File,
    if_exists: IfExists,
) -> Result<String> {
    let workspace = ctx.workspace()?;
    make_parents(ctx, workspace, place).await?;
    let target = Target::file(workspace, place)?;
    let mode = match target.open()? {
        Some(_) if if_exists == IfExists::Fail => return Err(in_the_way(place)),
        Some(there) => Mode::from_raw_mode(rustix::fs::fstat(&there).on(place)?.st_mode),
        None => new_file_mode(),
    };
    target.keep_before(ctx).await?;
    content.rewind().on(place)?;
    let existing = match if_exists {
        IfExists::Fail => Existing::Fail,
        IfExists::Replace => Existing::Replace,
    };
    target.replace_from(&mut content, mode, existing, &Audience::Present)?;
    Ok(target.path.to_string())
}
