//! The one queue of calls that wait for a human, whoever answers first: the client's own dialog or `skynetctl`.
//!
//! An approval is bound to caller, workspace, tool, canonical input and what asked, and is used once. It may come after the
//! call gave up waiting; then it lets the same call through when the agent makes it again. The queue is in memory alone: no
//! question and no answer outlives the daemon.

use crate::{
    question::{self, Detail},
    redact,
};
use jiff::Timestamp;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use skynet_core::{
    Call, Effect, Error, Result, Token, Workspace,
    call::{AskedBy, Respondent},
    canonical::hex,
};
use std::{
    collections::BTreeMap,
    os::unix::ffi::OsStrExt as _,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::watch;
use uuid::Uuid;

/// How many calls of one user may wait at once; more are refused, so that a queue stays readable, and nobody's calls keep those
/// of others from being asked about.
const MOST_PENDING: usize = 64;

/// Their inputs together, in bytes.
const MOST_PENDING_BYTES: usize = 32 << 20;

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
    /// SHA-256 of its bytes, lower-case hex.
    pub digest: String,
    /// Where; empty for nowhere.
    pub workspace: String,
    /// For whom.
    pub uid: u32,
    /// His name.
    pub user: String,
    /// The name of the token that was shown, if one was.
    pub token: Option<String>,
    /// From which client.
    pub client: String,
    /// What asks: rules and entries, the one that is told first.
    pub rules: Vec<String>,
    /// Whether it may be approved for always.
    pub is_grantable: bool,
    /// Where it stands.
    pub state: State,
    /// Who answered it, once somebody has.
    pub decided_by: Option<Respondent>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it is void.
    pub expires_at: Timestamp,
    /// Names exactly this call of exactly this caller.
    pub(crate) key: String,
    /// What a grant for calls like this one is bound to.
    pub(crate) bounds: Bounds,
    /// The input as it may be written down.
    pub(crate) recorded: Value,
}

impl Approval {
    /// The rule that is told.
    #[must_use]
    pub fn rule(&self) -> &str {
        self.rules.first().map_or("", String::as_str)
    }

    /// The question in words. Whatever an agent wrote is in it so that it steers no terminal and passes for nothing else.
    #[must_use]
    pub fn text(&self, detail: Detail) -> String {
        question::text(self, detail)
    }
}

/// What became of a request that is out of the queue.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    Approved(Respondent),
    Denied(Respondent),
    /// It was answered for another call like it, or expired: nobody answered this one.
    Unanswered,
}

/// What of a call a grant is held against, apart from its input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// [`skynet_core::Caller::owner`].
    pub(crate) owner: String,
    /// SHA-256 of the path, which may hold any byte; empty for none.
    pub(crate) workspace: String,
    /// The id of the token.
    pub(crate) token: Option<String>,
    /// The file that a list of commands judged.
    pub(crate) program: Option<PathBuf>,
    /// The argument `path`, of a tool that has one and starts nothing.
    pub(crate) path: Option<String>,
}

impl Bounds {
    /// Those of a call whose input was judged.
    pub(crate) fn of(call: &Call) -> Result<Self> {
        let input = call.input()?;
        let path = input.members().get("path").and_then(Value::as_str);
        let starts_something = call.tool.command_of(input)?.is_some();
        Ok(Self {
            owner: call.caller.owner(),
            workspace: call.caller.workspace.as_deref().map_or_else(String::new, name_of),
            token: call.caller.token.as_deref().map(|token| token.id.clone()),
            program: call.program.clone(),
            path: path.filter(|_| !starts_something).map(str::to_owned),
        })
    }
}

fn name_of(workspace: &Workspace) -> String {
    hex(&Sha256::digest(workspace.path().as_os_str().as_bytes()))
}

/// The queue.
pub struct Approvals {
    entries: Mutex<BTreeMap<String, Approval>>,
    changed: watch::Sender<u64>,
    /// Whose calls somebody sees; `None` is everybody's.
    watchers: Arc<Mutex<Vec<Option<u32>>>>,
}

impl Default for Approvals {
    fn default() -> Self {
        Self { entries: Mutex::default(), changed: watch::Sender::new(0), watchers: Arc::default() }
    }
}

/// Held by somebody who shows the queue to a human.
pub struct Watcher {
    of: Option<u32>,
    watchers: Arc<Mutex<Vec<Option<u32>>>>,
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let mut watchers = self.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = watchers.iter().position(|of| *of == self.of) {
            watchers.swap_remove(own);
        }
    }
}

impl Approvals {
    /// Everything not expired, oldest first.
    #[must_use]
    pub fn list(&self) -> Vec<Approval> {
        let mut list: Vec<_> = self.lock().values().cloned().collect();
        list.sort_by_key(|approval| approval.created_at);
        list
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    /// Changes whenever the queue does.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Announces that a human sees the calls of a user, or everybody's, while the value lives.
    #[must_use]
    pub fn attend(&self, of: Option<u32>) -> Watcher {
        self.watchers.lock().unwrap_or_else(PoisonError::into_inner).push(of);
        Watcher { of, watchers: self.watchers.clone() }
    }

    /// Whether a human sees the calls of that user.
    #[must_use]
    pub fn is_attended(&self, uid: u32) -> bool {
        let watchers = self.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        watchers.iter().any(|of| of.is_none_or(|of| of == uid))
    }

    /// A request, whatever its state: of that user, or of anybody.
    ///
    /// # Errors
    /// `NotFound` for an unknown or expired one, and for one of somebody else.
    pub fn find(&self, id: &str, of: Option<u32>) -> Result<Approval> {
        let found = self.lock().get(id).cloned();
        found.filter(|approval| of.is_none_or(|uid| approval.uid == uid)).ok_or_else(|| unknown(id))
    }

    /// A request that nobody has answered.
    ///
    /// # Errors
    /// As [`Approvals::decide`].
    pub fn pending(&self, id: &str) -> Result<Approval> {
        unanswered(&mut self.lock(), id).map(|entry| entry.clone())
    }

    /// Answers a request.
    ///
    /// # Errors
    /// `NotFound` for an unknown or expired one, `Conflict` for one that is answered.
    pub fn decide(&self, id: &str, state: State, by: Respondent) -> Result<Approval> {
        let decided = {
            let mut entries = self.lock();
            let entry = unanswered(&mut entries, id)?;
            entry.state = state;
            entry.decided_by = Some(by);
            entry.clone()
        };
        self.announce();
        Ok(decided)
    }

    /// Queues a call, or finds the same call queued before.
    pub(crate) fn request(&self, call: &Call, asked: &AskedBy) -> Result<Approval> {
        let canonical = call.input()?;
        let input = String::from_utf8_lossy(canonical.bytes()).into_owned();
        let workspace = call.caller.workspace.as_ref();
        let bounds = Bounds::of(call)?;
        let key = key(call, &bounds, asked, &input);
        let approval = {
            let mut entries = self.lock();
            if let Some(same) = entries.values().find(|entry| entry.key == key) {
                return Ok(same.clone());
            }
            let own = entries.values().filter(|entry| entry.uid == call.caller.uid);
            let (count, bytes) =
                own.fold((0, input.len()), |(count, bytes), entry| (count + 1, bytes + entry.input.len()));
            if count >= MOST_PENDING || bytes > MOST_PENDING_BYTES {
                return Err(Error::needs_confirmation(format!(
                    "{count} calls of `{}` wait for approval already; answer some with `skynetctl approvals`",
                    call.caller.user
                )));
            }
            let now = Timestamp::now();
            let approval = Approval {
                id: hex(&Uuid::new_v4().as_bytes()[..4]),
                tool: call.tool.name,
                effect: call.effect,
                input,
                digest: canonical.digest(),
                workspace: workspace.map_or_else(String::new, |dir| dir.path().display().to_string()),
                uid: call.caller.uid,
                user: call.caller.user.to_string(),
                token: call.caller.token.as_deref().map(|token: &Token| token.name.clone()),
                client: call.caller.client.to_string(),
                rules: asked.rules.clone(),
                is_grantable: asked.is_grantable,
                state: State::Pending,
                decided_by: None,
                created_at: now,
                expires_at: now + EXPIRES_AFTER,
                key,
                bounds,
                recorded: redact::by_schema(canonical.members(), &call.tool.input_schema),
            };
            entries.insert(approval.id.clone(), approval.clone());
            approval
        };
        self.announce();
        Ok(approval)
    }

    /// Takes an answered request out of the queue; `None` while it is pending.
    pub(crate) fn take(&self, id: &str) -> Option<Taken> {
        let taken = {
            let mut entries = self.lock();
            if entries.get(id).is_some_and(|entry| entry.state == State::Pending) {
                return None;
            }
            match entries.remove(id).map(|entry| (entry.state, entry.decided_by)) {
                Some((State::Approved, Some(by))) => Taken::Approved(by),
                Some((State::Denied, Some(by))) => Taken::Denied(by),
                // What nobody has answered for allows nothing.
                Some((State::Pending | State::Approved | State::Denied, _)) | None => Taken::Unanswered,
            }
        };
        self.announce();
        Some(taken)
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

fn unknown(id: &str) -> Error {
    Error::not_found(format!("no approval `{id}` is pending; see `skynetctl approvals list`"))
}

fn unanswered<'a>(entries: &'a mut BTreeMap<String, Approval>, id: &str) -> Result<&'a mut Approval> {
    let entry = entries.get_mut(id).ok_or_else(|| unknown(id))?;
    if entry.state != State::Pending {
        return Err(Error::conflict(format!("approval `{id}` was {} already", entry.state.as_str())));
    }
    Ok(entry)
}

fn key(call: &Call, bounds: &Bounds, asked: &AskedBy, input: &str) -> String {
    let program = bounds.program.as_deref().map_or_else(String::new, |file| file.display().to_string());
    let mut parts =
        vec![&*bounds.owner, &bounds.workspace, call.tool.name, call.effect.as_str(), input, &program];
    // A rule that came to ask meanwhile was not in the question.
    parts.extend(asked.rules.iter().map(String::as_str));
    digest(&parts)
}

/// One name for a list of texts, and for no other list.
pub(crate) fn digest(parts: &[&str]) -> String {
    // Lengths first, so that no two different lists of parts hash the same bytes.
    let hasher = parts.iter().fold(Sha256::new(), |hasher, part| {
        hasher.chain_update(part.len().to_le_bytes()).chain_update(part.as_bytes())
    });
    hex(&hasher.finalize())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use skynet_core::{Canonical, call::Means};

    /// Root, by `skynetctl`.
    pub(crate) fn root() -> Respondent {
        Respondent { means: Means::Skynetctl, uid: 0, user: Some("root".into()) }
    }

    /// One of nobody's call.
    pub(crate) fn approval(input: &Value) -> Approval {
        let canonical = Canonical::parse(input.to_string().as_bytes()).unwrap();
        Approval {
            id: "00c0ffee".into(),
            tool: "probe_tool",
            effect: Effect::External,
            input: String::from_utf8(canonical.bytes().to_vec()).unwrap(),
            digest: canonical.digest(),
            workspace: "/home/ann/a b".into(),
            uid: 1000,
            user: "ann".into(),
            token: None,
            client: "test 1".into(),
            rules: vec!["default for external".into()],
            is_grantable: true,
            state: State::Pending,
            decided_by: None,
            created_at: "2026-01-01T00:00:00Z".parse().unwrap(),
            expires_at: "2026-01-01T00:15:00Z".parse().unwrap(),
            key: String::new(),
            bounds: Bounds {
                owner: "1000".into(),
                workspace: String::new(),
                token: None,
                program: None,
                path: input["path"].as_str().map(str::to_owned),
            },
            recorded: input.clone(),
        }
    }

    #[test]
    fn what_expired_is_not_there_and_cannot_be_answered() {
        let approvals = Approvals::default();
        let now = Timestamp::now();
        let alive = Approval { expires_at: now + EXPIRES_AFTER, ..approval(&serde_json::json!({})) };
        let expired = Approval {
            id: "dead".into(),
            expires_at: now,
            state: State::Approved,
            decided_by: Some(root()),
            ..alive.clone()
        };
        // As they were before the time passed.
        let mut entries = approvals.entries.lock().unwrap();
        entries.extend([alive, expired].map(|entry| (entry.id.clone(), entry)));
        drop(entries);
        assert_eq!(approvals.take("dead"), Some(Taken::Unanswered), "nobody approved it");
        assert!(
            approvals.decide("dead", State::Approved, root()).is_err() && approvals.pending("dead").is_err()
        );
        assert_eq!(approvals.take("00c0ffee"), None);
        approvals.decide("00c0ffee", State::Denied, root()).unwrap();
        assert!(approvals.decide("00c0ffee", State::Approved, root()).is_err(), "a no stays a no");
        assert_eq!(approvals.take("00c0ffee"), Some(Taken::Denied(root())));
        assert_eq!(approvals.take("00c0ffee"), Some(Taken::Unanswered), "it counts once");
        assert!(approvals.list().is_empty());
    }

    #[test]
    fn lists_of_texts_have_names_of_their_own() {
        assert_ne!(digest(&["ab", "c"]), digest(&["a", "bc"]));
        assert_ne!(digest(&["a"]), digest(&["a", ""]));
    }
}
