//! MCP over Streamable HTTP: the same sessions, tools and rules as over the socket, for clients that show a token.
//! Listens on loopback only; a proxy in front of it has to bring its own transport security.

mod gate;
mod headers;
mod modern;
mod session;
mod stream;

use crate::{relay::Desk, tokens::Tokens};
use anyhow::{Context as _, Result, bail};
use axum::{Router, extract::DefaultBodyLimit, middleware, routing::post};
use session::Sessions;
use skynet_proto::MAX_FRAME_BYTES;
use std::{net::SocketAddr, sync::Arc};
use tokio::{net::TcpListener, sync::Semaphore};

/// Requests that are worked on at the same time, streams included; more are told to come back.
const MOST_REQUESTS: usize = 1024;

/// What every request needs.
#[derive(Clone)]
struct Front {
    desk: Desk,
    tokens: Arc<Tokens>,
    sessions: Arc<Sessions>,
    places: Arc<Semaphore>,
    port: u16,
}

/// Binds the address.
///
/// # Errors
/// For an address that others than this host could reach, or that is taken.
pub(crate) async fn bind(address: SocketAddr) -> Result<TcpListener> {
    if !address.ip().is_loopback() {
        bail!(
            "`http.listen` is `{address}`, which is not a loopback address; put a proxy with TLS in front instead"
        );
    }
    TcpListener::bind(address).await.with_context(|| format!("`http.listen` is `{address}`"))
}

/// Serves until the daemon stops.
pub(crate) async fn serve(listener: TcpListener, desk: Desk, tokens: Arc<Tokens>) -> Result<()> {
    let stop = desk.stop.clone();
    let front = Front {
        port: listener.local_addr()?.port(),
        sessions: Sessions::new(),
        places: Arc::new(Semaphore::new(MOST_REQUESTS)),
        desk,
        tokens,
    };
    let sweeper = tokio::spawn(session::sweep(front.clone()));
    let router = Router::new()
        .route("/mcp", post(stream::post).get(session::listen).delete(session::end))
        .layer(middleware::from_fn_with_state(front.clone(), gate::check))
        .layer(DefaultBodyLimit::max(MAX_FRAME_BYTES))
        .with_state(front);
    axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await?;
    sweeper.abort();
    Ok(())
}
