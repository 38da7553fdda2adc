//! The call journal: the intent of every mutating call before its effect, its outcome before the answer.
//! It is what lets a daemon that was killed answer a resent frame without running it twice.

use crate::{Ledger, Position, Result};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use skynet_core::{Answer, CallId, Effect, Error as CallError, ErrorKind, Link};
use std::{
    collections::HashMap,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Segments are small so that old ones can be dropped soon.
const SEGMENT_BYTES: u64 = 16 << 20;

/// How many settled calls are remembered: more than any shim has in flight when its daemon dies.
const REMEMBERED_CALLS: usize = 100_000;

/// What the journal knows of a call.
#[derive(Debug)]
pub enum Known {
    /// Nothing: it never had an effect.
    Nothing,
    /// It was answered.
    Settled(std::result::Result<Answer, CallError>),
    /// It was begun by a daemon that died before it ended.
    Interrupted,
}

/// An open journal.
pub struct Journal {
    ledger: Ledger,
    calls: Mutex<Calls>,
}

#[derive(Default)]
struct Calls {
    states: HashMap<CallId, State>,
    /// Settled calls, oldest first, for forgetting.
    order: std::collections::VecDeque<(CallId, Position)>,
}

#[derive(Clone, Copy)]
enum State {
    Begun,
    Settled(Position),
    Interrupted,
}

/// A call that was begun and never settled.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Intent {
    /// Its name.
    pub call: String,
    /// Which tool.
    pub tool: String,
    /// What it was about to do.
    pub effect: Effect,
    /// On whose behalf.
    pub uid: u32,
    /// SHA-256 of the canonical input.
    pub input_digest: String,
    /// Where.
    #[serde(default)]
    pub workspace: Option<String>,
    /// The id of the token it came with.
    #[serde(default)]
    pub token: Option<String>,
}

/// One line. Flat and not an enum, because raw JSON cannot be read out of a tagged one.
#[derive(Serialize, Deserialize)]
struct Entry<'a> {
    kind: Kind,
    call: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    intent: Option<Intent>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    output: Option<&'a RawValue>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    links: Vec<Link>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<Failure>,
}

impl Entry<'_> {
    const fn new(kind: Kind, call: String) -> Self {
        Self { kind, call, intent: None, output: None, links: Vec::new(), error: None }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Intent,
    Outcome,
    /// A later daemon found the intent without outcome and said so in the audit log.
    Abandoned,
}

#[derive(Serialize, Deserialize)]
struct Failure {
    kind: String,
    message: String,
}

impl Journal {
    /// Opens the journal and returns the calls that were under way when the last daemon died.
    ///
    /// # Errors
    /// What the filesystem says.
    pub fn open(directory: &Path) -> Result<(Self, Vec<Intent>)> {
        let ledger = Ledger::open(directory, SEGMENT_BYTES)?;
        let mut calls = Calls::default();
        let mut open: HashMap<CallId, Intent> = HashMap::new();
        for record in ledger.records()? {
            // A line of another kind, such as `recovered`, is not about a call that must be answered.
            let Ok(entry) = serde_json::from_slice::<Entry<'_>>(&record.json) else {
                continue;
            };
            let Ok(id) = entry.call.parse() else { continue };
            match entry.kind {
                Kind::Intent => {
                    calls.states.insert(id, State::Begun);
                    open.extend(entry.intent.map(|intent| (id, intent)));
                }
                Kind::Outcome => {
                    open.remove(&id);
                    calls.settle(id, record.position);
                }
                Kind::Abandoned => {
                    open.remove(&id);
                    calls.states.insert(id, State::Interrupted);
                }
            }
        }
        for (id, intent) in &open {
            let entry = Entry::new(Kind::Abandoned, intent.call.clone());
            ledger.append(&to_json(&entry)?)?;
            calls.states.insert(*id, State::Interrupted);
        }
        Ok((Self { ledger, calls: Mutex::new(calls) }, open.into_values().collect()))
    }

    /// Records, durably, that a call is about to have its effect, and makes sure that its end can be recorded too.
    ///
    /// # Errors
    /// What the filesystem says; then the call must not run.
    pub async fn begin(&self, id: CallId, intent: Intent) -> Result<()> {
        let entry = Entry { intent: Some(intent), ..Entry::new(Kind::Intent, id.to_string()) };
        self.ledger.make_room()?;
        let position = self.ledger.append(&to_json(&entry)?)?;
        self.lock().states.insert(id, State::Begun);
        self.ledger.sync(position).await
    }

    /// Records, durably, how a begun call ended. Does nothing for a call that was not begun.
    ///
    /// # Errors
    /// What the filesystem says.
    pub async fn settle(&self, id: CallId, outcome: &std::result::Result<Answer, CallError>) -> Result<()> {
        if !matches!(self.lock().states.get(&id), Some(State::Begun)) {
            return Ok(());
        }
        let mut entry = Entry::new(Kind::Outcome, id.to_string());
        match outcome {
            Ok(answer) => {
                entry.output = Some(serde_json::from_slice(&answer.json).map_err(corrupt)?);
                entry.links.clone_from(&answer.links);
            }
            Err(err) => {
                entry.error =
                    Some(Failure { kind: err.kind.as_str().into(), message: err.message.to_string() });
            }
        }
        let position = self.ledger.append(&to_json(&entry)?)?;
        let forgotten = self.lock().settle(id, position);
        if let Some(oldest) = forgotten {
            self.ledger.drop_before(oldest)?;
        }
        self.ledger.sync(position).await
    }

    /// What is known of a call from before.
    ///
    /// # Errors
    /// What the filesystem says.
    pub fn lookup(&self, id: CallId) -> Result<Known> {
        let state = self.lock().states.get(&id).copied();
        let position = match state {
            None => return Ok(Known::Nothing),
            Some(State::Begun | State::Interrupted) => return Ok(Known::Interrupted),
            Some(State::Settled(position)) => position,
        };
        let json = self.ledger.read(position)?;
        let entry: Entry<'_> = serde_json::from_slice(&json).map_err(corrupt)?;
        Ok(Known::Settled(match (entry.output, entry.error) {
            (Some(output), None) => {
                Ok(Answer { json: Bytes::copy_from_slice(output.get().as_bytes()), links: entry.links })
            }
            (_, Some(failure)) => Err(CallError::new(ErrorKind::from_name(&failure.kind), failure.message)),
            (None, None) => return Ok(Known::Interrupted),
        }))
    }

    fn lock(&self) -> MutexGuard<'_, Calls> {
        // A panic while holding it cannot leave a state half-changed: each change is one insert.
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Calls {
    /// Marks a call as answered; returns the oldest position still needed when calls were forgotten.
    fn settle(&mut self, id: CallId, position: Position) -> Option<Position> {
        self.states.insert(id, State::Settled(position));
        self.order.push_back((id, position));
        if self.order.len() <= REMEMBERED_CALLS {
            return None;
        }
        let (forgotten, _) = self.order.pop_front()?;
        self.states.remove(&forgotten);
        self.order.front().map(|(_, oldest)| *oldest)
    }
}

fn to_json(entry: &Entry<'_>) -> Result<Vec<u8>> {
    serde_json::to_vec(entry).map_err(corrupt)
}

// By value, because `map_err` hands it over.
#[allow(clippy::needless_pass_by_value)]
fn corrupt(err: serde_json::Error) -> crate::Error {
    crate::Error::Corrupt(format!("journal entry: {err}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn id(sequence: u64) -> CallId {
        CallId { session: Uuid::from_u128(1), sequence, index: 0 }
    }

    fn intent(id: CallId) -> Intent {
        Intent {
            call: id.to_string(),
            tool: "t_write".into(),
            effect: Effect::Write,
            uid: 1,
            input_digest: "d".into(),
            workspace: None,
            token: None,
        }
    }

    #[tokio::test]
    async fn a_restart_knows_what_was_answered_and_what_was_not() {
        let directory = tempfile::tempdir().unwrap();
        let (journal, open) = Journal::open(directory.path()).unwrap();
        assert!(open.is_empty());
        let answer = Answer::new(Bytes::from_static(br#"{"n":1}"#));
        for call in [1, 2, 3] {
            journal.begin(id(call), intent(id(call))).await.unwrap();
        }
        journal.settle(id(1), &Ok(answer.clone())).await.unwrap();
        journal.settle(id(2), &Err(CallError::conflict("no"))).await.unwrap();
        drop(journal);

        for expected_open in [vec![id(3).to_string()], vec![]] {
            let (journal, open) = Journal::open(directory.path()).unwrap();
            assert_eq!(open.into_iter().map(|intent| intent.call).collect::<Vec<_>>(), expected_open);
            assert!(matches!(journal.lookup(id(1)).unwrap(), Known::Settled(Ok(found)) if found == answer));
            assert!(
                matches!(journal.lookup(id(2)).unwrap(), Known::Settled(Err(err)) if err.kind == ErrorKind::Conflict)
            );
            assert!(matches!(journal.lookup(id(3)).unwrap(), Known::Interrupted));
            assert!(matches!(journal.lookup(id(4)).unwrap(), Known::Nothing));
        }
    }
}
