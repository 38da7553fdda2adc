//! How connections of HTTP are taken: so many at a time, and none for long that does not say what it wants.

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use std::{io::ErrorKind, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::sync::CancellationToken;

/// Until it is tried again after the process or the host had no descriptor left, which accept(2) calls `EMFILE` and `ENFILE`.
const PAUSE: Duration = Duration::from_secs(1);

/// What clients are held to.
pub(crate) struct Limits {
    /// Connections at a time; others wait in the queue of the socket.
    pub(crate) connections: usize,
    /// From the beginning of a connection, or the end of its last answer, to the end of the next headers.
    pub(crate) header_timeout: Duration,
}

/// Serves until told to stop, and the requests that have come by then to their end.
pub(crate) async fn serve(listener: TcpListener, router: Router, limits: Limits, stop: CancellationToken) {
    let mut protocol = http1::Builder::new();
    protocol.timer(TokioTimer::new()).header_read_timeout(limits.header_timeout);
    let places = Arc::new(Semaphore::new(limits.connections));
    let under_way = GracefulShutdown::new();
    while let Some(Some((stream, place))) = stop.run_until_cancelled(next(&listener, &places)).await {
        let service = TowerToHyperService::new(router.clone());
        let connection = under_way.watch(protocol.serve_connection(TokioIo::new(stream), service));
        tokio::spawn(async move {
            // A client that goes away, or is too slow, is no news.
            if let Err(err) = connection.await {
                tracing::debug!(error = %err, "a connection of HTTP ended");
            }
            drop(place);
        });
    }
    drop(listener);
    under_way.shutdown().await;
}

/// The next connection, once there is a place for it; `None` if there will be none.
async fn next(listener: &TcpListener, places: &Arc<Semaphore>) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await.ok()?;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // What is told as it happens is in small parts.
                let _ = stream.set_nodelay(true);
                return Some((stream, place));
            }
            // Of the connection that was to be taken: accept(2), "Error handling".
            Err(err)
                if matches!(
                    err.kind(),
                    ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::ConnectionRefused
                ) => {}
            Err(err) => {
                tracing::error!(error = %err, "no connection of HTTP can be taken");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}
