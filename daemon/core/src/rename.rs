//! A rename that replaces nothing, also where the kernel cannot be told so: on file servers and on many filesystems of a
//! user's own (rename(2), `RENAME_NOREPLACE`). Never takes the place of anything that somebody else put there.

use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, RenameFlags},
    io::{Errno, Result},
};
use std::{ffi::OsStr, os::fd::BorrowedFd};

/// Gives the entry `from` the name `to`, which nothing may have.
///
/// # Errors
/// `EXIST` if something has it, otherwise what the kernel says; then all is as it was.
pub fn rename_new(
    from_directory: BorrowedFd<'_>,
    from: &OsStr,
    to_directory: BorrowedFd<'_>,
    to: &OsStr,
) -> Result<()> {
    let flags = RenameFlags::NOREPLACE;
    match rustix::fs::renameat_with(from_directory, from, to_directory, to, flags) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
            Rename { from_directory, from, to_directory, to }.in_steps()
        }
        renamed => renamed,
    }
}

/// One that the kernel does not make at once.
#[derive(Clone, Copy)]
struct Rename<'a> {
    from_directory: BorrowedFd<'a>,
    from: &'a OsStr,
    to_directory: BorrowedFd<'a>,
    to: &'a OsStr,
}

impl Rename<'_> {
    fn in_steps(self) -> Result<()> {
        let stat = rustix::fs::statat(self.from_directory, self.from, AtFlags::SYMLINK_NOFOLLOW)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::Directory {
            return self.over_an_empty_directory();
        }
        match self.by_link() {
            // Not every filesystem gives a file two names, nor every file to everybody (proc_sys_fs(5), `protected_hardlinks`).
            Err(Errno::PERM | Errno::ACCESS | Errno::NOTSUP | Errno::NOSYS | Errno::MLINK) => match kind {
                FileType::RegularFile => self.over_an_empty_file(),
                FileType::Symlink => self.by_a_second_link(),
                _ => Err(Errno::NOTSUP),
            },
            done => done,
        }
    }

    /// A second name is never given over another one (link(2), `EEXIST`), and a link is not followed.
    fn by_link(self) -> Result<()> {
        rustix::fs::linkat(self.from_directory, self.from, self.to_directory, self.to, AtFlags::empty())?;
        let place = |directory: BorrowedFd<'_>, name: &OsStr| -> Result<(u64, u64)> {
            let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
            Ok((stat.st_dev, stat.st_ino))
        };
        // Somebody may have saved another file under the old name meanwhile, which is not to go.
        if place(self.from_directory, self.from) != place(self.to_directory, self.to) {
            // Best effort: the old name has what counts.
            let _ = rustix::fs::unlinkat(self.to_directory, self.to, AtFlags::empty());
            return Err(Errno::BUSY);
        }
        self.leave_the_old_name()
    }

    /// For a symbolic link, which is what it says.
    fn by_a_second_link(self) -> Result<()> {
        let target = rustix::fs::readlinkat(self.from_directory, self.from, Vec::new())?;
        rustix::fs::symlinkat(target, self.to_directory, self.to)?;
        self.leave_the_old_name()
    }

    fn leave_the_old_name(self) -> Result<()> {
        rustix::fs::unlinkat(self.from_directory, self.from, AtFlags::empty()).inspect_err(|_| {
            // Best effort: the error that counts is the first one.
            let _ = rustix::fs::unlinkat(self.to_directory, self.to, AtFlags::empty());
        })
    }

    /// A directory takes the place of an empty one, and of nothing else (rename(2)).
    fn over_an_empty_directory(self) -> Result<()> {
        rustix::fs::mkdirat(self.to_directory, self.to, Mode::RWXU)?;
        self.replace().map_err(|err| {
            // One in which there is something is somebody else's by now, and stays.
            let _ = rustix::fs::unlinkat(self.to_directory, self.to, AtFlags::REMOVEDIR);
            if matches!(err, Errno::NOTEMPTY | Errno::NOTDIR) { Errno::EXIST } else { err }
        })
    }

    /// The last resort: a file that was just made here, and that nobody has written to or put another one in the place of.
    fn over_an_empty_file(self) -> Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = rustix::fs::openat(self.to_directory, self.to, flags, Mode::RUSR | Mode::WUSR)?;
        let own = rustix::fs::fstat(&made)?;
        let is_own = || {
            let there = rustix::fs::statat(self.to_directory, self.to, AtFlags::SYMLINK_NOFOLLOW);
            there
                .is_ok_and(|there| (there.st_dev, there.st_ino, there.st_size) == (own.st_dev, own.st_ino, 0))
        };
        if !is_own() {
            return Err(Errno::EXIST);
        }
        self.replace().inspect_err(|_| {
            if is_own() {
                // Best effort: the error that counts is the first one.
                let _ = rustix::fs::unlinkat(self.to_directory, self.to, AtFlags::empty());
            }
        })
    }

    fn replace(self) -> Result<()> {
        rustix::fs::renameat(self.from_directory, self.from, self.to_directory, self.to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        fs::{self, File},
        os::{fd::AsFd as _, unix::fs::symlink},
        path::Path,
    };

    fn rename<'a>(at: &'a File, from: &'a str, to: &'a str) -> Rename<'a> {
        let at = at.as_fd();
        Rename { from_directory: at, from: OsStr::new(from), to_directory: at, to: OsStr::new(to) }
    }

    fn sample(root: &Path) -> File {
        fs::write(root.join("file"), "content").unwrap();
        fs::create_dir(root.join("directory")).unwrap();
        fs::write(root.join("directory/inner"), "inner").unwrap();
        symlink("nowhere", root.join("link")).unwrap();
        File::open(root).unwrap()
    }

    #[test]
    fn what_is_renamed_in_steps_has_its_new_name_alone() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let open = sample(root);
        for name in ["file", "directory", "link"] {
            rename(&open, name, &format!("new-{name}")).in_steps().unwrap();
            assert!(root.join(name).symlink_metadata().is_err(), "{name}");
        }
        assert_eq!(fs::read_to_string(root.join("new-file")).unwrap(), "content");
        assert_eq!(fs::read_to_string(root.join("new-directory/inner")).unwrap(), "inner");
        assert_eq!(fs::read_link(root.join("new-link")).unwrap(), Path::new("nowhere"));
    }

    #[test]
    fn nothing_is_replaced_in_steps() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let open = sample(root);
        fs::write(root.join("other"), "other").unwrap();
        fs::create_dir(root.join("empty")).unwrap();
        symlink("other", root.join("to-other")).unwrap();
        for from in ["file", "directory", "link"] {
            for to in ["other", "empty", "to-other"] {
                assert_eq!(rename(&open, from, to).in_steps(), Err(Errno::EXIST), "{from} {to}");
                assert!(root.join(from).symlink_metadata().is_ok(), "{from} {to}");
            }
        }
        assert_eq!(fs::read_to_string(root.join("other")).unwrap(), "other");
        assert!(root.join("empty").is_dir());
        assert_eq!(fs::read_link(root.join("to-other")).unwrap(), Path::new("other"));
        // A directory does not go into itself, and nothing stays of the attempt.
        assert_eq!(rename(&open, "directory", "directory/self").in_steps(), Err(Errno::INVAL));
        assert_eq!(fs::read_dir(root.join("directory")).unwrap().count(), 1);
    }

    #[test]
    fn without_second_names_nothing_is_replaced_either() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let open = sample(root);
        let rename = |from, to| rename(&open, from, to);
        fs::write(root.join("other"), "").unwrap();
        assert_eq!(rename("file", "other").over_an_empty_file(), Err(Errno::EXIST));
        assert_eq!(rename("link", "other").by_a_second_link(), Err(Errno::EXIST));
        assert_eq!(fs::read_to_string(root.join("file")).unwrap(), "content");
        assert_eq!(rename("missing", "new").over_an_empty_file(), Err(Errno::NOENT));
        assert!(!root.join("new").exists());
        rename("file", "new").over_an_empty_file().unwrap();
        rename("link", "new-link").by_a_second_link().unwrap();
        assert_eq!(fs::read_to_string(root.join("new")).unwrap(), "content");
        assert_eq!(fs::read_link(root.join("new-link")).unwrap(), Path::new("nowhere"));
        assert!(!root.join("file").exists() && root.join("link").symlink_metadata().is_err());
    }
}
