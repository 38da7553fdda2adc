//! Changes of a workspace as a list in a file: shown with diffs, checked against what is there, and made as one.
//! A preview of a command is such a list, and so is what takes back a call.

mod apply;
mod holding;
mod show;

pub use apply::{Applied, apply, check, entry_of};
pub use show::{List, MOST_SHOWN, Shown, diff_of, show, shown};
