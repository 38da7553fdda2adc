//! `skynetctl approvals`.

use crate::{
    daemon::Daemon,
    output::{Failure, Output, time},
};
use clap::Subcommand;
use serde_json::{Value, json};
use skynet_proto::{Approval, DecideApprovalRequest, ListApprovalsRequest};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// List the calls that wait.
    List,
    /// Show the calls that wait, again at each change. While this runs, calls wait for an answer.
    Watch,
    /// Let a call run, once.
    Approve {
        /// As listed.
        id: String,
    },
    /// Decline a call.
    Deny {
        /// As listed.
        id: String,
    },
}

pub(crate) async fn run(daemon: &Daemon, command: Command, output: &mut Output) -> Result<(), Failure> {
    let mut client = daemon.approvals().await?;
    match command {
        Command::List => {
            let queue = client.list(ListApprovalsRequest {}).await?.into_inner().approvals;
            output.show(&queue.iter().map(to_json).collect(), || show(&queue))
        }
        Command::Watch => {
            let mut changes = client.watch(ListApprovalsRequest {}).await?.into_inner();
            while let Some(queue) = changes.message().await? {
                if output.is_json() {
                    output.line(&queue.approvals.iter().map(to_json).collect::<Value>().to_string())?;
                } else {
                    output.line(&show(&queue.approvals))?;
                }
            }
            Ok(())
        }
        Command::Approve { id } => decide(&mut client, id, true, output).await,
        Command::Deny { id } => decide(&mut client, id, false, output).await,
    }
}

async fn decide(
    client: &mut skynet_proto::approvals_client::ApprovalsClient<tonic::transport::Channel>,
    id: String,
    approve: bool,
    output: &mut Output,
) -> Result<(), Failure> {
    let approval = client.decide(DecideApprovalRequest { id, approve }).await?.into_inner();
    output.show(&to_json(&approval), || format!("{} `{}` is {}", approval.id, approval.tool, approval.state))
}

fn show(queue: &[Approval]) -> String {
    if queue.is_empty() {
        return "nothing waits for approval".into();
    }
    let entries = queue.iter().map(|approval| {
        format!(
            "{} {} `{}` ({}) by {} in {}\n  {}\n  rule: {}; until {}\n  skynetctl approvals approve {}",
            approval.id,
            approval.state,
            approval.tool,
            approval.effect,
            approval.client,
            approval.workspace,
            printable(&approval.input),
            approval.rule,
            time(approval.expires_at.as_ref()),
            approval.id,
        )
    });
    entries.collect::<Vec<_>>().join("\n")
}

/// An input comes from an agent: it must not steer the terminal that shows it.
fn printable(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { '\u{fffd}' } else { character }).collect()
}

fn to_json(approval: &Approval) -> Value {
    json!({
        "id": approval.id,
        "tool": approval.tool,
        "effect": approval.effect,
        "input": serde_json::from_str::<Value>(&approval.input).unwrap_or_default(),
        "workspace": approval.workspace,
        "uid": approval.uid,
        "client": approval.client,
        "rule": approval.rule,
        "state": approval.state,
        "created_at": time(approval.created_at.as_ref()),
        "expires_at": time(approval.expires_at.as_ref()),
    })
}
