//! The 25 tools of the devops server of Skynet MCP Servers v1.0.0, under the names and arguments they had there, as other names of
//! today's. `docs/migrating-from-v1.md` is this table in prose.

mod arguments;
mod containers;
mod files;
mod git;
mod host;
mod images;
mod projects;

use skynet_core::Alias;

/// The toolset that switches them on.
pub const TOOLSET: &str = "v1";

/// What it is.
pub const SUMMARY: &str =
    "the tools of Skynet v1.0.0 by their old names and arguments, for prompts written for it";

/// All of them.
#[must_use]
pub fn aliases() -> Vec<Alias> {
    [
        projects::aliases(),
        containers::aliases(),
        host::aliases(),
        files::aliases(),
        git::aliases(),
        images::aliases(),
    ]
    .concat()
}
