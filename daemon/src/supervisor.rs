//! What systemd, where it starts the daemon, is told, and the sockets it keeps while one daemon follows another (sd_notify(3),
//! systemd.service(5)). Without it nothing of this happens.

use crate::health::Health;
use listenfd::ListenFd;
use sd_notify::NotifyState;
use std::{
    io,
    net::{SocketAddr, TcpListener},
    os::{fd::AsFd as _, unix::net::UnixListener},
};

/// Passes it on, if somebody listens. Who does not hear it kills the daemon, or does not; it can do nothing about that.
fn tell(what: &[NotifyState<'_>]) {
    if let Err(err) = sd_notify::notify(what) {
        tracing::warn!(error = %err, "systemd cannot be told of the daemon");
    }
}

/// Clients are served from now on.
pub(crate) fn say_ready() {
    tell(&[NotifyState::Ready, NotifyState::Status("serving")]);
}

/// The configuration is read again; [`say_ready`] says when that is done.
pub(crate) fn say_reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(err) => tracing::warn!(error = %err, "systemd cannot be told of the reload"),
    }
}

/// No new calls are taken from now on.
pub(crate) fn say_stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("calls under way are finished")]);
}

/// Shows signs of life for as long as the daemon is well, if they are asked for (`WatchdogSec=`): whoever waits in vain for
/// one starts another daemon. Four times as often as they are asked for, so that one look which takes long ends nothing.
pub(crate) async fn feed_watchdog(health: Health) {
    let Some(patience) = sd_notify::watchdog_enabled() else { return };
    let mut ticks = tokio::time::interval(patience / 4);
    loop {
        ticks.tick().await;
        match health.check().await {
            Ok(()) => tell(&[NotifyState::Watchdog]),
            Err(reason) => tracing::error!(reason, "the daemon is not well"),
        }
    }
}

/// The sockets that systemd passed: those of socket units, and those a daemon before this one left with it.
#[derive(Default)]
pub(crate) struct Inherited {
    unix: Option<UnixListener>,
    tcp: Vec<TcpListener>,
}

impl Inherited {
    /// Takes all of them over. What is no listener is left alone.
    pub(crate) fn take() -> Self {
        let mut passed = ListenFd::from_env();
        let mut found = Self::default();
        for at in 0..passed.len() {
            if let Ok(Some(listener)) = passed.take_unix_listener(at) {
                found.unix = Some(listener);
            } else if let Ok(Some(listener)) = passed.take_tcp_listener(at) {
                found.tcp.push(listener);
            }
        }
        found
    }

    /// Where clients dial.
    pub(crate) fn clients(&mut self) -> Option<UnixListener> {
        self.unix.take()
    }

    /// One that is bound to that address.
    fn at(&mut self, address: SocketAddr) -> Option<TcpListener> {
        let at = self.tcp.iter().position(|listener| listener.local_addr().is_ok_and(|is| is == address))?;
        Some(self.tcp.swap_remove(at))
    }

    /// Listens on a TCP address, and leaves the socket with systemd (`FileDescriptorStoreMax=`): who connects while there is no
    /// daemon waits for the next.
    ///
    /// # Errors
    /// When the address is taken.
    pub(crate) async fn listen(
        &mut self,
        address: SocketAddr,
        name: &str,
    ) -> io::Result<tokio::net::TcpListener> {
        if let Some(kept) = self.at(address) {
            kept.set_nonblocking(true)?;
            return tokio::net::TcpListener::from_std(kept);
        }
        let listener = tokio::net::TcpListener::bind(address).await?;
        let states = [NotifyState::FdStore, NotifyState::FdName(name)];
        if let Err(err) = sd_notify::notify_with_fds(&states, &[listener.as_fd()]) {
            tracing::warn!(error = %err, name, "systemd does not keep the socket for the next daemon");
        }
        Ok(listener)
    }

    /// Closes those that the configuration does not name any more: who dials them is told so. systemd notices by itself.
    pub(crate) fn drop_rest(&mut self) {
        for listener in self.tcp.drain(..) {
            // The copy that systemd keeps is of the same socket; shut down, it is an error there, and let go.
            let _ = rustix::net::shutdown(&listener, rustix::net::Shutdown::Both);
        }
    }
}
