//! The call journal: the intent of every mutating call before its effect, its outcome before the answer.
//! It is what lets a daemon that was killed answer a resent frame without running it twice.

use crate::{
    Ledger, Position, Record, Result, Room, at,
    segment::{self, GENESIS},
};
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use skynet_core::{Answer, CallId, Effect, Error as CallError, ErrorKind, Link};
use std::{
    borrow::Cow,
    collections::HashMap,
    fs::File,
    path::Path,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

/// Segments are small so that old ones can be dropped soon.
const SEGMENT_BYTES: u64 = 16 << 20;

/// How many settled calls are remembered: more than any shim has in flight when its daemon dies.
const REMEMBERED_CALLS: usize = 100_000;

/// Taken before a call begins, for what is recorded of its end. An answer that needs more may find the disk full, and is
/// left out then.
const ROOM_BYTES: u64 = 16 << 10;

/// Of the message of an error, where there is no room for all of it.
const SHORT_MESSAGE_BYTES: usize = 1024;

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

/// For so long after damage was found, calls that clients send again may be some that it had known of.
const IN_DOUBT_FOR: SignedDuration = SignedDuration::from_hours(1);

/// An open journal.
pub struct Journal {
    ledger: Ledger,
    calls: Mutex<Calls>,
    /// Whether it may have known of calls that it does not know of any more.
    is_in_doubt: AtomicBool,
    /// Records that are not as they were written, or missing.
    faults: u64,
}

#[derive(Default)]
struct Calls {
    states: HashMap<CallId, State>,
    /// Settled calls, oldest first, for forgetting.
    order: std::collections::VecDeque<(CallId, Position)>,
    /// Calls of which the end is not recorded yet.
    begun: HashMap<CallId, Begun>,
}

/// A call of which the end is not recorded yet.
struct Begun {
    intent: Intent,
    position: Position,
    /// For its outcome; `None` for one that an earlier daemon began.
    room: Option<Room>,
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
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    notices: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<Failure>,
}

impl Entry<'_> {
    const fn new(kind: Kind, call: String) -> Self {
        Self { kind, call, intent: None, output: None, links: Vec::new(), notices: Vec::new(), error: None }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Intent,
    Outcome,
    /// A later daemon found the intent without outcome and said so in the audit log. Or the audit log tells of the call, and
    /// what the journal knew of it was lost.
    Abandoned,
}

/// An outcome, for who holds the journal against the audit log.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Which call.
    pub id: CallId,
    /// When its outcome was recorded: RFC 3339, UTC, microseconds.
    pub at: String,
    /// `ok`, or the kind of its error.
    pub outcome: String,
    /// How it began; `None` if that is not among the newest records.
    pub intent: Option<Intent>,
}

/// A record of the journal about itself.
#[derive(Serialize, Deserialize)]
struct Damaged {
    kind: Cow<'static, str>,
    /// Records that are not as they were written, or missing.
    faults: u64,
    /// In words, for people.
    found: Cow<'static, str>,
}

const DAMAGED: &str = "damaged";

#[derive(Serialize, Deserialize)]
struct Failure {
    kind: String,
    message: String,
}

impl Journal {
    /// Opens the journal and returns the calls that were under way when the last daemon died: each start does, until
    /// [`Journal::abandon`] is told that they are in the audit log. A record that is not as it was written answers for no call
    /// any more: one that is sent again is refused with `interrupted`.
    ///
    /// # Errors
    /// What the filesystem says.
    pub fn open(directory: &Path) -> Result<(Self, Vec<Intent>)> {
        let ledger = Ledger::open(directory, SEGMENT_BYTES)?;
        for number in segment::list(directory)? {
            // Records that cannot be read are passed over below, and calls that they tell of would run again.
            let path = segment::path(directory, number);
            File::open(&path).map_err(at(&path))?;
        }
        let mut calls = Calls::default();
        let mut open: HashMap<CallId, Begun> = HashMap::new();
        let mut chain = Chain::default();
        let mut told = (0, String::new());
        for record in ledger.records()? {
            let is_genuine = chain.add(&record);
            // A line of another kind, such as `recovered`, is not about a call that must be answered.
            let Ok(entry) = serde_json::from_slice::<Entry<'_>>(&record.json) else {
                if let Ok(damaged) = serde_json::from_slice::<Damaged>(&record.json)
                    && damaged.kind == DAMAGED
                {
                    told = (damaged.faults, String::from_utf8_lossy(record.at()).into_owned());
                }
                continue;
            };
            let Ok(id) = entry.call.parse() else { continue };
            match entry.kind {
                Kind::Intent => {
                    calls.states.insert(id, State::Begun);
                    let position = record.position;
                    open.extend(entry.intent.map(|intent| (id, Begun { intent, position, room: None })));
                }
                Kind::Outcome if is_genuine => {
                    open.remove(&id);
                    calls.settle(id, record.position);
                }
                Kind::Outcome | Kind::Abandoned => {
                    open.remove(&id);
                    calls.states.insert(id, State::Interrupted);
                }
            }
        }
        calls.states.extend(open.keys().map(|id| (*id, State::Interrupted)));
        let left = open.values().map(|begun| begun.intent.clone()).collect();
        calls.begun = open;
        let is_recent =
            told.1.parse::<Timestamp>().is_ok_and(|at| Timestamp::now().duration_since(at) < IN_DOUBT_FOR);
        let is_in_doubt = AtomicBool::new(is_recent);
        let journal = Self { ledger, calls: Mutex::new(calls), is_in_doubt, faults: chain.faults };
        // Said once: the damage stays until its segment is dropped.
        if chain.faults > 0 && chain.faults != told.0 {
            journal.doubt("records of the call journal are not as they were written, or missing")?;
        }
        Ok((journal, left))
    }

    /// Gives up a call whose task ended without an outcome; `None` for one that was not begun, or was settled.
    #[must_use]
    pub fn leave(&self, id: CallId) -> Option<Intent> {
        let mut calls = self.lock();
        let intent = calls.begun.get(&id).map(|begun| begun.intent.clone())?;
        calls.states.insert(id, State::Interrupted);
        Some(intent)
    }

    /// Takes note that the audit log tells of calls that were left without an outcome.
    ///
    /// # Errors
    /// What the filesystem says; then the next start returns the rest of them again.
    pub fn abandon(&self, left: &[Intent]) -> Result<()> {
        for intent in left {
            let json = to_json(&Entry::new(Kind::Abandoned, intent.call.clone()))?;
            let id = intent.call.parse::<CallId>().ok();
            let room = id.and_then(|id| self.lock().begun.get_mut(&id)?.room.take());
            match room {
                Some(mut room) => room.append(&json)?,
                None => self.ledger.append(&json)?,
            };
            let settled = id.and_then(|id| self.lock().begun.remove(&id));
            drop(settled);
        }
        Ok(())
    }

    /// Notes that calls which it knew of may be unknown now.
    fn doubt(&self, found: &'static str) -> Result<()> {
        let faults = self.faults;
        tracing::error!(
            faults,
            "{found}; calls that are sent again and are not known are refused for an hour"
        );
        self.is_in_doubt.store(true, Ordering::Relaxed);
        let note = Damaged { kind: DAMAGED.into(), faults, found: found.into() };
        match self.ledger.append(&serde_json::to_vec(&note).map_err(corrupt)?) {
            // Reads are served with a full disk; the next daemon says it again.
            Err(err) if err.is_disk_full() => Ok(()),
            other => other.map(drop),
        }
    }

    /// Whether it may have known of calls that it does not know of any more.
    #[must_use]
    pub fn is_in_doubt(&self) -> bool {
        self.is_in_doubt.load(Ordering::Relaxed)
    }

    /// The newest outcomes, as many as are in the last `most_bytes`, oldest first; since when it tells of all calls that
    /// ended, and of none from before.
    ///
    /// # Errors
    /// What the filesystem says.
    pub fn ended(&self, most_bytes: u64) -> Result<(Vec<Ended>, String)> {
        let (records, has_older) = self.ledger.newest(most_bytes)?;
        let text = |at: &[u8]| String::from_utf8_lossy(at).into_owned();
        let since =
            records.first().filter(|_| has_older).map_or_else(String::new, |record| text(record.at()));
        let mut intents = HashMap::new();
        let mut ended = Vec::new();
        for record in &records {
            let Ok(entry) = serde_json::from_slice::<Entry<'_>>(&record.json) else { continue };
            let Ok(id) = entry.call.parse::<CallId>() else { continue };
            match entry.kind {
                Kind::Intent => drop(intents.insert(id, entry.intent)),
                Kind::Outcome => ended.push(Ended {
                    id,
                    at: text(record.at()),
                    outcome: entry.error.map_or_else(|| "ok".to_owned(), |error| error.kind),
                    intent: intents.remove(&id).flatten(),
                }),
                Kind::Abandoned => {}
            }
        }
        Ok((ended, since))
    }

    /// Whether it knows of a call.
    #[must_use]
    pub fn knows(&self, id: CallId) -> bool {
        self.lock().states.contains_key(&id)
    }

    /// Takes calls that ended and that it does not know of: they are not run again.
    ///
    /// # Errors
    /// What the filesystem says.
    pub fn take_lost(&self, ids: &[CallId]) -> Result<()> {
        self.lock().states.extend(ids.iter().map(|id| (*id, State::Interrupted)));
        self.doubt("the call journal lost calls that the audit log tells of")?;
        for id in ids {
            self.ledger.append(&to_json(&Entry::new(Kind::Abandoned, id.to_string()))?)?;
        }
        Ok(())
    }

    /// Records, durably, that a call is about to have its effect, once there is room to record its end.
    ///
    /// # Errors
    /// What the filesystem says; then the call must not run.
    pub async fn begin(&self, id: CallId, intent: Intent) -> Result<()> {
        let entry = Entry { intent: Some(intent.clone()), ..Entry::new(Kind::Intent, id.to_string()) };
        let room = Some(self.ledger.reserve(ROOM_BYTES)?);
        let position = self.ledger.append(&to_json(&entry)?)?;
        {
            let mut calls = self.lock();
            calls.states.insert(id, State::Begun);
            calls.begun.insert(id, Begun { intent, position, room });
        }
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
                entry.notices.clone_from(&answer.notices);
            }
            Err(err) => {
                entry.error =
                    Some(Failure { kind: err.kind.as_str().into(), message: err.message.to_string() });
            }
        }
        let whole = to_json(&entry)?;
        let room = self.lock().begun.get_mut(&id).and_then(|begun| begun.room.take());
        let position = match room {
            Some(mut room) => match room.append(&whole) {
                Err(err) if err.is_disk_full() => room.append(&to_json(&shortened(id, outcome))?)?,
                other => other?,
            },
            None => self.ledger.append(&whole)?,
        };
        let (forgotten, begun) = {
            let mut calls = self.lock();
            let begun = calls.begun.remove(&id);
            (calls.settle(id, position), begun)
        };
        drop(begun);
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
                let json = Bytes::copy_from_slice(output.get().as_bytes());
                Ok(Answer { json, links: entry.links, notices: entry.notices })
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
        let settled = self.order.front().map(|(_, oldest)| *oldest);
        // An intent stays for as long as nothing tells how its call ended.
        let begun = self.begun.values().map(|begun| begun.position);
        begun.chain(settled).min_by_key(|position| position.sequence)
    }
}

/// Follows the chain of records.
#[derive(Default)]
struct Chain {
    /// Number, hash as written and hash as computed of the last record.
    last: Option<(u64, String, String)>,
    faults: u64,
}

impl Chain {
    /// Whether the next record is as it was written. What follows a record whose stated hash is damaged counts as well.
    fn add(&mut self, record: &Record) -> bool {
        let sequence = record.position.sequence;
        let (computed, is_genuine) = match &self.last {
            // The oldest ones are dropped, so what came before the first is not known.
            None => (record.hash.clone(), sequence > 1 || record.follows(GENESIS)),
            Some((last, stated, computed)) if last.checked_add(1) == Some(sequence) => {
                let is_genuine = record.follows(stated) || record.follows(computed);
                (record.computed(stated), is_genuine)
            }
            // Records are missing before it, so it cannot be held against anything.
            Some(_) => {
                self.faults += 1;
                (record.hash.clone(), true)
            }
        };
        self.faults += u64::from(!is_genuine);
        self.last = Some((sequence, record.hash.clone(), computed));
        is_genuine
    }
}

/// An outcome as it is recorded where the disk has no room for more.
fn shortened(id: CallId, outcome: &std::result::Result<Answer, CallError>) -> Entry<'static> {
    let (kind, message) = match outcome {
        Ok(_) => {
            let message = "it was done, and its answer was not kept because the disk of the daemon's state was full; look at its target";
            (ErrorKind::Interrupted, message.to_owned())
        }
        Err(err) => {
            let end = err.message.floor_char_boundary(SHORT_MESSAGE_BYTES);
            (err.kind, err.message.get(..end).unwrap_or_default().to_owned())
        }
    };
    let error = Some(Failure { kind: kind.as_str().into(), message });
    Entry { error, ..Entry::new(Kind::Outcome, id.to_string()) }
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
    use crate::room;
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

        // Told at each start, until it is known to be in the audit log.
        let left = vec![id(3).to_string()];
        for (expected_open, is_recorded) in [(left.clone(), false), (left, true), (vec![], false)] {
            let (journal, open) = Journal::open(directory.path()).unwrap();
            if is_recorded {
                journal.abandon(&open).unwrap();
            }
            assert_eq!(open.into_iter().map(|intent| intent.call).collect::<Vec<_>>(), expected_open);
            assert!(matches!(journal.lookup(id(1)).unwrap(), Known::Settled(Ok(found)) if found == answer));
            assert!(
                matches!(journal.lookup(id(2)).unwrap(), Known::Settled(Err(err)) if err.kind == ErrorKind::Conflict)
            );
            assert!(matches!(journal.lookup(id(3)).unwrap(), Known::Interrupted));
            assert!(matches!(journal.lookup(id(4)).unwrap(), Known::Nothing));
        }
    }

    #[tokio::test]
    async fn on_a_full_disk_the_end_of_what_was_begun_is_recorded() {
        let directory = tempfile::tempdir().unwrap();
        let (journal, _) = Journal::open(directory.path()).unwrap();
        for call in 1..=4 {
            journal.begin(id(call), intent(id(call))).await.unwrap();
        }
        journal.ledger.lock().take = room::tests::nothing;
        // Others begin only until the room that is left is what those need.
        let mut refused = None;
        for call in 5..500 {
            refused = journal.begin(id(call), intent(id(call))).await.err();
            if refused.is_some() {
                break;
            }
        }
        assert!(refused.unwrap().is_disk_full());
        let long = format!(r#"{{"text":"{}"}}"#, "x".repeat(2 << 20));
        journal.settle(id(1), &Ok(Answer::new(long.into()))).await.unwrap();
        journal.settle(id(2), &Err(CallError::conflict("x".repeat(2 << 20)))).await.unwrap();
        journal.settle(id(3), &Ok(Answer::new(Bytes::from_static(b"{}")))).await.unwrap();
        let given_up = journal.leave(id(4)).unwrap();
        journal.abandon(&[given_up]).unwrap();
        assert!(journal.leave(id(4)).is_none());
        drop(journal);
        let (journal, open) = Journal::open(directory.path()).unwrap();
        let is_open = |call: u64| open.iter().any(|intent| intent.call == id(call).to_string());
        assert!((1..=4).all(|call| !is_open(call)) && is_open(5));
        let kind = |call| match journal.lookup(id(call)).unwrap() {
            Known::Settled(outcome) => Some(outcome.err().map(|err| err.kind)),
            Known::Interrupted | Known::Nothing => None,
        };
        assert_eq!(
            [1, 2, 3, 4].map(kind),
            [Some(Some(ErrorKind::Interrupted)), Some(Some(ErrorKind::Conflict)), Some(None), None]
        );
    }

    #[tokio::test]
    async fn a_damaged_outcome_answers_nothing_and_leaves_a_doubt() {
        let directory = tempfile::tempdir().unwrap();
        let (journal, _) = Journal::open(directory.path()).unwrap();
        for call in [1, 2] {
            journal.begin(id(call), intent(id(call))).await.unwrap();
            let answer = Answer::new(Bytes::from_static(br#"{"n":"as it was"}"#));
            journal.settle(id(call), &Ok(answer)).await.unwrap();
        }
        drop(journal);
        let path = segment::path(directory.path(), 1);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!Journal::open(directory.path()).unwrap().0.is_in_doubt());
        std::fs::write(&path, text.replacen("as it was", "as it wax", 1)).unwrap();
        // Later daemons are told of it, and doubt for a while, but do not say it again.
        for _ in 0..2 {
            let (journal, open) = Journal::open(directory.path()).unwrap();
            assert!(open.is_empty() && journal.is_in_doubt());
            assert!(matches!(journal.lookup(id(1)).unwrap(), Known::Interrupted));
            assert!(matches!(journal.lookup(id(2)).unwrap(), Known::Settled(Ok(_))));
        }
        let damaged = std::fs::read_to_string(&path).unwrap();
        assert_eq!(damaged.matches(r#""kind":"damaged""#).count(), 1);
        // The intent of the first call, without its line.
        let mut lines: Vec<&str> = text.lines().collect();
        lines.remove(1);
        std::fs::write(&path, format!("{}\n", lines.join("\n"))).unwrap();
        assert!(Journal::open(directory.path()).unwrap().0.is_in_doubt());
    }

    #[tokio::test]
    async fn a_lost_call_is_not_run_again() {
        let directory = tempfile::tempdir().unwrap();
        let (journal, _) = Journal::open(directory.path()).unwrap();
        journal.take_lost(&[id(1)]).unwrap();
        assert!(journal.is_in_doubt() && journal.knows(id(1)) && !journal.knows(id(2)));
        drop(journal);
        let (journal, _) = Journal::open(directory.path()).unwrap();
        assert!(journal.is_in_doubt() && matches!(journal.lookup(id(1)).unwrap(), Known::Interrupted));
    }
}
