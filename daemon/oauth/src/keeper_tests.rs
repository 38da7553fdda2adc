//! Grants of a server that holds each request against the RFCs, and takes a refresh token that comes back for stolen.

use super::*;
use crate::{Begun, Callback, Way, Wish};
use authority::{Authority, CLIENT, CLIENT_SECRET, agree, read_form};
use jiff::SignedDuration;
use skynet_secrets::{MasterKey, Secrets};

#[allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::needless_pass_by_value,
    reason = "the tests of the programs use all of it"
)]
#[path = "../../../tests/src/authority.rs"]
mod authority;

const OWNER: u32 = 7;

const REST: SignedDuration = SignedDuration::from_secs(30);

fn name() -> Name {
    Name::parse("mail").unwrap()
}

/// A server, and a keeper over a directory.
struct Bench {
    authority: Authority,
    keeper: Arc<Keeper>,
    directory: tempfile::TempDir,
}

fn open(directory: &tempfile::TempDir) -> Arc<Keeper> {
    let secrets = Secrets::open(directory.path(), MasterKey::from_bytes([7; 32])).unwrap();
    Keeper::new(Arc::new(Keyring::new(secrets)), REST)
}

impl Bench {
    async fn logged_in() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let bench = Self { authority: Authority::start(3600), keeper: open(&directory), directory };
        bench.log_in(bench.wish()).await.unwrap();
        bench
    }

    fn wish(&self) -> Wish {
        Wish {
            name: "mail".into(),
            issuer: Some(self.authority.issuer()),
            client_id: Some(CLIENT.into()),
            client_secret: Some(Zeroizing::new(CLIENT_SECRET.into())),
            scopes: vec!["mail.read".into(), "mail.send".into()],
            hosts: vec!["mail.example.org".into()],
            way: Way::Browser("http://127.0.0.1:1/callback".into()),
            ..Wish::default()
        }
    }

    async fn log_in(&self, wish: Wish) -> Result<Metadata> {
        let Begun::Browser { id, url, state } = self.keeper.begin(OWNER, wish).await? else { panic!() };
        let back = read_form(agree(&url).split_once('?').unwrap().1);
        assert_eq!(back["state"], state);
        self.keeper.finish(OWNER, &id, callback(&back)).await
    }

    async fn token(&self) -> Result<String> {
        self.keeper.token(OWNER, &name()).await.map(|token| String::from_utf8(token.value.to_vec()).unwrap())
    }

    /// As if the token had been given out so long ago.
    fn age(&self, seconds: i64) {
        let keyring = &self.keeper.keyring;
        let Held { token, grant, .. } = keyring.held(OWNER, &name()).unwrap().unwrap();
        let mut terms = grant.terms;
        terms.begin(Timestamp::now() - SignedDuration::from_secs(seconds), Some(3600), 0, REST);
        keyring
            .renew(OWNER, &name(), &Renewal { used: grant.refresh_token, token, refresh_token: None, terms })
            .unwrap();
    }

    fn is_looked_for(&self, text: &str) -> bool {
        let scanner = self.keeper.keyring.scanner(OWNER).unwrap();
        scanner.redact(text.as_bytes()).bytes.as_ref() == b"[redacted:mail]"
    }

    fn refreshed(&self) -> usize {
        assert_eq!(self.authority.faults(), [""; 0]);
        self.authority.asked("refresh_token")
    }
}

fn callback(back: &HashMap<String, String>) -> Callback {
    let issuer = back.get("iss").cloned();
    Callback { code: back["code"].clone(), state: back["state"].clone(), issuer }
}

#[tokio::test]
async fn a_login_becomes_tokens_that_are_renewed_also_after_a_restart() {
    let mut bench = Bench::logged_in().await;
    let first = bench.token().await.unwrap();
    assert_eq!(bench.authority.access_tokens(), std::slice::from_ref(&first));
    assert_eq!((bench.token().await.unwrap(), bench.refreshed()), (first.clone(), 0));
    let given = bench.keeper.token(OWNER, &name()).await.unwrap();
    assert_eq!(given.purpose.hosts, ["mail.example.org"], "who gives it out need not look elsewhere");
    bench.age(3400);
    let second = bench.token().await.unwrap();
    assert_eq!(
        (bench.refreshed(), bench.authority.access_tokens()),
        (1, vec![first.clone(), second.clone()])
    );
    bench.keeper = open(&bench.directory);
    assert_eq!(bench.token().await.unwrap(), second);
    bench.age(7200);
    let third = bench.token().await.unwrap();
    assert!(bench.refreshed() == 2 && third != second);
    // What is not ended need not be renewed, but may be.
    let renewed = bench.keeper.renew(OWNER, &name()).await.unwrap();
    assert_eq!((bench.refreshed(), renewed.grant.unwrap().scopes.len()), (3, 2));
    for text in [first, second, third, bench.authority.refresh_tokens().remove(0), CLIENT_SECRET.into()] {
        assert!(bench.is_looked_for(&text), "{text}");
    }
}

#[tokio::test]
async fn of_many_who_want_a_token_one_asks() {
    let bench = Arc::new(Bench::logged_in().await);
    bench.age(7200);
    let mut all = JoinSet::new();
    for _ in 0..20 {
        let bench = bench.clone();
        all.spawn(async move { bench.token().await.unwrap() });
    }
    let got = all.join_all().await;
    assert!(got.iter().all(|token| *token == got[0]), "{got:?}");
    assert_eq!(bench.refreshed(), 1);
}

#[tokio::test]
async fn a_token_that_counts_is_given_while_its_provider_fails() {
    let bench = Bench::logged_in().await;
    let first = bench.token().await.unwrap();
    bench.age(3400);
    bench.authority.fail(100, 503, "down");
    assert_eq!((bench.token().await.unwrap(), bench.refreshed()), (first.clone(), 1));
    // Not asked again for each command.
    assert_eq!((bench.token().await.unwrap(), bench.refreshed()), (first, 1));
    bench.age(7200);
    let err = bench.token().await.unwrap_err();
    assert!(matches!(err, Error::Unavailable(_)) && err.to_string().contains("fails with 503"), "{err}");
    assert_eq!(bench.refreshed(), 1);
    // By somebody who knows better.
    let err = bench.keeper.renew(OWNER, &name()).await.unwrap_err();
    assert!(err.to_string().contains("503") && bench.refreshed() == 2, "{err}");
}

#[tokio::test]
async fn a_provider_that_says_what_it_was_sent_tells_nobody_else() {
    let bench = Bench::logged_in().await;
    let refresh = bench.authority.refresh_tokens().remove(0);
    let said = format!("there is no {refresh} of {CLIENT_SECRET}");
    let body = serde_json::json!({ "error": "invalid_request", "error_description": said });
    bench.authority.fail(1, 400, &body.to_string());
    let err = bench.keeper.renew(OWNER, &name()).await.map(drop).unwrap_err().to_string();
    assert!(err.contains("there is no [redacted] of [redacted]"), "{err}");
}

#[tokio::test]
async fn a_refusal_is_one_also_to_who_asks_a_moment_later() {
    let bench = Bench::logged_in().await;
    bench.age(7200);
    bench.authority.fail(1, 400, r#"{"error":"invalid_client"}"#);
    for _ in 0..2 {
        let err = bench.token().await.unwrap_err();
        assert!(matches!(&err, Error::Refused { code, .. } if code == "invalid_client"), "{err}");
        assert!(err.to_string().contains("refuses: `invalid_client`"), "{err}");
    }
    assert_eq!(bench.refreshed(), 1);
    // What could not be asked is away a moment later as well, and who has to log in has to.
    let line = bench.keeper.line(OWNER, &name());
    line.note(&Error::Unavailable("away".into()));
    assert!(matches!(line.recent(), Some(Error::Unavailable(reason)) if reason == "away"));
    line.note(&Error::LoginNeeded("over".into()));
    assert!(matches!(line.recent(), Some(Error::LoginNeeded(reason)) if reason == "over"));
}

#[tokio::test]
async fn a_failure_that_passes_is_not_noticed() {
    let bench = Bench::logged_in().await;
    bench.age(7200);
    bench.authority.fail(2, 500, r#"{"error":"server_error"}"#);
    bench.token().await.unwrap();
    assert_eq!(bench.refreshed(), 3);
    bench.age(7200);
    bench.authority.fail(100, 502, "");
    assert!(bench.token().await.is_err());
    assert_eq!(bench.refreshed(), 6);
}

#[tokio::test]
async fn a_grant_that_ended_says_who_has_to_do_what() {
    let bench = Bench::logged_in().await;
    bench.authority.withdraw();
    bench.age(7200);
    for _ in 0..2 {
        let err = bench.token().await.unwrap_err();
        assert!(matches!(err, Error::LoginNeeded(_)), "{err}");
        let said = err.to_string();
        assert!(
            said.contains("Token has been revoked.") && said.contains("`skynetctl secret login mail`"),
            "{said}"
        );
    }
    assert_eq!(bench.refreshed(), 1, "who said no is not asked again");
    assert!(bench.keeper.upcoming().is_empty());
    assert!(bench.keeper.renew(OWNER, &name()).await.is_err());
    // All that was named at the first login is known.
    let way = Way::Browser("http://127.0.0.1:1/callback".into());
    let metadata = bench.log_in(Wish { name: "mail".into(), way, ..Wish::default() }).await.unwrap();
    assert_eq!(
        (metadata.purpose.hosts, metadata.grant.unwrap().ended),
        (vec!["mail.example.org".to_owned()], None)
    );
    bench.token().await.unwrap();
    assert_eq!(bench.refreshed(), 1);
}

#[tokio::test]
async fn what_the_disk_did_not_take_is_kept_before_anything_is_asked() {
    let bench = Bench::logged_in().await;
    let held = bench.keeper.keyring.held(OWNER, &name()).unwrap().unwrap();
    bench.age(7200);
    // The provider has given it, and the disk was full.
    let given = bench.keeper.refresh(&held).unwrap();
    let access = String::from_utf8(given.access.to_vec()).unwrap();
    let unsaved = renewal(&held.grant.terms, held.grant.refresh_token, given, REST);
    *bench.keeper.line(OWNER, &name()).turn.lock().await = Some(unsaved);
    assert_eq!((bench.token().await.unwrap(), bench.refreshed()), (access, 1));
    bench.age(7200);
    bench.token().await.unwrap();
    assert_eq!(bench.refreshed(), 2);
}

#[tokio::test]
async fn tokens_are_renewed_when_their_time_has_come_though_nobody_asks() {
    let bench = Bench::logged_in().await;
    assert!(bench.keeper.round().await > SHORTEST_SLEEP);
    assert_eq!(bench.refreshed(), 0);
    bench.age(3301);
    bench.authority.fail(1, 503, "");
    bench.keeper.round().await;
    bench.keeper.round().await;
    assert_eq!(bench.refreshed(), 1, "it is given time");
    *lock(&bench.keeper.line(OWNER, &name()).failed) = None;
    bench.keeper.round().await;
    assert_eq!((bench.refreshed(), bench.authority.access_tokens().len()), (2, 2));
}

#[tokio::test]
async fn a_deleted_grant_is_revoked_or_it_is_said() {
    let bench = Bench::logged_in().await;
    let refresh = bench.authority.refresh_tokens();
    assert_eq!(bench.keeper.delete(OWNER, &name()).await.unwrap(), None);
    assert_eq!((bench.authority.revoked(), bench.authority.faults()), (refresh, Vec::new()));
    assert!(bench.token().await.is_err());
    bench.log_in(bench.wish()).await.unwrap();
    let token = bench.token().await.unwrap();
    // As if the provider had moved.
    let Held { token: access, grant, .. } = bench.keeper.keyring.held(OWNER, &name()).unwrap().unwrap();
    let mut terms = grant.terms;
    terms.revocation_endpoint = Some("http://127.0.0.1:1/revoke".into());
    let moved = Renewal { used: grant.refresh_token, token: access, refresh_token: None, terms };
    bench.keeper.keyring.renew(OWNER, &name(), &moved).unwrap();
    let why = bench.keeper.delete(OWNER, &name()).await.unwrap().unwrap();
    assert!(why.contains("does not answer"), "{why}");
    assert!(bench.is_looked_for(&token), "it still counts somewhere");
    // Others are deleted as they ever were.
    bench
        .keeper
        .keyring
        .set(OWNER, &name(), b"value", &Purpose::default(), skynet_secrets::Existing::Fail)
        .unwrap();
    assert_eq!(bench.keeper.delete(OWNER, &name()).await.unwrap(), None);
    assert!(bench.keeper.delete(OWNER, &name()).await.is_err());
}

#[tokio::test]
async fn what_is_deleted_while_it_is_renewed_does_not_come_back_and_is_revoked() {
    let bench = Arc::new(Bench::logged_in().await);
    bench.age(7200);
    bench.authority.hold(true);
    let own = bench.clone();
    let renewing = tokio::spawn(async move { own.token().await });
    while bench.authority.asked("/token") < 2 {
        tokio::task::yield_now().await;
    }
    let line = bench.keeper.line(OWNER, &name());
    let keeper = bench.keeper.clone();
    let deleting = tokio::spawn(async move {
        let name = name();
        keeper.delete(OWNER, &name).await
    });
    // That of the line, of the turn, and of who waits for it.
    while Arc::strong_count(&line.turn) < 3 {
        tokio::task::yield_now().await;
    }
    bench.authority.hold(false);
    let token = renewing.await.unwrap().unwrap();
    assert_eq!(deleting.await.unwrap().unwrap(), None);
    assert_eq!(bench.authority.access_tokens().last(), Some(&token), "it was renewed first");
    // What was revoked is what was given at the last moment.
    assert_eq!((bench.authority.refresh_tokens(), bench.authority.revoked().len()), (Vec::new(), 1));
    let gone = bench.keeper.keyring.held(OWNER, &name());
    assert!(matches!(gone, Err(SecretError::NotFound(_))));
    assert!(bench.token().await.is_err() && bench.keeper.upcoming().is_empty());
    assert_eq!(bench.refreshed(), 1);
}

#[tokio::test]
async fn who_waited_for_a_deleted_grant_waits_for_the_one_after_it() {
    let bench = Arc::new(Bench::logged_in().await);
    let line = bench.keeper.line(OWNER, &name());
    let guard = line.turn.clone().lock_owned().await;
    let own = bench.clone();
    let waiting = tokio::spawn(async move { own.token().await });
    let is_waited_for = async |line: &Arc<Line>| {
        while Arc::strong_count(&line.turn) < 3 {
            tokio::task::yield_now().await;
        }
    };
    is_waited_for(&line).await;
    // As if it had been deleted, and its user had logged in again.
    lock(&bench.keeper.lines).clear();
    let after = bench.keeper.line(OWNER, &name());
    let turn = after.turn.clone().lock_owned().await;
    drop(guard);
    is_waited_for(&after).await;
    drop(turn);
    waiting.await.unwrap().unwrap();
}

#[tokio::test]
async fn what_was_given_for_a_grant_that_was_replaced_is_no_token_of_the_present_one() {
    let bench = Bench::logged_in().await;
    let held = bench.keeper.keyring.held(OWNER, &name()).unwrap().unwrap();
    let before = bench.keeper.refresh(&held).unwrap();
    let unsaved = renewal(&held.grant.terms, held.grant.refresh_token, before, REST);
    bench.log_in(bench.wish()).await.unwrap();
    *bench.keeper.line(OWNER, &name()).turn.lock().await = Some(unsaved);
    let present = bench.keeper.keyring.held(OWNER, &name()).unwrap().unwrap().grant.refresh_token;
    assert_eq!(bench.keeper.delete(OWNER, &name()).await.unwrap(), None);
    assert_eq!(bench.authority.revoked(), [String::from_utf8(present.to_vec()).unwrap()]);
    assert!(lock(&bench.keeper.lines).is_empty());
}

#[tokio::test]
async fn names_that_are_invented_are_not_remembered() {
    let bench = Bench::logged_in().await;
    let lines = lock(&bench.keeper.lines).len();
    for invented in ["a", "b"] {
        let invented = Name::parse(invented).unwrap();
        for err in [
            bench.keeper.renew(OWNER, &invented).await.map(drop).unwrap_err(),
            bench.keeper.token(OWNER, &invented).await.map(drop).unwrap_err(),
            bench.keeper.delete(OWNER, &invented).await.map(drop).unwrap_err(),
        ] {
            assert!(matches!(err, Error::Kept(SecretError::NotFound(_))), "{err}");
        }
    }
    assert_eq!(lock(&bench.keeper.lines).len(), lines);
}

#[tokio::test]
async fn whatever_waits_for_a_provider_needs_a_place() {
    let bench = Bench::logged_in().await;
    let Begun::Browser { id, url, .. } = bench.keeper.begin(OWNER, bench.wish()).await.unwrap() else {
        panic!()
    };
    let back = read_form(agree(&url).split_once('?').unwrap().1);
    let device = Wish { way: Way::Device, ..bench.wish() };
    let Begun::Device { id: of_device, .. } = bench.keeper.begin(OWNER, device).await.unwrap() else {
        panic!()
    };
    let asked = |what: &str| bench.authority.asked(what);
    let before = [asked("/.well-known/oauth-authorization-server"), asked("/token")];
    bench.keeper.places.close();
    for err in [
        bench.keeper.begin(OWNER, bench.wish()).await.map(drop).unwrap_err(),
        bench.keeper.finish(OWNER, &id, callback(&back)).await.map(drop).unwrap_err(),
        bench.keeper.finish_elsewhere(OWNER, &of_device).await.map(drop).unwrap_err(),
        bench.keeper.renew(OWNER, &name()).await.map(drop).unwrap_err(),
        bench.keeper.delete(OWNER, &name()).await.map(drop).unwrap_err(),
    ] {
        assert_eq!(err.to_string(), "no provider is asked any more");
    }
    assert_eq!([asked("/.well-known/oauth-authorization-server"), asked("/token")], before);
    assert!(bench.authority.revoked().is_empty());
    assert!(bench.keeper.keyring.held(OWNER, &name()).unwrap().is_some(), "nothing was deleted");
    assert_eq!((bench.keeper.asking.of(OWNER), bench.keeper.polled.of(OWNER)), (0, 0));
}

#[tokio::test]
async fn one_user_has_so_many_logins_under_way() {
    let bench = Bench::logged_in().await;
    let others: Vec<_> = (0..4).map(|_| bench.keeper.asking.one_more(OWNER, 4).unwrap()).collect();
    let err = bench.keeper.begin(OWNER, bench.wish()).await.unwrap_err().to_string();
    assert!(err.contains("4 logins of yours wait"), "{err}");
    drop(others);
    // Those whose code is waited for.
    let polled: Vec<_> = (0..7).map(|_| bench.keeper.polled.one_more(OWNER, 8).unwrap()).collect();
    for _ in 0..2 {
        bench.keeper.begin(OWNER, bench.wish()).await.unwrap();
        assert_eq!(lock(&bench.keeper.logins).len(), 1, "the one before it gave way");
    }
    lock(&bench.keeper.logins).clear();
    let eighth = bench.keeper.polled.one_more(OWNER, 8);
    let err = bench.keeper.begin(OWNER, bench.wish()).await.unwrap_err().to_string();
    assert!(err.contains("8 logins of yours wait for a code"), "{err}");
    drop((polled, eighth));
    bench.keeper.begin(OWNER, bench.wish()).await.unwrap();
}

#[tokio::test]
async fn a_login_is_finished_once_by_who_began_it_with_what_belongs_to_it() {
    let directory = tempfile::tempdir().unwrap();
    let bench = Bench { authority: Authority::start(3600), keeper: open(&directory), directory };
    let begin = async || {
        let Begun::Browser { id, url, .. } = bench.keeper.begin(OWNER, bench.wish()).await.unwrap() else {
            panic!()
        };
        (id, read_form(agree(&url).split_once('?').unwrap().1))
    };
    let (id, back) = begin().await;
    let with = |key: &str, value: &str| {
        let mut back = back.clone();
        back.insert(key.into(), value.into());
        callback(&back)
    };
    for (owner, id, back) in [
        (OWNER + 1, id.as_str(), callback(&back)),
        (OWNER, "another", callback(&back)),
        (OWNER, &id, with("state", "another")),
    ] {
        let err = bench.keeper.finish(owner, id, back).await.unwrap_err().to_string();
        assert!(err.contains("no such login under way"), "{err}");
    }
    bench.keeper.finish(OWNER, &id, callback(&back)).await.unwrap();
    assert!(bench.keeper.finish(OWNER, &id, callback(&back)).await.is_err(), "once");
    bench.keeper.delete(OWNER, &name()).await.unwrap();
    assert_eq!(bench.authority.faults(), [""; 0]);
    // Of another provider, or without a word about where it is from.
    for issuer in [Some("https://evil.example.org".to_owned()), None] {
        let (id, back) = begin().await;
        let err = bench.keeper.finish(OWNER, &id, Callback { issuer, ..callback(&back) }).await.unwrap_err();
        assert!(err.to_string().contains("is not from `http://127.0.0.1:"), "{err}");
    }
    assert_eq!(bench.authority.asked("/token"), 1);
}

#[tokio::test]
async fn what_makes_no_sense_is_said_before_anything_is_asked() {
    let bench = Bench::logged_in().await;
    let keyring = &bench.keeper.keyring;
    let other = Name::parse("other").unwrap();
    keyring.set(OWNER, &other, b"value", &Purpose::default(), skynet_secrets::Existing::Fail).unwrap();
    let new = || Wish { name: "new".into(), ..bench.wish() };
    for (wish, words) in [
        (Wish { name: "No".into(), ..new() }, "no name of a secret"),
        (Wish { name: "other".into(), ..new() }, "`other` already"),
        (Wish { provider: Some("google".into()), issuer: None, ..bench.wish() }, "`mail` already"),
        (Wish { provider: Some("google".into()), ..new() }, "not both"),
        (Wish { provider: Some("gogle".into()), issuer: None, ..new() }, "no provider"),
        (Wish { issuer: None, ..new() }, "--provider google"),
        (Wish { issuer: Some("http://id.example.org".into()), ..new() }, "over `https`"),
        (Wish { client_id: None, ..new() }, "--client-id"),
        (Wish { client_id: Some("é".into()), ..new() }, "visible ASCII"),
        (Wish { scopes: vec!["a b".into()], ..new() }, "no scope"),
        (Wish { scopes: vec!["a".into(); 65], ..new() }, "at most 64 scopes"),
        (Wish { hosts: vec!["A".into()], ..new() }, "is no host"),
        (Wish { way: Way::Browser("http://evil.example.org/callback".into()), ..new() }, "comes back to"),
        (Wish { provider: Some("google".into()), issuer: None, scopes: Vec::new(), ..new() }, "--scope"),
    ] {
        let err = bench.keeper.begin(OWNER, wish).await.unwrap_err().to_string();
        assert!(err.contains(words), "{words}: {err}");
    }
    let Begun::Browser { url, .. } = bench
        .keeper
        .begin(OWNER, Wish { provider: Some("google".into()), issuer: None, ..new() })
        .await
        .unwrap()
    else {
        panic!()
    };
    let (place, query) = url.split_once('?').unwrap();
    let query = read_form(query);
    assert_eq!(place, "https://accounts.google.com/o/oauth2/v2/auth");
    assert_eq!((query["access_type"].as_str(), query["prompt"].as_str()), ("offline", "consent"));
    // Another kind of secret is no grant.
    let err = bench.keeper.token(OWNER, &other).await.map(drop).unwrap_err().to_string();
    assert!(err.contains("no access token of a provider"), "{err}");
}

#[tokio::test]
async fn a_code_is_entered_on_another_device() {
    let directory = tempfile::tempdir().unwrap();
    let bench = Bench { authority: Authority::start(3600), keeper: open(&directory), directory };
    for is_allowed in [false, true] {
        let wish = Wish { way: Way::Device, ..bench.wish() };
        let Begun::Device { id, code } = bench.keeper.begin(OWNER, wish).await.unwrap() else { panic!() };
        assert_eq!((code.user_code.as_str(), code.expires_in_seconds), ("WDJB-MJHT", 600));
        bench.authority.decide(is_allowed);
        let done = bench.keeper.finish_elsewhere(OWNER, &id).await;
        assert_eq!(done.is_ok(), is_allowed, "{done:?}");
        assert!(is_allowed || done.unwrap_err().to_string().contains("access_denied"));
    }
    bench.token().await.unwrap();
    assert_eq!(bench.authority.faults(), [""; 0]);
    bench.authority.withdraw();
    bench.age(7200);
    let err = bench.token().await.unwrap_err().to_string();
    assert!(err.contains("`skynetctl secret login mail --device`"), "{err}");
}

#[test]
fn a_provider_that_is_asked_too_often_is_asked_less() {
    let authority = Authority::start(3600);
    authority.slow_down();
    let web = Web::default();
    let wish = Wish {
        name: "mail".into(),
        issuer: Some(authority.issuer()),
        client_id: Some(CLIENT.into()),
        client_secret: Some(Zeroizing::new(CLIENT_SECRET.into())),
        ..Wish::default()
    };
    let (pending, _) = Pending::begin(&web, OWNER, wish, None, skynet_secrets::Existing::Fail).unwrap();
    let crate::login::Step::Device { code, interval } = &pending.step else { panic!() };
    assert_eq!(*interval, Duration::from_secs(1));
    let ask = |interval| match crate::device::poll(&web, &pending.client, code, interval).unwrap() {
        crate::device::Polled::Wait(longer) => longer,
        crate::device::Polled::Given(_) => panic!(),
    };
    let slower = ask(*interval);
    assert_eq!((slower, ask(slower)), (Duration::from_secs(6), Duration::from_secs(6)));
    authority.fail(1, 500, "");
    assert_eq!(ask(slower), Duration::from_secs(12));
}
