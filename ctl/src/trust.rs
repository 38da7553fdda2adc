//! `skynetctl trust`: which rules of projects count.

use crate::{
    daemon::Daemon,
    output::{Failure, Output, table, time},
};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use skynet_proto::{AddTrustRequest, ListTrustRequest, RemoveTrustRequest, TrustedFile};
use std::path::PathBuf;

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Trust {
    /// Trust `.skynet.toml` in this workspace as it is now, instead of that in the current directory.
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// List what is trusted.
    List,
    /// End trust in whatever is trusted of a workspace.
    Remove {
        /// The workspace, instead of the current directory.
        #[arg(value_name = "DIR")]
        directory: Option<PathBuf>,
    },
}

pub(crate) async fn run(daemon: &Daemon, wanted: Trust, output: &mut Output) -> Result<(), Failure> {
    let mut client = daemon.trust().await?;
    match wanted.command {
        None => {
            let workspace = absolute(wanted.directory)?;
            let file = client.add(AddTrustRequest { workspace }).await?.into_inner();
            output.show(&to_json(&file), || {
                format!(
                    "the rules of {} count as they are now\nrules   {}\nsha256  {}",
                    file.workspace, file.rules, file.sha256
                )
            })
        }
        Some(Command::List) => {
            let files = client.list(ListTrustRequest {}).await?.into_inner().files;
            output.show(&files.iter().map(to_json).collect(), || {
                if files.is_empty() {
                    return "no project is trusted".into();
                }
                let rows = files.iter().map(|file| {
                    let digest = file.sha256.chars().take(12).collect();
                    [file.workspace.clone(), file.rules.to_string(), digest, time(file.trusted_at.as_ref())]
                });
                table(["workspace", "rules", "sha256", "since"], rows)
            })
        }
        Some(Command::Remove { directory }) => {
            let workspace = absolute(directory)?;
            let files = client.remove(RemoveTrustRequest { workspace }).await?.into_inner().files;
            output.show(&files.iter().map(to_json).collect(), || {
                let workspace = files.first().map_or("", |file| file.workspace.as_str());
                format!("the rules of {workspace} do not count any more")
            })
        }
    }
}

fn absolute(directory: Option<PathBuf>) -> Result<String, Failure> {
    let path = std::env::current_dir()?.join(directory.unwrap_or_default());
    Ok(path.to_string_lossy().trim_end_matches('/').to_owned())
}

fn to_json(file: &TrustedFile) -> Value {
    json!({
        "workspace": file.workspace,
        "sha256": file.sha256,
        "rules": file.rules,
        "trusted_at": time(file.trusted_at.as_ref()),
    })
}
