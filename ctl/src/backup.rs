//! `skynetctl backup`. One is made by the daemon that runs; its program reads one, also while no daemon runs.

use crate::{
    config::ask,
    daemon::Daemon,
    new_file::NewFile,
    output::{Failure, Output},
};
use clap::Subcommand;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use skynet_proto::BackupRequest;
use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Copy the audit log, secrets, memory, tokens and whatever else cannot be made anew into one file, while the daemon
    /// serves. Whoever reads the file can read all secrets, unless their key is a credential of systemd.
    Create {
        /// The file, which must not exist. Default: `skynet-<time>.tar.gz` in the current directory.
        file: Option<PathBuf>,
    },
    /// Say what a backup holds and whether it is whole.
    Verify {
        /// The backup.
        file: PathBuf,
    },
    /// Put a backup in the place of the state there is. The daemon must be stopped.
    Restore {
        /// The backup.
        file: PathBuf,
        /// Rename a state that is there; without, it is refused.
        #[arg(long)]
        replace: bool,
        /// Restore into this directory instead of the usual one.
        #[arg(long, value_name = "DIR")]
        state: Option<PathBuf>,
    },
}

pub(crate) async fn run(daemon: &Daemon, command: Command, output: &mut Output) -> Result<(), Failure> {
    match command {
        Command::Create { file } => create(daemon, file, output).await,
        Command::Verify { file } => read(vec!["verify".into(), absolute(&file)?], None, output),
        Command::Restore { file, replace, state } => {
            let mut arguments = vec!["restore".into(), absolute(&file)?];
            arguments.extend(replace.then(|| "--replace".into()));
            read(arguments, state.as_deref(), output)
        }
    }
}

async fn create(daemon: &Daemon, file: Option<PathBuf>, output: &mut Output) -> Result<(), Failure> {
    let new = NewFile::begin(file, "skynet")?;
    let mut parts = daemon.status().await?.backup(BackupRequest {}).await?.into_inner();
    let (mut hash, mut bytes, mut is_whole) = (Sha256::new(), 0, false);
    while let Some(part) = parts.message().await? {
        new.file().write_all(&part.content)?;
        hash.update(&part.content);
        bytes += part.content.len();
        is_whole = part.is_last;
    }
    if !is_whole {
        return Err(Failure::refused("the daemon broke off; its log says why"));
    }
    let sum: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    let path = new.finish()?;
    output.show(&json!({ "file": path, "bytes": bytes, "sha256": sum }), || {
        format!("{sum}  {}\n{bytes} bytes; `skynetctl backup verify` reads it", path.display())
    })
}

/// Has the daemon's program read one.
fn read(arguments: Vec<String>, state: Option<&Path>, output: &mut Output) -> Result<(), Failure> {
    let mut all = Vec::new();
    if let Some(state) = state {
        all.extend(["--state".into(), absolute(state)?]);
    }
    all.push("backup".into());
    all.extend(arguments);
    all.extend(output.is_json().then(|| "--json".into()));
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let said = ask(&all)?;
    if output.is_json() {
        let told: Value = serde_json::from_str(&said).map_err(io::Error::from)?;
        return output.show(&told, String::new);
    }
    output.line(said.trim_end())
}

fn absolute(path: &Path) -> Result<String, Failure> {
    Ok(std::path::absolute(path)?.to_string_lossy().into_owned())
}
