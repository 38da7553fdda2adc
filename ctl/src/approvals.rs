//! `skynetctl approvals`.

use crate::{
    agent::Agent,
    daemon::Daemon,
    grant::{self, lifetime},
    output::{Failure, Output, time},
};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use skynet_proto::{
    Approval, DecideApprovalRequest, GrantWish, ListApprovalsRequest, ShowApprovalRequest,
    approvals_client::ApprovalsClient,
};
use tonic::transport::Channel;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// List the calls that wait.
    List,
    /// Show all of one call that waits.
    Show {
        /// As listed.
        id: String,
    },
    /// Show the calls that wait, again at each change. While this runs, calls wait for an answer.
    Watch,
    /// Let a call run, once.
    Approve {
        /// As listed.
        id: String,
        #[command(flatten)]
        always: Always,
    },
    /// Decline a call.
    Deny {
        /// As listed.
        id: String,
    },
}

#[derive(Args)]
pub(crate) struct Always {
    /// Do not ask again about exactly this input of this tool by this user in this workspace.
    #[arg(long)]
    always: bool,
    /// Do not ask again about any call of this tool with the same `path`, whatever it writes there.
    #[arg(long, requires = "always")]
    path: bool,
    /// Ask again after this time, such as `30m`, `12h`, `7d` or `2w`; without, once it is revoked.
    #[arg(long = "for", value_name = "TIME", value_parser = lifetime, requires = "always")]
    lives_for: Option<u64>,
}

impl Always {
    fn wish(&self) -> Option<GrantWish> {
        let lives_for_seconds = self.lives_for.unwrap_or(0);
        self.always.then_some(GrantWish { by_path: self.path, lives_for_seconds })
    }
}

pub(crate) async fn run(daemon: &Daemon, command: Command, output: &mut Output) -> Result<(), Failure> {
    let mut client = daemon.approvals().await?;
    match command {
        Command::List => {
            let queue = client.list(ListApprovalsRequest {}).await?.into_inner().approvals;
            output.show(&queue.iter().map(to_json).collect(), || show(&queue))
        }
        Command::Show { id } => {
            let approval = client.show(ShowApprovalRequest { id }).await?.into_inner();
            output.show(&to_json(&approval), || with_answers(&approval, &approval.whole_text))
        }
        Command::Watch => {
            let mut changes = client.watch(ListApprovalsRequest {}).await?.into_inner();
            while let Some(queue) = changes.message().await? {
                if output.is_json() {
                    output.json(&queue.approvals.iter().map(to_json).collect())?;
                } else {
                    output.line(&show(&queue.approvals))?;
                }
            }
            Ok(())
        }
        Command::Approve { id, always } => {
            let request = DecideApprovalRequest { id, approve: true, always: always.wish() };
            let _agent = Agent::start();
            decide(&mut client, request, output).await
        }
        Command::Deny { id } => {
            let request = DecideApprovalRequest { id, approve: false, always: None };
            decide(&mut client, request, output).await
        }
    }
}

async fn decide(
    client: &mut ApprovalsClient<Channel>,
    request: DecideApprovalRequest,
    output: &mut Output,
) -> Result<(), Failure> {
    let approval = client.decide(request).await?.into_inner();
    output.show(&to_json(&approval), || {
        let decided = format!("{} `{}` is {}", approval.id, approval.tool, approval.state);
        match &approval.grant {
            Some(granted) => format!(
                "{decided}, and so is from now on:\n  {}\nuntil {}; skynetctl grant revoke {}",
                granted.text,
                grant::end(granted),
                granted.id
            ),
            None => decided,
        }
    })
}

fn show(queue: &[Approval]) -> String {
    if queue.is_empty() {
        return "nothing waits for approval".into();
    }
    let entries = queue.iter().map(|approval| with_answers(approval, &approval.text));
    entries.collect::<Vec<_>>().join("\n\n")
}

/// The question, which the daemon made safe to show, and how to answer it.
fn with_answers(approval: &Approval, text: &str) -> String {
    let id = &approval.id;
    let always = if approval.is_grantable { " [--always]" } else { "" };
    format!(
        "{id} {}\n{text}\n\n  skynetctl approvals approve {id}{always}\n  skynetctl approvals deny {id}",
        approval.state
    )
}

fn to_json(approval: &Approval) -> Value {
    json!({
        "id": approval.id,
        "tool": approval.tool,
        "effect": approval.effect,
        "input": serde_json::from_str::<Value>(&approval.input).unwrap_or_default(),
        "digest": approval.digest,
        "workspace": approval.workspace,
        "uid": approval.uid,
        "client": approval.client,
        "rule": approval.rule,
        "is_grantable": approval.is_grantable,
        "state": approval.state,
        "created_at": time(approval.created_at.as_ref()),
        "expires_at": time(approval.expires_at.as_ref()),
        "grant": approval.grant.as_ref().map(grant::to_json),
    })
}
