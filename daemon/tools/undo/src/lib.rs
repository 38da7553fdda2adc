//! The undo family: what the calls of tools changed in the workspace, shown and taken back. It goes by what the audit log
//! says of each call and by what was kept of the files before; what nothing was recorded of is never touched.

mod list_changes;
mod plan;
mod records;
mod revert_call;
mod revert_session;
mod trees;

use skynet_core::Toolset;

/// The undo family.
#[must_use]
pub fn toolset() -> Toolset {
    Toolset::new("undo", "list and take back what calls changed")
        .altering(&[])
        .with(list_changes::UndoListChanges)
        .with(revert_call::UndoRevertCall)
        .with(revert_session::UndoRevertSession)
}
