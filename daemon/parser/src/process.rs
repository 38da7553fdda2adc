//! The end of hands.

use crate::{
    ARGUMENT, MOST_FILES,
    message::{Done, FILES_OF_A_PACKET, Task as Message},
};
use serde::{Serialize, de::DeserializeOwned};
use skynet_core::{CallCtx, Error, ErrorKind, Result};
use skynet_sandbox::channel::{self, AsyncSocket, Buffer};
use std::{
    io,
    os::{
        fd::{BorrowedFd, OwnedFd},
        unix::process::ExitStatusExt as _,
    },
    process::{ExitStatus, Stdio},
};
use tokio::process::Command;

/// What a parser can be asked to do.
pub trait Task: Serialize + Sync {
    /// The reader that does it, of those that the program of hands knows.
    const READER: &'static str;
}

/// Has a parser do a task with these descriptors; what it answers is as trustworthy as what it has read.
///
/// # Errors
/// Those of the task; `InvalidInput` when the parser died of it, `Unavailable` when there is none.
pub async fn parse<T: Task, D: DeserializeOwned>(
    ctx: &CallCtx,
    task: &T,
    files: &[BorrowedFd<'_>],
) -> Result<D> {
    if files.len() > MOST_FILES {
        return Err(Error::invalid_input(format!(
            "{} files are too many; at most {MOST_FILES}",
            files.len()
        )));
    }
    let json = serde_json::to_vec(task)
        .map_err(|err| Error::internal("a task cannot be written").with_source(err))?;
    let (ours, theirs) = channel::pair().map_err(cannot)?;
    // Not the name: another build may have taken it.
    let mut child = Command::new("/proc/self/exe")
        .args([ARGUMENT, T::READER])
        .env_clear()
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(cannot)?;
    let asked = ask(ours, json, files);
    let done = tokio::select! {
        done = asked => done,
        // Dropped, the child is killed.
        () = ctx.cancel.cancelled() => return Err(Error::canceled("the client canceled the call")),
    };
    match done {
        Ok(Some(Done { kind, json, .. })) if kind.is_empty() => serde_json::from_slice(&json)
            .map_err(|err| Error::internal("the parser answered something else").with_source(err)),
        Ok(Some(Done { kind, message, .. })) => Err(Error::new(ErrorKind::from_name(&kind), message)),
        // A parser that is gone breaks the pipe, before or while it is asked.
        Ok(None) | Err(_) => Err(of_death(child.wait().await.map_err(cannot)?)),
    }
}

async fn ask(socket: OwnedFd, json: Vec<u8>, files: &[BorrowedFd<'_>]) -> io::Result<Option<Done>> {
    let socket = AsyncSocket::new(socket)?;
    let mut packets = files.chunks(FILES_OF_A_PACKET).peekable();
    while let Some(packet) = packets.next_if(|packet| packet.len() == FILES_OF_A_PACKET) {
        socket.send(&Message { json: Vec::new(), has_more: true }, packet).await?;
    }
    socket.send(&Message { json, has_more: false }, packets.next().unwrap_or_default()).await?;
    Ok(socket.receive(&mut Buffer::default()).await?.map(|(done, _)| done))
}

fn cannot(err: io::Error) -> Error {
    Error::unavailable("the process that reads such files cannot be started").with_source(err)
}

/// What a parser died of, as far as its exit tells.
fn of_death(status: ExitStatus) -> Error {
    let why = match status.signal() {
        Some(libc::SIGXCPU | libc::SIGKILL) => "takes more time or memory than a file may",
        Some(libc::SIGABRT) => "takes more memory than a file may, or is damaged",
        Some(libc::SIGXFSZ) => "would become larger than a file may",
        _ => "is damaged in a way that the library for it does not survive",
    };
    Error::invalid_input(format!("the file {why} ({status}); nothing was changed"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::receive;
    use skynet_sandbox::channel::BlockingSocket;
    use std::{fs::File, os::fd::AsFd as _};

    #[tokio::test]
    async fn a_task_arrives_with_all_of_its_files() {
        let file = File::open("/dev/null").unwrap();
        for count in [0, 1, FILES_OF_A_PACKET - 1, FILES_OF_A_PACKET, FILES_OF_A_PACKET + 1, MOST_FILES] {
            let (ours, theirs) = channel::pair().unwrap();
            let served = std::thread::spawn(move || {
                let socket = BlockingSocket::new(theirs);
                let received = receive(&socket).unwrap().unwrap();
                socket.send(&Done::default(), &[]).unwrap();
                received
            });
            ask(ours, b"{}".to_vec(), &vec![file.as_fd(); count]).await.unwrap().unwrap();
            let (json, files) = served.join().unwrap();
            assert_eq!((&json[..], files.len()), (&b"{}"[..], count));
        }
    }
}
