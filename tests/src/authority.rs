//! An authorization server of a test's own, on the loopback interface, which holds each request against the RFCs: what is required
//! is there, the verifier is the one that was hashed, a code counts once. It rotates refresh tokens, and takes one that comes back
//! for stolen.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::{
    collections::{HashMap, HashSet},
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex, MutexGuard},
};

/// Who may ask, with a secret that needs encoding.
pub const CLIENT: &str = "client of a test";
pub const CLIENT_SECRET: &str = "se:cret+of/the client";

const DEVICE_GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// A server that serves until the process ends.
#[derive(Clone)]
pub struct Authority {
    port: u16,
    inner: Arc<Mutex<Inner>>,
    /// Whether the token endpoint keeps its answers back.
    gate: Arc<(Mutex<bool>, Condvar)>,
}

#[derive(Default)]
struct Inner {
    /// Of access tokens; with zero, the answer does not say.
    life_seconds: u64,
    /// Whether the first question of a device comes too soon.
    slows: bool,
    /// What the token endpoint answers instead of tokens, as often as it says.
    failing: Option<(u32, u16, String)>,
    /// Codes of browsers: challenge, redirect URI, scope.
    codes: HashMap<String, (String, String, String)>,
    /// Codes of devices: scope, how often was asked, what the user said.
    devices: HashMap<String, (String, u32, Option<bool>)>,
    /// Refresh tokens that count, with their scope.
    refresh: HashMap<String, String>,
    /// Refresh tokens that were used.
    used: HashSet<String>,
    /// All access tokens that were ever given.
    access: Vec<String>,
    revoked: Vec<String>,
    requests: Vec<String>,
    faults: Vec<String>,
    count: u64,
}

type Form = HashMap<String, String>;
type Answer = (u16, Value);

impl Authority {
    /// One whose access tokens live for that long.
    ///
    /// # Panics
    /// When there is no port.
    #[must_use]
    pub fn start(life_seconds: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let inner = Inner { life_seconds, ..Inner::default() };
        let authority = Self { port, inner: Arc::new(Mutex::new(inner)), gate: Arc::default() };
        let serving = authority.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let serving = serving.clone();
                std::thread::spawn(move || serving.serve(stream));
            }
        });
        authority
    }

    /// Its issuer.
    #[must_use]
    pub fn issuer(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What was wrong with requests.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        self.lock().faults.clone()
    }

    /// How often a path was asked for, or the token endpoint for this grant.
    #[must_use]
    pub fn asked(&self, what: &str) -> usize {
        self.lock().requests.iter().filter(|one| *one == what).count()
    }

    /// All access tokens that were given, oldest first.
    #[must_use]
    pub fn access_tokens(&self) -> Vec<String> {
        self.lock().access.clone()
    }

    /// Refresh tokens that count now.
    #[must_use]
    pub fn refresh_tokens(&self) -> Vec<String> {
        self.lock().refresh.keys().cloned().collect()
    }

    #[must_use]
    pub fn revoked(&self) -> Vec<String> {
        self.lock().revoked.clone()
    }

    /// How long access tokens live from now on.
    pub fn set_life(&self, seconds: u64) {
        self.lock().life_seconds = seconds;
    }

    /// The token endpoint answers so many times with this instead.
    pub fn fail(&self, times: u32, status: u16, body: &str) {
        self.lock().failing = Some((times, status, body.to_owned()));
    }

    /// Whether the token endpoint keeps its answers back from now on.
    pub fn hold(&self, is_held: bool) {
        let (gate, changed) = &*self.gate;
        *gate.lock().unwrap() = is_held;
        changed.notify_all();
    }

    /// Forgets all refresh tokens, as when a user takes back what he allowed.
    pub fn withdraw(&self) {
        self.lock().refresh.clear();
    }

    /// The first question of a device comes too soon from now on.
    pub fn slow_down(&self) {
        self.lock().slows = true;
    }

    /// What the user of every device says.
    pub fn decide(&self, is_allowed: bool) {
        for (_, _, said) in self.lock().devices.values_mut() {
            *said = Some(is_allowed);
        }
    }

    /// How many devices wait for their user.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.lock().devices.values().filter(|(_, _, said)| said.is_none()).count()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    fn serve(&self, mut stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head).unwrap_or(0) == 0 {
                return;
            }
        }
        let header = |name: &str| {
            let line = head.lines().find(|line| line.to_lowercase().starts_with(&format!("{name}: ")))?;
            Some(line.split_once(": ")?.1.trim().to_owned())
        };
        let length = header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        let mut words = head.split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        self.lock().requests.push(path.to_owned());
        if path == "/token" {
            let (gate, changed) = &*self.gate;
            drop(changed.wait_while(gate.lock().unwrap(), |is_held| *is_held).unwrap());
        }
        let mut inner = self.lock();
        if method == "GET" && path == "/authorize" {
            let location = inner.authorize(&read_form(query), &self.issuer());
            // Whoever asked may be gone.
            let _ = write!(
                stream,
                "HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
            return;
        }
        let form = read_form(&String::from_utf8_lossy(&body));
        let (status, answer) = match (method, path) {
            ("GET", "/.well-known/oauth-authorization-server") => (200, metadata(&self.issuer())),
            ("POST", "/token") => inner.token(&form, header("authorization")),
            ("POST", "/device") => inner.device(&form, header("authorization"), &self.issuer()),
            ("POST", "/revoke") => inner.revoke(&form, header("authorization")),
            _ => (404, json!({})),
        };
        drop(inner);
        let text = answer.as_str().map_or_else(|| answer.to_string(), str::to_owned);
        // Whoever asked may be gone.
        let _ = write!(
            stream,
            "HTTP/1.1 {status} x\r\nContent-Type: application/json\r\nCache-Control: no-store\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}",
            text.len()
        );
    }
}

fn metadata(issuer: &str) -> Value {
    json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/authorize"),
        "token_endpoint": format!("{issuer}/token"),
        "device_authorization_endpoint": format!("{issuer}/device"),
        "revocation_endpoint": format!("{issuer}/revoke"),
        "response_types_supported": ["code"],
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": true,
    })
}

impl Inner {
    /// Where the browser of a user who agrees goes on: RFC 6749, section 4.1.1, RFC 7636, section 4.3, RFC 8252, section 7.3.
    fn authorize(&mut self, query: &Form, issuer: &str) -> String {
        let get = |name: &str| query.get(name).cloned().unwrap_or_default();
        let redirect = get("redirect_uri");
        let wrong = [
            (get("response_type") != "code", "response_type"),
            (get("client_id") != CLIENT, "client_id"),
            (get("state").len() < 22, "state"),
            (get("code_challenge_method") != "S256", "code_challenge_method"),
            (get("code_challenge").len() != 43, "code_challenge"),
            (!redirect.starts_with("http://127.0.0.1:") || !redirect.ends_with("/callback"), "redirect_uri"),
        ];
        self.faults.extend(
            wrong.iter().filter(|(is_wrong, _)| *is_wrong).map(|(_, what)| format!("authorize: {what}")),
        );
        let code = self.next("code");
        self.codes.insert(code.clone(), (get("code_challenge"), redirect.clone(), get("scope")));
        format!(
            "{redirect}?code={code}&state={}&iss={}",
            get("state"),
            issuer.replace(':', "%3A").replace('/', "%2F")
        )
    }

    /// Whether it is the client: RFC 6749, section 2.3.1.
    fn is_client(&mut self, form: &Form, authorization: Option<String>) -> bool {
        let pair = authorization
            .and_then(|header| STANDARD.decode(header.strip_prefix("Basic ")?).ok())
            .and_then(|pair| String::from_utf8(pair).ok());
        let is_it = pair.is_some_and(|pair| {
            pair.split_once(':')
                .is_some_and(|(id, secret)| decode(id) == CLIENT && decode(secret) == CLIENT_SECRET)
        });
        if !is_it || form.contains_key("client_secret") {
            self.faults.push("the client does not show who it is, or does it twice".to_owned());
        }
        is_it
    }

    fn token(&mut self, form: &Form, authorization: Option<String>) -> Answer {
        let get = |name: &str| form.get(name).cloned().unwrap_or_default();
        let grant = get("grant_type");
        self.requests.push(grant.clone());
        if let Some((times, status, body)) = self.failing.take() {
            if times > 1 {
                self.failing = Some((times - 1, status, body.clone()));
            }
            return (status, Value::String(body));
        }
        if !self.is_client(form, authorization) {
            return (401, json!({ "error": "invalid_client" }));
        }
        match grant.as_str() {
            "authorization_code" => {
                let Some((challenge, redirect, scope)) = self.codes.remove(&get("code")) else {
                    return self.fault("a code that is none, or was used");
                };
                if redirect != get("redirect_uri") {
                    return self.fault("the redirect URI is another");
                }
                if challenge != URL_SAFE_NO_PAD.encode(Sha256::digest(get("code_verifier"))) {
                    return self.fault("the verifier is another");
                }
                self.give(&scope)
            }
            "refresh_token" => {
                let token = get("refresh_token");
                if self.used.contains(&token) {
                    // RFC 9700, section 4.14.2: the whole family goes.
                    self.refresh.clear();
                    return self.fault("a refresh token came back");
                }
                let Some(scope) = self.refresh.get(&token).cloned() else {
                    return (
                        400,
                        json!({ "error": "invalid_grant", "error_description": "Token has been revoked." }),
                    );
                };
                self.refresh.remove(&token);
                self.used.insert(token);
                self.give(&scope)
            }
            DEVICE_GRANT => {
                let code = get("device_code");
                let Some((scope, asked, said)) = self.devices.get_mut(&code) else {
                    return self.fault("a code of a device that is none");
                };
                *asked += 1;
                let (scope, asked, said) = (scope.clone(), *asked, *said);
                match said {
                    None if self.slows && asked == 1 => (400, json!({ "error": "slow_down" })),
                    None => (400, json!({ "error": "authorization_pending" })),
                    Some(false) => (400, json!({ "error": "access_denied" })),
                    Some(true) => {
                        self.devices.remove(&code);
                        self.give(&scope)
                    }
                }
            }
            _ => self.fault("an unknown grant"),
        }
    }

    fn give(&mut self, scope: &str) -> Answer {
        let (access, refresh) = (self.next("access"), self.next("refresh"));
        self.access.push(access.clone());
        let mut answer = json!({ "access_token": access, "token_type": "Bearer", "scope": scope });
        if self.life_seconds > 0 {
            answer["expires_in"] = json!(self.life_seconds);
        }
        self.refresh.insert(refresh.clone(), scope.to_owned());
        answer["refresh_token"] = json!(refresh);
        (200, answer)
    }

    /// RFC 8628, sections 3.1 and 3.2.
    fn device(&mut self, form: &Form, authorization: Option<String>, issuer: &str) -> Answer {
        self.is_client(form, authorization);
        if form.get("client_id").is_none_or(|id| id != CLIENT) {
            self.faults.push("device: client_id".to_owned());
        }
        let code = self.next("device");
        self.devices.insert(code.clone(), (form.get("scope").cloned().unwrap_or_default(), 0, None));
        let answer = json!({
            "device_code": code, "user_code": "WDJB-MJHT", "verification_uri": format!("{issuer}/go"),
            "expires_in": 600, "interval": 1,
        });
        (200, answer)
    }

    /// RFC 7009, section 2.1.
    fn revoke(&mut self, form: &Form, authorization: Option<String>) -> Answer {
        if !self.is_client(form, authorization) {
            return (401, json!({ "error": "invalid_client" }));
        }
        let token = form.get("token").cloned().unwrap_or_default();
        self.refresh.remove(&token);
        self.revoked.push(token);
        (200, json!({}))
    }

    fn fault(&mut self, what: &str) -> Answer {
        self.faults.push(what.to_owned());
        (400, json!({ "error": "invalid_grant", "error_description": what }))
    }

    /// A text that is like no other.
    fn next(&mut self, kind: &str) -> String {
        self.count += 1;
        let random = Sha256::digest(format!("{kind} {} {:p}", self.count, self));
        format!("{kind}-{}", URL_SAFE_NO_PAD.encode(random))
    }
}

/// What a browser does that its user agrees in: the URL that it comes back with.
///
/// # Panics
/// When the server does not answer.
#[must_use]
pub fn agree(url: &str) -> String {
    let location = header_of(&ask(url), "location");
    location.expect("a browser is sent back")
}

/// GETs a URL of this host; the whole answer.
///
/// # Panics
/// When nobody answers.
#[must_use]
pub fn ask(url: &str) -> String {
    let rest = url.strip_prefix("http://").unwrap();
    let (host, path) = rest.split_once('/').unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    write!(stream, "GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

fn header_of(answer: &str, name: &str) -> Option<String> {
    let line = answer.lines().find(|line| line.to_lowercase().starts_with(&format!("{name}: ")))?;
    Some(line.split_once(": ")?.1.to_owned())
}

/// The parameters of a query or a form.
#[must_use]
pub fn read_form(text: &str) -> HashMap<String, String> {
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (decode(name), decode(value))).collect()
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digits = [rest.next().unwrap_or(b'0'), rest.next().unwrap_or(b'0')];
                bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap());
            }
            other => bytes.push(other),
        }
    }
    String::from_utf8(bytes).unwrap()
}
