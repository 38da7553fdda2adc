//! The user's SSH agent, lent for one call: who gets the other end may have it name its keys and sign with them, and nothing
//! else (draft-ietf-sshm-ssh-agent, section 3). Ends with whichever of the two ends first.

use rustix::io::Errno;
use std::{io, os::fd::OwnedFd, path::Path};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
};

/// SSH_AGENTC_REQUEST_IDENTITIES and SSH_AGENTC_SIGN_REQUEST.
const ALLOWED: [u8; 2] = [11, 13];

/// SSH_AGENTC_EXTENSION, and the one that ties a connection to a host, so that the agent can refuse keys that are not for it.
const EXTENSION: u8 = 27;
const SESSION_BIND: &[u8] = b"\x00\x00\x00\x18session-bind@openssh.com";

/// A message that is SSH_AGENT_FAILURE.
const FAILURE: &[u8] = b"\x05";

/// What OpenSSH's agent takes at most.
const LONGEST_MESSAGE: u32 = 256 << 10;

/// Connects to the agent at `socket`.
///
/// # Errors
/// When nobody listens there.
pub(crate) async fn lend(socket: &Path) -> io::Result<OwnedFd> {
    let agent = UnixStream::connect(socket).await?;
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let ours = UnixStream::from_std(ours)?;
    tokio::spawn(async move {
        if let Err(err) = relay(ours, agent).await {
            tracing::debug!(error = %err, "the SSH agent is no longer lent");
        }
    });
    Ok(theirs.into())
}

async fn relay(mut client: UnixStream, mut agent: UnixStream) -> io::Result<()> {
    while let Some(request) = receive(&mut client).await? {
        if !is_allowed(&request) {
            send(&mut client, FAILURE).await?;
            continue;
        }
        send(&mut agent, &request).await?;
        let Some(answer) = receive(&mut agent).await? else { break };
        send(&mut client, &answer).await?;
    }
    Ok(())
}

fn is_allowed(request: &[u8]) -> bool {
    match request.split_first() {
        Some((&EXTENSION, content)) => content.starts_with(SESSION_BIND),
        Some((kind, _)) => ALLOWED.contains(kind),
        None => false,
    }
}

/// `None` at the end.
async fn receive(from: &mut UnixStream) -> io::Result<Option<Vec<u8>>> {
    let length = match from.read_u32().await {
        Ok(length) if length <= LONGEST_MESSAGE => length,
        Ok(_) => return Err(Errno::MSGSIZE.into()),
        Err(err) if err.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(err) => return Err(err),
    };
    let mut message = vec![0; usize::try_from(length).unwrap_or(0)];
    from.read_exact(&mut message).await?;
    Ok(Some(message))
}

async fn send(to: &mut UnixStream, message: &[u8]) -> io::Result<()> {
    to.write_u32(u32::try_from(message.len()).unwrap_or(0)).await?;
    to.write_all(message).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn keys_are_named_and_used_and_nothing_else_is_passed_on() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("agent");
        let listener = tokio::net::UnixListener::bind(&socket).unwrap();
        let agent = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut seen = Vec::new();
            while let Some(request) = receive(&mut stream).await.unwrap() {
                send(&mut stream, b"answer").await.unwrap();
                seen.push(request[0]);
            }
            seen
        });
        let lent = std::os::unix::net::UnixStream::from(lend(&socket).await.unwrap());
        lent.set_nonblocking(true).unwrap();
        let mut lent = UnixStream::from_std(lent).unwrap();
        let bind = [&[EXTENSION][..], SESSION_BIND, b"more"].concat();
        for (request, answer) in [
            (&[11][..], &b"answer"[..]),
            (&[13, 1, 2], b"answer"),
            (&bind, b"answer"),
            // A key is added, all are removed, the agent is locked, another extension, nothing at all.
            (&[17, 1], FAILURE),
            (&[19], FAILURE),
            (&[22], FAILURE),
            (b"\x1b\x00\x00\x00\x05query", FAILURE),
            (&[], FAILURE),
        ] {
            send(&mut lent, request).await.unwrap();
            assert_eq!(receive(&mut lent).await.unwrap().unwrap(), answer, "{request:?}");
        }
        drop(lent);
        assert_eq!(agent.await.unwrap(), [11, 13, 27]);
    }

    #[tokio::test]
    async fn a_message_has_a_length() {
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_u32(LONGEST_MESSAGE + 1).await.unwrap();
        drop(theirs);
        assert_eq!(receive(&mut ours).await.unwrap_err().raw_os_error(), Some(Errno::MSGSIZE.raw_os_error()));
        assert!(lend(Path::new("/nowhere")).await.is_err());
    }
}
