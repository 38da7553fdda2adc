//! Secrets of the user who asks. There is no way here to read a value back: whoever asks may be an agent in a shell of its
//! user's.

use super::{Office, timestamp};
use crate::relay::peer;
use skynet_proto::{
    DeleteSecretRequest, DeleteSecretResponse, ListSecretsRequest, ListSecretsResponse, RotateSecretRequest,
    Secret, SetSecretRequest, secrets_server::Secrets,
};
use skynet_secrets::{Error, Existing, Git, Keyring, Metadata, Name, Purpose};
use std::sync::Arc;
use tonic::{Request, Response, Status};

fn show(metadata: Metadata) -> Secret {
    Secret {
        name: metadata.name.to_string(),
        version: metadata.version,
        created_at: Some(timestamp(metadata.created_at)),
        updated_at: Some(timestamp(metadata.updated_at)),
        hosts: metadata.purpose.hosts,
        git_username: metadata.purpose.git.map(|git| git.username),
        is_private_key: metadata.is_private_key,
        size_bytes: metadata.size_bytes as u64,
    }
}

// By value, because `map_err` hands it over.
#[allow(clippy::needless_pass_by_value)]
fn refused(err: Error) -> Status {
    match err {
        Error::Invalid(_) => Status::invalid_argument(err.to_string()),
        Error::NotFound(_) => Status::not_found(err.to_string()),
        Error::Exists(_) => Status::already_exists(err.to_string()),
        other => Status::internal(other.to_string()),
    }
}

impl Office {
    /// Does what waits for the disk.
    async fn with_secrets<T: Send + 'static>(
        &self,
        what: impl FnOnce(&Keyring) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Status> {
        let keyring: Arc<Keyring> = self.services.keyring.clone();
        let done = tokio::task::spawn_blocking(move || what(&keyring)).await;
        done.map_err(super::internal)?.map_err(refused)
    }
}

#[tonic::async_trait]
impl Secrets for Office {
    async fn set(&self, request: Request<SetSecretRequest>) -> Result<Response<Secret>, Status> {
        let uid = peer(&request)?.uid;
        let SetSecretRequest { name, value, hosts, replace, git_username } = request.into_inner();
        let purpose = Purpose { hosts, git: git_username.as_deref().map(Git::new) };
        let existing = if replace { Existing::Replace } else { Existing::Fail };
        let set = self
            .with_secrets(move |keyring| keyring.set(uid, &Name::parse(&name)?, &value, &purpose, existing));
        let metadata = set.await?;
        tracing::info!(uid, secret = %metadata.name, version = metadata.version, "a secret was set");
        Ok(Response::new(show(metadata)))
    }

    async fn rotate(&self, request: Request<RotateSecretRequest>) -> Result<Response<Secret>, Status> {
        let uid = peer(&request)?.uid;
        let RotateSecretRequest { name, value } = request.into_inner();
        let rotated = self.with_secrets(move |keyring| keyring.rotate(uid, &Name::parse(&name)?, &value));
        let metadata = rotated.await?;
        tracing::info!(uid, secret = %metadata.name, version = metadata.version, "a secret was rotated");
        Ok(Response::new(show(metadata)))
    }

    async fn delete(
        &self,
        request: Request<DeleteSecretRequest>,
    ) -> Result<Response<DeleteSecretResponse>, Status> {
        let uid = peer(&request)?.uid;
        let name = request.into_inner().name;
        let shown = name.clone();
        self.with_secrets(move |keyring| keyring.delete(uid, &Name::parse(&name)?)).await?;
        tracing::info!(uid, secret = shown, "a secret was deleted");
        Ok(Response::new(DeleteSecretResponse {}))
    }

    async fn list(
        &self,
        request: Request<ListSecretsRequest>,
    ) -> Result<Response<ListSecretsResponse>, Status> {
        let uid = peer(&request)?.uid;
        let all = self.with_secrets(move |keyring| keyring.secrets().list(uid)).await?;
        let damaged = all.damaged.iter().map(ToString::to_string).collect();
        Ok(Response::new(ListSecretsResponse { secrets: all.found.into_iter().map(show).collect(), damaged }))
    }
}
