//! What is kept of a grant of OAuth: an access token that ends soon, and what gets the next one. It is a secret whose value is
//! replaced by the daemon; who asks a provider, and when, is not decided here.

use crate::{Error, Existing, Metadata, Name, Purpose, Result, Secrets, record::Content, store::show};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// Of an access token, a refresh token or a client's secret, in bytes.
pub const LONGEST_TOKEN: usize = 16 << 10;

/// Access tokens of before that are remembered: one that was renewed early counts until its own end.
pub(crate) const MOST_TOKENS: usize = 12;

/// Refresh tokens of before that are remembered.
const MOST_RETIRED: usize = 4;

/// A token is renewed when less of its life is left than this part of it, and this much at most.
const MARGIN_PART: i32 = 10;
const LONGEST_MARGIN_SECONDS: i64 = 300;

/// How a client shows at the token endpoint that it is the one (RFC 6749, section 2.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Proof {
    /// By HTTP Basic.
    Basic,
    /// By parameters of the request.
    Post,
}

/// How its user logs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Login {
    /// By a browser of this host.
    Browser,
    /// By a code that is entered on another device.
    Device,
}

/// All of a grant that is no secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// The name of a provider that is known, or the URL of an issuer.
    pub provider: String,
    /// Where tokens are given out.
    pub token_endpoint: String,
    /// Where they are taken back, if there is such a place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revocation_endpoint: Option<String>,
    /// Who asks.
    pub client_id: String,
    /// How it shows that, if it has a secret.
    pub proof: Proof,
    /// How its user logged in.
    pub login: Login,
    /// What the tokens are for, as the provider said it last.
    pub scopes: Vec<String>,
    /// When the present access token was given out.
    pub obtained_at: Timestamp,
    /// When it ends; absent where the provider does not say so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// When to renew it, unless it is used later than that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renew_at: Option<Timestamp>,
    /// Whether there is a refresh token.
    pub is_renewable: bool,
    /// Why the provider gives no more tokens until its user logs in again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
}

/// How a grant fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// There is a token, and the next one will be had.
    Valid,
    /// The next one is due.
    Expired,
    /// There is a token, and no way to the next one.
    Ending,
    /// Its user has to log in again.
    LoginNeeded,
}

impl Terms {
    /// How it fares at that moment.
    #[must_use]
    pub fn state(&self, now: Timestamp) -> State {
        let is_over = self.expires_at.is_some_and(|end| end <= now);
        match (self.ended.is_some(), is_over, self.is_renewable || self.expires_at.is_none()) {
            (true, ..) | (false, true, false) => State::LoginNeeded,
            (false, true, true) => State::Expired,
            (false, false, true) => State::Valid,
            (false, false, false) => State::Ending,
        }
    }

    /// Whether the access token may be given out without a look for another.
    #[must_use]
    pub fn is_fresh(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|end| now.duration_until(end) > self.margin(end))
    }

    /// Whether the access token still counts.
    #[must_use]
    pub fn is_valid(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|end| now < end)
    }

    /// The time of the present access token, from now on; `seconds` is how long it counts, if that is more than none. `chance` is
    /// any number: so that many that were given out together are not renewed together. `rest` is how long at least none is asked for
    /// that nobody wants, however short its life.
    pub fn begin(&mut self, now: Timestamp, seconds: Option<i64>, chance: u16, rest: SignedDuration) {
        self.obtained_at = now;
        let seconds = seconds.filter(|seconds| *seconds > 0);
        self.expires_at =
            seconds.and_then(|seconds| now.checked_add(SignedDuration::from_secs(seconds)).ok());
        self.renew_at = self.expires_at.and_then(|end| {
            let soonest = now.checked_add(rest).ok()?;
            let margin = self.margin(end);
            let early = margin.as_millis() * i128::from(chance) / i128::from(u16::MAX);
            let early = margin + SignedDuration::from_millis(i64::try_from(early).unwrap_or_default());
            end.checked_sub(early).ok().map(|at| at.max(soonest))
        });
    }

    fn margin(&self, end: Timestamp) -> SignedDuration {
        let life = self.obtained_at.duration_until(end);
        (life / MARGIN_PART).min(SignedDuration::from_secs(LONGEST_MARGIN_SECONDS))
    }
}

/// A grant.
#[derive(Clone)]
pub struct Grant {
    /// All that is no secret.
    pub terms: Terms,
    /// Of the client; empty where it has none.
    pub client_secret: Zeroizing<Vec<u8>>,
    /// What gets the next access token; empty where there is none.
    pub refresh_token: Zeroizing<Vec<u8>>,
    /// Refresh tokens of before, newest first.
    pub(crate) retired: Vec<Zeroizing<Vec<u8>>>,
}

impl Grant {
    /// A new one.
    #[must_use]
    pub fn new(
        mut terms: Terms,
        client_secret: Zeroizing<Vec<u8>>,
        refresh_token: Zeroizing<Vec<u8>>,
    ) -> Self {
        terms.is_renewable = !refresh_token.is_empty();
        Self { terms, client_secret, refresh_token, retired: Vec::new() }
    }

    /// All of it that is secret: the client's secret, the refresh token, those before it.
    pub(crate) fn hidden(&self) -> impl Iterator<Item = &Zeroizing<Vec<u8>>> {
        [&self.client_secret, &self.refresh_token].into_iter().chain(&self.retired)
    }

    /// From what [`Grant::hidden`] gave.
    pub(crate) fn from_parts(terms: Terms, hidden: Vec<Zeroizing<Vec<u8>>>) -> Option<Self> {
        let mut hidden = hidden.into_iter();
        let (client_secret, refresh_token) = (hidden.next()?, hidden.next()?);
        Some(Self { terms, client_secret, refresh_token, retired: hidden.collect() })
    }

    /// Takes the place of another one, whose refresh tokens are still looked for.
    pub(crate) fn succeed(&mut self, before: Self) {
        self.retire(before.refresh_token);
        self.retired.extend(before.retired);
        self.retired.truncate(MOST_RETIRED);
    }

    fn retire(&mut self, token: Zeroizing<Vec<u8>>) {
        if !token.is_empty() && token != self.refresh_token {
            self.retired.insert(0, token);
            self.retired.truncate(MOST_RETIRED);
        }
    }
}

/// A grant as it is kept, with its present access token.
#[derive(Clone)]
pub struct Held {
    /// The access token.
    pub token: Zeroizing<Vec<u8>>,
    /// The grant.
    pub grant: Grant,
    /// What the secret is for.
    pub purpose: Purpose,
}

/// What a provider gave in place of an access token.
#[derive(Clone)]
pub struct Renewal {
    /// The refresh token it was given for: another one since then means that its user logged in again.
    pub used: Zeroizing<Vec<u8>>,
    /// The new access token.
    pub token: Zeroizing<Vec<u8>>,
    /// The new refresh token, where the provider rotates them.
    pub refresh_token: Option<Zeroizing<Vec<u8>>>,
    /// The new times, and the scopes if those are others now.
    pub terms: Terms,
}

impl Secrets {
    /// Gives `owner` a secret whose value is an access token.
    ///
    /// # Errors
    /// Those of [`Secrets::set`].
    pub fn admit(&self, owner: u32, name: &Name, held: Held, existing: Existing) -> Result<Metadata> {
        let Held { token, grant, purpose } = held;
        check_tokens(grant.hidden().chain([&token]))?;
        self.put(owner, name, Content { value: token, link: None, grant: Some(grant) }, &purpose, existing)
    }

    /// The grant of that name; `None` for a secret of another kind.
    ///
    /// # Errors
    /// `NotFound`, `Damaged`, `Io`.
    pub fn held(&self, owner: u32, name: &Name) -> Result<Option<Held>> {
        let record = self.read(owner, name)?;
        let (token, purpose) = (record.value, record.purpose);
        Ok(record.grant.map(|grant| Held { token, grant, purpose }))
    }

    /// Puts a new access token, and a new refresh token if there is one, in the place of those before; on the disk when this
    /// returns.
    ///
    /// # Errors
    /// `Replaced` when they are for no grant that is there, `NotFound`, `Damaged`; `Io`, and then nothing changed.
    pub fn renew(&self, owner: u32, name: &Name, renewal: &Renewal) -> Result<Metadata> {
        check_tokens(renewal.refresh_token.iter().chain([&renewal.token]))?;
        self.change(owner, name, &renewal.used, |grant| {
            if let Some(token) = &renewal.refresh_token {
                let before = std::mem::replace(&mut grant.refresh_token, token.clone());
                grant.retire(before);
            }
            grant.terms = renewal.terms.clone();
            Some(renewal.token.clone())
        })
    }

    /// Notes that the provider gives no more for this refresh token.
    ///
    /// # Errors
    /// Those of [`Secrets::renew`].
    pub fn end(&self, owner: u32, name: &Name, used: &[u8], reason: &str) -> Result<Metadata> {
        self.change(owner, name, used, |grant| {
            grant.terms.ended = Some(reason.to_owned());
            None
        })
    }

    fn change(
        &self,
        owner: u32,
        name: &Name,
        used: &[u8],
        change: impl FnOnce(&mut Grant) -> Option<Zeroizing<Vec<u8>>>,
    ) -> Result<Metadata> {
        let _writer = self.lock();
        let mut record = self.read(owner, name)?;
        let Some(grant) = record.grant.as_mut().filter(|grant| grant.refresh_token.as_slice() == used) else {
            return Err(Error::Replaced(name.clone()));
        };
        if let Some(token) = change(grant) {
            record.advance(&token, Timestamp::now());
        }
        self.write(owner, name, &record)?;
        Ok(show(name, &record))
    }
}

fn check_tokens<'token>(tokens: impl IntoIterator<Item = &'token Zeroizing<Vec<u8>>>) -> Result<()> {
    if tokens.into_iter().any(|token| token.len() > LONGEST_TOKEN) {
        return Err(Error::Invalid(format!(
            "a token has at most {LONGEST_TOKEN} bytes, and this one has more"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MasterKey;

    const REST: SignedDuration = SignedDuration::from_secs(30);

    fn open(directory: &tempfile::TempDir) -> Secrets {
        Secrets::open(directory.path(), MasterKey::from_bytes([7; 32])).unwrap()
    }

    fn bytes(text: &str) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(text.as_bytes().to_vec())
    }

    fn terms(now: Timestamp) -> Terms {
        let mut terms = Terms {
            provider: "https://id.example.org".into(),
            token_endpoint: "https://id.example.org/token".into(),
            revocation_endpoint: None,
            client_id: "client".into(),
            proof: Proof::Basic,
            login: Login::Browser,
            scopes: vec!["mail".into()],
            obtained_at: now,
            expires_at: None,
            renew_at: None,
            is_renewable: true,
            ended: None,
        };
        terms.begin(now, Some(3600), 0, REST);
        terms
    }

    fn held(refresh: &str) -> Held {
        let grant = Grant::new(terms(Timestamp::now()), bytes("of the client"), bytes(refresh));
        Held { token: bytes("access-0"), grant, purpose: Purpose::default() }
    }

    fn renewal(used: &str, token: &str, refresh: Option<&str>) -> Renewal {
        let terms = terms(Timestamp::now());
        Renewal { used: bytes(used), token: bytes(token), refresh_token: refresh.map(bytes), terms }
    }

    fn known(secrets: &Secrets) -> Vec<String> {
        let found = secrets.all_values(1).unwrap().found;
        found.into_iter().map(|(_, value)| String::from_utf8(value.to_vec()).unwrap()).collect()
    }

    #[test]
    fn a_renewed_grant_is_there_after_a_restart_and_all_its_tokens_are_known() {
        let directory = tempfile::tempdir().unwrap();
        let secrets = open(&directory);
        let name = Name::parse("mail").unwrap();
        let set = secrets.admit(1, &name, held("refresh-0"), Existing::Fail).unwrap();
        assert!(secrets.reveal(1, &name).unwrap().1.is_none(), "an access token is given out by its keeper");
        assert_eq!((set.version, set.grant.unwrap().scopes), (1, vec!["mail".to_owned()]));
        secrets.renew(1, &name, &renewal("refresh-0", "access-1", Some("refresh-1"))).unwrap();
        secrets.renew(1, &name, &renewal("refresh-1", "access-2", None)).unwrap();
        drop(secrets);
        let secrets = open(&directory);
        let found = secrets.held(1, &name).unwrap().unwrap();
        assert_eq!((found.token, found.grant.refresh_token), (bytes("access-2"), bytes("refresh-1")));
        assert_eq!(found.grant.client_secret, bytes("of the client"));
        let all = known(&secrets);
        for one in ["access-0", "access-1", "access-2", "refresh-0", "refresh-1", "of the client"] {
            assert!(all.iter().any(|value| value == one), "{one}: {all:?}");
        }
        // What was asked for with an old refresh token comes too late.
        let late = secrets.renew(1, &name, &renewal("refresh-0", "access-9", None)).unwrap_err();
        assert!(matches!(late, Error::Replaced(_)), "{late}");
        assert!(matches!(secrets.end(1, &name, b"refresh-0", "late"), Err(Error::Replaced(_))));
        assert_eq!(secrets.held(1, &name).unwrap().unwrap().grant.terms.ended, None);
        // A value is never told as if it were an ordinary one's, and none is given by hand.
        let err = secrets.value(1, &name).unwrap_err().to_string();
        assert!(err.contains("access token of `https://id.example.org`"), "{err}");
        assert!(secrets.rotate(1, &name, b"by hand").is_err());
    }

    #[test]
    fn what_takes_the_place_of_a_grant_forgets_no_token() {
        let directory = tempfile::tempdir().unwrap();
        let secrets = open(&directory);
        let name = Name::parse("mail").unwrap();
        secrets.set(1, &name, b"an ordinary one", &Purpose::default(), Existing::Fail).unwrap();
        assert!(secrets.held(1, &name).unwrap().is_none());
        secrets.admit(1, &name, held("refresh-0"), Existing::Replace).unwrap();
        secrets.admit(1, &name, held("refresh-1"), Existing::Replace).unwrap();
        let has = |one: &str| known(&secrets).iter().any(|value| value == one);
        assert!(has("an ordinary one") && has("refresh-0") && has("refresh-1"));
        secrets.set(1, &name, b"another ordinary one", &Purpose::default(), Existing::Replace).unwrap();
        assert!(has("refresh-1") && has("access-0"), "{:?}", known(&secrets));
        assert_eq!(&**secrets.value(1, &name).unwrap(), b"another ordinary one");
        // The largest that may be is read back.
        let long = Zeroizing::new(vec![b'x'; LONGEST_TOKEN]);
        let mut largest = held("refresh-2");
        (largest.token, largest.grant.refresh_token) = (long.clone(), long.clone());
        secrets.admit(1, &name, largest, Existing::Replace).unwrap();
        for round in 0..=MOST_TOKENS {
            let used = secrets.held(1, &name).unwrap().unwrap().grant.refresh_token;
            let mut next = vec![b'x'; LONGEST_TOKEN];
            next[0] = b'0' + u8::try_from(round).unwrap();
            let (token, refresh_token) = (Zeroizing::new(next.clone()), Some(Zeroizing::new(next)));
            secrets
                .renew(1, &name, &Renewal { used, token, refresh_token, terms: terms(Timestamp::now()) })
                .unwrap();
        }
        assert!(secrets.held(1, &name).unwrap().is_some());
        // What would not be read back is not written.
        let mut longer = renewal("", "access", None);
        longer.used = secrets.held(1, &name).unwrap().unwrap().grant.refresh_token;
        longer.terms.scopes = vec!["x".repeat(1 << 20)];
        let err = secrets.renew(1, &name, &longer).unwrap_err();
        assert!(matches!(&err, Error::Invalid(reason) if reason.contains("read back")), "{err}");
        assert!(secrets.held(1, &name).unwrap().is_some());
        let long = Zeroizing::new(vec![b'x'; LONGEST_TOKEN + 1]);
        let err = secrets.admit(1, &name, Held { token: long, ..held("r") }, Existing::Replace).unwrap_err();
        assert!(err.to_string().contains("at most 16384"), "{err}");
    }

    #[test]
    fn a_token_is_renewed_before_its_end_and_not_at_once_by_all() {
        let now = Timestamp::now();
        let at = |seconds: i64| now.checked_add(SignedDuration::from_secs(seconds)).unwrap();
        let mut terms = terms(now);
        assert_eq!(terms.renew_at, Some(at(3300)));
        terms.begin(now, Some(3600), u16::MAX, REST);
        assert_eq!(terms.renew_at, Some(at(3000)));
        assert!(terms.is_fresh(at(3299)) && !terms.is_fresh(at(3300)));
        assert!(terms.is_valid(at(3599)) && !terms.is_valid(at(3600)));
        // A tenth of a short life.
        terms.begin(now, Some(60), 0, REST);
        assert_eq!(terms.renew_at, Some(at(54)));
        assert_eq!((terms.state(at(59)), terms.state(at(60))), (State::Valid, State::Expired));
        // Nor is it asked for without end, whatever a provider says.
        for (seconds, renew_at) in [(1, Some(at(30))), (31, Some(at(30))), (0, None), (-1, None)] {
            let mut terms = terms.clone();
            terms.begin(now, Some(seconds), 0, REST);
            assert_eq!((terms.renew_at, terms.expires_at.is_some()), (renew_at, seconds > 0), "{seconds}");
        }
        // Or as long as was said.
        let mut short = terms.clone();
        short.begin(now, Some(5), 0, SignedDuration::from_secs(1));
        assert_eq!(short.renew_at, Some(now + SignedDuration::from_millis(4500)));
        terms.is_renewable = false;
        assert_eq!((terms.state(at(59)), terms.state(at(60))), (State::Ending, State::LoginNeeded));
        terms.begin(now, None, 0, REST);
        assert!(terms.is_fresh(at(1 << 30)) && terms.renew_at.is_none());
        assert_eq!(terms.state(at(1 << 30)), State::Valid);
        terms.ended = Some("revoked".into());
        assert_eq!(terms.state(now), State::LoginNeeded);
    }
}
