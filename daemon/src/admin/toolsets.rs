//! Which tools clients are shown.

use super::{Office, refused};
use crate::relay::peer;
use skynet_catalog::{Scope, Viewer};
use skynet_core::Error;
use skynet_proto::{
    ChooseToolsetRequest, ListToolsetsRequest, ListToolsetsResponse, Toolset, toolsets_server::Toolsets,
};
use tonic::{Request, Response, Status};

impl Office {
    /// Everything `viewer` could be shown.
    fn toolsets(&self, viewer: &Viewer) -> Vec<Toolset> {
        let registry = self.desk.calls.registry();
        let listed = self.desk.catalog.toolsets(viewer);
        let shown = registry.toolsets().map(|(name, summary)| Toolset {
            name: name.into(),
            summary: summary.into(),
            listed: listed.get(name) == Some(&true),
            tools: registry.iter().filter(|tool| tool.toolset == name).map(|tool| tool.name.into()).collect(),
        });
        shown.collect()
    }

    /// Whose list is meant: the clients of `uid` on the socket, or those that show the token.
    fn viewer(&self, uid: u32, token: &str) -> Result<Viewer, Error> {
        if self.desk.people.is_host() && !token.is_empty() {
            let message = "a token of a host has no list of its own: its clients are shown the default one, and in revisions with sessions what they switch on";
            return Err(Error::invalid_input(message));
        }
        let token = if token.is_empty() { None } else { Some(self.tokens.find(token)?.0) };
        Ok(Viewer { uid, token, session: None })
    }
}

#[tonic::async_trait]
impl Toolsets for Office {
    async fn list(
        &self,
        request: Request<ListToolsetsRequest>,
    ) -> Result<Response<ListToolsetsResponse>, Status> {
        let uid = peer(&request)?.uid;
        let viewer = self.viewer(uid, &request.get_ref().token).map_err(refused)?;
        Ok(Response::new(ListToolsetsResponse { toolsets: self.toolsets(&viewer) }))
    }

    async fn choose(&self, request: Request<ChooseToolsetRequest>) -> Result<Response<Toolset>, Status> {
        let uid = peer(&request)?.uid;
        let ChooseToolsetRequest { toolset, listed, token } = request.into_inner();
        let viewer = self.viewer(uid, &token).map_err(refused)?;
        let scope = viewer.token.clone().map_or(Scope::User(uid), Scope::Token);
        self.desk.catalog.choose(scope.clone(), &toolset, listed).map_err(refused)?;
        self.choices.store(&scope, &self.desk.catalog.choices(&scope)).map_err(super::internal)?;
        let chosen = self.toolsets(&viewer).into_iter().find(|shown| shown.name == toolset);
        Ok(Response::new(chosen.unwrap_or_default()))
    }
}
