//! `skynetctl secret env`: encrypted files of variables. The daemon encrypts; the file is read and written here, with the
//! rights of who calls.

use crate::{
    daemon::Daemon,
    output::{Failure, Output, table},
    secret::value,
};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use skynet_proto::{EditVariablesRequest, EditVariablesResponse, SetVariable, Variable};
use std::{
    fs::{self, Permissions},
    io::{self, Read as _, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Set a variable. Its value is read from stdin; on a terminal it is asked for and not shown.
    Set {
        /// The variable. A command gets it by `secret://FILE#NAME`, and all of the file by the variable `*` with the value `secret://FILE`.
        name: String,
        #[command(flatten)]
        hosts: Hosts,
        #[command(flatten)]
        file: File,
    },
    /// Set all variables of a plain file of `NAME=value` lines, which stays as it is: delete it afterwards.
    Import {
        /// The plain file, usually `.env`; `-` for stdin.
        plain: PathBuf,
        #[command(flatten)]
        hosts: Hosts,
        #[command(flatten)]
        file: File,
    },
    /// Delete a variable.
    Delete {
        /// The variable.
        name: String,
        #[command(flatten)]
        file: File,
    },
    /// List names, never values, and say what no command would get.
    List {
        #[command(flatten)]
        file: File,
    },
}

#[derive(Args)]
pub(crate) struct Hosts {
    /// A host that a command which gets it may reach, like `api.example.org`, `*.example.org` or `localhost`. May be given
    /// more than once; without any, only commands without a network get it.
    #[arg(long, value_name = "HOST")]
    host: Vec<String>,
}

#[derive(Args)]
pub(crate) struct File {
    /// The encrypted file.
    #[arg(long, value_name = "FILE", default_value = ".env.skynet")]
    file: PathBuf,
}

/// Begins a new file, for who finds it.
const HEAD: &str = "# Encrypted by `skynetctl secret env`. In the environment of an agent's command: \"NAME\": \"secret://FILE#NAME\", or \"*\": \"secret://FILE\" for all.\n";

pub(crate) async fn run(daemon: &Daemon, command: Command, output: &mut Output) -> Result<(), Failure> {
    match command {
        Command::Set { name, hosts, file } => {
            let value = value(&name, "env set")?;
            let set = vec![SetVariable { name: name.clone(), value: value.into() }];
            let change = EditVariablesRequest { set, hosts: hosts.host, ..Default::default() };
            let changed = edit(daemon, &file.file, change).await?;
            let json = found(&changed, |variable| variable.name == name);
            output.show(&json, || {
                let file = file.file.display();
                format!("`{name}` is in `{file}`; a command gets it as a variable whose value is `secret://{file}#{name}`")
            })
        }
        Command::Import { plain, hosts, file } => {
            let text = read_plain(&plain)?;
            let change = EditVariablesRequest { plain: text, hosts: hosts.host, ..Default::default() };
            let changed = edit(daemon, &file.file, change).await?;
            output.show(&found(&changed, |_| true), || {
                let count = changed.variables.len();
                let (file, plain) = (file.file.display(), plain.display());
                format!("`{file}` has {count} variables; delete `{plain}` if nothing else needs it")
            })
        }
        Command::Delete { name, file } => {
            let change = EditVariablesRequest { delete: vec![name.clone()], ..Default::default() };
            edit(daemon, &file.file, change).await?;
            output.show(&json!({ "name": name }), || {
                format!(
                    "`{name}` is deleted; what a repository remembers of the file still holds it, encrypted"
                )
            })
        }
        Command::List { file } => {
            let request =
                EditVariablesRequest { file: read(&file.file)?.unwrap_or_default(), ..Default::default() };
            let all = daemon.secrets().await?.edit_variables(request).await?.into_inner();
            output.show(&found(&all, |_| true), || list(&all.variables))
        }
    }
}

fn list(variables: &[Variable]) -> String {
    if variables.is_empty() {
        return "there are no variables".to_owned();
    }
    let rows = variables.iter().map(|variable| {
        let state = if variable.fault.is_empty() { "given" } else { "refused" };
        [variable.name.clone(), state.to_owned(), variable.hosts.join(" ")]
    });
    let faults = variables.iter().map(|variable| &variable.fault).filter(|fault| !fault.is_empty());
    std::iter::once(table(["name", "state", "hosts"], rows))
        .chain(faults.map(|fault| format!("\n{fault}")))
        .collect()
}

fn found(all: &EditVariablesResponse, is_wanted: impl Fn(&Variable) -> bool) -> Value {
    let variables = all.variables.iter().filter(|variable| is_wanted(variable));
    let variables = variables.map(|variable| {
        let fault = Some(&variable.fault).filter(|fault| !fault.is_empty());
        json!({ "name": variable.name, "hosts": variable.hosts, "fault": fault })
    });
    json!({ "variables": variables.collect::<Vec<_>>() })
}

/// Has the daemon change a file, and writes what comes of it.
async fn edit(
    daemon: &Daemon,
    path: &Path,
    change: EditVariablesRequest,
) -> Result<EditVariablesResponse, Failure> {
    let before = read(path)?;
    let request = EditVariablesRequest { file: before.clone().unwrap_or_default(), ..change };
    let mut changed = daemon.secrets().await?.edit_variables(request).await?.into_inner();
    if before.is_none() {
        changed.file.insert_str(0, HEAD);
    }
    write(path, before.as_deref(), &changed.file)?;
    Ok(changed)
}

/// `None` if there is no such file.
fn read(path: &Path) -> Result<Option<String>, Failure> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(err) => Err(failed(path, &err)),
    }
}

fn read_plain(path: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    if path == Path::new("-") {
        io::stdin().read_to_string(&mut text)?;
        return Ok(text);
    }
    fs::read_to_string(path).map_err(|err| failed(path, &err))
}

/// Replaces the file at once. It holds nothing that is not encrypted, so it is as readable as the files beside it.
fn write(path: &Path, before: Option<&str>, text: &str) -> Result<(), Failure> {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let failed = |err: io::Error| failed(&path, &err);
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let mode = fs::metadata(&path).map_or(0o644, |file| file.permissions().mode());
    let mut file = tempfile::NamedTempFile::new_in(parent.unwrap_or(Path::new("."))).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    file.as_file().set_permissions(Permissions::from_mode(mode)).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    if read(&path)?.as_deref() != before {
        return Err(Failure::refused(format!("`{}` changed meanwhile; try again", path.display())));
    }
    file.persist(&path).map_err(|err| failed(err.error))?;
    Ok(())
}

fn failed(path: &Path, err: &io::Error) -> Failure {
    Failure::refused(format!("`{}`: {err}", path.display()))
}
