//! The daemon's end of a connection to a keeper.

use super::{Answer, Failed, FromKeeper, Request, ToKeeper, VERSION};
use crate::channel::{AsyncSocket, Buffer};
use skynet_core::{Error, ErrorKind, Result};
use std::{io, os::fd::OwnedFd};

/// For requests one after the other. The keeper forgets it when it is dropped.
pub struct Connection {
    socket: AsyncSocket,
    buffer: Buffer,
}

impl Connection {
    pub(super) fn new(socket: OwnedFd) -> io::Result<Self> {
        Ok(Self { socket: AsyncSocket::new(socket)?, buffer: Buffer::default() })
    }

    /// Asks, and waits until it is done: how much the command has written by then. `None` if the job has ended, which its
    /// directory tells more about.
    ///
    /// # Errors
    /// What the keeper says, or that it is of another version.
    pub async fn ask(&mut self, request: Request) -> Result<Option<u64>> {
        Ok(self.ask_whole(request).await?.map(|(written, _)| written))
    }

    /// What leads out of the job's slot, see [`Request::Network`]; `None` if the job has ended.
    ///
    /// # Errors
    /// As [`Connection::ask`].
    pub async fn network(&mut self) -> Result<Option<Vec<OwnedFd>>> {
        Ok(self.ask_whole(Request::Network(true)).await?.map(|(_, sockets)| sockets))
    }

    async fn ask_whole(&mut self, request: Request) -> Result<Option<(u64, Vec<OwnedFd>)>> {
        let request = ToKeeper { version: VERSION, request: Some(request) };
        let asked = async {
            self.socket.send(&request, &[]).await?;
            self.socket.receive::<FromKeeper>(&mut self.buffer).await
        };
        let (answer, descriptors) = match asked.await {
            Ok(Some(answer)) => answer,
            Ok(None) => return Ok(None),
            // What was sent to a keeper that is gone.
            Err(err) if matches!(err.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe) => {
                return Ok(None);
            }
            Err(err) => return Err(Error::unavailable("the job cannot be asked").with_source(err)),
        };
        match answer.answer {
            Some(Answer::Done(written)) => Ok(Some((written, descriptors))),
            Some(Answer::Failed(Failed { kind, message })) => {
                Err(Error::new(ErrorKind::from_name(&kind), message))
            }
            None => Err(Error::unavailable(
                "the job was started by another version of Skynet, which this one cannot talk to; its output and its end can be read, and the signal KILL ends it",
            )),
        }
    }
}
