//! The journal of systemd, by journalctl(1): what the caller's groups let him see.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use skynet_core::{CallCtx, Error, Result};
use std::{
    process::{ExitStatus, Stdio},
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader},
    process::{Child, ChildStderr, Command},
    time::Instant,
};

/// Output of the program that is read at most.
const MOST_BYTES: u64 = 16 << 20;

/// Messages are cut there.
const LONGEST_MESSAGE: usize = 4000;

/// Of each message, what [`Entry`] shows.
const FIELDS: &str =
    "--output-fields=MESSAGE,PRIORITY,_SYSTEMD_UNIT,UNIT,SYSLOG_IDENTIFIER,_COMM,_PID,SYSLOG_PID";

/// Least severe messages to show, as syslog(3) names them.
#[derive(Clone, Copy, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "syslog(3) explains them")]
pub enum Priority {
    Emerg,
    Alert,
    Crit,
    Err,
    Warning,
    Notice,
    Info,
    Debug,
}

/// Which messages. Absent members let all pass.
#[derive(Clone, Default)]
pub struct Query {
    /// Of this unit; a `*` matches any text.
    pub unit: Option<String>,
    /// Whether the unit is one of the caller's own manager.
    pub is_of_user: bool,
    /// Of this program, as syslog knows it.
    pub identifier: Option<String>,
    /// At least this severe.
    pub priority: Option<Priority>,
    /// From this time on, as journalctl(1) reads it.
    pub since: Option<String>,
    /// Up to this time.
    pub until: Option<String>,
    /// That match this regular expression.
    pub pattern: Option<String>,
    /// Of the kernel alone.
    pub kernel: bool,
    /// Of this start of the host.
    pub boot: Option<i32>,
    /// So many at most, the newest ones.
    pub limit: u32,
    /// The newest are read first, so that they are there if there is more than is read.
    pub newest_first: bool,
    /// After this cursor, the oldest ones.
    pub after_cursor: Option<String>,
    /// Wait so long for what comes, shown as progress; without a cursor only that is read.
    pub follow: Duration,
}

impl Query {
    /// Whether the oldest entries are wanted, so that what comes after the last of them is not waited for.
    const fn is_from_the_start(&self) -> bool {
        self.after_cursor.is_some() || !self.follow.is_zero()
    }
}

/// One message.
#[derive(Serialize, JsonSchema)]
pub struct Entry {
    /// RFC 3339, UTC.
    pub at: String,
    /// From 0, the system is unusable, to 7, debugging.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<u8>,
    /// The unit it comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// The program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identifier: Option<String>,
    /// Its process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// The text, cut after 4000 characters.
    pub message: String,
}

/// What was found.
pub struct Found {
    /// Oldest first.
    pub entries: Vec<Entry>,
    /// Of the last entry.
    pub cursor: Option<String>,
    /// What journalctl remarks.
    pub note: Option<String>,
}

/// Reads messages.
///
/// # Errors
/// `InvalidInput` when journalctl refuses the query, `Unavailable` where there is no journal.
pub async fn read(ctx: &CallCtx, query: &Query) -> Result<Found> {
    let mut child = command(query).spawn().map_err(|err| {
        Error::unavailable("`journalctl` cannot be started; this host has no systemd journal")
            .with_source(err)
    })?;
    let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(Error::internal("journalctl has no output"));
    };
    let deadline = (!query.follow.is_zero()).then(|| Instant::now() + query.follow);
    let mut lines = BufReader::new(stdout.take(MOST_BYTES)).split(b'\n');
    let mut found: Vec<Value> = Vec::new();
    let is_whole = loop {
        let line = tokio::select! {
            line = lines.next_segment() => {
                line.map_err(|err| Error::internal("reading journalctl failed").with_source(err))?
            }
            () = until(deadline) => break false,
            // Dropping the child kills it.
            () = ctx.cancel.cancelled() => return Err(Error::canceled("the client canceled the call")),
        };
        let Some(line) = line else { break true };
        let Ok(entry) = serde_json::from_slice(&line) else { continue };
        if deadline.is_some() {
            let entry = shown(&entry);
            let from = entry.unit.or(entry.identifier).unwrap_or_default();
            ctx.progress(found.len() as f64 + 1.0, None, format!("{} {from}: {}", entry.at, entry.message));
        }
        found.push(entry);
        if query.is_from_the_start() && found.len() >= query.limit as usize {
            break false;
        }
    };
    // One that has more to say is told that nobody listens.
    drop(lines);
    let (status, remark) = end(child, stderr, is_whole).await?;
    // With a pattern, the newest may come first (journalctl(1), `--grep`).
    let at = |entry: &Value| entry.get("__REALTIME_TIMESTAMP")?.as_str()?.parse::<u64>().ok();
    if found.first().and_then(at) > found.last().and_then(at) {
        found.reverse();
    }
    // With a pattern, status 1 and no output mean that nothing matches.
    if is_whole
        && !status.success()
        && found.is_empty()
        && !remark.trim().is_empty()
        && !remark.contains("-- No entries --")
    {
        return Err(Error::invalid_input(format!("journalctl refused: {}", remark.trim())));
    }
    let cursor = found.last().and_then(|entry| entry.get("__CURSOR")?.as_str().map(str::to_owned));
    let remark = remark.trim().replace('\n', " ");
    Ok(Found {
        entries: found.iter().map(shown).collect(),
        // With nothing new, the next call goes on from where this one did.
        cursor: cursor.or_else(|| query.after_cursor.clone()),
        note: (!remark.is_empty()).then_some(remark),
    })
}

/// Every value is one `--name=value`, so that none can be taken for an option.
fn command(query: &Query) -> Command {
    let mut command = Command::new("journalctl");
    command.args(["--output=json", "--no-pager", "--quiet", "--all", FIELDS]);
    let priority = query.priority.and_then(|priority| serde_json::to_value(priority).ok());
    let options = [
        (if query.is_of_user { "user-unit" } else { "unit" }, query.unit.clone()),
        ("identifier", query.identifier.clone()),
        ("priority", priority.and_then(|priority| priority.as_str().map(str::to_owned))),
        ("since", query.since.clone()),
        ("until", query.until.clone()),
        ("grep", query.pattern.clone()),
        ("boot", query.boot.map(|boot| boot.to_string())),
        ("after-cursor", query.after_cursor.clone()),
    ];
    for (name, value) in options {
        command.args(value.map(|value| format!("--{name}={value}")));
    }
    if query.newest_first {
        command.arg("--reverse");
    }
    if query.kernel {
        command.arg("--dmesg");
    }
    if !query.follow.is_zero() {
        command.arg("--follow");
    }
    // What comes after a cursor, or while it is followed, is limited by whoever reads it.
    command.arg(match (&query.after_cursor, query.follow.is_zero()) {
        (Some(_), _) => "--lines=all".to_owned(),
        (None, false) => "--lines=0".to_owned(),
        (None, true) => format!("--lines={}", query.limit),
    });
    command.env("LC_ALL", "C.UTF-8").env("SYSTEMD_COLORS", "0");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// Never without a deadline.
async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// How the program ended, and what it remarked; one that has more to say is ended.
async fn end(mut child: Child, stderr: ChildStderr, is_whole: bool) -> Result<(ExitStatus, String)> {
    let failed = |err| Error::internal("journalctl cannot be ended").with_source(err);
    if !is_whole {
        child.start_kill().map_err(failed)?;
    }
    let mut remark = String::new();
    // What it could not say is not worth failing for.
    let _ = stderr.take(4096).read_to_string(&mut remark).await;
    Ok((child.wait().await.map_err(failed)?, remark))
}

fn shown(entry: &Value) -> Entry {
    let field = |name: &str| entry.get(name).and_then(Value::as_str).map(str::to_owned);
    let microseconds = field("__REALTIME_TIMESTAMP").and_then(|text| text.parse().ok()).unwrap_or(0);
    let at = jiff::Timestamp::from_microsecond(microseconds);
    Entry {
        at: at.map(|time| time.to_string()).unwrap_or_default(),
        priority: field("PRIORITY").and_then(|text| text.parse().ok()),
        unit: field("_SYSTEMD_UNIT").or_else(|| field("UNIT")),
        identifier: field("SYSLOG_IDENTIFIER").or_else(|| field("_COMM")),
        pid: field("_PID").or_else(|| field("SYSLOG_PID")).and_then(|text| text.parse().ok()),
        message: message(entry.get("MESSAGE")).chars().take(LONGEST_MESSAGE).collect(),
    }
}

/// A text, or an array of bytes where it is no UTF-8 (systemd.journal-fields(7), journalctl(1) on `json`).
fn message(value: Option<&Value>) -> String {
    match value {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(bytes)) => {
            let bytes = bytes.iter().filter_map(|byte| u8::try_from(byte.as_u64()?).ok());
            String::from_utf8_lossy(&bytes.collect::<Vec<u8>>()).into_owned()
        }
        Some(_) | None => String::new(),
    }
}
