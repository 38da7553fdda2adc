//! How much users may use, and have used. Each sees his own; what others have used, and to reset it, is for administrators.

use super::{Office, refused, timestamp};
use crate::{
    people::{Peer, Person},
    relay::peer,
};
use skynet_policy::{Standing, Who, Window};
use skynet_proto::{QuotaLimit, ResetQuotaRequest, ShowQuotaRequest, ShowQuotaResponse, quota_server::Quota};
use tonic::{Request, Response, Status};

fn show(standing: Standing) -> QuotaLimit {
    QuotaLimit {
        name: standing.name,
        window: standing.window.map_or("", Window::as_str).into(),
        what: standing.what.into(),
        most: standing.most,
        used: standing.used,
        free_at: standing.free_at.map(timestamp),
    }
}

impl Office {
    fn administrator(&self, peer: &Peer) -> Result<(), Status> {
        if self.desk.people.is_administrator(peer.uid) {
            return Ok(());
        }
        Err(Status::permission_denied(
            "what others have used, and to reset a limit, is for administrators; where Skynet serves the whole host run it with sudo",
        ))
    }

    /// Whom the host knows by that name or number.
    pub(super) async fn known(&self, user: &str) -> Result<(u32, Person), Status> {
        let found = self.desk.people.named(user).await;
        let found = found.map_err(|err| Status::unavailable(format!("users cannot be looked up: {err}")))?;
        found.ok_or_else(|| Status::not_found(format!("this host knows no user `{user}`")))
    }

    async fn standings(&self, uid: u32, person: &Person) -> Result<ShowQuotaResponse, Status> {
        let running = self.commands.running_jobs(uid).await.map_err(refused)?;
        let who =
            Who { user: &person.name, uid, groups: &person.groups, home: &person.home, workspace: None };
        let standings = self.services.quotas.standings(&who, running).map_err(refused)?;
        let limits = standings.into_iter().map(show).collect();
        Ok(ShowQuotaResponse { uid, user: person.name.to_string(), limits })
    }
}

#[tonic::async_trait]
impl Quota for Office {
    async fn show(&self, request: Request<ShowQuotaRequest>) -> Result<Response<ShowQuotaResponse>, Status> {
        let peer = peer(&request)?;
        let asking = self.desk.people.find(peer.uid).await;
        let asking = asking.map_err(|err| Status::permission_denied(err.to_string()))?;
        let user = request.into_inner().user;
        let is_own = user.is_empty() || *user == *asking.name || user == peer.uid.to_string();
        let (uid, person) = if is_own {
            (peer.uid, asking)
        } else {
            self.administrator(&peer)?;
            self.known(&user).await?
        };
        Ok(Response::new(self.standings(uid, &person).await?))
    }

    async fn reset(
        &self,
        request: Request<ResetQuotaRequest>,
    ) -> Result<Response<ShowQuotaResponse>, Status> {
        let peer = peer(&request)?;
        self.administrator(&peer)?;
        let ResetQuotaRequest { uid, limit } = request.into_inner();
        let (uid, person) = self.known(&uid.to_string()).await?;
        self.services.quotas.reset(uid, &limit).map_err(refused)?;
        tracing::info!(uid, limit, by = peer.uid, "a limit was reset");
        Ok(Response::new(self.standings(uid, &person).await?))
    }
}
