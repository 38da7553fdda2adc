//! Asks polkit(8) whether there is a human behind a process who wants what it asks for.

use crate::people::Peer;
use jiff::Timestamp;
use skynet_policy::{Approval, Detail};
use std::{
    collections::{BTreeSet, HashMap},
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::time::timeout;
use tonic::Status;
use zbus::Connection;
use zbus_polkit::policykit1::{AuthorityProxy, AuthorizationResult, CheckAuthorizationFlags, Subject};

/// Declared in `systemd/org.skynet.policy`, which says what a user has to do for it.
const ACTION: &str = "org.skynet.approve";

/// Whom it asks at the moment.
#[derive(Default)]
pub(crate) struct Polkit(Mutex<BTreeSet<u32>>);

/// A user is asked one question at a time, or his agent could bury him in them.
struct Asking<'polkit> {
    polkit: &'polkit Polkit,
    uid: u32,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.polkit.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.uid);
    }
}

impl Polkit {
    /// Whether polkit vouches for the user of a process that approves a call. It may ask him for his password, which takes
    /// as long as it takes him; what he reads is the question itself, whose digest names the call.
    ///
    /// # Errors
    /// `PermissionDenied` when it does not, `FailedPrecondition` when it asks him already, `DeadlineExceeded` when he did
    /// not answer while the call waited, `Unavailable` when it cannot be asked.
    pub(crate) async fn vouches(&self, peer: &Peer, approval: &Approval) -> Result<(), Status> {
        let Some(_asking) = self.begin(peer.uid) else {
            return Err(Status::failed_precondition(
                "polkit is asking you about a call already; answer that first",
            ));
        };
        // Polkit looks at the process by its number, which is its own while it lives.
        let is_there = || {
            let is_there = peer.connection.process().is_there();
            is_there.then_some(()).ok_or_else(|| {
                Status::permission_denied(
                    "the process that wants to approve has ended, so polkit cannot vouch for it",
                )
            })
        };
        is_there()?;
        let left =
            Duration::try_from(approval.expires_at.duration_since(Timestamp::now())).unwrap_or_default();
        let answer = timeout(left, check(peer, approval)).await;
        let answer =
            answer.map_err(|_| Status::deadline_exceeded("nobody answered polkit while the call waited"))?;
        let answer = answer.map_err(|err| {
            Status::unavailable(format!(
                "polkit cannot be asked whether you may approve that ({err}); root can, with `sudo skynetctl approvals approve {}`",
                approval.id
            ))
        })?;
        if answer.is_authorized {
            return is_there();
        }
        let why = if answer.is_challenge {
            "polkit wants to see that it is you, and found nothing to ask you with: run it on a terminal, or in a session with an agent of polkit"
        } else {
            "polkit does not vouch for you"
        };
        Err(Status::permission_denied(format!("{why}; `{}` still waits", approval.id)))
    }

    fn begin(&self, uid: u32) -> Option<Asking<'_>> {
        let is_first = self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(uid);
        // Not made where it is not the first: its end would be taken for the end of the one that is open.
        is_first.then(|| Asking { polkit: self, uid })
    }
}

/// On a connection of its own: when that ends, polkit gives up asking.
async fn check(peer: &Peer, approval: &Approval) -> zbus::Result<AuthorizationResult> {
    let bus = Connection::system().await?;
    // When it started, polkit sees for itself.
    let subject = Subject::new_for_owner(peer.pid, Some(0), Some(peer.uid));
    let subject = subject.map_err(|err| zbus::Error::Failure(err.to_string()))?;
    let question = approval.text(Detail::Brief);
    let details = HashMap::from([("tool", approval.tool), ("question", question.as_str())]);
    let flags = CheckAuthorizationFlags::AllowUserInteraction.into();
    AuthorityProxy::new(&bus).await?.check_authorization(&subject, ACTION, &details, flags, "").await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_asked_one_question_at_a_time() {
        let polkit = Polkit::default();
        let asking = polkit.begin(7);
        assert!(asking.is_some() && polkit.begin(7).is_none() && polkit.begin(8).is_some());
        // One that was refused ends no question that is open.
        assert!(polkit.begin(7).is_none());
        drop(asking);
        assert!(polkit.begin(7).is_some());
    }
}
