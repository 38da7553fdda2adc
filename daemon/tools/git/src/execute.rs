//! Runs the `git` program: with what it may see of the environment, and what it wrote.

use crate::{
    lender::Lender,
    progress::{self, Tail},
    remote::transport,
};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use skynet_core::{CallCtx, Error, Result, error::IoContext as _};
use std::{
    ffi::OsString,
    fs::File,
    io::{Seek as _, Write as _},
    os::{fd::OwnedFd, unix::fs::FileExt as _},
    path::Path,
    pin::pin,
    process::{ExitStatus, Stdio},
    time::Duration,
};
use tokio::{
    process::{Child, Command},
    time::timeout,
};

/// An error message of Git is shown up to that length.
pub(crate) const MOST_STDERR_BYTES: u64 = 4096;

/// Output may not be longer; Git fails when it writes more.
const MOST_OUTPUT_BYTES: u64 = 256 << 20;

/// Output that is parsed may not be longer.
const MOST_PARSED_BYTES: u64 = 32 << 20;

/// What is still said when Git has ended is waited for that long.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How other repositories may be reached, where they may.
const OTHERS: &str = "http:https:ssh";

/// What Git wrote, still in memory of the kernel.
pub(crate) struct Output {
    pub(crate) status: ExitStatus,
    stdout: File,
    stderr: File,
}

/// `git` with nothing of the user's and of the system's.
pub(crate) fn bare(directory: &Path) -> Command {
    let inherited = ["PATH", "HOME", "GNUPGHOME", "SSH_AUTH_SOCK"];
    let environment = inherited.iter().filter_map(|name| Some((*name, std::env::var_os(name)?)));
    let mut command = Command::new("git");
    command
        .env_clear()
        .envs(environment)
        .envs([
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("GIT_ATTR_NOSYSTEM", "1"),
            ("GIT_TERMINAL_PROMPT", "0"),
            ("GIT_OPTIONAL_LOCKS", "0"),
            ("GIT_NO_LAZY_FETCH", "1"),
            // Or a command could have an object that was looked at replaced before it is used (git-replace(1)).
            ("GIT_NO_REPLACE_OBJECTS", "1"),
            ("GIT_ALLOW_PROTOCOL", "none"),
            ("GIT_ADVICE", "0"),
            ("LC_ALL", "C.UTF-8"),
        ])
        .current_dir(directory)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

/// Runs it to its end, or until nobody wants that any more.
pub(crate) async fn execute(ctx: &CallCtx, command: &mut Command) -> Result<Output> {
    let (stdout, stderr) = (scratch("git-stdout")?, scratch("git-stderr")?);
    command.stdout(stdout.try_clone().on("git")?).stderr(stderr.try_clone().on("git")?);
    let status = wait(ctx, &mut start(command)?).await?;
    Ok(Output { status, stdout: written(stdout)?, stderr: written(stderr)? })
}

/// Runs one that talks to a remote, with what it is lent for that, and tells how far it is.
///
/// # Errors
/// What cannot be done; that Git failed is for [`Reached::into_error`] to say.
pub(crate) async fn reach<A: Into<OsString>>(
    ctx: &CallCtx,
    mut command: Command,
    arguments: impl IntoIterator<Item = A>,
) -> Result<Reached> {
    let lender = Lender::open()?;
    let (stdout, mut stderr) = (scratch("git-stdout")?, scratch("git-stderr")?);
    command
        .env("GIT_ALLOW_PROTOCOL", OTHERS)
        .envs(lender.environment()?)
        .args(transport())
        .args(lender.settings()?)
        .args(arguments.into_iter().map(Into::into))
        .stdout(stdout.try_clone().on("git")?)
        .stderr(Stdio::piped());
    let mut child = start(&mut command)?;
    let told = child.stderr.take().ok_or_else(|| Error::internal("git was started without its stderr"))?;
    let mut said = Tail::default();
    let run = async {
        let mut followed = pin!(progress::follow(ctx, told, &mut said));
        let mut ended = pin!(wait(ctx, &mut child));
        tokio::select! {
            status = &mut ended => {
                let status = status?;
                // What Git started may still be there, with the same stderr: OpenSSH waits for its server.
                timeout(LAST_WORDS, followed).await.unwrap_or(Ok(())).map(|()| status)
            }
            done = &mut followed => {
                done?;
                ended.await
            }
        }
    };
    let status = tokio::select! {
        status = run => status?,
        never = lender.serve(ctx) => match never {},
    };
    stderr.write_all(&said.into_bytes()).on("git")?;
    let output = Output { status, stdout: written(stdout)?, stderr: written(stderr)? };
    Ok(Reached { output, lender })
}

fn start(command: &mut Command) -> Result<Child> {
    command.spawn().map_err(|err| {
        Error::unavailable("the `git` program cannot be started; install Git").with_source(err)
    })
}

async fn wait(ctx: &CallCtx, child: &mut Child) -> Result<ExitStatus> {
    tokio::select! {
        status = child.wait() => status.on("git"),
        () = ctx.cancel.cancelled() => {
            // It is dead or about to be; which one does not matter.
            let _ = child.kill().await;
            Err(Error::canceled("the client canceled the call"))
        }
    }
}

/// What became of a command that talked to a remote.
pub(crate) struct Reached {
    pub(crate) output: Output,
    lender: Lender,
}

impl Reached {
    /// What Git said, as an error that says what would work.
    pub(crate) fn into_error(self) -> Error {
        self.lender.explain(self.output.to_error())
    }

    /// The same, where failure is one.
    pub(crate) fn check(self) -> Result<Output> {
        if self.output.status.success() { Ok(self.output) } else { Err(self.into_error()) }
    }
}

impl Output {
    /// All of it, for parsing.
    pub(crate) fn bytes(&self) -> Result<Vec<u8>> {
        let size = self.size()?;
        if size > MOST_PARSED_BYTES {
            return Err(Error::invalid_input(format!(
                "git wrote {size} bytes; ask for less, such as one path"
            )));
        }
        self.head(size)
    }

    /// As text, for parsing.
    pub(crate) fn text(&self) -> Result<String> {
        Ok(String::from_utf8_lossy(&self.bytes()?).into_owned())
    }

    /// As much as fits the answer; if that is not all, the whole is stored and its URI returned.
    pub(crate) async fn bounded(self, ctx: &CallCtx, name: &str) -> Result<(String, Option<String>)> {
        let size = self.size()?;
        let mut head = self.head(size.min(ctx.max_bytes as u64))?;
        if head.len() as u64 == size {
            return Ok((String::from_utf8_lossy(&head).into_owned(), None));
        }
        // Cut at a line, so that no half line is taken for a whole one.
        let end = head.iter().rposition(|&byte| byte == b'\n').map_or(head.len(), |position| position + 1);
        head.truncate(end);
        let uri = ctx.store_blob(OwnedFd::from(self.stdout), name, "text/plain").await?;
        Ok((String::from_utf8_lossy(&head).into_owned(), Some(uri)))
    }

    /// What Git said, as an error.
    pub(crate) fn to_error(&self) -> Error {
        let mut bytes =
            vec![
                0;
                usize::try_from(self.stderr.metadata().map_or(0, |meta| meta.len().min(MOST_STDERR_BYTES)))
                    .unwrap_or(0)
            ];
        // Without its words the exit status must do.
        let _ = self.stderr.read_exact_at(&mut bytes, 0);
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let text =
            if lines.is_empty() { format!("git ended with {}", self.status) } else { lines.join("; ") };
        let text = text.trim_start_matches("fatal: ").trim_start_matches("error: ").to_owned();
        let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
        if has(&[
            "unknown revision",
            "bad revision",
            "did not match any",
            "not found",
            "no such path",
            "does not exist",
            "invalid reference",
            "No stash entries",
            "is not a valid reference",
            "no such branch",
            "bad object",
        ]) {
            Error::not_found(text)
        } else if has(&[
            "index.lock",
            "already exists",
            "conflict",
            "CONFLICT",
            "would be overwritten",
            "is not fully merged",
            "checked out at",
            "already checked out",
            "already used by worktree",
            "needs merge",
            "Not possible to fast-forward",
            "unrelated histories",
        ]) {
            Error::conflict(text)
        } else if has(&["dubious ownership", "Permission denied"]) {
            Error::denied(text)
        } else {
            Error::invalid_input(text)
        }
    }

    fn size(&self) -> Result<u64> {
        Ok(self.stdout.metadata().on("git")?.len())
    }

    fn head(&self, count: u64) -> Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(count).unwrap_or(0)];
        self.stdout.read_exact_at(&mut bytes, 0).on("git")?;
        Ok(bytes)
    }
}

/// A file in memory that cannot grow over its limit: it has that size from the beginning, without taking any room.
fn scratch(name: &str) -> Result<File> {
    let file = File::from(memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).on(name)?);
    file.set_len(MOST_OUTPUT_BYTES).on(name)?;
    fcntl_add_seals(&file, SealFlags::GROW).on(name)?;
    Ok(file)
}

/// The same file with the length that was written: its position, which all its descriptors share.
fn written(mut scratch: File) -> Result<File> {
    /// The kernel refuses the whole of a page that does not fit.
    const PAGE_BYTES: u64 = 4096;
    let length = scratch.stream_position().on("git")?;
    if length + PAGE_BYTES > MOST_OUTPUT_BYTES {
        return Err(Error::invalid_input(format!(
            "git wrote more than {MOST_OUTPUT_BYTES} bytes; ask for less, such as one path"
        )));
    }
    scratch.set_len(length).on("git")?;
    Ok(scratch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    #[test]
    fn output_ends_where_git_stopped_and_has_a_limit() {
        let file = scratch("test").unwrap();
        file.try_clone().unwrap().write_all(b"some words").unwrap();
        let mut text = String::new();
        let mut file = written(file).unwrap();
        file.rewind().unwrap();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "some words");

        let file = scratch("test").unwrap();
        let mut copy = file.try_clone().unwrap();
        copy.seek(std::io::SeekFrom::Start(MOST_OUTPUT_BYTES - 100)).unwrap();
        assert!(copy.write_all(&[b'x'; 5000]).is_err());
        assert!(written(file).unwrap_err().message.contains("wrote more than"));
    }
}
