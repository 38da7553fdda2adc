//! `skynetctl token`. Where a whole host is served, it is the broker that is asked: the daemon has no part in it.

use crate::{
    daemon::{Daemon, not_let_in},
    output::{Failure, Output, table, time},
};
use clap::{Subcommand, ValueEnum};
use serde_json::{Value, json};
use skynet_proto::{
    CreateTokenRequest, CreateTokenResponse, ListTokensRequest, ListTokensResponse, RevokeTokenRequest,
    StatusRequest, Token, TokenDeskRefusal, token_desk, token_desk_reply::Reply, token_desk_request::Request,
};
use std::{
    io,
    path::{Path, PathBuf},
};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make a token for a client that comes by HTTP. Its secret is shown this once.
    Create {
        /// What to call it.
        name: String,
        /// Let it read the metrics, and nothing else.
        #[arg(long, conflicts_with_all = ["workspace", "effect"])]
        metrics: bool,
        /// A directory it may work in; the first is the default. May be given more than once. Default: the current one.
        #[arg(long, value_name = "DIR")]
        workspace: Vec<PathBuf>,
        /// What its calls may do. May be given more than once. Default: read.
        #[arg(long, value_enum, default_value = "read")]
        effect: Vec<Effect>,
        /// End it after that many days; without, it ends when it is revoked.
        #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u64).range(1..=36500))]
        expires_in_days: Option<u64>,
        /// Let it act for that user, by name or number, instead of you. For root, where a whole host is served.
        #[arg(long, value_name = "USER", conflicts_with = "metrics")]
        user: Option<String>,
    },
    /// List the tokens.
    List {
        /// Those of that user, by name or number. For root, where a whole host is served.
        #[arg(long, value_name = "USER")]
        user: Option<String>,
    },
    /// End a token at once.
    Revoke {
        /// Its name or id.
        name: String,
        /// Of that user, by name or number. For root, where a whole host is served.
        #[arg(long, value_name = "USER")]
        user: Option<String>,
    },
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Effect {
    /// Changes nothing.
    Read,
    /// Changes files of the workspace.
    Write,
    /// Loses something for good.
    Destroy,
    /// Leaves the host.
    External,
}

impl Effect {
    const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Destroy => "destroy",
            Self::External => "external",
        }
    }
}

pub(crate) async fn run(daemon: &Daemon, command: Command, output: &mut Output) -> Result<(), Failure> {
    match command {
        Command::Create { name, metrics, workspace, effect, expires_in_days, user } => {
            let here = std::env::current_dir()?;
            let workspaces = if workspace.is_empty() { vec![PathBuf::new()] } else { workspace };
            let workspaces = workspaces.iter().map(|given| here.join(given).to_string_lossy().into_owned());
            let request = CreateTokenRequest {
                name,
                workspaces: workspaces.map(|path| path.trim_end_matches('/').to_owned()).collect(),
                effects: effect.into_iter().map(|effect| effect.name().to_owned()).collect(),
                lives_for_seconds: expires_in_days.unwrap_or(0) * 24 * 3600,
                metrics,
                user: user.unwrap_or_default(),
            };
            let created = match daemon.token_desk().filter(|_| !metrics) {
                Some(desk) => create_at(&desk, daemon, request).await?,
                None => daemon.tokens().await?.create(request).await?.into_inner(),
            };
            let token = created.token.unwrap_or_default();
            let mut json = to_json(&token);
            if let Some(members) = json.as_object_mut() {
                members.insert("secret".into(), created.secret.clone().into());
                members.insert("url".into(), created.url.clone().into());
            }
            output.show(&json, || {
                let url = if created.url.is_empty() {
                    let [what, key, example] = if metrics {
                        ["metrics are", "metrics.listen", "127.0.0.1:9464"]
                    } else {
                        ["HTTP is", "http.listen", "127.0.0.1:7345"]
                    };
                    format!("{what} off; set `{key}` in the configuration, like `{example}`")
                } else {
                    created.url.clone()
                };
                format!(
                    "{}\n{}\nurl     {url}\nsecret  {}\nThe secret is not shown again.",
                    token.name,
                    bounds(&token),
                    created.secret
                )
            })
        }
        Command::List { user } => {
            let desk = daemon.token_desk();
            let request = ListTokensRequest { user: user.unwrap_or_default() };
            let ListTokensResponse { tokens, left_out } = match &desk {
                Some(desk) => list_at(desk, daemon, request).await?,
                None => {
                    for_one_user(&request.user)?;
                    daemon.tokens().await?.list(request).await?.into_inner()
                }
            };
            output.show(&tokens.iter().map(to_json).collect(), || show(&tokens, desk.is_some()))?;
            if left_out > 0 {
                eprintln!("skynetctl: {left_out} more are not shown; narrow it by `--user`");
            }
            Ok(())
        }
        Command::Revoke { name, user } => {
            let request = RevokeTokenRequest { name, user: user.unwrap_or_default() };
            let token = match daemon.token_desk() {
                Some(desk) => revoke_at(&desk, daemon, request).await?,
                None => {
                    for_one_user(&request.user)?;
                    daemon.tokens().await?.revoke(request).await?.into_inner()
                }
            };
            output.show(&to_json(&token), || format!("`{}` is revoked", token.name))
        }
    }
}

/// Refuses what only a whole host has.
fn for_one_user(user: &str) -> Result<(), Failure> {
    if user.is_empty() {
        return Ok(());
    }
    Err(Failure::usage("this daemon serves one user; leave `--user` out"))
}

fn is_root() -> bool {
    rustix::process::getuid().is_root()
}

/// Asks the broker of a host, and waits for it.
fn ask(desk: &Path, request: Request) -> Result<Reply, Failure> {
    token_desk::ask(desk, request).map_err(|err| match err.kind() {
        io::ErrorKind::PermissionDenied => not_let_in(desk),
        io::ErrorKind::InvalidInput => Failure::usage(err.to_string()),
        _ => Failure::unreachable(format!(
            "the broker does not answer at `{}`: {err}; `systemctl status skynet-sandbox` tells more",
            desk.display()
        )),
    })
}

/// What the broker said instead of what it was asked.
fn failure(reply: Reply) -> Failure {
    match reply {
        Reply::Refused(TokenDeskRefusal { kind, message }) if kind == "invalid_input" => {
            Failure::usage(message)
        }
        Reply::Refused(TokenDeskRefusal { message, .. }) => Failure::refused(message),
        Reply::Created(_) | Reply::Listed(_) | Reply::Revoked(_) => Failure::refused(
            "the broker answered something else; install all programs of one release together",
        ),
    }
}

async fn create_at(
    desk: &Path,
    daemon: &Daemon,
    mut request: CreateTokenRequest,
) -> Result<CreateTokenResponse, Failure> {
    // The broker walks no path of a user.
    request.workspaces =
        request.workspaces.iter().map(|path| real(Path::new(path))).collect::<Result<_, _>>()?;
    let mut created = match ask(desk, Request::Create(request))? {
        Reply::Created(created) => created,
        other => return Err(failure(other)),
    };
    // The token is there, whether or not the daemon is.
    if let Ok(mut client) = daemon.status().await
        && let Ok(status) = client.status(StatusRequest {}).await
    {
        created.url = status.into_inner().http;
    }
    Ok(created)
}

/// Where a directory really is, so that a link which is turned later does not turn the token.
fn real(path: &Path) -> Result<String, Failure> {
    let refused = |why: String| Failure::refused(format!("`{}` is no workspace: {why}", path.display()));
    let found = path.canonicalize().map_err(|err| refused(err.to_string()))?;
    if !found.is_dir() {
        return Err(refused("it is no directory".to_owned()));
    }
    found.into_os_string().into_string().map_err(|_| refused("its path is no text in UTF-8".to_owned()))
}

async fn list_at(
    desk: &Path,
    daemon: &Daemon,
    request: ListTokensRequest,
) -> Result<ListTokensResponse, Failure> {
    let is_about_all = request.user.is_empty();
    let mut listed = match ask(desk, Request::List(request))? {
        Reply::Listed(listed) => listed,
        other => return Err(failure(other)),
    };
    // Those for metrics are the daemon's, and root's.
    if is_root() && is_about_all {
        let of_daemon = daemon.tokens().await?.list(ListTokensRequest::default()).await?.into_inner();
        listed.tokens.extend(of_daemon.tokens);
    }
    Ok(listed)
}

async fn revoke_at(desk: &Path, daemon: &Daemon, request: RevokeTokenRequest) -> Result<Token, Failure> {
    let is_about_all = request.user.is_empty();
    match ask(desk, Request::Revoke(request.clone()))? {
        Reply::Revoked(token) => Ok(token),
        // As above.
        Reply::Refused(refused) if refused.kind == "not_found" && is_root() && is_about_all => {
            Ok(daemon.tokens().await?.revoke(request).await?.into_inner())
        }
        other => Err(failure(other)),
    }
}

fn show(tokens: &[Token], is_host: bool) -> String {
    if tokens.is_empty() {
        return "there are no tokens".into();
    }
    let row = |token: &Token| {
        let ends = token.expires_at.as_ref().map_or_else(|| "never".into(), |at| time(Some(at)));
        let effects = if token.metrics { "metrics".into() } else { token.effects.join(" ") };
        [token.id.clone(), token.name.clone(), effects, ends, token.workspaces.join(" ")]
    };
    let header = ["id", "name", "effects", "expires", "workspaces"];
    if !is_host {
        return table(header, tokens.iter().map(row));
    }
    let [id, name, effects, expires, workspaces] = header;
    let rows = tokens.iter().map(|token| {
        let [id, name, effects, ends, workspaces] = row(token);
        let user = token.uid.map_or_else(String::new, |uid| uid.to_string());
        [id, name, user, effects, ends, workspaces]
    });
    table([id, name, "user", effects, expires, workspaces], rows)
}

fn bounds(token: &Token) -> String {
    if token.metrics {
        return "may     read the metrics".into();
    }
    format!("may     {} in {}", token.effects.join(", "), token.workspaces.join(", "))
}

fn to_json(token: &Token) -> Value {
    let mut json = json!({
        "id": token.id,
        "name": token.name,
        "workspaces": token.workspaces,
        "effects": token.effects,
        "metrics": token.metrics,
        "created_at": time(token.created_at.as_ref()),
        "expires_at": token.expires_at.as_ref().map(|at| time(Some(at))),
    });
    if let (Some(uid), Some(members)) = (token.uid, json.as_object_mut()) {
        members.insert("uid".into(), uid.into());
    }
    json
}
