//! Dialing the daemon.

use crate::output::Failure;
use hyper_util::rt::TokioIo;
use rustix::{fs::Access, io::Errno};
use skynet_proto::{
    MAX_MESSAGE_BYTES,
    approvals_client::ApprovalsClient,
    audit_client::AuditClient,
    collections_client::CollectionsClient,
    daemon_client::DaemonClient,
    grants_client::GrantsClient,
    leases_client::LeasesClient,
    models_client::ModelsClient,
    policy_client::PolicyClient,
    quota_client::QuotaClient,
    secrets_client::SecretsClient,
    socket::{TOKENS_SOCKET_NAME, default_path},
    tokens_client::TokensClient,
    tools_client::ToolsClient,
    toolsets_client::ToolsetsClient,
    trust_client::TrustClient,
};
use std::{
    io,
    path::{Path, PathBuf},
};
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};

/// How to reach the daemon.
pub(crate) struct Daemon {
    socket: PathBuf,
    is_given: bool,
}

impl Daemon {
    pub(crate) fn new(socket: Option<PathBuf>) -> Self {
        let usual = || {
            let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
            default_path(rustix::process::getuid().as_raw(), &home)
        };
        Self { is_given: socket.is_some(), socket: socket.unwrap_or_else(usual) }
    }

    /// The socket, if it is not where everybody looks for it.
    pub(crate) fn given_socket(&self) -> Option<&PathBuf> {
        self.is_given.then_some(&self.socket)
    }

    pub(crate) const fn socket(&self) -> &PathBuf {
        &self.socket
    }

    /// Where the broker of a whole host is asked about tokens; `None` where one user is served.
    pub(crate) fn token_desk(&self) -> Option<PathBuf> {
        let desk = self.socket.with_file_name(TOKENS_SOCKET_NAME);
        desk.exists().then_some(desk)
    }

    pub(crate) async fn status(&self) -> Result<DaemonClient<Channel>, Failure> {
        Ok(DaemonClient::new(self.channel().await?))
    }

    pub(crate) async fn tools(&self) -> Result<ToolsClient<Channel>, Failure> {
        let client = ToolsClient::new(self.channel().await?);
        Ok(client.max_decoding_message_size(MAX_MESSAGE_BYTES).max_encoding_message_size(MAX_MESSAGE_BYTES))
    }

    pub(crate) async fn audit(&self) -> Result<AuditClient<Channel>, Failure> {
        Ok(AuditClient::new(self.channel().await?))
    }

    pub(crate) async fn approvals(&self) -> Result<ApprovalsClient<Channel>, Failure> {
        // What waits may be large, and there may be many.
        Ok(ApprovalsClient::new(self.channel().await?).max_decoding_message_size(usize::MAX))
    }

    pub(crate) async fn tokens(&self) -> Result<TokensClient<Channel>, Failure> {
        Ok(TokensClient::new(self.channel().await?))
    }

    pub(crate) async fn secrets(&self) -> Result<SecretsClient<Channel>, Failure> {
        Ok(SecretsClient::new(self.channel().await?))
    }

    pub(crate) async fn toolsets(&self) -> Result<ToolsetsClient<Channel>, Failure> {
        Ok(ToolsetsClient::new(self.channel().await?))
    }

    pub(crate) async fn policy(&self) -> Result<PolicyClient<Channel>, Failure> {
        Ok(PolicyClient::new(self.channel().await?))
    }

    pub(crate) async fn quota(&self) -> Result<QuotaClient<Channel>, Failure> {
        Ok(QuotaClient::new(self.channel().await?))
    }

    pub(crate) async fn collections(&self) -> Result<CollectionsClient<Channel>, Failure> {
        Ok(CollectionsClient::new(self.channel().await?))
    }

    pub(crate) async fn trust(&self) -> Result<TrustClient<Channel>, Failure> {
        Ok(TrustClient::new(self.channel().await?))
    }

    pub(crate) async fn models(&self) -> Result<ModelsClient<Channel>, Failure> {
        Ok(ModelsClient::new(self.channel().await?))
    }

    pub(crate) async fn leases(&self) -> Result<LeasesClient<Channel>, Failure> {
        Ok(LeasesClient::new(self.channel().await?))
    }

    pub(crate) async fn grants(&self) -> Result<GrantsClient<Channel>, Failure> {
        Ok(GrantsClient::new(self.channel().await?))
    }

    async fn channel(&self) -> Result<Channel, Failure> {
        let socket = self.socket.clone();
        let connector = tower::service_fn(move |_| {
            let socket = socket.clone();
            async move { Ok::<_, io::Error>(TokioIo::new(UnixStream::connect(socket).await?)) }
        });
        // The address is not used: the connector dials the socket.
        Endpoint::from_static("http://skynet").connect_with_connector(connector).await.map_err(|_| {
            if rustix::fs::access(&self.socket, Access::WRITE_OK) == Err(Errno::ACCESS) {
                return not_let_in(&self.socket);
            }
            Failure::unreachable(format!(
                "no skynetd answers at `{}`; start it with `skynetd`, or `systemctl start skynetd` where it is a service",
                self.socket.display()
            ))
        })
    }
}

/// That a socket of a whole host is there, and not for this user.
pub(crate) fn not_let_in(socket: &Path) -> Failure {
    Failure::unreachable(format!(
        "this user may not use `{}`; an administrator lets him by `usermod --append --groups skynet USER`, which counts from the next login on",
        socket.display()
    ))
}
