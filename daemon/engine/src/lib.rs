//! The one client of the container engine (Docker, or Podman which speaks as it does). Each connection to it is made with
//! the rights of the caller, by whoever has them: this room opens no socket and holds no right of its own.

mod client;
mod containers;
mod control;
mod failure;
mod lines;
mod logs;
mod name;
mod reach;
mod time;

pub use client::{Client, Engine};
pub use containers::{Limits, Listed, Shown, Standing, State, Wanted};
pub use control::{Action, Change, Ended, Restart};
pub use lines::{Line, Source};
pub use logs::{End, Extract, Log, Streams};
pub use name::{ImageName, Name};
