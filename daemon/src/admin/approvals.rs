//! Calls that wait for a human.

use super::{Office, timestamp};
use skynet_core::ErrorKind;
use skynet_policy::{Approval as Pending, ApprovalState};
use skynet_proto::{
    Approval, DecideApprovalRequest, ListApprovalsRequest, ListApprovalsResponse, approvals_server::Approvals,
};
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
        rule: approval.rule.clone(),
        state: approval.state.as_str().into(),
        created_at: Some(timestamp(approval.created_at)),
        expires_at: Some(timestamp(approval.expires_at)),
    }
}

fn queue(approvals: &skynet_policy::Approvals) -> ListApprovalsResponse {
    ListApprovalsResponse { approvals: approvals.list().iter().map(show).collect() }
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

    async fn decide(&self, request: Request<DecideApprovalRequest>) -> Result<Response<Approval>, Status> {
        let DecideApprovalRequest { id, approve } = request.into_inner();
        let state = if approve { ApprovalState::Approved } else { ApprovalState::Denied };
        match self.services.approvals.decide(&id, state) {
            Ok(approval) => Ok(Response::new(show(&approval))),
            Err(err) if err.kind == ErrorKind::Conflict => Err(Status::failed_precondition(err.message)),
            Err(err) => Err(Status::not_found(err.message)),
        }
    }
}
