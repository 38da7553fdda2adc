//! Which collections of documents all users of the host may ask. Everybody sees which these are; administrators choose.

use super::{Office, for_administrators, refused};
use crate::relay::peer;
use skynet_core::ErrorKind;
use skynet_knowledge::Record;
use skynet_proto::{
    ListSharedCollectionsRequest, ListSharedCollectionsResponse, ShareCollectionRequest, SharedCollection,
    UnshareCollectionRequest, collections_server::Collections,
};
use std::path::Path;
use tonic::{Request, Response, Status};

/// By the name that everybody calls it, or called it until now.
fn show(name: String, record: &Record) -> SharedCollection {
    SharedCollection {
        name,
        uid: record.uid,
        workspace: record.workspace.display().to_string(),
        source: record.source.as_str().into(),
        path: record.path.clone(),
    }
}

fn not_so(err: skynet_core::Error) -> Status {
    if err.kind == ErrorKind::Conflict { Status::failed_precondition(err.message) } else { refused(err) }
}

impl Office {
    fn sharer<T>(&self, request: &Request<T>) -> Result<u32, Status> {
        let uid = peer(request)?.uid;
        if !self.desk.people.is_administrator(uid) {
            return Err(for_administrators());
        }
        if !self.desk.people.is_host() {
            return Err(Status::failed_precondition(
                "this daemon serves one user, so there is nobody to share with; collections are shared where Skynet serves the whole host",
            ));
        }
        Ok(uid)
    }
}

#[tonic::async_trait]
impl Collections for Office {
    async fn share(
        &self,
        request: Request<ShareCollectionRequest>,
    ) -> Result<Response<SharedCollection>, Status> {
        let by = self.sharer(&request)?;
        let ShareCollectionRequest { user, name, workspace } = request.into_inner();
        let (uid, owner) = self.known(&user).await?;
        let workspace = (!workspace.is_empty()).then(|| Path::new(&workspace));
        let record = self.knowledge.share(uid, &owner.name, &name, workspace).map_err(not_so)?;
        let shared_as = record.shared_as.clone().unwrap_or_default();
        tracing::info!(by, uid, collection = shared_as, "a collection is shared with all users");
        Ok(Response::new(show(shared_as, &record)))
    }

    async fn unshare(
        &self,
        request: Request<UnshareCollectionRequest>,
    ) -> Result<Response<SharedCollection>, Status> {
        let by = self.sharer(&request)?;
        let name = request.into_inner().name;
        let record = self.knowledge.unshare(&name).map_err(refused)?;
        tracing::info!(by, collection = name, "a collection is shared no longer");
        Ok(Response::new(show(name, &record)))
    }

    async fn list_shared(
        &self,
        _: Request<ListSharedCollectionsRequest>,
    ) -> Result<Response<ListSharedCollectionsResponse>, Status> {
        let shared = self.knowledge.shared();
        let collections =
            shared.iter().map(|record| show(record.shared_as.clone().unwrap_or_default(), record)).collect();
        Ok(Response::new(ListSharedCollectionsResponse { collections }))
    }
}
