//! Finds manifests and environments below a directory of the workspace.

use rustix::fs::{Dir, FileType};
use skynet_core::{CallCtx, Error, RelativePath, Result, Workspace, target::open_regular};
use std::{collections::BTreeSet, io::Read as _, path::Path};

/// How deep a part of a project may lie.
const DEPTH: usize = 4;

/// Directories that are looked into; a monorepo has fewer.
const MOST_DIRECTORIES: usize = 5000;

/// What a manifest may be long; those of big projects have some 100 kB.
const MANIFEST_BYTES: u64 = 1 << 20;

/// What others wrote or a build makes.
const PASSED_OVER: [&str; 8] =
    ["__pycache__", "build", "dist", "node_modules", "site-packages", "target", "vendor", "venv"];

/// What lies in one directory.
pub(crate) struct Place {
    /// Relative to the workspace; `.` for the workspace itself.
    pub(crate) path: RelativePath,
    pub(crate) files: BTreeSet<String>,
    pub(crate) directories: BTreeSet<String>,
}

impl Place {
    pub(crate) fn has(&self, file: &str) -> bool {
        self.files.contains(file)
    }

    /// The first of these files that is there.
    pub(crate) fn first(&self, files: &[&str]) -> Option<String> {
        files.iter().find(|file| self.has(file)).map(|file| (*file).to_owned())
    }

    /// What a file of it holds, if it can be read as text; else nothing.
    pub(crate) fn read(&self, workspace: &Workspace, file: &str) -> String {
        self.try_read(workspace, &self.path.join(Path::new(file))).unwrap_or_default()
    }

    /// What a file below one of its directories holds, the same way.
    pub(crate) fn read_in(&self, workspace: &Workspace, directory: &str, file: &str) -> String {
        let path = self.path.join(Path::new(directory)).join(Path::new(file));
        self.try_read(workspace, &path).unwrap_or_default()
    }

    fn try_read(&self, workspace: &Workspace, path: &RelativePath) -> Option<String> {
        let mut text = String::new();
        let file = open_regular(workspace, path).ok()?;
        file.take(MANIFEST_BYTES).read_to_string(&mut text).ok()?;
        Some(text)
    }
}

/// Every directory that may hold a part of a project, `start` first, and whether that is all of them.
pub(crate) fn places(ctx: &CallCtx, start: &str) -> Result<(Vec<Place>, bool)> {
    let workspace = ctx.workspace()?;
    let start = workspace.relative(start)?;
    let (mut places, mut waiting, mut is_all) = (Vec::new(), vec![(start, 0)], true);
    while let Some((path, depth)) = waiting.pop() {
        ctx.check_canceled()?;
        if places.len() == MOST_DIRECTORIES {
            is_all = false;
            break;
        }
        let place = match look(workspace, path) {
            Ok(place) => place,
            Err(err) if depth == 0 => return Err(err),
            // One that may not be entered or is gone is no part.
            Err(_) => continue,
        };
        let below =
            place.directories.iter().rev().filter(|name| {
                depth < DEPTH && !name.starts_with('.') && !PASSED_OVER.contains(&name.as_str())
            });
        waiting.extend(below.map(|name| (place.path.join(Path::new(name)), depth + 1)));
        places.push(place);
    }
    Ok((places, is_all))
}

fn look(workspace: &Workspace, path: RelativePath) -> Result<Place> {
    let directory = workspace.open_directory(&path)?;
    let failed = |err: rustix::io::Errno| Error::from_io(err.into(), &path.to_string());
    let (mut files, mut directories) = (BTreeSet::new(), BTreeSet::new());
    for entry in Dir::read_from(&directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let Ok(name) = entry.file_name().to_str().map(str::to_owned) else { continue };
        match entry.file_type() {
            FileType::Directory if name != "." && name != ".." => drop(directories.insert(name)),
            FileType::RegularFile | FileType::Symlink | FileType::Unknown => drop(files.insert(name)),
            _ => {}
        }
    }
    Ok(Place { path, files, directories })
}
