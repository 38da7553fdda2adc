//! Reads the journal of systemd, by journalctl(1): what the caller's groups let him see.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use skynet_core::{CallCtx, Effect, Error, Place, Result, Tool};
use std::{process::Stdio, time::Duration};
use tokio::{io::AsyncReadExt as _, process::Command};

pub(crate) struct SystemReadJournal;

/// Output of the program that is read at most.
const MOST_BYTES: u64 = 16 << 20;

/// Messages are cut there.
const LONGEST_MESSAGE: usize = 4000;

const fn default_limit() -> u32 {
    100
}

/// Least severe messages to show, as syslog(3) names them.
#[derive(Clone, Copy, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Priority {
    Emerg,
    Alert,
    Crit,
    Err,
    Warning,
    Notice,
    Info,
    Debug,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Only this unit, like `nginx.service`; a `*` matches any text.
    #[serde(default)]
    #[schemars(length(min = 1, max = 256))]
    unit: Option<String>,
    /// Only messages of this program, as syslog knows it.
    #[serde(default)]
    #[schemars(length(min = 1, max = 256))]
    identifier: Option<String>,
    /// Only messages at least this severe.
    #[serde(default)]
    priority: Option<Priority>,
    /// Only from this time on: `2026-11-22 10:00:00`, `yesterday`, `-2h`.
    #[serde(default)]
    #[schemars(length(min = 1, max = 64))]
    since: Option<String>,
    /// Only up to this time.
    #[serde(default)]
    #[schemars(length(min = 1, max = 64))]
    until: Option<String>,
    /// Only messages that match this regular expression (PCRE2).
    #[serde(default)]
    #[schemars(length(min = 1, max = 1000))]
    pattern: Option<String>,
    /// Only messages of the kernel.
    #[serde(default)]
    kernel: bool,
    /// Which start of the host: 0 is this one, -1 the one before; absent means any.
    #[serde(default)]
    #[schemars(range(min = -1000, max = 0))]
    boot: Option<i32>,
    /// Most entries to return, the newest ones.
    #[serde(default = "default_limit")]
    #[schemars(range(min = 1, max = 1000))]
    limit: u32,
    /// Entries after this `cursor` of an earlier answer, oldest first.
    #[serde(default)]
    #[schemars(length(min = 1, max = 512))]
    after_cursor: Option<String>,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// Oldest first.
    entries: Vec<Entry>,
    /// Of the last entry; pass it as `after_cursor` to see what came later.
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<String>,
    /// What journalctl remarks, such as that messages of other users are hidden.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

#[derive(Serialize, JsonSchema)]
struct Entry {
    /// RFC 3339, UTC.
    at: String,
    /// From 0, the system is unusable, to 7, debugging.
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<u8>,
    /// The unit it comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    unit: Option<String>,
    /// The program.
    #[serde(skip_serializing_if = "Option::is_none")]
    identifier: Option<String>,
    /// Its process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    /// The text, cut after 4000 characters.
    message: String,
}

impl Tool for SystemReadJournal {
    const NAME: &'static str = "system_read_journal";
    const SUMMARY: &'static str = "Read the system journal: messages of services and the kernel by unit, severity, time and text; like journalctl.";
    const KEYWORDS: &'static str = "logs log journalctl syslog dmesg errors messages service crashed failed kernel events | journal journaux messages erreurs service planté noyau événements panne système";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Host;
    const TIMEOUT: Duration = Duration::from_secs(60);
    type Input = Input;
    type Output = Output;

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let mut child = command(&input).spawn().map_err(|err| {
            Error::unavailable("`journalctl` cannot be started; this host has no systemd journal")
                .with_source(err)
        })?;
        let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(Error::internal("journalctl has no output"));
        };
        let (mut stdout, mut stderr) = (stdout.take(MOST_BYTES), stderr.take(4096));
        let reading = async move {
            let (mut text, mut remark) = (Vec::new(), String::new());
            let (out, _) = tokio::join!(stdout.read_to_end(&mut text), stderr.read_to_string(&mut remark));
            out?;
            // One that has more to say is told that nobody listens.
            drop((stdout, stderr));
            Ok::<_, std::io::Error>((child.wait().await?, text, remark))
        };
        let (status, text, remark) = tokio::select! {
            read = reading => read.map_err(|err| Error::internal("reading journalctl failed").with_source(err))?,
            // Dropping the child kills it.
            () = ctx.cancel.cancelled() => return Err(Error::canceled("the client canceled the call")),
        };
        let mut found: Vec<Value> =
            text.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
        // With a pattern, the newest may come first (journalctl(1), `--grep`).
        let at = |entry: &Value| entry.get("__REALTIME_TIMESTAMP")?.as_str()?.parse::<u64>().ok();
        if found.first().and_then(at) > found.last().and_then(at) {
            found.reverse();
        }
        // With a pattern, status 1 and no output mean that nothing matches.
        if !status.success()
            && found.is_empty()
            && !remark.trim().is_empty()
            && !remark.contains("-- No entries --")
        {
            return Err(Error::invalid_input(format!("journalctl refused: {}", remark.trim())));
        }
        let cursor = found.last().and_then(|entry| entry.get("__CURSOR")?.as_str().map(str::to_owned));
        let remark = remark.trim().replace('\n', " ");
        Ok(Output {
            entries: found.iter().map(shown).collect(),
            cursor,
            note: (!remark.is_empty()).then_some(remark),
        })
    }
}

/// Every value is one `--name=value`, so that none can be taken for an option.
fn command(input: &Input) -> Command {
    let mut command = Command::new("journalctl");
    command.args(["--output=json", "--no-pager", "--quiet", "--all"]);
    let priority = input.priority.and_then(|priority| serde_json::to_value(priority).ok());
    let options = [
        ("unit", input.unit.clone()),
        ("identifier", input.identifier.clone()),
        ("priority", priority.and_then(|priority| priority.as_str().map(str::to_owned))),
        ("since", input.since.clone()),
        ("until", input.until.clone()),
        ("grep", input.pattern.clone()),
        ("boot", input.boot.map(|boot| boot.to_string())),
        ("after-cursor", input.after_cursor.clone()),
    ];
    for (name, value) in options {
        command.args(value.map(|value| format!("--{name}={value}")));
    }
    if input.kernel {
        command.arg("--dmesg");
    }
    // With a cursor the oldest come first, without one the newest are wanted.
    let limit = input.limit;
    command.arg(if input.after_cursor.is_some() {
        format!("--lines=+{limit}")
    } else {
        format!("--lines={limit}")
    });
    command.env("LC_ALL", "C.UTF-8").env("SYSTEMD_COLORS", "0");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
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
