//! The server, seen from here.

use crate::{
    Error, Owner, Place, Result, Settings,
    settings::{AppRole, credential},
    token::{Next, Token, retry_after},
};
use serde_json::{Value, json};
use skynet_web::{Authorities, tls};
use std::{
    fmt,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use ureq::{Agent, Body, http::Response};
use zeroize::Zeroizing;

/// A command that waits for its secret is not kept longer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Of an answer: a secret of the engine has at most 1 MiB by default.
const MOST_ANSWER_BYTES: u64 = 2 << 20;

/// The key/value engine of a server, for all users of the daemon. All methods may be called from any thread, and wait.
pub struct Vault {
    settings: Settings,
    agent: Agent,
    token: Mutex<Option<Token>>,
}

/// What the server says.
struct Answer {
    status: u16,
    body: Value,
}

impl Vault {
    /// Gets ready, without asking the server anything.
    ///
    /// # Errors
    /// `Settings` for certificates that cannot be used.
    pub fn open(settings: Settings) -> Result<Self> {
        let is_encrypted = settings.address.starts_with("https:");
        let trusted = is_encrypted.then(|| authorities(settings.ca_file.as_deref())).transpose()?;
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(TIMEOUT))
            // A token goes nowhere else than to the address that was named.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .tls_config(tls(trusted.as_ref()));
        Ok(Self { settings, agent: config.build().new_agent(), token: Mutex::default() })
    }

    /// Where it is, for people.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.settings.address
    }

    /// The value of one field, as the server has it now.
    ///
    /// # Errors
    /// `Unavailable` when the server does not answer or does not let the daemon log in, `Denied` when it refuses the secret, `NotFound` when there is no such secret or field,
    /// `Invalid` for a field that is no text, `Settings` when the daemon cannot log in for a reason of its own.
    pub fn read(&self, owner: &Owner<'_>, place: &Place) -> Result<Zeroizing<Vec<u8>>> {
        let mount = &self.settings.mount;
        let below = place.of(owner, &self.settings.path)?;
        let (url, path) = (format!("{mount}/data/{below}"), format!("{mount}/{below}"));
        let token = self.token()?;
        let mut answer = self.ask(&url, Some(&token.text), None)?;
        if answer.status == 403 && self.is_over(&token)? {
            answer = self.ask(&url, Some(&self.log_in()?.text), None)?;
        }
        let address = &self.settings.address;
        match answer.status {
            200 => {}
            404 => {
                return Err(Error::NotFound(format!(
                    "there is nothing at `{path}` in the vault at `{address}`, or it was deleted"
                )));
            }
            403 => {
                return Err(Error::Denied(format!(
                    "the vault at `{address}` does not let Skynet read `{path}`: {}; its policy needs `read` there",
                    answer.reason()
                )));
            }
            _ => return Err(self.failed(&answer)),
        }
        let field = place.field();
        let wrong = |what: &str| {
            Error::Invalid(format!("the field `{field}` of `{path}` in the vault at `{address}` {what}"))
        };
        match answer.body.pointer("/data/data").and_then(|fields| fields.get(field)) {
            Some(Value::String(text)) if text.is_empty() => Err(wrong("is empty")),
            Some(Value::String(text)) => Ok(Zeroizing::new(text.clone().into_bytes())),
            // Others may have lost digits when they were read.
            Some(Value::Number(number)) if number.is_i64() || number.is_u64() => {
                Ok(Zeroizing::new(number.to_string().into_bytes()))
            }
            Some(Value::Number(_)) => Err(wrong("is a number that is not exact; keep it as text")),
            None | Some(Value::Null) => {
                Err(Error::NotFound(format!("`{path}` in the vault at `{address}` has no field `{field}`")))
            }
            Some(Value::Bool(_) | Value::Array(_) | Value::Object(_)) => Err(wrong("is no text")),
        }
    }

    /// Does what is due for the token: logs in, or renews it. To be called again after what it returns; failures are logged.
    pub fn keep_token(&self) -> Duration {
        let held = self.lock().clone();
        let done = match held {
            None => self.log_in(),
            Some(token) => match token.next(Instant::now(), chance()) {
                Next::Nothing => Ok(token),
                Next::Renew(_) => self.renew(&token),
                Next::Replace(_) => self.log_in(),
            },
        };
        match done.map(|token| token.next(Instant::now(), chance())) {
            Ok(Next::Nothing) => Duration::from_secs(3600),
            Ok(Next::Renew(wait)) => wait,
            Ok(Next::Replace(wait)) => {
                if self.settings.token_file.is_some() {
                    tracing::warn!(
                        "the token for the vault ends soon and cannot be renewed; put a new one into its file"
                    );
                }
                wait
            }
            Err(err) => {
                tracing::warn!("{err}; commands get no secrets from there until that is settled");
                retry_after(chance())
            }
        }
    }

    /// The token, unless its lease has ended.
    fn token(&self) -> Result<Token> {
        let held = self.lock().clone();
        match held {
            Some(token) if token.lease.is_zero() || token.since.elapsed() < token.lease => Ok(token),
            _ => self.log_in(),
        }
    }

    /// Whether the server knows this token no more. One that it knows is refused for what it may do.
    fn is_over(&self, token: &Token) -> Result<bool> {
        Ok(self.ask("auth/token/lookup-self", Some(&token.text), None)?.status == 403)
    }

    fn log_in(&self) -> Result<Token> {
        let since = Instant::now();
        let token = match &self.settings.approle {
            Some(role) => self.log_in_with(role, since)?,
            None => self.look_up(since)?,
        };
        *self.lock() = Some(token.clone());
        Ok(token)
    }

    fn log_in_with(&self, role: &AppRole, since: Instant) -> Result<Token> {
        let secret_id = credential(&role.secret_id_file)?;
        let body = json!({ "role_id": role.role_id, "secret_id": secret_id.as_str() });
        let answer = self.ask(&format!("auth/{}/login", role.mount), None, Some(&body))?;
        if [400, 403].contains(&answer.status) {
            // It is the daemon that is refused, and no user's secret.
            return Err(Error::Unavailable(format!(
                "the vault at `{}` does not let Skynet log in by AppRole: {}",
                self.settings.address,
                answer.reason()
            )));
        }
        self.granted(&answer, since, None)
    }

    /// The token of the file, and how long it counts.
    fn look_up(&self, since: Instant) -> Result<Token> {
        let file = self.settings.token_file.as_deref().unwrap_or(Path::new(""));
        let text = credential(file)?;
        let answer = self.ask("auth/token/lookup-self", Some(&text), None)?;
        match answer.status {
            200 => {}
            // As with a login.
            403 => {
                return Err(Error::Unavailable(format!(
                    "the vault at `{}` refuses the token in `{}`: {}",
                    self.settings.address,
                    file.display(),
                    answer.reason()
                )));
            }
            _ => return Err(self.failed(&answer)),
        }
        let seconds = answer.body.pointer("/data/ttl").and_then(Value::as_u64).unwrap_or_default();
        let is_renewable = answer.body.pointer("/data/renewable") == Some(&Value::Bool(true));
        let lease = Duration::from_secs(seconds);
        Ok(Token { text, lease, since, is_renewable, first_lease: lease })
    }

    fn renew(&self, token: &Token) -> Result<Token> {
        let since = Instant::now();
        let answer = self.ask("auth/token/renew-self", Some(&token.text), Some(&json!({})))?;
        if answer.status == 403 {
            return self.log_in();
        }
        let renewed = self.granted(&answer, since, Some(token))?;
        *self.lock() = Some(renewed.clone());
        Ok(renewed)
    }

    /// The token that an answer gives, in place of `before`.
    fn granted(&self, answer: &Answer, since: Instant, before: Option<&Token>) -> Result<Token> {
        if answer.status != 200 {
            return Err(self.failed(answer));
        }
        let auth = answer.body.get("auth").unwrap_or(&Value::Null);
        let Some(text) = auth.get("client_token").and_then(Value::as_str) else {
            return Err(self.failed(answer));
        };
        let seconds = auth.get("lease_duration").and_then(Value::as_u64).unwrap_or_default();
        let lease = Duration::from_secs(seconds);
        Ok(Token {
            text: Zeroizing::new(text.to_owned()),
            lease,
            since,
            is_renewable: auth.get("renewable") == Some(&Value::Bool(true)),
            first_lease: before.map_or(lease, |before| before.first_lease),
        })
    }

    /// Sends one request; without a body it is a GET.
    fn ask(&self, path: &str, token: Option<&Zeroizing<String>>, body: Option<&Value>) -> Result<Answer> {
        let url = format!("{}/v1/{path}", self.settings.address);
        let namespace = self.settings.namespace.as_deref().map(|namespace| ("X-Vault-Namespace", namespace));
        let token = token.map(|token| ("X-Vault-Token", token.as_str()));
        let headers = [Some(("X-Vault-Request", "true")), namespace, token].into_iter().flatten();
        let sent = match body {
            None => headers
                .fold(self.agent.get(&url), |request, (name, value)| request.header(name, value))
                .call(),
            Some(body) => {
                let text = Zeroizing::new(body.to_string());
                headers
                    .fold(self.agent.post(&url), |request, (name, value)| request.header(name, value))
                    .content_type("application/json")
                    .send(text.as_str())
            }
        };
        let read = sent.and_then(|mut response: Response<Body>| {
            let status = response.status().as_u16();
            let bytes = response.body_mut().with_config().limit(MOST_ANSWER_BYTES).read_to_vec()?;
            Ok((status, Zeroizing::new(bytes)))
        });
        let (status, bytes) = read.map_err(|err| {
            Error::Unavailable(format!(
                "the vault at `{}` does not answer: {err}; nothing of it is given out until it does",
                self.settings.address
            ))
        })?;
        // What is no JSON is told by its status.
        Ok(Answer { status, body: serde_json::from_slice(&bytes).unwrap_or_default() })
    }

    fn failed(&self, answer: &Answer) -> Error {
        let address = &self.settings.address;
        let (status, reason) = (answer.status, answer.reason());
        Error::Unavailable(match status {
            300..400 => format!(
                "the vault at `{address}` sends elsewhere ({status}); name the server itself in `secrets.vault.address`"
            ),
            200..300 => format!("what answers at `{address}` is no vault that is known here"),
            503 if reason.contains("sealed") => format!(
                "the vault at `{address}` is sealed; nothing of it is given out until an administrator has unsealed it"
            ),
            _ => format!("the vault at `{address}` fails with {status}: {reason}"),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Option<Token>> {
        // It is replaced as a whole.
        self.token.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Vault").field("address", &self.settings.address).finish_non_exhaustive()
    }
}

impl Answer {
    /// In the server's words.
    fn reason(&self) -> String {
        let errors = self.body.get("errors").and_then(Value::as_array).into_iter().flatten();
        let said: Vec<_> = errors.filter_map(Value::as_str).map(str::trim).collect();
        if said.is_empty() { "it gives no reason".into() } else { said.join("; ") }
    }
}

/// Who may vouch for the server.
fn authorities(file: Option<&Path>) -> Result<Authorities> {
    match file {
        Some(file) => Authorities::of_file(file).map_err(|err| Error::Settings(err.to_string())),
        None => Authorities::of_host()
            .map_err(|err| Error::Settings(format!("{err}, or name its own in `secrets.vault.ca_file`"))),
    }
}

/// A random number; without the kernel's, all daemons wait equally long, which works too.
fn chance() -> u16 {
    let mut bytes = [0; 2];
    let _ = getrandom::fill(&mut bytes);
    u16::from_ne_bytes(bytes)
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
