//! Who is attached. A session outlives its connections: it is bound to a uid and found again by its id.

use anyhow::{Result, anyhow};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use skynet_catalog::Choices;
use skynet_leases::Leases;
use skynet_store::{Table, Tables};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use uuid::Uuid;

/// Sessions nobody came back to are forgotten after that time.
const FORGOTTEN_AFTER: std::time::Duration = std::time::Duration::from_secs(7 * 24 * 3600);

/// One session, as stored and as shown.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Session {
    pub(crate) uid: u32,
    pub(crate) pid: u32,
    pub(crate) client: String,
    pub(crate) protocol_version: String,
    pub(crate) workspace: String,
    pub(crate) attached_at: Timestamp,
    /// What it switched on or off in its list.
    #[serde(default)]
    toolsets: Choices,
    #[serde(skip)]
    pub(crate) attachments: u32,
    #[serde(skip)]
    pub(crate) calls: u64,
}

/// All of them.
pub(crate) struct Sessions {
    live: Mutex<HashMap<Uuid, Session>>,
    table: Table<Session>,
    /// Held from reading a session in memory to the end of its writing, so that the newest is what is stored.
    storing: Mutex<()>,
    leases: Arc<Leases>,
}

impl Sessions {
    pub(crate) fn open(tables: &Tables, leases: Arc<Leases>) -> Result<Self> {
        let table: Table<Session> = tables.table("sessions");
        let oldest = Timestamp::now() - FORGOTTEN_AFTER;
        for (id, session) in table.iter() {
            if session.attached_at < oldest {
                table.remove(&id)?;
            }
        }
        Ok(Self { live: Mutex::default(), table, storing: Mutex::default(), leases })
    }

    /// Notes that a client is attached.
    ///
    /// # Errors
    /// When the session belongs to another uid.
    pub(crate) fn attach(&self, id: Uuid, uid: u32, pid: u32, workspace: &str) -> Result<()> {
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
        let session = Session {
            uid,
            pid,
            workspace: workspace.to_owned(),
            attached_at: Timestamp::now(),
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

    /// Notes that a connection ended; true when it was the last of its session.
    pub(crate) fn detach(&self, id: Uuid) -> bool {
        self.lock().get_mut(&id).is_none_or(|session| {
            session.attachments = session.attachments.saturating_sub(1);
            session.attachments == 0
        })
    }

    /// Forgets a session whose client said goodbye, with what it had leased.
    pub(crate) fn end(&self, id: Uuid) {
        self.lock().remove(&id);
        if let Err(err) = self.table.remove(&id.to_string()) {
            tracing::warn!(error = %err, "a session could not be forgotten");
        }
        self.leases.end_session(id);
    }

    /// Keeps a session that nobody came back to only on disk, where one that does is found again.
    pub(crate) fn retire(&self, id: Uuid) {
        self.lock().remove(&id);
    }

    pub(crate) fn is_attached(&self, id: Uuid) -> bool {
        self.lock().get(&id).is_some_and(|session| session.attachments > 0)
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
        // On a full disk at least this daemon remembers.
        self.store(session, |table, id, known| {
            table.put_durably(id, known).or_else(|_| table.put(id, known))
        });
    }
}
