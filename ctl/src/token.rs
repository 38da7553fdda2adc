//! `skynetctl token`.

use crate::{
    daemon::Daemon,
    output::{Failure, Output, table, time},
};
use clap::{Subcommand, ValueEnum};
use serde_json::{Value, json};
use skynet_proto::{CreateTokenRequest, ListTokensRequest, RevokeTokenRequest, Token};
use std::path::PathBuf;

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
    },
    /// List the tokens.
    List,
    /// End a token at once.
    Revoke {
        /// Its name or id.
        name: String,
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
    let mut client = daemon.tokens().await?;
    match command {
        Command::Create { name, metrics, workspace, effect, expires_in_days } => {
            let here = std::env::current_dir()?;
            let workspaces = if workspace.is_empty() { vec![PathBuf::new()] } else { workspace };
            let workspaces = workspaces.iter().map(|given| here.join(given).to_string_lossy().into_owned());
            let request = CreateTokenRequest {
                name,
                workspaces: workspaces.map(|path| path.trim_end_matches('/').to_owned()).collect(),
                effects: effect.into_iter().map(|effect| effect.name().to_owned()).collect(),
                lives_for_seconds: expires_in_days.unwrap_or(0) * 24 * 3600,
                metrics,
            };
            let created = client.create(request).await?.into_inner();
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
        Command::List => {
            let tokens = client.list(ListTokensRequest {}).await?.into_inner().tokens;
            output.show(&tokens.iter().map(to_json).collect(), || {
                if tokens.is_empty() {
                    return "there are no tokens".into();
                }
                let rows = tokens.iter().map(|token| {
                    let ends = token.expires_at.as_ref().map_or_else(|| "never".into(), |at| time(Some(at)));
                    [
                        token.id.clone(),
                        token.name.clone(),
                        if token.metrics { "metrics".into() } else { token.effects.join(" ") },
                        ends,
                        token.workspaces.join(" "),
                    ]
                });
                table(["id", "name", "effects", "expires", "workspaces"], rows)
            })
        }
        Command::Revoke { name } => {
            let token = client.revoke(RevokeTokenRequest { name }).await?.into_inner();
            output.show(&to_json(&token), || format!("`{}` is revoked", token.name))
        }
    }
}

fn bounds(token: &Token) -> String {
    if token.metrics {
        return "may     read the metrics".into();
    }
    format!("may     {} in {}", token.effects.join(", "), token.workspaces.join(", "))
}

fn to_json(token: &Token) -> Value {
    json!({
        "id": token.id,
        "name": token.name,
        "workspaces": token.workspaces,
        "effects": token.effects,
        "metrics": token.metrics,
        "created_at": time(token.created_at.as_ref()),
        "expires_at": token.expires_at.as_ref().map(|at| time(Some(at))),
    })
}
