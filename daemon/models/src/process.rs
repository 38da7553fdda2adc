//! One worker, seen from the daemon.

use crate::protocol::{Done, FromWorker, Load, Open, Reply, Request, Run, ToWorker, VERSION};
use skynet_core::{Error, ErrorKind, Result};
use skynet_sandbox::{
    Command, Running, Slots,
    channel::{self, AsyncSocket, Buffer},
    protocol::{Kind, Limits},
};
use std::{
    collections::HashMap,
    fs::{File, OpenOptions},
    io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// Of one worker: three models of 120 MB, each in memory three times while it is loaded, and what flows through it.
const LIMITS: Limits =
    Limits { wall_ms: 0, memory_bytes: 2 << 30, processes: 32, scratch_bytes: 0, cpu_ms: 0, disk_bytes: 0 };

/// An answer takes a fraction of a second; a worker that takes so long, to load a model from a slow disk too, hangs.
const LONGEST: Duration = Duration::from_secs(120);

/// A model, and where its files are.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    pub(crate) load: Load,
    pub(crate) model: PathBuf,
    pub(crate) tokenizer: PathBuf,
}

/// Why there is no answer.
pub(crate) enum Failure {
    /// Another worker may have one.
    Died,
    /// What the worker says.
    Said(Error),
}

impl From<io::Error> for Failure {
    fn from(_: io::Error) -> Self {
        Self::Died
    }
}

pub(crate) struct Process {
    pub(crate) pid: u32,
    socket: AsyncSocket,
    buffer: Buffer,
    /// By their names, what they hash to.
    loaded: HashMap<String, String>,
    /// Ended when dropped.
    _running: Running,
    /// Held here so that it is there once, as long as somebody uses it.
    _library: Arc<OwnedFd>,
}

impl Process {
    /// Starts one in a slot of its own, with that library.
    pub(crate) async fn start(slots: &Slots, library: Arc<OwnedFd>) -> Result<Self> {
        let cannot =
            |err: io::Error| Error::unavailable("`skynet-models` cannot be started").with_source(err);
        let (ours, theirs) = channel::pair().map_err(cannot)?;
        let null = OpenOptions::new().write(true).open("/dev/null").map_err(cannot)?;
        let stderr = io::stderr();
        let command = Command {
            kind: Kind::Models,
            // On nobody's behalf.
            connection: 0,
            // The broker knows where it is.
            argv: Vec::new(),
            environment: vec![b"LANG=C.UTF-8".to_vec()],
            workspace: None,
            directory: Path::new("."),
            home: Path::new("/"),
            private_home: "",
            limits: LIMITS,
            listen: Vec::new(),
            is_published: false,
            preview: None,
            is_apart: false,
            certificates: None,
        };
        let mut running = slots.run(command, [theirs.as_fd(), null.as_fd(), stderr.as_fd()]).await?;
        // Whoever holds an end keeps the reader waiting.
        drop(theirs);
        let pid = running.pid().await?;
        let mut process = Self {
            pid,
            socket: AsyncSocket::new(ours).map_err(cannot)?,
            buffer: Buffer::default(),
            loaded: HashMap::new(),
            _running: running,
            _library: library.clone(),
        };
        let opened = process.ask(Request::Open(Open { version: VERSION }), &[library.as_fd()]).await;
        match opened {
            Ok(_) => {
                tracing::info!(pid, "a worker for models started");
                Ok(process)
            }
            Err(Failure::Said(err)) => Err(err),
            Err(Failure::Died) => Err(Error::unavailable("`skynet-models` ended before it was ready")),
        }
    }

    /// Loads the model unless it is, and has it read.
    pub(crate) async fn run(&mut self, files: &Files, run: Run) -> std::result::Result<Done, Failure> {
        // One that was installed anew takes the place of the other.
        if self.loaded.get(&files.load.id) != Some(&files.load.model_sha256) {
            let open = |path: &Path| {
                File::open(path).map_err(|err| {
                    Failure::Said(
                        Error::unavailable(format!(
                            "the files of `{0}` cannot be opened; run `skynetctl models install {0}`",
                            files.load.id
                        ))
                        .with_source(err),
                    )
                })
            };
            let (model, tokenizer) = (open(&files.model)?, open(&files.tokenizer)?);
            self.ask(Request::Load(files.load.clone()), &[model.as_fd(), tokenizer.as_fd()]).await?;
            self.loaded.insert(files.load.id.clone(), files.load.model_sha256.clone());
        }
        match self.ask(Request::Run(run), &[]).await? {
            Reply::Done(done) => Ok(done),
            Reply::Ready(_) | Reply::Failed(_) => Err(Failure::Died),
        }
    }

    async fn ask(
        &mut self,
        request: Request,
        descriptors: &[BorrowedFd<'_>],
    ) -> std::result::Result<Reply, Failure> {
        let asked = async {
            self.socket.send(&ToWorker { request: Some(request) }, descriptors).await?;
            self.socket.receive::<FromWorker>(&mut self.buffer).await
        };
        let answered = tokio::time::timeout(LONGEST, asked).await.map_err(|_| Failure::Died)??;
        match answered.and_then(|(message, _)| message.reply) {
            Some(Reply::Failed(failed)) => {
                Err(Failure::Said(Error::new(ErrorKind::from_name(&failed.kind), failed.message)))
            }
            Some(reply) => Ok(reply),
            None => Err(Failure::Died),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        tracing::info!(pid = self.pid, "a worker for models is let go");
    }
}
