//! Calls that wait for a human.

use super::{Office, for_administrators, grants, internal, refused, timestamp};
use crate::relay::peer;
use skynet_core::{
    ErrorKind,
    call::{Means, Respondent},
};
use skynet_policy::{
    Approval as Pending, ApprovalState, Breadth, Detail, Factor, Grant, Services, Wish, record_decision,
};
use skynet_proto::{
    Approval, DecideApprovalRequest, GrantWish, ListApprovalsRequest, ListApprovalsResponse,
    ShowApprovalRequest, approvals_server::Approvals,
};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

fn show(approval: &Pending) -> Approval {
    Approval {
        id: approval.id.clone(),
        tool: approval.tool.into(),
        effect: approval.effect.as_str().into(),
        input: approval.input.clone(),
        workspace: approval.workspace.clone(),
        uid: approval.uid,
        client: approval.client.clone(),
        rule: approval.rule().to_owned(),
        state: approval.state.as_str().into(),
        created_at: Some(timestamp(approval.created_at)),
        expires_at: Some(timestamp(approval.expires_at)),
        text: approval.text(Detail::Brief),
        whole_text: String::new(),
        digest: approval.digest.clone(),
        is_grantable: approval.is_grantable,
        grant: None,
    }
}

/// Why nothing was decided.
fn undecided(err: skynet_core::Error) -> Status {
    match err.kind {
        ErrorKind::Conflict | ErrorKind::Unavailable => Status::failed_precondition(err.message),
        _ => refused(err),
    }
}

/// What is granted with an approval.
fn wish(asked: &GrantWish) -> Wish {
    Wish {
        breadth: if asked.by_path { Breadth::Path } else { Breadth::Input },
        lives_for: (asked.lives_for_seconds > 0).then(|| Duration::from_secs(asked.lives_for_seconds)),
    }
}

/// Answers a call that waits, for all like it too if that is wished, and records who did.
async fn settle(
    on: Services,
    id: String,
    state: ApprovalState,
    wish: Option<Wish>,
    by: Respondent,
) -> Result<(Pending, Option<Grant>), Status> {
    let tell = |approval: &Pending| {
        let state = approval.state.as_str();
        tracing::info!(
            approval = approval.id,
            uid = approval.uid,
            by = by.uid,
            state,
            "a call was decided about"
        );
    };
    if let Some(wish) = wish {
        let granted = on.grants.approve(&on.approvals, &id, wish, &by).await;
        let (approval, grant) = granted.map_err(undecided)?;
        tell(&approval);
        return Ok((approval, Some(grant)));
    }
    let approval = on.approvals.decide(&id, state, by.clone()).map_err(undecided)?;
    tell(&approval);
    // What was decided counts already; who decided it is told that the log lacks it.
    record_decision(&on.audit, &approval).await.map_err(|err| {
        Status::unavailable(format!(
            "the call is {}, but that could not be recorded durably: {err}",
            approval.state.as_str()
        ))
    })?;
    Ok((approval, None))
}

/// Of one user, or of everybody.
fn queue(approvals: &skynet_policy::Approvals, of: Option<u32>) -> ListApprovalsResponse {
    let all = approvals.list();
    let seen = all.iter().filter(|approval| of.is_none_or(|uid| approval.uid == uid));
    ListApprovalsResponse { approvals: seen.map(show).collect() }
}

impl Office {
    /// Whose calls a user may decide about: `None` is everybody's.
    fn decides_for(&self, uid: u32) -> Result<Option<u32>, Status> {
        if self.desk.people.is_administrator(uid) {
            return Ok(None);
        }
        match self.services.factor {
            Factor::AdminUid => Err(for_administrators()),
            Factor::Client | Factor::Polkit => Ok(Some(uid)),
        }
    }

    /// A call that a user may decide about.
    fn find(&self, id: &str, by: u32) -> Result<Pending, Status> {
        self.services.approvals.find(id, self.decides_for(by)?).map_err(refused)
    }
}

#[tonic::async_trait]
impl Approvals for Office {
    type WatchStream = ReceiverStream<Result<ListApprovalsResponse, Status>>;

    async fn list(
        &self,
        request: Request<ListApprovalsRequest>,
    ) -> Result<Response<ListApprovalsResponse>, Status> {
        let of = self.decides_for(peer(&request)?.uid)?;
        Ok(Response::new(queue(&self.services.approvals, of)))
    }

    async fn watch(
        &self,
        request: Request<ListApprovalsRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let of = self.decides_for(peer(&request)?.uid)?;
        let (to, stream) = mpsc::channel(4);
        let approvals = self.services.approvals.clone();
        tokio::spawn(async move {
            let _attending = approvals.attend(of);
            let mut changes = approvals.changes();
            loop {
                changes.mark_unchanged();
                if to.send(Ok(queue(&approvals, of))).await.is_err() {
                    return;
                }
                tokio::select! {
                    changed = changes.changed() => if changed.is_err() { return },
                    () = to.closed() => return,
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn show(&self, request: Request<ShowApprovalRequest>) -> Result<Response<Approval>, Status> {
        let found = self.find(&request.get_ref().id, peer(&request)?.uid)?;
        Ok(Response::new(Approval { whole_text: found.text(Detail::Whole), ..show(&found) }))
    }

    async fn decide(&self, request: Request<DecideApprovalRequest>) -> Result<Response<Approval>, Status> {
        let peer = peer(&request)?;
        let by = peer.uid;
        let DecideApprovalRequest { id, approve, always } = request.into_inner();
        let found = self.find(&id, by)?;
        let mut means = Means::Skynetctl;
        if !self.desk.people.is_administrator(by) {
            if always.is_some() {
                return Err(Status::permission_denied(format!(
                    "what is not asked about again is for root to say: run it with sudo, or without `--always`; `{id}` still waits"
                )));
            }
            if approve && self.services.factor == Factor::Polkit {
                // One that was answered already is not asked about.
                let found = self.services.approvals.pending(&found.id).map_err(undecided)?;
                self.polkit.vouches(&peer, &found).await?;
                means = Means::Polkit;
            }
        }
        // Who the host has no name for any more is known by his number.
        let user = self.desk.people.find(by).await.ok().map(|person| person.name);
        let respondent = Respondent { means, uid: by, user };
        let (state, wish) = match (approve, &always) {
            (true, always) => (ApprovalState::Approved, always.as_ref().map(wish)),
            (false, None) => (ApprovalState::Denied, None),
            (false, Some(_)) => return Err(Status::invalid_argument("what is denied is not granted")),
        };
        // By itself: who hangs up meanwhile has decided all the same, and it is recorded and granted whole.
        let settling = tokio::spawn(settle(self.services.clone(), id, state, wish, respondent));
        let (approval, grant) = settling.await.map_err(internal)??;
        Ok(Response::new(Approval { grant: grant.map(grants::show), ..show(&approval) }))
    }
}
