//! Memory: what agents were told to keep of a person or a project. It lies encrypted on the disk, an entry with a key of
//! its own, and is searched in memory. What an entry says is data: it was written by an agent, which may have read it anywhere.

mod completing;
mod entry;
mod habits;
mod kept;
mod memory;
mod recall;

pub use entry::{Changes, Entry, Filter, Kind, Past, State, Wanted};
pub use habits::{Habits, OCCASIONS};
pub use memory::{Memory, Remembered};
