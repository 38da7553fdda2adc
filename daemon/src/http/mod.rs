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
    mcp::{Traffic, Turns},
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

/// From so many tokens on, those that nobody uses just now are forgotten before another one is noted.
const MOST_HOLDERS: usize = 1024;

/// What systemd knows the socket by while it keeps it.
pub(crate) const SOCKET_NAME: &str = "http";

/// What every request needs.
#[derive(Clone)]
struct Front {
    desk: Desk,
    bearers: Arc<Bearers>,
    sessions: Arc<Sessions>,
    places: Arc<Semaphore>,
    holders: Arc<Holders>,
    port: u16,
}

/// What all requests of one token share.
#[derive(Clone)]
struct Holder {
    places: Arc<Semaphore>,
    turns: Arc<Turns>,
}

impl Holder {
    /// Whether a request has a place, a turn, or waits for one.
    fn is_used(&self) -> bool {
        Arc::strong_count(&self.places) > 1 || Arc::strong_count(&self.turns) > 1
    }
}

/// All of them, by the id of a token.
#[derive(Default)]
struct Holders(Mutex<HashMap<String, Holder>>);

impl Holders {
    fn find(&self, token: &str, traffic: &Arc<Traffic>) -> Holder {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Only tokens that exist come this far, but on a host they come and go.
        if all.len() >= MOST_HOLDERS && !all.contains_key(token) {
            all.retain(|_, holder| holder.is_used());
        }
        let new = || Holder {
            places: Arc::new(Semaphore::new(MOST_REQUESTS_OF_TOKEN)),
            turns: Turns::new(traffic.clone()),
        };
        all.entry(token.to_owned()).or_insert_with(new).clone()
    }
}

impl Front {
    /// A place for one more request; `None` if all are taken.
    fn place(&self, token: &str) -> Option<(OwnedSemaphorePermit, OwnedSemaphorePermit)> {
        let own = self.holder(token).places;
        Some((own.try_acquire_owned().ok()?, self.places.clone().try_acquire_owned().ok()?))
    }

    fn holder(&self, token: &str) -> Holder {
        self.holders.find(token, &self.desk.traffic)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_of_tokens_is_bounded_and_those_in_use_are_kept() {
        let (holders, traffic) = (Holders::default(), Arc::default());
        let place = holders.find("placed", &traffic).places.try_acquire_owned().unwrap();
        let turns = holders.find("turned", &traffic).turns;
        for number in 0..2 * MOST_HOLDERS {
            holders.find(&number.to_string(), &traffic);
        }
        assert!(holders.0.lock().unwrap().len() <= MOST_HOLDERS);
        assert_eq!(holders.find("placed", &traffic).places.available_permits(), MOST_REQUESTS_OF_TOKEN - 1);
        assert!(Arc::ptr_eq(&holders.find("turned", &traffic).turns, &turns));
        drop(place);
    }
}
