//! What a request must have before anything of it is read: the right host, no foreign page behind it, a token.

use super::Front;
use crate::bearers::Bearer;
use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use skynet_core::{Caller, Token};
use std::sync::Arc;

/// Names of this host that only this host can be reached by.
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// Names the workspace, for a token that has several.
pub(super) const WORKSPACE: &str = "skynet-workspace";

pub(super) async fn check(State(front): State<Front>, request: Request, next: Next) -> Response {
    match admit(&front, request).await {
        Ok(request) => next.run(request).await,
        // Whoever may not come in holds no connection.
        Err(mut refusal) => {
            refusal.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            *refusal
        }
    }
}

async fn admit(front: &Front, mut request: Request) -> Result<Request, Box<Response>> {
    let headers = request.headers();
    let forbid = |message| Err(Box::new(refuse(StatusCode::FORBIDDEN, message)));
    // A page of the web that had its name point here sends its own name (DNS rebinding; MCP, Streamable HTTP, security).
    if !is_own_host(headers, front.port) {
        return forbid("the `Host` header does not name this listener");
    }
    if !is_own_origin(headers) {
        return forbid("the `Origin` header names another site");
    }
    let caller = caller(front, headers).await?;
    // Held until the last byte of the answer.
    let token = caller.token.as_ref().map_or("", |token| &token.id);
    let Some(place) = front.place(token) else {
        let message = "too many requests are under way; try again";
        return Err(Box::new(refuse(StatusCode::SERVICE_UNAVAILABLE, message)));
    };
    request.extensions_mut().insert(caller);
    request.extensions_mut().insert(Arc::new(place));
    Ok(request)
}

/// In words, as text: a client that gets here speaks no MCP to us yet.
pub(super) fn refuse(status: StatusCode, message: &str) -> Response {
    (status, message.to_owned()).into_response()
}

fn single<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?.to_str().ok()?;
    // A second one is read differently by different programs.
    values.next().is_none().then_some(first)
}

fn is_own_host(headers: &HeaderMap, port: u16) -> bool {
    let Some(host) = single(headers, header::HOST.as_str()) else { return false };
    LOOPBACK
        .iter()
        .any(|name| host.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest == format!(":{port}")))
}

/// Programs send no origin; pages of this host may have any port.
fn is_own_origin(headers: &HeaderMap) -> bool {
    if !headers.contains_key(header::ORIGIN) {
        return true;
    }
    let Some(origin) = single(headers, header::ORIGIN.as_str()) else { return false };
    let host = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    host.is_some_and(|host| {
        LOOPBACK.iter().any(|name| {
            host.strip_prefix(name).is_some_and(|rest| {
                rest.is_empty() || rest.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok())
            })
        })
    })
}

/// The secret that a request shows (RFC 6750, section 2.1).
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, secret) = single(headers, header::AUTHORIZATION.as_str())?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| secret.trim())
}

async fn caller(front: &Front, headers: &HeaderMap) -> Result<Caller, Box<Response>> {
    let shown = match bearer(headers) {
        Some(secret) => front.bearers.admit(secret).await.map_err(|err| {
            tracing::warn!(error = %err, "a token cannot be checked");
            Box::new(refuse(StatusCode::SERVICE_UNAVAILABLE, "the token cannot be checked now; try again"))
        })?,
        None => None,
    };
    let Some(Bearer { peer, id, name, workspaces, effects }) = shown else {
        // RFC 6750, section 3.
        let challenge = [(header::WWW_AUTHENTICATE, "Bearer realm=\"skynet\"")];
        let message =
            "a valid token is needed: `Authorization: Bearer ...`; make one with `skynetctl token create`";
        return Err(Box::new((StatusCode::UNAUTHORIZED, challenge, message).into_response()));
    };
    if headers.get_all(WORKSPACE).iter().count() > 1 {
        let message = "the header `Skynet-Workspace` is there more than once";
        return Err(Box::new(refuse(StatusCode::BAD_REQUEST, message)));
    }
    let claim = match headers.get(WORKSPACE).map(|value| value.to_str().unwrap_or_default()) {
        Some(wanted) if workspaces.iter().any(|workspace| workspace == wanted) => Some(wanted),
        Some(_) => {
            let message = "the token is not bound to the workspace in `Skynet-Workspace`";
            return Err(Box::new(refuse(StatusCode::FORBIDDEN, message)));
        }
        None => workspaces.first().map(String::as_str),
    };
    let _turn = front.bearers.turn(peer.uid).await;
    let caller = front
        .desk
        .caller(&peer, "unknown", claim)
        .await
        .map_err(|status| Box::new(refuse(StatusCode::FORBIDDEN, status.message())))?;
    Ok(Caller { token: Some(Arc::new(Token { id, name, effects })), ..caller })
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn hosts_and_origins() {
        let headers = |name: &'static str, values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(name, HeaderValue::from_static(value));
            }
            headers
        };
        for (host, is_own) in [
            (&["localhost:7"][..], true),
            (&["127.0.0.1:7"], true),
            (&["[::1]:7"], true),
            (&["127.0.0.1"], true),
            (&["127.0.0.1:8"], false),
            (&["localhost.evil:7"], false),
            (&["evil:7"], false),
            (&["localhost:7", "evil"], false),
            (&[], false),
        ] {
            assert_eq!(is_own_host(&headers("host", host), 7), is_own, "{host:?}");
        }
        for (origin, is_own) in [
            (&[][..], true),
            (&["http://localhost"], true),
            (&["http://127.0.0.1:5173"], true),
            (&["null"], false),
            (&["http://localhost.evil"], false),
            (&["http://localhost:evil"], false),
            (&["http://evil"], false),
            (&["http://localhost", "http://evil"], false),
        ] {
            assert_eq!(is_own_origin(&headers("origin", origin)), is_own, "{origin:?}");
        }
    }
}
