//! Providers: those that are known by name, and any that says about itself where things are (RFC 8414, OpenID Connect Discovery).

use crate::{
    Error, Result,
    answer::{refusal, shown},
    web::{Web, check_url, is_here},
};
use serde::Deserialize;
use skynet_secrets::grant::Proof;

/// The provider that is known by name.
pub(crate) const GOOGLE: &str = "google";

/// Where a provider says about itself: RFC 8414, section 3.1, and OpenID Connect Discovery 1.0, section 4.
const WELL_KNOWN: &str = "/.well-known/oauth-authorization-server";
const WELL_KNOWN_OPENID: &str = "/.well-known/openid-configuration";

/// Where to log in, and where tokens come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Provider {
    /// The name, or the issuer.
    pub(crate) name: String,
    pub(crate) issuer: String,
    pub(crate) authorization_endpoint: Option<String>,
    pub(crate) token_endpoint: String,
    pub(crate) device_endpoint: Option<String>,
    pub(crate) revocation_endpoint: Option<String>,
    pub(crate) proof: Proof,
    /// Whether each of its answers to a browser names it (RFC 9207).
    pub(crate) names_itself: bool,
    /// What it wants to hear besides, from a browser.
    pub(crate) extra: &'static [(&'static str, &'static str)],
}

#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    authorization_endpoint: Option<String>,
    token_endpoint: Option<String>,
    device_authorization_endpoint: Option<String>,
    revocation_endpoint: Option<String>,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    code_challenge_methods_supported: Option<Vec<String>>,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

impl Provider {
    /// The one of that name.
    ///
    /// # Errors
    /// `Invalid`.
    pub(crate) fn known(name: &str) -> Result<Self> {
        if name != GOOGLE {
            return Err(Error::Invalid(format!(
                "`{}` is no provider that is known by name: that is `{GOOGLE}`; name another by the URL of its issuer",
                name.escape_debug()
            )));
        }
        // developers.google.com/identity/protocols/oauth2: "for desktop apps", "for TV and limited-input devices".
        Ok(Self {
            name: GOOGLE.into(),
            issuer: "https://accounts.google.com".into(),
            authorization_endpoint: Some("https://accounts.google.com/o/oauth2/v2/auth".into()),
            token_endpoint: "https://oauth2.googleapis.com/token".into(),
            device_endpoint: Some("https://oauth2.googleapis.com/device/code".into()),
            revocation_endpoint: Some("https://oauth2.googleapis.com/revoke".into()),
            proof: Proof::Post,
            names_itself: false,
            // Without these there is no refresh token, or none at a second login.
            extra: &[("access_type", "offline"), ("prompt", "consent")],
        })
    }

    /// The one that is at `issuer`, as it says itself.
    ///
    /// # Errors
    /// `Invalid` for no URL, and for what is no provider of OAuth; `Unavailable`.
    pub(crate) fn discover(web: &Web, issuer: &str) -> Result<Self> {
        check_url(issuer, true)?;
        if issuer.contains('?') {
            return Err(Error::Invalid(format!(
                "`{issuer}` is no issuer: it has a query (RFC 8414, section 2)"
            )));
        }
        let mut last = None;
        for url in places(issuer) {
            let reply = web.get(&url)?;
            match reply.status {
                200 => return Self::read(issuer, &url, &reply.body),
                400..500 => last = Some(url),
                _ => return Err(refusal(&url, &reply)),
            }
        }
        Err(Error::Invalid(format!(
            "`{issuer}` is no provider that says about itself where things are: there is nothing at `{}`",
            last.unwrap_or_default()
        )))
    }

    fn read(issuer: &str, url: &str, body: &[u8]) -> Result<Self> {
        let wrong = |what: &str| Error::Invalid(format!("what `{url}` says is not to be trusted: {what}"));
        let metadata: Metadata =
            serde_json::from_slice(body).map_err(|_| wrong("it is no metadata of a provider"))?;
        // RFC 8414, section 3.3: otherwise one could speak for another.
        if metadata.issuer.trim_end_matches('/') != issuer.trim_end_matches('/') {
            return Err(wrong(&format!("it is about `{}`", shown(&metadata.issuer))));
        }
        let endpoints = [
            &metadata.authorization_endpoint,
            &metadata.token_endpoint,
            &metadata.device_authorization_endpoint,
            &metadata.revocation_endpoint,
        ];
        for endpoint in endpoints.into_iter().flatten() {
            check_url(endpoint, is_here(issuer))?;
        }
        let token_endpoint = metadata.token_endpoint.ok_or_else(|| wrong("it has no `token_endpoint`"))?;
        if metadata.code_challenge_methods_supported.is_some_and(|all| !all.iter().any(|one| one == "S256")) {
            return Err(wrong("it takes no PKCE with `S256`, without which a code could be stolen"));
        }
        // RFC 8414, section 2: without a word, it is Basic.
        let methods = metadata.token_endpoint_auth_methods_supported.unwrap_or_default();
        let has = |method: &str| methods.iter().any(|one| one == method);
        let proof = if !methods.is_empty() && !has("client_secret_basic") && has("client_secret_post") {
            Proof::Post
        } else {
            Proof::Basic
        };
        Ok(Self {
            name: issuer.to_owned(),
            issuer: metadata.issuer,
            authorization_endpoint: metadata.authorization_endpoint,
            token_endpoint,
            device_endpoint: metadata.device_authorization_endpoint,
            revocation_endpoint: metadata.revocation_endpoint,
            proof,
            names_itself: metadata.authorization_response_iss_parameter_supported,
            extra: &[],
        })
    }
}

/// RFC 8414 puts the well-known part before the path of the issuer, OpenID Connect behind it.
fn places(issuer: &str) -> [String; 2] {
    let whole = issuer.trim_end_matches('/');
    let start = whole.find("://").map_or(0, |at| at + 3);
    let path = whole.get(start..).and_then(|rest| rest.find('/')).map_or(whole.len(), |at| start + at);
    let (origin, path) = whole.split_at(path);
    [format!("{whole}{WELL_KNOWN_OPENID}"), format!("{origin}{WELL_KNOWN}{path}")]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_where_the_specifications_say() {
        assert_eq!(
            places("https://id.example.org/realms/one/"),
            [
                "https://id.example.org/realms/one/.well-known/openid-configuration",
                "https://id.example.org/.well-known/oauth-authorization-server/realms/one",
            ]
        );
        assert_eq!(
            places("https://id.example.org"),
            [
                "https://id.example.org/.well-known/openid-configuration",
                "https://id.example.org/.well-known/oauth-authorization-server",
            ]
        );
    }

    #[test]
    fn metadata_of_another_or_without_protection_is_refused() {
        let issuer = "https://id.example.org";
        let read = |body: &str| Provider::read(issuer, "url", body.as_bytes());
        let found = read(
            r#"{"issuer":"https://id.example.org","token_endpoint":"https://id.example.org/t",
                "token_endpoint_auth_methods_supported":["client_secret_post","none"],
                "code_challenge_methods_supported":["plain","S256"],"unknown":[]}"#,
        )
        .unwrap();
        assert_eq!((found.proof, found.names_itself, found.device_endpoint), (Proof::Post, false, None));
        for (body, words) in [
            ("[]", "no metadata"),
            (
                r#"{"issuer":"https://evil.example.org","token_endpoint":"https://id.example.org/t"}"#,
                "about `https://evil",
            ),
            (r#"{"issuer":"https://id.example.org"}"#, "no `token_endpoint`"),
            (
                r#"{"issuer":"https://id.example.org","token_endpoint":"http://127.0.0.1:1/t"}"#,
                "over `https`",
            ),
            (
                r#"{"issuer":"https://id.example.org","token_endpoint":"https://id.example.org/t",
                    "code_challenge_methods_supported":["plain"]}"#,
                "no PKCE",
            ),
        ] {
            let err = read(body).unwrap_err().to_string();
            assert!(err.contains(words), "{body}: {err}");
        }
        assert!(Provider::known("googel").unwrap_err().to_string().contains("`google`"));
    }
}
