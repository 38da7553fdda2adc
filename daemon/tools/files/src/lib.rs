//! Tools on the files of a workspace. Every path is resolved by the kernel beneath the workspace's descriptor;
//! what a human's own tools run later (`.git`, editor and agent settings) can be read here, but not written.

mod copy;
mod delete;
mod edit;
mod entry;
mod find;
mod list;
mod r#move;
mod read;
mod restore;
mod search;
mod stat;
mod target;
mod text;
mod trash;
mod tree;
mod walk;
mod write;

use skynet_core::Toolset;

/// The files family.
#[must_use]
pub fn toolset() -> Toolset {
    Toolset::new("files", "read, write, edit, search, move, copy, delete and restore files of the workspace")
        .with(list::FilesList)
        .with(tree::FilesTree)
        .with(read::FilesRead)
        .with(write::FilesWrite)
        .with(edit::FilesEdit)
        .with(search::FilesSearch)
        .with(find::FilesFind)
        .with(stat::FilesStat)
        .with(r#move::FilesMove)
        .with(copy::FilesCopy)
        .with(delete::FilesDelete)
        .with(restore::FilesRestore)
}
