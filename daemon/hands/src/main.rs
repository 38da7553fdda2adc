//! `skynet-hands`: runs the file and git tools of one workspace for the daemon at the other end of its stdin.
//! Decides nothing: what arrives here was validated and permitted. Git starts it again as a helper for remotes, and it
//! starts itself as a parser.

use anyhow::{Result, bail};
use rustix::net::{SocketType, sockopt::socket_type};
use std::{os::fd::AsFd as _, process::ExitCode};

fn main() -> Result<ExitCode> {
    if let Some(done) = skynet_git::helper::run(std::env::args_os().skip(1)) {
        return Ok(done);
    }
    let socket = std::io::stdin().as_fd().try_clone_to_owned()?;
    if std::env::args_os().nth(1).is_some_and(|argument| argument == skynet_parser::ARGUMENT) {
        return Ok(skynet_parser::serve(socket, skynet_image::work::fonts, skynet_image::work::perform));
    }
    if socket_type(&socket) != Ok(SocketType::SEQPACKET) {
        bail!("stdin must be the socket of skynetd; this program is not run by hand");
    }
    // For the programs that tools start and wait for; calls run on threads of the server.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    skynet_hands::serve(socket, skynet_hands::registry()?, runtime.handle().clone())?;
    // What is still blocked in the kernel must not keep a process without a daemon alive.
    runtime.shutdown_background();
    Ok(ExitCode::SUCCESS)
}
