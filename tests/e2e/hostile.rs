//! Clients that do not keep to the rules, at the daemon's own socket: none costs another client anything.

use serde_json::json;
use skynet_proto::{
    ClientMessage, ENVELOPE_VERSION, Frame, Hello, ServerMessage, client_message::Kind,
    relay_client::RelayClient, server_message,
};
use skynet_tests::programs::{Daemon, Home, Shim, channel};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};
use uuid::Uuid;

/// A shim of our own, which may do what the real one never does.
struct Raw {
    frames: mpsc::Sender<ClientMessage>,
    replies: Streaming<ServerMessage>,
}

impl Raw {
    async fn attach(home: &Home, first: ClientMessage) -> Result<Self, Status> {
        let (frames, outbound) = mpsc::channel(1);
        frames.send(first).await.unwrap();
        let mut client = RelayClient::new(channel(home).await)
            .max_encoding_message_size(64 << 20)
            .max_decoding_message_size(64 << 20);
        let replies = client.attach(ReceiverStream::new(outbound)).await?.into_inner();
        Ok(Self { frames, replies })
    }

    /// With a session of revision 2025-11-25.
    async fn connected(home: &Home) -> Self {
        let mut raw = Self::attach(home, hello(home)).await.unwrap();
        assert!(matches!(raw.next().await, Ok(server_message::Kind::Welcome(_))));
        let params = json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "raw", "version": "1" } });
        raw.send(
            1,
            &json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params }).to_string(),
        )
        .await;
        assert_eq!(raw.answers_to().await, 1);
        raw.send(2, r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).await;
        raw
    }

    async fn send(&self, sequence: u64, line: &str) {
        let frame = Frame { sequence, json: line.to_owned().into(), resend: false };
        self.frames.send(ClientMessage { kind: Some(Kind::Frame(frame)) }).await.unwrap();
    }

    async fn next(&mut self) -> Result<server_message::Kind, Status> {
        Ok(self.replies.message().await?.expect("the stream goes on").kind.expect("a message"))
    }

    /// The frame that the next reply settles.
    async fn answers_to(&mut self) -> u64 {
        loop {
            match self.next().await.unwrap() {
                server_message::Kind::Reply(reply) if reply.answers > 0 => {
                    assert!(reply.json.len() < 64 << 10, "{} bytes of answer", reply.json.len());
                    return reply.answers;
                }
                _ => {}
            }
        }
    }
}

fn hello(home: &Home) -> ClientMessage {
    let hello = Hello {
        envelope_version: ENVELOPE_VERSION,
        session_id: Uuid::new_v4().as_bytes().to_vec().into(),
        workspace: home.project.display().to_string(),
        ..Hello::default()
    };
    ClientMessage { kind: Some(Kind::Hello(hello)) }
}

fn list(id: u64) -> String {
    json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": { "name": "files_list", "arguments": {} } })
        .to_string()
}

fn served(shim: &mut Shim) {
    for _ in 0..20 {
        assert!(shim.call("files_list", json!({})).is_ok());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_that_reads_nothing_is_held_back_and_others_are_served() {
    let home = Home::new();
    let daemon = Daemon::start(&home);
    let mut shim = Shim::connected(&home, "2025-11-25", json!({}));
    served(&mut shim);
    let before = daemon.resident_kb();
    let flood = Raw::connected(&home).await;
    let sent = Arc::new(AtomicU64::new(0));
    let counter = sent.clone();
    let flooding = tokio::spawn(async move {
        for id in 3..1_000_000 {
            let frame = Frame {
                sequence: id,
                json: json!({ "jsonrpc": "2.0", "id": id, "method": "ping" }).to_string().into(),
                resend: false,
            };
            flood.frames.send(ClientMessage { kind: Some(Kind::Frame(frame)) }).await.unwrap();
            counter.store(id, Ordering::Relaxed);
        }
        flood
    });
    // Nobody reads its answers: in the end no frame is taken any more.
    loop {
        let before = sent.load(Ordering::Relaxed);
        tokio::task::block_in_place(|| served(&mut shim));
        if before > 0 && sent.load(Ordering::Relaxed) == before {
            break;
        }
    }
    assert!(!flooding.is_finished());
    flooding.abort();
    let grown = daemon.resident_kb() - before;
    assert!(grown < 64 << 10, "{sent:?} frames that nobody reads the answers of take {grown} kB");
}

#[tokio::test]
async fn connections_that_never_say_hello_or_nothing_after_it_cost_nothing() {
    let home = Home::new();
    let _daemon = Daemon::start(&home);
    let mut half = Vec::new();
    for number in 0..50 {
        let mut stream = std::os::unix::net::UnixStream::connect(home.socket()).unwrap();
        // The preface of HTTP/2 (RFC 9113, section 3.4), or half of it.
        let preface: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        std::io::Write::write_all(&mut stream, &preface[..preface.len() / (1 + number % 2)]).unwrap();
        half.push(stream);
    }
    let mut silent = Vec::new();
    for _ in 0..50 {
        silent.push(Raw::attach(&home, hello(&home)).await.unwrap());
    }
    served(&mut Shim::connected(&home, "2025-11-25", json!({})));
}

#[tokio::test]
async fn what_is_not_an_envelope_ends_only_its_own_stream() {
    let home = Home::new();
    let _daemon = Daemon::start(&home);
    let mut shim = Shim::connected(&home, "2025-11-25", json!({}));
    let frame = Frame { sequence: 1, json: list(1).into(), resend: false };
    let refused = Raw::attach(&home, ClientMessage { kind: Some(Kind::Frame(frame)) }).await.err().unwrap();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    for (version, session_id, code) in
        [(99, vec![0; 16], Code::FailedPrecondition), (ENVELOPE_VERSION, vec![0; 3], Code::InvalidArgument)]
    {
        let hello = Hello { envelope_version: version, session_id: session_id.into(), ..Hello::default() };
        let refused =
            Raw::attach(&home, ClientMessage { kind: Some(Kind::Hello(hello)) }).await.err().unwrap();
        assert_eq!(refused.code(), code, "{refused}");
    }
    served(&mut shim);
}

#[tokio::test]
async fn a_frame_over_the_limit_ends_its_connection_and_one_below_it_is_answered() {
    let home = Home::new();
    let _daemon = Daemon::start(&home);
    let mut shim = Shim::connected(&home, "2025-11-25", json!({}));
    let mut raw = Raw::connected(&home).await;
    let line = |bytes: usize| list(7).replace("{}", &format!(r#"{{"path":"{}"}}"#, "x".repeat(bytes)));
    raw.send(3, &line((16 << 20) - 1000)).await;
    assert_eq!(raw.answers_to().await, 3);
    raw.send(4, &line(17 << 20)).await;
    while let Ok(Some(_)) = raw.replies.message().await {}
    served(&mut shim);
}

#[tokio::test]
async fn numbers_of_frames_that_repeat_or_go_back_run_nothing_twice() {
    let home = Home::new();
    let _daemon = Daemon::start(&home);
    let mut raw = Raw::connected(&home).await;
    let trash = json!({ "jsonrpc": "2.0", "id": 9, "method": "tools/call", "params": { "name": "files_copy", "arguments": { "from": "seed", "to": "once" } } });
    std::fs::write(home.project.join("seed"), "seed").unwrap();
    raw.send(3, &trash.to_string()).await;
    assert_eq!(raw.answers_to().await, 3);
    std::fs::remove_file(home.project.join("once")).unwrap();
    // The journal knows this frame: its answer comes again, its effect does not.
    let again = Frame { sequence: 3, json: trash.to_string().into(), resend: true };
    raw.frames.send(ClientMessage { kind: Some(Kind::Frame(again)) }).await.unwrap();
    assert_eq!(raw.answers_to().await, 3);
    assert!(!home.project.join("once").exists());
    raw.send(1, &list(10)).await;
    assert_eq!(raw.answers_to().await, 1);
}

#[tokio::test]
async fn an_id_that_is_used_again_after_a_cancel_gets_its_own_answer() {
    let home = Home::new();
    home.configure(
        "[[policy.rules]]\nname = 'ask'\nverdict = 'ask'\ntools = ['files_write']\n[confirm]\nwait_seconds = 600\n",
    );
    let _daemon = Daemon::start(&home);
    let mut raw = Raw::connected(&home).await;
    // Waits for a human, to its cancel.
    let waiting = json!({ "jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": { "name": "files_write", "arguments": { "path": "f", "content": "x" } } });
    let cancel =
        json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": 7 } });
    for round in 0..50 {
        let first = 10 + round * 10;
        raw.send(first, &waiting.to_string()).await;
        raw.send(first + 1, &cancel.to_string()).await;
        raw.send(first + 2, &waiting.to_string()).await;
        raw.send(first + 3, &cancel.to_string()).await;
        raw.send(first + 4, &list(7)).await;
        let mut settled = Vec::new();
        while settled.len() < 3 {
            let server_message::Kind::Reply(reply) = raw.next().await.unwrap() else { continue };
            if reply.answers == 0 {
                continue;
            }
            let is_last = reply.answers == first + 4;
            // One that nobody could be asked about may have been answered before it was canceled.
            let is_own = String::from_utf8_lossy(&reply.json).contains("needs_confirmation");
            assert!(is_last || reply.json.is_empty() || is_own, "{reply:?}");
            if is_last {
                let answer: serde_json::Value = serde_json::from_slice(&reply.json).unwrap();
                assert_eq!(
                    (&answer["id"], &answer["result"]["isError"]),
                    (&json!(7), &json!(false)),
                    "{answer}"
                );
            }
            settled.push(reply.answers);
        }
        settled.sort_unstable();
        assert_eq!(settled, [first, first + 2, first + 4]);
    }
}
