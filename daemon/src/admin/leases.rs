//! What sessions have leased. A user sees and ends what is held for him, an administrator everything.

use super::{Office, refused, timestamp};
use crate::relay::peer;
use skynet_leases::{Holder, Lease as Held};
use skynet_proto::{EndLeaseRequest, Lease, ListLeasesRequest, ListLeasesResponse, leases_server::Leases};
use tonic::{Request, Response, Status};

fn show(lease: Held) -> Lease {
    let (session, token) = match lease.holder {
        Holder::Session(id) => (id.to_string(), String::new()),
        Holder::Token { name, .. } => (String::new(), name),
    };
    Lease {
        id: lease.id,
        uid: lease.uid,
        user: lease.user,
        client: lease.client,
        session,
        token,
        path: lease.path,
        purpose: lease.purpose,
        acquired_at: Some(timestamp(lease.acquired_at)),
        expires_at: Some(timestamp(lease.expires_at)),
    }
}

#[tonic::async_trait]
impl Leases for Office {
    async fn list(
        &self,
        request: Request<ListLeasesRequest>,
    ) -> Result<Response<ListLeasesResponse>, Status> {
        let leases = self.services.leases.list(self.of(peer(&request)?.uid));
        Ok(Response::new(ListLeasesResponse { leases: leases.into_iter().map(show).collect() }))
    }

    async fn end(&self, request: Request<EndLeaseRequest>) -> Result<Response<Lease>, Status> {
        let by = peer(&request)?.uid;
        let ended = self.services.leases.end(&request.get_ref().id, self.of(by)).map_err(refused)?;
        tracing::info!(lease = ended.id, path = ended.path, by, "a lease was ended");
        Ok(Response::new(show(ended)))
    }
}
