//! What other programs of the user run or trust, such as the hooks of a repository, is not for a command to write.
//!
//! What is there is mounted read-only onto itself, and each directory on the way to it onto itself, so that none can be
//! renamed away. What a command leaves under such a name is renamed before anyone is told that the command ended.

use super::{
    Layer as _, Refusal,
    view::{Place, pin, stat},
};
use skynet_core::reserved;
use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs, io,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

/// Within a repository: programs that Git runs, and what names them (gitrepository-layout(5), git-config(1)).
const IN_REPOSITORY: [&str; 4] = ["config", "config.worktree", "hooks", "modules"];

const REPOSITORY: &str = ".git";

/// What was there before the command.
pub(super) struct Guarded(BTreeSet<(PathBuf, u64)>);

impl Guarded {
    /// Finds it, and makes it read-only for this slot.
    pub(super) fn pin(place: &Place) -> Result<Self, Refusal> {
        let found = find(&place.workspace).layer("protected names")?;
        let mut pinned = BTreeSet::from([place.workspace.clone()]);
        for (path, _) in &found {
            let above: Vec<&Path> =
                path.ancestors().skip(1).take_while(|above| !pinned.contains(*above)).collect();
            for directory in above.into_iter().rev() {
                pin(directory, 0).layer("protected names")?;
                pinned.insert(directory.to_owned());
            }
            // A link cannot be mounted over. One that is replaced is found by its number.
            if path.symlink_metadata().is_ok_and(|metadata| !metadata.is_symlink()) {
                pin(path, libc::MOUNT_ATTR_RDONLY).layer("protected names")?;
            }
        }
        Ok(Self(found))
    }

    /// Renames what the command left; the paths it had, relative to the workspace.
    pub(super) fn settle(self, place: &Place) -> Result<Vec<Vec<u8>>, Refusal> {
        let mut renamed = Vec::new();
        // Renaming a directory hides what is in it, so it is enough to look once: the outer comes first.
        for (path, _) in find(&place.workspace).layer("quarantine")?.difference(&self.0) {
            if stat(path).is_none() {
                continue;
            }
            fs::rename(path, free_name(path)).layer("quarantine")?;
            let relative = path.strip_prefix(&place.workspace).unwrap_or(path);
            renamed.push(relative.as_os_str().as_bytes().to_vec());
        }
        Ok(renamed)
    }
}

/// Beside `path`, where nothing is yet.
fn free_name(path: &Path) -> PathBuf {
    let name = |number: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(if number == 0 { ".quarantined".to_owned() } else { format!(".quarantined-{number}") });
        PathBuf::from(name)
    };
    (0..).map(name).find(|path| stat(path).is_none()).unwrap_or_else(|| name(u32::MAX))
}

/// Everything under a protected name below `root`, with its inode number, outer ones first.
fn find(root: &Path) -> io::Result<BTreeSet<(PathBuf, u64)>> {
    let mut found = BTreeSet::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            // What this user cannot list he cannot write either, unless he first changes its mode.
            Err(err) if err.kind() == io::ErrorKind::PermissionDenied && directory != root => continue,
            Err(err) => return Err(err),
        };
        let mut parts = 0;
        for entry in entries {
            let entry = entry?;
            let (name, kind) = (entry.file_name(), entry.file_type()?);
            parts += usize::from(reserved::REPOSITORY.iter().any(|part| name == *part));
            if name.eq_ignore_ascii_case(REPOSITORY) && kind.is_dir() {
                found.extend(inner(&entry.path()));
            } else if reserved::is_name(&name) {
                found.extend(identify(entry.path()));
            } else if kind.is_dir() {
                directories.push(entry.path());
            }
        }
        if parts == reserved::REPOSITORY.len() && directory != root {
            found.extend(inner(&directory));
        }
    }
    Ok(found)
}

/// What is protected within a repository.
fn inner(repository: &Path) -> impl Iterator<Item = (PathBuf, u64)> {
    IN_REPOSITORY.into_iter().filter_map(move |name| identify(repository.join(OsStr::new(name))))
}

fn identify(path: PathBuf) -> Option<(PathBuf, u64)> {
    stat(&path).map(|stat| (path, stat.st_ino))
}
