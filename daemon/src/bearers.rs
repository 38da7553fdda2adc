//! Whoever comes by HTTP and shows a token. A daemon of one user knows its tokens itself; that of a whole host asks the
//! broker, each time, and acts for the user whom that names.

use crate::{
    people::Peer,
    tokens::{PREFIX, Tokens},
};
use skynet_core::{Connection, Effect, ErrorKind, Result, process::Process};
use skynet_leases::Leases;
use skynet_sandbox::{Admission, Slots};
use std::{
    collections::HashMap,
    future::pending,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// Requests whose token is checked, and whose directory is opened, at the same time: together half of what the broker does so
/// for everybody. Of one user fewer, whose file server may keep them waiting.
const MOST_CHECKS: usize = 8;
const MOST_OPENINGS: usize = 24;
const MOST_OPENINGS_OF_USER: usize = 4;

/// What is longer, in bytes, is no secret of a token, and the broker is not asked about it.
const LONGEST_SECRET: usize = 128;

/// Who shows a token that holds.
pub(crate) struct Bearer {
    /// As whom he acts.
    pub(crate) peer: Peer,
    /// The id of the token.
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) workspaces: Vec<String>,
    pub(crate) effects: Vec<Effect>,
}

/// All of them.
pub(crate) enum Bearers {
    /// Of a daemon of one user.
    User(Arc<Tokens>),
    /// Of that of a whole host.
    Host(Host),
}

/// What is known of those whom the broker let in.
pub(crate) struct Host {
    slots: Arc<Slots>,
    leases: Arc<Leases>,
    /// By the connection that stands for a token, what is set when it ends.
    known: Arc<Mutex<HashMap<u64, CancellationToken>>>,
    checks: Semaphore,
    openings: Arc<Semaphore>,
    /// By user, of those that he may have.
    own_openings: Mutex<HashMap<u32, Arc<Semaphore>>>,
}

/// A place among the requests whose directory is opened.
pub(crate) struct Turn {
    _own: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
}

impl Bearers {
    pub(crate) fn of_host(slots: Arc<Slots>, leases: Arc<Leases>) -> Self {
        Self::Host(Host {
            slots,
            leases,
            known: Arc::default(),
            checks: Semaphore::new(MOST_CHECKS),
            openings: Arc::new(Semaphore::new(MOST_OPENINGS)),
            own_openings: Mutex::default(),
        })
    }

    /// Whose secret this is, if it is one of a token that holds.
    ///
    /// # Errors
    /// When nobody can say.
    pub(crate) async fn admit(&self, secret: &str) -> Result<Option<Bearer>> {
        match self {
            Self::User(tokens) => {
                Ok(tokens.verify(secret).filter(|(_, record)| !record.scrapes).map(|(id, record)| Bearer {
                    // Tokens are of the daemon's own user.
                    peer: Peer {
                        uid: rustix::process::getuid().as_raw(),
                        pid: 0,
                        connection: Connection::own(),
                    },
                    id,
                    name: record.name,
                    workspaces: record.workspaces,
                    effects: record.effects,
                }))
            }
            Self::Host(_) if !secret.starts_with(PREFIX) || secret.len() > LONGEST_SECRET => Ok(None),
            Self::Host(host) => match host.check(secret).await {
                Ok(admission) => Ok(Some(host.take_in(admission))),
                Err(err) if err.kind == ErrorKind::Denied => Ok(None),
                Err(err) => Err(err),
            },
        }
    }

    /// Waits for a turn to have a directory opened; `None` where none is needed.
    pub(crate) async fn turn(&self, uid: u32) -> Option<Turn> {
        match self {
            Self::User(_) => None,
            Self::Host(host) => host.turn(uid).await,
        }
    }

    /// Whether requests of a token are still taken, for which that connection stands.
    pub(crate) fn is_alive(&self, token: &str, connection: u64) -> bool {
        match self {
            Self::User(tokens) => tokens.is_alive(token),
            Self::Host(host) => host.find(connection).is_some(),
        }
    }

    /// Waits until they no longer are.
    pub(crate) async fn ended(&self, token: &str, connection: u64) {
        match self {
            Self::User(tokens) => tokens.ended(token).await,
            Self::Host(_) => self.cut_off(connection).await,
        }
    }

    /// Waits until nothing can be done any more for a connection. In a daemon of one user that never comes.
    pub(crate) async fn cut_off(&self, connection: u64) {
        match self {
            Self::User(_) => pending().await,
            Self::Host(host) => {
                if let Some(ended) = host.find(connection) {
                    ended.cancelled().await;
                }
            }
        }
    }
}

impl Host {
    async fn check(&self, secret: &str) -> Result<Admission> {
        let _turn = self.checks.acquire().await;
        self.slots.admit(secret).await
    }

    async fn turn(&self, uid: u32) -> Option<Turn> {
        let new = || Arc::new(Semaphore::new(MOST_OPENINGS_OF_USER));
        let own = lock(&self.own_openings).entry(uid).or_insert_with(new).clone();
        Some(Turn {
            _own: own.acquire_owned().await.ok()?,
            _of_all: self.openings.clone().acquire_owned().await.ok()?,
        })
    }

    fn take_in(&self, admission: Admission) -> Bearer {
        let Admission { connection, uid, token, name, workspaces, effects, ended, is_void } = admission;
        let is_new = lock(&self.known).insert(connection, ended.clone()).is_none();
        if is_new {
            let (known, leases, token) = (self.known.clone(), self.leases.clone(), token.clone());
            tokio::spawn(async move {
                ended.cancelled().await;
                lock(&known).remove(&connection);
                // With the broker alone no token has ended.
                if !is_void.is_cancelled() {
                    leases.end_token(&token);
                    tracing::info!(token, "a token has ended");
                }
            });
        }
        let is_allowed = |effect: &Effect| effects.iter().any(|name| name == effect.as_str());
        Bearer {
            // The broker lets it go when the token ends.
            peer: Peer { uid, pid: 0, connection: Connection::noted(connection, Process::Numbered, |_| {}) },
            id: token,
            name,
            workspaces,
            effects: Effect::ALL.into_iter().filter(is_allowed).collect(),
        }
    }

    /// What is set when that connection ends; `None` if it has.
    fn find(&self, connection: u64) -> Option<CancellationToken> {
        lock(&self.known).get(&connection).filter(|ended| !ended.is_cancelled()).cloned()
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each change is one insert or remove, so a panic leaves it whole.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use skynet_store::Tables;

    fn host(directory: &tempfile::TempDir) -> Host {
        let (slots, _arrivals) = Slots::of_host(directory.path().join("no broker"));
        let leases = Leases::open(&Tables::open(directory.path()).unwrap());
        match Bearers::of_host(slots, leases) {
            Bearers::Host(host) => host,
            Bearers::User(_) => panic!("of a host"),
        }
    }

    fn admission(connection: u64, is_void: &CancellationToken) -> Admission {
        Admission {
            connection,
            uid: 1001,
            token: "id".into(),
            name: "ci".into(),
            workspaces: vec!["/w".into()],
            effects: vec!["read".into(), "nonsense".into()],
            ended: is_void.child_token(),
            is_void: is_void.clone(),
        }
    }

    #[tokio::test]
    async fn what_stands_for_a_token_ends_with_it_and_with_the_broker() {
        let directory = tempfile::tempdir().unwrap();
        let host = host(&directory);
        let is_void = CancellationToken::new();
        let first = admission(7, &is_void);
        let revoked = first.ended.clone();
        let bearer = host.take_in(first);
        assert_eq!((bearer.peer.uid, bearer.peer.connection.number()), (1001, 7));
        assert_eq!(bearer.effects, [Effect::Read]);
        host.take_in(admission(8, &is_void));
        let bearers = Bearers::Host(host);
        assert!(bearers.is_alive("id", 7) && bearers.is_alive("id", 8) && !bearers.is_alive("id", 9));
        revoked.cancel();
        bearers.ended("id", 7).await;
        assert!(!bearers.is_alive("id", 7) && bearers.is_alive("id", 8));
        is_void.cancel();
        bearers.cut_off(8).await;
        assert!(!bearers.is_alive("id", 8));
    }

    #[tokio::test]
    async fn without_a_broker_nobody_is_let_in() {
        let directory = tempfile::tempdir().unwrap();
        let bearers = Bearers::Host(host(&directory));
        for no_secret in ["", "Skynet_00000000_0", &format!("skynet_{}", "0".repeat(200))] {
            assert!(bearers.admit(no_secret).await.is_ok_and(|bearer| bearer.is_none()), "{no_secret}");
        }
        let refused = bearers.admit("skynet_00000000_0").await;
        assert!(refused.is_err_and(|err| err.kind == ErrorKind::Unavailable));
    }
}
