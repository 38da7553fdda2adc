//! `skynetctl audit`.

use crate::{
    daemon::Daemon,
    output::{Failure, Output, time},
    replay,
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
    /// Recompute the hash chain and check what is signed; exit 1 and say where if anything is wrong.
    Verify,
    /// Print what a session did as a shell script, without running anything.
    Replay {
        /// Of this session; `skynetctl sessions --json` has their ids.
        #[arg(long, value_name = "ID")]
        session: String,
    },
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
    /// Of the user with this name.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Of the user with this number.
    #[arg(long, conflicts_with = "user")]
    uid: Option<u32>,
    /// Of this client, such as `claude-code` or `claude-code 2.1.0`.
    #[arg(long, value_name = "NAME")]
    client: Option<String>,
    /// With this effect.
    #[arg(long, value_parser = ["read", "write", "destroy", "external"])]
    effect: Option<String>,
    /// About this path or what is below it: in the input, or among what was changed. Without a leading `/` it is
    /// relative to the call's workspace.
    #[arg(long)]
    path: Option<String>,
    /// With this text anywhere in the record.
    #[arg(long, value_name = "TEXT")]
    grep: Option<String>,
    /// Since this time, such as `2026-01-31T12:00:00Z`.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Up to this time.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
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

/// The columns of a CSV export. New ones stand at the end: who counts columns finds the others where they were.
const COLUMNS: [&str; 16] = [
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
    "confirmed_by",
    "confirmed_uid",
    "confirmed_user",
    "grant",
];

/// Whether checkpoints and what retention noted are shown too.
#[derive(Clone, Copy)]
enum Proofs {
    /// As they are part of the chain.
    Shown,
    LeftOut,
}

pub(crate) async fn run(daemon: &Daemon, command: Command, output: &mut Output) -> Result<(), Failure> {
    match command {
        Command::Verify => verify(daemon, output).await,
        Command::Query(filter) if output.is_json() => {
            export(daemon, request(filter, 50, Proofs::LeftOut)?, Format::Jsonl, output).await
        }
        Command::Query(filter) => query(daemon, request(filter, 50, Proofs::LeftOut)?, output).await,
        Command::Export { filter, format } => {
            export(daemon, request(filter, 0, Proofs::Shown)?, format, output).await
        }
        Command::Replay { session } => replay::run(daemon, &session, output).await,
    }
}

fn request(filter: Filter, default_limit: u32, proofs: Proofs) -> Result<AuditQueryRequest, Failure> {
    let time = |text: Option<String>| {
        text.map(|text| {
            text.parse::<prost_types::Timestamp>()
                .map_err(|_| Failure::usage(format!("`{text}` is no time such as `2026-01-31T12:00:00Z`")))
        })
        .transpose()
    };
    Ok(AuditQueryRequest {
        tool: filter.tool.unwrap_or_default(),
        outcome: filter.outcome.unwrap_or_default(),
        session: filter.session.unwrap_or_default(),
        call_id: filter.call.unwrap_or_default(),
        uid: filter.uid,
        user: filter.user.unwrap_or_default(),
        client: filter.client.unwrap_or_default(),
        effect: filter.effect.unwrap_or_default(),
        path: filter.path.unwrap_or_default(),
        text: filter.grep.unwrap_or_default(),
        since: time(filter.since)?,
        until: time(filter.until)?,
        limit: filter.limit.unwrap_or(default_limit),
        follow: filter.follow,
        without_proofs: matches!(proofs, Proofs::LeftOut),
    })
}

async fn query(daemon: &Daemon, request: AuditQueryRequest, output: &mut Output) -> Result<(), Failure> {
    let mut records = daemon.audit().await?.query(request).await?.into_inner();
    let mut is_empty = true;
    // Who sees what everybody did needs to know who.
    let sees_all = rustix::process::getuid().is_root();
    while let Some(record) = records.message().await? {
        is_empty = false;
        let value: Value = serde_json::from_str(&record.json).unwrap_or_default();
        let field = |name: &str| {
            value.get(name).map_or_else(String::new, |field| {
                field.as_str().map_or_else(|| field.to_string(), str::to_owned)
            })
        };
        // What the log says of itself has a kind, and of tampering what was found.
        let (tool, message) = match &*field("kind") {
            "call" => (field("tool"), field("message")),
            kind @ ("grant" | "grant_revoked") => {
                (kind.to_owned(), format!("{} for `{}` of {}", field("grant"), field("tool"), field("uid")))
            }
            "decision" => {
                let through = field("through");
                let through = if through.is_empty() { through } else { format!(" through {through}") };
                (
                    field("decision"),
                    format!("`{}` of {} by {}{through}", field("tool"), field("uid"), field("by")),
                )
            }
            kind => (kind.to_owned(), field("found")),
        };
        let separator = if message.is_empty() { "" } else { ": " };
        let confirmed = confirmation(&value).map_or_else(String::new, |who| format!(" [{who}]"));
        let took = value.get("duration_seconds").and_then(Value::as_f64).unwrap_or(0.0) * 1e3;
        let who = if sees_all { format!("{:>5} ", field("uid")) } else { String::new() };
        output.line(&format!(
            "{} {who}{:<18} {:<12} {took:>8.2} ms  {}{confirmed}{separator}{message}",
            field("at"),
            tool,
            field("outcome"),
            field("input"),
        ))?;
    }
    if is_empty {
        eprintln!("skynetctl: no record meets all of these conditions");
    }
    Ok(())
}

/// Who confirmed a call, and how, in words; `None` where nobody had to. Records of before that was kept say only how, or in their
/// `rule` by which grant.
pub(crate) fn confirmation(record: &Value) -> Option<String> {
    let text = |name: &str| record.get(name).and_then(Value::as_str);
    // A record of another kind than a call may have members of these names that mean something else.
    let by = text("confirmed_by").filter(|_| text("kind") == Some("call"))?;
    let how = text("grant").map_or_else(|| by.to_owned(), |grant| format!("grant {grant}"));
    let who = match (record.get("confirmed_uid").and_then(Value::as_u64), text("confirmed_user")) {
        (Some(uid), Some(user)) => format!(" by {} ({uid})", user.escape_debug()),
        (Some(uid), None) => format!(" by {uid}"),
        (None, _) => String::new(),
    };
    Some(format!("confirmed{who} through {how}"))
}

async fn export(
    daemon: &Daemon,
    request: AuditQueryRequest,
    format: Format,
    output: &mut Output,
) -> Result<(), Failure> {
    let mut records = daemon.audit().await?.query(request).await?.into_inner();
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
    let signed_at = time(verdict.signed_at.as_ref());
    let keys: Vec<Value> = verdict
        .keys
        .iter()
        .map(|key| json!({ "id": key.id, "public_key": key.public_key, "is_current": key.is_current }))
        .collect();
    let json = json!({
        "records": verdict.records,
        "head_hash": verdict.head_hash,
        "faults": verdict.faults,
        "checkpoints": verdict.checkpoints,
        "signed_records": verdict.signed_records,
        "signed_at": verdict.signed_at.map(|at| at.to_string()),
        "keys": keys,
    });
    output.show(&json, || {
        let mut text = format!("{} records, head {}\n", verdict.records, verdict.head_hash);
        match verdict.checkpoints {
            0 => text.push_str("no good checkpoint yet: nothing is signed"),
            count => text.push_str(&format!(
                "good checkpoints: {count}, the newest signed at {signed_at} for the records up to {}",
                verdict.signed_records
            )),
        }
        for fault in &verdict.faults {
            text.push_str(&format!("\n{fault}"));
        }
        text
    })?;
    match verdict.faults.len() {
        0 => Ok(()),
        count => Err(output.verdict(format!("the audit log is broken in {count} places"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_confirmed_is_told_of_new_records_and_old_ones() {
        for (record, expected) in [
            (json!({ "kind": "call" }), None),
            (json!({ "kind": "call", "confirmed_by": "client" }), Some("confirmed through client")),
            (json!({ "kind": "grant", "grant": "5f1c22d0" }), None),
            (
                json!({ "kind": "call", "confirmed_by": "polkit", "confirmed_uid": 1000, "confirmed_user": "ann" }),
                Some("confirmed by ann (1000) through polkit"),
            ),
            (
                json!({ "kind": "call", "confirmed_by": "grant", "confirmed_uid": 0, "grant": "5f1c22d0" }),
                Some("confirmed by 0 through grant 5f1c22d0"),
            ),
        ] {
            assert_eq!(confirmation(&record).as_deref(), expected, "{record}");
        }
    }

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
