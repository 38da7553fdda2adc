//! The daemon's end: commands go to the broker, which is started when first needed and replaced when it dies.

use crate::{
    channel::{self, AsyncSocket, Buffer},
    job,
    protocol::{Ended, FromBroker, Limits, Refused, Reply, Request, Run, TerminalSize, ToBroker},
};
use skynet_core::{Error, ErrorKind, Result};
use std::{
    collections::HashMap,
    io,
    os::fd::BorrowedFd,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::{
    process::Command as Process,
    sync::{Mutex as AsyncMutex, oneshot},
};

/// What runs in a slot.
pub struct Command<'a> {
    /// Program and arguments.
    pub argv: Vec<Vec<u8>>,
    /// `NAME=value`.
    pub environment: Vec<Vec<u8>>,
    /// An open directory.
    pub workspace: BorrowedFd<'a>,
    /// Where that is, without links.
    pub workspace_path: &'a Path,
    /// Where the command starts, relative to the workspace.
    pub directory: &'a Path,
    /// The user's home directory.
    pub home: &'a Path,
    /// What is shown in its place.
    pub private_home: &'a Path,
    /// What it may use.
    pub limits: Limits,
}

impl Command<'_> {
    fn run(self, id: u64) -> Run {
        let bytes = |path: &Path| path.as_os_str().as_encoded_bytes().to_vec();
        Run {
            id,
            argv: self.argv,
            environment: self.environment,
            workspace: bytes(self.workspace_path),
            directory: bytes(self.directory),
            home: bytes(self.home),
            private_home: bytes(self.private_home),
            limits: self.limits,
            is_alone: false,
            terminal: None,
            is_kept: false,
        }
    }
}

/// Slots that wait for a command, unless there is a reason for another number.
pub const WARM: usize = 2;

/// All slots.
pub struct Slots {
    program: PathBuf,
    warm: usize,
    broker: AsyncMutex<Option<Arc<Broker>>>,
}

impl Slots {
    /// Slots of the broker `program`, of which it keeps `warm` ready.
    #[must_use]
    pub fn new(program: PathBuf, warm: usize) -> Arc<Self> {
        Arc::new(Self { program, warm, broker: AsyncMutex::default() })
    }

    /// Begins a command with these descriptors for stdin, stdout and stderr.
    ///
    /// # Errors
    /// `Unavailable` when there is no broker. What else can be wrong is said by [`Running::ended`].
    pub async fn run(&self, command: Command<'_>, stdio: [BorrowedFd<'_>; 3]) -> Result<Running> {
        let broker = self.broker().await?;
        let id = broker.next.fetch_add(1, Ordering::Relaxed);
        let workspace = command.workspace;
        let (reply, replied) = oneshot::channel();
        match broker.waiting().as_mut() {
            Some(waiting) => waiting.insert(id, reply),
            None => return Err(Error::unavailable("the sandbox has just died; call again")),
        };
        let running = Running { broker, id, replied };
        let [stdin, stdout, stderr] = stdio;
        let descriptors = [workspace, stdin, stdout, stderr];
        running.broker.hand_over(Request::Run(command.run(id)), &descriptors).await?;
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
        let broker = self.broker().await?;
        let workspace = command.workspace;
        let run = Run { terminal, is_kept: true, ..command.run(broker.next.fetch_add(1, Ordering::Relaxed)) };
        let [output, end, listener] = files.as_descriptors();
        broker.hand_over(Request::Keep(run), &[workspace, output, end, listener]).await
    }

    async fn broker(&self) -> Result<Arc<Broker>> {
        let mut broker = self.broker.lock().await;
        if let Some(broker) = broker.as_ref().filter(|broker| broker.waiting().is_some()) {
            return Ok(broker.clone());
        }
        let started = Broker::start(&self.program, self.warm).map_err(|err| {
            Error::unavailable("`skynet-sandbox` cannot be started; `skynetctl doctor` tells more")
                .with_source(err)
        })?;
        Ok(broker.insert(started).clone())
    }
}

type Waiting = HashMap<u64, oneshot::Sender<Reply>>;

struct Broker {
    socket: AsyncSocket,
    next: AtomicU64,
    /// `None` once it is gone.
    waiting: Mutex<Option<Waiting>>,
}

impl Broker {
    fn start(program: &Path, warm: usize) -> io::Result<Arc<Self>> {
        let (ours, theirs) = channel::pair()?;
        let mut child = Process::new(program)
            .arg(warm.to_string())
            .env_clear()
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()?;
        let pid = child.id();
        let broker = Arc::new(Self {
            socket: AsyncSocket::new(ours)?,
            next: AtomicU64::new(1),
            waiting: Mutex::new(Some(HashMap::new())),
        });
        let reader = broker.clone();
        tokio::spawn(async move {
            let reason = reader.pump().await;
            // Who still waits learns it by his channel.
            reader.waiting().take();
            // It may live on where only its messages made no sense. That it is dead already is no error.
            let _ = child.start_kill();
            let status = child.wait().await;
            tracing::info!(pid, ?status, ?reason, "sandbox ended");
        });
        tracing::info!(pid, "sandbox started");
        Ok(broker)
    }

    async fn pump(&self) -> io::Result<()> {
        let mut buffer = Buffer::default();
        while let Some((message, _)) = self.socket.receive::<FromBroker>(&mut buffer).await? {
            let id = match &message.reply {
                Some(Reply::Ended(ended)) => ended.id,
                Some(Reply::Refused(refused)) => refused.id,
                Some(Reply::Ready(_) | Reply::Terminal(_) | Reply::Started(_)) | None => continue,
            };
            let waiting = self.waiting().as_mut().and_then(|waiting| waiting.remove(&id));
            if let (Some(waiting), Some(reply)) = (waiting, message.reply) {
                // It may have been given up.
                let _ = waiting.send(reply);
            }
        }
        Ok(())
    }

    async fn send(&self, request: Request, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.socket.send(&ToBroker { request: Some(request) }, descriptors).await
    }

    async fn hand_over(&self, request: Request, descriptors: &[BorrowedFd<'_>]) -> Result<()> {
        let sent = self.send(request, descriptors).await;
        sent.map_err(|err| Error::unavailable("the command cannot be handed to the sandbox").with_source(err))
    }

    fn waiting(&self) -> MutexGuard<'_, Option<Waiting>> {
        // Each change is one insert or remove, so a panic leaves it whole.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A command under way; ended when dropped.
pub struct Running {
    broker: Arc<Broker>,
    id: u64,
    replied: oneshot::Receiver<Reply>,
}

impl Running {
    /// Waits for its end. Cancel-safe.
    ///
    /// # Errors
    /// What was wrong with the command, the layer that could not be had, or that the sandbox died.
    pub async fn ended(&mut self) -> Result<Ended> {
        match (&mut self.replied).await {
            Ok(Reply::Ended(ended)) => Ok(ended),
            Ok(Reply::Refused(refused)) => Err(refusal(refused)),
            Ok(Reply::Ready(_) | Reply::Terminal(_) | Reply::Started(_)) | Err(_) => Err(Error::interrupted(
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
        let is_under_way =
            self.broker.waiting().as_mut().is_some_and(|waiting| waiting.remove(&self.id).is_some());
        if is_under_way {
            let (broker, id) = (self.broker.clone(), self.id);
            // As above.
            tokio::spawn(async move { broker.send(Request::Kill(id), &[]).await });
        }
    }
}

/// What it means for the caller that a command was refused.
#[must_use]
pub fn refusal(refused: Refused) -> Error {
    let Refused { layer, message, kind, has_run, .. } = refused;
    if has_run {
        return Error::interrupted(format!(
            "the command ran, but how it ended is not known: {layer}: {message}; look before you call it again"
        ));
    }
    if layer == "command" {
        return Error::new(ErrorKind::from_name(&kind), message);
    }
    Error::unavailable(format!(
        "no command can run, because a layer of the sandbox cannot be had: {layer}: {message}; `skynetctl doctor` tells more"
    ))
}
