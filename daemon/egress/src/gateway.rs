//! A forward proxy (RFC 9110, section 3.7) that connects to what was granted and to nothing else. The one who asks never
//! resolves a name: it is resolved here, once, and what is connected to is what was looked at.

use crate::{
    MOST_CONNECTIONS,
    adding::{Adding, Ended, Found},
    address::is_public,
    grant::{Grant, address_of, plain},
    relay::accept_each,
    request::{self, Reply},
};
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use ipnet::IpNet;
use std::{
    collections::BTreeSet,
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream, lookup_host},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

/// For each address of a host.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// Of hosts that were refused.
const MOST_REMEMBERED: usize = 64;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    #[error("nothing was granted for `{0}`; call again with it among the hosts of `network`")]
    Ungranted(String),
    #[error(
        "`{host}` is {address}, which is no public address; a service of this host is reached by `reach`, one of its networks by a grant for the address, or by name if an administrator lists the address in `network.reachable`"
    )]
    Address { host: String, address: IpAddr },
    #[error(
        "`{0}` gets a header of `network`, whose secret ended with the daemon that started this job; start it again"
    )]
    Lost(String),
    #[error("`{0}` cannot be resolved: {1}")]
    Resolve(String, std::io::Error),
    #[error("`{0}` cannot be connected to: {1}")]
    Connect(String, std::io::Error),
}

/// The proxy of one slot.
pub struct Gateway {
    grants: Vec<Grant>,
    /// Where granted names may lead besides the internet.
    reachable: Arc<[IpNet]>,
    adding: Option<Adding>,
    refused: Mutex<BTreeSet<String>>,
    is_over: CancellationToken,
    /// For tunnels, which outlive their requests.
    tunnels: Arc<Semaphore>,
}

impl Gateway {
    /// One for these grants; names may lead to addresses of the internet and to those that are `reachable`.
    #[must_use]
    pub fn new(grants: Vec<Grant>, reachable: Arc<[IpNet]>) -> Arc<Self> {
        Self::adding(grants, reachable, None)
    }

    /// The same, which adds headers to requests.
    #[must_use]
    pub fn adding(grants: Vec<Grant>, reachable: Arc<[IpNet]>, adding: Option<Adding>) -> Arc<Self> {
        Arc::new(Self {
            grants,
            reachable,
            adding,
            refused: Mutex::default(),
            is_over: CancellationToken::new(),
            tunnels: Arc::new(Semaphore::new(MOST_CONNECTIONS)),
        })
    }

    /// What it was asked for until now, as `HOST:PORT`, and did not connect to because it was not granted.
    #[must_use]
    pub fn refused(&self) -> BTreeSet<String> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Serves whoever connects to `listener`, for as long as it is polled; dropped, it ends the connections too.
    pub async fn serve(self: Arc<Self>, listener: TcpListener) {
        let _end_of_tunnels = self.is_over.clone().drop_guard();
        accept_each(&listener, |stream| self.clone().serve_one(stream)).await;
    }

    async fn serve_one(self: Arc<Self>, stream: TcpStream) {
        let service = service_fn(|request: Request<Incoming>| {
            let gateway = self.clone();
            async move { Ok::<Reply, Infallible>(request::answer(&gateway, request).await) }
        });
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new());
        let connection = builder.serve_connection(TokioIo::new(stream), service).with_upgrades();
        if let Err(err) = connection.await {
            tracing::debug!(error = %err, "a connection of a command ended");
        }
    }

    /// A place for a tunnel: the connection that it came by counts no more. `None` if all are taken.
    pub(crate) fn place(&self) -> Option<OwnedSemaphorePermit> {
        self.tunnels.clone().try_acquire_owned().ok()
    }

    /// Does what outlives the request it came from, but not the gateway. Of a tunnel, `what` has the place. What drives a connection to a
    /// host needs none: it ends with the tunnel or the request that it is for.
    pub(crate) fn spawn(&self, what: impl Future<Output = ()> + Send + 'static) {
        let is_over = self.is_over.clone();
        tokio::spawn(async move {
            is_over.run_until_cancelled(what).await;
        });
    }

    /// How TLS is ended for a host, if something is added there.
    pub(crate) fn ending(&self, host: &str, port: u16) -> Result<Option<Arc<Ended>>, Refused> {
        let host = plain(host);
        match self.adding.as_ref().map_or(Found::Nothing, |adding| adding.find(&host, port)) {
            Found::Nothing => Ok(None),
            Found::Ended(ended) => Ok(Some(ended)),
            Found::Lost => Err(Refused::Lost(format!("{host}:{port}"))),
        }
    }

    /// Connects to a host that was granted, at an address that was.
    pub(crate) async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, Refused> {
        let host = plain(host);
        let name = format!("{host}:{port}");
        let grants: Vec<&Grant> = self.grants.iter().filter(|grant| grant.covers(&host, port)).collect();
        if grants.is_empty() {
            self.note(&name);
            return Err(Refused::Ungranted(name));
        }
        let addresses: Vec<SocketAddr> = match address_of(&host) {
            Some(address) => vec![(address, port).into()],
            None => match lookup_host((host.as_str(), port)).await {
                Ok(addresses) => addresses.collect(),
                Err(err) => return Err(Refused::Resolve(name, err)),
            },
        };
        let is_named = |ip| {
            self.reachable.iter().any(|network| network.contains(&ip))
                || grants.iter().any(|grant| grant.is_for(ip))
        };
        let mut failed = Refused::Resolve(name.clone(), std::io::ErrorKind::NotFound.into());
        for address in addresses {
            let ip = address.ip();
            if !is_public(ip) && !is_named(ip) {
                self.note(&name);
                failed = Refused::Address { host: host.clone(), address: ip };
                continue;
            }
            let connected = timeout(CONNECT_WITHIN, TcpStream::connect(address)).await;
            match connected.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into())) {
                // Here itself, by the address that the world knows it by: what listens there is behind no firewall.
                Ok(stream) if !is_named(ip) && stream.local_addr().is_ok_and(|own| own.ip() == ip) => {
                    self.note(&name);
                    failed = Refused::Address { host: host.clone(), address: ip };
                }
                Ok(stream) => {
                    // What is slow about that is the network's.
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Err(err) => failed = Refused::Connect(name.clone(), err),
            }
        }
        Err(failed)
    }

    fn note(&self, name: &str) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if refused.len() < MOST_REMEMBERED {
            refused.insert(name.to_owned());
        }
    }
}
