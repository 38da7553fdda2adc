//! What is known of one directory entry.

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{RelativePath, Result, Workspace, error::IoContext as _};
use std::{ffi::OsStr, os::fd::OwnedFd};

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    File,
    Directory,
    Symlink,
    Fifo,
    Socket,
    Device,
}

impl From<FileType> for Kind {
    fn from(kind: FileType) -> Self {
        match kind {
            FileType::RegularFile => Self::File,
            FileType::Directory => Self::Directory,
            FileType::Symlink => Self::Symlink,
            FileType::Fifo => Self::Fifo,
            FileType::Socket => Self::Socket,
            FileType::CharacterDevice | FileType::BlockDevice | FileType::Unknown => Self::Device,
        }
    }
}

/// Where a symbolic link leads.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Link {
    /// As written in the link.
    pub(crate) target: String,
    /// Whether it can be followed: `inside`, `outside` of the workspace (refused), or `dangling`.
    pub(crate) leads: Leads,
}

/// Where following a link ends.
#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Leads {
    Inside,
    Outside,
    Dangling,
}

/// Reads a link; `path` is the link itself.
pub(crate) fn read_link(
    workspace: &Workspace,
    directory: &OwnedFd,
    name: &OsStr,
    path: &RelativePath,
) -> Result<Link> {
    let target = rustix::fs::readlinkat(directory, name, Vec::new()).on(path)?;
    let leads = match workspace.open_raw(path, OFlags::PATH, Mode::empty()) {
        Ok(_) => Leads::Inside,
        Err(err) if err.raw_os_error() == Some(rustix::io::Errno::XDEV.raw_os_error()) => Leads::Outside,
        Err(_) => Leads::Dangling,
    };
    Ok(Link { target: target.to_string_lossy().into_owned(), leads })
}

/// RFC 3339, UTC, of the last change of the content.
pub(crate) fn modified_at(stat: &Stat) -> String {
    let nanoseconds = i32::try_from(stat.st_mtime_nsec).unwrap_or(0);
    jiff::Timestamp::new(stat.st_mtime, nanoseconds).map_or_else(|_| String::new(), |at| format!("{at:.3}"))
}

/// Stats a name in an open directory, not following it.
pub(crate) fn stat_in(directory: &OwnedFd, name: &OsStr, path: &RelativePath) -> Result<Stat> {
    rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).on(path)
}

/// Of a mode, as in `0644`.
pub(crate) fn octal(mode: u32) -> String {
    format!("{:04o}", mode & 0o7777)
}

/// Bytes as the unsigned number they are.
pub(crate) fn size_of(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}
