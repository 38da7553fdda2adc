//! Who the clients of this daemon are: its own user, or anybody on the host. And which directories they may work in.

use crate::claims::Claims;
use anyhow::{Context as _, Result};
use nix::unistd::{Gid, Uid, User, getgrouplist};
use skynet_core::{Connection, Group, Workspace};
use skynet_sandbox::Slots;
use std::{
    ffi::CString,
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
    pub(crate) groups: Arc<[Group]>,
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
        let uid = Uid::from_raw(uid);
        let found = look_up(move || User::from_uid(uid)).await?;
        found
            .map(|(_, person)| person)
            .with_context(|| format!("this host knows no user with the number {uid}"))
    }

    /// The user of that name or number, with his number; `None` where the host knows none.
    ///
    /// # Errors
    /// When the host cannot say.
    pub(crate) async fn named(&self, name: &str) -> Result<Option<(u32, Person)>> {
        if let Realm::User { uid, person } = &self.realm
            && (*name == *person.name || name == uid.to_string())
        {
            return Ok(Some((*uid, person.clone())));
        }
        let name = name.to_owned();
        look_up(move || match name.parse() {
            Ok(uid) => User::from_uid(Uid::from_raw(uid)),
            Err(_) => User::from_name(&name),
        })
        .await
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

/// Asks the database of users, which may ask a directory server.
async fn look_up(
    ask: impl FnOnce() -> nix::Result<Option<User>> + Send + 'static,
) -> Result<Option<(u32, Person)>> {
    tokio::task::spawn_blocking(move || {
        let Some(user) = ask()? else { return Ok(None) };
        let groups = groups_of(&user.name, user.gid)?;
        let person = Person { name: user.name.into(), home: user.dir.into(), groups: named(groups) };
        Ok(Some((user.uid.as_raw(), person)))
    })
    .await?
}

/// Of this process's user: those the database of users tells, and those the process has besides. Who is in neither is in none.
pub(crate) fn own_groups(uid: u32) -> Arc<[Group]> {
    let mut groups = nix::unistd::getgroups().unwrap_or_default();
    groups.push(nix::unistd::getgid());
    // A container may run as a number that no database knows.
    if let Ok(Some(user)) = User::from_uid(Uid::from_raw(uid)) {
        groups.extend(groups_of(&user.name, user.gid).unwrap_or_default());
    }
    named(groups)
}

/// By the database of users, not by what the client's process has: nobody steps out of a group that a rule is about.
fn groups_of(user: &str, gid: Gid) -> Result<Vec<Gid>> {
    Ok(getgrouplist(&CString::new(user)?, gid)?)
}

fn named(mut gids: Vec<Gid>) -> Arc<[Group]> {
    gids.sort_unstable_by_key(|gid| gid.as_raw());
    gids.dedup();
    let name = |gid: Gid| {
        let found = nix::unistd::Group::from_gid(gid).ok().flatten();
        found.map_or_else(|| gid.to_string(), |group| group.name)
    };
    gids.into_iter().map(|gid| Group { gid: gid.as_raw(), name: name(gid).into() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_in_the_groups_of_his_process_and_in_each_once() {
        let groups = own_groups(nix::unistd::getuid().as_raw());
        let gid = nix::unistd::getgid().as_raw();
        assert_eq!(groups.iter().filter(|group| group.gid == gid).count(), 1, "{groups:?}");
        // A number that nobody has is its own name.
        let nobody = named(vec![Gid::from_raw(4_000_000_123)]);
        assert_eq!(*nobody, [Group { gid: 4_000_000_123, name: "4000000123".into() }]);
    }
}
