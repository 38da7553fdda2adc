//! Where a browser comes back to after a login (RFC 8252, section 7.3): a port of the loopback interface, open until it has come with
//! what belongs to the login. Whatever else knocks there is turned away and changes nothing.

use crate::output::Failure;
use percent_encoding::percent_decode_str;
use std::{collections::HashMap, io, net::Ipv4Addr, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc},
    time::{sleep, timeout},
};

/// A login ends then: the daemon has forgotten it.
const LONGEST_LOGIN: Duration = Duration::from_secs(15 * 60);

/// Browsers open connections ahead, and send nothing on them.
const LONGEST_REQUEST: Duration = Duration::from_secs(30);

/// Codes have no length that is written down; what is longer than this comes from nobody who means well.
const LONGEST_HEAD: usize = 32 << 10;

/// At a time; others wait in the queue of the socket.
const MOST_CONNECTIONS: usize = 64;

/// Until it is tried again after a connection could not be taken.
const PAUSE: Duration = Duration::from_millis(100);

/// Where a browser is waited for.
pub(crate) struct Callback {
    listener: TcpListener,
    port: u16,
}

/// What it brought.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Brought {
    pub(crate) code: String,
    /// Who gave it, if it says so (RFC 9207).
    pub(crate) issuer: Option<String>,
}

/// What one request is.
#[derive(Debug, PartialEq, Eq)]
enum Request {
    Brought(Brought),
    /// Its user, or the provider, said no.
    Refused(String),
    /// Another one.
    Strange(&'static str),
}

impl Callback {
    /// Opens a port that is free.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) async fn open() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        Ok(Self { listener, port })
    }

    /// As the provider is told.
    pub(crate) fn redirect_uri(&self) -> String {
        format!("http://127.0.0.1:{}/callback", self.port)
    }

    /// What the browser brings for the login of this state; nobody is served any more then.
    ///
    /// # Errors
    /// When somebody said no, or nobody came.
    pub(crate) async fn wait(self, state: &str) -> Result<Brought, Failure> {
        let (tell, mut told) = mpsc::channel(1);
        let state: Arc<str> = state.into();
        let serving = tokio::spawn(async move {
            let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
            // They are never closed.
            while let Ok(place) = places.clone().acquire_owned().await {
                let stream = self.next().await;
                let (tell, state) = (tell.clone(), state.clone());
                tokio::spawn(async move {
                    if let Ok(Ok(Some(came))) = timeout(LONGEST_REQUEST, serve(stream, &state)).await {
                        // Whoever came first is who counts.
                        let _ = tell.try_send(came);
                    }
                    drop(place);
                });
            }
        });
        let came = timeout(LONGEST_LOGIN, told.recv()).await;
        serving.abort();
        match came {
            Ok(Some(came)) => came.map_err(Failure::refused),
            Ok(None) | Err(_) => Err(Failure::refused(
                "no browser has come back in 15 minutes; on a host without one, add `--device`",
            )),
        }
    }

    async fn next(&self) -> TcpStream {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => return stream,
                // Of that connection, or for want of descriptors (accept(2), "Errors"): neither lasts.
                Err(_) => sleep(PAUSE).await,
            }
        }
    }
}

/// Answers one request; what it brought, if it is the one.
async fn serve(mut stream: TcpStream, state: &str) -> io::Result<Option<Result<Brought, String>>> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if head.len() > LONGEST_HEAD || stream.read_buf(&mut head).await? == 0 {
            return Ok(None);
        }
    }
    let (status, title, words, came) = match read(&String::from_utf8_lossy(&head), state) {
        Request::Brought(brought) => (
            "200 OK",
            "Almost done",
            "You can close this window; the rest is said in the terminal.",
            Some(Ok(brought)),
        ),
        Request::Refused(reason) => (
            "200 OK",
            "Not logged in",
            "You can close this window; the terminal says why.",
            Some(Err(reason)),
        ),
        Request::Strange(status) => (status, "Nothing is here", "This belongs to no login under way.", None),
    };
    let page = format!(
        "<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title>\
         <body style=\"font:1.1rem/1.6 system-ui;max-width:30rem;margin:20vh auto;padding:0 1rem\"><h1>{title}</h1><p>{words}"
    );
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\nCache-Control: no-store\r\n\
         Referrer-Policy: no-referrer\r\nContent-Security-Policy: default-src 'none'; style-src 'unsafe-inline'\r\n\
         Connection: close\r\n\r\n{page}",
        page.len()
    );
    // What it brought counts, also if the window is closed already.
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
    Ok(came)
}

/// RFC 6749, sections 4.1.2 and 4.1.2.1.
fn read(head: &str, state: &str) -> Request {
    let mut words = head.lines().next().unwrap_or_default().split(' ');
    let (method, target) = (words.next(), words.next().unwrap_or_default());
    let Some(query) = target.strip_prefix("/callback?") else { return Request::Strange("404 Not Found") };
    if method != Some("GET") {
        return Request::Strange("405 Method Not Allowed");
    }
    let decode = |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let mut given: HashMap<String, String> =
        pairs.map(|(name, value)| (decode(name), decode(value))).collect();
    if given.get("state").is_none_or(|given| given != state) {
        return Request::Strange("400 Bad Request");
    }
    if let Some(error) = given.get("error") {
        let words = given.get("error_description").map(|words| format!(", {words}")).unwrap_or_default();
        let reason: String =
            format!("`{error}`{words}").chars().take(300).flat_map(char::escape_debug).collect();
        return Request::Refused(format!("the provider refuses: {reason}"));
    }
    match given.remove("code").filter(|code| !code.is_empty()) {
        Some(code) => Request::Brought(Brought { code, issuer: given.remove("iss") }),
        None => Request::Strange("400 Bad Request"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_there_for_the_browser_after_many_that_say_nothing() {
        let callback = Callback::open().await.unwrap();
        let address = (Ipv4Addr::LOCALHOST, callback.port);
        let waiting = tokio::spawn(callback.wait("st-1"));
        for _ in 0..=MOST_CONNECTIONS {
            drop(TcpStream::connect(address).await.unwrap());
        }
        let mut browser = TcpStream::connect(address).await.unwrap();
        browser.write_all(b"GET /callback?code=a&state=st-1 HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        browser.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
        let brought = waiting.await.unwrap().unwrap();
        assert_eq!(brought, Brought { code: "a".into(), issuer: None });
    }

    #[test]
    fn only_what_belongs_to_the_login_is_taken() {
        let read = |line: &str| read(&format!("{line} HTTP/1.1\r\nHost: x\r\n\r\n"), "st-1");
        let brought = |code: &str, issuer: Option<&str>| {
            Request::Brought(Brought { code: code.into(), issuer: issuer.map(str::to_owned) })
        };
        assert_eq!(read("GET /callback?code=4%2F0A+b&state=st-1&scope=x"), brought("4/0A b", None));
        assert_eq!(
            read("GET /callback?state=st-1&iss=https%3A%2F%2Fid.example.org&code=a"),
            brought("a", Some("https://id.example.org"))
        );
        assert_eq!(
            read("GET /callback?error=access_denied&error_description=no%1b&state=st-1"),
            Request::Refused("the provider refuses: `access_denied`, no\\u{1b}".into())
        );
        for (line, status) in [
            ("GET /favicon.ico", "404 Not Found"),
            ("GET /callback", "404 Not Found"),
            ("POST /callback?code=a&state=st-1", "405 Method Not Allowed"),
            ("GET /callback?code=a", "400 Bad Request"),
            ("GET /callback?code=a&state=st-2", "400 Bad Request"),
            ("GET /callback?error=x&state=", "400 Bad Request"),
            ("GET /callback?code=&state=st-1", "400 Bad Request"),
            ("", "404 Not Found"),
        ] {
            assert_eq!(read(line), Request::Strange(status), "{line}");
        }
    }
}
