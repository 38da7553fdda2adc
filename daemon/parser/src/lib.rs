//! Files of any origin are read by large libraries, and such a library is where an attacker gets in. So each is read in a
//! process of its own, which is given descriptors and gives back bytes: it opens nothing, reaches nobody, starts nothing,
//! has a limit on memory and time, and ends with its one task.
//!
//! It is started by hands, as the program they are, and is inside of everything that holds them; what it gives up besides
//! is in `confine.rs`.

mod confine;
mod message;
mod process;
mod serve;

pub use confine::{FONTS, Fonts};
pub use process::{Task, parse};
pub use serve::serve;

/// The argument with which hands start their program as a parser; [`Task::READER`] is the next.
pub const ARGUMENT: &str = "parser";

/// Descriptors for one task.
pub const MOST_FILES: usize = 256;
