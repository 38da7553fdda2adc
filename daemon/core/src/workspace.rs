//! The directory a caller works in, held as a descriptor. Nothing outside it can be named: every path is
//! resolved by the kernel beneath that descriptor (openat2(2), `RESOLVE_BENEATH`).

use crate::{Error, Result, error::IoContext as _};
use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, Stat, StatxFlags};
use std::{
    fmt, io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Component, Path, PathBuf},
};

/// An open workspace.
#[derive(Debug)]
pub struct Workspace {
    root: OwnedFd,
    path: PathBuf,
    place: (u64, u64),
}

/// A path as a caller wrote it, relative to the workspace and free of NUL. It may contain `..` and links:
/// whether it stays inside is for the kernel to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelativePath(PathBuf);

impl RelativePath {
    /// The workspace itself.
    #[must_use]
    pub fn root() -> Self {
        Self(PathBuf::from("."))
    }

    /// As a path.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        &self.0
    }

    /// The directory that holds it and its own name.
    ///
    /// # Errors
    /// `InvalidInput` for the workspace itself and for paths that end in `..`.
    pub fn split(&self) -> Result<(Self, &Path)> {
        let name = match self.0.components().next_back() {
            Some(Component::Normal(name)) => Path::new(name),
            _ => {
                return Err(Error::invalid_input(format!(
                    "`{self}` does not name an entry of the workspace"
                )));
            }
        };
        let parent = match self.0.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => Self(parent.to_owned()),
            _ => Self::root(),
        };
        Ok((parent, name))
    }

    /// `self/name`.
    #[must_use]
    pub fn join(&self, name: &Path) -> Self {
        if self.0 == Path::new(".") { Self(name.to_owned()) } else { Self(self.0.join(name)) }
    }
}

impl fmt::Display for RelativePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

impl Workspace {
    /// Opens the directory at `path` as the current user.
    ///
    /// # Errors
    /// `InvalidInput` when it is not an absolute path of a directory, otherwise what the kernel says.
    pub fn open(path: &Path) -> Result<Self> {
        if !path.is_absolute() {
            return Err(Error::invalid_input(format!("the workspace `{}` is not absolute", path.display())));
        }
        let root = rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .on(path.display())?;
        Self::from_descriptor(root)
    }

    /// The workspace behind an `O_PATH` descriptor that somebody else opened.
    ///
    /// # Errors
    /// `Unavailable` when /proc cannot say where it is, or what the kernel says.
    pub fn from_descriptor(root: OwnedFd) -> Result<Self> {
        let path = path_of(root.as_fd())
            .map_err(|err| Error::unavailable("/proc is needed to locate the workspace").with_source(err))?;
        let place = place_of(root.as_fd()).on(path.display())?;
        Ok(Self { root, path, place })
    }

    /// Its device and inode: another workspace of this path is another one.
    #[must_use]
    pub const fn place(&self) -> (u64, u64) {
        self.place
    }

    /// Where it was when it was opened; for messages and for telling absolute paths inside it.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The descriptor.
    #[must_use]
    pub fn as_descriptor(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Takes a caller's path: relative to the workspace, or absolute below it.
    ///
    /// # Errors
    /// `InvalidInput` for an empty path or one with NUL, `Denied` for an absolute path elsewhere.
    pub fn relative(&self, path: &str) -> Result<RelativePath> {
        if path.is_empty() {
            return Err(Error::invalid_input("the path is empty; use `.` for the workspace itself"));
        }
        if path.contains('\0') {
            return Err(Error::invalid_input("the path contains a NUL character"));
        }
        let path = Path::new(path);
        let relative = if path.is_absolute() {
            path.strip_prefix(&self.path).map_err(|_| {
                Error::denied(format!(
                    "`{}` is outside of the workspace `{}`",
                    path.display(),
                    self.path.display()
                ))
            })?
        } else {
            path
        };
        // "./a//b/" and "a/b" are the same place; `..` stays, for the kernel to judge.
        let clean: PathBuf =
            relative.components().filter(|part| !matches!(part, Component::CurDir)).collect();
        Ok(if clean.as_os_str().is_empty() { RelativePath::root() } else { RelativePath(clean) })
    }

    /// Opens beneath the workspace, following links that stay inside it.
    ///
    /// # Errors
    /// `Denied` when it leads out, otherwise what the kernel says.
    pub fn open_at(&self, path: &RelativePath, flags: OFlags, mode: Mode) -> Result<OwnedFd> {
        self.open_raw(path, flags, mode).on(path)
    }

    /// Like [`Workspace::open_at`], with the bare error for callers that branch on it.
    ///
    /// # Errors
    /// The errno; `EXDEV` when the path leads out.
    pub fn open_raw(&self, path: &RelativePath, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        loop {
            match rustix::fs::openat2(&self.root, path.as_path(), flags | OFlags::CLOEXEC, mode, resolve) {
                Ok(fd) => return Ok(fd),
                // A rename elsewhere raced with `..`: the kernel asks to try again (openat2(2)).
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
                Err(err) => return Err(err.into()),
            }
        }
    }

    /// Opens a directory beneath the workspace for listing and for `*at` calls.
    ///
    /// # Errors
    /// As [`Workspace::open_at`].
    pub fn open_directory(&self, path: &RelativePath) -> Result<OwnedFd> {
        self.open_at(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
    }

    /// Stats an entry without following a link in its last component.
    ///
    /// # Errors
    /// As [`Workspace::open_at`].
    pub fn stat(&self, path: &RelativePath) -> Result<Stat> {
        let fd = self.open_at(path, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty())?;
        rustix::fs::statat(&fd, "", AtFlags::EMPTY_PATH).on(path)
    }

    /// Whether `path` is inside, wherever its links lead. What does not exist yet is inside if its directory is.
    #[must_use]
    pub fn holds(&self, path: &RelativePath) -> bool {
        let mut path = path.clone();
        loop {
            match self.open_raw(&path, OFlags::PATH, Mode::empty()) {
                Ok(_) => return true,
                Err(err) if err.kind() == io::ErrorKind::NotFound => {}
                Err(_) => return false,
            }
            // A link to what does not exist: who writes to it decides where that is.
            let is_link = self.open_raw(&path, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty()).is_ok();
            path = match path.split() {
                Ok((parent, _)) if !is_link => parent,
                _ => return false,
            };
        }
    }

    /// Where an open descriptor is now, relative to the workspace; `None` if it was moved out of it.
    #[must_use]
    pub fn locate(&self, fd: BorrowedFd<'_>) -> Option<RelativePath> {
        let root = path_of(self.root.as_fd()).ok()?;
        let found = path_of(fd).ok()?;
        let below = found.strip_prefix(root).ok()?;
        Some(if below.as_os_str().is_empty() { RelativePath::root() } else { RelativePath(below.to_owned()) })
    }
}

/// Device and inode of what is open. Its filesystem is not asked again: it may be a user's own, and never answer. Where it
/// answers nobody but its user (fuse(4)), the kernel's own number of the inode stands for that (proc_pid_fdinfo(5)).
///
/// # Errors
/// What statx(2) says.
pub fn place_of(open: BorrowedFd<'_>) -> io::Result<(u64, u64)> {
    use std::os::fd::AsRawFd as _;
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    let (stat, inode) = match rustix::fs::statx(open, "", flags, StatxFlags::INO) {
        Ok(stat) => (stat, stat.stx_ino),
        Err(rustix::io::Errno::ACCESS) => {
            let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", open.as_raw_fd()))?;
            let inode = info.lines().find_map(|line| line.strip_prefix("ino:")?.trim().parse().ok());
            // Of what needs no answer there is the device.
            let stat = rustix::fs::statx(open, "", flags, StatxFlags::empty())?;
            (stat, inode.ok_or(io::ErrorKind::Unsupported)?)
        }
        Err(err) => return Err(err.into()),
    };
    Ok((rustix::fs::makedev(stat.stx_dev_major, stat.stx_dev_minor), inode))
}

fn path_of(fd: BorrowedFd<'_>) -> io::Result<PathBuf> {
    use std::os::fd::AsRawFd as _;
    std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;
    use proptest::prelude::*;
    use std::{fs, os::unix::fs::symlink};

    fn sample() -> (tempfile::TempDir, Workspace) {
        let outer = tempfile::tempdir().unwrap();
        fs::write(outer.path().join("secret"), "s").unwrap();
        let inner = outer.path().join("work");
        fs::create_dir_all(inner.join("dir")).unwrap();
        fs::write(inner.join("dir/file"), "f").unwrap();
        symlink("dir/file", inner.join("inside")).unwrap();
        symlink("../secret", inner.join("outside")).unwrap();
        symlink("/etc/passwd", inner.join("absolute")).unwrap();
        let workspace = Workspace::open(&inner).unwrap();
        (outer, workspace)
    }

    #[test]
    fn only_paths_inside_open() {
        let (_keep, workspace) = sample();
        for (path, expected) in [
            ("dir/file", None),
            ("inside", None),
            ("dir/../dir/./file", None),
            ("outside", Some(ErrorKind::Denied)),
            ("absolute", Some(ErrorKind::Denied)),
            ("../secret", Some(ErrorKind::Denied)),
            ("dir/../../secret", Some(ErrorKind::Denied)),
            ("missing", Some(ErrorKind::NotFound)),
        ] {
            let path = workspace.relative(path).unwrap();
            let opened = workspace.open_at(&path, OFlags::RDONLY, Mode::empty());
            assert_eq!(opened.err().map(|err| err.kind), expected, "{path}");
        }
    }

    #[test]
    fn absolute_paths_below_the_workspace_are_relative_to_it() {
        let (_keep, workspace) = sample();
        let absolute = workspace.path().join("dir/file");
        assert_eq!(workspace.relative(absolute.to_str().unwrap()).unwrap().to_string(), "dir/file");
        assert_eq!(workspace.relative("/etc/passwd").unwrap_err().kind, ErrorKind::Denied);
        assert_eq!(workspace.relative("a\0b").unwrap_err().kind, ErrorKind::InvalidInput);
    }

    #[test]
    fn what_is_held_lies_inside_or_can_be_made_there() {
        let (_keep, workspace) = sample();
        symlink("../new", workspace.path().join("dangling")).unwrap();
        for (path, is_held) in [
            (".", true),
            ("dir/file", true),
            ("inside", true),
            ("new", true),
            ("new/deep/file", true),
            ("dir/../new", true),
            ("dir/file/new", false),
            ("dangling", false),
            ("outside", false),
            ("absolute", false),
            ("..", false),
            ("../secret", false),
            ("../new", false),
            ("new/../../secret", false),
        ] {
            assert_eq!(workspace.holds(&workspace.relative(path).unwrap()), is_held, "{path}");
        }
    }

    proptest! {
        #[test]
        fn nothing_opened_lies_outside(parts in prop::collection::vec("(\\.\\.|\\.|dir|file|inside|outside|absolute|proc)", 1..8)) {
            let (_keep, workspace) = sample();
            let path = workspace.relative(&parts.join("/")).unwrap();
            if let Ok(fd) = workspace.open_at(&path, OFlags::PATH, Mode::empty()) {
                prop_assert!(workspace.locate(fd.as_fd()).is_some(), "{}", path);
            }
        }
    }
}
