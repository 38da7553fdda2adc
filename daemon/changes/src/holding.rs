//! What a list of changes takes away, kept until all of the list is done, so that it can be put back if that fails.
//!
//! It lies in a directory of its own in the workspace. Where something cannot be kept there, because it is on another
//! filesystem or somebody else's, it is changed all the same, and cannot be put back.

use rustix::{
    fs::{AtFlags, Dir, Mode, OFlags},
    io::Errno,
};
use skynet_core::{
    RelativePath, Result, Workspace,
    error::IoContext as _,
    rename_new,
    target::{Existing, Target},
};
use skynet_sandbox::preview::Kind;
use std::{
    ffi::OsStr,
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
};

pub(crate) struct Holding<'a> {
    workspace: &'a Workspace,
    /// With its name; `None` where there is none.
    place: Option<(Target, OwnedFd)>,
    /// How many names were given out in it.
    names: usize,
    /// In the order in which it was done.
    done: Vec<Done>,
}

struct Done {
    path: RelativePath,
    was: Was,
}

/// What became of what was done.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct PutBack {
    /// How much it was.
    pub(crate) done: usize,
    /// How much of it could not be put back.
    pub(crate) left: usize,
    /// Where that lies, if some of it was held.
    pub(crate) held_in: Option<String>,
}

/// What became of directories that were to go, and are not empty.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Finished {
    /// Those that are again where they were.
    pub(crate) stayed: Vec<RelativePath>,
    /// Where those lie that cannot be there, because something else is.
    pub(crate) held: Vec<RelativePath>,
}

/// What was at a path before.
pub(crate) enum Was {
    /// Nothing; now there is this.
    Nothing(Kind),
    /// What is held under this name.
    Held(String, Kind),
    /// Something that is not held.
    Lost,
}

impl<'a> Holding<'a> {
    /// For so many steps. A single one is made or not, so nothing is held for it.
    pub(crate) fn open(workspace: &'a Workspace, count: usize) -> Self {
        let place = if count > 1 { make(workspace).ok() } else { None };
        Self { workspace, place, names: 0, done: Vec::new() }
    }

    /// Keeps what is about to be replaced, which stays where it is until then.
    pub(crate) fn copy(&mut self, target: &Target, existing: Existing, made: Kind) -> Was {
        match existing {
            Existing::Fail => Was::Nothing(made),
            Existing::Replace => {
                let name = self.next_name();
                let linked = self.place.as_ref().is_some_and(|(_, directory)| {
                    let none = AtFlags::empty();
                    rustix::fs::linkat(&target.directory, &target.name, directory, name.as_str(), none)
                        .is_ok()
                });
                if linked { Was::Held(name, made) } else { Was::Lost }
            }
        }
    }

    /// Notes what was done at a path.
    pub(crate) fn note(&mut self, path: &RelativePath, was: Was) {
        self.done.push(Done { path: path.clone(), was });
    }

    /// Takes an entry away; false if it is a directory that is not empty.
    pub(crate) fn take(&mut self, target: &Target, kind: Kind) -> Result<bool> {
        let is_directory = kind == Kind::Directory;
        let is_empty = if is_directory { is_empty(target) } else { Some(true) };
        if is_empty == Some(false) {
            return Ok(false);
        }
        let name = self.next_name();
        let held = self.place.as_ref().is_some_and(|(_, directory)| {
            // One that cannot be looked into is left to the kernel to judge.
            is_empty.is_some()
                && rustix::fs::renameat(&target.directory, &target.name, directory, name.as_str()).is_ok()
        });
        if held {
            self.note(&target.path, Was::Held(name, kind));
            return Ok(true);
        }
        let flags = if is_directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        match rustix::fs::unlinkat(&target.directory, &target.name, flags) {
            Err(Errno::NOTEMPTY) => return Ok(false),
            removed => removed.on(&target.path)?,
        }
        self.note(&target.path, Was::Lost);
        Ok(true)
    }

    /// All is done: lets go of what is held, but for directories that something was put into.
    pub(crate) fn finish(self) -> Finished {
        let mut finished = Finished::default();
        if let Some((place, directory)) = &self.place {
            for Done { path, was } in &self.done {
                let Was::Held(name, Kind::Directory) = was else { continue };
                match rustix::fs::unlinkat(directory, name.as_str(), AtFlags::REMOVEDIR) {
                    Ok(()) | Err(Errno::NOENT) => {}
                    Err(_) if self.return_held(path, name, Kind::Directory).is_some() => {
                        finished.stayed.push(path.clone());
                    }
                    Err(_) => finished.held.push(place.path.join(Path::new(name))),
                }
            }
        }
        self.clear();
        finished
    }

    /// Puts everything back, the last thing first.
    pub(crate) fn put_back(self) -> PutBack {
        let left: Vec<_> = self.done.iter().rev().filter(|done| self.put_one_back(done).is_none()).collect();
        let held = left.iter().filter(|done| matches!(done.was, Was::Held(..))).count();
        let held_in = self.place.as_ref().filter(|_| held > 0).map(|(place, _)| place.path.to_string());
        // What could not be put back stays where it can be found.
        if held == 0 {
            self.clear();
        }
        PutBack { done: self.done.len(), left: left.len(), held_in }
    }

    fn put_one_back(&self, done: &Done) -> Option<()> {
        match &done.was {
            Was::Nothing(kind) => {
                let target = Target::unchecked(self.workspace, &done.path).ok()?;
                let flags = if *kind == Kind::Directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
                rustix::fs::unlinkat(&target.directory, &target.name, flags).ok()
            }
            Was::Held(name, kind) => self.return_held(&done.path, name, *kind),
            Was::Lost => None,
        }
    }

    /// A file or a link takes the place of what replaced it; a directory takes nothing's.
    fn return_held(&self, path: &RelativePath, name: &str, kind: Kind) -> Option<()> {
        let (_, directory) = self.place.as_ref()?;
        let target = Target::unchecked(self.workspace, path).ok()?;
        let (from, to) = (directory.as_fd(), target.directory.as_fd());
        let renamed = match kind {
            Kind::Directory => rename_new(from, OsStr::new(name), to, &target.name),
            Kind::File | Kind::Link => rustix::fs::renameat(from, name, to, &target.name),
        };
        renamed.ok()
    }

    /// Removes what is still held, and the place.
    fn clear(&self) {
        let Some((place, directory)) = &self.place else { return };
        for number in 0..self.names {
            // Most names are free again. A directory that is not empty is somebody's, and stays.
            let name = number.to_string();
            let _ = rustix::fs::unlinkat(directory, name.as_str(), AtFlags::empty());
        }
        // Best effort: a left-over is only clutter.
        let _ = rustix::fs::unlinkat(&place.directory, &place.name, AtFlags::REMOVEDIR);
    }

    fn next_name(&mut self) -> String {
        self.names += 1;
        (self.names - 1).to_string()
    }
}

fn make(workspace: &Workspace) -> Result<(Target, OwnedFd)> {
    let beside = RelativePath::root().join(Path::new("held"));
    let place = Target::unchecked(workspace, &beside)?.scratch()?;
    rustix::fs::mkdirat(&place.directory, &place.name, Mode::RWXU).on(&place.path)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = rustix::fs::openat(&place.directory, &place.name, flags, Mode::empty()).on(&place.path)?;
    Ok((place, directory))
}

/// `None` if it cannot be told.
fn is_empty(target: &Target) -> Option<bool> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = rustix::fs::openat(&target.directory, &target.name, flags, Mode::empty()).ok()?;
    for entry in Dir::read_from(&directory).ok()? {
        let entry = entry.ok()?;
        if ![&b"."[..], b".."].contains(&entry.file_name().to_bytes()) {
            return Some(false);
        }
    }
    Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        fs,
        os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    };

    fn target(workspace: &Workspace, path: &str) -> Target {
        Target::unchecked(workspace, &workspace.relative(path).unwrap()).unwrap()
    }

    fn names(root: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(root)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// Replaces `a`, takes `gone` and `dir/inner` and `dir`, and makes `new`.
    fn change<'a>(workspace: &'a Workspace, root: &Path) -> Holding<'a> {
        for (name, content) in [("a", "one"), ("gone", "two"), ("dir/inner", "three")] {
            fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
            fs::write(root.join(name), content).unwrap();
        }
        fs::set_permissions(root.join("a"), fs::Permissions::from_mode(0o640)).unwrap();
        let mut holding = Holding::open(workspace, 5);
        assert!(holding.take(&target(workspace, "gone"), Kind::File).unwrap());
        assert!(!holding.take(&target(workspace, "dir"), Kind::Directory).unwrap());
        assert!(holding.take(&target(workspace, "dir/inner"), Kind::File).unwrap());
        assert!(holding.take(&target(workspace, "dir"), Kind::Directory).unwrap());
        for (name, existing) in [("a", Existing::Replace), ("new", Existing::Fail)] {
            let target = target(workspace, name);
            let was = holding.copy(&target, existing, Kind::File);
            target.replace(b"other", Mode::RUSR, existing).unwrap();
            holding.note(&target.path, was);
        }
        assert_eq!(fs::read_to_string(root.join("a")).unwrap(), "other");
        holding
    }

    #[test]
    fn what_fails_in_the_middle_is_put_back_as_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap();
        let workspace = Workspace::open(&root).unwrap();
        let holding = change(&workspace, &root);
        assert_eq!(holding.put_back(), PutBack { done: 5, left: 0, held_in: None });
        assert_eq!(names(&root), ["a", "dir", "gone"]);
        assert_eq!(fs::read_to_string(root.join("a")).unwrap(), "one");
        assert_eq!(fs::metadata(root.join("a")).unwrap().mode() & 0o777, 0o640);
        assert_eq!(fs::read_to_string(root.join("dir/inner")).unwrap(), "three");
    }

    #[test]
    fn what_is_done_leaves_nothing_behind() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap();
        let workspace = Workspace::open(&root).unwrap();
        let holding = change(&workspace, &root);
        assert_eq!(holding.finish(), Finished::default());
        assert_eq!(names(&root), ["a", "new"]);
    }

    #[test]
    fn a_directory_that_something_was_put_into_stays_or_is_named_where_it_is_held() {
        for is_taken in [false, true] {
            let directory = tempfile::tempdir().unwrap();
            let root = directory.path().canonicalize().unwrap();
            let workspace = Workspace::open(&root).unwrap();
            fs::create_dir(root.join("dir")).unwrap();
            let mut holding = Holding::open(&workspace, 2);
            assert!(holding.take(&target(&workspace, "dir"), Kind::Directory).unwrap());
            let [place]: [String; 1] = names(&root).try_into().unwrap();
            let held = Path::new(&place).join("0");
            fs::write(root.join(&held).join("mine"), "mine").unwrap();
            if is_taken {
                fs::write(root.join("dir"), "other").unwrap();
            }
            let path = |path: &Path| RelativePath::root().join(path);
            let expected = if is_taken {
                Finished { held: vec![path(&held)], ..Finished::default() }
            } else {
                Finished { stayed: vec![path(Path::new("dir"))], ..Finished::default() }
            };
            assert_eq!(holding.finish(), expected);
            let kept = if is_taken { root.join(held) } else { root.join("dir") };
            assert_eq!(fs::read_to_string(kept.join("mine")).unwrap(), "mine");
        }
    }
}
