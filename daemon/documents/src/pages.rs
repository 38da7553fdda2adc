//! Fetches a page of the web, in hands that reach its host and no other. Asked by the daemon, never by an agent.

use crate::document::About;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{
    CallCtx, Effect, Error, Place, Result, Tool,
    ctx::{Remote, Transport},
    tool::PROXY,
};
use std::{sync::Arc, time::Duration};
use ureq::{
    Agent, Body, Proxy,
    http::{Response, Uri, header},
    tls::{RootCerts, TlsConfig},
};

/// A page may be silent for so long.
const SILENCE: Duration = Duration::from_secs(20);

/// All of it takes no longer.
const IN_ALL: Duration = Duration::from_secs(60);

/// Addresses may be so long (RFC 9110, section 4.1, asks for 8000 at least).
const LONGEST_URL: usize = 8000;

/// What pages are read as, by the media types that are announced. Others are refused.
const READABLE: [(&str, &str); 9] = [
    ("text/html", "html"),
    ("application/xhtml+xml", "html"),
    ("text/markdown", "md"),
    ("text/csv", "csv"),
    ("text/plain", "txt"),
    ("application/json", "json"),
    ("application/pdf", "pdf"),
    ("application/vnd.openxmlformats-officedocument.wordprocessingml.document", "docx"),
    ("application/vnd.oasis.opendocument.text", "odt"),
];

pub(crate) struct KnowledgeFindRemote;

pub(crate) struct KnowledgeFetchPage;

/// Which page.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Visit {
    /// Its address, `https` or `http`.
    pub url: String,
    /// A longer one is an error, in bytes.
    #[serde(default)]
    pub max_bytes: u64,
}

/// A page.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Page {
    /// What it is read as, by an extension.
    pub extension: String,
    /// Itself, in base64.
    pub base64: String,
    /// When it changed, if its server says so.
    pub about: About,
}

impl Tool for KnowledgeFindRemote {
    const NAME: &'static str = "knowledge_find_remote";
    const SUMMARY: &'static str = "Tell at which host a page is.";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Hands;
    type Input = Visit;
    type Output = Remote;

    async fn call(&self, _: &CallCtx, input: Visit) -> Result<Remote> {
        host_of(&input.url)
    }
}

impl Tool for KnowledgeFetchPage {
    const NAME: &'static str = "knowledge_fetch_page";
    const SUMMARY: &'static str = "Fetch a page of the web.";
    const EFFECT: Effect = Effect::External;
    const PLACE: Place = Place::Remote;
    const TIMEOUT: Duration = IN_ALL;
    type Input = Visit;
    type Output = Page;

    async fn call(&self, ctx: &CallCtx, input: Visit) -> Result<Page> {
        let fetched = tokio::task::spawn_blocking(move || fetch(&input));
        tokio::select! {
            fetched = fetched => fetched.map_err(|err| Error::internal("fetching failed").with_source(err))?,
            // The process ends with this call, and what still runs in it.
            () = ctx.cancel.cancelled() => Err(Error::canceled("the client canceled the call")),
        }
    }
}

/// Where a page is fetched from.
///
/// # Errors
/// `InvalidInput` for what is no address of a page.
pub fn host_of(url: &str) -> Result<Remote> {
    let wrong = |why: &str| Error::invalid_input(format!("`{}` {why}", url.escape_debug()));
    if url.len() > LONGEST_URL {
        return Err(Error::invalid_input(format!("an address has at most {LONGEST_URL} bytes")));
    }
    let scheme = url.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
    let (transport, port) = match scheme.as_deref() {
        Some("https") => (Transport::Https, 443),
        Some("http") => (Transport::Http, 80),
        _ => return Err(wrong("is neither `https` nor `http`")),
    };
    let uri: Uri = url.parse().map_err(|_| wrong("is no address of a page"))?;
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(wrong("names a user; pages are fetched as nobody"));
    }
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    if host.is_empty() || host.contains('*') {
        return Err(wrong("names no host"));
    }
    Ok(Remote { transport, host: host.to_owned(), port: uri.port_u16().unwrap_or(port), username: None })
}

/// A redirect to another host fails at the way out, which is to this one.
fn fetch(visit: &Visit) -> Result<Page> {
    let url = &visit.url;
    let failed = |err: ureq::Error| match err {
        // That is the way out of this process, and no matter of the user's.
        ureq::Error::ConnectProxyFailed(_) => Error::unavailable(format!(
            "`{url}` cannot be fetched: there is no such host, or it does not answer at that port"
        )),
        err => Error::unavailable(format!("`{url}` cannot be fetched: {err}")),
    };
    let proxy = Proxy::new(PROXY).map_err(failed)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = TlsConfig::builder()
        .unversioned_rustls_crypto_provider(provider)
        .root_certs(RootCerts::PlatformVerifier)
        .build();
    let config = Agent::config_builder()
        .proxy(Some(proxy))
        .tls_config(tls)
        .user_agent(concat!("skynet/", env!("CARGO_PKG_VERSION")))
        .http_status_as_error(false)
        .timeout_global(Some(IN_ALL))
        .timeout_per_read(Some(SILENCE));
    let accepted = READABLE.map(|(media_type, _)| media_type).join(", ");
    let agent = config.build().new_agent();
    let mut response = agent.get(url).header(header::ACCEPT, accepted).call().map_err(failed)?;
    match response.status().as_u16() {
        200 => {}
        status @ (404 | 410) => return Err(Error::not_found(format!("there is no page `{url}` ({status})"))),
        status => return Err(Error::unavailable(format!("`{url}` is refused with status {status}"))),
    }
    let media_type = text(&response, &header::CONTENT_TYPE);
    let media_type = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let Some((_, extension)) = READABLE.iter().find(|(readable, _)| *readable == media_type) else {
        return Err(Error::invalid_input(format!(
            "`{url}` is of the type `{}`, which is not read; what is read: {}",
            media_type.escape_debug(),
            READABLE.map(|(media_type, _)| media_type).join(", ")
        )));
    };
    let changed = text(&response, &header::LAST_MODIFIED);
    let at = jiff::fmt::rfc2822::parse(&changed).ok().map(|at| at.timestamp().as_second());
    let body = response.body_mut().with_config().limit(visit.max_bytes).read_to_vec().map_err(|err| {
        if matches!(err, ureq::Error::BodyExceedsLimit(_)) {
            Error::invalid_input(format!("`{url}` is larger than {} bytes", visit.max_bytes))
        } else {
            failed(err)
        }
    })?;
    Ok(Page {
        extension: (*extension).to_owned(),
        base64: BASE64_STANDARD.encode(body),
        about: About { at, ..About::default() },
    })
}

fn text(response: &Response<Body>, name: &header::HeaderName) -> String {
    response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_one_host() {
        let told = |url: &str| host_of(url).map(|remote| (remote.transport, remote.host, remote.port));
        assert!(
            matches!(told("https://docs.rs/tokio/"), Ok((Transport::Https, host, 443)) if host == "docs.rs")
        );
        assert!(
            matches!(told("http://[::1]:8080/a?b#c"), Ok((Transport::Http, host, 8080)) if host == "::1")
        );
        for url in [
            "",
            "docs.rs",
            "ftp://docs.rs/",
            "file:///etc/passwd",
            "https://",
            "https://me@docs.rs/",
            "https://*.rs/",
        ] {
            assert!(told(url).is_err(), "{url}");
        }
        assert!(told(&format!("https://docs.rs/{}", "a".repeat(8000))).is_err());
    }
}
