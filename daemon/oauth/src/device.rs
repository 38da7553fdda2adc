//! A login by a code that is entered on another device (RFC 8628): for hosts without a browser.

use crate::{
    Error, Result,
    answer::{Tokens, refusal, shown},
    login::{Client, post},
    web::{Web, check_url},
};
use serde::Deserialize;
use std::time::Duration;
use zeroize::Zeroizing;

const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// RFC 8628, section 3.2: where the provider does not say.
const USUAL_INTERVAL_SECONDS: u64 = 5;

/// RFC 8628, section 3.5: how much slower to ask for good, when the provider says so.
const SLOWER: Duration = Duration::from_secs(5);

const LONGEST_INTERVAL: Duration = Duration::from_secs(60);

/// No code counts longer.
const LONGEST_LOGIN_SECONDS: u64 = 3600;

/// What somebody enters, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceCode {
    /// To be entered.
    pub user_code: String,
    /// There.
    pub url: String,
    /// The same with the code in it, if the provider has such a place.
    pub whole_url: Option<String>,
    /// For how long.
    pub expires_in_seconds: u64,
}

#[derive(Deserialize)]
struct Given {
    device_code: String,
    user_code: String,
    // Google's name for it is older than the RFC.
    #[serde(alias = "verification_url")]
    verification_uri: String,
    verification_uri_complete: Option<String>,
    expires_in: u64,
    interval: Option<u64>,
}

/// What came of asking once.
pub(crate) enum Polled {
    Given(Tokens),
    /// Nobody has entered the code yet; ask again after that long.
    Wait(Duration),
}

/// Asks for a code: what stands for it here, how often to ask for tokens, and what to enter.
///
/// # Errors
/// `Invalid` where the provider has no such login; `Refused`, `Unavailable`.
pub(crate) fn begin(
    web: &Web,
    client: &Client,
    scopes: &[String],
) -> Result<(Zeroizing<String>, Duration, DeviceCode)> {
    let provider = &client.provider;
    let name = &provider.name;
    let endpoint = provider.device_endpoint.as_ref().ok_or_else(|| {
        Error::Invalid(format!("`{name}` has no login by a code; leave out `--device` and use a browser"))
    })?;
    let scope = scopes.join(" ");
    let mut form = Vec::new();
    if !scope.is_empty() {
        form.push(("scope", scope.as_str()));
    }
    // RFC 8628, section 3.1: who asks is named in the form in any case.
    if !client.secret.is_empty() && provider.proof == skynet_secrets::grant::Proof::Basic {
        form.push(("client_id", &client.id));
    }
    let reply = post(web, endpoint, provider.proof, (&client.id, &client.secret), &form)?;
    if reply.status != 200 {
        return Err(refusal(name, &reply));
    }
    let given: Given = serde_json::from_slice(&reply.body)
        .map_err(|_| Error::Unavailable(format!("what `{name}` gives is no code for a login")))?;
    for url in [Some(&given.verification_uri), given.verification_uri_complete.as_ref()].into_iter().flatten()
    {
        check_url(url, crate::web::is_here(endpoint))?;
    }
    let interval = given.interval.unwrap_or(USUAL_INTERVAL_SECONDS).max(1);
    let code = DeviceCode {
        user_code: shown(&given.user_code),
        url: given.verification_uri,
        whole_url: given.verification_uri_complete,
        expires_in_seconds: given.expires_in.min(LONGEST_LOGIN_SECONDS),
    };
    Ok((Zeroizing::new(given.device_code), Duration::from_secs(interval).min(LONGEST_INTERVAL), code))
}

/// Asks once for tokens.
///
/// # Errors
/// `Refused` when its user said no, or was too late.
pub(crate) fn poll(web: &Web, client: &Client, code: &str, interval: Duration) -> Result<Polled> {
    let asked = client.ask(web, &[("grant_type", GRANT_TYPE), ("device_code", code)]);
    let refused = match asked {
        Ok(tokens) => return Ok(Polled::Given(tokens)),
        // RFC 8628, section 3.5: who does not answer is asked half as often.
        Err(Error::Unavailable(_)) => return Ok(Polled::Wait((interval * 2).min(LONGEST_INTERVAL))),
        Err(err) => err,
    };
    let Error::Refused { code, reason } = refused else { return Err(refused) };
    match code.as_str() {
        "authorization_pending" => Ok(Polled::Wait(interval)),
        "slow_down" => Ok(Polled::Wait((interval + SLOWER).min(LONGEST_INTERVAL))),
        _ => Err(Error::Refused { code, reason }),
    }
}
