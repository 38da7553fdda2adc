//! `skynet-hands`: runs the file and git tools of one workspace for the daemon at the other end of its stdin.
//! Decides nothing: what arrives here was validated and permitted.

use anyhow::{Context as _, Result};
use std::os::{fd::AsFd as _, unix::net::UnixStream};

fn main() -> Result<()> {
    let stdin = std::io::stdin().as_fd().try_clone_to_owned()?;
    let stream = UnixStream::from(stdin);
    stream.peer_addr().context("stdin must be the socket of skynetd; this program is not run by hand")?;
    stream.set_nonblocking(true)?;
    // A tool blocks the thread it runs on; the server lets in fewer calls than there are threads, so that cancels
    // are always heard.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .worker_threads(skynet_hands::THREADS)
        .build()?;
    let registry = skynet_hands::registry()?;
    runtime
        .block_on(async { skynet_hands::serve(tokio::net::UnixStream::from_std(stream)?, registry).await })?;
    // Calls that are still blocked in the kernel must not keep a process without a daemon alive.
    runtime.shutdown_background();
    Ok(())
}
