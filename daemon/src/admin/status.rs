//! What the daemon is and how it fares.

use super::{Office, backup, for_administrators, internal, timestamp};
use crate::{relay::peer, sessions};
use skynet_proto::{
    BackupRequest, CallCount, LayerStatus, ReloadRequest, ReloadResponse, Session, SessionsRequest,
    SessionsResponse, StatusRequest, StatusResponse, daemon_server::Daemon,
};
use tonic::{Request, Response, Status};

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn cache_fault(why: &str) -> String {
    format!("the Redis of `cache.url` cannot be used, so no answer is cached and calls go on: {why}")
}

impl Office {
    /// What an administrator should know.
    fn warnings(&self) -> Vec<String> {
        if self.desk.people.is_host() {
            Vec::new()
        } else {
            let mode = "user mode: memory is watched, not held by a control group, and what a client approves counts";
            let mut warnings = vec![mode.to_owned()];
            warnings.extend(self.services.projects.idle());
            warnings
        }
    }
}

#[tonic::async_trait]
impl Daemon for Office {
    async fn status(&self, _request: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        let layers = self.desk.calls.pipeline().layers().iter();
        let layers =
            layers.map(|layer| LayerStatus { name: layer.name().into(), detail: layer.describe() }).collect();
        let calls = self.services.metrics.snapshot().into_iter().map(|(tool, outcome, count)| CallCount {
            tool: tool.into(),
            outcome: outcome.into(),
            count: count.calls,
            duration_seconds: count.duration.as_secs_f64(),
        });
        Ok(Response::new(StatusResponse {
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            started_at: Some(timestamp(self.started_at)),
            mode: if self.desk.people.is_host() { "system" } else { "user" }.into(),
            socket: self.socket.clone(),
            sessions: count(
                self.desk.sessions.list().iter().filter(|(_, session)| session.attachments > 0).count(),
            ),
            running_calls: count(self.desk.calls.count()),
            pending_approvals: count(self.services.approvals.count()),
            audit_records: self.services.audit.len(),
            hands: count(self.hands.pids().len()),
            tools: count(self.desk.calls.registry().len()),
            layers,
            warnings: self.warnings(),
            calls: calls.collect(),
            http: self.http.map_or_else(String::new, |address| format!("http://{address}/mcp")),
            faults: self.services.cache.fault().await.map(|why| cache_fault(&why)).into_iter().collect(),
            metrics: self.metrics.map_or_else(String::new, |address| format!("http://{address}/metrics")),
        }))
    }

    type BackupStream = backup::Parts;

    async fn backup(&self, request: Request<BackupRequest>) -> Result<Response<backup::Parts>, Status> {
        if !self.desk.people.is_administrator(peer(&request)?.uid) {
            return Err(for_administrators());
        }
        Ok(Response::new(backup::send(self.clone())))
    }

    async fn reload(&self, request: Request<ReloadRequest>) -> Result<Response<ReloadResponse>, Status> {
        if !self.desk.people.is_administrator(peer(&request)?.uid) {
            return Err(for_administrators());
        }
        let reload = self.reload.clone();
        let done = tokio::task::spawn_blocking(move || reload.run_and_tell()).await.map_err(internal)?;
        let need_restart = done.map_err(|err| Status::failed_precondition(format!("{err:#}")))?;
        Ok(Response::new(ReloadResponse { need_restart }))
    }

    async fn sessions(
        &self,
        request: Request<SessionsRequest>,
    ) -> Result<Response<SessionsResponse>, Status> {
        let uid = peer(&request)?.uid;
        let shows =
            |session: &sessions::Session| session.uid == uid || self.desk.people.is_administrator(uid);
        let sessions = self.desk.sessions.list().into_iter().filter(|(_, session)| shows(session)).map(
            |(id, session)| Session {
                id: id.as_simple().to_string(),
                uid: session.uid,
                pid: session.pid,
                client: session.client,
                protocol_version: session.protocol_version,
                workspace: session.workspace,
                attached_at: Some(timestamp(session.attached_at)),
                attached: session.attachments > 0,
                calls: session.calls,
            },
        );
        Ok(Response::new(SessionsResponse { sessions: sessions.collect() }))
    }
}
