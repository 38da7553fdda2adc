//! Tells the user's desktop that a call waits for him (`confirm.notify`), by notify-send(1). It says which tool and which
//! approval, and nothing that an agent wrote: who reads over a shoulder or in a history learns nothing.

use skynet_policy::{Approval, ApprovalState, Approvals};
use std::{collections::HashSet, path::Path, process::Stdio, sync::Arc, time::Duration};
use tokio::process::Command;

/// Where it is, if it is installed: what lies in PATH may be anybody's.
const PROGRAMS: [&str; 2] = ["/usr/bin/notify-send", "/usr/local/bin/notify-send"];

/// A desktop that does not answer keeps nobody waiting for longer.
const MOST: Duration = Duration::from_secs(5);

/// Tells of every call that comes to wait. While it runs, somebody is taken to look: calls wait for an answer.
pub(crate) async fn run(approvals: Arc<Approvals>) {
    let Some(program) = PROGRAMS.into_iter().find(|program| Path::new(program).is_file()) else {
        tracing::warn!(
            "`confirm.notify` is on, but notify-send is not installed, so nothing is told to the desktop"
        );
        return;
    };
    let _attending = approvals.attend(None);
    let mut changes = approvals.changes();
    let mut told = HashSet::new();
    loop {
        changes.mark_unchanged();
        let mut waiting = approvals.list();
        waiting.retain(|approval| approval.state == ApprovalState::Pending);
        told.retain(|id| waiting.iter().any(|approval| approval.id == *id));
        for approval in &waiting {
            if told.insert(approval.id.clone()) {
                tell(program, approval).await;
            }
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

fn arguments(approval: &Approval) -> [String; 3] {
    [
        "--app-name=Skynet".into(),
        format!("{} ({}) waits for you", approval.tool, approval.effect),
        format!("skynetctl approvals show {}", approval.id),
    ]
}

async fn tell(program: &str, approval: &Approval) {
    let mut command = Command::new(program);
    command.args(arguments(approval)).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let told = tokio::time::timeout(MOST, command.kill_on_drop(true).status()).await;
    if !matches!(&told, Ok(Ok(status)) if status.success()) {
        tracing::warn!(approval = approval.id, "the desktop could not be told of a call that waits");
    }
}
