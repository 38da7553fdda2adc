//! The catalog: a client is shown few tools, so that they cost few tokens, and finds the others here. Whether a
//! call is allowed does not depend on whether its tool is listed: that is the policy's to say.

mod call_tool;
mod catalog;
mod describe_tool;
mod enable_toolset;
mod index;
mod search_tools;
mod show_job;

pub use call_tool::unwrap;
pub use catalog::{Catalog, Choices, Jobs, Memory, Scope, Viewer};
pub use show_job::{Job, State as JobState};

use skynet_core::{Registry, Result, Toolset};
use std::sync::Arc;

/// Every tool of the product: those of `toolsets`, and those about tools.
///
/// # Errors
/// `Internal` when two tools or two sets have the same name.
pub fn product(catalog: &Arc<Catalog>, toolsets: Vec<Toolset>) -> Result<Registry> {
    Registry::new(toolsets.into_iter().chain([toolset(catalog)]))
}

/// The skynet family: tools about tools.
fn toolset(catalog: &Arc<Catalog>) -> Toolset {
    Toolset::new("skynet", "find, describe, call and list the tools that are not shown; wait for long calls")
        .with(search_tools::SkynetSearchTools(catalog.clone()))
        .with(describe_tool::SkynetDescribeTool(catalog.clone()))
        .with(call_tool::SkynetCallTool(catalog.clone()))
        .with(enable_toolset::SkynetEnableToolset(catalog.clone()))
        .with(show_job::SkynetShowJob(catalog.clone()))
}
