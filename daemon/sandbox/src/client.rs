//! The daemon's end: commands go to the broker. A broker of the daemon's own user is started when first needed and
//! replaced when it dies; that of the whole host is there before the daemon, and hands it the clients.

mod admission;
mod arrival;
mod opening;
mod refused;
mod standing;

pub use admission::Admission;
pub use arrival::Arrival;
pub use refused::refusal;
pub use standing::Standing;

use crate::{
    channel::{self, AsyncSocket, Buffer},
    job,
    protocol::{
        Admitted, Begun, Ended, FromBroker, Kind, Limits, Network, Opened, Refused, Reply, Request, Run,
        TerminalSize, ToBroker,
    },
};
use admission::Bearers;
use refused::lacks_layer;
use skynet_core::{Error, Result, Workspace};
use standing::Counts;
use std::{
    collections::HashMap,
    io,
    os::fd::{BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    process::Stdio,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    process::Command as Process,
    sync::{Mutex as AsyncMutex, mpsc, oneshot},
};
use tokio_util::sync::CancellationToken;

/// What runs in a slot.
pub struct Command<'a> {
    /// What it is.
    pub kind: Kind,
    /// On whose behalf: [`Arrival::connection`], or 0 for the daemon's own user.
    pub connection: u64,
    /// Program and arguments.
    pub argv: Vec<Vec<u8>>,
    /// `NAME=value`.
    pub environment: Vec<Vec<u8>>,
    /// Where it works; what is asked about the host has none.
    pub workspace: Option<&'a Workspace>,
    /// Where the command starts, relative to the workspace.
    pub directory: &'a Path,
    /// The user's home directory.
    pub home: &'a Path,
    /// The name of what is shown in its place, a SHA-256 in hexadecimal.
    pub private_home: &'a str,
    /// What it may use.
    pub limits: Limits,
    /// [`Run::listen`].
    pub listen: Vec<u16>,
    /// [`Run::is_published`].
    pub is_published: bool,
    /// Where to write what it would do to the workspace, if that is all it is to do there.
    pub preview: Option<BorrowedFd<'a>>,
    /// [`Run::is_apart`].
    pub is_apart: bool,
    /// A file for [`Run::has_certificates`].
    pub certificates: Option<BorrowedFd<'a>>,
}

impl Command<'_> {
    fn run(self, id: u64) -> Run {
        let bytes = |path: &Path| path.as_os_str().as_encoded_bytes().to_vec();
        Run {
            id,
            argv: self.argv,
            environment: self.environment,
            workspace: bytes(self.workspace.map_or(Path::new("/"), Workspace::path)),
            directory: bytes(self.directory),
            home: bytes(self.home),
            private_home: self.private_home.as_bytes().to_vec(),
            limits: self.limits,
            is_alone: false,
            kind: self.kind.into(),
            connection: self.connection,
            identity: None,
            terminal: None,
            is_kept: false,
            listen: self.listen.into_iter().map(u32::from).collect(),
            is_published: self.is_published,
            is_preview: self.preview.is_some(),
            is_apart: self.is_apart,
            has_certificates: self.certificates.is_some(),
        }
    }
}

/// Slots that wait for a command, unless there is a reason for another number.
pub const WARM: usize = 2;

/// Between attempts to reach a broker that is being restarted.
const AGAIN_AFTER: Duration = Duration::from_millis(200);

/// Clients on their way from the broker.
const ARRIVALS: usize = 64;

/// Where the broker is.
enum Source {
    /// A child of this process, for its own user.
    Own { program: PathBuf, warm: usize, homes: PathBuf },
    /// Already there, for the whole host.
    Host { socket: PathBuf, arrivals: mpsc::Sender<Arrival> },
}

/// All slots.
pub struct Slots {
    source: Source,
    broker: AsyncMutex<Option<Arc<Broker>>>,
    counts: Arc<Counts>,
}

impl Slots {
    /// Slots of the broker `program`, of which it keeps `warm` ready. What commands keep in their home is kept below
    /// `homes`.
    #[must_use]
    pub fn new(program: PathBuf, warm: usize, homes: PathBuf) -> Arc<Self> {
        Arc::new(Self {
            source: Source::Own { program, warm, homes },
            broker: AsyncMutex::default(),
            counts: Arc::default(),
        })
    }

    /// Slots of the broker of the whole host that listens on `socket`, and the clients that connect to it.
    #[must_use]
    pub fn of_host(socket: PathBuf) -> (Arc<Self>, mpsc::Receiver<Arrival>) {
        let (arrivals, arrived) = mpsc::channel(ARRIVALS);
        let source = Source::Host { socket, arrivals };
        (Arc::new(Self { source, broker: AsyncMutex::default(), counts: Arc::default() }), arrived)
    }

    /// Keeps the connection to the broker of the whole host, for as long as it is polled.
    pub async fn attend(self: Arc<Self>) {
        let mut is_told = false;
        loop {
            match self.broker().await {
                Ok(broker) => {
                    is_told = false;
                    broker.is_gone.cancelled().await;
                }
                // Once is enough, however long it stays away.
                Err(err) if !is_told => {
                    tracing::warn!(error = %err, "the broker cannot be reached; it is tried again");
                    is_told = true;
                }
                Err(_) => {}
            }
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    }

    /// Begins a command with these descriptors for stdin, stdout and stderr.
    ///
    /// # Errors
    /// `Unavailable` when there is no broker. What else can be wrong is said by [`Running::ended`].
    pub async fn run(&self, command: Command<'_>, stdio: [BorrowedFd<'_>; 3]) -> Result<Running> {
        let broker = self.reach().await?;
        let id = broker.next.fetch_add(1, Ordering::Relaxed);
        let workspace = command.workspace.map(Workspace::as_descriptor);
        let own = workspace.into_iter().chain(command.preview).chain(command.certificates);
        let descriptors: Vec<_> = stdio.into_iter().chain(own).collect();
        let run = command.run(id);
        let (waiter, early, replied) = Waiter::new();
        broker.expect(id, waiter)?;
        self.counts.in_use.fetch_add(1, Ordering::Relaxed);
        let running = Running { broker, id, early, replied };
        running.broker.hand_over(Request::Run(run), &descriptors).await?;
        Ok(running)
    }

    /// Has a keeper begin a command as a job, at a terminal of that size or at pipes. From here on its directory tells what
    /// becomes of it, also that it could not begin.
    ///
    /// # Errors
    /// `Unavailable` when there is no broker.
    pub async fn keep(
        &self,
        command: Command<'_>,
        terminal: Option<TerminalSize>,
        files: &job::Files,
    ) -> Result<()> {
        let broker = self.reach().await?;
        let workspace = command
            .workspace
            .map(Workspace::as_descriptor)
            .ok_or_else(|| Error::internal("a job without a workspace"))?;
        let certificates = command.certificates;
        let run = Run { terminal, is_kept: true, ..command.run(broker.next.fetch_add(1, Ordering::Relaxed)) };
        let [output, end, listener] = files.as_descriptors();
        let descriptors = [workspace, output, end, listener].into_iter().chain(certificates);
        broker.hand_over(Request::Keep(run), &descriptors.collect::<Vec<_>>()).await
    }

    /// Tells the broker that nothing more will be asked for on behalf of a connection.
    pub async fn release(&self, connection: u64) {
        let broker = self.broker.lock().await.clone();
        if let Some(broker) = broker {
            // A broker that is gone knows no connection.
            let _ = broker.send(Request::Release(connection), &[]).await;
        }
    }

    async fn reach(&self) -> Result<Arc<Broker>> {
        self.broker().await.map_err(|err| {
            Error::unavailable("`skynet-sandbox` cannot be reached; `skynetctl doctor` tells more")
                .with_source(err)
        })
    }

    async fn broker(&self) -> io::Result<Arc<Broker>> {
        let mut broker = self.broker.lock().await;
        if let Some(broker) = broker.as_ref().filter(|broker| broker.waiting().is_some()) {
            return Ok(broker.clone());
        }
        let new = match &self.source {
            Source::Own { program, warm, homes } => Broker::start(program, *warm, homes, &self.counts)?,
            Source::Host { socket, arrivals } => Broker::connect(socket, arrivals.clone(), &self.counts)?,
        };
        Ok(broker.insert(new).clone())
    }
}

/// The end of something, with the descriptor that came with it.
type End = (Reply, Option<OwnedFd>);

/// Whom the replies to a request go to.
struct Waiter {
    begun: Option<oneshot::Sender<u32>>,
    network: Option<oneshot::Sender<Vec<OwnedFd>>>,
    ended: oneshot::Sender<End>,
}

/// Where what is said before the end arrives.
struct Early {
    begun: oneshot::Receiver<u32>,
    network: oneshot::Receiver<Vec<OwnedFd>>,
}

impl Waiter {
    fn new() -> (Self, Early, oneshot::Receiver<End>) {
        let (begun, has_begun) = oneshot::channel();
        let (network, has_network) = oneshot::channel();
        let (ended, has_ended) = oneshot::channel();
        let waiter = Self { begun: Some(begun), network: Some(network), ended };
        (waiter, Early { begun: has_begun, network: has_network }, has_ended)
    }
}

struct Broker {
    socket: AsyncSocket,
    next: AtomicU64,
    /// `None` once it is gone.
    waiting: Mutex<Option<HashMap<u64, Waiter>>>,
    is_gone: CancellationToken,
    bearers: Bearers,
    counts: Arc<Counts>,
}

impl Broker {
    fn new(socket: OwnedFd, counts: &Arc<Counts>) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            socket: AsyncSocket::new(socket)?,
            next: AtomicU64::new(1),
            waiting: Mutex::new(Some(HashMap::new())),
            is_gone: CancellationToken::new(),
            bearers: Bearers::default(),
            counts: counts.clone(),
        }))
    }

    fn start(program: &Path, warm: usize, homes: &Path, counts: &Arc<Counts>) -> io::Result<Arc<Self>> {
        let (ours, theirs) = channel::pair()?;
        let mut child = Process::new(program)
            .args(["serve", &warm.to_string()])
            .arg(homes)
            .env_clear()
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()?;
        let pid = child.id();
        let broker = Self::new(ours, counts)?;
        let reader = broker.clone();
        tokio::spawn(async move {
            let reason = reader.pump(None).await;
            reader.lose();
            // It may live on where only its messages made no sense. That it is dead already is no error.
            let _ = child.start_kill();
            let status = child.wait().await;
            tracing::info!(pid, ?status, ?reason, "sandbox ended");
        });
        tracing::info!(pid, "sandbox started");
        Ok(broker)
    }

    fn connect(path: &Path, arrivals: mpsc::Sender<Arrival>, counts: &Arc<Counts>) -> io::Result<Arc<Self>> {
        let broker = Self::new(channel::connect(path)?, counts)?;
        let reader = broker.clone();
        tokio::spawn(async move {
            let reason = reader.pump(Some(&arrivals)).await;
            reader.lose();
            tracing::warn!(?reason, "the broker is gone; its clients must connect again");
        });
        tracing::info!(socket = %path.display(), "the broker is there");
        Ok(broker)
    }

    /// Who still waits learns it by his channel.
    fn lose(&self) {
        self.waiting().take();
        self.is_gone.cancel();
    }

    fn expect(&self, id: u64, waiter: Waiter) -> Result<()> {
        match self.waiting().as_mut() {
            Some(waiting) => waiting.insert(id, waiter),
            None => return Err(Error::unavailable("the sandbox has just died; call again")),
        };
        Ok(())
    }

    async fn pump(&self, arrivals: Option<&mpsc::Sender<Arrival>>) -> io::Result<()> {
        let mut buffer = Buffer::default();
        while let Some((message, mut descriptors)) = self.socket.receive::<FromBroker>(&mut buffer).await? {
            if let Some(warm) = message.warm {
                self.counts.warm.store(warm.into(), Ordering::Relaxed);
            }
            let Some(reply) = message.reply else { continue };
            let id = match &reply {
                Reply::Ended(Ended { id, .. })
                | Reply::Refused(Refused { id, .. })
                | Reply::Opened(Opened { id, .. }) => *id,
                Reply::Admitted(Admitted { id, connection, .. }) => {
                    self.bearers.note(*connection, &self.is_gone);
                    *id
                }
                Reply::Lapsed(connection) => {
                    self.bearers.end(*connection);
                    continue;
                }
                Reply::Begun(Begun { id, pid }) => {
                    let begun = self.waiting().as_mut().and_then(|waiting| waiting.get_mut(id)?.begun.take());
                    // Who does not wait for it does not need it.
                    let _ = begun.map(|begun| begun.send(*pid));
                    continue;
                }
                Reply::Network(Network { id }) => {
                    let network =
                        self.waiting().as_mut().and_then(|waiting| waiting.get_mut(id)?.network.take());
                    // As above.
                    let _ = network.map(|network| network.send(descriptors));
                    continue;
                }
                Reply::Connected(connected) => {
                    let arrival = Arrival::new(*connected, descriptors, self.is_gone.clone());
                    if let (Some(arrivals), Some(arrival)) = (arrivals, arrival) {
                        // A daemon that stops takes nobody in.
                        let _ = arrivals.send(arrival).await;
                    }
                    continue;
                }
                Reply::Ready(_) | Reply::Terminal(_) | Reply::Started(_) | Reply::Known(_) => continue,
            };
            let waiter = self.waiting().as_mut().and_then(|waiting| waiting.remove(&id));
            if let Some(waiter) = waiter {
                // It may have been given up.
                let _ = waiter.ended.send((reply, descriptors.pop()));
            }
        }
        Ok(())
    }

    async fn hand_over(&self, request: Request, descriptors: &[BorrowedFd<'_>]) -> Result<()> {
        let sent = self.send(request, descriptors).await;
        sent.map_err(|err| Error::unavailable("the command cannot be handed to the sandbox").with_source(err))
    }

    async fn send(&self, request: Request, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.socket.send(&ToBroker { request: Some(request) }, descriptors).await
    }

    fn waiting(&self) -> MutexGuard<'_, Option<HashMap<u64, Waiter>>> {
        // Each change is one insert or remove, so a panic leaves it whole.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A command under way; ended when dropped.
pub struct Running {
    broker: Arc<Broker>,
    id: u64,
    early: Early,
    replied: oneshot::Receiver<End>,
}

impl Running {
    /// Waits until hands run; a process that they do not outlive.
    ///
    /// # Errors
    /// As [`Running::ended`].
    pub async fn pid(&mut self) -> Result<u32> {
        match (&mut self.early.begun).await {
            Ok(pid) => Ok(pid),
            Err(_) => Err(self.never_began().await),
        }
    }

    /// Waits for what leads out of the slot, of a command that was to have that: see [`Reply::Network`].
    ///
    /// # Errors
    /// As [`Running::ended`].
    pub async fn network(&mut self) -> Result<Vec<OwnedFd>> {
        match (&mut self.early.network).await {
            Ok(sockets) => Ok(sockets),
            Err(_) => Err(self.never_began().await),
        }
    }

    async fn never_began(&mut self) -> Error {
        let ended = self.ended().await;
        ended.err().unwrap_or_else(|| Error::unavailable("it ended before it began"))
    }

    /// Waits for its end. Cancel-safe.
    ///
    /// # Errors
    /// What was wrong with the command, the layer that could not be had, or that the sandbox died.
    pub async fn ended(&mut self) -> Result<Ended> {
        match (&mut self.replied).await {
            Ok((Reply::Ended(ended), _)) => Ok(ended),
            Ok((Reply::Refused(refused), _)) => {
                if lacks_layer(&refused) {
                    self.broker.counts.refused.fetch_add(1, Ordering::Relaxed);
                }
                Err(refusal(refused))
            }
            Ok(_) | Err(_) => Err(Error::interrupted(
                "the sandbox died under the command, so it did a part of its work; look before you call it again",
            )),
        }
    }

    /// Ends it; what it was is still said by [`Running::ended`].
    pub async fn kill(&self) {
        // Without a broker it has ended already.
        let _ = self.broker.send(Request::Kill(self.id), &[]).await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.broker.counts.in_use.fetch_sub(1, Ordering::Relaxed);
        let is_under_way =
            self.broker.waiting().as_mut().is_some_and(|waiting| waiting.remove(&self.id).is_some());
        if is_under_way {
            let (broker, id) = (self.broker.clone(), self.id);
            // As above.
            tokio::spawn(async move { broker.send(Request::Kill(id), &[]).await });
        }
    }
}
