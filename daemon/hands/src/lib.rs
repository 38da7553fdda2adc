//! `skynet-hands` runs the tools that touch a user's files, as that user, in a process of its own. This library
//! is the protocol both ends speak and the daemon's end of it; the program is in `main.rs`.

mod channel;
mod pool;
pub mod protocol;
mod server;

pub use pool::Pool;
pub use server::serve;

use skynet_core::{Registry, Result};

/// The tools that live in hands.
///
/// # Errors
/// `Internal` when two have the same name.
pub fn registry() -> Result<Registry> {
    Registry::new([skynet_files::toolset(), skynet_git::toolset()])
}
