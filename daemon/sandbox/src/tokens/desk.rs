//! Where users ask for tokens: a socket of the broker's own. Whose a token becomes is said by the kernel, of whoever
//! connected; no word of the daemon's is in it.

use super::{
    account,
    book::{Book, Entry, Wanted, now},
    origin::Origin,
};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use prost::Message as _;
use rustix::{
    io::Errno,
    net::{SocketFlags, accept_with},
};
use skynet_core::{Error, Result};
use skynet_proto::{
    CreateTokenRequest, CreateTokenResponse, ListTokensRequest, ListTokensResponse, RevokeTokenRequest,
    Token, TokenDeskRefusal, TokenDeskReply, TokenDeskRequest, token_desk::MAX_PACKET_BYTES,
    token_desk_reply::Reply, token_desk_request::Request,
};
use std::{
    collections::HashMap,
    io::{self, Write as _},
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        unix::net::UnixDatagram,
    },
    time::{Duration, Instant},
};

/// Those who asked for nothing yet: so many of one user, and of all but root.
const MOST_ASKERS_OF_USER: usize = 4;
const MOST_ASKERS: usize = 64;

/// So many are taken in before somebody else has his turn: who connects and hangs up without end would hold the broker for ever.
const MOST_ACCEPTED: usize = 64;

/// Who asks for nothing in that time is sent away.
const PATIENCE: Duration = Duration::from_secs(5);

/// Tokens that a user makes within a minute; each has the file written anew, and everybody waits for the disk.
const MOST_MADE: u32 = 30;
const MINUTE: Duration = Duration::from_secs(60);

/// An answer takes so much of a list.
const MOST_LISTED_BYTES: usize = MAX_PACKET_BYTES - 4096;

/// Somebody who has connected.
struct Asker {
    socket: UnixDatagram,
    uid: u32,
    origin: Origin,
    since: Instant,
}

/// The socket, and who has come.
pub(crate) struct Desk {
    listener: OwnedFd,
    askers: Vec<Asker>,
    pace: Pace,
    buffer: Vec<u8>,
}

/// How many tokens each user made lately, and since when that is counted.
#[derive(Default)]
struct Pace(HashMap<u32, (Instant, u32)>);

impl Pace {
    /// Counts one more of that user; false if it is one too many.
    fn allows(&mut self, uid: u32) -> bool {
        self.0.retain(|_, (since, _)| since.elapsed() < MINUTE);
        let (_, count) = self.0.entry(uid).or_insert_with(|| (Instant::now(), 0));
        *count = count.saturating_add(1);
        uid == 0 || *count <= MOST_MADE
    }
}

impl Desk {
    /// Accepts from `listener`, which does not block.
    pub(crate) fn new(listener: OwnedFd) -> Self {
        Self { listener, askers: Vec::new(), pace: Pace::default(), buffer: vec![0; MAX_PACKET_BYTES] }
    }

    /// What to wait for, in the order of [`Desk::attend`].
    pub(crate) fn sockets(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        std::iter::once(self.listener.as_fd()).chain(self.askers.iter().map(|asker| asker.socket.as_fd()))
    }

    /// Whether somebody has to be looked at again though nothing happens.
    pub(crate) const fn is_waiting(&self) -> bool {
        !self.askers.is_empty()
    }

    /// Does what is asked for at the sockets that are ready; the tokens that ended by it.
    pub(crate) fn attend(&mut self, is_ready: &[bool], book: &mut Book) -> Vec<Entry> {
        let mut ended = Vec::new();
        // From the end, because one that was answered leaves the list.
        for index in (0..self.askers.len()).rev() {
            if is_ready.get(index + 1) == Some(&true) {
                let asker = self.askers.swap_remove(index);
                ended.extend(answer(&asker, &mut self.buffer, &mut self.pace, book));
            } else if self.askers.get(index).is_some_and(|asker| asker.since.elapsed() >= PATIENCE) {
                self.askers.swap_remove(index);
            }
        }
        if is_ready.first() == Some(&true) {
            self.accept();
        }
        ended
    }

    /// Takes in those who wait, the rest at the next turn, and sends those away who are too many.
    fn accept(&mut self) {
        for _ in 0..MOST_ACCEPTED {
            let socket = match accept_with(&self.listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
                Ok(socket) => socket,
                Err(Errno::INTR | Errno::CONNABORTED) => continue,
                Err(_) => return,
            };
            // Without credentials it is nobody.
            let Ok(peer) = getsockopt(&socket, PeerCredentials) else { continue };
            let uid = peer.uid();
            let own = self.askers.iter().filter(|asker| asker.uid == uid).count();
            if own < MOST_ASKERS_OF_USER && (uid == 0 || self.askers.len() < MOST_ASKERS) {
                let origin = Origin::of(&socket, peer.pid());
                let socket = UnixDatagram::from(socket);
                self.askers.push(Asker { socket, uid, origin, since: Instant::now() });
            }
        }
    }
}

/// Answers one packet; the token that ended by it.
fn answer(asker: &Asker, buffer: &mut [u8], pace: &mut Pace, book: &mut Book) -> Option<Entry> {
    // Descriptors that came with it are closed by the kernel, for nobody takes them (unix(7), "Ancillary messages").
    let length = asker.socket.recv(buffer).ok().filter(|length| *length > 0)?;
    // One that fills the buffer may have been cut.
    let request = buffer.get(..length).filter(|_| length < MAX_PACKET_BYTES);
    let request = request.and_then(|packet| TokenDeskRequest::decode(packet).ok()?.request);
    let (done, ended) = match request {
        Some(_) if asker.origin == Origin::Elsewhere => (Err(not_here()), None),
        Some(Request::Create(_)) if !pace.allows(asker.uid) => {
            (Err(Error::quota_exceeded("too many tokens were made within a minute; try again later")), None)
        }
        Some(Request::Create(wanted)) => (create(wanted, asker.uid, book), None),
        Some(Request::List(asked)) => (list(&asked, asker.uid, book), None),
        Some(Request::Revoke(asked)) => revoke(&asked, asker.uid, book),
        None => (Err(Error::invalid_input("this broker is of another release, or that is no request")), None),
    };
    let reply = done.unwrap_or_else(|err| {
        let message = match &err.source {
            Some(source) => format!("{}: {source}", err.message),
            None => err.message.to_string(),
        };
        Reply::Refused(TokenDeskRefusal { kind: err.kind.as_str().to_owned(), message })
    });
    let made = match &reply {
        Reply::Created(CreateTokenResponse { token, .. }) => token.as_ref().map(|token| token.id.clone()),
        Reply::Listed(_) | Reply::Revoked(_) | Reply::Refused(_) => None,
    };
    let packet = TokenDeskReply { reply: Some(reply) }.encode_to_vec();
    if let (Err(_), Some(id)) = (asker.socket.send(&packet), made) {
        // Nobody has its secret. What cannot be written leaves a token that nobody can show.
        let _ = book.remove(&id);
    }
    ended
}

fn not_here() -> Error {
    Error::denied(
        "tokens are made, listed and revoked by a process of the host itself, not from a container or a command of Skynet's; run `skynetctl` outside of it",
    )
}

/// For whom something is asked by `asker`, if it is for one user.
fn meant(user: &str, asker: u32) -> Result<Option<u32>> {
    match (user, asker) {
        ("", 0) => Ok(None),
        ("", asker) => Ok(Some(asker)),
        // Root waits for the database of users, and everybody for root.
        (user, 0) => account::number_of(user).map(Some),
        (_, _) => {
            Err(Error::denied("only root may do that for another user; leave `--user` out for your own"))
        }
    }
}

fn create(wanted: CreateTokenRequest, asker: u32, book: &mut Book) -> Result<Reply> {
    if wanted.metrics {
        return Err(Error::invalid_input("a token for metrics is the daemon's to make"));
    }
    let uid = meant(&wanted.user, asker)?.filter(|uid| *uid != 0).ok_or_else(|| {
        Error::denied(
            "root has no rights in the sandbox, so no token acts for it; say for whom with `--user NAME`",
        )
    })?;
    let lives_for = (wanted.lives_for_seconds > 0).then(|| Duration::from_secs(wanted.lives_for_seconds));
    let CreateTokenRequest { name, workspaces, effects, .. } = wanted;
    let (entry, secret) = book.create(Wanted { name, uid, workspaces, effects, lives_for }, now())?;
    say("was made", &entry, asker);
    Ok(Reply::Created(CreateTokenResponse { token: Some(show(&entry)), secret, url: String::new() }))
}

fn list(asked: &ListTokensRequest, asker: u32, book: &Book) -> Result<Reply> {
    let found = book.list(meant(&asked.user, asker)?);
    let mut bytes = 0;
    let tokens: Vec<Token> = found
        .iter()
        .map(|entry| show(entry))
        .take_while(|token| {
            bytes += token.encoded_len();
            bytes <= MOST_LISTED_BYTES
        })
        .collect();
    let left_out = u32::try_from(found.len() - tokens.len()).unwrap_or(u32::MAX);
    Ok(Reply::Listed(ListTokensResponse { tokens, left_out }))
}

fn revoke(asked: &RevokeTokenRequest, asker: u32, book: &mut Book) -> (Result<Reply>, Option<Entry>) {
    let (gone, stored) = match meant(&asked.user, asker) {
        Ok(uid) => book.revoke(&asked.name, uid),
        Err(err) => (None, Err(err)),
    };
    if let Some(entry) = &gone {
        say("was revoked", entry, asker);
    }
    let reply = match (stored, &gone) {
        (Ok(()), Some(entry)) => Ok(Reply::Revoked(show(entry))),
        (Ok(()), None) => Err(Error::internal("no token was revoked")),
        (Err(err), _) => Err(err),
    };
    (reply, gone)
}

/// Tells the log of the broker.
fn say(what: &str, entry: &Entry, asker: u32) {
    let Entry { id, name, uid, .. } = entry;
    // Without a log it is done all the same.
    let _ = writeln!(io::stderr(), "token {id} `{name}` of the user {uid} {what} by the user {asker}");
}

fn show(entry: &Entry) -> Token {
    let at = |seconds| prost_types::Timestamp { seconds, nanos: 0 };
    Token {
        id: entry.id.clone(),
        name: entry.name.clone(),
        workspaces: entry.workspaces.clone(),
        effects: entry.effects.clone(),
        created_at: Some(at(entry.created_at)),
        expires_at: entry.expires_at.map(at),
        metrics: false,
        uid: Some(entry.uid),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, listen, socket_with};
    use std::path::Path;

    /// A desk in `directory`, whose socket this process connects to.
    fn desk(directory: &Path) -> Desk {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let listener = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
        bind(&listener, &SocketAddrUnix::new(directory.join("desk")).unwrap()).unwrap();
        listen(&listener, 128).unwrap();
        Desk::new(listener)
    }

    fn connect(directory: &Path) -> UnixDatagram {
        let socket =
            socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        rustix::net::connect(&socket, &SocketAddrUnix::new(directory.join("desk")).unwrap()).unwrap();
        UnixDatagram::from(socket)
    }

    fn request(request: Request) -> Vec<u8> {
        TokenDeskRequest { request: Some(request) }.encode_to_vec()
    }

    fn creation() -> CreateTokenRequest {
        CreateTokenRequest {
            name: "ci".into(),
            workspaces: vec!["/home/a/project".into()],
            effects: vec!["read".into()],
            ..CreateTokenRequest::default()
        }
    }

    #[test]
    fn a_user_asks_for_himself_alone_and_root_for_anybody_but_itself() {
        let directory = tempfile::tempdir().unwrap();
        let mut book = Book::open(directory.path().join("tokens")).unwrap();
        for (user, asker) in [("", 0), ("0", 0), ("root", 1000), ("1001", 1000), ("1000", 1000)] {
            let wanted = CreateTokenRequest { user: user.into(), ..creation() };
            let err = create(wanted, asker, &mut book).unwrap_err();
            assert_eq!(err.kind, skynet_core::ErrorKind::Denied, "{user} by {asker}");
        }
        let Reply::Created(made) = create(creation(), 1000, &mut book).unwrap() else { panic!("no token") };
        assert_eq!(made.token.unwrap().uid, Some(1000));
        assert_eq!(book.shown(&made.secret, now()).unwrap().uid, 1000);
        for (asker, count) in [(1000, 1), (1001, 0), (0, 1)] {
            let Reply::Listed(listed) = list(&ListTokensRequest::default(), asker, &book).unwrap() else {
                panic!("no list")
            };
            assert_eq!((listed.tokens.len(), listed.left_out), (count, 0), "{asker}");
        }
        let asked = RevokeTokenRequest { name: "ci".into(), ..RevokeTokenRequest::default() };
        let (refused, gone) = revoke(&asked, 1001, &mut book);
        assert!(refused.is_err() && gone.is_none());
        assert!(revoke(&asked, 0, &mut book).1.is_some());
    }

    #[test]
    fn what_connects_is_bounded_and_what_it_sends_is_answered_once() {
        let directory = tempfile::tempdir().unwrap();
        let mut book = Book::open(directory.path().join("tokens")).unwrap();
        let mut desk = desk(directory.path());
        let silent: Vec<_> = (0..10).map(|_| connect(directory.path())).collect();
        desk.attend(&[true], &mut book);
        assert_eq!(desk.sockets().count(), 1 + MOST_ASKERS_OF_USER);
        drop(silent);
        let all = vec![true; 1 + MOST_ASKERS_OF_USER];
        assert!(desk.attend(&all, &mut book).is_empty());
        assert!(!desk.is_waiting());

        let client = connect(directory.path());
        client.send(b"\xff\xff no request").unwrap();
        desk.attend(&[true], &mut book);
        desk.attend(&[false, true], &mut book);
        let mut buffer = vec![0; MAX_PACKET_BYTES];
        let length = client.recv(&mut buffer).unwrap();
        let reply = TokenDeskReply::decode(&buffer[..length]).unwrap().reply;
        assert!(matches!(reply, Some(Reply::Refused(refused)) if refused.kind == "invalid_input"));
        assert!(!desk.is_waiting());
    }

    #[test]
    fn who_connects_without_end_does_not_keep_others_from_their_turn() {
        let directory = tempfile::tempdir().unwrap();
        let mut book = Book::open(directory.path().join("tokens")).unwrap();
        let mut desk = desk(directory.path());
        for _ in 0..=MOST_ACCEPTED {
            drop(connect(directory.path()));
        }
        desk.attend(&[true], &mut book);
        let next = || accept_with(&desk.listener, SocketFlags::CLOEXEC);
        assert!(next().is_ok());
        assert_eq!(next().unwrap_err(), Errno::AGAIN);
    }

    #[test]
    fn who_asks_from_a_slot_is_refused_whatever_he_asks() {
        let directory = tempfile::tempdir().unwrap();
        let mut book = Book::open(directory.path().join("tokens")).unwrap();
        let mut desk = desk(directory.path());
        let (secret, entry) = {
            let Reply::Created(made) = create(creation(), 1000, &mut book).unwrap() else {
                panic!("no token")
            };
            (made.secret, made.token.unwrap())
        };
        for asked in [
            Request::Create(CreateTokenRequest { name: "other".into(), ..creation() }),
            Request::List(ListTokensRequest::default()),
            Request::Revoke(RevokeTokenRequest { name: entry.id, user: String::new() }),
        ] {
            let client = connect(directory.path());
            client.send(&request(asked)).unwrap();
            desk.attend(&[true], &mut book);
            let asker = desk.askers.last_mut().unwrap();
            assert_eq!(asker.origin, Origin::Here);
            (asker.uid, asker.origin) = (1000, Origin::Elsewhere);
            assert!(desk.attend(&[false, true], &mut book).is_empty());
            let mut buffer = vec![0; MAX_PACKET_BYTES];
            let length = client.recv(&mut buffer).unwrap();
            let reply = TokenDeskReply::decode(&buffer[..length]).unwrap().reply;
            assert!(matches!(reply, Some(Reply::Refused(refused)) if refused.kind == "denied"));
        }
        assert!(book.list(None).len() == 1 && book.shown(&secret, now()).is_some());
    }

    #[test]
    fn a_user_makes_so_many_tokens_a_minute_and_root_any() {
        let mut pace = Pace::default();
        assert!((0..MOST_MADE).all(|_| pace.allows(1)) && !pace.allows(1));
        assert!(pace.allows(2));
        assert!((0..=MOST_MADE).all(|_| pace.allows(0)));
    }

    #[test]
    fn a_token_whose_secret_nobody_got_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let mut book = Book::open(directory.path().join("tokens")).unwrap();
        let mut desk = desk(directory.path());
        let client = connect(directory.path());
        let own = nix::unistd::getuid().as_raw();
        // Root makes none for itself.
        let user = if own == 0 { "1".to_owned() } else { String::new() };
        client.send(&request(Request::Create(CreateTokenRequest { user, ..creation() }))).unwrap();
        desk.attend(&[true], &mut book);
        drop(client);
        desk.attend(&[false, true], &mut book);
        assert!(book.list(None).is_empty());
    }
}
