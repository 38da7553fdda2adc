//! The typed gRPC API for `skynetctl`: one file per service.

mod approvals;
mod audit;
mod backup;
mod collections;
mod filter;
mod grants;
mod leases;
mod models;
mod policy;
mod quota;
mod secrets;
mod status;
mod tokens;
mod tools;
mod toolsets;
mod trust;

use crate::{
    choices::Stored,
    polkit::Polkit,
    relay::{Desk, peer},
    reload::Reload,
    tokens::Tokens,
};
use jiff::Timestamp;
use skynet_core::ErrorKind;
use skynet_hands::Pool;
use skynet_knowledge::Knowledge;
use skynet_models::Models;
use skynet_policy::Services;
use skynet_proto::{
    MAX_MESSAGE_BYTES, approvals_server::ApprovalsServer, audit_server::AuditServer,
    collections_server::CollectionsServer, daemon_server::DaemonServer, grants_server::GrantsServer,
    leases_server::LeasesServer, models_server::ModelsServer, policy_server::PolicyServer,
    quota_server::QuotaServer, secrets_server::SecretsServer, tokens_server::TokensServer,
    tools_server::ToolsServer, toolsets_server::ToolsetsServer, trust_server::TrustServer,
};
use std::{net::SocketAddr, path::PathBuf, sync::Arc};
use tonic::{Request, Status, service::interceptor::InterceptedService, transport::server::Router};

/// What the services answer from.
#[derive(Clone)]
pub(crate) struct Office {
    pub(crate) desk: Desk,
    pub(crate) services: Services,
    pub(crate) hands: Arc<Pool>,
    pub(crate) commands: Arc<skynet_exec::Host>,
    pub(crate) tokens: Arc<Tokens>,
    pub(crate) choices: Stored,
    pub(crate) models: Arc<Models>,
    pub(crate) knowledge: Arc<Knowledge>,
    pub(crate) polkit: Arc<Polkit>,
    pub(crate) http: Option<SocketAddr>,
    pub(crate) metrics: Option<SocketAddr>,
    pub(crate) reload: Reload,
    pub(crate) started_at: Timestamp,
    pub(crate) socket: String,
    pub(crate) state: PathBuf,
}

impl Office {
    /// Adds every service.
    pub(crate) fn add_to(self, router: Router) -> Router {
        let tools = ToolsServer::new(self.clone())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        let people = self.desk.people.clone();
        let administrators = move |request: Request<()>| {
            let uid = peer(&request)?.uid;
            if people.is_administrator(uid) {
                return Ok(request);
            }
            Err(for_administrators())
        };
        router
            .add_service(DaemonServer::new(self.clone()))
            .add_service(tools)
            .add_service(ToolsetsServer::new(self.clone()))
            .add_service(PolicyServer::new(self.clone()))
            .add_service(QuotaServer::new(self.clone()))
            .add_service(SecretsServer::new(self.clone()))
            .add_service(TrustServer::new(self.clone()))
            .add_service(GrantsServer::new(self.clone()))
            .add_service(LeasesServer::new(self.clone()))
            .add_service(CollectionsServer::new(self.clone()))
            .add_service(ApprovalsServer::new(self.clone()))
            .add_service(InterceptedService::new(AuditServer::new(self.clone()), administrators.clone()))
            .add_service(InterceptedService::new(ModelsServer::new(self.clone()), administrators.clone()))
            .add_service(InterceptedService::new(TokensServer::new(self), administrators))
    }
}

fn for_administrators() -> Status {
    Status::permission_denied("only root may do that where Skynet serves the whole host: run it with sudo")
}

fn timestamp(at: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: at.as_second(), nanos: at.subsec_nanosecond() }
}

/// An error of ours as one of gRPC.
// By value, because `map_err` hands it over.
#[allow(clippy::needless_pass_by_value)]
fn refused(err: skynet_core::Error) -> Status {
    match err.kind {
        ErrorKind::InvalidInput => Status::invalid_argument(err.message),
        ErrorKind::NotFound => Status::not_found(err.message),
        _ => internal(err),
    }
}

/// A defect or a disk error: the log has the details.
// By value, because `map_err` hands it over.
#[allow(clippy::needless_pass_by_value)]
fn internal(err: impl std::fmt::Display) -> Status {
    tracing::error!(error = %err, "an admin request failed");
    Status::internal(err.to_string())
}
