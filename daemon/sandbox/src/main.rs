//! `skynet-sandbox`: makes slots and runs commands in them, for the one user of a daemon or for all of the host.

mod broker;
mod check;
mod child;
mod groups;
mod homes;
mod identity;
mod keeper;
mod listen;
mod seccomp;
mod slot;
mod syscall;
mod system;
mod tokens;

use clap::{Args, Parser, Subcommand};
use homes::Homes;
use rustix::net::{SocketType, sockopt::socket_type};
use slot::Maker;
use std::{
    io::{self, Write as _},
    os::fd::AsFd as _,
    path::PathBuf,
    process::ExitCode,
};

/// The broker of Skynet's sandbox.
#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a command that does nothing in a slot, and say behind which layers it ran; exit 1 if one cannot be had.
    Check,
    /// Serve the daemon that started this, at the other end of stdin.
    Serve {
        /// Slots that wait for a command.
        warm: usize,
        /// Where commands keep what they put into their home.
        homes: PathBuf,
    },
    /// Serve the whole host, as root: accept clients, and do for each of them what he may do himself.
    System(SystemOptions),
}

#[derive(Args)]
struct SystemOptions {
    /// Accept clients here; with systemd, the socket that it passes is used instead.
    #[arg(long, value_name = "PATH", default_value = skynet_sandbox::SYSTEM_SOCKET)]
    socket: PathBuf,
    /// Who may connect besides root; everybody without.
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
    /// Accept the daemon here.
    #[arg(long, value_name = "PATH", default_value = skynet_sandbox::BROKER_SOCKET)]
    daemon_socket: PathBuf,
    /// The user the daemon runs as; no other is accepted as one.
    #[arg(long, value_name = "USER", default_value = "skynet")]
    daemon_user: String,
    /// Where commands keep what they put into their home.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/skynet-sandbox/homes")]
    homes: PathBuf,
    /// What root asks for is done as this user; without, root is refused.
    #[arg(long, value_name = "USER")]
    root_runs_as: Option<String>,
    /// Groups that give root's power, which nobody has in the sandbox; replaces the built-in list.
    #[arg(long, value_name = "GROUP")]
    without_group: Vec<String>,
    /// A user to whom the daemon may lend the container engine for single calls, as the policy says; may be repeated.
    #[arg(long, value_name = "USER")]
    engine_user: Vec<String>,
    /// Where the container engine listens; each caller is connected to the first that is there, with his own rights.
    #[arg(long, value_name = "PATH", default_values = skynet_sandbox::engine::HOST_SOCKETS)]
    engine_socket: Vec<PathBuf>,
    /// Lend the SSH agent of a user to calls of his, when the daemon asks for that.
    #[arg(long)]
    lend_ssh_agents: bool,
    /// Slots that wait for a command.
    #[arg(long, default_value_t = skynet_sandbox::WARM)]
    warm: usize,
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            // There is nobody else to tell.
            let _ = writeln!(io::stderr(), "skynet-sandbox: {err}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> io::Result<()> {
    match command {
        Command::Check => {
            let layers = check::check().map_err(io::Error::other)?;
            writeln!(io::stdout(), "{layers}")
        }
        Command::Serve { warm, homes } => {
            let socket = io::stdin().as_fd().try_clone_to_owned()?;
            if socket_type(&socket) != Ok(SocketType::SEQPACKET) {
                return Err(io::Error::other(
                    "stdin must be the socket of skynetd; only `check` and `system` are for people",
                ));
            }
            let homes = Homes::below(&homes)?;
            broker::settle_in()?;
            broker::serve(socket, &mut Maker::new(None)?, &homes, None, warm)
        }
        Command::System(options) => listen::serve(&options),
    }
}
