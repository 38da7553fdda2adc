//! Files of a workspace on their way to the engine and back. They are packed and unpacked in a slot, as the caller: this
//! process opens none of them, and waits where the other end does.

use crate::{Client, Engine, Name, client::canceled, failure::About};
use bollard::query_parameters::{DownloadFromContainerOptions, UploadToContainerOptions};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use rustix::pipe::{PipeFlags, pipe_with};
use schemars::JsonSchema;
use serde::Serialize;
use skynet_core::{CallCtx, Error, ErrorKind, RelativePath, Result};
use skynet_sandbox::{
    Command, Running,
    protocol::{Kind, Limits},
};
use std::{
    fs::OpenOptions,
    io,
    os::fd::{AsFd as _, OwnedFd},
    path::{Component, Path},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::unix::pipe,
};
use tokio_util::task::AbortOnDropHandle;

/// What packers may use.
pub(crate) const LIMITS: Limits = Limits {
    wall_ms: 1800 * 1000,
    memory_bytes: 512 << 20,
    processes: 16,
    scratch_bytes: 1 << 20,
    cpu_ms: 0,
    disk_bytes: 16 << 30,
};

/// The home that they are shown, and do not use: what somebody put there runs nowhere.
pub(crate) const HOME: &str = "0000000000000000000000000000000000000000000000000000000000656e67";

/// At once.
const PIECE_BYTES: usize = 64 << 10;

/// Of what a packer complains.
const MOST_COMPLAINT: u64 = 2 << 10;

/// Stands for the complaint of one that said nothing, such as one that a signal ended.
const NO_WORDS: &str = "it was ended";

/// How often the client is told how much there was.
const SHOW_BYTES: u64 = 4 << 20;

/// What was copied.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Copied {
    /// As an archive.
    pub bytes: u64,
    /// What was put under names that other programs run or trust, such as Git hooks: renamed to `NAME.quarantined`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub quarantined: Vec<String>,
}

/// A path of the workspace that does not leave it.
pub(crate) fn inside(ctx: &CallCtx, path: &str) -> Result<RelativePath> {
    let relative = ctx.workspace()?.relative(path)?;
    if relative.as_path().components().any(|part| part == Component::ParentDir) {
        return Err(Error::denied(format!(
            "`{path}` leads out of the workspace; only paths inside it can be used"
        )));
    }
    Ok(relative)
}

/// A program in a slot, at whose pipes this process is.
pub(crate) struct Packer {
    running: Running,
    /// The first that it complains of. It is heard from the start: one that waits until somebody reads its complaints packs nothing.
    complaints: AbortOnDropHandle<Vec<u8>>,
}

impl Packer {
    /// Starts a program that reads the workspace, and writes to the pipe that is returned.
    pub(crate) async fn reading(
        engine: &Engine,
        ctx: &CallCtx,
        argv: Vec<String>,
    ) -> Result<(Self, pipe::Receiver)> {
        let (ours, theirs) = pipe_with(PipeFlags::CLOEXEC).map_err(no_pipe)?;
        let null = OpenOptions::new().read(true).open("/dev/null").map_err(no_pipe)?;
        let packer = Self::start(engine, ctx, argv, null.into(), theirs).await?;
        Ok((packer, receiver(ours)?))
    }

    /// Starts a program that writes to the workspace what it reads from the pipe that is returned.
    pub(crate) async fn writing(
        engine: &Engine,
        ctx: &CallCtx,
        argv: Vec<String>,
    ) -> Result<(Self, pipe::Sender)> {
        let (theirs, ours) = pipe_with(PipeFlags::CLOEXEC).map_err(no_pipe)?;
        let null = OpenOptions::new().write(true).open("/dev/null").map_err(no_pipe)?;
        let packer = Self::start(engine, ctx, argv, theirs, null.into()).await?;
        Ok((packer, sender(ours)?))
    }

    /// Starts a program that reads the workspace by what comes through one pipe, and writes to the other.
    pub(crate) async fn between(
        engine: &Engine,
        ctx: &CallCtx,
        argv: Vec<String>,
    ) -> Result<(Self, pipe::Sender, pipe::Receiver)> {
        let (stdin, ours_in) = pipe_with(PipeFlags::CLOEXEC).map_err(no_pipe)?;
        let (ours_out, stdout) = pipe_with(PipeFlags::CLOEXEC).map_err(no_pipe)?;
        let packer = Self::start(engine, ctx, argv, stdin, stdout).await?;
        Ok((packer, sender(ours_in)?, receiver(ours_out)?))
    }

    async fn start(
        engine: &Engine,
        ctx: &CallCtx,
        argv: Vec<String>,
        stdin: OwnedFd,
        stdout: OwnedFd,
    ) -> Result<Self> {
        let caller = &ctx.origin()?.caller;
        let (complaints, stderr) = pipe_with(PipeFlags::CLOEXEC).map_err(no_pipe)?;
        let command = Command {
            kind: Kind::Command,
            connection: caller.connection.number(),
            argv: argv.into_iter().map(String::into_bytes).collect(),
            environment: [&b"PATH=/usr/bin:/bin"[..], b"LC_ALL=C"].map(<[u8]>::to_vec).to_vec(),
            workspace: Some(ctx.workspace()?),
            directory: Path::new("."),
            home: &caller.home,
            private_home: HOME,
            limits: LIMITS,
            listen: Vec::new(),
            is_published: false,
            preview: None,
            is_apart: false,
            certificates: None,
        };
        let running = engine.slots().run(command, [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()]).await?;
        let complaints = AbortOnDropHandle::new(tokio::spawn(hear(receiver(complaints)?)));
        Ok(Self { running, complaints })
    }

    /// Waits for its end; what it left under names that are quarantined.
    ///
    /// # Errors
    /// What it complains of.
    pub(crate) async fn finish(self, ctx: &CallCtx) -> Result<Vec<String>> {
        let Self { mut running, complaints } = self;
        let ended = async {
            // One whose complaints were lost has none.
            let said = complaints.await.unwrap_or_default();
            (said, running.ended().await)
        };
        let (said, ended) = tokio::select! {
            (said, ended) = ended => (said, ended?),
            () = ctx.cancel.cancelled() => return Err(canceled()),
        };
        if ended.code == Some(0) {
            return Ok(ended
                .quarantined
                .iter()
                .map(|path| String::from_utf8_lossy(path).into_owned())
                .collect());
        }
        let said = String::from_utf8_lossy(&said).into_owned();
        let said = said.lines().next().unwrap_or(NO_WORDS).trim_start_matches("tar: ").to_owned();
        Err(if said.contains("No such file") || said.contains("can't cd") {
            Error::not_found(said)
        } else {
            Error::invalid_input(format!("the files of the workspace cannot be used: {said}"))
        })
    }
}

/// Reads to its end what a program complains of, and keeps the beginning.
async fn hear(mut complaints: pipe::Receiver) -> Vec<u8> {
    let mut said = Vec::new();
    // What breaks off says no more, and how the program ended is asked elsewhere.
    let _ = (&mut complaints).take(MOST_COMPLAINT).read_to_end(&mut said).await;
    let _ = tokio::io::copy(&mut complaints, &mut tokio::io::sink()).await;
    said
}

pub(crate) fn no_pipe(err: impl Into<io::Error>) -> Error {
    Error::unavailable("no pipe to the sandbox can be made").with_source(err.into())
}

pub(crate) fn receiver(end: OwnedFd) -> Result<pipe::Receiver> {
    rustix::io::ioctl_fionbio(&end, true).map_err(no_pipe)?;
    pipe::Receiver::from_owned_fd(end).map_err(no_pipe)
}

fn sender(end: OwnedFd) -> Result<pipe::Sender> {
    rustix::io::ioctl_fionbio(&end, true).map_err(no_pipe)?;
    pipe::Sender::from_owned_fd(end).map_err(no_pipe)
}

/// What a pipe brings, read no faster than it is taken; each piece is told.
pub(crate) fn pieces(
    pipe: pipe::Receiver,
    told: impl Fn(u64) + Send + 'static,
) -> impl Stream<Item = Bytes> + Send + 'static {
    stream::unfold((pipe, told, 0), |(mut pipe, told, mut count)| async move {
        let mut buffer = vec![0; PIECE_BYTES];
        // What breaks off is seen when the packer is asked how it ended.
        let length = pipe.read(&mut buffer).await.unwrap_or(0);
        if length == 0 {
            return None;
        }
        buffer.truncate(length);
        count += length as u64;
        told(count);
        Some((Bytes::from(buffer), (pipe, told, count)))
    })
}

/// Words for tar(1): what it does at stdin and stdout, and where.
pub(crate) fn tar(words: &[&str]) -> Vec<String> {
    std::iter::once("tar").chain(words.iter().copied()).map(str::to_owned).collect()
}

impl Client {
    /// Copies a file or directory of the workspace into a directory of a container.
    ///
    /// # Errors
    /// `NotFound` for what is not there, `Denied` for a container that reaches the host when that was not declared.
    pub async fn copy_into(
        &self,
        engine: &Engine,
        ctx: &CallCtx,
        name: &Name,
        from: &str,
        into: &str,
        reaches_host: bool,
    ) -> Result<Copied> {
        let id = self.check_reach(name, reaches_host).await?;
        let path = inside(ctx, from)?;
        let (directory, entry) = match path.split() {
            Ok((directory, entry)) => {
                (directory.as_path().display().to_string(), entry.display().to_string())
            }
            // The workspace itself: all that is in it.
            Err(_) => (".".to_owned(), ".".to_owned()),
        };
        let argv = tar(&["--create", "--file=-", "--directory", &directory, "--", &entry]);
        self.fill(engine, ctx, &id, argv, into, u64::MAX).await
    }

    /// Unpacks into a directory of a container what a program in the workspace packs, if that is not more than `most` bytes.
    pub(crate) async fn fill(
        &self,
        engine: &Engine,
        ctx: &CallCtx,
        name: &Name,
        argv: Vec<String>,
        into: &str,
        most: u64,
    ) -> Result<Copied> {
        let (packer, pipe) = Packer::reading(engine, ctx, argv).await?;
        let counter = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
        let count = counter.clone();
        let body = pieces(pipe, move |bytes| count.store(bytes, std::sync::atomic::Ordering::Relaxed));
        let counted = counter.clone();
        // Cut off, an archive is none.
        let body = body.take_while(move |_| {
            let is_little = counted.load(std::sync::atomic::Ordering::Relaxed) <= most;
            async move { is_little }
        });
        let options = UploadToContainerOptions { path: into.to_owned(), ..Default::default() };
        let sent = self.docker.upload_to_container(name, Some(options), bollard::body_stream(body));
        let sent = self.ask(About::Container(name), sent).await;
        if counter.load(std::sync::atomic::Ordering::Relaxed) > most {
            return Err(Error::invalid_input(format!(
                "the workspace is larger than {} MiB, which is all that may be copied; raise the limit, or work in a smaller directory",
                most >> 20
            )));
        }
        // What was wrong with the files is why the engine did not like the archive.
        let packed = match &sent {
            Ok(()) => packer.finish(ctx).await.map(drop),
            Err(err) => packer.give_up(ctx, err).await,
        };
        match (sent, packed) {
            (_, Err(err)) => Err(err),
            (Err(err), Ok(_)) => Err(err),
            (Ok(()), Ok(_)) => Ok(Copied {
                bytes: counter.load(std::sync::atomic::Ordering::Relaxed),
                quarantined: Vec::new(),
            }),
        }
    }

    /// Copies a file or directory of a container into a directory of the workspace.
    ///
    /// # Errors
    /// As [`Client::copy_into`].
    pub async fn copy_out(
        &self,
        engine: &Engine,
        ctx: &CallCtx,
        name: &Name,
        from: &str,
        into: &str,
        reaches_host: bool,
    ) -> Result<Copied> {
        let id = self.check_reach(name, reaches_host).await?;
        let directory = inside(ctx, into)?.as_path().display().to_string();
        let options = DownloadFromContainerOptions { path: from.to_owned() };
        let stream: crate::client::Stream<'_, Bytes> =
            Box::pin(self.docker.download_from_container(&id, Some(options)));
        let argv = tar(&[
            "--extract",
            "--file=-",
            "--no-same-owner",
            "--no-same-permissions",
            "--directory",
            &directory,
        ]);
        self.unpack(engine, ctx, About::Path(from), stream, argv).await
    }

    /// Has a program in the workspace read a stream.
    pub(crate) async fn unpack(
        &self,
        engine: &Engine,
        ctx: &CallCtx,
        about: About<'_>,
        mut stream: crate::client::Stream<'_, Bytes>,
        argv: Vec<String>,
    ) -> Result<Copied> {
        // Before a program starts: most of what can be wrong is wrong with the first piece.
        let mut piece = self.next(about, &mut stream).await?;
        let (packer, mut pipe) = Packer::writing(engine, ctx, argv).await?;
        let (mut bytes, mut shown) = (0, 0);
        while let Some(more) = piece {
            let written = tokio::select! {
                written = pipe.write_all(&more) => written,
                () = ctx.cancel.cancelled() => return Err(canceled()),
            };
            if written.is_err() {
                // It says itself why it ended.
                break;
            }
            bytes += more.len() as u64;
            if bytes - shown >= SHOW_BYTES {
                shown = bytes;
                ctx.progress(bytes as f64, None, format!("{} MiB", bytes >> 20));
            }
            piece = self.next(about, &mut stream).await?;
        }
        drop(pipe);
        let quarantined = packer.finish(ctx).await?;
        Ok(Copied { bytes, quarantined })
    }
}

/// How long a packer whose reader is gone has to say what was wrong.
const LAST_WORDS: Duration = Duration::from_secs(2);

impl Packer {
    /// Says what was wrong with the files, if that is why the engine stopped reading with that error.
    pub(crate) async fn give_up(self, ctx: &CallCtx, refused: &Error) -> Result<()> {
        match tokio::time::timeout(LAST_WORDS, self.finish(ctx)).await {
            Ok(Err(complaint)) if explains(&complaint, refused) => Err(complaint),
            Ok(_) | Err(_) => Ok(()),
        }
    }
}

/// Whether what a packer complains of is why an engine refused what it packed: a file that is not there, or whatever it was where the
/// engine only says that the archive is none. What its reader did to it is not what was wrong.
fn explains(complaint: &Error, refused: &Error) -> bool {
    // As Go's `io` and `archive/tar` have it, by which both engines read one.
    let is_about_archive = ["unexpected EOF", "archive/tar", "invalid tar header"]
        .iter()
        .any(|words| refused.message.contains(words));
    let is_by_reader = complaint.message.contains("Broken pipe") || complaint.message.ends_with(NO_WORDS);
    complaint.kind == ErrorKind::NotFound
        || (complaint.kind == ErrorKind::InvalidInput && is_about_archive && !is_by_reader)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_complains_at_length_is_heard_to_the_end() {
        let (complaints, stderr) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let (complaints, mut stderr) = (receiver(complaints).unwrap(), sender(stderr).unwrap());
        // More than a pipe holds.
        let complain = async {
            stderr.write_all(&vec![b'x'; 1 << 20]).await.unwrap();
            drop(stderr);
        };
        let (said, ()) = tokio::join!(hear(complaints), complain);
        assert_eq!(said.len() as u64, MOST_COMPLAINT);
    }

    #[test]
    fn a_complaint_is_told_where_the_engine_only_saw_a_broken_archive() {
        let broken = Error::unavailable("container `x`: unexpected EOF");
        let full = Error::unavailable("container `x`: no space left on device");
        let complaint =
            |said: &str| Error::invalid_input(format!("the files of the workspace cannot be used: {said}"));
        let unreadable = complaint("data: Cannot open: Permission denied");
        assert!(explains(&unreadable, &broken) && !explains(&unreadable, &full));
        assert!(explains(&Error::not_found("data: No such file or directory"), &full));
        for of_reader in ["-: Cannot write: Broken pipe", NO_WORDS] {
            assert!(!explains(&complaint(of_reader), &broken), "{of_reader}");
        }
        assert!(!explains(&canceled(), &broken));
    }
}
