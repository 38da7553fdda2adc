//! Calls that wait for a human.

use super::{Office, grants, refused, timestamp};
use crate::relay::peer;
use skynet_core::ErrorKind;
use skynet_policy::{Approval as Pending, ApprovalState, Breadth, Detail, Grant, Wish};
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

fn queue(approvals: &skynet_policy::Approvals) -> ListApprovalsResponse {
    ListApprovalsResponse { approvals: approvals.list().iter().map(show).collect() }
}

impl Office {
    /// Approves a call, and all like it.
    async fn grant(
        &self,
        id: &str,
        wish: GrantWish,
        by: u32,
    ) -> skynet_core::Result<(Pending, Option<Grant>)> {
        let wish = Wish {
            breadth: if wish.by_path { Breadth::Path } else { Breadth::Input },
            lives_for: (wish.lives_for_seconds > 0).then(|| Duration::from_secs(wish.lives_for_seconds)),
            by,
        };
        let (approval, grant) = self.services.grants.approve(&self.services.approvals, id, wish).await?;
        Ok((approval, Some(grant)))
    }
}

#[tonic::async_trait]
impl Approvals for Office {
    type WatchStream = ReceiverStream<Result<ListApprovalsResponse, Status>>;

    async fn list(
        &self,
        _request: Request<ListApprovalsRequest>,
    ) -> Result<Response<ListApprovalsResponse>, Status> {
        Ok(Response::new(queue(&self.services.approvals)))
    }

    async fn watch(
        &self,
        _request: Request<ListApprovalsRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let (to, stream) = mpsc::channel(4);
        let approvals = self.services.approvals.clone();
        tokio::spawn(async move {
            let _attending = approvals.attend();
            let mut changes = approvals.changes();
            loop {
                changes.mark_unchanged();
                if to.send(Ok(queue(&approvals))).await.is_err() {
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
        let found = self.services.approvals.find(&request.get_ref().id).map_err(refused)?;
        Ok(Response::new(Approval { whole_text: found.text(Detail::Whole), ..show(&found) }))
    }

    async fn decide(&self, request: Request<DecideApprovalRequest>) -> Result<Response<Approval>, Status> {
        let by = peer(&request)?.uid;
        let DecideApprovalRequest { id, approve, always } = request.into_inner();
        let decided = match (approve, always) {
            (true, Some(always)) => self.grant(&id, always, by).await,
            (true, None) => {
                self.services.approvals.decide(&id, ApprovalState::Approved).map(|one| (one, None))
            }
            (false, None) => {
                self.services.approvals.decide(&id, ApprovalState::Denied).map(|one| (one, None))
            }
            (false, Some(_)) => return Err(Status::invalid_argument("what is denied is not granted")),
        };
        let (approval, grant) = decided.map_err(|err| match err.kind {
            ErrorKind::Conflict | ErrorKind::Unavailable => Status::failed_precondition(err.message),
            _ => refused(err),
        })?;
        tracing::info!(
            approval = approval.id,
            uid = approval.uid,
            by,
            state = approval.state.as_str(),
            "a call was decided about"
        );
        Ok(Response::new(Approval { grant: grant.map(grants::show), ..show(&approval) }))
    }
}
