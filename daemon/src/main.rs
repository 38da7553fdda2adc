//! `skynetd`: gives AI agents hands on this host, one pipeline for every call.
//! Wires rooms together; what they do is written in their own crates.

mod admin;
mod agent;
mod boot;
mod calls;
mod choices;
mod claims;
mod config;
mod credentials;
mod door;
mod http;
mod jobs;
mod mcp;
mod notify;
mod people;
mod polkit;
mod purse;
mod readers;
mod relay;
mod sessions;
mod shelf;
mod socket;
mod state;
mod tokens;

use anyhow::Result;
use clap::{Parser, Subcommand};
use door::Site;
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

/// The Skynet daemon.
#[derive(Parser)]
#[command(version, about, arg_required_else_help = false)]
struct Arguments {
    /// Read this file instead of the user's configuration, or with `--system` that of the host; drop-ins are read from
    /// `<FILE without .toml>.d/`.
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Listen on this socket instead of the user's; its directory must be private.
    #[arg(long, value_name = "PATH", conflicts_with = "system")]
    socket: Option<PathBuf>,
    /// Keep state in this directory instead of `~/.local/state/skynet`, or with `--system` of `/var/lib/skynet`.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Serve all users of the host, through the broker of `skynet-sandbox system`.
    #[arg(long, global = true)]
    system: bool,
    /// Where that broker accepts its daemon.
    #[arg(long, value_name = "PATH", default_value = skynet_sandbox::BROKER_SOCKET, requires = "system")]
    broker: PathBuf,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Check, show or locate the configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Say whether the configuration can be used; exit 1 if not.
    Check,
    /// Print the configuration in force, defaults and drop-ins included, as TOML.
    Show {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print the files that are read, in order.
    Path,
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("skynetd: {err:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<()> {
    let site = if arguments.system {
        Site::of_host(arguments.broker)
    } else {
        Site::of_user(arguments.socket, boot::home()?)
    };
    let file = arguments.config.unwrap_or_else(|| site.config_file());
    match arguments.command {
        Some(Command::Config(command)) => show_config(&command, &file, site.home()),
        None => {
            boot::refuse_root()?;
            let config = config::load(&file)?;
            let runtime = runtime()?;
            runtime.block_on(boot::run(config, site, arguments.state))
        }
    }
}

/// Half of the processors serve: the work itself is done by hands, and a call that stays on one thread is not delayed by
/// waking another. A runtime of one thread takes up tasks in the order in which they were woken; one of many lets the
/// newest pass, so that of fifty answers each would be written by itself.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    let threads = std::thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2));
    let mut builder = match threads {
        1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    builder.enable_all().worker_threads(threads).build()
}

#[allow(clippy::print_stdout, reason = "the output of a command")]
fn show_config(command: &ConfigCommand, file: &Path, home: &Path) -> Result<()> {
    match command {
        ConfigCommand::Path => {
            for file in config::files(file)? {
                println!("{}", file.display());
            }
        }
        ConfigCommand::Check => {
            boot::check(&config::load(file)?, home)?;
            println!("the configuration is valid");
        }
        ConfigCommand::Show { json: true } => {
            println!("{}", serde_json::to_string_pretty(&config::load(file)?)?);
        }
        ConfigCommand::Show { json: false } => print!("{}", toml::to_string_pretty(&config::load(file)?)?),
    }
    Ok(())
}
