//! What the kernel lets the process have: as many open files as it may, and no cores.

use anyhow::{Context as _, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// A core would hold the key and all secrets (core(5)). A process without this right has no cores either.
pub(crate) fn forbid_cores() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    if let Err(err) = setrlimit(Resource::Core, none) {
        tracing::warn!(error = %err, "core dumps of the daemon cannot be forbidden");
    }
}

/// To as many as it may have: connections take some, and commands, which have fewer, are counted against it.
pub(crate) fn raise_open_files() -> Result<()> {
    let most = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most }).context("the limit of open files")
}
