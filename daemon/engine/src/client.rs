//! Clients of the engine: one per call, over connections that were made with the rights of whoever makes the call.

use crate::{
    Name,
    failure::{self, About},
};
use bollard::{
    BollardRequest, Docker, container::LogOutput, errors::Error as Failure, query_parameters::LogsOptions,
};
use bytes::Bytes;
use futures_util::StreamExt as _;
use http_body_util::{BodyExt as _, Empty};
use hyper::{
    Request, Response, Uri,
    body::{Body, Incoming},
    client::conn::http1,
    header::{HOST, HeaderValue},
};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use skynet_core::{CallCtx, Connection, Error, Result};
use skynet_sandbox::{Slots, engine::OWN_SOCKETS};
use std::{
    io,
    os::unix::net::UnixStream as StdStream,
    path::{Path, PathBuf},
    pin::Pin,
    sync::{Arc, OnceLock},
};
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;

/// Of a request until the engine begins to answer. What limits a call is the time of its tool.
const PATIENCE_SECONDS: u64 = 4000;

/// Of an answer that is read as a whole.
const MOST_BYTES: usize = 64 << 20;

/// Stands for the engine where HTTP wants a host.
const NAME: &str = "engine";

/// The way to the engine.
pub struct Engine {
    slots: Arc<Slots>,
    own: Arc<[PathBuf]>,
}

impl Engine {
    /// The engine to which `slots` connects. A daemon of one user finds it at the first of `own` that is there.
    #[must_use]
    pub fn new(slots: Arc<Slots>, own: Vec<PathBuf>) -> Arc<Self> {
        Arc::new(Self { slots, own: own.into() })
    }

    /// Where the engines are that one user may have: what `DOCKER_HOST` says, his own, and those of the host.
    #[must_use]
    pub fn places(docker_host: Option<&str>, runtime_directory: &Path) -> Vec<PathBuf> {
        let named = docker_host.and_then(|host| host.strip_prefix("unix://")).map(PathBuf::from);
        let own = OWN_SOCKETS.iter().map(|name| runtime_directory.join(name));
        let of_host = skynet_sandbox::engine::HOST_SOCKETS.iter().map(PathBuf::from);
        named.into_iter().chain(own).chain(of_host).collect()
    }

    /// Whose slots these are.
    #[must_use]
    pub const fn slots(&self) -> &Arc<Slots> {
        &self.slots
    }

    /// A connection as the caller.
    ///
    /// # Errors
    /// `Denied` when he may not, `Unavailable` when there is no engine.
    pub async fn connect(&self, ctx: &CallCtx) -> Result<UnixStream> {
        self.dialer(ctx)?.dial().await
    }

    /// What connects as the caller, again and again.
    pub(crate) fn dialer(&self, ctx: &CallCtx) -> Result<Dialer> {
        let connection = ctx.origin()?.caller.connection.clone();
        Ok(self.dialer_of(connection, ctx.has_lent_engine))
    }

    fn dialer_of(&self, connection: Arc<Connection>, is_lent: bool) -> Dialer {
        Dialer { slots: self.slots.clone(), connection, own: self.own.clone(), is_lent }
    }

    /// A client for one call.
    ///
    /// # Errors
    /// As [`Engine::connect`].
    pub async fn client(&self, ctx: &CallCtx) -> Result<Client> {
        Self::client_by(self.dialer(ctx)?, ctx.cancel.clone()).await
    }

    /// A client that only listens, with the rights of whom the connection is of, and none that are lent.
    ///
    /// # Errors
    /// As [`Engine::connect`].
    pub(crate) async fn listener(&self, connection: Arc<Connection>) -> Result<Client> {
        Self::client_by(self.dialer_of(connection, false), CancellationToken::new()).await
    }

    async fn client_by(dialer: Dialer, cancel: CancellationToken) -> Result<Client> {
        let way = Arc::new(Way { dialer, prefix: OnceLock::new(), of_build: OnceLock::new() });
        let transport = {
            let way = way.clone();
            move |request: BollardRequest| {
                let way = way.clone();
                async move { way.send(request).await }
            }
        };
        let address = Some(format!("http://{NAME}"));
        let version = bollard::API_DEFAULT_VERSION;
        let docker = Docker::connect_with_custom_transport(transport, address, PATIENCE_SECONDS, version)
            .map_err(|err| Error::internal("the client of the engine cannot be made").with_source(err))?;
        let client = Client { docker, way, cancel };
        let docker = client.ask(About::Engine, client.docker.clone().negotiate_version()).await?;
        let version = docker.client_version();
        // It is set once, here.
        let _ = client.way.prefix.set(format!("/v{}.{}", version.major_version, version.minor_version));
        Ok(client)
    }
}

/// Makes connections as one caller.
pub(crate) struct Dialer {
    slots: Arc<Slots>,
    connection: Arc<Connection>,
    own: Arc<[PathBuf]>,
    /// For one call, by an administrator.
    is_lent: bool,
}

impl Dialer {
    pub(crate) async fn dial(&self) -> Result<UnixStream> {
        let socket = self.slots.connect_engine(self.connection.number(), &self.own, self.is_lent).await?;
        let socket = StdStream::from(socket);
        let unusable = |err| Error::internal("the connection to the engine cannot be used").with_source(err);
        socket.set_nonblocking(true).map_err(unusable)?;
        UnixStream::from_std(socket).map_err(unusable)
    }
}

/// How one call reaches the engine: each request by a connection of its own, which ends with it.
struct Way {
    dialer: Dialer,
    /// Of paths, once it is known which version of the API both speak.
    prefix: OnceLock<String>,
    /// More of the query of a build, which the library has no words for.
    of_build: OnceLock<&'static str>,
}

/// Which engine answers, where one means by a word what the other does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Docker,
    Podman,
}

/// What is asked for, by the version that both speak.
fn target(prefix: &str, path: &str, of_build: Option<&str>) -> String {
    match of_build.filter(|_| path.starts_with("/build?")) {
        Some(more) => format!("{prefix}{path}&{more}"),
        None => format!("{prefix}{path}"),
    }
}

impl Way {
    async fn send<B>(&self, request: Request<B>) -> std::result::Result<Response<Incoming>, Failure>
    where
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let socket = self.dialer.dial().await.map_err(io::Error::other)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await?;
        // Ends with the request, and with the answer to it: whoever drops that hangs up.
        tokio::spawn(async move {
            if let Err(err) = connection.with_upgrades().await {
                tracing::debug!(error = %err, "a connection to the engine broke");
            }
        });
        let (mut parts, body) = request.into_parts();
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        // The library leaves out which version it speaks, so the engine would take it for the newest.
        let prefix = self.prefix.get().map_or("", String::as_str);
        parts.uri = target(prefix, path, self.of_build.get().copied()).parse::<Uri>()?;
        parts.headers.insert(HOST, HeaderValue::from_static(NAME));
        Ok(sender.send_request(Request::from_parts(parts, body)).await?)
    }
}

/// A stream of the library's.
pub(crate) type Stream<'a, T> =
    Pin<Box<dyn futures_util::Stream<Item = std::result::Result<T, Failure>> + Send + 'a>>;

/// What one call asks of the engine. Dropped, it hangs up.
pub struct Client {
    pub(crate) docker: Docker,
    way: Arc<Way>,
    cancel: CancellationToken,
}

impl Client {
    /// The answer to one request, for as long as the caller wants it.
    ///
    /// # Errors
    /// What the engine says, in words about `about`; `Canceled`.
    pub(crate) async fn ask<T>(
        &self,
        about: About<'_>,
        answer: impl Future<Output = std::result::Result<T, Failure>> + Send,
    ) -> Result<T> {
        let answered = tokio::select! {
            answered = answer => answered,
            () = self.cancel.cancelled() => return Err(canceled()),
        };
        match answered {
            Ok(answer) => Ok(answer),
            Err(err) => Err(failure::explain(self, about, err).await),
        }
    }

    /// The next of a stream, for as long as the caller wants it; `None` at its end.
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub(crate) async fn next<T>(&self, about: About<'_>, stream: &mut Stream<'_, T>) -> Result<Option<T>> {
        self.ask(about, async { stream.next().await.transpose() }).await
    }

    /// What a container printed. What a terminal prints is not framed, and a frame that a program pretends there is would
    /// be waited for up to 4 GiB, so the library does not see that.
    pub(crate) async fn logs(&self, name: &Name, options: LogsOptions) -> Result<Stream<'_, LogOutput>> {
        let has_terminal = self.inspect(name).await?.config.and_then(|config| config.tty) == Some(true);
        if !has_terminal {
            return Ok(Box::pin(self.docker.logs(name, Some(options))));
        }
        let LogsOptions { follow, stdout, stderr, since, until, timestamps, tail } = options;
        let path = format!(
            "/containers/{name}/logs?follow={follow}&stdout={stdout}&stderr={stderr}&since={since}&until={until}&timestamps={timestamps}&tail={tail}"
        );
        let about = About::Container(name);
        let response = self.ask(about, self.send(&path)).await?;
        if !response.status().is_success() {
            return Err(Error::unavailable(format!(
                "{about}: its log cannot be read: {}",
                response.status()
            )));
        }
        let pieces = response.into_body().into_data_stream();
        Ok(Box::pin(pieces.map(|piece| Ok(LogOutput::Console { message: piece? }))))
    }

    pub(crate) async fn send(&self, path: &str) -> std::result::Result<Response<Incoming>, Failure> {
        let mut request = Request::new(Empty::<Bytes>::new());
        *request.uri_mut() = path.parse::<Uri>()?;
        self.way.send(request).await
    }

    /// Which engine this is: Podman names itself among its parts.
    pub(crate) async fn kind(&self) -> Result<Kind> {
        let version = self.ask(About::Engine, self.docker.version()).await?;
        let is_podman = version.components.iter().flatten().any(|part| part.name.starts_with("Podman"));
        Ok(if is_podman { Kind::Podman } else { Kind::Docker })
    }

    /// Has more said with the builds of this call.
    pub(crate) fn say_with_builds(&self, more: &'static str) {
        // Said once, what is said again is the same.
        let _ = self.way.of_build.set(more);
    }

    /// What a path answers, where the library knows only the newest form of it.
    pub(crate) async fn get<T: DeserializeOwned>(&self, about: About<'_>, path: &str) -> Result<T> {
        let read = async {
            let response = self.send(path).await?;
            let status = response.status();
            let body = http_body_util::Limited::new(response.into_body(), MOST_BYTES);
            let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
            if status.is_success() {
                return Ok(serde_json::from_slice(&body)?);
            }
            let message = String::from_utf8_lossy(&body).into_owned();
            Err(Failure::DockerResponseServerError { status_code: status.as_u16(), message })
        };
        self.ask(about, read).await
    }
}

pub(crate) fn canceled() -> Error {
    Error::canceled("the client canceled the call")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_build_is_asked_for_with_more() {
        let of_build = Some("nsoptions=x");
        assert_eq!(target("/v1.41", "/build?t=a", of_build), "/v1.41/build?t=a&nsoptions=x");
        assert_eq!(target("/v1.41", "/build?t=a", None), "/v1.41/build?t=a");
        assert_eq!(target("", "/images/json?all=true", of_build), "/images/json?all=true");
    }
}
