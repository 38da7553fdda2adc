//! Runs the `git` program: with what it may see of the environment, and what it wrote.

use crate::config::{Filters, overrides};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use skynet_core::{CallCtx, Error, Result, error::IoContext as _};
use std::{
    fs::File,
    io::Seek as _,
    os::{fd::OwnedFd, unix::fs::FileExt as _},
    path::Path,
    process::{ExitStatus, Stdio},
};
use tokio::process::Command;

/// An error message of Git is shown up to that length.
const MOST_STDERR_BYTES: u64 = 4096;

/// Output may not be longer; Git fails when it writes more.
const MOST_OUTPUT_BYTES: u64 = 256 << 20;

/// Output that is parsed may not be longer.
const MOST_PARSED_BYTES: u64 = 32 << 20;

/// How other repositories may be reached, where they may.
pub(crate) const OTHERS: &str = "http:https";

/// What Git wrote, still in memory of the kernel.
pub(crate) struct Output {
    pub(crate) status: ExitStatus,
    stdout: File,
    stderr: File,
}

/// Makes a new repository of another one, with what `arguments` of git-clone(1) say.
pub(crate) async fn clone_into(
    ctx: &CallCtx,
    directory: &Path,
    settings: &[String],
    arguments: Vec<String>,
) -> Result<()> {
    let mut command = bare(directory);
    command
        .env("GIT_ALLOW_PROTOCOL", OTHERS)
        .args(overrides(&[], Filters::Off)?)
        .args(settings)
        .args(arguments);
    let output = execute(ctx, &mut command).await?;
    if output.status.success() { Ok(()) } else { Err(output.to_error()) }
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
    let mut child = command.spawn().map_err(|err| {
        Error::unavailable("the `git` program cannot be started; install Git").with_source(err)
    })?;
    let status = tokio::select! {
        status = child.wait() => status.on("git")?,
        () = ctx.cancel.cancelled() => {
            // It is dead or about to be; which one does not matter.
            let _ = child.kill().await;
            return Err(Error::canceled("the client canceled the call"));
        }
    };
    Ok(Output { status, stdout: written(stdout)?, stderr: written(stderr)? })
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
    use std::io::{Read as _, Write as _};

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
