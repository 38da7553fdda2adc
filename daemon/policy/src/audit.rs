//! One line per call in the hash-chained ledger, and the answers of calls that were sent again.

use crate::{approvals::Approval, redact, rooms::Rooms, scan};
use async_trait::async_trait;
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use skynet_core::{
    Answer, Call, CallId, Error, Layer, Next, Result, call::Before, canonical::hex, change::Changed,
};
use skynet_secrets::{Keyring, Scanner};
use skynet_store::{
    Journal, Ledger, Position,
    journal::{Intent, Known},
};
use std::{
    borrow::Cow,
    sync::{Arc, PoisonError},
    time::Instant,
};

/// Room that is taken for the line of a call that changes something. Where more is needed and the disk is full, the line is
/// written without what makes it longer.
pub(crate) const LINE_BYTES: u64 = 16 << 10;

/// What such a line says in place of that.
const SHORTENED: &str = "the disk was full: what it was given and what it changed are not recorded";

pub(crate) struct Audit {
    ledger: Ledger,
    journal: Arc<Journal>,
    keyring: Arc<Keyring>,
    rooms: Arc<Rooms>,
}

impl Audit {
    pub(crate) const fn new(
        ledger: Ledger,
        journal: Arc<Journal>,
        keyring: Arc<Keyring>,
        rooms: Arc<Rooms>,
    ) -> Self {
        Self { ledger, journal, keyring, rooms }
    }

    /// Writes the line of a finished call; waits for the disk where the call changed something.
    async fn record(
        &self,
        call: &Call,
        outcome: &Result<Answer>,
        started: Instant,
        scanner: &Scanner,
    ) -> Result<(), skynet_store::Error> {
        let position = self.append(call, outcome, started, scanner);
        if !call.effect.is_mutating() {
            return position.map(drop);
        }
        let synced = async {
            match position {
                Ok(position) => self.ledger.sync(position).await,
                Err(err) => Err(err),
            }
        };
        // Also where it could not be recorded: how it ended is known.
        let (settled, synced) = tokio::join!(self.journal.settle(call.id, outcome), synced);
        synced.and(settled)
    }

    fn append(
        &self,
        call: &Call,
        outcome: &Result<Answer>,
        started: Instant,
        scanner: &Scanner,
    ) -> Result<Position, skynet_store::Error> {
        let line = Line::new(call, outcome, started);
        // An agent may have written a value where only its name belongs.
        let json = to_json(&line)?;
        let whole = scanner.redact(&json).bytes;
        let Some(mut room) = self.rooms.take(call.id) else { return self.ledger.append(&whole) };
        match room.append(&whole) {
            Err(err) if err.is_disk_full() => {
                tracing::warn!(call = %call.id, "the disk is full, so a call is recorded without its input and changes");
                room.append(&scanner.redact(&to_json(&line.shortened())?).bytes)
            }
            other => other,
        }
    }

    /// Settles a call whose task ended before the call did.
    fn leave(&self, id: CallId) {
        let room = self.rooms.take(id);
        // What was not begun had no effect.
        let Some(intent) = self.journal.leave(id) else { return };
        let settle = || {
            let line = interrupted_line(&intent, "its task ended while it ran");
            match room {
                Some(mut room) => room.append(line.as_bytes())?,
                None => self.ledger.append(line.as_bytes())?,
            };
            // The journal must not say that it is recorded where a power cut takes the record.
            self.ledger.sync_now()?;
            self.journal.abandon(std::slice::from_ref(&intent))
        };
        if let Err(err) = settle() {
            tracing::error!(call = %id, error = %err, "a call that was given up is recorded by the next start");
        }
    }
}

/// A call that is not recorded yet. Its task may end before that, by a defect or with the daemon.
struct Unrecorded<'a> {
    audit: &'a Audit,
    id: CallId,
    is_recorded: bool,
}

impl Drop for Unrecorded<'_> {
    fn drop(&mut self) {
        if !self.is_recorded {
            self.audit.leave(self.id);
        }
    }
}

#[async_trait]
impl Layer for Audit {
    fn name(&self) -> &'static str {
        "audit"
    }

    fn describe(&self) -> String {
        format!("{} records, SHA-256 chain", self.ledger.len())
    }

    async fn handle(&self, call: &mut Call, next: Next<'_>) -> Result<Answer> {
        let started = Instant::now();
        // Not only for frames marked as sent again: two connections may carry the same frame.
        let known = self.journal.lookup(call.id).map_err(|err| {
            Error::unavailable(
                "the call journal cannot be read, so it is unknown whether this call ran before",
            )
            .with_source(err)
        })?;
        match known {
            Known::Settled(outcome) => return outcome,
            Known::Interrupted => return Err(interrupted(call)),
            // What the journal lost may be just this call.
            Known::Nothing if call.resend && call.effect.is_mutating() && self.journal.is_in_doubt() => {
                return Err(in_doubt(call));
            }
            Known::Nothing => {}
        }
        let early = scan::scanner(&self.keyring, call.caller.uid).await?;
        let mut unrecorded = Unrecorded { audit: self, id: call.id, is_recorded: false };
        let outcome = next.run(call).await;
        let scanner = scan::scanner(&self.keyring, call.caller.uid).await.unwrap_or(early);
        let outcome = outcome.map_err(|err| scan::clean(err, &scanner));
        let recorded = self.record(call, &outcome, started, &scanner).await;
        // What could not be recorded here cannot be by that either; the next start tries again.
        unrecorded.is_recorded = true;
        match recorded {
            Ok(()) => outcome,
            // A read changed nothing, so it may be answered without its line; the gap is in the log.
            Err(err) if !call.effect.is_mutating() => {
                tracing::error!(error = %err, "a read was not recorded in the audit log");
                outcome
            }
            Err(err) => {
                let message = match &outcome {
                    Ok(_) => {
                        format!("`{}` ran, but its outcome could not be recorded durably", call.tool.name)
                    }
                    Err(failed) => format!("{failed}; this could not be recorded durably"),
                };
                Err(Error::unavailable(message).with_source(err))
            }
        }
    }
}

fn interrupted(call: &Call) -> Error {
    Error::interrupted(format!(
        "the daemon died while `{}` ran, so it may or may not have happened and was not run again; look at its target, or at `skynetctl audit query --call {}`",
        call.tool.name, call.id
    ))
}

fn in_doubt(call: &Call) -> Error {
    Error::interrupted(format!(
        "the call journal was damaged, so it is unknown whether `{}` ran before, and it was not run again; look at its target, or at `skynetctl audit query --call {}`",
        call.tool.name, call.id
    ))
}

/// Records what a human said of a call that waited for him, who he is and how he said it; the call itself may never come back.
///
/// # Errors
/// What the filesystem says.
pub async fn record_decision(ledger: &Ledger, approval: &Approval) -> Result<(), skynet_store::Error> {
    let by = approval.decided_by.as_ref();
    let line = json!({
        "kind": "decision",
        "approval": approval.id,
        "decision": approval.state.as_str(),
        "tool": approval.tool,
        "effect": approval.effect.as_str(),
        "uid": approval.uid,
        "client": approval.client,
        "workspace": approval.workspace,
        "rules": approval.rules,
        "input": approval.recorded,
        "input_digest": approval.digest,
        "by": by.map(|one| one.uid),
        "by_user": by.and_then(|one| one.user.as_deref()),
        "through": by.map(|one| one.means.as_str()),
    });
    let position = ledger.append(line.to_string().as_bytes())?;
    ledger.sync(position).await
}

/// The line of a call of which nobody knows how it ended.
pub(crate) fn interrupted_line(intent: &Intent, message: &str) -> String {
    let line = json!({
        "kind": "call",
        "call": intent.call,
        "tool": intent.tool,
        "effect": intent.effect.as_str(),
        "uid": intent.uid,
        "input_digest": intent.input_digest,
        "workspace": intent.workspace,
        "token_id": intent.token,
        "outcome": "interrupted",
        "message": message,
    });
    line.to_string()
}

fn to_json(line: &Line<'_>) -> Result<Vec<u8>, skynet_store::Error> {
    serde_json::to_vec(line).map_err(|err| skynet_store::Error::Corrupt(format!("an audit record: {err}")))
}

/// What is recorded of a call. Written straight from the call: a tree of values in between would be a hundred allocations.
#[derive(Serialize)]
struct Line<'a> {
    kind: &'static str,
    call: String,
    tool: &'a str,
    effect: &'static str,
    uid: u32,
    pid: u32,
    client: &'a str,
    workspace: Option<Cow<'a, str>>,
    input: Value,
    input_digest: String,
    outcome: &'static str,
    duration_seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    via: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_parent: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    confirmed_by: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    confirmed_uid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    confirmed_user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    grant: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resend: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from_cache: Option<bool>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    before: Vec<Before>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    changes: Vec<Changed>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    secrets: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result_bytes: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result_digest: Option<String>,
}

impl<'a> Line<'a> {
    fn new(call: &'a Call, outcome: &'a Result<Answer>, started: Instant) -> Self {
        let (input, input_digest) = match &call.input {
            Some(input) => (redact::by_schema(input.members(), &call.tool.input_schema), input.digest()),
            None => (redact::names_and_sizes(&call.raw), hex(&Sha256::digest(&call.raw))),
        };
        let notes = &call.notes;
        let confirmed_by = notes.confirmed_by.as_ref();
        Self {
            kind: "call",
            call: call.id.to_string(),
            tool: call.tool.name,
            effect: call.effect.as_str(),
            uid: call.caller.uid,
            pid: call.caller.pid,
            client: &call.caller.client,
            workspace: call.caller.workspace.as_ref().map(|workspace| workspace.path().to_string_lossy()),
            input,
            input_digest,
            outcome: outcome.as_ref().map_or_else(|err| err.kind.as_str(), |_| "ok"),
            duration_seconds: started.elapsed().as_secs_f64(),
            rule: notes.rule.as_deref(),
            token: call.caller.token.as_ref().map(|token| token.name.as_str()),
            token_id: call.caller.token.as_ref().map(|token| token.id.as_str()),
            via: notes.via,
            trace_parent: notes.trace_parent.as_deref(),
            confirmed_by: confirmed_by.map(|one| one.means.as_str()),
            confirmed_uid: confirmed_by.map(|one| one.uid),
            confirmed_user: confirmed_by.and_then(|one| one.user.as_deref()),
            grant: confirmed_by.and_then(|one| one.means.grant()),
            resend: call.resend.then_some(true),
            from_cache: notes.from_cache.then_some(true),
            before: notes.before.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            changes: notes.changes.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            secrets: notes.secrets.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            message: outcome.as_ref().err().map(|err| err.message.as_ref()),
            result_bytes: outcome.as_ref().ok().map(|answer| answer.json.len()),
            result_digest: outcome.as_ref().ok().map(|answer| hex(&Sha256::digest(&answer.json))),
        }
    }

    /// Without what may make it longer than the room that was taken for it.
    fn shortened(self) -> Self {
        Self {
            input: json!({}),
            before: Vec::new(),
            changes: Vec::new(),
            secrets: Vec::new(),
            message: Some(SHORTENED),
            ..self
        }
    }
}
