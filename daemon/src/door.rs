//! How clients get in: to a daemon of one user by a socket of its own, to that of a whole host through the broker.

use crate::{
    boot::{NO_HOME, beside_this_program},
    people::{Person, Realm, own_groups},
    socket::{self, Clients},
};
use anyhow::{Context as _, Result, bail};
use skynet_policy::Factor;
use skynet_proto::socket::{SOCKET_NAME, SYSTEM_SOCKET, user_directory};
use skynet_sandbox::{Arrival, Slots, WARM};
use std::{
    fs::File,
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::mpsc;

/// How often it is looked whether the daemon before has ended, only while this one starts. flock(2) waits without a time, and a
/// thread that waits in it would keep this process when its patience is over; nor would it hear that the other begins to serve.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Where a daemon has its place.
pub(crate) enum Site {
    /// Of its own user, with that home.
    User { socket: Option<PathBuf>, home: PathBuf },
    /// Of the whole host, with the broker there.
    Host { broker: PathBuf },
}

impl Site {
    pub(crate) const fn of_user(socket: Option<PathBuf>, home: PathBuf) -> Self {
        Self::User { socket, home }
    }

    pub(crate) const fn of_host(broker: PathBuf) -> Self {
        Self::Host { broker }
    }

    /// Takes the lock of the state, once the daemon before has finished what it was about: clients start this one as soon as that
    /// one takes no more of them.
    pub(crate) async fn lock(&self, state: &Path, uid: u32, patience: Duration) -> Result<File> {
        let end = Instant::now() + patience;
        loop {
            match socket::lock(state)? {
                Some(lock) => return Ok(lock),
                None if self.is_served(uid) || Instant::now() > end => bail!(
                    "another skynetd uses `{}`; stop it first, or give --state and --socket",
                    state.display()
                ),
                None => tokio::time::sleep(LOOK_EVERY).await,
            }
        }
    }

    /// Whether another daemon takes clients here. Those of a host are the broker's to take.
    fn is_served(&self, uid: u32) -> bool {
        let Self::User { socket, home } = self else { return false };
        let path = socket.clone().unwrap_or_else(|| user_directory(uid, home).join(SOCKET_NAME));
        UnixStream::connect(path).is_ok()
    }

    /// What is read if no other file is named.
    pub(crate) fn config_file(&self) -> PathBuf {
        match self {
            Self::User { home, .. } => home.join(".config/skynet/config.toml"),
            Self::Host { .. } => "/etc/skynet/config.toml".into(),
        }
    }

    /// Of the one user that is served.
    pub(crate) fn home(&self) -> &Path {
        match self {
            Self::User { home, .. } => home,
            Self::Host { .. } => Path::new(NO_HOME),
        }
    }

    pub(crate) fn state(&self) -> PathBuf {
        match self {
            Self::User { home, .. } => home.join(".local/state/skynet"),
            Self::Host { .. } => "/var/lib/skynet".into(),
        }
    }
}

/// How clients get in, before they do.
pub(crate) struct Door {
    /// What they dial.
    pub(crate) path: PathBuf,
    pub(crate) slots: Arc<Slots>,
    kind: Kind,
}

enum Kind {
    User { home: PathBuf },
    Host { arrivals: mpsc::Receiver<Arrival> },
}

impl Door {
    pub(crate) fn prepare(site: Site, uid: u32, state: &Path) -> Result<Self> {
        match site {
            Site::User { socket, home } => {
                let path = socket.unwrap_or_else(|| user_directory(uid, &home).join(SOCKET_NAME));
                socket::private_directory(path.parent().context("the socket needs a directory")?, uid)?;
                let homes = state.join("homes");
                socket::private_directory(&homes, uid)?;
                // Where it really is: a slot follows no links on the way.
                let homes = homes.canonicalize().with_context(|| format!("`{}`", homes.display()))?;
                let slots = Slots::new(beside_this_program("skynet-sandbox")?, WARM, homes);
                Ok(Self { path, slots, kind: Kind::User { home } })
            }
            Site::Host { broker } => {
                let (slots, arrivals) = Slots::of_host(broker);
                Ok(Self { path: SYSTEM_SOCKET.into(), slots, kind: Kind::Host { arrivals } })
            }
        }
    }

    pub(crate) const fn is_host(&self) -> bool {
        matches!(self.kind, Kind::Host { .. })
    }

    /// Whose word counts if nothing was configured. A client of the host's daemon may be an agent with a shell of its own
    /// user: what it says proves no human.
    pub(crate) const fn factor(&self) -> Factor {
        if self.is_host() { Factor::AdminUid } else { Factor::Client }
    }

    /// Of the one user that is served.
    pub(crate) fn home(&self) -> Option<&Path> {
        match &self.kind {
            Kind::User { home } => Some(home),
            Kind::Host { .. } => None,
        }
    }

    pub(crate) fn realm(&self, uid: u32) -> Realm {
        match &self.kind {
            Kind::User { home } => {
                let name = std::env::var("USER").unwrap_or_else(|_| uid.to_string());
                let person =
                    Person { name: name.into(), home: home.as_path().into(), groups: own_groups(uid) };
                Realm::User { uid, person }
            }
            Kind::Host { .. } => Realm::Host(self.slots.clone()),
        }
    }

    /// The clients as they come, also by a socket that was `passed`, and the socket that is removed at the end.
    pub(crate) fn open(self, uid: u32, passed: Option<UnixListener>) -> Result<(Clients, Option<PathBuf>)> {
        match self.kind {
            Kind::User { .. } => {
                if let Some(passed) = passed {
                    // It is there before the daemon, and after it.
                    return Ok((socket::accept_own(socket::adopt(passed)?, uid), None));
                }
                let listener = socket::bind(&self.path)?;
                Ok((socket::accept_own(listener, uid), Some(self.path)))
            }
            Kind::Host { arrivals } => {
                let clients = socket::accept_noted(arrivals, &self.slots);
                tokio::spawn(self.slots.attend());
                Ok((clients, None))
            }
        }
    }
}
