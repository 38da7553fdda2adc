//! `skynetd`: gives AI agents hands on this host, one pipeline for every call.
//! Wires rooms together; what they do is written in their own crates.

mod accept;
mod admin;
mod agent;
mod backup;
mod bearers;
mod boot;
mod calls;
mod check;
mod choices;
mod claims;
mod config;
mod credentials;
mod defects;
mod door;
mod format;
mod health;
mod house;
mod http;
mod jobs;
mod limits;
mod log;
mod mcp;
mod metrics;
mod notify;
mod people;
mod polkit;
mod purse;
mod readers;
mod reading;
mod relay;
mod reload;
mod sessions;
mod shelf;
mod socket;
mod sources;
mod standing;
mod state;
mod supervisor;
mod tokens;

use anyhow::Result;
use clap::{Parser, Subcommand};
use door::Site;
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};
use supervisor::Inherited;

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
    /// Verify a backup, or restore one while no daemon runs.
    #[command(subcommand)]
    Backup(BackupCommand),
}

#[derive(Subcommand)]
enum BackupCommand {
    /// Say what a backup holds, or what is wrong with it.
    Verify {
        /// The backup.
        file: PathBuf,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Put the state of a backup in the place of the one there is.
    Restore {
        /// The backup.
        file: PathBuf,
        /// Rename a state that is there; without, it is refused.
        #[arg(long)]
        replace: bool,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
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
        Some(Command::Backup(command)) => {
            use_backup(&command, &arguments.state.unwrap_or_else(|| site.state()))
        }
        None => {
            boot::refuse_root()?;
            let config = config::load(&file)?;
            let inherited = Inherited::take();
            let runtime = runtime()?;
            runtime.block_on(boot::run(config, file, site, arguments.state, inherited))
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
fn use_backup(command: &BackupCommand, state: &Path) -> Result<()> {
    let (contents, verdict, replaced, as_json) = match command {
        BackupCommand::Verify { file, json } => {
            let (contents, verdict) = backup::verify(file)?;
            (contents, Some(verdict), None, *json)
        }
        BackupCommand::Restore { file, replace, json } => {
            let restored = backup::restore(file, state, *replace)?;
            (restored.contents, None, restored.replaced, *json)
        }
    };
    let backup::Contents { about, files, bytes } = contents;
    let (records, faults) = verdict.map(|verdict| (verdict.records, verdict.faults)).unzip();
    if as_json {
        let told = serde_json::json!({
            "created_at": about.created_at,
            "version": about.format.version,
            "format": about.format.format,
            "files": files,
            "bytes": bytes,
            "audit_records": records,
            "audit_faults": faults,
            "replaced": replaced,
        });
        println!("{told}");
        return Ok(());
    }
    println!(
        "of {} by skynetd {}: {files} files, {bytes} bytes; whole",
        about.created_at, about.format.version
    );
    if let (Some(records), Some(faults)) = (records, faults) {
        println!("{records} records of the audit log, {} faults", faults.len());
        for fault in faults {
            println!("  {fault}");
        }
    }
    if let Some(replaced) = replaced {
        println!("the state that was there is `{}` now", replaced.display());
    }
    Ok(())
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
            check::all(&config::load(file)?, home)?;
            println!("the configuration is valid");
        }
        ConfigCommand::Show { json: true } => {
            println!("{}", serde_json::to_string_pretty(&config::load(file)?)?);
        }
        ConfigCommand::Show { json: false } => print!("{}", toml::to_string_pretty(&config::load(file)?)?),
    }
    Ok(())
}
