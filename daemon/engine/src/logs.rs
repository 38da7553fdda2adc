//! What containers printed, and what they print.

use crate::{
    Client, Line, Name,
    failure::About,
    lines::{Full, Gather},
    time,
};
use bollard::query_parameters::LogsOptions;
use regex::Regex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Error, Result};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// Of a regular expression once it is compiled.
const MOST_REGEX_BYTES: usize = 1 << 20;

/// Which of both is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names say it")]
pub enum Streams {
    #[default]
    Both,
    Stdout,
    Stderr,
}

/// What of a log is wanted.
#[derive(Clone, Debug, Default)]
pub struct Extract {
    /// The last so many lines, of those that fit.
    pub tail: usize,
    /// No older lines: a moment, or how long ago.
    pub since: Option<String>,
    /// No newer ones.
    pub until: Option<String>,
    /// A regular expression that lines fit.
    pub search: Option<String>,
    /// Where they were written.
    pub streams: Streams,
    /// Whether each has its moment.
    pub timestamps: bool,
    /// How long to wait for more.
    pub follow: Duration,
}

/// Why reading ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// All there was is read.
    EndOfLog,
    /// The container ended while it was followed.
    ContainerEnded,
    /// `follow_seconds` are over.
    Time,
}

/// Lines of a log.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Log {
    /// Oldest first.
    pub lines: Vec<Line>,
    /// How many fitting lines were read and are left out; what `tail` alone leaves out is not counted.
    pub left_out: u64,
    /// Why reading ended.
    pub ended_by: End,
}

impl Client {
    /// Reads a log; what is followed is shown as it comes.
    ///
    /// # Errors
    /// `InvalidInput` for what is no time or no expression, `NotFound` for a container that there is not.
    pub async fn read_logs(&self, ctx: &CallCtx, name: &Name, extract: &Extract) -> Result<Log> {
        let search = extract.search.as_deref().map(expression).transpose()?;
        let wanted = |text: &str| search.as_ref().is_none_or(|search| search.is_match(text));
        let is_followed = !extract.follow.is_zero();
        let seconds = |text: &Option<String>| -> Result<i32> {
            let seconds = text.as_deref().map(time::parse).transpose()?.unwrap_or_default();
            i32::try_from(seconds).map_err(|_| Error::invalid_input("that time is too far away"))
        };
        let options = LogsOptions {
            follow: is_followed,
            stdout: extract.streams != Streams::Stderr,
            stderr: extract.streams != Streams::Stdout,
            since: seconds(&extract.since)?,
            until: seconds(&extract.until)?,
            timestamps: extract.timestamps,
            // Where lines are looked for, the last of all may not be among them; and the engine counts both streams.
            tail: if search.is_some() || extract.streams != Streams::Both {
                "all".to_owned()
            } else {
                extract.tail.to_string()
            },
        };
        let gather = Gather::new(extract.tail, ctx.max_bytes, Full::DropOldest);
        let mut gather = if extract.timestamps { gather.with_moments() } else { gather };
        let until = is_followed.then(|| Instant::now() + extract.follow);
        let mut stream = self.logs(name, options).await?;
        let ended_by = loop {
            let next = self.next(About::Container(name), &mut stream);
            let next = match until {
                Some(until) => timeout_at(until, next).await,
                None => Ok(next.await),
            };
            match next {
                // Nothing more is read while this is taken, so a container that prints fast waits or is cut by the engine.
                Ok(piece) => match piece? {
                    Some(piece) => gather.take(&piece, &wanted),
                    None if is_followed => break End::ContainerEnded,
                    None => break End::EndOfLog,
                },
                Err(_) => break End::Time,
            }
            if is_followed {
                gather.show(ctx);
            }
        };
        gather.finish(&wanted);
        if is_followed {
            gather.show_now(ctx);
        }
        Ok(Log { left_out: gather.lost, lines: gather.into_lines(), ended_by })
    }
}

fn expression(text: &str) -> Result<Regex> {
    let built = regex::RegexBuilder::new(text).size_limit(MOST_REGEX_BYTES).build();
    built.map_err(|err| Error::invalid_input(format!("`search` is no regular expression: {err}")))
}
