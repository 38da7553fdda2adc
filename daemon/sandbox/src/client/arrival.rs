//! Clients that the broker of the whole host hands over.

use crate::protocol::Connected;
use skynet_core::process::Process;
use std::os::fd::OwnedFd;
use tokio_util::sync::CancellationToken;

/// A client that connected to the broker of the whole host.
pub struct Arrival {
    /// What is cited when something is done for it.
    pub connection: u64,
    /// Its user, as the kernel told the broker.
    pub uid: u32,
    /// Its process.
    pub pid: u32,
    /// How surely that is known.
    pub process: Process,
    /// The connection, a Unix socket.
    pub socket: OwnedFd,
    /// Set when the broker that noted it is gone: nothing can be done for it any more, and it must connect again.
    pub is_void: CancellationToken,
}

impl Arrival {
    /// `None` where the connection itself did not come along.
    pub(super) fn new(
        connected: Connected,
        descriptors: Vec<OwnedFd>,
        is_void: CancellationToken,
    ) -> Option<Self> {
        let Connected { connection, uid, pid, has_ended } = connected;
        let mut descriptors = descriptors.into_iter();
        let socket = descriptors.next()?;
        let process = match descriptors.next() {
            Some(handle) => Process::Held(handle),
            None if has_ended => Process::Ended,
            None => Process::Numbered,
        };
        Some(Self { connection, uid, pid, process, socket, is_void })
    }
}
