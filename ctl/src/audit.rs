//! `skynetctl audit`.

use crate::{
    daemon::Daemon,
    output::{Failure, Output},
};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};
use skynet_proto::{AuditQueryRequest, AuditVerifyRequest};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Show records, the newest last.
    Query(Filter),
    /// Print records for other programs.
    Export {
        #[command(flatten)]
        filter: Filter,
        /// How.
        #[arg(long, value_enum, default_value_t = Format::Jsonl)]
        format: Format,
    },
    /// Recompute the hash chain; exit 1 and say where if it is broken.
    Verify,
}

#[derive(Args)]
pub(crate) struct Filter {
    /// Of this tool.
    #[arg(long)]
    tool: Option<String>,
    /// With this outcome, such as `ok` or `denied`.
    #[arg(long)]
    outcome: Option<String>,
    /// Of this session.
    #[arg(long)]
    session: Option<String>,
    /// This call.
    #[arg(long, value_name = "ID")]
    call: Option<String>,
    /// Since this time, such as `2026-01-31T12:00:00Z`.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// The newest that many; 0 for all.
    #[arg(long, short = 'n')]
    limit: Option<u32>,
    /// Keep showing new records.
    #[arg(long, short)]
    follow: bool,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Format {
    /// One array.
    Json,
    /// One object per line.
    Jsonl,
    /// With a header line (RFC 4180).
    Csv,
}

/// The columns of a CSV export.
const COLUMNS: [&str; 12] = [
    "seq",
    "at",
    "call",
    "tool",
    "effect",
    "outcome",
    "uid",
    "client",
    "workspace",
    "rule",
    "duration_seconds",
    "hash",
];

pub(crate) async fn run(daemon: &Daemon, command: Command, output: &mut Output) -> Result<(), Failure> {
    match command {
        Command::Verify => verify(daemon, output).await,
        Command::Query(filter) if output.is_json() => export(daemon, filter, 50, Format::Jsonl, output).await,
        Command::Query(filter) => query(daemon, filter, output).await,
        Command::Export { filter, format } => export(daemon, filter, 0, format, output).await,
    }
}

fn request(filter: Filter, default_limit: u32) -> Result<AuditQueryRequest, Failure> {
    let since = filter.since.map(|text| {
        text.parse::<prost_types::Timestamp>()
            .map_err(|_| Failure::usage(format!("`{text}` is no time such as `2026-01-31T12:00:00Z`")))
    });
    Ok(AuditQueryRequest {
        tool: filter.tool.unwrap_or_default(),
        outcome: filter.outcome.unwrap_or_default(),
        session: filter.session.unwrap_or_default(),
        call_id: filter.call.unwrap_or_default(),
        since: since.transpose()?,
        limit: filter.limit.unwrap_or(default_limit),
        follow: filter.follow,
    })
}

async fn query(daemon: &Daemon, filter: Filter, output: &mut Output) -> Result<(), Failure> {
    let mut records = daemon.audit().await?.query(request(filter, 50)?).await?.into_inner();
    while let Some(record) = records.message().await? {
        let value: Value = serde_json::from_str(&record.json).unwrap_or_default();
        let field = |name: &str| {
            value.get(name).map_or_else(String::new, |field| {
                field.as_str().map_or_else(|| field.to_string(), str::to_owned)
            })
        };
        let message = field("message");
        let separator = if message.is_empty() { "" } else { ": " };
        let took = value.get("duration_seconds").and_then(Value::as_f64).unwrap_or(0.0) * 1e3;
        output.line(&format!(
            "{} {:<18} {:<12} {took:>8.2} ms  {}{separator}{message}",
            field("at"),
            field("tool"),
            field("outcome"),
            field("input"),
        ))?;
    }
    Ok(())
}

async fn export(
    daemon: &Daemon,
    filter: Filter,
    limit: u32,
    format: Format,
    output: &mut Output,
) -> Result<(), Failure> {
    let mut records = daemon.audit().await?.query(request(filter, limit)?).await?.into_inner();
    let mut is_first = true;
    if matches!(format, Format::Csv) {
        output.line(&COLUMNS.join(","))?;
    }
    while let Some(record) = records.message().await? {
        match format {
            Format::Jsonl => output.line(&record.json)?,
            Format::Json => output.line(&format!("{}{}", if is_first { "[" } else { "," }, record.json))?,
            Format::Csv => {
                let value: Value = serde_json::from_str(&record.json).unwrap_or_default();
                output.line(&COLUMNS.map(|column| cell(value.get(column))).join(","))?;
            }
        }
        is_first = false;
    }
    match format {
        Format::Json => output.line(if is_first { "[]" } else { "]" }),
        Format::Jsonl | Format::Csv => Ok(()),
    }
}

/// One field of CSV (RFC 4180, section 2). A spreadsheet takes some first characters for a formula; a leading
/// apostrophe stops that.
fn cell(value: Option<&Value>) -> String {
    let text = match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) if text.starts_with(['=', '+', '-', '@', '\t', '\r']) => format!("'{text}"),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

async fn verify(daemon: &Daemon, output: &mut Output) -> Result<(), Failure> {
    let verdict = daemon.audit().await?.verify(AuditVerifyRequest {}).await?.into_inner();
    let json =
        json!({ "records": verdict.records, "head_hash": verdict.head_hash, "faults": verdict.faults });
    output.show(&json, || {
        let mut text = format!("{} records, head {}", verdict.records, verdict.head_hash);
        for fault in &verdict.faults {
            text.push_str(&format!("\n{fault}"));
        }
        text
    })?;
    match verdict.faults.len() {
        0 => Ok(()),
        count => Err(Failure::refused(format!("the audit log is broken in {count} places"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_and_no_formulas() {
        for (value, expected) in [
            (json!("a,b"), "\"a,b\""),
            (json!("a\"b"), "\"a\"\"b\""),
            (json!("=1+1"), "'=1+1"),
            (json!(3), "3"),
        ] {
            assert_eq!(cell(Some(&value)), expected);
        }
    }
}
