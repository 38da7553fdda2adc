//! A connection whose TLS ends at the proxy: requests of HTTP/1.1 go on to the host, over a TLS connection of their own, with the
//! headers that are added there. They are read and written anew, so nothing is smuggled past that, and bodies pass through.

use crate::{
    adding::Ended,
    gateway::Gateway,
    grant::plain,
    header::without,
    request::{Failure, Reply, leave_hop},
};
use http_body_util::Either;
use hyper::{
    Method, Request, Response, StatusCode, Uri, Version,
    body::Incoming,
    client::conn::http1::{SendRequest, handshake},
    header::{HOST, HeaderMap, HeaderValue, TRANSFER_ENCODING, UPGRADE},
    http::uri::Authority,
    server::conn::http1::Builder,
    service::service_fn,
    upgrade::Upgraded,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{cmp::Reverse, convert::Infallible, io, sync::Arc, time::Duration};
use tokio::{net::TcpStream, sync::Mutex, time::timeout};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// Of TLS, at either end.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);

/// Like `TRACE` to some servers.
const TRACK: &str = "TRACK";

/// The way to the host from one connection of a command.
struct Upstream {
    gateway: Arc<Gateway>,
    host: Arc<Ended>,
    connection: Mutex<Connection>,
}

#[derive(Default)]
struct Connection {
    /// What was connected when the command was told that it is.
    first: Option<TcpStream>,
    sender: Option<SendRequest<Incoming>>,
}

/// Serves a command that was told it is connected.
pub(crate) async fn serve(gateway: Arc<Gateway>, host: Arc<Ended>, command: Upgraded, connected: TcpStream) {
    let acceptor = TlsAcceptor::from(host.server.clone());
    let accepted = timeout(HANDSHAKE_WITHIN, acceptor.accept(TokioIo::new(command))).await;
    let stream = match accepted.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
        Ok(stream) => stream,
        Err(err) => {
            tracing::debug!(error = %err, "a command does not speak TLS as it should");
            return;
        }
    };
    let connection = Mutex::new(Connection { first: Some(connected), sender: None });
    let upstream = Arc::new(Upstream { gateway, host, connection });
    let service = service_fn(|request: Request<Incoming>| {
        let upstream = upstream.clone();
        async move {
            let answered = upstream.answer(request).await;
            Ok::<Reply, Infallible>(answered.unwrap_or_else(|failure| failure.reply()))
        }
    });
    let mut builder = Builder::new();
    builder.timer(TokioTimer::new());
    if let Err(err) = builder.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(error = %err, "a connection of a command ended");
    }
}

impl Upstream {
    async fn answer(&self, mut request: Request<Incoming>) -> Result<Reply, Failure> {
        prepare(&self.host, &mut request)?;
        // Without them there is nothing to connect for. Those that are sent are asked for when it is.
        self.host.headers().await?;
        let mut response = self.send(request).await?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Err(Failure::Unfit(StatusCode::BAD_GATEWAY, "the host changes the protocol unasked"));
        }
        // Also the words beside the status, which are the host's.
        response.extensions_mut().clear();
        leave_hop(response.headers_mut());
        self.host.hide(response.headers_mut());
        Ok(response.map(Either::Right))
    }

    async fn send(&self, mut request: Request<Incoming>) -> Result<Response<Incoming>, Failure> {
        let mut connection = self.connection.lock().await;
        if let Some(sender) = &mut connection.sender
            && sender.ready().await.is_ok()
        {
            self.fill(&mut request).await?;
            match sender.try_send_request(request).await {
                Ok(response) => return Ok(response),
                // The host has closed it meanwhile: what it was not sent is sent again.
                Err(mut err) => match err.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(err.into_error().into()),
                },
            }
        }
        let first = connection.first.take();
        let was_early = first.is_some();
        let opened = match self.open(first).await {
            // It was made before the command had anything to say, and the host did not wait for it. Nothing was sent yet.
            Err(Failure::Tls(err)) if was_early && err.kind() != io::ErrorKind::InvalidData => {
                self.open(None).await?
            }
            opened => opened?,
        };
        let sender = connection.sender.insert(opened);
        // It took a while to connect, and what was there at its beginning may have been deleted since.
        self.fill(&mut request).await?;
        Ok(sender.send_request(request).await?)
    }

    /// Puts in the headers as they are now.
    async fn fill(&self, request: &mut Request<Incoming>) -> Result<(), Failure> {
        for (name, value) in self.host.headers().await? {
            // In place of all that the command says there, and of what they were before.
            request.headers_mut().insert(name, value);
        }
        Ok(())
    }

    async fn open(&self, connected: Option<TcpStream>) -> Result<SendRequest<Incoming>, Failure> {
        let Ended { place, client, name, .. } = &*self.host;
        let connected = match connected {
            Some(connected) => connected,
            None => self.gateway.connect(&place.authority_host(), place.port()).await?,
        };
        let connecting = TlsConnector::from(client.clone()).connect(name.clone(), connected);
        let stream = timeout(HANDSHAKE_WITHIN, connecting).await;
        let stream = stream.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map_err(Failure::Tls)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        self.gateway.spawn(async move {
            // What goes wrong with it, its request is told.
            let _ = connection.await;
        });
        Ok(sender)
    }
}

/// Makes of a command's request what the host is sent.
fn prepare(host: &Ended, request: &mut Request<Incoming>) -> Result<(), Failure> {
    let method = request.method();
    // `TRACE` is answered with the request as it came (RFC 9110, section 9.3.8).
    if [Method::CONNECT, Method::TRACE].contains(method) || method.as_str() == TRACK {
        return Err(Failure::Unfit(
            StatusCode::NOT_IMPLEMENTED,
            "this method is not passed on to a host that gets a header of `network`",
        ));
    }
    if request.headers().contains_key(UPGRADE) {
        return Err(Failure::Unfit(
            StatusCode::NOT_IMPLEMENTED,
            "no other protocol, such as that of WebSockets, is passed on to a host that gets a header of `network`",
        ));
    }
    // A body is told by its length, or as one that is chunked, once. What different servers read differently would let the end of one
    // request be the beginning of the next (RFC 9112, section 11.2), and that one has the header.
    let mut codings = request.headers().get_all(TRANSFER_ENCODING).iter();
    let is_plain = match (codings.next(), codings.next()) {
        (None, _) => true,
        (Some(one), None) => one.as_bytes().eq_ignore_ascii_case(b"chunked"),
        (Some(_), Some(_)) => false,
    };
    if !is_plain {
        return Err(Failure::Unfit(
            StatusCode::NOT_IMPLEMENTED,
            "no other `Transfer-Encoding` than `chunked` is passed on to a host that gets a header of `network`",
        ));
    }
    let mut named = request.headers().get_all(HOST).iter();
    let is_host = match (named.next(), named.next()) {
        (Some(one), None) => {
            one.to_str().is_ok_and(|one| one.parse::<Authority>().is_ok_and(|one| host.is(&one)))
        }
        (None | Some(_), _) => false,
    };
    if !is_host || request.uri().authority().is_some_and(|authority| !host.is(authority)) {
        return Err(Failure::Unfit(
            StatusCode::MISDIRECTED_REQUEST,
            "a request is for the host that its connection is to, and `Host` says so",
        ));
    }
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    *request.uri_mut() = path.parse::<Uri>().map_err(|_| Failure::Bad("the path cannot be read"))?;
    *request.version_mut() = Version::HTTP_11;
    let headers = request.headers_mut();
    leave_hop(headers);
    let written = HeaderValue::try_from(host.written());
    headers.insert(HOST, written.map_err(|_| Failure::Bad("the host cannot be read"))?);
    Ok(())
}

impl Ended {
    fn is(&self, authority: &Authority) -> bool {
        let port = match (authority.port(), authority.port_u16()) {
            (None, _) => Some(443),
            (Some(_), port) => port,
        };
        !authority.as_str().contains('@')
            && port.is_some_and(|port| self.place.covers(&plain(authority.host()), port))
    }

    /// As a client of HTTPS writes it (RFC 9110, section 7.2).
    fn written(&self) -> String {
        let (host, port) = (self.place.authority_host(), self.place.port());
        if port == 443 { host } else { format!("{host}:{port}") }
    }

    /// Takes out what it was sent and sends back.
    fn hide(&self, headers: &mut HeaderMap) {
        let sent = self.sent();
        // The longest first: one may be the beginning of another.
        let mut hidden: Vec<_> = sent.iter().collect();
        hidden.sort_by_key(|value| Reverse(value.len()));
        for value in headers.values_mut() {
            if let Some(clean) = without(value.as_bytes(), hidden.iter().copied()) {
                // What is left of a value that was one is one.
                *value = HeaderValue::from_bytes(&clean).unwrap_or(HeaderValue::from_static("[redacted]"));
            }
        }
    }
}

#[cfg(test)]
#[path = "ended_tests.rs"]
mod tests;
