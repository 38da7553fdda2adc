//! `skynet-hands` runs the tools that touch a user's files, as that user, in a process of its own. This library
//! is the protocol both ends speak and the daemon's end of it; the program is in `main.rs`.

mod changes;
mod pool;
mod process;
pub mod protocol;
mod remote;
mod server;
mod watches;

pub use pool::Pool;
pub use process::Watching;
pub use remote::Remote;
pub use server::serve;

use skynet_core::{Registry, Result, Toolset};

/// The tools that live in hands, with a workspace or without.
#[must_use]
pub fn toolsets() -> Vec<Toolset> {
    vec![
        skynet_files::toolset(),
        skynet_files::more(),
        skynet_git::toolset(),
        skynet_git::more(),
        skynet_image::toolset(),
        skynet_service::toolset(),
        skynet_system::toolset(),
        skynet_system::more(),
        skynet_undo::toolset(),
    ]
}

/// All that hands run, as a registry: what belongs to a toolset of the daemon's too.
///
/// # Errors
/// `Internal` when two have the same name.
pub fn registry() -> Result<Registry> {
    Registry::new(toolsets().into_iter().chain([
        skynet_documents::in_hands(
            skynet_git::sources().into_iter().chain(skynet_system::sources()),
            skynet_git::attribution(),
        ),
        skynet_env::in_hands(),
        skynet_exec::in_hands(),
        skynet_git::in_hands(),
    ]))
}
