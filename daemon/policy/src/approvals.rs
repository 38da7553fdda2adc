//! The one queue of calls that wait for a human, whoever answers first: the client's own dialog or `skynetctl`.
//!
//! An approval is bound to caller, workspace, tool and canonical input, and is used once. It may come after the
//! call gave up waiting; then it lets the same call through when the agent makes it again.

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use skynet_core::{Call, Effect, Error, Result, canonical::hex};
use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::watch;
use uuid::Uuid;

/// How many calls may wait at once; more are refused, so that a queue stays readable.
const MOST_PENDING: usize = 64;

/// How long a request can be answered, and an approval used.
const EXPIRES_AFTER: Duration = Duration::from_secs(15 * 60);

/// Where a request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nobody has answered.
    Pending,
    /// It may run once.
    Approved,
    /// It may not run.
    Denied,
}

impl State {
    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Denied => "denied",
        }
    }
}

/// A request to a human.
#[derive(Clone, Debug)]
pub struct Approval {
    /// Short enough to type.
    pub id: String,
    /// Which tool.
    pub tool: &'static str,
    /// What it would do.
    pub effect: Effect,
    /// The canonical input, whole: a human approves what runs.
    pub input: String,
    /// Where.
    pub workspace: String,
    /// For whom.
    pub uid: u32,
    /// From which client.
    pub client: String,
    /// Which rule asks.
    pub rule: String,
    /// Where it stands.
    pub state: State,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it is void.
    pub expires_at: Timestamp,
    /// Names exactly this call of exactly this caller.
    pub(crate) key: String,
}

/// The queue.
pub struct Approvals {
    entries: Mutex<BTreeMap<String, Approval>>,
    changed: watch::Sender<u64>,
    watchers: watch::Sender<()>,
}

impl Default for Approvals {
    fn default() -> Self {
        Self { entries: Mutex::default(), changed: watch::Sender::new(0), watchers: watch::Sender::new(()) }
    }
}

/// Held by somebody who shows the queue to a human.
pub struct Watcher(#[allow(dead_code, reason = "its existence is counted")] watch::Receiver<()>);

impl Approvals {
    /// Everything not expired, oldest first.
    #[must_use]
    pub fn list(&self) -> Vec<Approval> {
        let mut list: Vec<_> = self.lock().values().cloned().collect();
        list.sort_by_key(|approval| approval.created_at);
        list
    }

    /// Changes whenever the queue does.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Announces that a human sees the queue while the value lives.
    #[must_use]
    pub fn attend(&self) -> Watcher {
        Watcher(self.watchers.subscribe())
    }

    /// Whether a human sees the queue.
    #[must_use]
    pub fn is_attended(&self) -> bool {
        self.watchers.receiver_count() > 0
    }

    /// Answers a request.
    ///
    /// # Errors
    /// `NotFound` for an unknown or expired one, `Conflict` for one that is answered.
    pub fn decide(&self, id: &str, state: State) -> Result<Approval> {
        let decided = {
            let mut entries = self.lock();
            let entry = entries.get_mut(id).ok_or_else(|| {
                Error::not_found(format!("no approval `{id}` is pending; see `skynetctl approvals list`"))
            })?;
            if entry.state != State::Pending {
                return Err(Error::conflict(format!("approval `{id}` was {} already", entry.state.as_str())));
            }
            entry.state = state;
            entry.clone()
        };
        self.announce();
        Ok(decided)
    }

    /// Queues a call, or finds the same call queued before.
    pub(crate) fn request(&self, call: &Call, rule: &str) -> Result<Approval> {
        let input = String::from_utf8_lossy(call.input()?.bytes()).into_owned();
        let workspace =
            call.caller.workspace.as_ref().map_or_else(String::new, |dir| dir.path().display().to_string());
        let key = key(call, &workspace, &input);
        let approval = {
            let mut entries = self.lock();
            if let Some(same) = entries.values().find(|entry| entry.key == key) {
                return Ok(same.clone());
            }
            if entries.len() >= MOST_PENDING {
                return Err(Error::needs_confirmation(format!(
                    "{MOST_PENDING} calls wait for approval already; answer some with `skynetctl approvals`"
                )));
            }
            let now = Timestamp::now();
            let approval = Approval {
                id: hex(&Uuid::new_v4().as_bytes()[..4]),
                tool: call.tool.name,
                effect: call.effect,
                input,
                workspace,
                uid: call.caller.uid,
                client: call.caller.client.to_string(),
                rule: rule.to_owned(),
                state: State::Pending,
                created_at: now,
                expires_at: now + EXPIRES_AFTER,
                key,
            };
            entries.insert(approval.id.clone(), approval.clone());
            approval
        };
        self.announce();
        Ok(approval)
    }

    /// Takes an answered request out of the queue; `None` while it is pending, `Pending` when it is gone.
    pub(crate) fn take(&self, id: &str) -> Option<State> {
        let state = {
            let mut entries = self.lock();
            match entries.get(id).map(|entry| entry.state) {
                Some(State::Pending) => return None,
                // Answered for another call like it, or expired: nobody answered this one.
                None => State::Pending,
                Some(state) => {
                    entries.remove(id);
                    state
                }
            }
        };
        self.announce();
        Some(state)
    }

    /// Removes a request, whatever its state.
    pub(crate) fn withdraw(&self, id: &str) {
        self.lock().remove(id);
        self.announce();
    }

    fn announce(&self) {
        self.changed.send_modify(|version| *version += 1);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Approval>> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Timestamp::now();
        entries.retain(|_, entry| entry.expires_at > now);
        entries
    }
}

fn key(call: &Call, workspace: &str, input: &str) -> String {
    let parts = [&call.caller.owner(), workspace, call.tool.name, input];
    // Lengths first, so that no two different lists of parts hash the same bytes.
    let hasher = parts.iter().fold(Sha256::new(), |hasher, part| {
        hasher.chain_update(part.len().to_le_bytes()).chain_update(part.as_bytes())
    });
    hex(&hasher.finalize())
}
