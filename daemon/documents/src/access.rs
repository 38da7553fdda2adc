//! Who may read documents: the caller, where they are in another user's collection, or everybody, where a collection is shared.
//! Asked by the daemon of hands that see the host as it is, never by an agent: in a slot, directories above a workspace are made up.

use crate::source::{SourceKind, Sources};
use rustix::fs::{Access, AtFlags, CWD, accessat};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Place, Result, Tool};
use std::{
    collections::HashMap,
    fs::Metadata,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

/// Others may read a file, and enter a directory (inode(7)).
const OTHERS_READ: u32 = 0o004;
const OTHERS_ENTER: u32 = 0o001;

pub(crate) struct KnowledgeCheckAccess(pub(crate) Sources);

/// Documents of a collection.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Documents {
    /// What they are of.
    #[schemars(with = "serde_json::Value")]
    pub source: SourceKind,
    /// The workspace of the collection.
    #[schemars(with = "String")]
    pub workspace: PathBuf,
    /// Their names in the listing.
    pub paths: Vec<String>,
    /// Whether everybody on the host is meant, and not the caller.
    #[serde(default)]
    pub by_everybody: bool,
}

/// Whether he, or everybody, may read each of them.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Readable {
    /// In the order of the paths.
    pub readable: Vec<bool>,
}

impl Tool for KnowledgeCheckAccess {
    const NAME: &'static str = "knowledge_check_access";
    const SUMMARY: &'static str = "Tell which documents the caller, or everybody, may read.";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Host;
    const TIMEOUT: Duration = Duration::from_secs(10);
    type Input = Documents;
    type Output = Readable;

    async fn call(&self, ctx: &CallCtx, input: Documents) -> Result<Readable> {
        Ok(Readable { readable: self.0.find(&input.source)?.readable(ctx, &input).await? })
    }
}

/// Whether each file may be read: as the kernel sees it now, or by its modes.
pub(crate) fn of_files(documents: &Documents) -> Vec<bool> {
    let mut everybody = Everybody::default();
    let may_read = |path: &String| {
        let path = documents.workspace.join(path);
        if documents.by_everybody {
            path.metadata().is_ok_and(|metadata| everybody.may_read(&path, &metadata))
        } else {
            accessat(CWD, &path, Access::READ_OK, AtFlags::EACCESS).is_ok()
        }
    };
    documents.paths.iter().map(may_read).collect()
}

/// Tells which files everybody on the host may read, by the modes of the files and of all directories above them.
#[derive(Default)]
struct Everybody {
    /// Directories that everybody may come to.
    entered: HashMap<PathBuf, bool>,
}

impl Everybody {
    fn may_read(&mut self, path: &Path, metadata: &Metadata) -> bool {
        metadata.mode() & OTHERS_READ != 0 && path.parent().is_none_or(|directory| self.may_enter(directory))
    }

    fn may_enter(&mut self, directory: &Path) -> bool {
        if let Some(known) = self.entered.get(directory) {
            return *known;
        }
        let is_open = directory.metadata().is_ok_and(|metadata| metadata.mode() & OTHERS_ENTER != 0);
        let may = is_open && directory.parent().is_none_or(|above| self.may_enter(above));
        self.entered.insert(directory.to_owned(), may);
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::PermissionsExt as _};

    #[test]
    fn a_file_is_for_everybody_if_it_and_all_above_it_are() {
        let top = tempfile::tempdir().unwrap();
        let (directory, file) = (top.path().join("a/b"), top.path().join("a/b/c"));
        fs::create_dir_all(&directory).unwrap();
        fs::write(&file, "").unwrap();
        let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        let ask = || Everybody::default().may_read(&file, &file.metadata().unwrap());
        // The directory of a test may lie below one that is not for others, such as a home.
        let is_reached = Everybody::default().may_enter(top.path().parent().unwrap());
        for (of_top, of_directory, of_file, expected) in [
            (0o755, 0o755, 0o644, true),
            (0o755, 0o755, 0o640, false),
            (0o755, 0o750, 0o644, false),
            (0o700, 0o755, 0o644, false),
            (0o711, 0o711, 0o604, true),
        ] {
            set(top.path(), of_top);
            set(&directory, of_directory);
            set(&file, of_file);
            assert_eq!(ask(), expected && is_reached, "{of_top:o} {of_directory:o} {of_file:o}");
        }
    }
}
