//! Compose projects, by the program of this host that knows them. It runs in a slot, as the caller, and finds the engine at
//! a port of its own loopback, which nobody else has; each connection there is one that the caller could make himself.

use crate::{
    Engine, Line,
    client::canceled,
    files::{HOME, inside, no_pipe, receiver},
    lines::{Full, Gather},
};
use bollard::container::LogOutput;
use bytes::Bytes;
use rustix::pipe::{PipeFlags, pipe_with};
use schemars::JsonSchema;
use serde::Serialize;
use skynet_core::{CallCtx, Error, Result};
use skynet_sandbox::{
    Command,
    protocol::{Kind, Limits},
};
use std::{
    fs::OpenOptions,
    os::fd::{AsFd as _, OwnedFd},
    sync::Arc,
};
use tokio::{
    io::{AsyncReadExt as _, copy_bidirectional},
    net::{TcpListener, TcpStream, UnixStream, unix::pipe},
    task::JoinSet,
};

/// What it may use: programs of Go take a thread for each processor and some more.
const LIMITS: Limits = Limits {
    wall_ms: 1800 * 1000,
    memory_bytes: 1 << 30,
    processes: 512,
    scratch_bytes: 64 << 20,
    cpu_ms: 0,
    disk_bytes: 1 << 30,
};

/// Where the program finds the engine: the port that Docker has without encryption.
const PORT: u16 = 2375;

/// At the same time.
const MOST_CONNECTIONS: usize = 64;

/// Of what it prints.
const MOST_LINES: usize = 2000;

/// At once.
const PIECE_BYTES: usize = 16 << 10;

/// Its exit code where there is none of them, as a shell has it.
const NOT_FOUND: i32 = 127;

/// The one that is a part of Docker's program, else the one before it.
const PROGRAM: &str = r#"if docker compose version >/dev/null 2>&1; then exec docker compose "$@"; fi
if command -v docker-compose >/dev/null; then exec docker-compose "$@"; fi
exit 127"#;

/// What a compose program did.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Composed {
    /// Its exit code; 0 if all went well.
    pub exit_code: i32,
    /// What it printed, the last of it.
    pub lines: Vec<Line>,
    /// How many lines before are left out.
    pub left_out: u64,
}

impl Engine {
    /// Runs a compose program with these words in a directory of the workspace.
    ///
    /// # Errors
    /// `Unavailable` where there is none, `Denied` for who may not use the engine.
    pub async fn compose(&self, ctx: &CallCtx, directory: &str, words: &[String]) -> Result<Composed> {
        // So that who may not is told before anything starts.
        // It talks to the engine by itself, which is lent for single calls alone.
        let ctx = &ctx.clone().with_lent_engine(false);
        drop(self.connect(ctx).await?);
        let directory = inside(ctx, directory)?;
        let caller = &ctx.origin()?.caller;
        let (out, stdout) = pipe_with(PipeFlags::CLOEXEC).map_err(no_pipe)?;
        let (err, stderr) = pipe_with(PipeFlags::CLOEXEC).map_err(no_pipe)?;
        let null = OpenOptions::new().read(true).open("/dev/null").map_err(no_pipe)?;
        let argv = ["sh", "-c", PROGRAM, "-"].map(str::to_owned).into_iter().chain(words.iter().cloned());
        let environment = [
            format!("DOCKER_HOST=tcp://127.0.0.1:{PORT}"),
            "PATH=/usr/local/bin:/usr/bin:/bin".to_owned(),
            // Its home is made for it and gone with it: what is put into one that stays, such as a plugin of Docker's program or a
            // module of Python's, would run here, with the engine at hand.
            "HOME=/tmp".to_owned(),
            "DOCKER_CONFIG=/tmp/.docker".to_owned(),
            "XDG_CONFIG_HOME=/tmp/.config".to_owned(),
            "PYTHONNOUSERSITE=1".to_owned(),
            "LC_ALL=C.UTF-8".to_owned(),
        ];
        let command = Command {
            kind: Kind::Command,
            connection: caller.connection.number(),
            argv: argv.map(String::into_bytes).collect(),
            environment: environment.into_iter().map(String::into_bytes).collect(),
            workspace: Some(ctx.workspace()?),
            directory: directory.as_path(),
            home: &caller.home,
            private_home: HOME,
            limits: LIMITS,
            listen: vec![PORT],
            is_published: false,
            preview: None,
            is_apart: false,
            certificates: None,
        };
        let stdio = [null.as_fd(), stdout.as_fd(), stderr.as_fd()];
        let mut running = self.slots().run(command, stdio).await?;
        // Whoever holds an end keeps the reader waiting.
        drop((null, stdout, stderr));
        let listener = running.network().await?.into_iter().next().map(listener).transpose()?;
        let listener = listener
            .ok_or_else(|| Error::internal("the sandbox handed over fewer sockets than it was asked for"))?;
        let mut serving = JoinSet::new();
        serving.spawn(serve(listener, self.dialer(ctx)?));
        let mut gather = Gather::new(MOST_LINES, ctx.max_bytes, Full::DropOldest);
        let read = read(ctx, &mut gather, receiver(out)?, receiver(err)?);
        let ended = async {
            read.await;
            running.ended().await
        };
        let ended = tokio::select! {
            ended = ended => ended?,
            // Dropped, it is ended.
            () = ctx.cancel.cancelled() => return Err(canceled()),
        };
        let Some(exit_code) = ended.code else {
            return Err(Error::timed_out(
                "the compose program was ended, as it took too long or too much memory",
            ));
        };
        if exit_code == NOT_FOUND {
            return Err(Error::unavailable(
                "no compose program is installed on this host; an administrator can install `docker-compose-plugin` or `docker-compose`",
            ));
        }
        gather.finish(&|_| true);
        Ok(Composed { exit_code, left_out: gather.lost, lines: gather.into_lines() })
    }
}

fn listener(socket: OwnedFd) -> Result<TcpListener> {
    let unusable = |err| Error::internal("a socket of the sandbox cannot be used").with_source(err);
    let listener = std::net::TcpListener::from(socket);
    listener.set_nonblocking(true).and_then(|()| TcpListener::from_std(listener)).map_err(unusable)
}

/// Until both are at their end.
async fn read(ctx: &CallCtx, gather: &mut Gather, mut out: pipe::Receiver, mut err: pipe::Receiver) {
    let (mut from_out, mut from_err) = (vec![0; PIECE_BYTES], vec![0; PIECE_BYTES]);
    let (mut has_out, mut has_err) = (true, true);
    while has_out || has_err {
        let piece = tokio::select! {
            length = out.read(&mut from_out), if has_out => {
                let piece = from_out.get(..length.unwrap_or(0)).unwrap_or_default();
                has_out = !piece.is_empty();
                LogOutput::StdOut { message: Bytes::copy_from_slice(piece) }
            }
            length = err.read(&mut from_err), if has_err => {
                let piece = from_err.get(..length.unwrap_or(0)).unwrap_or_default();
                has_err = !piece.is_empty();
                LogOutput::StdErr { message: Bytes::copy_from_slice(piece) }
            }
        };
        gather.take(&piece, &|_| true);
        gather.show(ctx);
    }
}

/// Connects whoever connects to the engine, for as long as it is polled.
async fn serve(listener: TcpListener, dialer: crate::client::Dialer) {
    let dialer = Arc::new(dialer);
    let mut connections = JoinSet::new();
    // The program ends with its slot, and this with both.
    while let Ok((stream, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        if connections.len() < MOST_CONNECTIONS {
            let dialer = dialer.clone();
            connections.spawn(async move {
                if let Ok(engine) = dialer.dial().await {
                    relay(stream, engine).await;
                }
            });
        }
    }
}

async fn relay(mut stream: TcpStream, mut engine: UnixStream) {
    // Each end is told by the end of its own connection.
    let _ = copy_bidirectional(&mut stream, &mut engine).await;
}
