//! What is not asked about any more. A user sees and revokes what counts for him, an administrator everything; who may grant is
//! decided where calls are approved.

use super::{Office, refused, timestamp};
use crate::relay::peer;
use skynet_core::{Error, ErrorKind};
use skynet_policy::{Covers, Grant as Granted};
use skynet_proto::{Grant, ListGrantsRequest, ListGrantsResponse, RevokeGrantRequest, grants_server::Grants};
use tonic::{Request, Response, Status};

pub(super) fn show(grant: Granted) -> Grant {
    let text = grant.text();
    let (digest, path) = match grant.covers {
        Covers::Input(digest) => (digest, String::new()),
        Covers::Path(path) => (String::new(), path),
    };
    Grant {
        id: grant.id,
        uid: grant.uid,
        token: grant.token.unwrap_or_default(),
        tool: grant.tool,
        effect: grant.effect.as_str().into(),
        workspace: grant.workspace,
        digest,
        path,
        input: grant.input.to_string(),
        rules: grant.rules,
        granted_by: grant.granted_by,
        granted_at: Some(timestamp(grant.granted_at)),
        expires_at: grant.expires_at.map(timestamp),
        text,
    }
}

impl Office {
    /// Whose grants and leases somebody may see and end; `None` for everybody's.
    pub(super) fn of(&self, uid: u32) -> Option<u32> {
        (!self.desk.people.is_administrator(uid)).then_some(uid)
    }
}

/// What cannot be stored is no defect.
// By value, because `map_err` hands it over.
#[allow(clippy::needless_pass_by_value)]
fn not_revoked(err: Error) -> Status {
    if err.kind == ErrorKind::Unavailable { Status::failed_precondition(err.message) } else { refused(err) }
}

#[tonic::async_trait]
impl Grants for Office {
    async fn list(
        &self,
        request: Request<ListGrantsRequest>,
    ) -> Result<Response<ListGrantsResponse>, Status> {
        let grants = self.services.grants.list(self.of(peer(&request)?.uid));
        Ok(Response::new(ListGrantsResponse { grants: grants.into_iter().map(show).collect() }))
    }

    async fn revoke(&self, request: Request<RevokeGrantRequest>) -> Result<Response<Grant>, Status> {
        let by = peer(&request)?.uid;
        let on = &self.services;
        let revoked = on.grants.revoke(&on.approvals, &request.get_ref().id, self.of(by), by).await;
        Ok(Response::new(show(revoked.map_err(not_revoked)?)))
    }
}
