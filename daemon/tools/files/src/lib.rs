//! Tools on the files of a workspace. Every path is resolved by the kernel beneath the workspace's descriptor;
//! what a human's own tools run later (`.git`, editor and agent settings) can be read here, but not written.

mod content;
mod copy;
mod delete;
mod difference;
mod edit;
mod entry;
mod find;
mod list;
mod r#move;
mod read;
mod restore;
#[cfg(test)]
mod sample;
mod search;
mod stat;
mod text;
mod tree;
mod walk;
mod write;

use skynet_core::Toolset;

/// The files family: what is used all day.
#[must_use]
pub fn toolset() -> Toolset {
    Toolset::new("files", "list, read, write, edit, search, find, move and delete files of the workspace")
        .altering(&[])
        .with(list::FilesList)
        .with(tree::FilesTree)
        .with(read::FilesRead)
        .with(write::FilesWrite)
        .with(edit::FilesEdit)
        .with(search::FilesSearch)
        .with(find::FilesFind)
        .with(r#move::FilesMove)
        .with(delete::FilesDelete)
}

/// The rest of it.
#[must_use]
pub fn more() -> Toolset {
    Toolset::new("files_more", "copy files, restore deleted ones, look at size, permissions and checksum")
        .altering(&[])
        .with(stat::FilesStat)
        .with(copy::FilesCopy)
        .with(restore::FilesRestore)
}
