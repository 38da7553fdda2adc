//! `skynet-sandbox`: the broker of the daemon at the other end of its stdin. `skynet-sandbox check` tries the sandbox.

mod broker;
mod check;
mod keeper;
mod seccomp;
mod slot;
mod syscall;

use rustix::net::{SocketType, sockopt::socket_type};
use std::{
    io::{self, Write as _},
    os::fd::AsFd as _,
};

fn main() -> io::Result<()> {
    let argument = std::env::args().nth(1).unwrap_or_default();
    if argument == "check" {
        let layers = check::check().map_err(io::Error::other)?;
        return writeln!(io::stdout(), "{layers}");
    }
    let socket = io::stdin().as_fd().try_clone_to_owned()?;
    if socket_type(&socket) != Ok(SocketType::SEQPACKET) {
        return Err(io::Error::other(
            "stdin must be the socket of skynetd; only `skynet-sandbox check` is for people",
        ));
    }
    broker::serve(socket, argument.parse().map_err(io::Error::other)?)
}
