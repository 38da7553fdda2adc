//! A login: the authorization code flow with PKCE (RFC 6749, section 4.1; RFC 7636; RFC 8252), whose browser is opened by somebody
//! else, or a code that is entered elsewhere. What is begun here is known by a number that nobody guesses, to its user alone.

use crate::{
    Error, Result,
    answer::{Tokens, tokens},
    device::{self, DeviceCode},
    provider::Provider,
    random::{chance, unguessed},
    web::{Web, encode_form},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest as _, Sha256};
use skynet_secrets::{
    Existing, Grant, Held, Name, Purpose, Terms,
    grant::{Login, Proof},
};
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

/// A browser has that long to come back.
const LONGEST_LOGIN: Duration = Duration::from_secs(15 * 60);

const LONGEST_CLIENT: usize = 1024;
const LONGEST_SCOPE: usize = 512;
pub(crate) const MOST_SCOPES: usize = 64;

/// What is to be had. Of a grant that is there, what is left out stays.
#[derive(Default)]
pub struct Wish {
    /// Of the secret.
    pub name: String,
    /// A provider that is known by name.
    pub provider: Option<String>,
    /// The URL of any other.
    pub issuer: Option<String>,
    /// As the provider knows who asks.
    pub client_id: Option<String>,
    /// What shows that, if there is such a thing.
    pub client_secret: Option<Zeroizing<String>>,
    /// What tokens are for.
    pub scopes: Vec<String>,
    /// What a command that gets one may reach.
    pub hosts: Vec<String>,
    /// Instead of refusing when there is another secret of that name.
    pub replace: bool,
    /// How its user logs in.
    pub way: Way,
}

/// How a user logs in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Way {
    /// By a code that is entered on another device.
    #[default]
    Device,
    /// By a browser, which comes back there: `http://127.0.0.1:PORT/callback`.
    Browser(String),
}

/// What is to be done now.
#[derive(Debug)]
pub enum Begun {
    /// To open this.
    Browser {
        /// What it is finished with.
        id: String,
        /// The URL.
        url: String,
        /// What the browser must come back with.
        state: String,
    },
    /// To enter a code elsewhere.
    Device {
        /// What it is finished with.
        id: String,
        /// What to enter, and where.
        code: DeviceCode,
    },
}

/// What a browser came back with.
#[derive(Debug)]
pub struct Callback {
    /// For which tokens are given.
    pub code: String,
    /// Shows which login it belongs to.
    pub state: String,
    /// Who gave it, if it says so (RFC 9207).
    pub issuer: Option<String>,
}

/// A login under way.
pub(crate) struct Pending {
    pub(crate) owner: u32,
    pub(crate) name: Name,
    pub(crate) client: Client,
    pub(crate) existing: Existing,
    pub(crate) until: Instant,
    pub(crate) step: Step,
    purpose: Purpose,
    scopes: Vec<String>,
}

/// What it waits for.
pub(crate) enum Step {
    Browser { redirect_uri: String, verifier: Zeroizing<String>, state: String },
    Device { code: Zeroizing<String>, interval: Duration },
}

/// Who asks whom.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) provider: Provider,
    pub(crate) id: String,
    pub(crate) secret: Zeroizing<String>,
}

impl Client {
    /// Asks the token endpoint.
    ///
    /// # Errors
    /// `Refused`, `Unavailable`.
    pub(crate) fn ask(&self, web: &Web, form: &[(&str, &str)]) -> Result<Tokens> {
        let Self { provider, id, secret } = self;
        let reply = post(web, &provider.token_endpoint, provider.proof, (id, secret), form)?;
        tokens(&provider.name, &reply)
    }
}

/// Posts a form as this client, which is its id and its secret.
///
/// # Errors
/// `Unavailable`.
pub(crate) fn post(
    web: &Web,
    url: &str,
    proof: Proof,
    (id, secret): (&str, &str),
    form: &[(&str, &str)],
) -> Result<crate::web::Reply> {
    let mut form = form.to_vec();
    // RFC 6749, section 3.2.1: who has no secret says at least who he is.
    let basic = match (secret.is_empty(), proof) {
        (true, Proof::Basic | Proof::Post) => {
            form.push(("client_id", id));
            None
        }
        (false, Proof::Post) => {
            form.extend([("client_id", id), ("client_secret", secret)]);
            None
        }
        (false, Proof::Basic) => Some((id, secret)),
    };
    web.post(url, &form, basic)
}

impl Pending {
    /// Checks all of a wish, and asks the provider what is to be done. `before` is the grant that is there.
    ///
    /// # Errors
    /// `Invalid`, `Refused`, `Unavailable`.
    pub(crate) fn begin(
        web: &Web,
        owner: u32,
        wish: Wish,
        before: Option<Held>,
        existing: Existing,
    ) -> Result<(Self, Begun)> {
        let name = Name::parse(&wish.name)?;
        let purpose = match &before {
            Some(held) if wish.hosts.is_empty() => held.purpose.clone(),
            Some(_) | None => Purpose { hosts: wish.hosts, git: None },
        };
        purpose.check()?;
        check_scopes(&wish.scopes)?;
        let before = before.map(|held| held.grant);
        let chosen = (wish.provider, wish.issuer, wish.client_id, wish.client_secret);
        let client = client(web, &name, chosen, before.as_ref())?;
        let scopes = match before {
            Some(grant) if wish.scopes.is_empty() => grant.terms.scopes,
            Some(_) | None => wish.scopes,
        };
        if scopes.is_empty() && client.provider.name == crate::provider::GOOGLE {
            return Err(Error::Invalid(
                "Google wants to know what the tokens are for: name it by `--scope`, like `https://www.googleapis.com/auth/gmail.readonly`".into(),
            ));
        }
        let id = unguessed()?;
        let (step, until, begun) = match wish.way {
            Way::Browser(redirect_uri) => {
                let (step, begun) = browser(&client, &scopes, redirect_uri, id)?;
                (step, LONGEST_LOGIN, begun)
            }
            Way::Device => {
                let (secret, interval, code) = device::begin(web, &client, &scopes)?;
                let until = Duration::from_secs(code.expires_in_seconds);
                (Step::Device { code: secret, interval }, until, Begun::Device { id, code })
            }
        };
        let until = Instant::now() + until;
        Ok((Self { owner, name, client, existing, until, step, purpose, scopes }, begun))
    }

    /// The tokens for what a browser came back with.
    ///
    /// # Errors
    /// `Invalid` when that belongs to another login; `Refused`, `Unavailable`.
    pub(crate) fn exchange(&self, web: &Web, back: &Callback) -> Result<Tokens> {
        let Step::Browser { redirect_uri, verifier, state } = &self.step else {
            return Err(Error::Invalid("this login is one by a device".into()));
        };
        let Provider { name, issuer, names_itself, .. } = &self.client.provider;
        if back.state != *state {
            return Err(Error::Invalid("what the browser brought belongs to another login".into()));
        }
        // RFC 9207, section 2.4: another provider may have mixed in.
        if back.issuer.as_ref().map_or(*names_itself, |said| said != issuer) {
            return Err(Error::Invalid(format!(
                "what the browser brought is not from `{name}`; begin again"
            )));
        }
        self.client.ask(
            web,
            &[
                ("grant_type", "authorization_code"),
                ("code", &back.code),
                ("redirect_uri", redirect_uri),
                ("code_verifier", verifier),
            ],
        )
    }

    /// What is to be kept; `rest` is how long the token is left alone.
    pub(crate) fn held(&self, tokens: Tokens, rest: SignedDuration) -> Held {
        let Provider { name, token_endpoint, revocation_endpoint, proof, .. } = &self.client.provider;
        let now = Timestamp::now();
        let mut terms = Terms {
            provider: name.clone(),
            token_endpoint: token_endpoint.clone(),
            revocation_endpoint: revocation_endpoint.clone(),
            client_id: self.client.id.clone(),
            proof: *proof,
            login: match self.step {
                Step::Browser { .. } => Login::Browser,
                Step::Device { .. } => Login::Device,
            },
            scopes: tokens.scopes.unwrap_or_else(|| self.scopes.clone()),
            obtained_at: now,
            expires_at: None,
            renew_at: None,
            is_renewable: true,
            ended: None,
        };
        terms.begin(now, tokens.seconds, chance(), rest);
        let client_secret = Zeroizing::new(self.client.secret.as_bytes().to_vec());
        let grant = Grant::new(terms, client_secret, tokens.refresh.unwrap_or_default());
        Held { token: tokens.access, grant, purpose: self.purpose.clone() }
    }
}

/// Provider, issuer, id and secret of a client, as far as they are named.
type Chosen = (Option<String>, Option<String>, Option<String>, Option<Zeroizing<String>>);

fn client(web: &Web, name: &Name, chosen: Chosen, before: Option<&Grant>) -> Result<Client> {
    let (provider, issuer, id, secret) = chosen;
    let of_before = before.map(|grant| grant.terms.provider.clone());
    let of_before =
        of_before.map(|name| if name.contains("://") { (None, Some(name)) } else { (Some(name), None) });
    let named = if provider.is_none() && issuer.is_none() { of_before } else { Some((provider, issuer)) };
    // The secret belongs to the id.
    let id_of_before = before.filter(|_| id.is_none()).map(|grant| grant.terms.client_id.clone());
    let secret_of_before = before.filter(|_| id.is_none()).map(|grant| grant.client_secret.to_vec());
    let id = id.or(id_of_before).ok_or_else(|| {
        Error::Invalid(format!(
            "who asks is not named: make a client at the provider and name it, as in `skynetctl secret login {name} --client-id ID`"
        ))
    })?;
    let secret = match secret {
        Some(secret) => secret,
        None => Zeroizing::new(String::from_utf8(secret_of_before.unwrap_or_default()).unwrap_or_default()),
    };
    let is_visible =
        |text: &str| text.len() <= LONGEST_CLIENT && text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    if id.is_empty() || !is_visible(&id) || !is_visible(&secret) {
        // RFC 6749, appendix A.1 and A.2.
        return Err(Error::Invalid(format!(
            "a client's id has 1 to {LONGEST_CLIENT} visible ASCII characters, and so has its secret"
        )));
    }
    let provider = match named {
        Some((Some(provider), None)) => Provider::known(&provider)?,
        Some((None, Some(issuer))) => Provider::discover(web, &issuer)?,
        Some((Some(_), Some(_))) => {
            return Err(Error::Invalid("name a provider or an issuer, not both".into()));
        }
        Some((None, None)) | None => {
            return Err(Error::Invalid(format!(
                "there is no grant `{name}` yet: name its provider, as in `skynetctl secret login {name} --provider google`, or any other by `--issuer URL`"
            )));
        }
    };
    Ok(Client { provider, id, secret })
}

/// RFC 6749, section 3.3.
pub(crate) fn is_scope(scope: &str) -> bool {
    (1..=LONGEST_SCOPE).contains(&scope.len())
        && scope.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\')
}

fn check_scopes(scopes: &[String]) -> Result<()> {
    if let Some(scope) = scopes.iter().find(|scope| !is_scope(scope)) {
        return Err(Error::Invalid(format!(
            "`{}` is no scope: it has 1 to {LONGEST_SCOPE} visible ASCII characters but `\"` and `\\`; name several by several `--scope`",
            scope.escape_debug()
        )));
    }
    if scopes.len() > MOST_SCOPES {
        return Err(Error::Invalid(format!("a grant has at most {MOST_SCOPES} scopes")));
    }
    Ok(())
}

fn browser(client: &Client, scopes: &[String], redirect_uri: String, id: String) -> Result<(Step, Begun)> {
    let Provider { name, authorization_endpoint, extra, .. } = &client.provider;
    let endpoint = authorization_endpoint.as_ref().ok_or_else(|| {
        Error::Invalid(format!(
            "`{name}` names no place for a browser to log in; add `--device` for a login by a code"
        ))
    })?;
    // RFC 8252, section 7.3: nobody else's code shall come back to a place of somebody's choice.
    let port = redirect_uri.strip_prefix("http://127.0.0.1:").and_then(|rest| rest.strip_suffix("/callback"));
    if port.is_none_or(|port| port.parse::<u16>().is_err()) {
        return Err(Error::Invalid("a browser comes back to `http://127.0.0.1:PORT/callback`".into()));
    }
    let (verifier, state) = (Zeroizing::new(unguessed()?), unguessed()?);
    // RFC 7636, section 4.2.
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes()));
    let scope = scopes.join(" ");
    let mut query = vec![
        ("response_type", "code"),
        ("client_id", client.id.as_str()),
        ("redirect_uri", redirect_uri.as_str()),
        ("state", state.as_str()),
        ("code_challenge", challenge.as_str()),
        ("code_challenge_method", "S256"),
    ];
    if !scope.is_empty() {
        query.push(("scope", &scope));
    }
    query.extend(extra.iter().copied());
    let separator = if endpoint.contains('?') { '&' } else { '?' };
    let url = format!("{endpoint}{separator}{}", encode_form(&query));
    let begun = Begun::Browser { id, url, state: state.clone() };
    Ok((Step::Browser { redirect_uri, verifier, state }, begun))
}
