//! What tells a directory with all it holds from any other state of it: the names below it, and what stat(2) says of each.
//! Contents are not read. Whatever changes one, or its mode or attributes, changes its time of last status change, which
//! nobody can set; to give the directory itself another name changes that of nothing in it.

use crate::{Error, Result, error::IoContext as _, target::Target};
use rustix::{
    fs::{AtFlags, Dir, FileType, Mode, OFlags},
    io::Errno,
};
use sha2::{Digest as _, Sha256};
use std::{
    ffi::OsStr,
    os::{fd::OwnedFd, unix::ffi::OsStrExt as _},
};

/// What is looked at for one call must not take longer than what it does.
const MOST_ENTRIES: usize = 20_000;

/// Each level holds a descriptor and a frame of the stack.
const MOST_LEVELS: usize = 100;

/// SHA-256, lower-case hexadecimal.
///
/// # Errors
/// What the kernel says; `QuotaExceeded` for one that holds too much.
pub fn seal(directory: &Target) -> Result<String> {
    let path = &directory.path;
    let found = rustix::fs::statat(&directory.directory, &directory.name, AtFlags::SYMLINK_NOFOLLOW);
    let stat = found.on(path)?;
    let mut seal = Seal { hash: Sha256::new(), entries: 0 };
    // Its own times change with its name.
    let own = format!("{} {:o} {} {}\n", stat.st_ino, stat.st_mode, stat.st_uid, stat.st_gid);
    seal.hash.update(own);
    match seal.enter(&directory.directory, &directory.name, 0) {
        Ok(()) => Ok(crate::canonical::hex(&seal.hash.finalize())),
        Err(Errno::DQUOT) => Err(Error::quota_exceeded(format!(
            "`{path}` holds more than {MOST_ENTRIES} entries or {MOST_LEVELS} levels, which are too many to compare"
        ))),
        Err(err) => Err(err).on(path),
    }
}

struct Seal {
    hash: Sha256,
    entries: usize,
}

impl Seal {
    /// `DQUOT` if it is too much.
    fn enter(&mut self, parent: &OwnedFd, name: &OsStr, level: usize) -> rustix::io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = rustix::fs::openat(parent, name, flags, Mode::empty())?;
        let mut names = Vec::new();
        for entry in Dir::read_from(&directory)? {
            let name = entry?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.push(name);
            }
            if self.entries + names.len() > MOST_ENTRIES {
                return Err(Errno::DQUOT);
            }
        }
        if level == MOST_LEVELS {
            return Err(Errno::DQUOT);
        }
        self.entries += names.len();
        names.sort_unstable();
        for name in names {
            let name = OsStr::from_bytes(&name);
            let stat = rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
            // No name holds a slash, so none is mistaken for what follows it.
            self.hash.update(name.as_bytes());
            self.hash.update(format!(
                "/{level} {} {:o} {} {} {} {}.{} {}.{}\n",
                stat.st_ino,
                stat.st_mode,
                stat.st_uid,
                stat.st_gid,
                stat.st_size,
                stat.st_mtime,
                stat.st_mtime_nsec,
                stat.st_ctime,
                stat.st_ctime_nsec,
            ));
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                self.enter(&directory, name, level + 1)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Workspace;
    use std::{fs, os::unix::fs::symlink, path::Path};

    fn seal_of(root: &Path, name: &str) -> Result<String> {
        let workspace = Workspace::open(root).unwrap();
        seal(&Target::unchecked(&workspace, &workspace.relative(name).unwrap()).unwrap())
    }

    #[test]
    fn a_seal_stays_when_the_directory_moves_and_breaks_with_what_is_in_it() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("a/deep")).unwrap();
        fs::create_dir(root.join("other")).unwrap();
        fs::write(root.join("a/deep/f"), "one").unwrap();
        symlink("deep/f", root.join("a/link")).unwrap();
        let before = seal_of(&root, "a").unwrap();
        assert_eq!(seal_of(&root, "a").unwrap(), before);
        fs::rename(root.join("a"), root.join("other/b")).unwrap();
        assert_eq!(seal_of(&root, "other/b").unwrap(), before);
        fs::write(root.join("other/b/deep/new"), "").unwrap();
        let more = seal_of(&root, "other/b").unwrap();
        assert_ne!(more, before);
        fs::remove_file(root.join("other/b/deep/f")).unwrap();
        fs::write(root.join("other/b/deep/f"), "one").unwrap();
        assert_ne!(seal_of(&root, "other/b").unwrap(), more);
        assert_eq!(seal_of(&root, "a").unwrap_err().kind, crate::ErrorKind::NotFound);
    }

    #[test]
    fn what_is_too_deep_has_no_seal() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("a").join("d/".repeat(MOST_LEVELS + 1))).unwrap();
        assert_eq!(seal_of(&root, "a").unwrap_err().kind, crate::ErrorKind::QuotaExceeded);
    }
}
