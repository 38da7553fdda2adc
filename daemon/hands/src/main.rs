//! `skynet-hands`: runs the file and git tools of one workspace for the daemon at the other end of its stdin.
//! Decides nothing: what arrives here was validated and permitted. Git starts it again as a helper for remotes, and it
//! starts itself as a parser.

use anyhow::{Result, bail};
use rustix::net::{SocketType, sockopt::socket_type};
use std::{
    os::fd::{AsFd as _, OwnedFd},
    process::ExitCode,
};

fn main() -> Result<ExitCode> {
    if let Some(done) = skynet_git::helper::run(std::env::args_os().skip(1)) {
        return Ok(done);
    }
    let socket = std::io::stdin().as_fd().try_clone_to_owned()?;
    let mut arguments = std::env::args().skip(1);
    if arguments.next().is_some_and(|argument| argument == skynet_parser::ARGUMENT) {
        return parse(socket, &arguments.next().unwrap_or_default());
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

/// Reads what hands hand over.
fn parse(socket: OwnedFd, reader: &str) -> Result<ExitCode> {
    use skynet_documents::work as documents;
    use skynet_image::work as pictures;
    use skynet_parser::serve;
    Ok(match reader {
        documents::READER => serve(socket, documents::fonts, documents::perform),
        pictures::READER => serve(socket, pictures::fonts, pictures::perform),
        other => bail!("there is no reader `{other}`"),
    })
}
