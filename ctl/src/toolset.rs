//! `skynetctl toolset`.

use crate::{
    daemon::Daemon,
    output::{Failure, Output, table},
};
use clap::Subcommand;
use serde_json::{Value, json};
use skynet_proto::{ChooseToolsetRequest, ListToolsetsRequest, Toolset};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// List the sets of tools, and which of them clients are shown.
    List {
        /// For the clients that show this token, by name or id, instead of those on the socket.
        #[arg(long, value_name = "NAME")]
        token: Option<String>,
    },
    /// Show clients the tools of a set. They can be called either way.
    Enable {
        /// Its name.
        toolset: String,
        /// For the clients that show this token, by name or id, instead of those on the socket.
        #[arg(long, value_name = "NAME")]
        token: Option<String>,
    },
    /// Show clients the tools of a set no longer.
    Disable {
        /// Its name.
        toolset: String,
        /// For the clients that show this token, by name or id, instead of those on the socket.
        #[arg(long, value_name = "NAME")]
        token: Option<String>,
    },
}

pub(crate) async fn run(daemon: &Daemon, command: Command, output: &mut Output) -> Result<(), Failure> {
    let mut client = daemon.toolsets().await?;
    let (toolset, listed, token) = match command {
        Command::List { token } => {
            let request = ListToolsetsRequest { token: token.unwrap_or_default() };
            let toolsets = client.list(request).await?.into_inner().toolsets;
            return output.show(&toolsets.iter().map(to_json).collect(), || {
                let rows = toolsets.iter().map(|set| {
                    [set.name.clone(), word(set).to_owned(), set.tools.len().to_string(), set.summary.clone()]
                });
                table(["toolset", "clients", "tools", "what"], rows)
            });
        }
        Command::Enable { toolset, token } => (toolset, true, token),
        Command::Disable { toolset, token } => (toolset, false, token),
    };
    let request = ChooseToolsetRequest { toolset, listed, token: token.unwrap_or_default() };
    let chosen = client.choose(request).await?.into_inner();
    output.show(&to_json(&chosen), || {
        format!("`{}` is {}: {}", chosen.name, word(&chosen), chosen.tools.join(", "))
    })
}

const fn word(toolset: &Toolset) -> &'static str {
    if toolset.listed { "shown" } else { "hidden" }
}

fn to_json(toolset: &Toolset) -> Value {
    json!({ "name": toolset.name, "listed": toolset.listed, "tools": toolset.tools, "summary": toolset.summary })
}
