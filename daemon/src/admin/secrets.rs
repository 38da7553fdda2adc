//! Secrets of the user who asks. There is no way here to read a value back: whoever asks may be an agent in a shell of its
//! user's.

use super::{Office, timestamp};
use crate::relay::peer;
use skynet_core::ErrorKind;
use skynet_proto::{
    DeleteSecretRequest, DeleteSecretResponse, EditVariablesRequest, EditVariablesResponse,
    LinkSecretRequest, ListSecretsRequest, ListSecretsResponse, RotateSecretRequest, Secret,
    SetSecretRequest, Variable, secrets_server::Secrets,
};
use skynet_secrets::{Error, Existing, Git, Keyring, Metadata, Name, Purpose, environment::Edit};
use std::sync::Arc;
use tonic::{Request, Response, Status};
use zeroize::Zeroizing;

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
        place: metadata.link.unwrap_or_default(),
    }
}

// By value, because `map_err` hands it over.
#[allow(clippy::needless_pass_by_value)]
fn refused(err: Error) -> Status {
    match err {
        Error::Invalid(_) | Error::Line { .. } => Status::invalid_argument(err.to_string()),
        Error::NotFound(_) => Status::not_found(err.to_string()),
        Error::Exists(_) => Status::already_exists(err.to_string()),
        other => Status::internal(other.to_string()),
    }
}

// By value, because `map_err` hands it over.
#[allow(clippy::needless_pass_by_value)]
fn refused_by_vault(err: skynet_core::Error) -> Status {
    match err.kind {
        ErrorKind::InvalidInput => Status::invalid_argument(err.message),
        ErrorKind::NotFound => Status::not_found(err.message),
        // `Unavailable` would mean that no daemon answers.
        _ => Status::failed_precondition(err.message),
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

    async fn link(&self, request: Request<LinkSecretRequest>) -> Result<Response<Secret>, Status> {
        let uid = peer(&request)?.uid;
        let LinkSecretRequest { name, place, hosts, replace } = request.into_inner();
        let name = Name::parse(&name).map_err(refused)?;
        let person = self.desk.people.find(uid).await.map_err(super::internal)?;
        // What cannot be read now is no secret; its value is looked for from now on.
        self.desk
            .calls
            .purse()
            .fetch(uid, &person.name, name.as_str(), &place)
            .await
            .map_err(refused_by_vault)?;
        let existing = if replace { Existing::Replace } else { Existing::Fail };
        let metadata =
            self.with_secrets(move |keyring| keyring.link(uid, &name, &place, &hosts, existing)).await?;
        tracing::info!(uid, secret = %metadata.name, version = metadata.version, "a secret was linked");
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

    async fn edit_variables(
        &self,
        request: Request<EditVariablesRequest>,
    ) -> Result<Response<EditVariablesResponse>, Status> {
        let uid = peer(&request)?.uid;
        let EditVariablesRequest { file, set, plain, hosts, delete } = request.into_inner();
        let set = set.into_iter().map(|one| (one.name, Zeroizing::new(one.value.to_vec()))).collect();
        let edit = Edit { set, plain: Zeroizing::new(plain), hosts, delete };
        let (environment, faults) = self.with_secrets(move |keyring| keyring.edit(uid, &file, &edit)).await?;
        let variables = environment.variables().zip(faults).map(|(variable, fault)| Variable {
            name: variable.name.clone(),
            hosts: variable.hosts.clone(),
            fault: fault.map(|err| err.to_string()).unwrap_or_default(),
        });
        let variables = variables.collect();
        Ok(Response::new(EditVariablesResponse { file: environment.to_string(), variables }))
    }
}
