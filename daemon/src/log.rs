//! Where the daemon says how it fares.

use anyhow::{Context as _, Result};
use std::{io::IsTerminal as _, os::unix::fs::MetadataExt as _};
use tracing_subscriber::{
    EnvFilter, Registry, layer::SubscriberExt as _, reload::Handle, util::SubscriberInitExt as _,
};

/// What decides which lines are logged, and can be replaced.
pub(crate) type Filter = Handle<EnvFilter, Registry>;

/// rmcp writes whole requests at debug, secrets included, and at warning what a client did wrong, which is answered.
pub(crate) fn filter(text: &str) -> Result<EnvFilter> {
    EnvFilter::try_new(format!("{text},rmcp=error")).with_context(|| format!("`log.filter` is `{text}`"))
}

/// To journald under systemd, otherwise to stderr for people. The filter can be replaced.
pub(crate) fn start(text: &str) -> Result<Filter> {
    let (filter, handle) = tracing_subscriber::reload::Layer::new(filter(text)?);
    let registry = tracing_subscriber::registry().with(filter);
    if is_journal_stderr() {
        registry.with(tracing_journald::layer()?.with_field_prefix(None)).init();
    } else {
        let to_stderr = tracing_subscriber::fmt::layer()
            .with_writer(std::io::stderr)
            .with_ansi(std::io::stderr().is_terminal());
        registry.with(to_stderr).init();
    }
    Ok(handle)
}

/// systemd names device and inode of the journal's stream (systemd.exec(5), `JOURNAL_STREAM`).
fn is_journal_stderr() -> bool {
    let Some(stream) = std::env::var("JOURNAL_STREAM").ok() else {
        return false;
    };
    std::fs::metadata("/proc/self/fd/2")
        .is_ok_and(|stderr| stream == format!("{}:{}", stderr.dev(), stderr.ino()))
}
