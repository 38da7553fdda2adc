use super::*;
use crate::{
    Adding, Grant, IpNet, MOST_CONNECTIONS, Missing, Roots, Source, Template,
    authority::{Authority, Unusable},
};
use async_trait::async_trait;
use rustls::{
    ClientConfig,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use std::{collections::VecDeque, net::Ipv4Addr, sync::Mutex as Plain};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpListener,
    task::AbortHandle,
};
use tokio_rustls::client::TlsStream;

const VALUE: &str = "Tr0ub4dor-3";

fn place(host: &str, port: u16) -> Grant {
    format!("{host}:{port}").parse().unwrap()
}

/// What comes until a message has begun, or the other end closes.
async fn head(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut read = Vec::new();
    while !read.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => read.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(read).unwrap()
}

/// A host of TLS at a port of the loopback that answers each request with what it was asked, in its body and, where that is
/// about `/echo`, in its head.
async fn host(authority: Authority, name: &str) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let provider = Arc::new(ring::default_provider());
    let acceptor = TlsAcceptor::from(Arc::new(authority.server(&place(name, port), &provider).unwrap()));
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // Who does not trust it hangs up.
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                loop {
                    let asked = head(&mut stream).await;
                    if asked.is_empty() {
                        return;
                    }
                    let length = asked.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
                    let mut sent = vec![0; length.map_or(0, |length| length.parse().unwrap())];
                    stream.read_exact(&mut sent).await.unwrap();
                    let said = asked.lines().find_map(|line| line.strip_prefix("authorization: "));
                    let said = said.filter(|_| asked.contains(" /echo ")).unwrap_or("nothing");
                    let body = format!("{asked}{}", String::from_utf8(sent).unwrap());
                    let is_last = asked.contains(" /close ");
                    let connection = if is_last { "close" } else { "keep-alive" };
                    let length = body.len();
                    let answer = format!(
                        "HTTP/1.1 200 {said}\r\nx-said: {said}\r\nconnection: {connection}\r\ncontent-length: {length}\r\n\r\n{body}"
                    );
                    stream.write_all(answer.as_bytes()).await.unwrap();
                    if is_last {
                        return;
                    }
                }
            });
        }
    });
    port
}

/// A secret that is rotated and deleted.
struct Kept(Plain<Result<Vec<u8>, &'static str>>);

impl Kept {
    fn new(value: &str) -> Arc<Self> {
        Arc::new(Self(Plain::new(Ok(value.into()))))
    }

    fn set(&self, value: Result<&str, &'static str>) {
        *self.0.lock().unwrap() = value.map(Into::into);
    }
}

#[async_trait]
impl Source for Kept {
    async fn value(&self) -> Result<Vec<u8>, Missing> {
        let value = self.0.lock().unwrap().clone();
        value.map_err(|why| match why {
            "away" => Missing::Away(why.into()),
            _ => Missing::Gone(why.into()),
        })
    }
}

/// A secret that has these values, one after the other, each time it is asked for.
struct Turns(Plain<VecDeque<Result<&'static str, &'static str>>>);

#[async_trait]
impl Source for Turns {
    async fn value(&self) -> Result<Vec<u8>, Missing> {
        let next = self.0.lock().unwrap().pop_front().unwrap();
        next.map(Into::into).map_err(|why| Missing::Gone(why.into()))
    }
}

/// A host, a proxy that adds a header there, and one who trusts what a command is told to trust.
struct Bench {
    port: u16,
    proxy: u16,
    trusted: String,
    secret: Arc<Kept>,
    gateway: Arc<Gateway>,
    serving: AbortHandle,
}

impl Bench {
    async fn new(header: &str) -> Self {
        let secret = Kept::new(VALUE);
        Self::with(header, secret.clone(), secret).await
    }

    /// One whose header has what `source` says.
    async fn with(header: &str, source: Arc<dyn Source>, secret: Arc<Kept>) -> Self {
        let authority = Authority::new().unwrap();
        let roots = certificates(&authority.pem());
        let port = host(authority, "localhost").await;
        let template: Template = format!("localhost:{port} {header}").parse().unwrap();
        let adding = Adding::new(vec![(template, source)], &Roots::new(roots).unwrap()).unwrap();
        Self::of(port, adding, secret).await
    }

    async fn of(port: u16, adding: Adding, secret: Arc<Kept>) -> Self {
        let trusted = adding.certificates().to_owned();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let proxy = listener.local_addr().unwrap().port();
        let own: Vec<IpNet> = ["127.0.0.0/8", "::1/128"].map(|network| network.parse().unwrap()).into();
        let grants = vec![place("localhost", port), place("127.0.0.1", port)];
        let gateway = Gateway::adding(grants, own.into(), Some(adding));
        let serving = tokio::spawn(gateway.clone().serve(listener)).abort_handle();
        Self { port, proxy, trusted, secret, gateway, serving }
    }

    /// What the proxy says to a request, and the connection.
    async fn ask(&self, request: &str) -> (String, TcpStream) {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.proxy)).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        (head(&mut stream).await, stream)
    }

    async fn tunnel(&self, host: &str) -> TcpStream {
        let port = self.port;
        let (said, stream) = self.ask(&format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
        assert!(said.starts_with("HTTP/1.1 200"), "{said}");
        stream
    }

    /// TLS to the host by that name.
    async fn secure(&self, name: &'static str) -> io::Result<TlsStream<TcpStream>> {
        let stream = self.tunnel("localhost").await;
        tls(&self.trusted, name, stream).await
    }

    /// The answers to requests on one connection: head and body of each.
    async fn exchange(&self, requests: &[String]) -> Vec<(String, String)> {
        let mut stream = self.secure("localhost").await.unwrap();
        let mut answers = Vec::new();
        for request in requests {
            stream.write_all(request.as_bytes()).await.unwrap();
            answers.push(answer(&mut stream).await);
        }
        answers
    }

    async fn get(&self, path: &str, more: &str) -> (String, String) {
        let port = self.port;
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\n{more}\r\n");
        self.exchange(&[request]).await.remove(0)
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn answer(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> (String, String) {
    let head = head(stream).await;
    let length = head.split("content-length: ").nth(1).unwrap().lines().next().unwrap().parse().unwrap();
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();
    (head, String::from_utf8(body).unwrap())
}

fn certificates(pem: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).map(Result::unwrap).collect()
}

async fn tls(trusted: &str, name: &'static str, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
    let roots = Roots::new(certificates(trusted)).unwrap().store();
    let client = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(client)).connect(ServerName::try_from(name).unwrap(), stream).await
}

#[tokio::test]
async fn a_header_is_added_in_place_of_what_the_command_says() {
    let bench = Bench::new("Authorization: Bearer secret://k").await;
    let forged =
        "Authorization: mine\r\nauthorization: too\r\nConnection: authorization, x-hop\r\nX-Hop: 1\r\n";
    let (head, asked) = bench.get("/a?b", forged).await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(asked.starts_with("GET /a?b HTTP/1.1\r\n"), "{asked}");
    assert_eq!(asked.matches("authorization: ").count(), 1, "{asked}");
    assert!(asked.contains(&format!("authorization: Bearer {VALUE}\r\n")), "{asked}");
    assert!(asked.contains(&format!("host: localhost:{}\r\n", bench.port)), "{asked}");
    assert!(!asked.contains("mine") && !asked.contains("too") && !asked.contains("x-hop"), "{asked}");
}

#[tokio::test]
async fn bodies_pass_and_a_connection_that_the_host_closes_is_made_again() {
    let bench = Bench::new("X-Key: secret://k").await;
    let port = bench.port;
    let post = |path: &str, body: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: localhost:{port}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let large = "x".repeat(1 << 20);
    let requests = [post("/one", "1"), post("/close", &large), post("/close", "3"), post("/", "4")];
    let answers = bench.exchange(&requests).await;
    for ((_, asked), body) in answers.iter().zip(["1", &large, "3", "4"]) {
        assert!(asked.ends_with(&format!("\r\n\r\n{body}")), "{} bytes", asked.len());
        assert!(asked.contains(&format!("x-key: {VALUE}\r\n")));
    }
    assert_eq!(answers.len(), 4);
}

#[tokio::test]
async fn what_the_host_sends_back_in_its_head_is_a_mark() {
    for header in ["Authorization: Bearer secret://k", "Authorization: Basic ann:secret://k"] {
        let bench = Bench::new(header).await;
        let (head, asked) = bench.get("/echo", "").await;
        let said = asked.lines().find_map(|line| line.strip_prefix("authorization: ")).unwrap();
        let (scheme, value) = said.split_once(' ').unwrap();
        assert!(head.contains(&format!("x-said: {scheme} [redacted]\r\n")), "{head}");
        assert!(!head.contains(value), "{head}");
    }
}

#[tokio::test]
async fn requests_for_another_host_or_protocol_are_refused() {
    let bench = Bench::new("Authorization: Bearer secret://k").await;
    let port = bench.port;
    let own = format!("Host: localhost:{port}\r\n");
    let refused = [
        (format!("GET / HTTP/1.1\r\nHost: evil.example:{port}\r\n\r\n"), "421"),
        // Another port is another host.
        ("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(), "421"),
        (format!("GET / HTTP/1.1\r\nHost: ann@localhost:{port}\r\n\r\n"), "421"),
        (format!("GET / HTTP/1.1\r\n{own}Host: evil.example\r\n\r\n"), "421"),
        (format!("GET https://evil.example/ HTTP/1.1\r\n{own}\r\n"), "421"),
        ("GET / HTTP/1.0\r\n\r\n".to_owned(), "421"),
        (format!("TRACE / HTTP/1.1\r\n{own}\r\n"), "501"),
        (format!("TRACK / HTTP/1.1\r\n{own}\r\n"), "501"),
        // What two servers may read differently.
        (format!("POST / HTTP/1.1\r\n{own}Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n"), "501"),
        (
            format!(
                "POST / HTTP/1.1\r\n{own}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
            ),
            "501",
        ),
        (format!("GET / HTTP/1.1\r\n{own}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"), "501"),
    ];
    for (request, status) in refused {
        let (head, body) = bench.exchange(std::slice::from_ref(&request)).await.remove(0);
        assert!(head.split(' ').nth(1) == Some(status), "{request}: {head}{body}");
        assert!(body.starts_with("skynet: ") && !body.contains(VALUE), "{request}: {body}");
    }
    let whole = format!("GET https://LOCALHOST:{port}/x HTTP/1.1\r\nHost: Localhost:{port}\r\n\r\n");
    let (_, asked) = bench.exchange(&[whole]).await.remove(0);
    assert!(asked.starts_with("GET /x HTTP/1.1\r\n"), "{asked}");
}

#[tokio::test]
async fn only_who_asks_for_the_host_by_tls_is_answered() {
    let bench = Bench::new("Authorization: Bearer secret://k").await;
    let port = bench.port;
    assert!(bench.secure("evil.example").await.is_err());
    // By its address, which is granted besides, TLS ends at the host, and nothing is added.
    let stream = bench.tunnel("127.0.0.1").await;
    let mut stream = tls(&bench.trusted, "localhost", stream).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let (_, asked) = answer(&mut stream).await;
    assert!(asked.starts_with("GET / ") && !asked.contains("authorization"), "{asked}");
    let mut stream = bench.tunnel("localhost").await;
    stream.write_all(format!("GET / HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n").as_bytes()).await.unwrap();
    let said = head(&mut stream).await;
    assert!(!said.contains("HTTP/1.1 200"), "{said}");
    let plain = format!("GET http://localhost:{port}/ HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n");
    let (said, _) = bench.ask(&plain).await;
    assert!(said.starts_with("HTTP/1.1 403"), "{said}");
    // The authority of one command is nobody to another.
    let other = Bench::new("Authorization: Bearer secret://k").await;
    let stream = bench.tunnel("localhost").await;
    assert!(tls(&other.trusted, "localhost", stream).await.is_err());
}

#[tokio::test]
async fn a_host_that_is_not_believed_is_sent_nothing() {
    // One that nobody vouches for, and one that is another.
    for (is_vouched, name) in [(false, "localhost"), (true, "other.example")] {
        let authority = Authority::new().unwrap();
        let known = if is_vouched { authority.pem() } else { Authority::new().unwrap().pem() };
        let port = host(authority, name).await;
        let header =
            format!("localhost:{port} Authorization: Bearer secret://k").parse::<Template>().unwrap();
        let roots = Roots::new(certificates(&known)).unwrap();
        let secret = Kept::new(VALUE);
        let source: Arc<dyn Source> = secret.clone();
        let adding = Adding::new(vec![(header, source)], &roots).unwrap();
        let bench = Bench::of(port, adding, secret).await;
        let (head, body) = bench.get("/", "").await;
        assert!(head.starts_with("HTTP/1.1 502"), "{head}");
        assert!(body.contains("not believed to be itself"), "{body}");
    }
    assert!(matches!(Roots::new(Vec::new()), Err(Unusable::NoRoots)));
}

#[tokio::test]
async fn without_its_secret_the_host_is_not_reached() {
    let port = host(Authority::new().unwrap(), "localhost").await;
    let template: Template = format!("localhost:{port} Authorization: Bearer secret://k").parse().unwrap();
    let bench = Bench::of(port, Adding::lost(&[template]), Kept::new(VALUE)).await;
    for request in [
        format!("CONNECT localhost:{port} HTTP/1.1\r\nHost: x\r\n\r\n"),
        format!("GET http://localhost:{port}/ HTTP/1.1\r\nHost: x\r\n\r\n"),
    ] {
        let (said, _) = bench.ask(&request).await;
        assert!(said.starts_with("HTTP/1.1 403"), "{said}");
    }
}

#[tokio::test]
async fn a_secret_that_is_rotated_or_deleted_is_another_or_none_for_the_next_request() {
    let bench = Bench::new("Authorization: Bearer secret://k").await;
    let port = bench.port;
    let mut stream = bench.secure("localhost").await.unwrap();
    // All on one connection, which was there before.
    for (value, wanted) in [
        (Ok(VALUE), Ok(VALUE)),
        (Ok("another-value"), Ok("another-value")),
        (Err("it was deleted"), Err("403")),
        (Err("away"), Err("502")),
        (Ok("in two\nlines"), Err("403")),
        (Ok("a-third-value"), Ok("a-third-value")),
    ] {
        bench.secret.set(value);
        let request = format!("GET / HTTP/1.1\r\nHost: localhost:{port}\r\nAuthorization: mine\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let (head, body) = answer(&mut stream).await;
        match wanted {
            Ok(wanted) => assert!(body.contains(&format!("authorization: Bearer {wanted}\r\n")), "{body}"),
            Err(status) => {
                assert_eq!(head.split(' ').nth(1), Some(status), "{head}{body}");
                assert!(body.contains("the secret `k`, which is not given out: "), "{body}");
                assert!(body.contains(&format!("`localhost:{port}`")) && !body.contains("mine"), "{body}");
            }
        }
    }
}

#[tokio::test]
async fn what_is_sent_is_what_the_secret_is_when_there_is_a_connection() {
    let turns = [
        // Before the host is connected to, and then.
        Ok("value-1"),
        Ok("value-2"),
        // The same by the connection that is there.
        Ok("value-3"),
        Err("it was deleted"),
        Ok("value-4"),
        Ok("value-5"),
        // Nobody connects for this one.
        Err("it was deleted again"),
    ];
    let turns = Arc::new(Turns(Plain::new(turns.into())));
    let bench = Bench::with("X-Key: secret://k", turns.clone(), Kept::new(VALUE)).await;
    let get = format!("GET / HTTP/1.1\r\nHost: localhost:{}\r\n\r\n", bench.port);
    let answers = bench.exchange(&[(); 4].map(|()| get.clone())).await;
    for ((head, body), (status, words)) in answers.iter().zip([
        ("200", "x-key: value-2\r\n"),
        ("403", "which is not given out: it was deleted\n"),
        ("200", "x-key: value-5\r\n"),
        ("403", "it was deleted again"),
    ]) {
        assert!(head.split(' ').nth(1) == Some(status) && body.contains(words), "{head}{body}");
    }
    assert!(turns.0.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_tunnel_has_one_place_and_who_gets_none_is_told_so() {
    let bench = Bench::new("Authorization: Bearer secret://k").await;
    let port = bench.port;
    let mut held: Vec<_> = (1..MOST_CONNECTIONS).map(|_| bench.gateway.place().unwrap()).collect();
    let mut stream = bench.secure("localhost").await.unwrap();
    assert!(bench.gateway.place().is_none());
    // What it is answered by needs no place of its own.
    for path in ["/one", "/close", "/two"] {
        let get = format!("GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n");
        stream.write_all(get.as_bytes()).await.unwrap();
        let (head, body) = answer(&mut stream).await;
        assert!(head.starts_with("HTTP/1.1 200 ") && body.contains(path), "{head}{body}");
    }
    for host in ["localhost", "127.0.0.1"] {
        let (said, _) = bench.ask(&format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
        assert!(said.starts_with("HTTP/1.1 503 "), "{said}");
    }
    drop(held.pop());
    bench.tunnel("127.0.0.1").await;
}

#[tokio::test]
async fn what_a_secret_was_before_is_a_mark_too_where_a_host_sends_it_back() {
    let bench = Bench::new("X-Key: secret://k").await;
    let (port, longer) = (bench.port, format!("{VALUE}-and-more"));
    let mut stream = bench.secure("localhost").await.unwrap();
    // One is the beginning of the other.
    for (value, told, seen) in [
        (VALUE, VALUE, "[redacted]"),
        (longer.as_str(), VALUE, "[redacted]"),
        (longer.as_str(), longer.as_str(), "[redacted]"),
        (longer.as_str(), "else", "else"),
    ] {
        bench.secret.set(Ok(value));
        let own = format!("Host: localhost:{port}\r\nAuthorization: {told}\r\n");
        stream.write_all(format!("GET /echo HTTP/1.1\r\n{own}\r\n").as_bytes()).await.unwrap();
        let (head, body) = answer(&mut stream).await;
        assert!(body.contains(&format!("x-key: {value}\r\n")), "{body}");
        assert!(head.contains(&format!("x-said: {seen}\r\n")), "{told}: {head}");
    }
}
