//! Secrets that commands are given: those that are kept here or in a vault, access tokens of providers, and variables of encrypted files of the workspace. Each is
//! known to the scanner before it leaves here, and leaves for no command that could reach a host it is not for.

use crate::{agent::Agents, credentials::covers, reading::read};
use serde_json::{Map, Value};
use skynet_core::{Error, ErrorKind, Result, ctx::Origin, registry::Run};
use skynet_oauth::{Error as OauthError, Keeper};
use skynet_secrets::{
    Environment, Error as SecretError, Git, Keyring, Metadata, Name, Purpose, Reference, Variable,
    environment,
};
use skynet_vault::{Error as VaultError, Owner, Place, Vault};
use std::sync::Arc;
use tokio::{sync::Semaphore, task::spawn_blocking};
use tokio_util::sync::CancellationToken;

/// What is read of a file of variables: one that is a bit too long is told how long it is.
const MOST_READ_BYTES: usize = environment::LONGEST_TEXT * 16;

/// Threads that may wait for a vault at once; all others of the daemon are for what needs none.
const MOST_AT_THE_VAULT: usize = 16;

/// Where secrets of all users are.
pub(crate) struct Purse {
    keyring: Arc<Keyring>,
    hands: Arc<dyn Run>,
    vault: Option<Arc<Vault>>,
    keeper: Arc<Keeper>,
    agents: Agents,
    /// Of those who wait for the vault, which hold a thread each.
    places: Arc<Semaphore>,
}

/// For whom one is.
pub(crate) struct Wanting<'call> {
    pub(crate) origin: Origin,
    pub(crate) cancel: CancellationToken,
    /// The hosts that what gets it could reach.
    pub(crate) audience: &'call [String],
}

impl Purse {
    pub(crate) fn new(
        keyring: Arc<Keyring>,
        hands: Arc<dyn Run>,
        vault: Option<Arc<Vault>>,
        keeper: Arc<Keeper>,
        agents: Agents,
    ) -> Self {
        Self { keyring, hands, vault, keeper, agents, places: Arc::new(Semaphore::new(MOST_AT_THE_VAULT)) }
    }

    /// SSH agents of users, for calls that may borrow them.
    pub(crate) const fn agents(&self) -> &Agents {
        &self.agents
    }

    /// Keeps access tokens of providers fresh.
    pub(crate) const fn keeper(&self) -> &Arc<Keeper> {
        &self.keeper
    }

    /// The value at a place in the vault that is this user's. From now on it is looked for under `name`.
    ///
    /// # Errors
    /// `InvalidInput` for no place, or where there is no vault; `NotFound`, `Denied` and `Unavailable` as the vault says.
    pub(crate) async fn fetch(&self, uid: u32, user: &str, name: &str, place: &str) -> Result<Vec<u8>> {
        let vault = self.vault.clone().ok_or_else(|| {
            Error::invalid_input(
                "there is no vault; an administrator names one in `[secrets.vault]` of the configuration",
            )
        })?;
        let (keyring, user, name) = (self.keyring.clone(), user.to_owned(), name.to_owned());
        let place = Place::parse(place).map_err(of_vault)?;
        let waiting = self.places.clone().try_acquire_owned().map_err(|_| {
            Error::unavailable(format!(
                "{MOST_AT_THE_VAULT} others wait for the vault, which does not answer; try again when it does"
            ))
        })?;
        let fetched = blocking(move || {
            let value = vault.read(&Owner { uid, user: &user }, &place).map_err(of_vault)?;
            let known = [(name, value)];
            keyring.learn(uid, &known).map_err(refused)?;
            let [(_, value)] = known;
            drop(waiting);
            Ok(value.to_vec())
        });
        fetched.await
    }

    /// The value of what follows `secret://`.
    ///
    /// # Errors
    /// `InvalidInput` for no reference, `NotFound`, `Denied` when it is not for this audience, `Unavailable` when it cannot be read.
    pub(crate) async fn one(&self, wanting: &Wanting<'_>, text: &str) -> Result<Vec<u8>> {
        match Reference::parse(text).map_err(refused)? {
            Reference::Kept(name) => {
                let uid = wanting.origin.caller.uid;
                match self.kept(uid, &name, wanting.audience).await? {
                    Kept::Here(value) => Ok(value),
                    Kept::InVault(place) => {
                        self.fetch(uid, &wanting.origin.caller.user, name.as_str(), &place).await
                    }
                    Kept::AtProvider => self.token(uid, &name, wanting.audience).await,
                }
            }
            Reference::Variable { file, name } => {
                let mut found = self.variables(wanting, &file, Some(&name)).await?;
                found.pop().map(|(_, value)| value).ok_or_else(|| Error::internal("the variable is gone"))
            }
        }
    }

    /// Where the value of a secret of this user is, which he may use for this audience.
    ///
    /// # Errors
    /// `NotFound`, `Denied` when it is not for this audience, `Unavailable` when it cannot be read.
    pub(crate) async fn kept(&self, uid: u32, name: &Name, audience: &[String]) -> Result<Kept> {
        let (keyring, name, audience) = (self.keyring.clone(), name.clone(), audience.to_vec());
        blocking(move || kept(&keyring, uid, &name, &audience)).await
    }

    /// The access token of that name, with a while left to count.
    ///
    /// # Errors
    /// `Denied` when it is not for this audience or its user has to log in again, `Unavailable` as the provider says.
    pub(crate) async fn token(&self, uid: u32, name: &Name, audience: &[String]) -> Result<Vec<u8>> {
        let given = self.keeper.token(uid, name).await.map_err(of_provider)?;
        // That took a while, and its user may have logged in anew for other hosts.
        check_purpose(name, &given.purpose, audience, format!("secret login {name}"))?;
        Ok(given.value.to_vec())
    }

    /// Whether this user has what follows `secret://`; of a file, whether it is named as one is.
    ///
    /// # Errors
    /// `InvalidInput` for no reference, `NotFound`.
    pub(crate) async fn check(&self, uid: u32, text: &str) -> Result<()> {
        let Reference::Kept(name) = Reference::parse(text).map_err(refused)? else { return Ok(()) };
        let keyring = self.keyring.clone();
        blocking(move || metadata(&keyring, uid, &name).map(drop)).await
    }

    /// The names and values of all variables of an encrypted file.
    ///
    /// # Errors
    /// Those of [`Purse::one`], for any of them.
    pub(crate) async fn all(&self, wanting: &Wanting<'_>, file: &str) -> Result<Vec<(String, Vec<u8>)>> {
        self.variables(wanting, file, None).await
    }

    async fn variables(
        &self,
        wanting: &Wanting<'_>,
        file: &str,
        only: Option<&str>,
    ) -> Result<Vec<(String, Vec<u8>)>> {
        let text = self.read(wanting, file).await?;
        let (keyring, uid) = (self.keyring.clone(), wanting.origin.caller.uid);
        let (file, audience) = (file.to_owned(), wanting.audience.to_vec());
        let only = only.map(str::to_owned);
        blocking(move || variables(&keyring, uid, &file, &text, only.as_deref(), &audience)).await
    }

    /// The text of a file of the workspace.
    async fn read(&self, wanting: &Wanting<'_>, file: &str) -> Result<String> {
        let input = Map::from_iter([("path".to_owned(), Value::from(file))]);
        let (origin, cancel) = (wanting.origin.clone(), wanting.cancel.clone());
        let found = read(&*self.hands, origin, cancel, input, MOST_READ_BYTES).await;
        let found = found.map_err(|err| match err.kind {
            ErrorKind::NotFound => Error::not_found(format!(
                "{}; its user makes a file of variables with `skynetctl secret env set NAME`",
                err.message
            )),
            ErrorKind::InvalidInput => {
                Error::invalid_input(format!("`{file}` is no file of variables: {}", err.message))
            }
            _ => err,
        })?;
        if found.next.is_some() {
            let most = environment::LONGEST_TEXT;
            return Err(Error::invalid_input(format!(
                "`{file}` is no file of variables: it has more than {most} bytes"
            )));
        }
        Ok(found.content)
    }
}

/// Where a secret is.
pub(crate) enum Kept {
    Here(Vec<u8>),
    InVault(String),
    /// As an access token, which the keeper has or gets.
    AtProvider,
}

fn metadata(keyring: &Keyring, uid: u32, name: &Name) -> Result<Metadata> {
    keyring.secrets().metadata(uid, name).map_err(|err| not_read(keyring, uid, name, err))
}

/// Of one that there is not, which there are.
fn not_read(keyring: &Keyring, uid: u32, name: &Name, err: SecretError) -> Error {
    if !matches!(err, SecretError::NotFound(_)) {
        return refused(err);
    }
    let known = keyring.secrets().list(uid).map(|all| all.found).unwrap_or_default();
    let known: Vec<_> = known.iter().map(|one| format!("`{}`", one.name)).collect();
    let known = if known.is_empty() { "there are none".into() } else { known.join(", ") };
    Error::not_found(format!(
        "there is no secret `{name}` ({known}); its user sets one with `skynetctl secret set {name}`"
    ))
}

fn kept(keyring: &Keyring, uid: u32, name: &Name, audience: &[String]) -> Result<Kept> {
    // In one: between a look at the hosts and one at the value, it could be set for others.
    let revealed = keyring.reveal(uid, name).map_err(|err| not_read(keyring, uid, name, err));
    let (metadata, value) = revealed?;
    let way = match (&metadata.link, &metadata.grant) {
        (None, None) => format!("secret set {name} --replace"),
        (Some(_), _) => format!("secret link {name} PATH#FIELD --replace"),
        (None, Some(_)) => format!("secret login {name}"),
    };
    check_purpose(name, &metadata.purpose, audience, way)?;
    Ok(match (value, metadata.link) {
        (Some(value), _) => Kept::Here(value.to_vec()),
        (None, Some(place)) => Kept::InVault(place),
        (None, None) => Kept::AtProvider,
    })
}

/// # Errors
/// `Denied` if what would get this could reach any host that it is not for; `way` begins what changes that.
fn check_purpose(name: &Name, purpose: &Purpose, audience: &[String], mut way: String) -> Result<()> {
    let Purpose { hosts, git } = purpose;
    if let Some(Git { username }) = git {
        way.push_str(&format!(" --git --username {username}"));
    }
    // What it is for already, it stays for.
    hosts.iter().for_each(|host| way.push_str(&format!(" --host {host}")));
    check_audience(hosts, audience, &format!("secret `{name}`"), &way)
}

fn variables(
    keyring: &Keyring,
    uid: u32,
    file: &str,
    text: &str,
    only: Option<&str>,
    audience: &[String],
) -> Result<Vec<(String, Vec<u8>)>> {
    let wrong = |err: SecretError| {
        let message = format!("`{file}`: {err}");
        match err {
            SecretError::Io { .. } => {
                Error::unavailable(format!("what `{file}` holds cannot be kept out of answers now"))
                    .with_source(err)
            }
            _ => Error::invalid_input(message),
        }
    };
    let environment = Environment::parse(text).map_err(wrong)?;
    let wanted: Vec<&Variable> =
        environment.variables().filter(|one| only.is_none_or(|only| one.name == only)).collect();
    if let (Some(only), true) = (only, wanted.is_empty()) {
        let known: Vec<_> = environment.variables().map(|one| format!("`{}`", one.name)).collect();
        let known = if known.is_empty() { "it has none".into() } else { known.join(", ") };
        return Err(Error::not_found(format!(
            "`{file}` has no variable `{}` ({known})",
            only.escape_debug()
        )));
    }
    for Variable { name, hosts, .. } in wanted.iter().copied() {
        check_audience(
            hosts,
            audience,
            &format!("variable `{name}` of `{file}`"),
            &hosts.iter().fold(format!("secret env set {name}"), |way, host| format!("{way} --host {host}")),
        )?;
    }
    let values = keyring.variables(uid, &wanted).map_err(wrong)?;
    Ok(values.into_iter().map(|(name, value)| (name, value.to_vec())).collect())
}

/// # Errors
/// `Denied` if what would get this could reach any host that it is not for; `way` is how its user changes that.
fn check_audience(hosts: &[String], audience: &[String], what: &str, way: &str) -> Result<()> {
    let Some(host) = audience.iter().find(|host| !hosts.iter().any(|own| covers(own, host))) else {
        return Ok(());
    };
    let hosts = if hosts.is_empty() { "no host".into() } else { hosts.join(", ") };
    Err(Error::denied(format!(
        "the {what} is for {hosts}, and what would get it could reach `{host}`; its user can set it with `skynetctl {way} --host {host}`"
    )))
}

pub(crate) fn refused(err: SecretError) -> Error {
    match err {
        SecretError::Invalid(reason) => Error::invalid_input(reason),
        SecretError::NotFound(_) => Error::not_found(err.to_string()),
        other => Error::unavailable(other.to_string()),
    }
}

fn of_vault(err: VaultError) -> Error {
    match err {
        VaultError::Invalid(message) => Error::invalid_input(message),
        VaultError::NotFound(message) => Error::not_found(message),
        VaultError::Denied(message) => Error::denied(message),
        VaultError::Settings(message) | VaultError::Unavailable(message) => Error::unavailable(message),
    }
}

fn of_provider(err: OauthError) -> Error {
    match err {
        OauthError::Invalid(message) => Error::invalid_input(message),
        OauthError::Refused { reason, .. } => Error::denied(reason),
        OauthError::LoginNeeded(message) => Error::denied(message),
        OauthError::Unavailable(message) => Error::unavailable(message),
        OauthError::Kept(err) => refused(err),
    }
}

async fn blocking<T: Send + 'static>(what: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let done = spawn_blocking(what).await;
    done.map_err(|err| Error::internal("reading a secret failed").with_source(err))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_that_is_deleted_while_its_token_is_had_is_not_found() {
        let name = Name::parse("mail").unwrap();
        let gone = of_provider(OauthError::Kept(SecretError::NotFound(name.clone())));
        assert_eq!((gone.kind, &*gone.message), (ErrorKind::NotFound, "there is no secret `mail`"));
        // One that took its place meanwhile is there the next time.
        assert_eq!(of_provider(OauthError::Kept(SecretError::Replaced(name))).kind, ErrorKind::Unavailable);
    }
}
