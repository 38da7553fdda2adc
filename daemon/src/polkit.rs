//! Asks polkit(8) whether there is a human behind a process who wants what it asks for.

use crate::people::Peer;
use skynet_policy::{Approval, Detail};
use std::collections::HashMap;
use tonic::Status;
use zbus::Connection;
use zbus_polkit::policykit1::{AuthorityProxy, CheckAuthorizationFlags, Subject};

/// Declared in `systemd/org.skynet.policy`, which says what a user has to do for it.
const ACTION: &str = "org.skynet.approve";

/// Whether polkit vouches for the user of a process that approves a call. It may ask him for his password, which takes as
/// long as it takes him; what he reads is the question itself, whose digest names the call.
///
/// # Errors
/// `PermissionDenied` when it does not, `Unavailable` when it cannot be asked.
pub(crate) async fn vouches(peer: &Peer, approval: &Approval) -> Result<(), Status> {
    let asked = async {
        let bus = Connection::system().await?;
        // When it started, polkit sees for itself.
        let subject = Subject::new_for_owner(peer.pid, Some(0), Some(peer.uid));
        let subject = subject.map_err(|err| zbus::Error::Failure(err.to_string()))?;
        let question = approval.text(Detail::Brief);
        let details = HashMap::from([("tool", approval.tool), ("question", question.as_str())]);
        let flags = CheckAuthorizationFlags::AllowUserInteraction.into();
        AuthorityProxy::new(&bus).await?.check_authorization(&subject, ACTION, &details, flags, "").await
    };
    let answer = asked.await.map_err(|err| {
        Status::unavailable(format!(
            "polkit cannot be asked whether you may approve that ({err}); root can, with `sudo skynetctl approvals approve {}`",
            approval.id
        ))
    })?;
    if answer.is_authorized {
        return Ok(());
    }
    let why = if answer.is_challenge {
        "polkit wants to see that it is you, and found nothing to ask you with: run it on a terminal, or in a session with an agent of polkit"
    } else {
        "polkit does not vouch for you"
    };
    Err(Status::permission_denied(format!("{why}; `{}` still waits", approval.id)))
}
