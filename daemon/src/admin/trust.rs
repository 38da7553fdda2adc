//! Which rules of projects count for the user who asks.

use super::{Office, refused, timestamp};
use crate::relay::peer;
use skynet_policy::Trusted;
use skynet_proto::{
    AddTrustRequest, ListTrustRequest, ListTrustResponse, RemoveTrustRequest, TrustedFile,
    trust_server::Trust,
};
use std::path::PathBuf;
use tonic::{Request, Response, Status};

fn show(trusted: Trusted) -> TrustedFile {
    TrustedFile {
        workspace: trusted.workspace,
        sha256: trusted.sha256,
        rules: trusted.rules,
        trusted_at: Some(timestamp(trusted.trusted_at)),
    }
}

#[tonic::async_trait]
impl Trust for Office {
    async fn add(&self, request: Request<AddTrustRequest>) -> Result<Response<TrustedFile>, Status> {
        let peer = peer(&request)?;
        let mut caller = self.desk.caller(&peer, "skynetctl", None).await?;
        caller.workspace = Some(self.workspace(&peer, &request.get_ref().workspace).await?);
        let trusted = self.services.projects.trust_now(&caller, self.desk.calls.registry()).await;
        let trusted = trusted.map_err(refused)?;
        tracing::info!(
            uid = peer.uid,
            workspace = trusted.workspace,
            sha256 = trusted.sha256,
            "a project is trusted"
        );
        Ok(Response::new(show(trusted)))
    }

    async fn list(&self, request: Request<ListTrustRequest>) -> Result<Response<ListTrustResponse>, Status> {
        let files = self.services.projects.trust().list(peer(&request)?.uid);
        Ok(Response::new(ListTrustResponse { files: files.into_iter().map(show).collect() }))
    }

    async fn remove(
        &self,
        request: Request<RemoveTrustRequest>,
    ) -> Result<Response<ListTrustResponse>, Status> {
        let peer = peer(&request)?;
        let claim = &request.get_ref().workspace;
        // A directory that is gone is known by the path that it had.
        let path = match self.workspace(&peer, claim).await {
            Ok(workspace) => workspace.path().to_owned(),
            Err(_) => PathBuf::from(claim),
        };
        let removed = self.services.projects.trust().remove(peer.uid, &path).map_err(refused)?;
        tracing::info!(uid = peer.uid, workspace = %path.display(), "a project is no longer trusted");
        Ok(Response::new(ListTrustResponse { files: removed.into_iter().map(show).collect() }))
    }
}
