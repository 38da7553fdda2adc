//! One request to the proxy.

use crate::{
    adding::Missing,
    ended,
    gateway::{Gateway, Refused},
};
use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::{
    Method, Request, Response, StatusCode, Uri,
    body::Incoming,
    client::conn::http1,
    header::{
        CONNECTION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHENTICATE,
        PROXY_AUTHORIZATION, TE, TRAILER, UPGRADE,
    },
};
use hyper_util::rt::TokioIo;
use std::{io, sync::Arc};
use tokio::io::copy_bidirectional;

pub(crate) type Reply = Response<Either<Full<Bytes>, Incoming>>;

/// What is between two neighbours alone (RFC 9110, section 7.6.1), besides what `Connection` names.
const OF_ONE_HOP: [HeaderName; 6] =
    [CONNECTION, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER, UPGRADE];
const OF_ONE_HOP_TOO: [&str; 2] = ["keep-alive", "proxy-connection"];

pub(crate) async fn answer(gateway: &Arc<Gateway>, request: Request<Incoming>) -> Reply {
    let answered = if request.method() == Method::CONNECT {
        tunnel(gateway, request).await
    } else {
        forward(gateway, request).await
    };
    answered.unwrap_or_else(|failure| failure.reply())
}

/// Why a request is not answered by whom it is for.
pub(crate) enum Failure {
    Bad(&'static str),
    Unfit(StatusCode, &'static str),
    Refused(Refused),
    /// A header that the host is to get has no value.
    Missing(Missing),
    Tls(io::Error),
    Upstream(hyper::Error),
}

impl Failure {
    pub(crate) fn reply(&self) -> Reply {
        let (status, text) = match self {
            Self::Bad(why) => (StatusCode::BAD_REQUEST, (*why).to_owned()),
            Self::Unfit(status, why) => (*status, (*why).to_owned()),
            Self::Refused(refused @ (Refused::Ungranted(_) | Refused::Address { .. } | Refused::Lost(_))) => {
                (StatusCode::FORBIDDEN, refused.to_string())
            }
            Self::Missing(Missing::Gone(why)) => (StatusCode::FORBIDDEN, why.clone()),
            Self::Missing(Missing::Away(why)) => (StatusCode::BAD_GATEWAY, why.clone()),
            Self::Tls(err) => {
                (StatusCode::BAD_GATEWAY, format!("the host is not believed to be itself: {err}"))
            }
            Self::Refused(refused) => (StatusCode::BAD_GATEWAY, refused.to_string()),
            Self::Upstream(err) => (StatusCode::BAD_GATEWAY, format!("the host does not answer: {err}")),
        };
        let mut reply = Response::new(Either::Left(Full::from(format!("skynet: {text}\n"))));
        *reply.status_mut() = status;
        reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        reply
    }
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl From<Missing> for Failure {
    fn from(missing: Missing) -> Self {
        Self::Missing(missing)
    }
}

impl From<hyper::Error> for Failure {
    fn from(err: hyper::Error) -> Self {
        Self::Upstream(err)
    }
}

/// A connection for the bytes that follow (RFC 9110, section 9.3.6).
async fn tunnel(gateway: &Arc<Gateway>, request: Request<Incoming>) -> Result<Reply, Failure> {
    let (host, port) = match request.uri().authority() {
        Some(to) if to.as_str().contains('@') => return Err(Failure::Bad("CONNECT takes no user")),
        Some(to) => (to.host().to_owned(), to.port_u16().ok_or(Failure::Bad("CONNECT needs HOST:PORT"))?),
        None => return Err(Failure::Bad("CONNECT needs HOST:PORT")),
    };
    let ending = gateway.ending(&host, port)?;
    let mut connected = gateway.connect(&host, port).await?;
    // Before it is told that it is connected: after that, the end of the connection would be all it is told.
    let place = gateway.place().ok_or(Failure::Unfit(
        StatusCode::SERVICE_UNAVAILABLE,
        "too many connections of this command are open; close some, or wait until they end",
    ))?;
    let own = gateway.clone();
    gateway.spawn(async move {
        let _place = place;
        // One that goes before it was told about its connection needs none.
        let Ok(upgraded) = hyper::upgrade::on(request).await else { return };
        match ending {
            Some(host) => ended::serve(own, host, upgraded, connected).await,
            None => {
                // Each end is told by the end of its connection.
                let _ = copy_bidirectional(&mut TokioIo::new(upgraded), &mut connected).await;
            }
        }
    });
    Ok(Response::new(Either::Left(Full::default())))
}

/// A request of plain HTTP, made again at the host that it is for.
async fn forward(gateway: &Arc<Gateway>, mut request: Request<Incoming>) -> Result<Reply, Failure> {
    let uri = request.uri();
    let is_http = uri.scheme_str() == Some("http");
    let Some(to) = uri.authority().filter(|_| is_http).cloned() else {
        return Err(Failure::Bad(
            "this is a proxy: a request names its host, as in `GET http://HOST/`; for `https` it is CONNECT",
        ));
    };
    let port = to.port_u16().unwrap_or(80);
    if gateway.ending(to.host(), port)?.is_some() {
        return Err(Failure::Unfit(
            StatusCode::FORBIDDEN,
            "this host gets a header of `network`, which is told by `https` alone",
        ));
    }
    let connected = gateway.connect(to.host(), port).await?;
    let host = to.port().map_or_else(|| to.host().to_owned(), |port| format!("{}:{port}", to.host()));
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    *request.uri_mut() = path.parse::<Uri>().map_err(|_| Failure::Bad("the path cannot be read"))?;
    leave_hop(request.headers_mut());
    // Whatever it says: what was granted is that host, not another one at its address.
    let host = HeaderValue::try_from(host).map_err(|_| Failure::Bad("the host cannot be read"))?;
    request.headers_mut().insert(HOST, host);
    let (mut sender, connection) = http1::handshake(TokioIo::new(connected)).await?;
    gateway.spawn(async move {
        // What goes wrong with it, its request is told.
        let _ = connection.await;
    });
    let mut response = sender.send_request(request).await?;
    leave_hop(response.headers_mut());
    Ok(response.map(Either::Right))
}

pub(crate) fn leave_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    let known = OF_ONE_HOP_TOO.iter().map(|name| HeaderName::from_static(name));
    for name in named.into_iter().chain(OF_ONE_HOP).chain(known) {
        headers.remove(name);
    }
}
