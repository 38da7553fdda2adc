//! Holds the audit log and the call journal against each other, when a daemon starts. Of every call that changed something
//! both have a record, so that what one of them lost, to whatever befell its files, is known by the other.
//!
//! Only the newest records of each are looked at. Not every difference is damage: in a power cut either may have lost the
//! records of calls that were not answered yet.

use crate::audit::interrupted_line;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use skynet_core::CallId;
use skynet_store::{
    Journal, Ledger, Record,
    journal::{Ended, Intent},
};
use std::{borrow::Cow, collections::HashSet};

/// What is read of each: the records of thousands of calls.
const WINDOW_BYTES: u64 = 4 << 20;

/// The two records of a call are written at once, as far as the disk lets them.
const APART: SignedDuration = SignedDuration::from_secs(60);

/// More calls than that are not under way in a power cut.
const MOST_UNDER_WAY: usize = 256;

/// What is read of a line of the audit log.
#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow, default)]
    call: Cow<'a, str>,
    #[serde(borrow, default)]
    effect: Cow<'a, str>,
    #[serde(borrow, default)]
    outcome: Cow<'a, str>,
}

/// Records the calls that a daemon left behind when it died, one line each. Only once these are durable the journal is told,
/// so that a start which ends in between leaves none without its line.
///
/// # Errors
/// What the filesystem says.
pub fn settle(audit: &Ledger, journal: &Journal, left: &[Intent]) -> Result<(), skynet_store::Error> {
    if left.is_empty() {
        return Ok(());
    }
    let (records, _) = audit.newest(WINDOW_BYTES)?;
    let recorded: HashSet<CallId> = records.iter().filter_map(call_of).map(|(id, _)| id).collect();
    let is_recorded = |intent: &&Intent| intent.call.parse::<CallId>().is_ok_and(|id| recorded.contains(&id));
    for intent in left.iter().filter(|intent| !is_recorded(intent)) {
        audit.append(interrupted_line(intent, "the daemon died while it ran").as_bytes())?;
    }
    audit.sync_now()?;
    journal.abandon(left)
}

/// Gives each the records that only the other has.
///
/// # Errors
/// What the filesystem says.
pub fn reconcile(audit: &Ledger, journal: &Journal) -> Result<(), skynet_store::Error> {
    let (records, has_older) = audit.newest(WINDOW_BYTES)?;
    let (ended, journal_since) = journal.ended(WINDOW_BYTES)?;
    let audit_since = match records.first() {
        Some(first) if has_older => later(first.at()),
        _ => String::new(),
    };
    let journal_since = later(journal_since.as_bytes());
    let mut recorded = HashSet::new();
    let mut lost = Vec::new();
    for record in &records {
        let Some((id, is_done)) = call_of(record) else { continue };
        recorded.insert(id);
        if is_done && record.at() >= journal_since.as_bytes() && !journal.knows(id) {
            lost.push(id);
        }
    }
    if !lost.is_empty() {
        journal.take_lost(&lost)?;
    }
    let missing: Vec<Ended> =
        ended.into_iter().filter(|call| call.at >= audit_since && !recorded.contains(&call.id)).collect();
    record_anew(audit, &missing, recorded.is_empty())
}

/// The call that a record is about, and whether it changed something.
fn call_of(record: &Record) -> Option<(CallId, bool)> {
    let line: Line<'_> = serde_json::from_slice(&record.json).ok()?;
    let is_done = line.outcome == "ok" && line.effect != "read";
    Some((line.call.parse().ok()?, is_done))
}

/// A moment after that one, as it is written in records; none for no moment.
fn later(at: &[u8]) -> String {
    let at = std::str::from_utf8(at).ok().and_then(|text| text.parse::<Timestamp>().ok());
    at.and_then(|at| at.checked_add(APART).ok()).map_or_else(String::new, |at| format!("{at:.6}"))
}

fn record_anew(audit: &Ledger, missing: &[Ended], is_empty: bool) -> Result<(), skynet_store::Error> {
    let (Some(first), Some(last)) = (missing.first(), missing.last()) else { return Ok(()) };
    let count = missing.len();
    tracing::error!(
        calls = count,
        first = %first.id,
        last = %last.id,
        "the audit log has lost the records of calls that the journal knows; they are recorded anew"
    );
    if is_empty || count > MOST_UNDER_WAY {
        let (from, to) = (&first.at, &last.at);
        let found = format!("the records of {count} calls that ended between {from} and {to} were missing");
        audit.append_tampered(found)?;
    }
    for ended in missing {
        audit.append(&line_of(ended)?)?;
    }
    Ok(())
}

/// A call as far as the journal knows it.
#[derive(Serialize)]
struct Anew<'a> {
    kind: &'static str,
    call: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    effect: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    input_digest: Option<&'a str>,
    outcome: &'a str,
    message: String,
}

fn line_of(ended: &Ended) -> Result<Vec<u8>, skynet_store::Error> {
    let intent = ended.intent.as_ref();
    let line = Anew {
        kind: "call",
        call: ended.id.to_string(),
        tool: intent.map(|intent| intent.tool.as_str()),
        effect: intent.map(|intent| intent.effect.as_str()),
        uid: intent.map(|intent| intent.uid),
        input_digest: intent.map(|intent| intent.input_digest.as_str()),
        outcome: &ended.outcome,
        message: format!(
            "its own record was lost; this is what the call journal knows of the call, which ended at {}",
            ended.at
        ),
    };
    serde_json::to_vec(&line)
        .map_err(|err| skynet_store::Error::Corrupt(format!("a record from the journal: {err}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use skynet_core::{Answer, Effect};
    use skynet_store::journal::{Intent, Known};
    use std::path::Path;
    use uuid::Uuid;

    fn id(sequence: u64) -> CallId {
        CallId { session: Uuid::from_u128(1), sequence, index: 0 }
    }

    fn open(directory: &Path) -> (Ledger, Journal) {
        let audit = Ledger::open(&directory.join("audit"), 1 << 20).unwrap();
        (audit, Journal::open(&directory.join("journal")).unwrap().0)
    }

    /// With three calls in both.
    async fn filled(directory: &Path) {
        let (audit, journal) = open(directory);
        for call in 1..=3 {
            let intent = Intent {
                call: id(call).to_string(),
                tool: "t_write".into(),
                effect: Effect::Write,
                uid: 1,
                input_digest: "d".into(),
                workspace: None,
                token: None,
            };
            journal.begin(id(call), intent).await.unwrap();
            let line =
                json!({ "kind": "call", "call": id(call).to_string(), "effect": "write", "outcome": "ok" });
            audit.append(line.to_string().as_bytes()).unwrap();
            let answer = Answer::new(bytes::Bytes::from_static(b"{}"));
            journal.settle(id(call), &Ok(answer)).await.unwrap();
        }
    }

    fn lines(audit: &Ledger) -> Vec<Value> {
        audit.records().unwrap().map(|record| serde_json::from_slice(&record.json).unwrap()).collect()
    }

    /// Leaves so many lines of a ledger.
    fn cut(directory: &Path, left: usize) {
        let path = directory.join("0000000001.jsonl");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(path, text.lines().take(left).map(|line| format!("{line}\n")).collect::<String>())
            .unwrap();
    }

    #[tokio::test]
    async fn calls_that_a_daemon_left_are_recorded_once_whenever_a_start_ends() {
        let directory = tempfile::tempdir().unwrap();
        let (audit, journal) = open(directory.path());
        let intent = Intent {
            call: id(1).to_string(),
            tool: "t_write".into(),
            effect: Effect::Write,
            uid: 1,
            input_digest: "d".into(),
            workspace: None,
            token: None,
        };
        journal.begin(id(1), intent).await.unwrap();
        drop((audit, journal));
        // The first start ends before it records anything, the second before it tells the journal, the third does all.
        for start in 0..4 {
            let audit = Ledger::open(&directory.path().join("audit"), 1 << 20).unwrap();
            let (journal, left) = Journal::open(&directory.path().join("journal")).unwrap();
            assert_eq!(left.len(), usize::from(start < 3), "start {start}");
            match start {
                0 => {}
                1 => {
                    let line = interrupted_line(&left[0], "the daemon died while it ran");
                    audit.append(line.as_bytes()).unwrap();
                }
                _ => settle(&audit, &journal, &left).unwrap(),
            }
            assert!(matches!(journal.lookup(id(1)).unwrap(), Known::Interrupted));
            let told = lines(&audit).iter().filter(|line| line["outcome"] == "interrupted").count();
            assert_eq!(told, usize::from(start > 0), "start {start}");
        }
    }

    #[tokio::test]
    async fn what_agrees_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        filled(directory.path()).await;
        let (audit, journal) = open(directory.path());
        reconcile(&audit, &journal).unwrap();
        assert!(audit.len() == 3 && !journal.is_in_doubt());
    }

    #[tokio::test]
    async fn lost_records_of_calls_are_written_anew() {
        let directory = tempfile::tempdir().unwrap();
        filled(directory.path()).await;
        cut(&directory.path().join("audit"), 2);
        let (audit, journal) = open(directory.path());
        reconcile(&audit, &journal).unwrap();
        let found = lines(&audit);
        assert_eq!(
            (found.len(), &found[2]["call"], &found[2]["tool"]),
            (3, &json!(id(3).to_string()), &json!("t_write"))
        );
        assert!(found[2]["message"].as_str().unwrap().contains("was lost"), "{found:?}");
        // All of them: somebody did that.
        drop((audit, journal));
        cut(&directory.path().join("audit"), 0);
        let (audit, journal) = open(directory.path());
        for _ in 0..2 {
            reconcile(&audit, &journal).unwrap();
        }
        let kinds: Vec<_> = lines(&audit).into_iter().map(|line| line["kind"].clone()).collect();
        assert_eq!(kinds, ["tampered", "call", "call", "call"]);
    }

    #[tokio::test]
    async fn calls_that_the_journal_lost_are_not_run_again() {
        let directory = tempfile::tempdir().unwrap();
        filled(directory.path()).await;
        cut(&directory.path().join("journal"), 2);
        let (audit, journal) = open(directory.path());
        reconcile(&audit, &journal).unwrap();
        assert!(journal.is_in_doubt());
        assert!(matches!(journal.lookup(id(1)).unwrap(), Known::Settled(Ok(_))));
        for lost in [2, 3] {
            assert!(matches!(journal.lookup(id(lost)).unwrap(), Known::Interrupted));
        }
    }
}
