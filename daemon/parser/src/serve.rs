//! The end of the parser.

use crate::{
    MOST_FILES,
    confine::{self, Fonts},
    message::{Done, Task},
};
use serde::{Serialize, de::DeserializeOwned};
use skynet_core::{Error, Result};
use skynet_sandbox::channel::{BlockingSocket, Buffer};
use std::{fs::File, io, os::fd::OwnedFd, process::ExitCode};

/// Does the one task that comes over `socket`, once this process can do nothing else. `fonts` tells whether it needs
/// those of the system.
#[must_use]
pub fn serve<T: DeserializeOwned, D: Serialize>(
    socket: OwnedFd,
    fonts: impl FnOnce(&T) -> Fonts,
    work: impl FnOnce(T, Vec<File>) -> Result<D>,
) -> ExitCode {
    let socket = BlockingSocket::new(socket);
    let Ok(Some((json, files))) = receive(&socket) else { return ExitCode::FAILURE };
    let done = perform(&json, files, fonts, work);
    let done = match done {
        Ok(json) => Done { json, ..Done::default() },
        Err(err) => {
            Done { json: Vec::new(), kind: err.kind.as_str().into(), message: err.message.into_owned() }
        }
    };
    match socket.send(&done, &[]) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn perform<T: DeserializeOwned, D: Serialize>(
    json: &[u8],
    files: Vec<File>,
    fonts: impl FnOnce(&T) -> Fonts,
    work: impl FnOnce(T, Vec<File>) -> Result<D>,
) -> Result<Vec<u8>> {
    let task: T = serde_json::from_slice(json)
        .map_err(|err| Error::internal("the task is none of the parser's").with_source(err))?;
    confine::enter(fonts(&task)).map_err(|err| {
        Error::unavailable(format!("the parser cannot be confined ({err}), so it reads nothing"))
    })?;
    let done = work(task, files)?;
    serde_json::to_vec(&done).map_err(|err| Error::internal("a result cannot be written").with_source(err))
}

/// A task and its files; `None` if the other end is gone.
pub(crate) fn receive(socket: &BlockingSocket) -> io::Result<Option<(Vec<u8>, Vec<File>)>> {
    let mut buffer = Buffer::default();
    let mut files = Vec::new();
    while let Some((task, descriptors)) = socket.receive::<Task>(&mut buffer)? {
        files.extend(descriptors.into_iter().map(File::from));
        if !task.has_more || files.len() > MOST_FILES {
            return Ok(Some((task.json, files)));
        }
    }
    Ok(None)
}
