//! A place that may be written: inside the workspace, and nothing that a human's own tools run later.

use crate::{
    CallCtx, Error, RelativePath, Result, Workspace, attributes,
    change::{Extent, Rights},
    error::IoContext as _,
    rename_new, reserved,
};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use std::{
    ffi::OsString,
    fs::File,
    io::{self, Read},
    os::fd::{AsFd as _, OwnedFd},
    path::{Component, Path},
};
use uuid::Uuid;

/// An open directory and a name in it.
pub struct Target {
    /// The directory.
    pub directory: OwnedFd,
    /// The name.
    pub name: OsString,
    /// Where it really is, links resolved.
    pub path: RelativePath,
}

impl Target {
    /// The entry itself: a link in the last place is not followed.
    ///
    /// # Errors
    /// `Denied` for what is reserved, otherwise what the kernel says.
    pub fn entry(workspace: &Workspace, path: &RelativePath) -> Result<Self> {
        let target = Self::unchecked(workspace, path)?;
        reserved::check(workspace, &target.path)?;
        Ok(target)
    }

    /// The same, also if it is reserved: for who knows what is written there.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn unchecked(workspace: &Workspace, path: &RelativePath) -> Result<Self> {
        let (parent, name) = path.split()?;
        let directory = workspace.open_directory(&parent)?;
        let real = workspace
            .locate(directory.as_fd())
            .ok_or_else(|| Error::conflict(format!("`{parent}` was moved out of the workspace")))?;
        let path = real.join(name);
        Ok(Self { directory, name: name.as_os_str().to_owned(), path })
    }

    /// The file to write: a link in the last place is followed, if it stays inside.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn file(workspace: &Workspace, path: &RelativePath) -> Result<Self> {
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
    ///
    /// # Errors
    /// What the kernel says.
    pub fn stat(&self) -> Result<Option<rustix::fs::Stat>> {
        match rustix::fs::statat(&self.directory, &self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(rustix::io::Errno::NOENT) => Ok(None),
            Err(err) => Err(err).on(&self.path),
        }
    }

    /// Opens the regular file that is there; `None` if nothing is.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn open(&self) -> Result<Option<File>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        match rustix::fs::openat(&self.directory, &self.name, flags, Mode::empty()) {
            Ok(fd) => regular(fd, &self.path).map(Some),
            Err(rustix::io::Errno::NOENT) => Ok(None),
            Err(err) => Err(err).on(&self.path),
        }
    }

    /// Lets the daemon keep what is there, before it is changed with all that it holds.
    ///
    /// # Errors
    /// What the daemon says; then nothing may be changed.
    pub async fn keep_before(&self, ctx: &CallCtx) -> Result<()> {
        self.keep(ctx, Extent::Tree).await
    }

    /// The same for who changes the entry alone, also if it is a directory.
    ///
    /// # Errors
    /// What the daemon says; then nothing may be changed.
    pub async fn keep_entry_before(&self, ctx: &CallCtx) -> Result<()> {
        self.keep(ctx, Extent::Entry).await
    }

    async fn keep(&self, ctx: &CallCtx, extent: Extent) -> Result<()> {
        let file = self.open_if_file()?;
        ctx.keep_before(&self.path.to_string(), file.map(OwnedFd::from), extent).await
    }

    /// As [`Target::open`], and `None` also if something else is there.
    fn open_if_file(&self) -> Result<Option<File>> {
        match self.stat()? {
            Some(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => self.open(),
            _ => Ok(None),
        }
    }

    /// A name beside this one that nobody uses, for something that becomes this one once it is whole.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn scratch(&self) -> Result<Self> {
        // Not the process's number: it is the same in each sandbox, and one that was killed left its scratches.
        let name = OsString::from(format!(".skynet-{}.tmp", Uuid::new_v4().as_simple()));
        let path = self.path.split()?.0.join(Path::new(&name));
        Ok(Self { directory: self.directory.try_clone().on(&self.path)?, name, path })
    }

    /// Gives this scratch its final name, atomically and durably.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn settle(&self, place: &Self, existing: Existing) -> Result<()> {
        let (from, to) = (self.directory.as_fd(), place.directory.as_fd());
        match existing {
            Existing::Replace => rustix::fs::renameat(from, &self.name, to, &place.name),
            Existing::Fail => rename_new(from, &self.name, to, &place.name),
        }
        .and_then(|()| rustix::fs::fsync(&place.directory))
        .on(&place.path)
    }

    /// Replaces the file by `content`, atomically and durably, with these permissions. What else there is of a file that
    /// is replaced, such as its group and its access list, the new one takes over.
    ///
    /// # Errors
    /// What the kernel says; `Denied` if an access list would be lost.
    pub fn replace(&self, content: &[u8], mode: Mode, existing: Existing) -> Result<()> {
        self.replace_from(&mut &*content, mode, existing, &Audience::Present).map(drop)
    }

    /// Whether the file that is there could be replaced, as far as its access list is concerned: one that can be given to no
    /// new file is found before anything is changed.
    ///
    /// # Errors
    /// As [`Target::replace`].
    pub fn check_replace(&self) -> Result<()> {
        let Some(old) = self.open_if_file()? else { return Ok(()) };
        if !attributes::has_list(&old).on(&self.path)? {
            return Ok(());
        }
        let (scratch, new) = self.make_scratch()?;
        let carried = attributes::carry_over(&old, &new, Mode::RUSR | Mode::WUSR, &self.path);
        // Best effort: it is empty.
        let _ = rustix::fs::unlinkat(&scratch.directory, &scratch.name, AtFlags::empty());
        carried
    }

    /// A new file under a name that nobody uses, for its owner alone.
    fn make_scratch(&self) -> Result<(Self, File)> {
        let scratch = self.scratch()?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let fd = rustix::fs::openat(&scratch.directory, &scratch.name, flags, Mode::RUSR | Mode::WUSR)
            .on(&self.path)?;
        Ok((scratch, File::from(fd)))
    }

    /// [`Target::replace`] with what is read. Returns what the file really has then, which may be less than was asked for.
    ///
    /// # Errors
    /// As [`Target::replace`].
    pub fn replace_from(
        &self,
        content: &mut impl Read,
        mode: Mode,
        existing: Existing,
        audience: &Audience,
    ) -> Result<Made> {
        let old = match existing {
            Existing::Replace => self.open_if_file()?,
            Existing::Fail => None,
        };
        let (scratch, mut file) = self.make_scratch()?;
        let mut write = || -> Result<Made> {
            io::copy(content, &mut file).on(&self.path)?;
            // Of somebody else's content nobody is made a user.
            let mode = mode - (Mode::SUID | Mode::SGID);
            match (&old, audience) {
                (Some(old), Audience::Present) => attributes::carry_over(old, &file, mode, &self.path)?,
                // Until it is known whom it is for now.
                (Some(old), Audience::Earlier(_)) => {
                    attributes::carry_over(old, &file, Mode::RUSR | Mode::WUSR, &self.path)?;
                }
                (None, _) => audience.give_back(&file),
            }
            let made = match (&old, audience) {
                (Some(_), Audience::Present) => Made::of(&file).on(&self.path)?,
                (None, _) | (_, Audience::Earlier(_)) => audience.settle(&file, mode).on(&self.path)?,
            };
            file.sync_all().on(&self.path)?;
            Ok(made)
        };
        let made = write();
        made.and_then(|made| scratch.settle(self, existing).map(|()| made)).inspect_err(|_| {
            // Best effort: the error that counts is the first one.
            let _ = rustix::fs::unlinkat(&scratch.directory, &scratch.name, AtFlags::empty());
        })
    }
}

/// Whom the permissions of what is written are for, besides its owner and everybody.
#[derive(Clone, Debug)]
pub enum Audience {
    /// For those whom the file that is replaced is for, or a new one.
    Present,
    /// For those whom a file was for that was there earlier; `None` if nobody can tell. Where what is written is not for the
    /// same, nobody may more than before.
    Earlier(Option<Rights>),
}

impl Audience {
    /// Tries to make something new be for the same.
    pub fn give_back(&self, new: &File) {
        match self {
            Self::Earlier(Some(wanted)) => attributes::give_back(new, wanted),
            Self::Earlier(None) | Self::Present => {}
        }
    }

    /// Gives an entry its mode, or less; returns what it has then.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn settle(&self, file: &File, mode: Mode) -> rustix::io::Result<Made> {
        match self {
            Self::Present => rustix::fs::fchmod(file, mode)?,
            Self::Earlier(wanted) => attributes::set_mode(file, mode, wanted.as_ref())?,
        }
        Made::of(file)
    }
}

/// What an entry has that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// Its permissions.
    pub mode: u32,
    /// Whom they are for.
    pub rights: Option<Rights>,
}

impl Made {
    fn of(file: &File) -> rustix::io::Result<Self> {
        let mode = rustix::fs::fstat(file)?.st_mode & 0o7777;
        Ok(Self { mode, rights: attributes::rights_of(file) })
    }
}

/// Makes the missing directories above an entry, each kept before.
///
/// # Errors
/// What the daemon or the kernel says.
pub async fn make_parents(ctx: &CallCtx, workspace: &Workspace, path: &RelativePath) -> Result<()> {
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
        target.keep_entry_before(ctx).await?;
        let mode = Mode::RWXU | Mode::RWXG | Mode::RWXO;
        match rustix::fs::mkdirat(&target.directory, &target.name, mode) {
            // Somebody else made it meanwhile.
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(err) => return Err(err).on(&made),
        }
    }
    Ok(())
}

/// The permissions of a file that is new (open(2), umask(2)).
#[must_use]
pub fn new_file_mode() -> Mode {
    Mode::from_raw_mode(0o666 & !umask())
}

/// Read from /proc, because umask(2) can only be read by changing it.
fn umask() -> u32 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("Umask:")).map(str::trim);
    mask.and_then(|mask| u32::from_str_radix(mask, 8).ok()).unwrap_or(0o077)
}

/// What to do with an entry that is in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// It is replaced.
    Replace,
    /// It stays.
    Fail,
}

/// Opens a regular file for reading, following links that stay inside. Never blocks on a FIFO.
///
/// # Errors
/// `InvalidInput` when it is something else, otherwise what the kernel says.
pub fn open_regular(workspace: &Workspace, path: &RelativePath) -> Result<File> {
    regular(workspace.open_at(path, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty())?, path)
}

/// The regular file behind a descriptor.
///
/// # Errors
/// `InvalidInput` when it is something else.
pub fn regular(fd: OwnedFd, path: &RelativePath) -> Result<File> {
    let stat = rustix::fs::fstat(&fd).on(path)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok(File::from(fd)),
        FileType::Directory => {
            Err(Error::invalid_input(format!("`{path}` is a directory; use `files_list`")))
        }
        other => Err(Error::invalid_input(format!("`{path}` is no regular file but a {other:?}"))),
    }
}
