//! One line per call in the hash-chained ledger, and the answers of calls that were sent again.

use crate::redact;
use async_trait::async_trait;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use skynet_core::{Answer, Call, Error, Layer, Next, Result, canonical::hex};
use skynet_store::{
    Journal, Ledger,
    journal::{Intent, Known},
};
use std::{
    sync::{Arc, PoisonError},
    time::Instant,
};

pub(crate) struct Audit {
    ledger: Ledger,
    journal: Arc<Journal>,
}

impl Audit {
    pub(crate) const fn new(ledger: Ledger, journal: Arc<Journal>) -> Self {
        Self { ledger, journal }
    }

    /// Writes the line of a finished call; waits for the disk where the call changed something.
    async fn record(
        &self,
        call: &Call,
        outcome: &Result<Answer>,
        started: Instant,
    ) -> Result<(), skynet_store::Error> {
        let line = line(call, outcome, started).to_string();
        let position = self.ledger.append(line.as_bytes())?;
        if call.effect.is_mutating() {
            let (settled, synced) =
                tokio::join!(self.journal.settle(call.id, outcome), self.ledger.sync(position));
            settled.and(synced)?;
        }
        Ok(())
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
            Known::Nothing => {}
        }
        let outcome = next.run(call).await;
        match self.record(call, &outcome, started).await {
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

/// Records the calls that a daemon left behind when it died, one line each.
///
/// # Errors
/// What the filesystem says.
pub fn record_interrupted(ledger: &Ledger, intents: &[Intent]) -> Result<(), skynet_store::Error> {
    for intent in intents {
        let line = json!({
            "kind": "call",
            "call": intent.call,
            "tool": intent.tool,
            "effect": intent.effect.as_str(),
            "uid": intent.uid,
            "input_digest": intent.input_digest,
            "outcome": "interrupted",
            "message": "the daemon died while it ran",
        });
        ledger.append(line.to_string().as_bytes())?;
    }
    Ok(())
}

fn line(call: &Call, outcome: &Result<Answer>, started: Instant) -> Value {
    let (input, digest) = match &call.input {
        Some(input) => (redact::by_schema(input.members(), &call.tool.input_schema), input.digest()),
        None => (redact::names_and_sizes(&call.raw), hex(&Sha256::digest(&call.raw))),
    };
    let mut line = json!({
        "kind": "call",
        "call": call.id.to_string(),
        "tool": call.tool.name,
        "effect": call.effect.as_str(),
        "uid": call.caller.uid,
        "pid": call.caller.pid,
        "client": &*call.caller.client,
        "workspace": call.caller.workspace.as_ref().map(|workspace| workspace.path().to_string_lossy()),
        "input": input,
        "input_digest": digest,
        "outcome": outcome.as_ref().map_or_else(|err| err.kind.as_str(), |_| "ok"),
        "duration_seconds": started.elapsed().as_secs_f64(),
    });
    let before = call.notes.before.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let extra = [
        ("rule", call.notes.rule.clone().map(Value::from)),
        ("token", call.caller.token.as_ref().map(|token| token.name.clone().into())),
        ("via", call.notes.via.map(Value::from)),
        ("trace_parent", call.notes.trace_parent.clone().map(Value::from)),
        ("confirmed_by", call.notes.confirmed_by.clone().map(Value::from)),
        ("resend", call.resend.then(|| true.into())),
        ("from_cache", call.notes.from_cache.then(|| true.into())),
        ("before", (!before.is_empty()).then(|| json!(before))),
        ("message", outcome.as_ref().err().map(|err| err.message.clone().into())),
        ("result_bytes", outcome.as_ref().ok().map(|answer| answer.json.len().into())),
        ("result_digest", outcome.as_ref().ok().map(|answer| hex(&Sha256::digest(&answer.json)).into())),
    ];
    if let Some(members) = line.as_object_mut() {
        members.extend(extra.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
    }
    line
}
