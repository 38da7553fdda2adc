//! Providers that are made for these tests, and check what they are asked.

use super::*;
use serde_json::json;
use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpListener,
    thread,
};

/// A request: its first line, the header `authorization`, and the body.
type Asked = (String, String, Value);

/// A provider that answers each request with the next of these; what it was asked, in the end.
fn provider(answers: Vec<(u16, &'static str, Value)>) -> (String, thread::JoinHandle<Vec<Asked>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let served = thread::spawn(move || {
        let mut asked = Vec::new();
        for (status, header, answer) in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let (mut head, mut key, mut length) = (String::new(), String::new(), 0);
            reader.read_line(&mut head).unwrap();
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                let Some((name, value)) = line.trim().split_once(": ") else { break };
                match name.to_ascii_lowercase().as_str() {
                    "authorization" => key = value.to_owned(),
                    "content-length" => length = value.parse().unwrap(),
                    _ => {}
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            asked.push((head.trim().to_owned(), key, serde_json::from_slice(&body).unwrap()));
            let text = answer.to_string();
            write!(
                stream,
                "HTTP/1.1 {status} X\r\n{header}content-length: {}\r\nconnection: close\r\n\r\n{text}",
                text.len()
            )
            .unwrap();
        }
        asked
    });
    (address, served)
}

fn endpoint(kind: Kind, url: &str) -> Endpoint {
    Endpoint {
        kind,
        url: url.to_owned(),
        model: "small".into(),
        dimensions: 2,
        key: "provider".into(),
        query_prefix: String::new(),
        passage_prefix: String::new(),
        dollars_per_million: 2.0,
        ca_file: None,
    }
}

fn shared(endpoint: Endpoint) -> Shared {
    Shared(Provider::new(endpoint, Arc::new(|name: &str| Ok(format!("key-of-{name}")))).unwrap())
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[tokio::test]
async fn each_kind_is_asked_in_its_own_words() {
    let vectors = vec![vec![0.6, 0.8], vec![1.0, 0.0]];
    let of_openai = json!({ "data": [
        { "index": 1, "embedding": [2.0, 0.0] }, { "index": 0, "embedding": [3.0, 4.0] },
    ], "usage": { "total_tokens": 7 } });
    let of_cohere = json!({ "embeddings": { "float": [[3.0, 4.0], [2.0, 0.0]] },
        "meta": { "billed_units": { "input_tokens": 7 } } });
    let of_cloudflare = json!({ "success": true, "result": { "shape": [2, 2], "data": [[3.0, 4.0], [2.0, 0.0]],
        "usage": { "total_tokens": 7 } } });
    for (kind, path, answer, body) in [
        (
            Kind::Openai,
            "/embeddings",
            of_openai,
            json!({ "model": "small", "input": ["a", "b"], "encoding_format": "float" }),
        ),
        (
            Kind::Cohere,
            "/embed",
            of_cohere,
            json!({ "model": "small", "texts": ["a", "b"], "input_type": "search_document", "embedding_types": ["float"] }),
        ),
        (Kind::Cloudflare, "/small", of_cloudflare, json!({ "text": ["a", "b"] })),
    ] {
        let (url, served) = provider(vec![(200, "", answer)]);
        let embedder = shared(endpoint(kind, &url));
        assert_eq!(embedder.embed(&texts(&["a", "b"]), Use::Passage).await.unwrap(), vectors);
        let asked = served.join().unwrap();
        assert_eq!(asked, [(format!("POST {path} HTTP/1.1"), "Bearer key-of-provider".into(), body)]);
        let used = embedder.0.usage();
        assert_eq!((used.requests, used.tokens), (1, 7));
        assert!((used.dollars - 14e-6).abs() < 1e-12, "{used:?}");
    }
}

#[tokio::test]
async fn scores_come_in_the_order_of_the_passages() {
    for (kind, path, answer) in [
        (Kind::Openai, "/rerank", json!([{ "index": 1, "score": 0.9 }, { "index": 0, "score": 0.1 }])),
        (
            Kind::Cohere,
            "/rerank",
            json!({ "results": [{ "index": 1, "relevance_score": 0.9 }, { "index": 0, "relevance_score": 0.1 }] }),
        ),
        (
            Kind::Cloudflare,
            "/small",
            json!({ "result": { "response": [{ "id": 1, "score": 0.9 }, { "id": 0, "score": 0.1 }] } }),
        ),
    ] {
        let (url, served) = provider(vec![(200, "", answer)]);
        let reranker = shared(endpoint(kind, &url));
        assert_eq!(reranker.score("q", &texts(&["a", "b"])).await.unwrap(), [0.1, 0.9]);
        assert_eq!(served.join().unwrap()[0].0, format!("POST {path} HTTP/1.1"));
    }
}

#[tokio::test]
async fn a_provider_that_has_had_enough_is_asked_again() {
    let good = json!({ "data": [{ "index": 0, "embedding": [1.0, 0.0] }] });
    let full = json!({ "error": { "message": "slow down" } });
    let again = "retry-after: 0\r\n";
    let (url, served) = provider(vec![
        (429, again, full.clone()),
        (503, again, Value::Null),
        (200, "", good),
        (429, again, full.clone()),
        (429, again, full.clone()),
        (429, again, full.clone()),
        (429, again, full.clone()),
        (429, again, full),
    ]);
    let embedder = shared(endpoint(Kind::Openai, &url));
    assert_eq!(embedder.embed(&texts(&["a"]), Use::Query).await.unwrap(), [[1.0, 0.0]]);
    let err = embedder.embed(&texts(&["a"]), Use::Query).await.unwrap_err();
    assert!(err.kind == ErrorKind::QuotaExceeded && err.message.contains("slow down"), "{err}");
    assert_eq!(served.join().unwrap().len(), 8);
}

#[tokio::test]
async fn what_is_no_vector_and_what_cannot_succeed_is_told_at_once() {
    let of = |vector: Value| json!({ "data": [{ "index": 0, "embedding": vector }] });
    for (status, answer, words) in [
        (200, of(json!([1.0, null])), "vectors that are none"),
        (200, of(json!([0.0, 0.0])), "vectors that are none"),
        (200, of(json!([1.0, 0.0, 0.0])), "3 dimensions, and `dimensions` says 2"),
        (200, json!({ "data": [] }), "check `kind` and `url`"),
        (200, json!({ "html": true }), "check `kind` and `url`"),
        (401, json!({ "error": { "message": "bad key" } }), "refuses the key"),
        (400, json!({ "message": "no such model" }), "refuses with 400: no such model"),
    ] {
        let (url, served) = provider(vec![(status, "", answer)]);
        let err = shared(endpoint(Kind::Openai, &url)).embed(&texts(&["a"]), Use::Query).await.unwrap_err();
        assert!(err.message.contains(words), "{err}");
        assert_eq!(served.join().unwrap().len(), 1);
    }
}

#[tokio::test]
async fn many_texts_are_many_requests_and_prefixes_stand_before_them() {
    let list = |count: usize| json!({ "data": (0..count).map(|index| json!({ "index": index, "embedding": [0.0, 1.0] })).collect::<Vec<_>>() });
    let (url, served) = provider(vec![(200, "", list(32)), (200, "", list(8))]);
    let wanted =
        Endpoint { query_prefix: "query: ".into(), key: String::new(), ..endpoint(Kind::Openai, &url) };
    let vectors = shared(wanted).embed(&vec!["x".to_owned(); 40], Use::Query).await.unwrap();
    assert_eq!(vectors.len(), 40);
    let asked = served.join().unwrap();
    let counts: Vec<_> = asked.iter().map(|(_, _, body)| body["input"].as_array().unwrap().len()).collect();
    assert_eq!(
        (counts, asked[0].2["input"][0].as_str(), asked[0].1.as_str()),
        (vec![32, 8], Some("query: x"), "")
    );
}

#[test]
fn texts_go_over_https_unless_they_stay_on_this_host() {
    let check = |url: &str, dimensions| {
        let embedder = Some(Endpoint { dimensions, ..endpoint(Kind::Openai, url) });
        Remote { embedder, reranker: None }.check().map_err(|err| err.message)
    };
    assert_eq!(check("http://127.0.0.1:11434/v1", 768), Ok(()));
    assert_eq!(check("https://api.openai.com/v1", 1536), Ok(()));
    assert!(check("http://api.openai.com/v1", 1536).unwrap_err().contains("`https://`"));
    assert!(check("http://127.0.0.1.example.org/v1", 1536).is_err());
    assert!(check("https://api.openai.com/v1", 0).unwrap_err().contains("dimensions"));
}
