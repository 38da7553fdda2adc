//! MCP over Streamable HTTP: the same sessions, tools and rules as over the socket, for clients that show a token.
//! Listens on loopback only; a proxy in front of it has to bring its own transport security.

mod gate;
mod headers;
mod modern;
mod replay;
mod session;
mod stream;

pub(crate) use gate::bearer;

use crate::{
    accept::{self, Limits},
    bearers::Bearers,
    mcp::Turns,
    relay::Desk,
    supervisor::Inherited,
};
use anyhow::{Context as _, Result};
use axum::{Router, extract::DefaultBodyLimit, middleware, routing::post};
use session::Sessions;
use skynet_proto::MAX_FRAME_BYTES;
use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::{
    net::TcpListener,
    sync::{OwnedSemaphorePermit, Semaphore},
};

/// Requests that are worked on at the same time, streams included; more are told to come back.
const MOST_REQUESTS: usize = 1024;

/// The same for one token, so that no token takes the place of all others.
const MOST_REQUESTS_OF_TOKEN: usize = 256;

/// What systemd knows the socket by while it keeps it.
pub(crate) const SOCKET_NAME: &str = "http";

/// What every request needs.
#[derive(Clone)]
struct Front {
    desk: Desk,
    bearers: Arc<Bearers>,
    sessions: Arc<Sessions>,
    places: Arc<Semaphore>,
    /// By the id of a token.
    holders: Arc<Mutex<HashMap<String, Holder>>>,
    port: u16,
}

/// What all requests of one token share.
#[derive(Clone)]
struct Holder {
    places: Arc<Semaphore>,
    turns: Arc<Turns>,
}

impl Front {
    /// A place for one more request; `None` if all are taken.
    fn place(&self, token: &str) -> Option<(OwnedSemaphorePermit, OwnedSemaphorePermit)> {
        let own = self.holder(token).places;
        Some((own.try_acquire_owned().ok()?, self.places.clone().try_acquire_owned().ok()?))
    }

    fn holder(&self, token: &str) -> Holder {
        let mut all = self.holders.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Holder {
            places: Arc::new(Semaphore::new(MOST_REQUESTS_OF_TOKEN)),
            turns: Turns::new(self.desk.traffic.clone()),
        };
        // Only tokens that exist come this far, so there are as many as were made.
        all.entry(token.to_owned()).or_insert_with(new).clone()
    }
}

/// Binds the address.
///
/// # Errors
/// When it is taken.
pub(crate) async fn bind(address: SocketAddr, inherited: &mut Inherited) -> Result<TcpListener> {
    let bound = inherited.listen(address, SOCKET_NAME).await;
    bound.with_context(|| format!("`http.listen` is `{address}`"))
}

/// Serves until the daemon stops.
pub(crate) async fn serve(listener: TcpListener, limits: Limits, desk: Desk, bearers: Bearers) -> Result<()> {
    let stop = desk.stop.clone();
    let front = Front {
        port: listener.local_addr()?.port(),
        sessions: Sessions::new(),
        places: Arc::new(Semaphore::new(MOST_REQUESTS)),
        holders: Arc::default(),
        desk,
        bearers: Arc::new(bearers),
    };
    let sweeper = tokio::spawn(session::sweep(front.clone()));
    let router = Router::new()
        .route("/mcp", post(stream::post).get(session::listen).delete(session::end))
        .layer(middleware::from_fn_with_state(front.clone(), gate::check))
        .layer(DefaultBodyLimit::max(MAX_FRAME_BYTES))
        .with_state(front);
    accept::serve(listener, router, limits, stop).await;
    sweeper.abort();
    Ok(())
}
