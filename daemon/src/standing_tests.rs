//! Secrets in a vault that answers when it is told to.

use super::*;
use crate::agent::{Agents, Lending};
use bytes::Bytes;
use jiff::SignedDuration;
use skynet_core::{CallCtx, Canonical, Run};
use skynet_oauth::Keeper;
use skynet_sandbox::Slots;
use skynet_secrets::{Existing, Keyring, MasterKey, Secrets};
use skynet_vault::{Settings, Vault};
use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::{Ipv4Addr, TcpListener},
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    sync::mpsc,
    thread,
};
use tokio::{sync::mpsc as channel, task::JoinSet};

const OWNER: u32 = 1001;

const HOST: &str = "api.example.org";

const FOUND: &str = r#"{"data":{"data":{"password":"of-ann","port":5432}}}"#;

/// Who reads no file.
struct Nobody;

#[async_trait]
impl Run for Nobody {
    async fn run(&self, _: &CallCtx, _: &'static str, _: &Canonical) -> Result<Bytes> {
        Err(Error::internal("nobody reads files here"))
    }
}

/// A vault that lets everybody in, and answers what it is asked for secrets with what it is told, one after the other.
struct Server {
    address: String,
    asked: channel::UnboundedReceiver<()>,
    answers: mpsc::Sender<(u16, &'static str)>,
}

impl Server {
    fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (noting, asked) = channel::unbounded_channel();
        let (answers, told) = mpsc::channel();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
                let first = lines.next().unwrap_or_default();
                // Until the empty line, after which a GET has nothing.
                let _ = lines.find(String::is_empty);
                let (status, body) = if first.contains("lookup-self") {
                    (200, r#"{"data":{"ttl":0,"renewable":false}}"#)
                } else {
                    // The test may be over.
                    let _ = noting.send(());
                    let Ok(answer) = told.recv() else { return };
                    answer
                };
                let length = body.len();
                // Who asked may be gone.
                let _ = write!(
                    &stream,
                    "HTTP/1.1 {status} x\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
                );
            }
        });
        Self { address, asked, answers }
    }

    /// Waits until it is asked.
    async fn is_asked(&mut self) {
        self.asked.recv().await.unwrap();
    }

    fn answer(&self, status: u16, body: &'static str) {
        self.answers.send((status, body)).unwrap();
    }

    /// Whether it was asked once more.
    fn was_asked(&mut self) -> bool {
        self.asked.try_recv().is_ok()
    }
}

/// A user with one secret, `db`, which is in the vault.
struct Bench {
    server: Server,
    keyring: Arc<Keyring>,
    secret: Arc<Secret>,
    _directory: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let server = Server::start();
        let token_file = directory.path().join("token");
        fs::write(&token_file, "s.token").unwrap();
        fs::set_permissions(&token_file, fs::Permissions::from_mode(0o600)).unwrap();
        let settings = Settings {
            address: server.address.clone(),
            mount: "secret".into(),
            path: "users/{uid}".into(),
            ca_file: None,
            namespace: None,
            token_file: Some(token_file),
            approle: None,
        };
        let vault = Arc::new(Vault::open(settings).unwrap());
        let store = Secrets::open(&directory.path().join("secrets"), MasterKey::from_bytes([7; 32])).unwrap();
        let keyring = Arc::new(Keyring::new(store));
        let keeper = Keeper::start(keyring.clone(), SignedDuration::from_secs(30));
        let slots = Slots::new("skynet-sandbox".into(), 0, PathBuf::new());
        let agents = Agents::new(slots, Lending::Never);
        let purse = Arc::new(Purse::new(keyring.clone(), Arc::new(Nobody), Some(vault), keeper, agents));
        let secret = Arc::new(Secret {
            purse,
            uid: OWNER,
            user: "ann".into(),
            name: name(),
            audience: vec![HOST.to_owned()],
            fetched: Arc::default(),
        });
        let bench = Self { server, keyring, secret, _directory: directory };
        bench.link("db#password", HOST);
        bench
    }

    fn link(&self, place: &str, host: &str) {
        self.keyring.link(OWNER, &name(), place, &[host.to_owned()], Existing::Replace).unwrap();
    }

    /// What so many who ask at once are told.
    async fn values(&self, count: usize) -> Vec<Result<Vec<u8>>> {
        let mut asking = JoinSet::new();
        for _ in 0..count {
            let secret = self.secret.clone();
            asking.spawn(async move { secret.value().await });
        }
        asking.join_all().await
    }
}

fn name() -> Name {
    Name::parse("db").unwrap()
}

#[tokio::test]
async fn who_goes_away_and_comes_again_finds_the_same_question_under_way() {
    let mut bench = Bench::new();
    let secret = bench.secret.clone();
    let gone = tokio::spawn(async move { secret.value().await });
    bench.server.is_asked().await;
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    assert!(bench.secret.fetched.try_lock().is_err(), "it is asked to the end");
    bench.server.answer(200, FOUND);
    for value in bench.values(8).await {
        assert_eq!(value.unwrap(), b"of-ann");
    }
    assert!(!bench.server.was_asked());
}

#[tokio::test]
async fn a_vault_that_fails_is_not_asked_by_each_who_waited() {
    let mut bench = Bench::new();
    bench.server.answer(500, r#"{"errors":["down"]}"#);
    for value in bench.values(8).await {
        let err = value.unwrap_err();
        assert!(err.kind == ErrorKind::Unavailable && err.message.contains("fails with 500: down"), "{err}");
    }
    assert!(bench.server.was_asked() && !bench.server.was_asked());
}

#[tokio::test]
async fn what_is_deleted_or_for_another_host_while_the_vault_is_asked_is_given_to_nobody() {
    for (is_deleted, kind, words) in [
        (true, ErrorKind::NotFound, "there is no secret `db` any more"),
        (false, ErrorKind::Denied, "it is not for this host any more"),
    ] {
        let mut bench = Bench::new();
        let secret = bench.secret.clone();
        let asking = tokio::spawn(async move { secret.value().await });
        bench.server.is_asked().await;
        if is_deleted {
            bench.keyring.delete(OWNER, &name()).unwrap();
        } else {
            bench.link("db#password", "other.example.org");
        }
        bench.server.answer(200, FOUND);
        let err = asking.await.unwrap().unwrap_err();
        assert_eq!((err.kind, &*err.message), (kind, words));
        // Nor is what is kept of the answer.
        assert_eq!(bench.secret.value().await.unwrap_err().kind, kind);
        let (_, long) = bench.secret.current().await.unwrap_err();
        assert!(long.message.contains("skynetctl"), "{long}");
    }
}

#[tokio::test]
async fn what_is_at_another_place_meanwhile_comes_from_there() {
    let mut bench = Bench::new();
    let secret = bench.secret.clone();
    let asking = tokio::spawn(async move { secret.value().await });
    bench.server.is_asked().await;
    bench.link("db#port", HOST);
    bench.server.answer(200, FOUND);
    bench.server.answer(200, FOUND);
    assert_eq!(asking.await.unwrap().unwrap(), b"5432");
    assert!(bench.server.was_asked() && !bench.server.was_asked());
}

#[tokio::test]
async fn a_command_does_not_read_where_in_a_vault_its_secret_is() {
    for (status, body, kind, words) in [
        (404, "{}", ErrorKind::NotFound, "the vault has no value for it any more"),
        (
            200,
            r#"{"data":{"data":{"password":[]}}}"#,
            ErrorKind::InvalidInput,
            "the vault has no value for it any more",
        ),
    ] {
        let bench = Bench::new();
        bench.server.answer(status, body);
        let err = bench.secret.value().await.unwrap_err();
        assert_eq!((err.kind, &*err.message), (kind, words));
        let (_, long) = bench.secret.current().await.unwrap_err();
        assert!(long.message.contains("users/1001/db"), "{long}");
    }
}
