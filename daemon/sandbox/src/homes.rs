//! Where commands keep what they put into their home: a directory for each user and workspace, made when first needed.

use rustix::{
    fs::{AtFlags, Gid, Mode, OFlags, Uid, chownat, mkdirat, openat},
    io::Errno,
};
use skynet_sandbox::protocol::Identity;
use std::{
    ffi::OsStr,
    io,
    os::{fd::OwnedFd, unix::ffi::OsStrExt as _},
    path::{Path, PathBuf},
};

/// All of them.
pub(crate) struct Homes {
    path: PathBuf,
    directory: OwnedFd,
}

/// A name is a SHA-256 in hexadecimal.
const NAME_BYTES: usize = 64;

const DIRECTORY: OFlags =
    OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

impl Homes {
    /// Below `path`, which is there.
    ///
    /// # Errors
    /// What opening it says.
    pub(crate) fn below(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), directory: rustix::fs::open(path, DIRECTORY, Mode::empty())? })
    }

    /// The one of that name, a digest, for that user or the broker's own; and its path.
    ///
    /// # Errors
    /// When it is no name, or what the filesystem says.
    pub(crate) fn open(&self, name: &[u8], identity: Option<&Identity>) -> io::Result<(PathBuf, OwnedFd)> {
        if name.len() != NAME_BYTES || !name.iter().all(u8::is_ascii_hexdigit) {
            return Err(io::Error::other("its name is no digest"));
        }
        let name = OsStr::from_bytes(name);
        let Some(identity) = identity else {
            return Ok((self.path.join(name), make(&self.directory, name, Mode::RWXU)?));
        };
        let user = identity.uid.to_string();
        // Entered by its owner, and listed by nobody.
        let pass = Mode::RWXU | Mode::XGRP | Mode::XOTH;
        let of_user = make(&self.directory, OsStr::new(&user), pass)?;
        let home = make(&of_user, name, Mode::RWXU)?;
        chownat(
            &home,
            "",
            Some(Uid::from_raw(identity.uid)),
            Some(Gid::from_raw(identity.gid)),
            AtFlags::EMPTY_PATH,
        )?;
        Ok((self.path.join(user).join(name), home))
    }
}

fn make(at: &OwnedFd, name: &OsStr, mode: Mode) -> io::Result<OwnedFd> {
    match openat(at, name, DIRECTORY, Mode::empty()) {
        Err(Errno::NOENT) => {
            mkdirat(at, name, mode)?;
            Ok(openat(at, name, DIRECTORY, Mode::empty())?)
        }
        opened => Ok(opened?),
    }
}
