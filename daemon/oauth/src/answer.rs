//! What the token endpoint answers (RFC 6749, section 5), and whether to ask again.

use crate::{
    Error, Result,
    login::{MOST_SCOPES, is_scope},
    web::Reply,
};
use serde::Deserialize;
use serde_json::Value;
use skynet_secrets::grant::LONGEST_TOKEN;
use zeroize::Zeroizing;

/// Of what a provider says, shown to people.
const LONGEST_REASON: usize = 300;

/// A year: whoever says that a token lives longer means that it has no end that matters.
const LONGEST_LIFE_SECONDS: i64 = 366 * 24 * 3600;

/// What a grant gives.
pub(crate) struct Tokens {
    pub(crate) access: Zeroizing<Vec<u8>>,
    pub(crate) refresh: Option<Zeroizing<Vec<u8>>>,
    /// How long the access token counts, if the provider says so.
    pub(crate) seconds: Option<i64>,
    /// What it is for, if that is not what was asked for.
    pub(crate) scopes: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Given {
    access_token: String,
    token_type: String,
    /// A number; some write it as text.
    expires_in: Option<Value>,
    refresh_token: Option<String>,
    scope: Option<String>,
}

#[derive(Deserialize)]
struct Fault {
    error: String,
    error_description: Option<String>,
}

/// The tokens that an answer of `provider` gives.
///
/// # Errors
/// `Refused` with the provider's code; `Unavailable` for what may be another answer later.
pub(crate) fn tokens(provider: &str, reply: &Reply) -> Result<Tokens> {
    if reply.status != 200 {
        return Err(refusal(provider, reply));
    }
    let strange = |what: &str| {
        Error::Unavailable(format!("what `{provider}` gives is no access token that is known here: {what}"))
    };
    let given: Given =
        serde_json::from_slice(&reply.body).map_err(|_| strange("it lacks a part, or is no JSON"))?;
    // RFC 6749, section 7.1: one of a type that is not understood must not be used.
    if !given.token_type.eq_ignore_ascii_case("bearer") {
        let named = reply.without_hidden(&given.token_type);
        return Err(strange(&format!("its type is `{}`", shown(&named))));
    }
    if !is_token(&given.access_token) || given.refresh_token.as_ref().is_some_and(|token| !is_token(token)) {
        return Err(strange("it has characters that a token has not, or is too long"));
    }
    let seconds = match given.expires_in {
        None | Some(Value::Null) => None,
        Some(Value::Number(number)) => {
            number.as_i64().or_else(|| number.as_f64().map(|seconds| seconds as i64))
        }
        Some(Value::String(text)) => text.trim().parse().ok(),
        Some(Value::Bool(_) | Value::Array(_) | Value::Object(_)) => {
            return Err(strange("how long it counts is no number"));
        }
    };
    Ok(Tokens {
        access: into_bytes(given.access_token),
        refresh: given.refresh_token.map(into_bytes),
        // Who says that a token has ended, and gives it, does not say how long it counts.
        seconds: seconds.filter(|seconds| *seconds > 0).map(|seconds| seconds.min(LONGEST_LIFE_SECONDS)),
        scopes: given.scope.as_deref().map(scopes),
    })
}

/// As many as may be asked for: what is kept has an end.
fn scopes(scope: &str) -> Vec<String> {
    scope.split(' ').filter(|one| is_scope(one)).take(MOST_SCOPES).map(str::to_owned).collect()
}

/// Why a provider gave nothing.
pub(crate) fn refusal(provider: &str, reply: &Reply) -> Error {
    let status = reply.status;
    let fault: Option<Fault> = serde_json::from_slice(&reply.body).ok();
    let fault = fault.map(|Fault { error, error_description }| Fault {
        error: reply.without_hidden(&error),
        error_description: error_description.map(|words| reply.without_hidden(&words)),
    });
    let words = match &fault {
        None => "it gives no reason".to_owned(),
        Some(Fault { error, error_description: None }) => format!("`{}`", shown(error)),
        Some(Fault { error, error_description: Some(words) }) => {
            format!("`{}`, {}", shown(error), shown(words))
        }
    };
    match (status, fault) {
        (300..400, _) => {
            Error::Unavailable(format!("`{provider}` sends elsewhere ({status}); name the provider itself"))
        }
        (400..=428 | 430..=499, Some(Fault { error, .. })) if !is_passing(&error) => {
            Error::Refused { code: error, reason: format!("`{provider}` refuses: {words}") }
        }
        _ => Error::Unavailable(format!("`{provider}` fails with {status}: {words}")),
    }
}

/// Errors that other servers than the token endpoint give (RFC 6749, section 4.1.2.1), and that some give there too.
fn is_passing(code: &str) -> bool {
    ["server_error", "temporarily_unavailable"].contains(&code)
}

/// RFC 6749, appendix A.12 and A.17, without the space: it goes into a header and into an environment.
fn is_token(token: &str) -> bool {
    (1..=LONGEST_TOKEN).contains(&token.len()) && token.bytes().all(|byte| byte.is_ascii_graphic())
}

fn into_bytes(text: String) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(text.into_bytes())
}

/// A stranger's words, made harmless.
pub(crate) fn shown(text: &str) -> String {
    text.chars().take(LONGEST_REASON).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(status: u16, body: &str) -> Result<Tokens> {
        let hidden = vec![Zeroizing::new("to/ken+1".to_owned())];
        tokens("id", &Reply { status, body: Zeroizing::new(body.as_bytes().to_vec()), hidden })
    }

    #[test]
    fn an_answer_gives_tokens_and_says_how_long_they_count() {
        let got = read(
            200,
            r#"{"access_token":"a","token_type":"bearer","expires_in":3600,"refresh_token":"r","scope":"x y","more":1}"#,
        )
        .unwrap();
        assert_eq!(
            (&got.access[..], &got.refresh.unwrap()[..], got.seconds),
            (&b"a"[..], &b"r"[..], Some(3600))
        );
        assert_eq!(got.scopes.unwrap(), ["x", "y"]);
        for (life, seconds) in [
            ("\"60\"", Some(60)),
            ("null", None),
            ("-5", None),
            ("0", None),
            ("0.5", None),
            ("1e30", Some(LONGEST_LIFE_SECONDS)),
        ] {
            let body = format!(r#"{{"access_token":"a","token_type":"Bearer","expires_in":{life}}}"#);
            assert_eq!(read(200, &body).unwrap().seconds, seconds, "{life}");
        }
    }

    #[test]
    fn no_more_scopes_are_taken_than_may_be_asked_for() {
        let scope = format!("{} é {}", "x".repeat(1000), "mail ".repeat(1000));
        let body = format!(r#"{{"access_token":"a","token_type":"Bearer","scope":"{scope}"}}"#);
        assert_eq!(read(200, &body).unwrap().scopes.unwrap(), vec!["mail"; MOST_SCOPES]);
    }

    #[test]
    fn what_is_no_token_is_not_used() {
        for (body, words) in [
            ("<html>", "no JSON"),
            (r#"{"token_type":"Bearer"}"#, "lacks a part"),
            (r#"{"access_token":"a","token_type":"mac"}"#, "its type is `mac`"),
            (r#"{"access_token":"","token_type":"Bearer"}"#, "characters"),
            (r#"{"access_token":"a b","token_type":"Bearer"}"#, "characters"),
            (r#"{"access_token":"a\u0000","token_type":"Bearer"}"#, "characters"),
            (r#"{"access_token":"a","token_type":"Bearer","refresh_token":"é"}"#, "characters"),
            (r#"{"access_token":"a","token_type":"Bearer","expires_in":[]}"#, "no number"),
        ] {
            let err = read(200, body).err().unwrap();
            assert!(matches!(err, Error::Unavailable(_)) && err.to_string().contains(words), "{body}: {err}");
        }
    }

    #[test]
    fn a_refusal_is_told_from_what_passes() {
        let refused =
            read(400, r#"{"error":"invalid_grant","error_description":"gone\u001b[2J"}"#).err().unwrap();
        assert!(matches!(&refused, Error::Refused { code, .. } if code == "invalid_grant"));
        assert_eq!(refused.to_string(), "`id` refuses: `invalid_grant`, gone\\u{1b}[2J");
        // What it was sent, however JSON spells it.
        for spelled in [r"to/ken+1", r"to\/ken\u002B1", r"to%2fken%2b1", r"\u0074o/ken+1"] {
            let body = format!(r#"{{"error":"bad {spelled}","error_description":"no {spelled}"}}"#);
            let refused = read(400, &body).err().unwrap();
            assert!(matches!(&refused, Error::Refused { code, .. } if code == "bad [redacted]"), "{spelled}");
            assert_eq!(refused.to_string(), "`id` refuses: `bad [redacted]`, no [redacted]");
            let failed = read(500, &body).err().unwrap().to_string();
            assert!(failed.ends_with("`bad [redacted]`, no [redacted]"), "{failed}");
        }
        for (status, body) in [
            (500, r#"{"error":"invalid_grant"}"#),
            (503, ""),
            (429, r#"{"error":"slow_down"}"#),
            (400, r#"{"error":"temporarily_unavailable"}"#),
            (400, "no JSON"),
            (302, ""),
        ] {
            assert!(matches!(read(status, body), Err(Error::Unavailable(_))), "{status} {body}");
        }
    }
}
