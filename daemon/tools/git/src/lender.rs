//! What Git is lent for one command that talks to a remote: a password or a private key, which the daemon chooses for the
//! remote that this process has a way to. It is asked for when the remote wants to know who comes, and not before.
//!
//! Git starts [`crate::helper`], which asks here, through a socket that only the two know. A password is in no argument,
//! variable or file; a key is a file of the slot's own memory, because OpenSSH reads nothing else. Where no key is kept,
//! the daemon may lend the SSH agent of the user.

use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};
use skynet_core::{
    CallCtx, Error, ErrorKind, Result,
    ctx::{Credential, Keep, Remote, Transport},
    error::IoContext as _,
};
use std::{
    convert::Infallible,
    fs::{self, DirBuilder, File},
    io::{Read as _, Write as _},
    os::unix::fs::DirBuilderExt as _,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, copy_bidirectional},
    net::{UnixListener, UnixStream},
    task::JoinSet,
};

/// Names the socket to the helper.
pub(crate) const SOCKET: &str = "SKYNET_LENDER";

/// The other socket, in the same place.
const AGENT: &str = "agent";

/// A question has a scheme and a host.
const LONGEST_QUESTION: u64 = 4096;

/// Of a credential, as the daemon hands it over.
const LONGEST_CREDENTIAL: u64 = 1 << 20;

/// Words of Git and OpenSSH for a remote that wants to know who comes, or does not let him.
const UNKNOWN_USER: [&str; 8] = [
    "could not read Username",
    "could not read Password",
    "Authentication failed",
    "terminal prompts disabled",
    "error: 401",
    "error: 403",
    "Permission denied",
    "Load key",
];

/// Those of OpenSSH for a host that is not the one it knows.
const UNKNOWN_HOST: &str = "Host key verification failed";

/// Those of Git's TLS, of either of its libraries, for a host that does not show that it is the one of that name.
const UNKNOWN_CERTIFICATE: [&str; 3] =
    ["SSL certificate problem", "certificate verification failed", "certificate subject name"];

/// What the helper asks.
#[derive(Serialize, Deserialize)]
pub(crate) struct Question {
    /// As in a URL.
    pub(crate) scheme: String,
    /// With the port, if the URL has one.
    pub(crate) host: String,
}

/// What it gets.
#[derive(Serialize, Deserialize)]
pub(crate) struct Answer {
    pub(crate) username: String,
    /// A password; for SSH the path of a file with a private key, or of the socket of an agent.
    pub(crate) value: String,
    /// Which of the two.
    pub(crate) is_agent: bool,
}

/// What became of the question.
enum Asked {
    Never,
    Refused(Error),
    Lent(Lent),
    LentAgent,
}

/// What was lent, but for the value.
struct Lent {
    secret: String,
    username: String,
    remote: Remote,
}

/// Lends to one command.
pub(crate) struct Lender {
    directory: Directory,
    questions: UnixListener,
    /// Where SSH finds the agent, if it may.
    agent: UnixListener,
    asked: Mutex<Asked>,
}

impl Lender {
    pub(crate) fn open() -> Result<Self> {
        // Of this process's own slot, which has no other of that number.
        let directory = std::env::temp_dir().join(format!("skynet-lender-{}", std::process::id()));
        DirBuilder::new().mode(0o700).create(&directory).on("a place for credentials")?;
        let directory = Directory(directory);
        let listen = |name| UnixListener::bind(directory.0.join(name)).on("a socket for credentials");
        let (questions, agent) = (listen("socket")?, listen(AGENT)?);
        Ok(Self { directory, questions, agent, asked: Mutex::new(Asked::Never) })
    }

    /// The last of what `git` is told by `-c`: before it, the configured helpers are forgotten.
    pub(crate) fn settings(&self) -> Result<[String; 2]> {
        Ok(["-c".to_owned(), format!("credential.helper=!{} credential", program()?)])
    }

    /// What `git` finds in its environment.
    pub(crate) fn environment(&self) -> Result<[(&'static str, String); 3]> {
        Ok([
            (SOCKET, self.directory.0.join("socket").display().to_string()),
            ("GIT_SSH_COMMAND", format!("{} ssh", program()?)),
            ("GIT_SSH_VARIANT", "ssh".to_owned()),
        ])
    }

    /// Answers, for as long as it is polled.
    pub(crate) async fn serve(&self, ctx: &CallCtx) -> Infallible {
        // Ended when this is dropped.
        let mut relays = JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.questions.accept() => {
                    let Ok((stream, _)) = accepted else { continue };
                    // A helper that does not read its answer goes without.
                    let _ = self.answer(ctx, stream).await;
                }
                accepted = self.agent.accept() => {
                    // One that gets no agent sees the end of its connection.
                    let (Ok((mut stream, _)), Ok(mut agent)) = (accepted, agent(ctx).await) else { continue };
                    relays.spawn(async move { copy_bidirectional(&mut stream, &mut agent).await });
                }
            }
        }
    }

    async fn answer(&self, ctx: &CallCtx, stream: UnixStream) -> Result<()> {
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        (&mut stream).take(LONGEST_QUESTION).read_line(&mut line).await.on("a question")?;
        let question: Question = serde_json::from_str(&line)
            .map_err(|err| Error::invalid_input("no question for a credential").with_source(err))?;
        let is_by_ssh = question.scheme == "ssh";
        let (asked, answer) = match self.lend(ctx, &question).await {
            Ok((lent, answer)) => (Asked::Lent(lent), Some(answer)),
            Err(none) if is_by_ssh && none.kind == ErrorKind::NotFound => match agent(ctx).await {
                Ok(_) => (Asked::LentAgent, Some(self.agent())),
                Err(err) if err.kind == ErrorKind::NotFound => (Asked::Refused(none), None),
                Err(err) => {
                    let both = format!("{}; {}", none.message, err.message);
                    (Asked::Refused(Error::new(err.kind, both)), None)
                }
            },
            Err(err) => (Asked::Refused(err), None),
        };
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = asked;
        let Some(answer) = answer else { return Ok(()) };
        let answer = serde_json::to_vec(&answer)
            .map_err(|err| Error::internal("an answer cannot be written").with_source(err))?;
        stream.write_all(&answer).await.on("an answer")
    }

    fn agent(&self) -> Answer {
        let value = self.directory.0.join(AGENT).display().to_string();
        Answer { username: String::new(), value, is_agent: true }
    }

    async fn lend(&self, ctx: &CallCtx, question: &Question) -> Result<(Lent, Answer)> {
        let file = ctx.open_kept(Keep::Credential, "").await?;
        let mut bytes = Vec::new();
        File::from(file).take(LONGEST_CREDENTIAL).read_to_end(&mut bytes).on("a credential")?;
        let unusable = |err| Error::internal("the daemon sent no credential").with_source(err);
        let Credential { remote, secret, username, value } =
            serde_json::from_slice(&bytes).map_err(unusable)?;
        let scheme = match remote.transport {
            Transport::Http => "http",
            Transport::Https => "https",
            Transport::Ssh => "ssh",
        };
        let is_host = [remote.host.clone(), format!("{}:{}", remote.host, remote.port)]
            .iter()
            .any(|host| host.eq_ignore_ascii_case(&question.host));
        if question.scheme != scheme || !is_host {
            return Err(Error::denied(format!(
                "the remote turned out to be `{}://{}`, and the credential is for `{scheme}://{}:{}`",
                question.scheme, question.host, remote.host, remote.port
            )));
        }
        let is_by_key = remote.transport == Transport::Ssh;
        let lent = Lent { secret, username: username.clone(), remote };
        if !is_by_key {
            return Ok((lent, Answer { username, value, is_agent: false }));
        }
        let path = self.directory.0.join("key");
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
        let file = rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR).on("a private key")?;
        // OpenSSH takes no key whose last line has no end.
        writeln!(File::from(file), "{}", value.trim_end()).on("a private key")?;
        Ok((lent, Answer { username, value: path.display().to_string(), is_agent: false }))
    }

    /// The error of a command, with what would work if it was about who comes, to whom, or how to get there.
    pub(crate) fn explain(self, err: Error) -> Error {
        let said = err.message.clone();
        let is_about = |words: &str| said.contains(words);
        if let Some(why) = of_the_way(&said) {
            // The remote can write such words too, so what Git said stays.
            return Error::unavailable(format!("{why} ({said})"));
        }
        if is_about(UNKNOWN_HOST) {
            return Error::denied(format!(
                "the host of the remote is not known, or has another key than `~/.ssh/known_hosts` says, which has to be a regular file; its user connects to it once with `ssh` and compares the fingerprint ({said})"
            ));
        }
        if UNKNOWN_CERTIFICATE.into_iter().any(is_about) {
            return Error::denied(format!(
                "the certificate of the remote is not of an authority that this host trusts, not for this name, or not valid now; an administrator has the host trust the authority, as with `update-ca-certificates`, and nothing that a repository says changes that ({said})"
            ));
        }
        if !UNKNOWN_USER.into_iter().any(is_about) {
            return err;
        }
        match self.asked.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Asked::Never => err,
            Asked::Refused(why) => {
                Error::new(why.kind, format!("the remote wants to know who comes: {}", why.message))
                    .with_source(said)
            }
            Asked::LentAgent => Error::denied(format!(
                "the remote takes none of the keys of the SSH agent of its user; he adds one that the remote knows with `ssh-add`, or keeps one with `skynetctl secret set NAME --git --host HOST < KEYFILE` ({said})"
            )),
            Asked::Lent(lent) => Error::denied(format!("{} ({said})", lent.refused())),
        }
    }
}

impl Lent {
    /// What would work in its place.
    fn refused(&self) -> String {
        let Self { secret, username, remote: Remote { transport, host, .. } } = self;
        if *transport == Transport::Ssh {
            return format!(
                "the remote does not take the private key of the secret `{secret}`; its user has the remote know the public key, or keeps another key, without a passphrase, with `skynetctl secret rotate {secret} < KEYFILE`"
            );
        }
        format!(
            "the remote does not let `{username}` with the secret `{secret}` do this; its user gives it another value with `skynetctl secret rotate {secret}`, or another user with `skynetctl secret set {secret} --replace --git --host {host} --username USER`"
        )
    }
}

/// What the proxy says of a remote that it does not reach, among what Git and OpenSSH make of that.
fn of_the_way(said: &str) -> Option<&str> {
    let (_, why) = said.split_once("skynet: ")?;
    let end = ["; kex_exchange_identification", "; fatal: "].iter().filter_map(|next| why.find(next)).min();
    why.get(..end.unwrap_or(why.len()))
}

/// Of the files of one lender.
struct Directory(PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        // The slot, and all that is in it, ends with the call.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A connection to the agent of the user.
async fn agent(ctx: &CallCtx) -> Result<UnixStream> {
    let socket = std::os::unix::net::UnixStream::from(ctx.open_kept(Keep::Agent, "").await?);
    socket.set_nonblocking(true).and_then(|()| UnixStream::from_std(socket)).on("the SSH agent")
}

/// This program, as a word for the shell of Git (git-config(1), `core.sshCommand`).
fn program() -> Result<String> {
    let program = std::env::current_exe().on("this program")?;
    Ok(quoted(&program.display().to_string()))
}

/// One word of a POSIX shell.
pub(crate) fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_proxy_says_is_told_without_what_others_make_of_it() {
        for (said, why) in [
            (
                "remote: skynet: `a:80` cannot be resolved: no; fatal: unable to access 'http://a/': error: 502",
                Some("`a:80` cannot be resolved: no"),
            ),
            (
                "`a:22` is not reached (502): skynet: `a` is b; c; kex_exchange_identification: x; fatal: y",
                Some("`a` is b; c"),
            ),
            ("fatal: Authentication failed for 'http://a/'", None),
        ] {
            assert_eq!(of_the_way(said), why, "{said}");
        }
    }
}
