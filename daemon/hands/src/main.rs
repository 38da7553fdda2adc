//! `skynet-hands`: runs the file and git tools of one workspace for the daemon at the other end of its stdin.
//! Decides nothing: what arrives here was validated and permitted.

use anyhow::{Context as _, Result};
use std::os::{fd::AsFd as _, unix::net::UnixStream};

fn main() -> Result<()> {
    let stdin = std::io::stdin().as_fd().try_clone_to_owned()?;
    let stream = UnixStream::from(stdin);
    stream.peer_addr().context("stdin must be the socket of skynetd; this program is not run by hand")?;
    stream.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(64).build()?;
    let registry = skynet_hands::registry()?;
    runtime.block_on(async { skynet_hands::serve(tokio::net::UnixStream::from_std(stream)?, registry).await })?;
    // Calls that are still blocked in the kernel must not keep a process without a daemon alive.
    runtime.shutdown_background();
    Ok(())
}
