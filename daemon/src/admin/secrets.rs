//! Secrets of the user who asks. There is no way here to read a value back: whoever asks may be an agent in a shell of its
//! user's.

use super::{Office, timestamp};
use crate::relay::peer;
use jiff::Timestamp;
use skynet_core::ErrorKind;
use skynet_oauth::{Begun, Callback, Error as OauthError, Way, Wish};
use skynet_proto::{
    BeginLoginRequest, BeginLoginResponse, DeleteSecretRequest, DeleteSecretResponse, EditVariablesRequest,
    EditVariablesResponse, FinishLoginRequest, LinkSecretRequest, ListSecretsRequest, ListSecretsResponse,
    OauthGrant, RenewSecretRequest, RotateSecretRequest, Secret, SetSecretRequest, Variable,
    secrets_server::Secrets,
};
use skynet_secrets::{
    Error, Existing, Git, Keyring, Metadata, Name, Purpose, Terms, environment::Edit, grant::State,
};
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
        grant: metadata.grant.map(show_grant),
    }
}

fn show_grant(terms: Terms) -> OauthGrant {
    let state = match terms.state(Timestamp::now()) {
        State::Valid => "valid",
        State::Expired => "expired",
        State::Ending => "ending",
        State::LoginNeeded => "login_needed",
    };
    OauthGrant {
        provider: terms.provider,
        scopes: terms.scopes,
        expires_at: terms.expires_at.map(timestamp),
        state: state.into(),
        reason: terms.ended.unwrap_or_default(),
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

fn refused_by_provider(err: OauthError) -> Status {
    match err {
        OauthError::Invalid(message) => Status::invalid_argument(message),
        // `Unavailable` would mean that no daemon answers.
        OauthError::Refused { reason, .. } => Status::failed_precondition(reason),
        OauthError::LoginNeeded(message) | OauthError::Unavailable(message) => {
            Status::failed_precondition(message)
        }
        OauthError::Kept(err) => refused(err),
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
        let name = Name::parse(&request.into_inner().name).map_err(refused)?;
        let keeper = self.desk.calls.purse().keeper();
        let not_revoked = keeper.delete(uid, &name).await.map_err(refused_by_provider)?;
        tracing::info!(uid, secret = %name, "a secret was deleted");
        Ok(Response::new(DeleteSecretResponse { not_revoked: not_revoked.unwrap_or_default() }))
    }

    async fn begin_login(
        &self,
        request: Request<BeginLoginRequest>,
    ) -> Result<Response<BeginLoginResponse>, Status> {
        let uid = peer(&request)?.uid;
        let BeginLoginRequest {
            name,
            provider,
            issuer,
            client_id,
            client_secret,
            scopes,
            hosts,
            replace,
            redirect_uri,
        } = request.into_inner();
        let given = |text: String| Some(text).filter(|text| !text.is_empty());
        let wish = Wish {
            name,
            provider: given(provider),
            issuer: given(issuer),
            client_id: given(client_id),
            client_secret: given(client_secret).map(Zeroizing::new),
            scopes,
            hosts,
            replace,
            way: given(redirect_uri).map_or(Way::Device, Way::Browser),
        };
        let keeper = self.desk.calls.purse().keeper();
        let begun = keeper.begin(uid, wish).await.map_err(refused_by_provider)?;
        Ok(Response::new(match begun {
            Begun::Browser { id, url, state } => {
                BeginLoginResponse { id, url, state, ..BeginLoginResponse::default() }
            }
            Begun::Device { id, code } => BeginLoginResponse {
                id,
                url: code.url,
                state: String::new(),
                user_code: code.user_code,
                whole_url: code.whole_url.unwrap_or_default(),
                expires_in_seconds: code.expires_in_seconds,
            },
        }))
    }

    async fn finish_login(&self, request: Request<FinishLoginRequest>) -> Result<Response<Secret>, Status> {
        let uid = peer(&request)?.uid;
        let FinishLoginRequest { id, code, state, issuer } = request.into_inner();
        let keeper = self.desk.calls.purse().keeper();
        let finished = if code.is_empty() {
            keeper.finish_elsewhere(uid, &id).await
        } else {
            keeper.finish(uid, &id, Callback { code, state, issuer }).await
        };
        let metadata = finished.map_err(refused_by_provider)?;
        tracing::info!(uid, secret = %metadata.name, version = metadata.version, "its user logged in for a secret");
        Ok(Response::new(show(metadata)))
    }

    async fn renew(&self, request: Request<RenewSecretRequest>) -> Result<Response<Secret>, Status> {
        let uid = peer(&request)?.uid;
        let name = Name::parse(&request.into_inner().name).map_err(refused)?;
        let keeper = self.desk.calls.purse().keeper();
        let metadata = keeper.renew(uid, &name).await.map_err(refused_by_provider)?;
        tracing::info!(uid, secret = %metadata.name, version = metadata.version, "a secret was rotated");
        Ok(Response::new(show(metadata)))
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
