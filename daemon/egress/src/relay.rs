//! Bytes between two connections.

use crate::MOST_CONNECTIONS;
use std::{io, sync::Arc, time::Duration};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
};

/// After a connection could not be accepted, which happens to a process that has too many open files.
const AGAIN_AFTER: Duration = Duration::from_millis(100);

/// Where accepted connections lead.
pub trait Way: Send + Sync + 'static {
    /// Makes a connection there.
    ///
    /// # Errors
    /// What connect(2) says.
    fn connect(&self) -> impl Future<Output = io::Result<TcpStream>> + Send;
}

/// Connects whoever connects to `listener`, for as long as it is polled; dropped, it ends the connections too.
pub async fn relay(listener: TcpListener, way: impl Way) {
    let way = Arc::new(way);
    accept_each(&listener, |mut accepted| {
        let way = way.clone();
        async move {
            // The other end is told by the end of its own connection.
            if let Ok(mut connected) = way.connect().await {
                let _ = copy_bidirectional(&mut accepted, &mut connected).await;
            }
        }
    })
    .await;
}

/// Has `serve` serve each connection. Never returns; dropped, it ends them all.
pub(crate) async fn accept_each<F: Future<Output = ()> + Send + 'static>(
    listener: &TcpListener,
    serve: impl Fn(TcpStream) -> F,
) {
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        // It is never closed.
        let Ok(place) = places.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let served = serve(stream);
                connections.spawn(async move {
                    served.await;
                    drop(place);
                });
            }
            Err(_) => tokio::time::sleep(AGAIN_AFTER).await,
        }
        while connections.try_join_next().is_some() {}
    }
}
