//! What a call does to the paths that it hands over: they are looked at before, and once more when it has ended.

use rustix::fs::{FileType, Mode, OFlags};
use skynet_changes::entry_of;
use skynet_core::{
    Error, Result, Workspace,
    change::{Changed, Elsewhere, Entry, Extent, Kind, Tree, alike},
    rights_of,
    seal::seal,
    target::Target,
};
use skynet_sandbox::preview::State;
use std::{
    collections::{HashMap, HashSet},
    fs::File,
    os::fd::AsFd as _,
};

/// Of one call; a line of the audit log holds them all.
const MOST_CHANGES: usize = 1000;

/// What a longer file held is not kept, so it need not be known either.
const MOST_BYTES: u64 = 64 << 20;

const TREE: &str = "what a directory held that was replaced as a whole is not recorded";

/// The changes of one call under way.
#[derive(Default)]
pub(crate) struct Changes {
    seen: HashSet<String>,
    changes: Vec<Changed>,
    /// By their index: what is known already.
    settled: HashMap<usize, Option<Entry>>,
    /// By their index, those that are changed with all they hold: what a directory was sealed with before.
    trees: HashMap<usize, Option<Result<String>>>,
    /// Where directories went or came from, told by who moved them.
    elsewhere: HashMap<String, Elsewhere>,
}

impl Changes {
    /// Takes in what `path` is, before it is changed for the first time.
    pub(crate) fn begin(&mut self, workspace: &Workspace, path: &str, extent: Extent) {
        if !self.seen.insert(path.to_owned()) || self.seen.len() > MOST_CHANGES {
            return;
        }
        let (before, lost) = match look(workspace, path) {
            Ok(before) => (before, None),
            Err(err) => (None, Some(err.message.into_owned())),
        };
        if extent == Extent::Tree {
            let sealed = is_directory(before.as_ref()).then(|| seal_at(workspace, path));
            self.trees.insert(self.changes.len(), sealed);
        }
        self.changes.push(Changed { path: path.to_owned(), before, after: None, lost, tree: None });
    }

    /// Where a directory is now that went from this path, or was that came to it.
    pub(crate) fn place(&mut self, path: &str, elsewhere: Elsewhere) {
        self.elsewhere.insert(path.to_owned(), elsewhere);
    }

    /// What a path is now, told by who made it.
    pub(crate) fn settle(&mut self, path: &str, after: Option<Entry>) {
        if let Some(change) = self.changes.iter().position(|change| change.path == path) {
            self.settled.insert(change, after);
        }
    }

    /// What became of them, in the order in which they began.
    pub(crate) fn end(mut self, workspace: &Workspace) -> Vec<Changed> {
        for (index, change) in self.changes.iter_mut().enumerate() {
            match self.settled.remove(&index).map_or_else(|| look(workspace, &change.path), Ok) {
                Ok(after) => change.after = after,
                Err(err) => change.lost = Some(err.message.into_owned()),
            }
            let Some(sealed_before) = self.trees.remove(&index) else { continue };
            let (was, is) = (is_directory(change.before.as_ref()), is_directory(change.after.as_ref()));
            if !was && !is || alike(change.before.as_ref(), change.after.as_ref()) {
                continue;
            }
            let sealed = match (&change.before, &change.after) {
                (Some(_), None) => sealed_before,
                (None, Some(_)) => Some(seal_at(workspace, &change.path)),
                (Some(_), Some(_)) | (None, None) => None,
            };
            match (self.elsewhere.remove(&change.path), sealed) {
                (Some(elsewhere), Some(Ok(seal))) => change.tree = Some(Tree { seal, elsewhere }),
                (Some(_), Some(Err(err))) => change.lost = Some(err.message.into_owned()),
                (_, None) | (None, Some(_)) => {
                    change.lost.get_or_insert_with(|| TREE.to_owned());
                }
            }
        }
        let count = self.seen.len();
        if let Some(last) = self.changes.last_mut().filter(|_| count > MOST_CHANGES) {
            last.lost = Some(format!("of {count} changes only the first {MOST_CHANGES} are recorded"));
        }
        let is_other =
            |change: &Changed| !alike(change.before.as_ref(), change.after.as_ref()) || change.lost.is_some();
        self.changes.retain(is_other);
        self.changes
    }
}

fn is_directory(entry: Option<&Entry>) -> bool {
    entry.is_some_and(|entry| entry.kind == Kind::Directory)
}

fn seal_at(workspace: &Workspace, path: &str) -> Result<String> {
    seal(&Target::unchecked(workspace, &workspace.relative(path)?)?)
}

/// What is at a path now.
fn look(workspace: &Workspace, path: &str) -> Result<Option<Entry>> {
    if path.contains(char::REPLACEMENT_CHARACTER) {
        return Err(Error::invalid_input("its name is not UTF-8"));
    }
    let target = match Target::unchecked(workspace, &workspace.relative(path)?) {
        Err(err) if err.kind == skynet_core::ErrorKind::NotFound => return Ok(None),
        target => target?,
    };
    let Some(stat) = target.stat()? else { return Ok(None) };
    let size_bytes = u64::try_from(stat.st_size).unwrap_or_default();
    if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && size_bytes > MOST_BYTES {
        return Err(Error::invalid_input(format!("it has {size_bytes} bytes, and {MOST_BYTES} are kept")));
    }
    let found = State::of(target.directory.as_fd(), &target.name)
        .map_err(|err| Error::unavailable("it is neither file, directory nor link").with_source(err))?;
    let Some((state, file)) = found else { return Ok(None) };
    if std::str::from_utf8(&state.target).is_err() {
        return Err(Error::invalid_input("where it leads is not UTF-8"));
    }
    let mut entry = entry_of(&state);
    entry.rights = match entry.kind {
        Kind::File => file.as_ref().and_then(rights_of),
        Kind::Directory => {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let opened = rustix::fs::openat(&target.directory, &target.name, flags, Mode::empty());
            // Of one that may not be looked into nobody can tell.
            opened.ok().map(File::from).as_ref().and_then(rights_of)
        }
        Kind::Link => None,
    };
    Ok(Some(entry))
}
