//! `skynetctl`: administers skynetd over the same socket as the clients. One file per subcommand.

mod agent;
mod approvals;
mod audit;
mod backup;
mod callback;
mod client;
mod config;
mod daemon;
mod doctor;
mod environment;
mod generate;
mod grant;
mod index;
mod leases;
mod login;
mod models;
mod new_file;
mod output;
mod policy;
mod quota;
mod reload;
mod replay;
mod secret;
mod sessions;
mod setup;
mod status;
mod support;
mod terminal;
mod token;
mod tools;
mod toolset;
mod trust;

use clap::{Parser, Subcommand};
use daemon::Daemon;
use output::{Failure, Output};
use std::{path::PathBuf, process::ExitCode};

/// Administer the Skynet daemon.
#[derive(Parser)]
#[command(
    name = "skynetctl",
    version,
    after_help = "Exit codes: 0 success, 1 the daemon said no or something is wrong, 2 wrong usage, 3 no daemon answers, 4 a tool failed, 5 a human would be asked."
)]
struct Arguments {
    /// Print JSON instead of text.
    #[arg(long, global = true)]
    json: bool,
    /// Dial this socket instead of the usual one.
    #[arg(long, global = true, value_name = "PATH")]
    socket: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show what the daemon is and how it fares.
    Status {
        /// Show it again every so many seconds, until interrupted.
        #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2", value_parser = clap::value_parser!(u64).range(1..=3600))]
        watch: Option<u64>,
    },
    /// List, describe and call tools.
    #[command(subcommand)]
    Tools(tools::Command),
    /// Choose which sets of tools clients are shown.
    #[command(subcommand)]
    Toolset(toolset::Command),
    /// Index directories of a workspace, and search them.
    Index(index::Arguments),
    /// Create, list and revoke the tokens of clients that come by HTTP.
    #[command(subcommand)]
    Token(token::Command),
    /// Keep, rotate, delete and list secrets that commands are given and nobody is shown.
    #[command(subcommand)]
    Secret(secret::Command),
    /// Write Skynet into the configuration of MCP clients.
    #[command(subcommand)]
    Client(client::Command),
    /// List the clients that are or were attached.
    Sessions,
    /// Query, export, replay and verify the audit log.
    #[command(subcommand)]
    Audit(Box<audit::Command>),
    /// See and answer calls that wait for a human.
    #[command(subcommand)]
    Approvals(approvals::Command),
    /// List and revoke what is not asked about any more.
    #[command(subcommand)]
    Grant(grant::Command),
    /// List and end what sessions have leased, so that others do not change it.
    #[command(subcommand)]
    Leases(leases::Command),
    /// Explain, check and test what may be called and started.
    #[command(subcommand)]
    Policy(policy::Command),
    /// Show how much a user may use and has used, and reset a limit.
    #[command(subcommand)]
    Quota(quota::Command),
    /// Install, list, check and measure the models that knowledge is searched with.
    #[command(subcommand)]
    Models(models::Command),
    /// Let the rules that a project brings count.
    Trust(trust::Trust),
    /// Check, show or locate the configuration.
    #[command(subcommand)]
    Config(config::Command),
    /// Make, verify and restore backups of what the daemon keeps.
    #[command(subcommand)]
    Backup(backup::Command),
    /// Have the daemon read its configuration again; no connection notices.
    Reload,
    /// Set Skynet up for this user, or as root for the host: policy, daemon, clients, models. Asks in plain words.
    Setup(Box<setup::Arguments>),
    /// Collect what whoever helps you needs to know of this installation, without credentials, in one archive.
    SupportBundle {
        /// The file, which must not exist. Default: `skynet-support-<time>.tar.gz` in the current directory.
        file: Option<PathBuf>,
    },
    /// Examine this installation and say what is wrong with it.
    Doctor,
    /// Print a completion script.
    Completion {
        /// For this shell.
        shell: clap_complete::Shell,
    },
    /// Write the man pages into a directory.
    Man {
        /// The directory, which must exist.
        directory: PathBuf,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut output = Output::new(arguments.json);
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(err) => {
            eprintln!("skynetctl: {err}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(arguments, &mut output)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => output.fail(&failure),
    }
}

async fn run(arguments: Arguments, output: &mut Output) -> Result<(), Failure> {
    let daemon = Daemon::new(arguments.socket);
    match arguments.command {
        Command::Status { watch } => status::run(&daemon, watch, output).await,
        Command::Tools(command) => tools::run(&daemon, command, output).await,
        Command::Index(arguments) => index::run(&daemon, arguments, output).await,
        Command::Toolset(command) => toolset::run(&daemon, command, output).await,
        Command::Token(command) => token::run(&daemon, command, output).await,
        Command::Secret(command) => secret::run(&daemon, command, output).await,
        Command::Client(command) => client::run(&daemon, command, output),
        Command::Sessions => sessions::run(&daemon, output).await,
        Command::Audit(command) => audit::run(&daemon, *command, output).await,
        Command::Approvals(command) => approvals::run(&daemon, command, output).await,
        Command::Grant(command) => grant::run(&daemon, command, output).await,
        Command::Leases(command) => leases::run(&daemon, command, output).await,
        Command::Policy(command) => policy::run(&daemon, command, output).await,
        Command::Quota(command) => quota::run(&daemon, command, output).await,
        Command::Models(command) => models::run(&daemon, command, output).await,
        Command::Trust(wanted) => trust::run(&daemon, wanted, output).await,
        Command::Config(command) => config::run(&command, output),
        Command::Backup(command) => backup::run(&daemon, command, output).await,
        Command::Reload => reload::run(&daemon, output).await,
        Command::Setup(arguments) => setup::run(&daemon, *arguments, output).await,
        Command::SupportBundle { file } => support::run(daemon.given_socket(), file, output),
        Command::Doctor => doctor::run(&daemon, output).await,
        Command::Completion { shell } => generate::completion(shell, output),
        Command::Man { directory } => generate::man(&directory, output),
    }
}
