//! `skynetctl sessions`.

use crate::{
    daemon::Daemon,
    output::{Failure, Output, table, time},
};
use serde_json::json;
use skynet_proto::SessionsRequest;

pub(crate) async fn run(daemon: &Daemon, output: &mut Output) -> Result<(), Failure> {
    let sessions = daemon.status().await?.sessions(SessionsRequest {}).await?.into_inner().sessions;
    let json = sessions.iter().map(|session| {
        json!({
            "id": session.id,
            "uid": session.uid,
            "pid": session.pid,
            "client": session.client,
            "protocol_version": session.protocol_version,
            "workspace": session.workspace,
            "attached_at": time(session.attached_at.as_ref()),
            "attached": session.attached,
            "calls": session.calls,
        })
    });
    output.show(&json.collect(), || {
        let rows = sessions.iter().map(|session| {
            let state = if session.attached { "attached" } else { "away" };
            [
                session.id.chars().take(8).collect(),
                state.to_owned(),
                session.client.clone(),
                session.protocol_version.clone(),
                session.calls.to_string(),
                session.workspace.clone(),
                time(session.attached_at.as_ref()),
            ]
        });
        if !rustix::process::getuid().is_root() {
            return table(["session", "state", "client", "mcp", "calls", "workspace", "since"], rows);
        }
        // Who sees those of everybody needs to know whose each is.
        let uids = sessions.iter().map(|session| session.uid.to_string());
        let rows = uids.zip(rows).map(|(uid, [id, state, client, mcp, calls, workspace, since])| {
            [id, uid, state, client, mcp, calls, workspace, since]
        });
        table(["session", "uid", "state", "client", "mcp", "calls", "workspace", "since"], rows)
    })
}
