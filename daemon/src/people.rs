//! Who the clients of this daemon are: its own user, or anybody on the host. And which directories they may work in.

use crate::claims::Claims;
use anyhow::{Context as _, Result};
use skynet_core::{Connection, Workspace};
use skynet_sandbox::Slots;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// A client's process, as the kernel told it.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) uid: u32,
    pub(crate) pid: u32,
    pub(crate) connection: Arc<Connection>,
}

/// A user.
#[derive(Clone, Debug)]
pub(crate) struct Person {
    pub(crate) name: Arc<str>,
    pub(crate) home: Arc<Path>,
}

/// Whose calls are served.
pub(crate) enum Realm {
    /// Those of the daemon's own user.
    User { uid: u32, person: Person },
    /// Those of all users, each as himself, by the broker of the whole host.
    Host(Arc<Slots>),
}

/// All users, and where they may work.
pub(crate) struct People {
    realm: Realm,
    claims: Claims,
}

impl People {
    pub(crate) const fn new(realm: Realm, claims: Claims) -> Self {
        Self { realm, claims }
    }

    /// Whether everybody on the host is served.
    pub(crate) const fn is_host(&self) -> bool {
        matches!(self.realm, Realm::Host(_))
    }

    /// Whether that user decides what others may do.
    pub(crate) const fn is_administrator(&self, uid: u32) -> bool {
        match &self.realm {
            Realm::User { uid: own, .. } => uid == *own,
            Realm::Host(_) => uid == 0,
        }
    }

    /// The user of that number.
    ///
    /// # Errors
    /// When the host knows none.
    pub(crate) async fn find(&self, uid: u32) -> Result<Person> {
        if let Realm::User { uid: own, person } = &self.realm
            && uid == *own
        {
            return Ok(person.clone());
        }
        // It may ask a directory server.
        let uid = nix::unistd::Uid::from_raw(uid);
        let found = tokio::task::spawn_blocking(move || nix::unistd::User::from_uid(uid)).await?;
        let user = found?.with_context(|| format!("this host knows no user with the number {uid}"))?;
        Ok(Person { name: user.name.into(), home: user.dir.into() })
    }

    /// Opens a claimed directory as the peer, who is `person`.
    ///
    /// # Errors
    /// In words, why it is not a workspace.
    pub(crate) async fn workspace(
        &self,
        peer: &Peer,
        person: &Person,
        claim: &str,
    ) -> Result<Arc<Workspace>, String> {
        let path = PathBuf::from(claim);
        let opened = match &self.realm {
            Realm::User { .. } => Workspace::open(&path),
            Realm::Host(slots) => slots.open(peer.connection.number(), &path).await,
        };
        let workspace = opened.map_err(|err| err.to_string())?;
        self.claims.judge(workspace.path(), &person.home)?;
        Ok(Arc::new(workspace))
    }
}
