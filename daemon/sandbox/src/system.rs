//! The broker of the whole host: it accepts the clients itself and notes who they are, so that what is done for them later
//! is done as them, whatever the daemon says.

mod admission;
mod ground;
mod opening;

pub(crate) use ground::Ground;

use crate::{
    child::Child,
    slot::Refusal,
    syscall,
    tokens::{
        book::{Book, Entry, now},
        desk::Desk,
    },
};
use admission::Bearer;
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use opening::{Opening, Purpose, Wish};
use rustix::{
    io::Errno,
    net::{SocketFlags, accept_with},
};
use skynet_core::{ErrorKind, process::Process, workspace::place_of};
use skynet_sandbox::{
    channel::{BlockingSocket, Buffer},
    engine,
    peer::process_of,
    protocol::{Connected, Engine, FromBroker, Identity, Open, Opened, Refused, Reply},
};
use std::{
    collections::{HashMap, HashSet},
    ffi::OsStr,
    io,
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// A directory that cannot be opened in that time, of a file server that is gone perhaps, is not opened; nor is the engine
/// connected to.
const PATIENCE: Duration = Duration::from_secs(10);

/// Directories that are being opened at the same time.
const MOST_OPENINGS: usize = 64;

/// Agents that are lent at the same time, each by a process of its own.
const MOST_LENT: usize = 256;

/// Clients that are taken in before somebody else has his turn: who connects and hangs up without end would hold the broker for ever.
const MOST_ACCEPTED: usize = 64;

/// What an administrator says of it.
pub(crate) struct Settings {
    /// Who root is in slots, if anybody.
    pub(crate) root_runs_as: Option<Identity>,
    /// Groups with root's power, which nobody has in a slot.
    pub(crate) without_groups: HashSet<u32>,
    /// Where the container engine may listen.
    pub(crate) engine_sockets: Vec<PathBuf>,
    /// Whom it may be lent to.
    pub(crate) engine_users: HashSet<u32>,
    /// Whether SSH agents are lent at all.
    pub(crate) lends_agents: bool,
}

/// What the daemon is to be told.
pub(crate) struct Event {
    pub(crate) reply: Reply,
    pub(crate) descriptors: Vec<OwnedFd>,
}

/// Who is connected.
pub(crate) struct System {
    settings: Settings,
    ground: Ground,
    listener: OwnedFd,
    connections: HashMap<u64, Connection>,
    /// Numbers are never given twice, also not to another daemon.
    next: u64,
    openings: Vec<Opening>,
    lent: Vec<Lent>,
    buffer: Buffer,
    book: Book,
    desk: Desk,
    /// What stands for a token, by its id.
    bearers: HashMap<String, Bearer>,
    /// Connections whose token has ended, of which the daemon is to be told.
    lapsed: Vec<u64>,
}

struct Connection {
    /// In a slot. `Err` says why nothing is done for it.
    identity: Result<Identity, &'static str>,
    uid: u32,
    /// His groups, also those that nobody has in a slot: what he could do himself is asked with them.
    groups: Vec<u32>,
    /// Device and inode of the directories that were opened for it.
    opened: HashSet<(u64, u64)>,
    /// What it stands for, of one that nobody made.
    token: Option<Entry>,
}

/// A process that stands between an agent, whose user it is, and a call. It ends with the connection at the latest.
struct Lent {
    connection: u64,
    _child: Child,
    /// At its end once the process has ended.
    socket: BlockingSocket,
}

impl System {
    /// Accepts clients from `listener`, which does not block, and those whose token is in `book`. `ground` is no workspace of anybody's.
    ///
    /// # Errors
    /// When the kernel gives no random bytes.
    pub(crate) fn new(
        settings: Settings,
        ground: Ground,
        listener: OwnedFd,
        book: Book,
        desk: Desk,
    ) -> io::Result<Self> {
        // Also not by another broker: what cites a number of one that is gone is nobody's here.
        let next = (u64::from(getrandom::u32()?) << 32) | 1;
        Ok(Self {
            settings,
            ground,
            listener,
            connections: HashMap::new(),
            next,
            openings: Vec::new(),
            lent: Vec::new(),
            buffer: Buffer::default(),
            book,
            desk,
            bearers: HashMap::new(),
            lapsed: Vec::new(),
        })
    }

    /// What to wait for, in the order of [`System::attend`].
    pub(crate) fn sockets(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        std::iter::once(self.listener.as_fd())
            .chain(self.openings.iter().map(|opening| opening.socket.as_fd()))
            .chain(self.lent.iter().map(|lent| lent.socket.as_fd()))
            .chain(self.desk_sockets())
    }

    /// Whether something has to be looked at again though nothing happens.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.openings.is_empty() || self.is_asked() || self.bearers.values().any(|bearer| bearer.expires)
    }

    /// Nothing is known any more of what the daemon that is gone was told.
    pub(crate) fn forget(&mut self) {
        self.connections.clear();
        self.openings.clear();
        self.lent.clear();
        self.bearers.clear();
        self.lapsed.clear();
    }

    /// Does what the sockets ask for that are ready.
    pub(crate) fn attend(&mut self, is_ready: &[bool]) -> Vec<Event> {
        let first_lent = 1 + self.openings.len();
        let first_asked = first_lent + self.lent.len();
        let (is_ready, is_asked) = is_ready.split_at(is_ready.len().min(first_asked));
        let mut events = Vec::new();
        // From the end, because one that has ended leaves the list. One that lends has said what it had to say.
        for index in (0..self.lent.len()).rev() {
            if is_ready.get(first_lent + index) == Some(&true) {
                self.lent.swap_remove(index);
            }
        }
        for index in (0..self.openings.len()).rev() {
            events.extend(self.hear(index, is_ready.get(index + 1) == Some(&true)));
        }
        if is_ready.first() == Some(&true) {
            self.accept(&mut events);
        }
        self.attend_desk(is_asked);
        self.expire();
        events
    }

    /// Takes in the clients who wait, the rest at the next turn.
    fn accept(&mut self, events: &mut Vec<Event>) {
        for _ in 0..MOST_ACCEPTED {
            let socket = match accept_with(&self.listener, SocketFlags::CLOEXEC) {
                Ok(socket) => socket,
                Err(Errno::INTR | Errno::CONNABORTED) => continue,
                Err(_) => return,
            };
            // Without credentials it is nobody.
            let Ok((uid, gid, pid, groups)) = credentials(&socket) else { continue };
            let identity = self.identity_of(uid, gid, groups.clone());
            let connection = self.number();
            let known = Connection { identity, uid, groups, opened: HashSet::new(), token: None };
            self.connections.insert(connection, known);
            let (held, has_ended) = match process_of(&socket) {
                Process::Held(handle) => (Some(handle), false),
                Process::Numbered => (None, false),
                Process::Ended => (None, true),
            };
            let reply = Reply::Connected(Connected { connection, uid, pid, has_ended });
            events.push(Event { reply, descriptors: std::iter::once(socket).chain(held).collect() });
        }
    }

    const fn number(&mut self) -> u64 {
        let number = self.next;
        self.next += 1;
        number
    }

    fn identity_of(&self, uid: u32, gid: u32, mut groups: Vec<u32>) -> Result<Identity, &'static str> {
        if uid == 0 {
            let other = self.settings.root_runs_as.clone();
            return other.ok_or("root has no rights in the sandbox; connect as an ordinary user, or name one with `--root-runs-as`");
        }
        if self.settings.without_groups.contains(&gid) {
            return Err("the main group of this user has root's power; connect with another one");
        }
        groups.retain(|group| !self.settings.without_groups.contains(group));
        Ok(Identity { uid, gid, groups })
    }

    /// Who a connection is.
    ///
    /// # Errors
    /// When it is not known, or nobody.
    pub(crate) fn identity(&self, connection: u64) -> Result<&Identity, Refusal> {
        let known = self.connections.get(&connection);
        let known = known.ok_or_else(unknown)?;
        if known.token.as_ref().is_some_and(|token| !token.is_alive(now())) {
            return Err(Refusal::command(ErrorKind::Denied, "the token has expired".to_owned()));
        }
        known.identity.as_ref().map_err(|why| Refusal::command(ErrorKind::Denied, (*why).to_owned()))
    }

    /// That a directory was opened for this connection, and is not another one's.
    ///
    /// # Errors
    /// When it was not.
    pub(crate) fn check_workspace(&self, connection: u64, workspace: &OwnedFd) -> Result<(), Refusal> {
        let place = place_of(workspace.as_fd()).map_err(|err| Refusal::new("workspace", err))?;
        let known = self.connections.get(&connection);
        if known.is_some_and(|known| known.opened.contains(&place)) {
            Ok(())
        } else {
            Err(Refusal::new("workspace", "it was not opened for this connection"))
        }
    }

    /// Lets a client go, as the daemon asks. What stands for a token goes with that alone: without it nothing would be known to end when
    /// the token is revoked.
    pub(crate) fn release_client(&mut self, connection: u64) {
        if self.connections.get(&connection).is_none_or(|known| known.token.is_none()) {
            self.release(connection);
        }
    }

    /// Nothing more is done for a connection.
    fn release(&mut self, connection: u64) {
        self.connections.remove(&connection);
        self.lent.retain(|lent| lent.connection != connection);
        self.bearers.retain(|_, bearer| bearer.connection != connection);
    }

    /// Begins to open a directory as the user of a connection: in a process of its own, because a file server may keep it
    /// waiting for ever.
    ///
    /// # Errors
    /// When it cannot be begun.
    pub(crate) fn open(&mut self, open: &Open) -> Result<(), Refusal> {
        let identity = self.identity(open.connection)?.clone();
        let path = Path::new(OsStr::from_bytes(&open.path));
        self.begin(open.id, open.connection, &identity, &Wish::Directory(path))
    }

    /// Begins to connect to the container engine as the user of a connection, with all groups that he has himself, and if it is lent to
    /// him with that of the engine.
    ///
    /// # Errors
    /// When it cannot be begun.
    pub(crate) fn connect_engine(&mut self, asked: Engine) -> Result<(), Refusal> {
        let mut identity = self.identity(asked.connection)?.clone();
        // Whoever acts in root's place has his own.
        if let Some(known) = self.connections.get(&asked.connection).filter(|known| known.uid == identity.uid)
        {
            identity.groups.clone_from(&known.groups);
        }
        let sockets = self.settings.engine_sockets.clone();
        let group = engine::group_of(&sockets);
        // Nobody needs to be lent what he has.
        if asked.is_lent && !group.is_some_and(|group| identity.groups.contains(&group)) {
            if !self.settings.engine_users.contains(&identity.uid) {
                let message = "the policy lends him the container engine, and the broker was not told that it may: its unit needs `--engine-user USER`";
                return Err(Refusal::command(ErrorKind::Denied, message.to_owned()));
            }
            identity.groups.extend(group);
        }
        self.begin(asked.id, asked.connection, &identity, &Wish::Engine(&sockets))
    }

    /// Begins to lend the SSH agent of a connection's user, which he says is there: a process that has become him stands
    /// between it and who borrows it, so that the daemon gets no more than the borrower does.
    ///
    /// # Errors
    /// When it cannot be begun.
    pub(crate) fn lend_agent(&mut self, open: &Open) -> Result<(), Refusal> {
        if !self.settings.lends_agents {
            let message = "the configuration lends SSH agents, and the broker was not told that it may: its unit needs `--lend-ssh-agents`";
            return Err(Refusal::command(ErrorKind::Denied, message.to_owned()));
        }
        if self.lent.len() >= MOST_LENT {
            let message = "too many SSH agents are lent; try again".to_owned();
            return Err(Refusal::command(ErrorKind::Unavailable, message));
        }
        let identity = self.identity(open.connection)?.clone();
        let path = Path::new(OsStr::from_bytes(&open.path));
        self.begin(open.id, open.connection, &identity, &Wish::Agent(path))
    }

    fn begin(
        &mut self,
        id: u64,
        connection: u64,
        identity: &Identity,
        wish: &Wish<'_>,
    ) -> Result<(), Refusal> {
        if self.openings.len() >= MOST_OPENINGS {
            let message = "too much is being opened; try again".to_owned();
            return Err(Refusal::command(ErrorKind::Unavailable, message));
        }
        let started = opening::start(identity, id, wish).map_err(|err| Refusal::new("workspace", err))?;
        let (child, socket) = started;
        let (purpose, since) = (wish.purpose(), Instant::now());
        self.openings.push(Opening { id, purpose, connection, child, socket, since });
        Ok(())
    }

    /// What became of it, if something did.
    fn hear(&mut self, index: usize, is_ready: bool) -> Option<Event> {
        let opening = self.openings.get(index)?;
        if !is_ready && opening.since.elapsed() < PATIENCE {
            return None;
        }
        let received =
            if is_ready { opening.socket.receive::<FromBroker>(&mut self.buffer) } else { Ok(None) };
        let opening = self.openings.swap_remove(index);
        let id = opening.id;
        let refused = |kind: ErrorKind, message: String| Refusal::command(kind, message).of(id);
        let (reply, descriptor) = match received {
            Ok(Some((FromBroker { reply: Some(Reply::Opened(_)), .. }, mut descriptors))) => {
                let opened = descriptors.pop();
                match self.take_in(opening, opened.as_ref()) {
                    Ok(()) => (Reply::Opened(Opened { id }), opened),
                    Err(refusal) => (Reply::Refused(refusal.of(id)), None),
                }
            }
            Ok(Some((FromBroker { reply: Some(Reply::Known(account)), .. }, _))) => {
                let admitted = self.take_up(&opening, account);
                (admitted.map_or_else(|refusal| Reply::Refused(refusal.of(id)), Reply::Admitted), None)
            }
            Ok(Some((FromBroker { reply: Some(Reply::Refused(refusal)), .. }, _))) => {
                self.let_go(&opening, &refusal);
                (Reply::Refused(Refused { id, ..refusal }), None)
            }
            Ok(Some(_)) | Err(_) => {
                let message = opening.purpose.failed().to_owned();
                (Reply::Refused(refused(ErrorKind::Internal, message)), None)
            }
            Ok(None) => {
                let message = format!("{} within {} s", opening.purpose.failed(), PATIENCE.as_secs());
                (Reply::Refused(refused(ErrorKind::Unavailable, message)), None)
            }
        };
        Some(Event { reply, descriptors: descriptor.into_iter().collect() })
    }

    /// Notes that something was opened for a connection, if that is still known. Of one that is gone nothing is lent: its
    /// process is killed here.
    fn take_in(&mut self, opening: Opening, opened: Option<&OwnedFd>) -> Result<(), Refusal> {
        let Opening { purpose, connection, child, socket, .. } = opening;
        let known = self.connections.get_mut(&connection).ok_or_else(unknown)?;
        match (purpose, opened) {
            (Purpose::Agent, _) => self.lent.push(Lent { connection, _child: child, socket }),
            (Purpose::Directory, Some(opened)) => {
                let path = ground::place_of(opened).map_err(|err| Refusal::new("workspace", err))?;
                self.ground.check(&path)?;
                if let Some(token) = &known.token {
                    admission::check_bound(token, &path)?;
                }
                if let Ok(place) = place_of(opened.as_fd()) {
                    known.opened.insert(place);
                }
            }
            (Purpose::Directory | Purpose::Engine | Purpose::Account(_), _) => {}
        }
        Ok(())
    }
}

fn unknown() -> Refusal {
    Refusal::new("identity", "the connection is not known")
}

/// Who connected: user, group, process, and other groups.
fn credentials(socket: &OwnedFd) -> io::Result<(u32, u32, u32, Vec<u32>)> {
    let peer = getsockopt(socket, PeerCredentials)?;
    // 0 of one that is in a namespace of processes where this one sees none.
    let pid = u32::try_from(peer.pid()).map_err(io::Error::other)?;
    Ok((peer.uid(), peer.gid(), pid, syscall::peer_groups(socket.as_fd())?))
}
