//! The one client of the container engine (Docker, or Podman which speaks as it does). Each connection to it is made with
//! the rights of the caller, by whoever has them: this room opens no socket and holds no right of its own.

mod apart;
mod build;
mod client;
mod compose;
mod containers;
mod context;
mod control;
mod create;
mod execute;
mod failure;
mod files;
mod health;
mod ignored;
mod images;
mod inside;
mod lines;
mod listen;
mod logs;
mod name;
mod networks;
mod reach;
mod system;
mod time;

pub use apart::{Apart, Because, Went};
pub use build::{Build, Built};
pub use client::{Client, Engine};
pub use compose::Composed;
pub use containers::{Limits, Listed, Shown, Standing, State, Wanted};
pub use control::{Action, Change, Ended, Restart};
pub use create::{Made, Mount, Namespace, Power, Recipe, Run};
pub use execute::{Executed, Task};
pub use files::Copied;
pub use health::{Health, Ill};
pub use images::{Image, Removed, ShownImage, Step, Transferred, registry_of};
pub use inside::{Changed, MOST_WATCHED, Processes, Stats};
pub use lines::{Line, Source};
pub use logs::{End, Extract, Log, Streams};
pub use name::{ImageName, Name};
pub use networks::{Network, Volume};
pub use system::{EngineFacts, Event, Project, Pruned, Unused, Usage};
