//! Bearer tokens for clients over HTTP, of a daemon of one user; those of a whole host are its broker's. Those for metrics are
//! the daemon's in either.

use super::{Office, refused, timestamp};
use crate::tokens::{Record, Wanted};
use crate::{people::Peer, relay::peer};
use skynet_core::{Effect, Error};
use skynet_proto::{
    CreateTokenRequest, CreateTokenResponse, ListTokensRequest, ListTokensResponse, RevokeTokenRequest,
    Token, tokens_server::Tokens,
};
use std::time::Duration;
use tonic::{Request, Response, Status};

fn show((id, record): (String, Record)) -> Token {
    Token {
        id,
        name: record.name,
        workspaces: record.workspaces,
        effects: record.effects.iter().map(|effect| effect.as_str().to_owned()).collect(),
        created_at: Some(timestamp(record.created_at)),
        expires_at: record.expires_at.map(timestamp),
        metrics: record.scrapes,
        uid: None,
    }
}

fn effect(name: &str) -> Result<Effect, Error> {
    let found = Effect::ALL.into_iter().find(|effect| effect.as_str() == name);
    found.ok_or_else(|| {
        let names: Vec<_> = Effect::ALL.iter().map(|effect| effect.as_str()).collect();
        Error::invalid_input(format!("`{name}` is no effect; there are {}", names.join(", ")))
    })
}

impl Office {
    async fn wanted(&self, peer: &Peer, request: CreateTokenRequest) -> Result<Wanted, Error> {
        let lives_for =
            (request.lives_for_seconds > 0).then(|| Duration::from_secs(request.lives_for_seconds));
        if request.metrics {
            let (workspaces, effects) = (Vec::new(), Vec::new());
            return Ok(Wanted { name: request.name, workspaces, effects, scrapes: true, lives_for });
        }
        if self.desk.people.is_host() {
            let message = "the tokens of a host are its broker's to make, which `skynetctl token create` of this release asks";
            return Err(Error::invalid_input(message));
        }
        if !request.user.is_empty() {
            let message = "a daemon of one user makes tokens for him alone; leave `--user` out";
            return Err(Error::invalid_input(message));
        }
        if request.workspaces.is_empty() || request.effects.is_empty() {
            return Err(Error::invalid_input("a token is bound to at least one workspace and one effect"));
        }
        let person = self.desk.people.find(peer.uid).await;
        let person = person.map_err(|err| Error::denied(err.to_string()))?;
        let mut workspaces = Vec::new();
        for claim in request.workspaces {
            // As it really is, so that a link which is turned later does not turn the token.
            let workspace = self.desk.people.workspace(peer, &person, &claim).await;
            let workspace = workspace.map_err(Error::invalid_input)?;
            workspaces.push(workspace.path().display().to_string());
        }
        let effects = request.effects.iter().map(|name| effect(name)).collect::<Result<_, _>>()?;
        Ok(Wanted { name: request.name, workspaces, effects, scrapes: false, lives_for })
    }
}

#[tonic::async_trait]
impl Tokens for Office {
    async fn create(
        &self,
        request: Request<CreateTokenRequest>,
    ) -> Result<Response<CreateTokenResponse>, Status> {
        let peer = peer(&request)?;
        let wanted = self.wanted(&peer, request.into_inner()).await.map_err(refused)?;
        let (id, record, secret) = self.tokens.create(wanted).map_err(refused)?;
        tracing::info!(token = record.name, "a token was created");
        let url = if record.scrapes {
            self.metrics.map(|address| format!("http://{address}/metrics"))
        } else {
            self.http.map(|address| format!("http://{address}/mcp"))
        };
        Ok(Response::new(CreateTokenResponse {
            token: Some(show((id, record))),
            secret,
            url: url.unwrap_or_default(),
        }))
    }

    async fn list(
        &self,
        _request: Request<ListTokensRequest>,
    ) -> Result<Response<ListTokensResponse>, Status> {
        let tokens = self.tokens.list().into_iter().map(show).collect();
        Ok(Response::new(ListTokensResponse { tokens, left_out: 0 }))
    }

    async fn revoke(&self, request: Request<RevokeTokenRequest>) -> Result<Response<Token>, Status> {
        let revoked = self.tokens.revoke(&request.get_ref().name).map_err(refused)?;
        self.services.leases.end_token(&revoked.0);
        tracing::info!(token = revoked.1.name, "a token was revoked");
        Ok(Response::new(show(revoked)))
    }
}
