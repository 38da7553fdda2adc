//! HTTP: a client of the daemon, one request at a time, and a server for commands.

use crate::programs::Home;
use serde_json::{Value, json};
use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    thread,
};

/// A listener of the daemon and a token for it.
pub struct Web {
    /// Like `127.0.0.1:34567`.
    pub address: String,
    /// The secret.
    pub token: String,
    agent: ureq::Agent,
}

/// What came back.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub session: Option<String>,
    /// The messages, of a stream or alone; of anything else none.
    pub messages: Vec<Value>,
    pub text: String,
}

impl Web {
    /// To the daemon of `home`, whose configuration has `http.listen`, with a new token.
    #[must_use]
    pub fn connect(home: &Home, name: &str, effects: &[&str]) -> Self {
        let mut arguments = vec!["--json", "token", "create", name];
        arguments.extend(effects.iter().flat_map(|effect| ["--effect", effect]));
        let (code, created, said) = home.ctl(&arguments);
        assert_eq!(code, 0, "{said}{created}");
        let created: Value = serde_json::from_str(&created).unwrap();
        let url = created["url"].as_str().unwrap();
        Self::with(url, created["secret"].as_str().unwrap())
    }

    /// To that URL of a daemon, with a token that there is.
    #[must_use]
    pub fn with(url: &str, token: &str) -> Self {
        let address = url.trim_start_matches("http://").trim_end_matches("/mcp").to_owned();
        let config = ureq::Agent::config_builder().http_status_as_error(false).build();
        Self { address, token: token.to_owned(), agent: config.into() }
    }

    /// The same with another token.
    #[must_use]
    pub fn with_token(&self, token: &str) -> Self {
        Self { address: self.address.clone(), token: token.to_owned(), agent: self.agent.clone() }
    }

    /// The same token at another address.
    #[must_use]
    pub fn at(&self, address: &str) -> Self {
        Self { address: address.to_owned(), ..self.with_token(&self.token) }
    }

    /// POSTs a body with these headers besides the usual ones.
    #[must_use]
    pub fn post(&self, headers: &[(&str, &str)], body: &str) -> Reply {
        let mut request = self
            .agent
            .post(format!("http://{}/mcp", self.address))
            .header("authorization", format!("Bearer {}", self.token))
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut response = request.send(body).unwrap();
        let header =
            |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        let (kind, session) = (header("content-type").unwrap_or_default(), header("mcp-session-id"));
        let status = response.status().as_u16();
        let text = response.body_mut().read_to_string().unwrap();
        let messages = if kind.starts_with("text/event-stream") {
            text.lines()
                .filter_map(|line| line.strip_prefix("data: "))
                .filter(|json| !json.is_empty())
                .map(parse)
                .collect()
        } else if kind.starts_with("application/json") {
            vec![parse(&text)]
        } else {
            Vec::new()
        };
        Reply { status, session, messages, text }
    }

    /// A request of 2026-07-28 with the headers it needs.
    #[must_use]
    pub fn modern(&self, method: &str, params: Value, capabilities: Value) -> Reply {
        let mut params = params;
        params["_meta"] = json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": { "name": "test", "version": "1" },
            "io.modelcontextprotocol/clientCapabilities": capabilities,
        });
        let name = ["name", "uri", "taskId"].iter().find_map(|key| params[*key].as_str()).map(str::to_owned);
        let mut headers = vec![("mcp-protocol-version", "2026-07-28"), ("mcp-method", method)];
        headers.extend(name.as_deref().map(|name| ("mcp-name", name)));
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        self.post(&headers, &body.to_string())
    }

    /// Begins a session of a revision that has sessions; returns its id.
    #[must_use]
    pub fn begin(&self, revision: &str, capabilities: Value) -> String {
        let client = json!({ "name": "test", "version": "1" });
        let params =
            json!({ "protocolVersion": revision, "capabilities": capabilities, "clientInfo": client });
        let body = json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params });
        let reply = self.post(&[], &body.to_string());
        assert_eq!(reply.status, 200, "{reply:?}");
        assert_eq!(reply.messages[0]["result"]["protocolVersion"], revision);
        let session = reply.session.unwrap();
        let initialized = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
        assert_eq!(self.post(&[("mcp-session-id", &session)], initialized).status, 202);
        session
    }

    /// A request of such a session.
    #[must_use]
    pub fn request(&self, session: &str, method: &str, params: Value) -> Reply {
        let body = json!({ "jsonrpc": "2.0", "id": 7, "method": method, "params": params });
        self.post(&[("mcp-session-id", session)], &body.to_string())
    }

    /// Sends bytes as they are; returns the status line and the rest, until the other end closes.
    #[must_use]
    pub fn raw(&self, bytes: &[u8]) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        // What is refused early may be closed before all of it is sent.
        let _ = stream.write_all(bytes);
        let mut text = Vec::new();
        let _ = stream.read_to_end(&mut text);
        let text = String::from_utf8_lossy(&text).into_owned();
        let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        (status, text)
    }

    /// Opens a stream by GET or POST; its messages as they come.
    #[must_use]
    pub fn stream(&self, method: &str, headers: &[(&str, &str)], body: &str) -> Stream {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let more: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        write!(
            stream,
            "{method} /mcp HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n\
            content-length: {}\r\naccept: application/json, text/event-stream\r\nconnection: close\r\n{more}\r\n{body}",
            self.address,
            self.token,
            body.len()
        )
        .unwrap();
        Stream { reader: BufReader::new(stream), next_id: String::new(), last_id: String::new() }
    }
}

/// A stream of server-sent events. Closed when dropped.
pub struct Stream {
    reader: BufReader<TcpStream>,
    next_id: String,
    /// The id of the newest message.
    pub last_id: String,
}

impl Stream {
    /// The next message.
    ///
    /// # Panics
    /// When the stream ends instead.
    pub fn message(&mut self) -> Value {
        self.try_message().expect("the stream ended")
    }

    /// The next message; `None` at the end.
    pub fn try_message(&mut self) -> Option<Value> {
        loop {
            let mut line = String::new();
            if self.reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            if let Some(id) = line.strip_prefix("id: ") {
                id.trim_end().clone_into(&mut self.next_id);
            }
            if let Some(json) = line.strip_prefix("data: ").filter(|json| !json.trim().is_empty()) {
                self.last_id.clone_from(&self.next_id);
                return Some(parse(json));
            }
        }
    }
}

fn parse(json: &str) -> Value {
    serde_json::from_str(json).unwrap_or_else(|err| panic!("{err}: {json}"))
}

/// An HTTP server on the host's loopback that says what it was asked.
///
/// # Panics
/// When there is no port.
#[must_use]
pub fn service() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream: TcpStream = stream.unwrap();
            thread::spawn(move || {
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or_default() == 1 {
                    head.push(byte[0]);
                }
                let answer =
                    format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", head.len());
                // Who asked may be gone.
                let _ = stream.write_all(&[answer.as_bytes(), &head].concat());
            });
        }
    });
    port
}
