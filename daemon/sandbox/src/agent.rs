//! A user's SSH agent, lent for one call: whoever gets the other end may have it name its keys and sign handshakes of SSH
//! with them, and nothing else (draft-ietf-sshm-ssh-agent, section 3). What it is asked is taken apart here, so that nothing
//! of another form reaches the agent. Ends with whichever of the two ends first.

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use rustix::{
    event::{PollFd, PollFlags, poll},
    fs::{FileType, Mode, OFlags},
    io::Errno,
    process::geteuid,
};
use skynet_core::{Error, Result};
use std::{
    io::{self, Read as _, Write as _},
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::net::UnixStream,
    },
    path::Path,
    time::Duration,
};

/// SSH_AGENTC_REQUEST_IDENTITIES and what answers it.
const REQUEST_IDENTITIES: u8 = 11;
const IDENTITIES_ANSWER: u8 = 12;
/// SSH_AGENTC_SIGN_REQUEST.
const SIGN_REQUEST: u8 = 13;
/// SSH_AGENTC_EXTENSION, and the one that ties a connection to a host (OpenSSH, PROTOCOL.agent, section 1).
const EXTENSION: u8 = 27;
const SESSION_BIND: &[u8] = b"session-bind@openssh.com";
/// SSH_AGENT_FAILURE and SSH_AGENT_SUCCESS.
const FAILURE: u8 = 5;
const SUCCESS: u8 = 6;

/// SSH_MSG_USERAUTH_REQUEST (RFC 4252, section 6).
const USERAUTH_REQUEST: u8 = 50;
/// The methods whose requests are signed: RFC 4252, section 7, and OpenSSH, PROTOCOL, section 3.1.
const PUBLIC_KEY: &[u8] = b"publickey";
const PUBLIC_KEY_OF_HOST: &[u8] = b"publickey-hostbound-v00@openssh.com";

/// What OpenSSH's agent takes at most.
const LONGEST_MESSAGE: u32 = 256 << 10;

/// An agent that has not named its keys after that time is none, for which no human is asked; one that says nothing more for so long in
/// the middle of an answer, or takes nothing more of a request, is lent no longer.
const PATIENCE: Duration = Duration::from_secs(5);

/// One agent, and who borrows it.
pub struct Loan {
    borrower: UnixStream,
    agent: UnixStream,
    /// The host and its handshake, once the agent has seen the host's signature of it.
    bound: Option<Bound>,
}

struct Bound {
    host_key: Vec<u8>,
    session: Vec<u8>,
}

/// Connects to the agent at `path`, which must be this user's own. What is returned with it is for the borrower; it is
/// answered while [`Loan::serve`] runs.
///
/// # Errors
/// `InvalidInput`, `Denied` or `Unavailable` when there is no such agent.
pub fn lend(path: &Path) -> Result<(Loan, OwnedFd)> {
    let mut agent = connect(path)?;
    let is_agent = is_agent(&mut agent).map_err(|err| silent(path).with_source(err))?;
    if !is_agent {
        return Err(silent(path));
    }
    let pair = UnixStream::pair();
    let (borrower, lent) =
        pair.map_err(|err| Error::unavailable("the SSH agent cannot be lent").with_source(err))?;
    Ok((Loan { borrower, agent, bound: None }, lent.into()))
}

/// The very socket that is looked at, whatever happens to its name meanwhile.
fn connect(path: &Path) -> Result<UnixStream> {
    let shown = path.display();
    if !path.is_absolute() {
        return Err(Error::invalid_input(format!(
            "`{shown}` is where no SSH agent can be; `SSH_AUTH_SOCK` is an absolute path"
        )));
    }
    let unreached = |err: io::Error| {
        Error::unavailable(format!("the SSH agent at `{shown}` cannot be reached: {err}")).with_source(err)
    };
    let of_other = || {
        Error::denied(format!("what listens at `{shown}` is not this user's own; only his SSH agent is lent"))
    };
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let opened = rustix::fs::open(path, flags, Mode::empty()).map_err(|err| unreached(err.into()))?;
    let found = rustix::fs::fstat(&opened).map_err(|err| unreached(err.into()))?;
    if FileType::from_raw_mode(found.st_mode) != FileType::Socket || found.st_uid != geteuid().as_raw() {
        return Err(of_other());
    }
    let agent = UnixStream::connect(format!("/proc/self/fd/{}", opened.as_raw_fd())).map_err(unreached)?;
    // Who began to listen, which a socket that changed hands does not tell by its owner (unix(7), `SO_PEERCRED`).
    let peer = getsockopt(&agent, PeerCredentials).map_err(|err| unreached(err.into()))?;
    if peer.uid() == geteuid().as_raw() { Ok(agent) } else { Err(of_other()) }
}

/// Whether it answers like an agent. The user has sockets that know other protocols, and nothing is said to those that could
/// mean something there.
fn is_agent(stream: &mut UnixStream) -> io::Result<bool> {
    // For good: a human who is asked is waited for before the answer is read, and what has begun to answer goes on.
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    send(stream, &[REQUEST_IDENTITIES])?;
    let answer = receive(stream)?;
    Ok(answer.is_some_and(|answer| matches!(answer.as_slice(), [IDENTITIES_ANSWER, ..] | [FAILURE])))
}

fn silent(path: &Path) -> Error {
    Error::unavailable(format!(
        "what listens at `{}` does not answer as an SSH agent does; `SSH_AUTH_SOCK` must name one",
        path.display()
    ))
}

impl Loan {
    /// Answers the borrower until one of the two ends.
    ///
    /// # Errors
    /// When a connection breaks, or says what is no message.
    pub fn serve(mut self) -> io::Result<()> {
        while let Some(request) = receive(&mut self.borrower)? {
            if !self.is_allowed(&request) {
                send(&mut self.borrower, &[FAILURE])?;
                continue;
            }
            send(&mut self.agent, &request)?;
            if !self.is_awaited()? {
                break;
            }
            let Some(answer) = receive(&mut self.agent)? else { break };
            if let (Some(binding), [SUCCESS]) = (Binding::parse(&request), answer.as_slice()) {
                let Binding { host_key, session } = binding;
                self.bound = Some(Bound { host_key: host_key.to_vec(), session: session.to_vec() });
            }
            send(&mut self.borrower, &answer)?;
        }
        Ok(())
    }

    /// Waits for the agent, which may ask a human; false once nobody waits for its answer.
    fn is_awaited(&self) -> io::Result<bool> {
        // That the other end is gone is told unasked (poll(2), `POLLHUP`).
        let mut waiting =
            [PollFd::new(&self.agent, PollFlags::IN), PollFd::new(&self.borrower, PollFlags::empty())];
        while let Err(err) = poll(&mut waiting, None) {
            if err != Errno::INTR {
                return Err(err.into());
            }
        }
        let [_, borrower] = &waiting;
        Ok(borrower.revents().is_empty())
    }

    fn is_allowed(&self, request: &[u8]) -> bool {
        match request {
            [REQUEST_IDENTITIES] => true,
            [SIGN_REQUEST, ..] => Handshake::parse(request).is_some_and(|handshake| self.fits(&handshake)),
            // A connection is for one handshake.
            [EXTENSION, ..] => self.bound.is_none() && Binding::parse(request).is_some(),
            _ => false,
        }
    }

    /// Whether it is a handshake with the host that this connection is bound to. An SSH, or an agent, older than OpenSSH 8.9
    /// binds none.
    fn fits(&self, handshake: &Handshake<'_>) -> bool {
        self.bound.as_ref().is_none_or(|bound| {
            handshake.session == bound.session
                && handshake.host_key.is_none_or(|host_key| host_key == bound.host_key)
        })
    }
}

/// What a request to sign is about, if that is a handshake: a user who wants to log in with a key (RFC 4252, section 7).
struct Handshake<'a> {
    session: &'a [u8],
    /// With the second of the methods.
    host_key: Option<&'a [u8]>,
}

impl<'a> Handshake<'a> {
    fn parse(request: &'a [u8]) -> Option<Self> {
        let mut content = Reader(request);
        (content.byte()? == SIGN_REQUEST).then_some(())?;
        let (_key, signed, _flags) = (content.string()?, content.string()?, content.number()?);
        content.end()?;
        let mut signed = Reader(signed);
        let session = signed.string()?;
        (signed.byte()? == USERAUTH_REQUEST).then_some(())?;
        let (_user, service, method) = (signed.string()?, signed.string()?, signed.string()?);
        // Whether it has a signature, which it will have.
        (service == b"ssh-connection" && signed.byte()? == 1).then_some(())?;
        let (_algorithm, _key) = (signed.string()?, signed.string()?);
        let host_key = if method == PUBLIC_KEY_OF_HOST {
            Some(signed.string()?)
        } else {
            (method == PUBLIC_KEY).then_some(None)?
        };
        signed.end()?;
        Some(Self { session, host_key })
    }
}

/// Which host's handshake a connection to the agent is for.
struct Binding<'a> {
    host_key: &'a [u8],
    session: &'a [u8],
}

impl<'a> Binding<'a> {
    fn parse(request: &'a [u8]) -> Option<Self> {
        let mut content = Reader(request);
        (content.byte()? == EXTENSION && content.string()? == SESSION_BIND).then_some(())?;
        let (host_key, session, _signature) = (content.string()?, content.string()?, content.string()?);
        // Git forwards no agent.
        let is_forwarded = content.byte()? != 0;
        content.end()?;
        (!is_forwarded).then_some(Self { host_key, session })
    }
}

/// Values as SSH writes them (RFC 4251, section 5).
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*byte)
    }

    fn number(&mut self) -> Option<u32> {
        let (bytes, rest) = self.0.split_first_chunk::<4>()?;
        self.0 = rest;
        Some(u32::from_be_bytes(*bytes))
    }

    fn string(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        let (string, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(string)
    }

    fn end(&self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

/// `None` at the end.
fn receive(from: &mut UnixStream) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    match from.read_exact(&mut length) {
        Ok(()) => {}
        Err(err) if err.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(err) => return Err(err),
    }
    let length = u32::from_be_bytes(length);
    if length > LONGEST_MESSAGE {
        return Err(Errno::MSGSIZE.into());
    }
    let mut message = vec![0; usize::try_from(length).unwrap_or(0)];
    from.read_exact(&mut message)?;
    Ok(Some(message))
}

/// In one piece, so that the other end is woken once.
fn send(to: &mut UnixStream, message: &[u8]) -> io::Result<()> {
    let length = u32::try_from(message.len()).map_err(io::Error::other)?;
    to.write_all(&[&length.to_be_bytes()[..], message].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        os::unix::net::UnixListener,
        thread::{self, JoinHandle},
    };

    fn string(bytes: &[u8]) -> Vec<u8> {
        [&u32::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
    }

    fn sign(data: &[u8]) -> Vec<u8> {
        [&[SIGN_REQUEST][..], &string(b"key"), &string(data), &[0; 4]].concat()
    }

    /// A handshake of that session; with a host's key by the second method.
    fn handshake(session: &[u8], host_key: Option<&[u8]>) -> Vec<u8> {
        let method = if host_key.is_some() { PUBLIC_KEY_OF_HOST } else { PUBLIC_KEY };
        let words = [b"ann".as_slice(), b"ssh-connection", method].map(string).concat();
        let key = [b"ssh-ed25519".as_slice(), b"key"].map(string).concat();
        let host_key = host_key.map(string).unwrap_or_default();
        [string(session), vec![USERAUTH_REQUEST], words, vec![1], key, host_key].concat()
    }

    fn bind(host_key: &[u8], session: &[u8], is_forwarded: u8) -> Vec<u8> {
        let strings = [SESSION_BIND, host_key, session, b"signature"].map(string).concat();
        [&[EXTENSION][..], &strings, &[is_forwarded]].concat()
    }

    /// An agent that answers one connection, and what it was asked after it had named its keys.
    fn agent(path: &Path) -> JoinHandle<Vec<u8>> {
        let listener = UnixListener::bind(path).unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = Vec::new();
            while let Some(request) = receive(&mut stream).unwrap() {
                let answer: &[u8] = match request[0] {
                    REQUEST_IDENTITIES => &[IDENTITIES_ANSWER, 0, 0, 0, 0],
                    EXTENSION => &[SUCCESS],
                    _ => b"signature",
                };
                send(&mut stream, answer).unwrap();
                asked.push(request[0]);
            }
            asked.split_off(1)
        })
    }

    /// Borrows the agent, and has `what` done with it.
    fn borrowed(path: &Path, what: impl FnOnce(&mut dyn FnMut(&[u8]) -> Vec<u8>)) {
        let (loan, lent) = lend(path).unwrap();
        let serving = thread::spawn(move || loan.serve());
        let mut lent = UnixStream::from(lent);
        what(&mut |request: &[u8]| {
            send(&mut lent, request).unwrap();
            receive(&mut lent).unwrap().unwrap()
        });
        drop(lent);
        serving.join().unwrap().unwrap();
    }

    #[test]
    fn keys_are_named_and_used_and_nothing_else_is_passed_on() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("agent");
        let agent = agent(&path);
        borrowed(&path, |ask| {
            assert_eq!(ask(&[REQUEST_IDENTITIES])[0], IDENTITIES_ANSWER);
            assert_eq!(ask(&sign(&handshake(b"1", None))), b"signature");
            assert_eq!(ask(&sign(&handshake(b"2", Some(b"host")))), b"signature");
            let mut trailing = handshake(b"1", None);
            trailing.push(0);
            let refused = [
                // What is signed is no handshake: a commit (OpenSSH, PROTOCOL.sshsig), something after it, a part of one.
                sign(b"SSHSIG\0\0\0\x03git"),
                sign(&trailing),
                sign(&handshake(b"1", None)[..20]),
                vec![SIGN_REQUEST, 1, 2],
                vec![REQUEST_IDENTITIES, 0],
                // A key is added, all are removed, the agent is locked, another extension, nothing at all.
                vec![17, 1],
                vec![19],
                vec![22],
                [&[EXTENSION][..], &string(b"query")].concat(),
                bind(b"host", b"1", 1),
                Vec::new(),
            ];
            for request in refused {
                assert_eq!(ask(&request), [FAILURE], "{request:?}");
            }
        });
        assert_eq!(agent.join().unwrap(), [REQUEST_IDENTITIES, SIGN_REQUEST, SIGN_REQUEST]);
    }

    #[test]
    fn a_connection_that_is_bound_to_a_host_signs_no_handshake_of_another() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("agent");
        let agent = agent(&path);
        borrowed(&path, |ask| {
            assert_eq!(ask(&bind(b"host", b"1", 0)), [SUCCESS]);
            assert_eq!(ask(&sign(&handshake(b"1", None))), b"signature");
            assert_eq!(ask(&sign(&handshake(b"1", Some(b"host")))), b"signature");
            assert_eq!(ask(&sign(&handshake(b"2", None))), [FAILURE]);
            assert_eq!(ask(&sign(&handshake(b"1", Some(b"other")))), [FAILURE]);
            assert_eq!(ask(&bind(b"other", b"2", 0)), [FAILURE]);
        });
        assert_eq!(agent.join().unwrap(), [EXTENSION, SIGN_REQUEST, SIGN_REQUEST]);
    }

    #[test]
    fn what_is_no_agent_of_the_user_is_not_lent() {
        let directory = tempfile::tempdir().unwrap();
        let refused = |path: &Path| lend(path).err().unwrap().message.into_owned();
        assert!(refused(Path::new("agent")).contains("absolute"));
        assert!(refused(&directory.path().join("none")).contains("cannot be reached"));
        let file = directory.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(refused(&file).contains("not this user's own"));
        // One of another protocol, such as a bus.
        let other = directory.path().join("other");
        let listener = UnixListener::bind(&other).unwrap();
        let serving = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(b"ERROR\r\n").unwrap();
            let mut rest = Vec::new();
            // It goes without having read all of that, which is an error here.
            let _ = stream.read_to_end(&mut rest);
            rest
        });
        assert!(refused(&other).contains("does not answer as an SSH agent does"));
        assert_eq!(serving.join().unwrap(), [0, 0, 0, 1, REQUEST_IDENTITIES]);
    }

    #[test]
    fn an_agent_that_stops_within_an_answer_ends_its_loan() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("agent");
        let listener = UnixListener::bind(&path).unwrap();
        let agent = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            receive(&mut stream).unwrap();
            send(&mut stream, &[IDENTITIES_ANSWER, 0, 0, 0, 0]).unwrap();
            receive(&mut stream).unwrap();
            // Half of a length, and then nothing: until it is hung up on.
            stream.write_all(&[0, 0]).unwrap();
            assert!(receive(&mut stream).unwrap().is_none());
        });
        let (loan, lent) = lend(&path).unwrap();
        let set = (loan.agent.read_timeout().unwrap(), loan.agent.write_timeout().unwrap());
        assert_eq!(set, (Some(PATIENCE), Some(PATIENCE)));
        // So that nobody waits here for as long.
        loan.agent.set_read_timeout(Some(PATIENCE / 100)).unwrap();
        let serving = thread::spawn(move || loan.serve());
        send(&mut UnixStream::from(lent.try_clone().unwrap()), &[REQUEST_IDENTITIES]).unwrap();
        assert_eq!(serving.join().unwrap().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        agent.join().unwrap();
    }

    #[test]
    fn a_message_has_a_length() {
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(&(LONGEST_MESSAGE + 1).to_be_bytes()).unwrap();
        drop(theirs);
        assert_eq!(receive(&mut ours).unwrap_err().raw_os_error(), Some(Errno::MSGSIZE.raw_os_error()));
    }
}
