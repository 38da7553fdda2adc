//! What leads out of a command's slot, on whose loopback nobody else is: a proxy to granted hosts, ports of this host, and
//! ports of the command that others may connect to.

use crate::run::sealed;
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{
    CallCtx, Effect, Error, ErrorKind, Result,
    ctx::Standing,
    tool::{PROXY, PROXY_PORT},
};
use skynet_egress::{Adding, Gateway, Grant, IpNet, Missing, Roots, Source, Template, Unusable, Way, relay};
use skynet_sandbox::{
    channel::{AsyncSocket, Buffer},
    places::CERTIFICATES,
    protocol::Dial,
};
use std::{
    collections::BTreeSet,
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    sync::Arc,
};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::Mutex,
    task::JoinSet,
};

/// Grants of one command.
const MOST_HOSTS: usize = 64;

/// Headers of one command.
const MOST_HEADERS: usize = 16;

/// What a message from the sandbox has room for, besides the proxy.
const MOST_PORTS: usize = 8;

/// Ports below are for root to open (ip(7), `ip_unprivileged_port_start`).
const FIRST_PUBLISHED: u16 = 1024;

const DIRECT: &str = "localhost,127.0.0.1,::1";

/// What programs look at to find a proxy: curl(1) knows `http_proxy` in small letters alone, others capitals alone, and
/// Node none of them without the last.
const VARIABLES: [(&str, &str); 7] = [
    ("http_proxy", PROXY),
    ("https_proxy", PROXY),
    ("HTTP_PROXY", PROXY),
    ("HTTPS_PROXY", PROXY),
    ("no_proxy", DIRECT),
    ("NO_PROXY", DIRECT),
    ("NODE_USE_ENV_PROXY", "1"),
];

/// What programs look at to find the authorities they trust: OpenSSL and Go, curl, Python's requests, Node, Git, Cargo, pip, tools of
/// Amazon's, Deno.
const TRUSTED: [(&str, &str); 9] = [
    ("SSL_CERT_FILE", CERTIFICATES),
    ("CURL_CA_BUNDLE", CERTIFICATES),
    ("REQUESTS_CA_BUNDLE", CERTIFICATES),
    ("NODE_EXTRA_CA_CERTS", CERTIFICATES),
    ("GIT_SSL_CAINFO", CERTIFICATES),
    ("CARGO_HTTP_CAINFO", CERTIFICATES),
    ("PIP_CERT", CERTIFICATES),
    ("AWS_CA_BUNDLE", CERTIFICATES),
    ("DENO_CERT", CERTIFICATES),
];

/// What a command may connect to, and who to it.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub struct Network {
    /// `HOST` (port 443), `HOST:PORT` or `*.HOST`, by proxy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    hosts: Vec<Grant>,
    /// `HOST NAME: ... secret://NAME`: header the proxy adds there (HTTPS); the command never sees it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    headers: Vec<Template>,
    /// This host's loopback ports to find on its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<i64>")]
    reach: Vec<u16>,
    /// Its ports to open on this host's loopback.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<i64>")]
    publish: Vec<u16>,
    /// Whether it has a proxy that tells what was asked of it also without a granted host.
    #[serde(skip)]
    #[schemars(skip)]
    is_watched: bool,
}

impl Network {
    /// A way to these hosts. What is asked for besides is refused, and named in the answer, also where `hosts` is empty.
    #[must_use]
    pub fn to(hosts: &[Grant]) -> Self {
        Self { hosts: hosts.to_vec(), is_watched: true, ..Self::default() }
    }

    fn has_proxy(&self) -> bool {
        self.is_watched || !self.hosts.is_empty()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.hosts.is_empty() && self.headers.is_empty() && self.reach.is_empty() && self.publish.is_empty()
    }

    /// What a command does to the world that without it does `without`.
    pub(crate) fn effect(&self, without: Effect) -> Effect {
        if self.is_empty() { without } else { Effect::External }
    }

    /// The ports of the command at which the daemon listens.
    pub(crate) fn listen(&self) -> Vec<u16> {
        let proxy = self.has_proxy().then_some(PROXY_PORT);
        proxy.into_iter().chain(self.reach.iter().copied()).collect()
    }

    /// Whether the daemon connects to the command.
    pub(crate) fn is_published(&self) -> bool {
        !self.publish.is_empty()
    }

    /// Tells programs of the proxy, and of what it is to be believed by.
    pub(crate) fn environment<'a>(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        let (has_proxy, has_headers) = (self.has_proxy(), !self.headers.is_empty());
        let trusted = TRUSTED.into_iter().filter(move |_| has_headers);
        VARIABLES.into_iter().filter(move |_| has_proxy).chain(trusted)
    }

    /// The secrets that are in headers, for [`skynet_core::Tool::secrets`].
    pub(crate) fn secrets(&self) -> impl Iterator<Item = String> + '_ {
        self.headers.iter().map(|header| header.secret().to_owned())
    }

    /// The hosts that a command can tell something, this one among them if there is a way to it.
    pub(crate) fn audience(&self) -> Vec<String> {
        let is_local = !self.reach.is_empty() || !self.publish.is_empty();
        self.hosts.iter().map(Grant::host).chain(is_local.then(|| "localhost".to_owned())).collect()
    }

    fn check(&self) -> Result<()> {
        if self.hosts.len() > MOST_HOSTS {
            return Err(Error::invalid_input(format!("`hosts` takes at most {MOST_HOSTS}")));
        }
        if self.reach.len() + self.publish.len() > MOST_PORTS {
            return Err(Error::invalid_input(format!(
                "`reach` and `publish` take at most {MOST_PORTS} ports together"
            )));
        }
        self.check_headers()?;
        let mut seen = BTreeSet::new();
        for port in self.listen().iter().chain(&self.publish) {
            if *port == 0 {
                return Err(Error::invalid_input("there is no port 0"));
            }
            if !seen.insert(*port) {
                let proxy = if *port == PROXY_PORT { "; with `hosts` it is the proxy's" } else { "" };
                return Err(Error::invalid_input(format!("port {port} is there but once{proxy}")));
            }
        }
        match self.publish.iter().find(|port| **port < FIRST_PUBLISHED) {
            Some(port) => Err(Error::invalid_input(format!(
                "port {port} cannot be published; have the command listen at one from {FIRST_PUBLISHED} on"
            ))),
            None => Ok(()),
        }
    }

    fn check_headers(&self) -> Result<()> {
        if self.headers.len() > MOST_HEADERS {
            return Err(Error::invalid_input(format!("`headers` takes at most {MOST_HEADERS}")));
        }
        for (index, header) in self.headers.iter().enumerate() {
            if !self.hosts.iter().any(|grant| grant.includes(header.place())) {
                let place = header.place();
                return Err(Error::invalid_input(format!(
                    "`headers` is about `{place}`, which is not among `hosts`; add it there"
                )));
            }
            if self.headers.iter().take(index).any(|other| other.collides(header)) {
                return Err(Error::invalid_input(format!(
                    "`headers` has `{header}` and another of that name"
                )));
            }
        }
        Ok(())
    }

    /// Finds the secrets that are in headers, each for the one host that is told it.
    async fn adding(&self, ctx: &CallCtx) -> Result<Adding> {
        if ctx.is_listed && !self.headers.is_empty() {
            return Err(Error::denied(
                "a list of commands holds, whose entries name the variables that may be set and know no `network.headers`; have an administrator allow a variable, or run it without",
            ));
        }
        let mut headers: Vec<(Template, Arc<dyn Source>)> = Vec::new();
        for template in &self.headers {
            let standing = ctx.standing_secret(template.secret(), &[template.host()]).await?;
            // What cannot be in a header is said before there is a command.
            template.fill(standing.value().await?).map_err(Error::invalid_input)?;
            headers.push((template.clone(), Arc::new(Asked(standing))));
        }
        // Certificates of the host are some hundred files, or a large one.
        let adding = crate::blocking(move || {
            let adding = Roots::of_system().and_then(|roots| Adding::new(headers, &roots));
            adding.map_err(|err: Unusable| Error::unavailable(format!("no header can be added: {err}")))
        });
        adding.await
    }

    /// Opens what can be opened before the command runs; `None` if there is nothing. Without a call, which has gone with the
    /// daemon that had it, no secret is read: hosts that get one are not reached.
    ///
    /// # Errors
    /// `InvalidInput` for ports and headers that make no sense, `Conflict` for a port of this host that is taken, `NotFound` and
    /// `Denied` for a secret.
    pub(crate) async fn open(&self, reachable: &Arc<[IpNet]>, ctx: Option<&CallCtx>) -> Result<Option<Open>> {
        self.check()?;
        if self.is_empty() && !self.has_proxy() {
            return Ok(None);
        }
        let adding = match ctx {
            _ if self.headers.is_empty() => None,
            Some(ctx) => Some(self.adding(ctx).await?),
            None => Some(Adding::lost(&self.headers)),
        };
        let unusable =
            |err| Error::unavailable("the command cannot be given its certificates").with_source(err);
        let certificates = adding.as_ref().map(|adding| sealed("certificates", adding.certificates()));
        let certificates = certificates.transpose().map_err(unusable)?;
        let mut published = Vec::new();
        for port in &self.publish {
            let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).await;
            let listener = bound.map_err(|err| match err.kind() {
                io::ErrorKind::AddrInUse => {
                    Error::conflict(format!("port {port} of this host is taken; publish another one"))
                }
                _ => {
                    Error::unavailable(format!("port {port} of this host cannot be opened")).with_source(err)
                }
            })?;
            published.push((listener, *port));
        }
        let gateway =
            self.has_proxy().then(|| Gateway::adding(self.hosts.clone(), reachable.clone(), adding));
        let (reach, serving) = (self.reach.clone(), JoinSet::new());
        Ok(Some(Open { gateway, certificates, reach, published, serving }))
    }
}

/// What is open on this side. Dropped, it is closed.
pub(crate) struct Open {
    gateway: Option<Arc<Gateway>>,
    certificates: Option<OwnedFd>,
    reach: Vec<u16>,
    published: Vec<(TcpListener, u16)>,
    serving: JoinSet<()>,
}

impl Open {
    /// What the command is to trust, if that is not what the host trusts.
    pub(crate) fn certificates(&self) -> Option<BorrowedFd<'_>> {
        self.certificates.as_ref().map(|file| file.as_fd())
    }

    /// Serves the slot that handed out `sockets`.
    pub(crate) fn serve(&mut self, sockets: Vec<OwnedFd>) -> Result<()> {
        let mut sockets = sockets.into_iter();
        let mut next = || {
            let socket = sockets.next();
            socket
                .ok_or_else(|| Error::internal("the sandbox handed over fewer sockets than it was asked for"))
        };
        let unusable = |err| Error::internal("a socket of the sandbox cannot be used").with_source(err);
        let listener = |socket: OwnedFd| {
            let listener = std::net::TcpListener::from(socket);
            listener.set_nonblocking(true).and_then(|()| TcpListener::from_std(listener)).map_err(unusable)
        };
        if let Some(gateway) = &self.gateway {
            self.serving.spawn(gateway.clone().serve(listener(next()?)?));
        }
        for port in std::mem::take(&mut self.reach) {
            self.serving.spawn(relay(listener(next()?)?, ToHost(port)));
        }
        if self.published.is_empty() {
            return Ok(());
        }
        let dialer = AsyncSocket::new(next()?).map_err(unusable)?;
        let dialer = Arc::new(Mutex::new((dialer, Buffer::default())));
        for (listener, port) in std::mem::take(&mut self.published) {
            self.serving.spawn(relay(listener, ToSlot { dialer: dialer.clone(), port }));
        }
        Ok(())
    }

    /// What was asked of the proxy, and is not granted or not public.
    pub(crate) fn refused(&self) -> BTreeSet<String> {
        self.gateway.as_ref().map(|gateway| gateway.refused()).unwrap_or_default()
    }
}

/// A secret as the proxy asks for it, with each request.
struct Asked(Arc<dyn Standing>);

#[async_trait]
impl Source for Asked {
    async fn value(&self) -> Result<Vec<u8>, Missing> {
        self.0.value().await.map_err(|err| match err.kind {
            ErrorKind::InvalidInput | ErrorKind::NotFound | ErrorKind::Conflict | ErrorKind::Denied => {
                Missing::Gone(err.message.into_owned())
            }
            ErrorKind::NeedsConfirmation
            | ErrorKind::QuotaExceeded
            | ErrorKind::TimedOut
            | ErrorKind::Canceled
            | ErrorKind::Interrupted
            | ErrorKind::Unavailable
            | ErrorKind::Internal => Missing::Away(err.message.into_owned()),
        })
    }
}

/// To a port of this host.
struct ToHost(u16);

impl Way for ToHost {
    async fn connect(&self) -> io::Result<TcpStream> {
        let loopback: [SocketAddr; 2] =
            [(Ipv4Addr::LOCALHOST, self.0).into(), (Ipv6Addr::LOCALHOST, self.0).into()];
        TcpStream::connect(&loopback[..]).await
    }
}

/// To a port of the slot.
struct ToSlot {
    dialer: Arc<Mutex<(AsyncSocket, Buffer)>>,
    port: u16,
}

impl Way for ToSlot {
    async fn connect(&self) -> io::Result<TcpStream> {
        let socket = {
            let mut dialer = self.dialer.lock().await;
            let (socket, buffer) = &mut *dialer;
            socket.send(&Dial {}, &[]).await?;
            let answer = socket.receive::<Dial>(buffer).await?;
            answer.and_then(|(_, mut sockets)| sockets.pop()).ok_or(io::ErrorKind::BrokenPipe)?
        };
        // Made in the slot's network, it is connected there, whoever connects it.
        TcpSocket::from_std_stream(socket.into()).connect((Ipv4Addr::LOCALHOST, self.port).into()).await
    }
}
