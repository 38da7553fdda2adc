//! `skynetctl leases`: which paths sessions have taken for a while.

use crate::{
    daemon::Daemon,
    output::{Failure, Output, table, time},
};
use clap::Subcommand;
use serde_json::{Value, json};
use skynet_proto::{EndLeaseRequest, Lease, ListLeasesRequest};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// List what is leased: path, holder, purpose and until when.
    List,
    /// End a lease, whoever holds it; other sessions may change its path again.
    End {
        /// As listed.
        id: String,
    },
}

pub(crate) async fn run(daemon: &Daemon, command: Command, output: &mut Output) -> Result<(), Failure> {
    let mut client = daemon.leases().await?;
    match command {
        Command::List => {
            let leases = client.list(ListLeasesRequest {}).await?.into_inner().leases;
            output.show(&leases.iter().map(to_json).collect(), || {
                if leases.is_empty() {
                    return "nothing is leased".into();
                }
                let rows = leases.iter().map(|lease| {
                    [
                        lease.id.clone(),
                        lease.user.clone(),
                        lease.client.escape_debug().to_string(),
                        time(lease.expires_at.as_ref()),
                        lease.path.escape_debug().to_string(),
                        lease.purpose.escape_debug().to_string(),
                    ]
                });
                table(["id", "user", "client", "until", "path", "purpose"], rows)
            })
        }
        Command::End { id } => {
            let lease = client.end(EndLeaseRequest { id }).await?.into_inner();
            output.show(&to_json(&lease), || {
                format!("{} `{}` is nobody's any more", lease.id, lease.path.escape_debug())
            })
        }
    }
}

fn to_json(lease: &Lease) -> Value {
    let present = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    json!({
        "id": lease.id,
        "uid": lease.uid,
        "user": lease.user,
        "client": lease.client,
        "session": present(&lease.session),
        "token": present(&lease.token),
        "path": lease.path,
        "purpose": lease.purpose,
        "acquired_at": time(lease.acquired_at.as_ref()),
        "expires_at": time(lease.expires_at.as_ref()),
    })
}
