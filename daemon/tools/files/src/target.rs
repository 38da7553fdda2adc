//! A place that may be written: inside the workspace, and nothing that a human's own tools run later.

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags};
use sha2::{Digest as _, Sha256};
use skynet_core::{
    CallCtx, Error, RelativePath, Result, Workspace, canonical::hex, error::IoContext as _, reserved,
};
use std::{
    ffi::OsString,
    fs::File,
    io::{self, Read as _, Write as _},
    os::fd::{AsFd as _, OwnedFd},
    path::{Component, Path},
};
use uuid::Uuid;

/// An open directory and a name in it.
pub(crate) struct Target {
    pub(crate) directory: OwnedFd,
    pub(crate) name: OsString,
    /// Where it really is, links resolved.
    pub(crate) path: RelativePath,
}

impl Target {
    /// The entry itself: a link in the last place is not followed.
    pub(crate) fn entry(workspace: &Workspace, path: &RelativePath) -> Result<Self> {
        let (parent, name) = path.split()?;
        let directory = workspace.open_directory(&parent)?;
        let real = workspace
            .locate(directory.as_fd())
            .ok_or_else(|| Error::conflict(format!("`{parent}` was moved out of the workspace")))?;
        let path = real.join(name);
        reserved::check(workspace, &path)?;
        Ok(Self { directory, name: name.as_os_str().to_owned(), path })
    }

    /// The file to write: a link in the last place is followed, if it stays inside.
    pub(crate) fn file(workspace: &Workspace, path: &RelativePath) -> Result<Self> {
        let entry = Self::entry(workspace, path)?;
        match entry.stat()? {
            Some(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink => {
                let fd = workspace.open_at(&entry.path, OFlags::PATH, Mode::empty())?;
                let real = workspace
                    .locate(fd.as_fd())
                    .ok_or_else(|| Error::denied(format!("`{path}` leads out of the workspace")))?;
                Self::entry(workspace, &real)
            }
            _ => Ok(entry),
        }
    }

    /// What is there, links not followed; `None` if nothing is.
    pub(crate) fn stat(&self) -> Result<Option<rustix::fs::Stat>> {
        match rustix::fs::statat(&self.directory, &self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(rustix::io::Errno::NOENT) => Ok(None),
            Err(err) => Err(err).on(&self.path),
        }
    }

    /// Opens the regular file that is there; `None` if nothing is.
    pub(crate) fn open(&self) -> Result<Option<File>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        match rustix::fs::openat(&self.directory, &self.name, flags, Mode::empty()) {
            Ok(fd) => regular(fd, &self.path).map(Some),
            Err(rustix::io::Errno::NOENT) => Ok(None),
            Err(err) => Err(err).on(&self.path),
        }
    }

    /// Lets the daemon keep what is there, before it is changed.
    pub(crate) async fn keep_before(&self, ctx: &CallCtx) -> Result<()> {
        let file = match self.stat()? {
            Some(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => self.open()?,
            _ => None,
        };
        ctx.keep_before(&self.path.to_string(), file.map(OwnedFd::from)).await
    }

    /// A name beside this one that nobody uses, for something that becomes this one once it is whole.
    pub(crate) fn scratch(&self) -> Result<Self> {
        // Not the process's number: it is the same in each sandbox, and one that was killed left its scratches.
        let name = OsString::from(format!(".skynet-{}.tmp", Uuid::new_v4().as_simple()));
        let path = self.path.split()?.0.join(Path::new(&name));
        Ok(Self { directory: self.directory.try_clone().on(&self.path)?, name, path })
    }

    /// Gives this scratch its final name, atomically and durably.
    pub(crate) fn settle(&self, place: &Self, existing: Existing) -> Result<()> {
        let flags = match existing {
            Existing::Replace => RenameFlags::empty(),
            Existing::Fail => RenameFlags::NOREPLACE,
        };
        rustix::fs::renameat_with(&self.directory, &self.name, &place.directory, &place.name, flags)
            .and_then(|()| rustix::fs::fsync(&place.directory))
            .on(&place.path)
    }

    /// Replaces the file by `content`, atomically and durably, with these permissions.
    pub(crate) fn replace(&self, content: &[u8], mode: Mode, existing: Existing) -> Result<()> {
        let scratch = self.scratch()?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let fd = rustix::fs::openat(&scratch.directory, &scratch.name, flags, Mode::RUSR | Mode::WUSR)
            .on(&self.path)?;
        let write = || -> io::Result<()> {
            let mut file = File::from(fd);
            file.write_all(content)?;
            rustix::fs::fchmod(&file, mode)?;
            file.sync_all()
        };
        write().on(&self.path).and_then(|()| scratch.settle(self, existing)).inspect_err(|_| {
            // Best effort: the error that counts is the first one.
            let _ = rustix::fs::unlinkat(&scratch.directory, &scratch.name, AtFlags::empty());
        })
    }
}

/// What to do with an entry that is in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Existing {
    Replace,
    Fail,
}

/// Opens a regular file for reading, following links that stay inside. Never blocks on a FIFO.
pub(crate) fn open_regular(workspace: &Workspace, path: &RelativePath) -> Result<File> {
    regular(workspace.open_at(path, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty())?, path)
}

/// Reads a whole file of at most `limit` bytes.
pub(crate) fn read_all(file: &mut File, limit: u64, path: &RelativePath) -> Result<Vec<u8>> {
    let size = file.metadata().on(path)?.len();
    if size > limit {
        return Err(Error::invalid_input(format!(
            "`{path}` has {size} bytes; this tool takes at most {limit}"
        )));
    }
    let mut content = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
    file.take(limit).read_to_end(&mut content).on(path)?;
    Ok(content)
}

/// SHA-256, lower-case hex.
pub(crate) fn digest(content: &[u8]) -> String {
    hex(&Sha256::digest(content))
}

/// Refuses a change of a file that is not what the caller saw.
pub(crate) fn check_expected(
    expected: Option<&str>,
    content: Option<&[u8]>,
    path: &RelativePath,
) -> Result<()> {
    let Some(expected) = expected else { return Ok(()) };
    match content.map(digest) {
        Some(found) if found.eq_ignore_ascii_case(expected) => Ok(()),
        Some(found) => Err(Error::conflict(format!(
            "`{path}` was changed since you read it: its sha256 is {found}; read it again"
        ))),
        None => Err(Error::conflict(format!(
            "`{path}` does not exist (any more), but `expected_sha256` was given"
        ))),
    }
}

/// Makes the missing directories above an entry.
pub(crate) fn make_parents(workspace: &Workspace, path: &RelativePath) -> Result<()> {
    let (parent, _) = path.split()?;
    if workspace.open_raw(&parent, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).is_ok() {
        return Ok(());
    }
    let mut made = RelativePath::root();
    for part in parent.as_path().components() {
        made = made.join(Path::new(part.as_os_str()));
        if part == Component::ParentDir
            || workspace.open_raw(&made, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).is_ok()
        {
            continue;
        }
        let target = Target::entry(workspace, &made)?;
        let mode = Mode::RWXU | Mode::RWXG | Mode::RWXO;
        match rustix::fs::mkdirat(&target.directory, &target.name, mode) {
            // Somebody else made it meanwhile.
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(err) => return Err(err).on(&made),
        }
    }
    Ok(())
}

fn regular(fd: OwnedFd, path: &RelativePath) -> Result<File> {
    let stat = rustix::fs::fstat(&fd).on(path)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok(File::from(fd)),
        FileType::Directory => {
            Err(Error::invalid_input(format!("`{path}` is a directory; use `files_list`")))
        }
        other => Err(Error::invalid_input(format!("`{path}` is no regular file but a {other:?}"))),
    }
}
