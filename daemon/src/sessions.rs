//! Who is attached. A session outlives its connections: it is bound to a uid and found again by its id.

use anyhow::{Result, anyhow};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use skynet_catalog::Choices;
use skynet_core::CallId;
use skynet_leases::Leases;
use skynet_store::{Table, Tables};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::time::MissedTickBehavior;
use uuid::Uuid;

/// Sessions nobody came back to are forgotten after that time.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(7 * 24 * 3600);

/// How often it is noted of an attached one that it is there: one write for each of them.
const SEEN_EVERY: Duration = Duration::from_secs(3600);

/// One session, as stored and as shown.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Session {
    pub(crate) uid: u32,
    pub(crate) pid: u32,
    pub(crate) client: String,
    pub(crate) protocol_version: String,
    pub(crate) workspace: String,
    pub(crate) attached_at: Timestamp,
    /// When a client attached first; `None` of one that an older release stored.
    #[serde(default)]
    began_at: Option<Timestamp>,
    /// When a client was last known to be there; `None` of one that an older release stored, or that has just attached.
    #[serde(default)]
    seen_at: Option<Timestamp>,
    /// The resources it hears of, each with frame and place in a batch of the call that asked for it.
    #[serde(default)]
    subscribed: BTreeMap<String, (u64, u32)>,
    /// What it switched on or off in its list.
    #[serde(default)]
    toolsets: Choices,
    /// Whether nobody comes back to it once its daemon has ended.
    #[serde(default)]
    ends_with_daemon: bool,
    #[serde(skip)]
    pub(crate) attachments: u32,
    /// The number of the newest attachment, which no other one has.
    #[serde(skip)]
    attachment: u64,
    #[serde(skip)]
    pub(crate) calls: u64,
}

impl Session {
    /// Since when nobody is known to have been there.
    fn last_seen(&self) -> Timestamp {
        self.seen_at.map_or(self.attached_at, |seen_at| seen_at.max(self.attached_at))
    }
}

/// A session whose last connection ended; void once somebody attaches to it again.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Orphan {
    session: Uuid,
    attachment: u64,
}

/// All of them.
pub(crate) struct Sessions {
    live: Mutex<HashMap<Uuid, Session>>,
    table: Table<Session>,
    /// Held from reading a session in memory to the end of its writing, so that the newest is what is stored.
    storing: Mutex<()>,
    leases: Arc<Leases>,
    /// Attachments since the start.
    attachments: AtomicU64,
}

impl Sessions {
    pub(crate) fn open(tables: &Tables, leases: Arc<Leases>) -> Result<Self> {
        let table: Table<Session> = tables.table("sessions");
        let oldest = Timestamp::now() - FORGOTTEN_AFTER;
        for (id, session) in table.iter() {
            if session.ends_with_daemon || session.last_seen() < oldest {
                table.remove(&id)?;
                if let Ok(id) = id.parse() {
                    leases.end_session(id);
                }
            }
        }
        Ok(Self {
            live: Mutex::default(),
            table,
            storing: Mutex::default(),
            leases,
            attachments: AtomicU64::default(),
        })
    }

    /// Notes that a client is attached.
    ///
    /// # Errors
    /// When the session belongs to another uid.
    pub(crate) fn attach(&self, id: Uuid, uid: u32, pid: u32, workspace: &str) -> Result<()> {
        self.note(id, uid, (pid, false), workspace)
    }

    /// The same of a session over HTTP, whose id is of this daemon alone.
    ///
    /// # Errors
    /// When the session belongs to another uid.
    pub(crate) fn attach_over_http(&self, id: Uuid, uid: u32, workspace: &str) -> Result<()> {
        self.note(id, uid, (0, true), workspace)
    }

    fn note(&self, id: Uuid, uid: u32, (pid, ends_with_daemon): (u32, bool), workspace: &str) -> Result<()> {
        // On a disk that is broken or full nobody is refused: then memory alone knows the session.
        let stored = self.table.get(&id.to_string()).unwrap_or_else(|err| {
            tracing::warn!(error = %err, "the stored sessions cannot be read");
            None
        });
        let mut live = self.lock();
        let known = live.get(&id).cloned().or(stored);
        if known.as_ref().is_some_and(|session| session.uid != uid) {
            return Err(anyhow!("the session belongs to another user"));
        }
        let now = Timestamp::now();
        let session = Session {
            uid,
            pid,
            workspace: workspace.to_owned(),
            attached_at: now,
            ends_with_daemon,
            began_at: known.as_ref().map_or(Some(now), |session| session.began_at),
            seen_at: None,
            subscribed: known.as_ref().map_or_else(BTreeMap::new, |session| session.subscribed.clone()),
            attachment: self.attachments.fetch_add(1, Ordering::Relaxed),
            attachments: known.as_ref().map_or(0, |session| session.attachments) + 1,
            calls: known.as_ref().map_or(0, |session| session.calls),
            client: known.as_ref().map_or_else(String::new, |session| session.client.clone()),
            toolsets: known.as_ref().map_or_else(Choices::new, |session| session.toolsets.clone()),
            protocol_version: known.map_or_else(String::new, |session| session.protocol_version),
        };
        live.insert(id, session);
        drop(live);
        self.store(id, Table::put);
        Ok(())
    }

    /// Notes what the client said about itself.
    pub(crate) fn identify(&self, id: Uuid, client: &str, protocol_version: &str) {
        {
            let mut live = self.lock();
            let Some(session) = live.get_mut(&id) else { return };
            if session.client == client && session.protocol_version == protocol_version {
                return;
            }
            session.client = client.to_owned();
            session.protocol_version = protocol_version.to_owned();
        }
        self.store(id, Table::put);
    }

    fn store(
        &self,
        id: Uuid,
        put: impl FnOnce(&Table<Session>, &str, &Session) -> Result<(), skynet_store::Error>,
    ) {
        let _storing = self.storing.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(session) = self.lock().get(&id).cloned() else { return };
        if let Err(err) = put(&self.table, &id.to_string(), &session) {
            tracing::warn!(error = %err, "a session could not be stored");
        }
    }

    /// Counts a call.
    pub(crate) fn count_call(&self, id: Uuid) {
        if let Some(session) = self.lock().get_mut(&id) {
            session.calls += 1;
        }
    }

    /// Notes that a connection ended; the session, when it was the last of it.
    pub(crate) fn detach(&self, id: Uuid) -> Option<Orphan> {
        // While it is attached: of a host that slept for days, and whose daemon ends now, nothing was noted for as long.
        self.see(Some(id), Timestamp::now());
        let mut live = self.lock();
        let session = live.get_mut(&id)?;
        session.attachments = session.attachments.saturating_sub(1);
        (session.attachments == 0).then_some(Orphan { session: id, attachment: session.attachment })
    }

    /// Notes now and then who is there, for as long as it is polled.
    pub(crate) async fn keep_seen(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(SEEN_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let all = self.clone();
            // It waits for the disk.
            let seen = tokio::task::spawn_blocking(move || all.see(None, Timestamp::now())).await;
            if let Err(err) = seen {
                tracing::error!(error = %err, "who is attached could not be noted");
            }
        }
    }

    /// Notes of attached sessions, of all or of one, that somebody is there, unless that was noted lately.
    fn see(&self, only: Option<Uuid>, now: Timestamp) {
        let is_due = |session: &Session| {
            // Those that nobody comes back to need no note.
            session.attachments > 0 && !session.ends_with_daemon && session.last_seen() <= now - SEEN_EVERY
        };
        let seen: Vec<Uuid> = {
            let mut live = self.lock();
            let wanted = live.iter_mut().filter(|(id, _)| only.is_none_or(|only| only == **id));
            let due = wanted.filter(|(_, session)| is_due(session));
            due.map(|(id, session)| {
                session.seen_at = Some(now);
                *id
            })
            .collect()
        };
        for id in seen {
            self.store(id, Table::put);
        }
    }

    /// Forgets a session whose client said goodbye, with what it had leased.
    pub(crate) fn end(&self, id: Uuid) {
        {
            // Or it would be stored again by whoever read it before.
            let _storing = self.storing.lock().unwrap_or_else(PoisonError::into_inner);
            self.lock().remove(&id);
            if let Err(err) = self.table.remove(&id.to_string()) {
                tracing::warn!(error = %err, "a session could not be forgotten");
            }
        }
        self.leases.end_session(id);
    }

    /// Keeps a session that nobody came back to only on disk, where one that does is found again; false if somebody did.
    pub(crate) fn retire(&self, orphan: &Orphan) -> bool {
        let mut live = self.lock();
        let is_orphan =
            |session: &Session| session.attachments == 0 && session.attachment == orphan.attachment;
        live.get(&orphan.session).is_some_and(is_orphan) && live.remove(&orphan.session).is_some()
    }

    /// Whether a client is there now.
    pub(crate) fn is_attached(&self, id: Uuid) -> bool {
        self.lock().get(&id).is_some_and(|session| session.attachments > 0)
    }

    /// When a client attached first, if that is known.
    pub(crate) fn began_at(&self, id: Uuid) -> Option<Timestamp> {
        self.lock().get(&id).and_then(|session| session.began_at)
    }

    /// Notes a resource that the client asked to hear of, so that it does over every connection to come.
    pub(crate) fn subscribe(&self, uri: &str, call: CallId) {
        if let Some(session) = self.lock().get_mut(&call.session) {
            session.subscribed.insert(uri.to_owned(), (call.sequence, call.index));
        }
        self.keep_durably(call.session);
    }

    /// Notes that it hears no more of one.
    pub(crate) fn unsubscribe(&self, id: Uuid, uri: &str) {
        let was_subscribed =
            self.lock().get_mut(&id).is_some_and(|session| session.subscribed.remove(uri).is_some());
        if was_subscribed {
            self.keep_durably(id);
        }
    }

    /// What the client hears of, each with the call that asked for it.
    pub(crate) fn subscribed(&self, id: Uuid) -> Vec<(String, CallId)> {
        let live = self.lock();
        let subscribed = live.get(&id).into_iter().flat_map(|session| &session.subscribed);
        let with_call = |(uri, (sequence, index)): (&String, &(u64, u32))| {
            (uri.clone(), CallId { session: id, sequence: *sequence, index: *index })
        };
        subscribed.map(with_call).collect()
    }

    /// Whether it hears of that one.
    pub(crate) fn is_subscribed(&self, id: Uuid, uri: &str) -> bool {
        self.lock().get(&id).is_some_and(|session| session.subscribed.contains_key(uri))
    }

    fn keep_durably(&self, id: Uuid) {
        // On a full disk at least this daemon remembers.
        self.store(id, |table, id, known| table.put_durably(id, known).or_else(|_| table.put(id, known)));
    }

    /// The sessions since the start, newest first.
    pub(crate) fn list(&self) -> Vec<(Uuid, Session)> {
        let mut list: Vec<_> = self.lock().iter().map(|(id, session)| (*id, session.clone())).collect();
        list.sort_by_key(|(_, session)| std::cmp::Reverse(session.attached_at));
        list
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, Session>> {
        // Each change is one insert, remove or field, so a panic leaves it whole.
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl skynet_catalog::Memory for Sessions {
    fn recall(&self, session: Uuid) -> Choices {
        self.lock().get(&session).map(|session| session.toolsets.clone()).unwrap_or_default()
    }

    fn keep(&self, session: Uuid, choices: Choices) {
        if let Some(known) = self.lock().get_mut(&session) {
            known.toolsets = choices;
        }
        self.keep_durably(session);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: Uuid = Uuid::from_u128(1);

    fn open(directory: &std::path::Path) -> Sessions {
        let tables = Tables::open(directory).unwrap();
        Sessions::open(&tables, Leases::open(&tables)).unwrap()
    }

    #[test]
    fn who_came_back_and_left_again_is_not_ended_by_the_first_time() {
        let directory = tempfile::tempdir().unwrap();
        let sessions = open(directory.path());
        let attach = || sessions.attach(ID, 1, 2, "/w").unwrap();
        attach();
        attach();
        assert_eq!(sessions.detach(ID), None, "another connection is there");
        let first = sessions.detach(ID).unwrap();
        attach();
        assert!(!sessions.retire(&first), "it is attached");
        let second = sessions.detach(ID).unwrap();
        assert!(!sessions.retire(&first), "its time is that of the second end");
        assert!(sessions.retire(&second) && !sessions.retire(&second));
        // Found again on disk, and no older end is about that.
        attach();
        let third = sessions.detach(ID).unwrap();
        assert!(!sessions.retire(&first) && !sessions.retire(&second) && sessions.retire(&third));
    }

    #[test]
    fn what_was_subscribed_to_outlives_the_daemon() {
        let directory = tempfile::tempdir().unwrap();
        let sessions = open(directory.path());
        sessions.attach(ID, 1, 2, "/w").unwrap();
        let call = |sequence, index| CallId { session: ID, sequence, index };
        sessions.subscribe("skynet://a", call(3, 0));
        sessions.subscribe("skynet://b", call(4, 2));
        sessions.subscribe("skynet://c", call(5, 0));
        sessions.unsubscribe(ID, "skynet://a");
        let began_at = sessions.began_at(ID);
        drop(sessions);
        // Threads of sled hold the lock for moments.
        let file = std::fs::File::open(directory.path().join("db")).unwrap();
        rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).unwrap();
        drop(file);
        let sessions = open(directory.path());
        sessions.attach(ID, 1, 3, "/w").unwrap();
        let expected = [("skynet://b", call(4, 2)), ("skynet://c", call(5, 0))];
        assert_eq!(sessions.subscribed(ID), expected.map(|(uri, call)| (uri.to_owned(), call)));
        assert!(sessions.is_subscribed(ID, "skynet://b") && !sessions.is_subscribed(ID, "skynet://a"));
        assert!(began_at.is_some() && sessions.began_at(ID) == began_at);
        sessions.end(ID);
        sessions.attach(ID, 1, 3, "/w").unwrap();
        assert!(sessions.subscribed(ID).is_empty(), "who said goodbye comes as somebody new");
    }

    /// As a session is stored whose client attached and was seen that many days ago.
    fn stored(attached: i64, seen: Option<i64>) -> serde_json::Value {
        let ago = |days: i64| Timestamp::now() - jiff::SignedDuration::from_hours(24 * days);
        let mut row = serde_json::json!({
            "uid": 1, "pid": 2, "client": "c", "protocol_version": "p", "workspace": "/w",
            "attached_at": ago(attached), "subscribed": { "skynet://a": [3, 0] },
        });
        if let Some(seen) = seen {
            row["seen_at"] = serde_json::json!(ago(seen));
        }
        row
    }

    #[test]
    fn a_session_is_forgotten_by_when_it_was_seen_last_and_rows_of_older_releases_are_read() {
        let directory = tempfile::tempdir().unwrap();
        let tables = Tables::open(directory.path()).unwrap();
        let rows = tables.table::<serde_json::Value>("sessions");
        let cases = [
            (stored(3, None), true),
            (stored(8, None), false),
            (stored(30, Some(1)), true),
            (stored(30, Some(8)), false),
            // Who came back is there since then, whatever was noted before.
            (stored(1, Some(8)), true),
        ];
        let id = |number: usize| Uuid::from_u128(number as u128 + 1);
        for (number, (row, _)) in cases.iter().enumerate() {
            rows.put(&id(number).to_string(), row).unwrap();
        }
        let sessions = Sessions::open(&tables, Leases::open(&tables)).unwrap();
        for (number, (row, is_kept)) in cases.iter().enumerate() {
            sessions.attach(id(number), 1, 2, "/w").unwrap();
            assert_eq!(sessions.is_subscribed(id(number), "skynet://a"), *is_kept, "{row}");
        }
    }

    #[test]
    fn who_stays_attached_for_long_is_found_again_by_the_next_daemon() {
        let directory = tempfile::tempdir().unwrap();
        let tables = Tables::open(directory.path()).unwrap();
        let rows = tables.table::<Session>("sessions");
        let open = || Sessions::open(&tables, Leases::open(&tables)).unwrap();
        let call = CallId { session: ID, sequence: 3, index: 0 };
        let long_ago = Timestamp::now() - 2 * FORGOTTEN_AFTER;
        let attached_long_ago = || {
            let sessions = open();
            sessions.attach(ID, 1, 2, "/w").unwrap();
            sessions.lock().get_mut(&ID).unwrap().attached_at = long_ago;
            sessions.subscribe("skynet://a", call);
            sessions
        };
        let is_found = || {
            let sessions = open();
            sessions.attach(ID, 1, 2, "/w").unwrap();
            let is_found = sessions.is_subscribed(ID, "skynet://a");
            sessions.end(ID);
            is_found
        };
        attached_long_ago();
        assert!(!is_found(), "nobody was seen since");
        let sessions = attached_long_ago();
        sessions.see(None, Timestamp::now());
        let seen_at = || rows.get(&ID.to_string()).unwrap().unwrap().seen_at;
        let first = seen_at();
        sessions.see(None, Timestamp::now());
        assert!(first.is_some() && seen_at() == first, "it is noted now and then");
        assert!(is_found());
        // Also one of which the daemon hears first at its own end.
        attached_long_ago().detach(ID);
        assert!(is_found());
        // Who has left is not there.
        let sessions = attached_long_ago();
        sessions.lock().get_mut(&ID).unwrap().attachments = 0;
        sessions.see(None, Timestamp::now());
        assert!(!is_found());
    }
}
