//! `skynetctl secret`.

use crate::{
    daemon::Daemon,
    environment, login,
    output::{Failure, Output, table, time},
};
use clap::Subcommand;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use serde_json::{Value, json};
use skynet_proto::{
    DeleteSecretRequest, LinkSecretRequest, ListSecretsRequest, OauthGrant, RenewSecretRequest,
    RotateSecretRequest, Secret, SetSecretRequest,
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
    /// Log in at a provider of OAuth: the secret is an access token that is kept fresh.
    Login(login::Arguments),
    /// Give a secret a new value, read as by `set`, or an access token of its provider by the next one. The old one is still taken
    /// out of what is written.
    Rotate {
        /// Its name.
        name: String,
    },
    /// Delete a secret. An access token is revoked at its provider.
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
    let command = match command {
        Command::Env(command) => return environment::run(daemon, command, output).await,
        Command::Login(arguments) => return login::run(daemon, arguments, output).await,
        other => other,
    };
    let mut client = daemon.secrets().await?;
    match command {
        Command::Env(_) | Command::Login(_) => Ok(()),
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
            let all = client.list(ListSecretsRequest {}).await?.into_inner().secrets;
            let secret = if all.iter().any(|one| one.name == name && one.grant.is_some()) {
                client.renew(RenewSecretRequest { name }).await?.into_inner()
            } else {
                let value = value(&name, "rotate")?;
                client.rotate(RotateSecretRequest { name, value: value.into() }).await?.into_inner()
            };
            output.show(&to_json(&secret), || format!("`{}` is at version {}", secret.name, secret.version))
        }
        Command::Delete { name } => {
            let deleted = client.delete(DeleteSecretRequest { name: name.clone() }).await?.into_inner();
            let why = Some(deleted.not_revoked).filter(|why| !why.is_empty());
            output.show(&json!({ "name": name, "not_revoked": why }), || match &why {
                None => format!("`{name}` is deleted"),
                Some(why) => format!(
                    "`{name}` is deleted here; its tokens are not revoked, so take them back at the provider: {why}"
                ),
            })
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
                        where_kept(secret),
                        secret.hosts.join(" "),
                        in_git(secret).unwrap_or_default(),
                    ]
                });
                let head = ["name", "version", "updated", "kept", "hosts", "git"];
                std::iter::once(table(head, rows)).chain(grants(&all.secrets)).chain(damaged).collect()
            })
        }
    }
}

fn where_kept(secret: &Secret) -> String {
    match &secret.grant {
        Some(_) => "oauth".to_owned(),
        None if secret.place.is_empty() => "here".to_owned(),
        None => secret.place.clone(),
    }
}

/// A table of those that are access tokens, if there are any.
fn grants(secrets: &[Secret]) -> Option<String> {
    let rows = secrets.iter().filter_map(|secret| {
        let grant = secret.grant.as_ref()?;
        let expires_at = grant.expires_at.as_ref().map_or_else(|| "never".to_owned(), |at| time(Some(at)));
        let state = grant.state.replace('_', " ");
        Some([secret.name.clone(), grant.provider.clone(), expires_at, state, grant.scopes.join(" ")])
    });
    let rows: Vec<_> = rows.collect();
    (!rows.is_empty())
        .then(|| format!("\n\n{}", table(["name", "provider", "expires", "state", "scopes"], rows)))
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

pub(crate) fn to_json(secret: &Secret) -> Value {
    let kind = match &secret.grant {
        Some(_) => "oauth",
        None if secret.place.is_empty() => "value",
        None => "vault",
    };
    let grant = secret.grant.as_ref().map(|OauthGrant { provider, scopes, expires_at, state, reason }| {
        json!({
            "provider": provider,
            "scopes": scopes,
            "expires_at": expires_at.as_ref().map(|at| time(Some(at))),
            "state": state,
            "reason": Some(reason).filter(|reason| !reason.is_empty()),
        })
    });
    json!({
        "kind": kind,
        "oauth": grant,
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

/// A value from stdin, which is not empty.
pub(crate) fn value(name: &str, command: &str) -> Result<Vec<u8>, Failure> {
    let value = hidden(&format!("Value of `{name}`"))?;
    if value.is_empty() {
        return Err(Failure::usage(format!(
            "the value is empty; pipe it in, like `printf %s \"$VALUE\" | skynetctl secret {command} {name}`"
        )));
    }
    Ok(value)
}

/// From stdin: all of it without the line feed that ends it, or a line of a terminal that does not show it. Never an
/// argument, which every process of the host can see.
pub(crate) fn hidden(what: &str) -> Result<Vec<u8>, Failure> {
    let stdin = io::stdin();
    let mut value = Vec::new();
    if stdin.is_terminal() {
        eprint!("{what} (not shown): ");
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
    Ok(value)
}
