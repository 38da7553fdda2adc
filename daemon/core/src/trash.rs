//! The trash: `.Trash-<uid>` on the filesystem of what is deleted, in the layout of the freedesktop.org Trash
//! specification 1.0 (`files/` and `info/`), so that desktops show it too.

use crate::{
    Error, RelativePath, Result, Workspace, error::IoContext as _, rename_new, reserved::TRASH_PREFIX,
    target::Target,
};
use rustix::fs::{AtFlags, Dir, Mode, OFlags};
use std::{
    ffi::OsStr,
    fs::File,
    io::{Read as _, Write as _},
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
};

/// One deleted entry.
pub struct Deleted {
    /// What `files_restore` takes.
    pub id: String,
    /// Where it was, relative to the workspace.
    pub path: String,
    /// RFC 3339, UTC.
    pub deleted_at: String,
}

/// An open trash directory.
pub struct Trash {
    /// The directory that holds it.
    home: RelativePath,
    files: OwnedFd,
    info: OwnedFd,
}

impl Trash {
    /// The trash on the filesystem of `target`, made if it is missing: in the topmost directory of the workspace
    /// that is on that filesystem.
    ///
    /// # Errors
    /// `Denied` when it is somebody else's, otherwise what the kernel says.
    pub fn for_target(workspace: &Workspace, target: &Target) -> Result<Self> {
        let device = |path: &RelativePath| workspace.stat(path).map(|stat| stat.st_dev);
        let (mut home, _) = target.path.split()?;
        let wanted = device(&home)?;
        while home != RelativePath::root() {
            let (parent, _) = home.split()?;
            if device(&parent)? != wanted {
                break;
            }
            home = parent;
        }
        Self::open(workspace, &home)
    }

    /// The trash that an id names, and the name in it: `<home>//<name>`, or the name alone for the trash of the
    /// workspace itself.
    ///
    /// # Errors
    /// As [`Trash::for_target`].
    pub fn of_id<'a>(workspace: &Workspace, id: &'a str) -> Result<(Self, &'a str)> {
        match id.rsplit_once("//") {
            Some((home, name)) => Ok((Self::open(workspace, &workspace.relative(home)?)?, name)),
            None => Ok((Self::open(workspace, &RelativePath::root())?, id)),
        }
    }

    /// The id of a name in this trash.
    fn id_of(&self, name: &str) -> String {
        if self.home == RelativePath::root() { name.to_owned() } else { format!("{}//{name}", self.home) }
    }

    fn open(workspace: &Workspace, home: &RelativePath) -> Result<Self> {
        let name = format!("{TRASH_PREFIX}{}", rustix::process::getuid().as_raw());
        let parent = workspace.open_directory(home)?;
        let root = open_own(&parent, &name)?;
        // Git would show the trash as untracked.
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        if let Ok(fd) = rustix::fs::openat(&root, ".gitignore", flags, Mode::RUSR | Mode::WUSR) {
            File::from(fd).write_all(b"*\n").on(".gitignore of the trash")?;
        }
        Ok(Self { home: home.clone(), files: open_own(&root, "files")?, info: open_own(&root, "info")? })
    }

    /// Moves an entry into the trash.
    ///
    /// # Errors
    /// What the kernel says; then it is where it was.
    pub fn take(&self, target: &Target) -> Result<Deleted> {
        let name = target.name.to_string_lossy();
        for number in 1..1000_u32 {
            let id = if number == 1 { name.clone().into_owned() } else { format!("{name}.{number}") };
            if let Some(deleted) = self.take_if_free(&id, target)? {
                return Ok(deleted);
            }
        }
        Err(Error::conflict(format!("the trash holds too many entries named `{name}`")))
    }

    /// The same under this name in the trash and under no other: for what was taken out of it, which others know by that.
    ///
    /// # Errors
    /// `Conflict` when something has that name by now, and otherwise as [`Trash::take`].
    pub fn take_as(&self, id: &str, target: &Target) -> Result<Deleted> {
        check_id(id)?;
        let taken = self.take_if_free(id, target)?;
        taken.ok_or_else(|| Error::conflict(format!("the trash holds something else with the id `{id}`")))
    }

    /// `None` if something has that name in the trash.
    fn take_if_free(&self, id: &str, target: &Target) -> Result<Option<Deleted>> {
        let deleted_at = format!("{:.0}", jiff::Timestamp::now());
        let info = format!("{id}.trashinfo");
        // The info file is made first and exclusively: it reserves the name (specification, "Contents of a
        // trash directory").
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let fd = match rustix::fs::openat(&self.info, &info, flags, Mode::RUSR | Mode::WUSR) {
            Ok(fd) => fd,
            Err(rustix::io::Errno::EXIST) => return Ok(None),
            Err(err) => return Err(err).on(&info),
        };
        let path = target.path.to_string();
        let text = format!("[Trash Info]\nPath={}\nDeletionDate={deleted_at}\n", encode(&path));
        let mut file = File::from(fd);
        let moved = file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).on(&info).and_then(|()| {
            let (from, to) = (target.directory.as_fd(), self.files.as_fd());
            rename_new(from, &target.name, to, OsStr::new(id)).on(&target.path)
        });
        if let Err(err) = moved {
            // Best effort: without its file the info file means nothing.
            let _ = rustix::fs::unlinkat(&self.info, &info, AtFlags::empty());
            return Err(err);
        }
        Ok(Some(Deleted { id: self.id_of(id), path, deleted_at }))
    }

    /// What is in it.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn list(&self) -> Result<Vec<Deleted>> {
        let mut all = Vec::new();
        for entry in Dir::read_from(&self.info).on("the trash")? {
            let entry = entry.on("the trash")?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let Some(id) = name.strip_suffix(".trashinfo") else {
                continue;
            };
            // An info file that cannot be read belongs to somebody else's mistake.
            all.extend(self.find(id).ok());
        }
        all.sort_by(|a, b| b.deleted_at.cmp(&a.deleted_at).then_with(|| a.id.cmp(&b.id)));
        Ok(all)
    }

    /// One entry.
    ///
    /// # Errors
    /// `NotFound` when there is none with that id.
    pub fn find(&self, id: &str) -> Result<Deleted> {
        check_id(id)?;
        let info = format!("{id}.trashinfo");
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.info, &info, flags, Mode::empty())
            .map_err(|_| Error::not_found(format!("the trash holds nothing with the id `{id}`")))?;
        let mut text = String::new();
        File::from(fd).take(64 << 10).read_to_string(&mut text).on(&info)?;
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
        let path =
            field("Path=").ok_or_else(|| Error::not_found(format!("the trash entry `{id}` is damaged")))?;
        Ok(Deleted {
            id: id.to_owned(),
            path: decode(&path),
            deleted_at: field("DeletionDate=").unwrap_or_default(),
        })
    }

    /// Where an entry lies in the trash.
    ///
    /// # Errors
    /// `InvalidInput` for what is no id.
    pub fn entry(&self, id: &str) -> Result<Target> {
        check_id(id)?;
        let directory = self.files.try_clone().on("the trash")?;
        let root = format!("{TRASH_PREFIX}{}", rustix::process::getuid().as_raw());
        let path = self.home.join(Path::new(&root)).join(Path::new("files")).join(Path::new(id));
        Ok(Target { directory, name: id.into(), path })
    }

    /// Moves an entry back.
    ///
    /// # Errors
    /// What the kernel says; then it is where it was.
    pub fn put_back(&self, id: &str, target: &Target) -> Result<()> {
        let (from, to) = (self.files.as_fd(), target.directory.as_fd());
        rename_new(from, OsStr::new(id), to, &target.name).on(&target.path)?;
        // The entry is back; a left-over info file is only clutter.
        let _ = rustix::fs::unlinkat(&self.info, format!("{id}.trashinfo"), AtFlags::empty());
        Ok(())
    }
}

/// It is one name.
fn check_id(id: &str) -> Result<()> {
    if id.is_empty() || id == "." || id == ".." || id.contains('/') || id.contains('\0') {
        return Err(Error::invalid_input(format!("`{id}` is no id of the trash")));
    }
    Ok(())
}

/// Opens a directory that this user owns, made if it is missing.
fn open_own(parent: &OwnedFd, name: &str) -> Result<OwnedFd> {
    match rustix::fs::mkdirat(parent, name, Mode::RWXU) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => {}
        Err(err) => return Err(err).on(name),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(parent, Path::new(name), flags, Mode::empty()).on(name)?;
    let owner = rustix::fs::fstat(fd.as_fd()).on(name)?.st_uid;
    if owner != rustix::process::getuid().as_raw() {
        return Err(Error::denied(format!("`{name}` belongs to another user, so it cannot serve as trash")));
    }
    Ok(fd)
}

/// Percent-encoding of what would break a line (specification: as in a URL).
fn encode(path: &str) -> String {
    path.chars().fold(String::new(), |mut text, character| {
        match character {
            '%' => text.push_str("%25"),
            '\n' => text.push_str("%0A"),
            '\r' => text.push_str("%0D"),
            other => text.push(other),
        }
        text
    })
}

fn decode(text: &str) -> String {
    text.replace("%0D", "\r").replace("%0A", "\n").replace("%25", "%")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_again_has_the_same_id_or_stays() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap();
        let workspace = Workspace::open(&root).unwrap();
        let target = || Target::unchecked(&workspace, &workspace.relative("a").unwrap()).unwrap();
        let trash = Trash::for_target(&workspace, &target()).unwrap();
        for content in ["first", "second"] {
            std::fs::write(root.join("a"), content).unwrap();
            trash.take(&target()).unwrap();
        }
        trash.put_back("a.2", &target()).unwrap();
        // Something else has that one.
        let refused = trash.take_as("a", &target()).err().unwrap();
        assert_eq!(refused.kind, crate::ErrorKind::Conflict);
        assert_eq!(std::fs::read_to_string(root.join("a")).unwrap(), "second");
        assert_eq!(trash.take_as("a.2", &target()).unwrap().id, "a.2");
        assert!(!root.join("a").exists());
        trash.put_back("a", &target()).unwrap();
        assert_eq!(std::fs::read_to_string(root.join("a")).unwrap(), "first");
    }

    #[test]
    fn names_survive_their_encoding() {
        for name in ["plain", "a%0Ab", "line\nbreak", "100%\r"] {
            assert_eq!(decode(&encode(name)), name);
        }
    }
}
