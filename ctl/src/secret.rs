//! `skynetctl secret`.

use crate::{
    daemon::Daemon,
    environment,
    output::{Failure, Output, table, time},
};
use clap::Subcommand;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use serde_json::{Value, json};
use skynet_proto::{
    DeleteSecretRequest, LinkSecretRequest, ListSecretsRequest, RotateSecretRequest, Secret, SetSecretRequest,
};
use std::io::{self, BufRead as _, IsTerminal as _, Read as _};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Keep a secret. Its value is read from stdin; on a terminal it is asked for and not shown.
    Set {
        /// Lower-case letters, digits, `_`, `.` and `-`. A command gets it as a variable with the value `secret://NAME`.
        name: String,
        /// A host that a command which gets it may reach, like `api.example.org`, `*.example.org` or `localhost`. May be given
        /// more than once; without any, only commands without a network get it.
        #[arg(long, value_name = "HOST")]
        host: Vec<String>,
        /// Let the git tools use it for remotes at these hosts, without its being named: a private key by SSH, anything else as
        /// the password by HTTPS.
        #[arg(long, requires = "host")]
        git: bool,
        /// The user that goes with the password, if the remote's URL names none.
        #[arg(long, requires = "git", default_value = "x-access-token")]
        username: String,
        /// Replace one of that name.
        #[arg(long)]
        replace: bool,
    },
    /// Name a value that a vault keeps; it is fetched anew for each command.
    Link {
        /// As for `set`.
        name: String,
        /// Where it is, below what the configuration says is yours: `PATH#FIELD`, like `database/main#password`.
        #[arg(value_name = "PATH#FIELD")]
        place: String,
        /// As for `set`.
        #[arg(long, value_name = "HOST")]
        host: Vec<String>,
        /// Replace one of that name.
        #[arg(long)]
        replace: bool,
    },
    /// Give a secret a new value, read as by `set`. The old one is still taken out of what is written.
    Rotate {
        /// Its name.
        name: String,
    },
    /// Delete a secret.
    Delete {
        /// Its name.
        name: String,
    },
    /// List names, never values.
    List,
    /// Set, import, delete and list variables of an encrypted file that may lie in a repository.
    #[command(subcommand)]
    Env(environment::Command),
}

pub(crate) async fn run(daemon: &Daemon, command: Command, output: &mut Output) -> Result<(), Failure> {
    if let Command::Env(command) = command {
        return environment::run(daemon, command, output).await;
    }
    let mut client = daemon.secrets().await?;
    match command {
        Command::Env(_) => Ok(()),
        Command::Set { name, host, git, username, replace } => {
            let value = value(&name, "set")?;
            let git_username = git.then_some(username);
            let request = SetSecretRequest { name, value: value.into(), hosts: host, replace, git_username };
            let secret = client.set(request).await?.into_inner();
            output.show(&to_json(&secret), || kept(&secret))
        }
        Command::Link { name, place, host, replace } => {
            let request = LinkSecretRequest { name, place, hosts: host, replace };
            let secret = client.link(request).await?.into_inner();
            output.show(&to_json(&secret), || {
                let (name, place) = (&secret.name, &secret.place);
                format!("`{name}` is `{place}` of the vault; a command gets it as a variable whose value is `secret://{name}`")
            })
        }
        Command::Rotate { name } => {
            let value = value(&name, "rotate")?;
            let secret = client.rotate(RotateSecretRequest { name, value: value.into() }).await?.into_inner();
            output.show(&to_json(&secret), || format!("`{}` is at version {}", secret.name, secret.version))
        }
        Command::Delete { name } => {
            client.delete(DeleteSecretRequest { name: name.clone() }).await?;
            output.show(&json!({ "name": name }), || format!("`{name}` is deleted"))
        }
        Command::List => {
            let all = client.list(ListSecretsRequest {}).await?.into_inner();
            let json = json!({
                "secrets": all.secrets.iter().map(to_json).collect::<Vec<_>>(),
                "damaged": all.damaged,
            });
            output.show(&json, || {
                let damaged = all.damaged.iter().map(|reason| format!("\n{reason}"));
                if all.secrets.is_empty() {
                    return std::iter::once("there are no secrets".to_owned()).chain(damaged).collect();
                }
                let rows = all.secrets.iter().map(|secret| {
                    [
                        secret.name.clone(),
                        secret.version.to_string(),
                        time(secret.updated_at.as_ref()),
                        if secret.place.is_empty() { "here".to_owned() } else { secret.place.clone() },
                        secret.hosts.join(" "),
                        in_git(secret).unwrap_or_default(),
                    ]
                });
                let head = ["name", "version", "updated", "kept", "hosts", "git"];
                std::iter::once(table(head, rows)).chain(damaged).collect()
            })
        }
    }
}

/// What it is to the git tools, if they use it.
fn in_git(secret: &Secret) -> Option<String> {
    let username = secret.git_username.as_ref()?;
    Some(if secret.is_private_key { "SSH key".to_owned() } else { format!("user {username}") })
}

fn kept(secret: &Secret) -> String {
    let name = &secret.name;
    let used = in_git(secret).map(|what| {
        let scheme = if secret.is_private_key { "ssh" } else { "https" };
        format!("; the git tools use it for `{scheme}` remotes at {}, as {what}", secret.hosts.join(", "))
    });
    let used = used.unwrap_or_default();
    format!("`{name}` is kept; a command gets it as a variable whose value is `secret://{name}`{used}")
}

fn to_json(secret: &Secret) -> Value {
    json!({
        "name": secret.name,
        "version": secret.version,
        "created_at": time(secret.created_at.as_ref()),
        "updated_at": time(secret.updated_at.as_ref()),
        "hosts": secret.hosts,
        "place": Some(&secret.place).filter(|place| !place.is_empty()),
        "size_bytes": secret.size_bytes,
        "git_username": secret.git_username,
        "is_private_key": secret.is_private_key,
    })
}

/// From stdin: all of it without the line feed that ends it, or a line of a terminal that does not show it. Never an
/// argument, which every process of the host can see.
pub(crate) fn value(name: &str, command: &str) -> Result<Vec<u8>, Failure> {
    let stdin = io::stdin();
    let mut value = Vec::new();
    if stdin.is_terminal() {
        eprint!("Value of `{name}` (not shown): ");
        let shown = tcgetattr(&stdin).map_err(io::Error::from)?;
        let mut hidden = shown.clone();
        hidden.local_modes -= LocalModes::ECHO;
        tcsetattr(&stdin, OptionalActions::Flush, &hidden).map_err(io::Error::from)?;
        let read = stdin.lock().read_until(b'\n', &mut value);
        tcsetattr(&stdin, OptionalActions::Flush, &shown).map_err(io::Error::from)?;
        eprintln!();
        read?;
    } else {
        stdin.lock().read_to_end(&mut value)?;
    }
    if value.last() == Some(&b'\n') {
        value.pop();
        if value.last() == Some(&b'\r') {
            value.pop();
        }
    }
    if value.is_empty() {
        return Err(Failure::usage(format!(
            "the value is empty; pipe it in, like `printf %s \"$VALUE\" | skynetctl secret {command} {name}`"
        )));
    }
    Ok(value)
}
