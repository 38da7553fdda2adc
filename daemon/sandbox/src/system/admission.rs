//! Who comes by HTTP with a token: for as long as that holds, a number stands for it as one stands for a connection, and
//! what is done for the number is done as the token's user.

use super::{
    Connection, MOST_OPENINGS, System,
    opening::{Opening, Purpose},
    unknown,
};
use crate::{
    slot::Refusal,
    tokens::{
        account,
        book::{Entry, now},
    },
};
use skynet_core::ErrorKind;
use skynet_sandbox::protocol::{Admit, Admitted, Identity, Refused, Reply};
use std::{
    collections::HashSet,
    os::fd::BorrowedFd,
    path::Path,
    time::{Duration, Instant},
};

/// So long it is believed who a user is, and in which groups.
const FRESH: Duration = Duration::from_secs(60);

/// What stands for a token.
pub(super) struct Bearer {
    pub(super) connection: u64,
    /// When its user was looked up.
    since: Instant,
    /// Whether it ends by itself.
    pub(super) expires: bool,
}

impl System {
    /// What to wait for where there is no daemon, in the order of [`System::attend_desk`].
    pub(crate) fn desk_sockets(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.desk.sockets()
    }

    /// Whether somebody at the desk has to be looked at again though nothing happens.
    pub(crate) const fn is_asked(&self) -> bool {
        self.desk.is_waiting()
    }

    /// Makes and ends tokens, as it is asked for at the sockets that are ready.
    pub(crate) fn attend_desk(&mut self, is_ready: &[bool]) {
        for ended in self.desk.attend(is_ready, &mut self.book) {
            self.lapse(&ended.id);
        }
    }

    /// Ends what stands for tokens whose time is over.
    pub(super) fn expire(&mut self) {
        if !self.bearers.values().any(|bearer| bearer.expires) {
            return;
        }
        let now = now();
        let tokens = self.connections.values().filter_map(|known| known.token.as_ref());
        let ended: Vec<String> =
            tokens.filter(|token| !token.is_alive(now)).map(|token| token.id.clone()).collect();
        for token in ended {
            self.lapse(&token);
        }
    }

    /// Nothing more is done for a token.
    fn lapse(&mut self, token: &str) {
        if let Some(bearer) = self.bearers.remove(token) {
            self.release(bearer.connection);
            self.lapsed.push(bearer.connection);
        }
    }

    /// The connections whose token has ended since this was last asked.
    pub(crate) fn take_lapsed(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.lapsed)
    }

    /// Says whom a secret stands for; later, where its user is to be looked up first.
    ///
    /// # Errors
    /// `Denied` if it is the secret of no token that holds; when the user cannot be looked up.
    pub(crate) fn admit(&mut self, asked: &Admit) -> Result<Option<Reply>, Refusal> {
        let entry = self.book.shown(&asked.secret, now()).cloned().ok_or_else(no_token)?;
        let fresh = self.bearers.get(&entry.id).filter(|bearer| bearer.since.elapsed() < FRESH);
        if let Some(bearer) = fresh {
            return Ok(Some(Reply::Admitted(admitted(asked.id, bearer.connection, &entry))));
        }
        let refused = |message: String| Refusal::command(ErrorKind::Unavailable, message);
        if self.openings.len() >= MOST_OPENINGS {
            return Err(refused("too much is being opened; try again".to_owned()));
        }
        let started = account::start_lookup(entry.uid);
        let (child, socket) =
            started.map_err(|err| refused(format!("the user of the token cannot be looked up: {err}")))?;
        self.openings.push(Opening {
            id: asked.id,
            purpose: Purpose::Account(entry),
            connection: 0,
            child,
            socket,
            since: Instant::now(),
        });
        Ok(None)
    }

    /// Has a number stand for a token, now that it is known who its user is today.
    pub(super) fn take_up(&mut self, opening: &Opening, account: Identity) -> Result<Admitted, Refusal> {
        let Purpose::Account(entry) = &opening.purpose else { return Err(unknown()) };
        // Meanwhile it may have ended. Root has no tokens, whatever the book says.
        if entry.uid == 0 || !self.book.holds(entry, now()) {
            return Err(no_token());
        }
        let Identity { gid, groups, .. } = account;
        let identity = self.identity_of(entry.uid, gid, groups.clone());
        let connection = match self.bearers.get(&entry.id) {
            Some(bearer) => bearer.connection,
            None => self.number(),
        };
        match self.connections.get_mut(&connection) {
            Some(known) => (known.identity, known.groups) = (identity, groups),
            None => {
                let (uid, token) = (entry.uid, Some(entry.clone()));
                let known = Connection { identity, uid, groups, opened: HashSet::new(), token };
                self.connections.insert(connection, known);
            }
        }
        let expires = entry.expires_at.is_some();
        self.bearers.insert(entry.id.clone(), Bearer { connection, since: Instant::now(), expires });
        Ok(admitted(opening.id, connection, entry))
    }

    /// Ends what stands for a token whose user is there no more.
    pub(super) fn let_go(&mut self, opening: &Opening, refused: &Refused) {
        if let Purpose::Account(entry) = &opening.purpose
            && refused.kind == ErrorKind::Denied.as_str()
        {
            self.lapse(&entry.id);
        }
    }
}

/// That a directory really is where the token says; a link may lead anywhere.
pub(super) fn check_bound(token: &Entry, place: &Path) -> Result<(), Refusal> {
    if token.workspaces.iter().any(|workspace| Path::new(workspace) == place) {
        return Ok(());
    }
    let message = format!("the token is not bound to `{}`", place.display());
    Err(Refusal::command(ErrorKind::Denied, message))
}

fn admitted(id: u64, connection: u64, entry: &Entry) -> Admitted {
    Admitted {
        id,
        connection,
        uid: entry.uid,
        token: entry.id.clone(),
        name: entry.name.clone(),
        workspaces: entry.workspaces.clone(),
        effects: entry.effects.clone(),
    }
}

fn no_token() -> Refusal {
    Refusal::command(ErrorKind::Denied, "no token that holds has this secret".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        system::{Ground, MOST_ACCEPTED, Settings},
        tokens::{
            book::{Book, Wanted},
            desk::Desk,
        },
    };
    use std::os::{
        fd::OwnedFd,
        unix::net::{UnixListener, UnixStream},
    };

    fn listener(path: &Path) -> OwnedFd {
        let listener = UnixListener::bind(path).unwrap();
        listener.set_nonblocking(true).unwrap();
        listener.into()
    }

    /// One in `directory`, with a token.
    fn system(directory: &Path) -> (System, Entry) {
        let settings = Settings {
            root_runs_as: None,
            without_groups: HashSet::new(),
            engine_sockets: Vec::new(),
            engine_users: HashSet::new(),
            lends_agents: false,
        };
        let mut book = Book::open(directory.join("tokens")).unwrap();
        let wanted = Wanted {
            name: "ci".into(),
            uid: 1000,
            workspaces: vec!["/home/a/project".into()],
            effects: vec!["read".into()],
            lives_for: None,
        };
        let (entry, _secret) = book.create(wanted, now()).unwrap();
        let ground = Ground::of([directory.join("clients").as_path()]).unwrap();
        let desk = Desk::new(listener(&directory.join("desk")));
        let system = System::new(settings, ground, listener(&directory.join("clients")), book, desk);
        (system.unwrap(), entry)
    }

    fn connection(token: Option<Entry>) -> Connection {
        let identity = Ok(Identity { uid: 1000, gid: 1000, groups: Vec::new() });
        Connection { identity, uid: 1000, groups: Vec::new(), opened: HashSet::new(), token }
    }

    #[test]
    fn what_stands_for_a_token_ends_with_it_though_the_daemon_lets_it_go() {
        let directory = tempfile::tempdir().unwrap();
        let (mut system, token) = system(directory.path());
        let id = token.id.clone();
        system.connections.insert(7, connection(Some(token)));
        system.connections.insert(8, connection(None));
        let bearer = Bearer { connection: 7, since: Instant::now(), expires: false };
        system.bearers.insert(id.clone(), bearer);
        for connection in [7, 8, 9] {
            system.release_client(connection);
        }
        assert!(system.identity(7).is_ok() && system.identity(8).is_err());
        system.lapse(&id);
        assert_eq!(system.take_lapsed(), [7]);
        assert!(system.identity(7).is_err());
    }

    #[test]
    fn who_connects_without_end_does_not_keep_others_from_their_turn() {
        let directory = tempfile::tempdir().unwrap();
        let (mut system, _) = system(directory.path());
        for _ in 0..=MOST_ACCEPTED {
            drop(UnixStream::connect(directory.path().join("clients")).unwrap());
        }
        assert_eq!(system.attend(&[true]).len(), MOST_ACCEPTED);
        assert_eq!(system.attend(&[true]).len(), 1);
    }
}
