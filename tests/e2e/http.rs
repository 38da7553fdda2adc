//! MCP over Streamable HTTP: both kinds of revisions, tokens, and what must not get through.

use serde_json::{Value, json};
use skynet_tests::{
    programs::{Daemon, Home, outcome},
    web::Web,
};
use std::{
    fs,
    io::{ErrorKind, Read as _, Write as _},
    net::TcpStream,
};

fn home() -> Home {
    let home = Home::new();
    home.configure("[http]\nlisten = '127.0.0.1:0'\n");
    fs::write(home.project.join("f"), "content\n").unwrap();
    home
}

/// A daemon with more settings of `[http]`, and a client of it.
fn served(settings: &str) -> (Home, Daemon, Web) {
    let home = Home::new();
    home.configure(&format!("[http]\nlisten = '127.0.0.1:0'\n{settings}"));
    let daemon = Daemon::start(&home);
    let web = Web::connect(&home, "t", &["read"]);
    (home, daemon, web)
}

fn call(tool: &str, arguments: Value) -> Value {
    json!({ "name": tool, "arguments": arguments })
}

#[test]
fn a_modern_request_stands_for_itself() {
    let home = home();
    let _daemon = Daemon::start(&home);
    let web = Web::connect(&home, "t", &["read"]);
    let reply = web.modern("tools/list", json!({}), json!({}));
    assert_eq!((reply.status, reply.messages.len(), &reply.session), (200, 1, &None));
    let listed = reply.messages[0]["result"]["tools"].to_string();
    assert!(listed.contains("files_read") && !listed.contains("skynet_enable_toolset"));
    let reply = web.modern("tools/call", call("files_read", json!({ "path": "f" })), json!({}));
    assert_eq!(outcome(&reply.messages[0]).unwrap()["content"], "content\n");
    for (method, status, code) in
        [("ping", 404, -32601), ("no/such", 404, -32601), ("initialized", 404, -32601)]
    {
        let reply = web.modern(method, json!({}), json!({}));
        assert_eq!((reply.status, &reply.messages[0]["error"]["code"]), (status, &json!(code)), "{method}");
    }
    let (_, audit, _) = home.ctl(&["--json", "audit", "query", "--tool", "files_read"]);
    assert!(audit.contains(r#""token":"t""#), "{audit}");
}

#[test]
fn a_session_lives_by_its_id_until_it_is_deleted() {
    let home = home();
    let _daemon = Daemon::start(&home);
    let web = Web::connect(&home, "t", &["read"]);
    for revision in ["2025-03-26", "2025-06-18", "2025-11-25"] {
        let session = web.begin(revision, json!({}));
        let reply = web.request(&session, "tools/call", call("files_read", json!({ "path": "f" })));
        assert_eq!(outcome(&reply.messages[0]).unwrap()["content"], "content\n", "{revision}");
    }
    let session = web.begin("2025-11-25", json!({}));
    assert_eq!(
        web.request(&session, "tools/call", call("skynet_enable_toolset", json!({ "toolset": "system" })))
            .status,
        200
    );
    let listed = web.request(&session, "tools/list", json!({})).messages[0].to_string();
    assert!(listed.contains("system_describe"));
    let delete = |session: &str| {
        web.raw(
            format!(
                "DELETE /mcp HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\nmcp-session-id: {session}\r\nconnection: close\r\n\r\n",
                web.address, web.token
            )
            .as_bytes(),
        )
        .0
    };
    assert_eq!(delete(&session), 204);
    assert_eq!(delete(&session), 404);
    assert_eq!(web.request(&session, "tools/list", json!({})).status, 404);
    assert_eq!(web.post(&[], r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#).status, 400);
}

#[test]
fn a_dialog_goes_over_the_stream_of_its_call() {
    let home = home();
    home.configure("[http]\nlisten = '127.0.0.1:0'\n[[policy.rules]]\nname = 'ask'\nverdict = 'ask'\ntools = ['files_write']\n");
    let _daemon = Daemon::start(&home);
    let web = Web::connect(&home, "t", &["read", "write"]);
    let session = web.begin("2025-11-25", json!({ "elicitation": {} }));
    let params = call("files_write", json!({ "path": "new", "content": "x" }));
    let body = json!({ "jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": params }).to_string();
    let mut stream = web.stream("POST", &[("mcp-session-id", &session)], &body);
    let asked = stream.message();
    assert_eq!(asked["method"], "elicitation/create", "{asked}");
    let answer = json!({ "jsonrpc": "2.0", "id": asked["id"], "result": { "action": "accept", "content": { "approve": true } } });
    assert_eq!(web.post(&[("mcp-session-id", &session)], &answer.to_string()).status, 202);
    assert!(outcome(&stream.message()).is_ok());
    assert!(stream.try_message().is_none());
    assert_eq!(fs::read_to_string(home.project.join("new")).unwrap(), "x");
}

#[test]
fn a_session_is_for_one_workspace() {
    let home = home();
    let daemon = Daemon::start(&home);
    let other = home.path.join("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("f"), "other\n").unwrap();
    let [project, other] = [&home.project, &other].map(|path| path.display().to_string());
    let created = ["--json", "token", "create", "two", "--effect", "read"].map(str::to_owned).into_iter();
    let created =
        created.chain(["--workspace".to_owned(), project.clone(), "--workspace".to_owned(), other.clone()]);
    let created: Vec<String> = created.collect();
    let (code, created, said) = home.ctl(&created.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(code, 0, "{said}{created}");
    let created: Value = serde_json::from_str(&created).unwrap();
    let web = Web::connect(&home, "t", &["read"]).with_token(created["secret"].as_str().unwrap());
    let session = web.begin("2025-11-25", json!({}));
    let read = json!({ "jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": call("files_read", json!({ "path": "f" })) });
    let post = |workspace: &[(&str, &str)]| {
        web.post(&[&[("mcp-session-id", session.as_str())], workspace].concat(), &read.to_string())
    };
    for named in [&[][..], &[("skynet-workspace", project.as_str())]] {
        assert_eq!(outcome(&post(named).messages[0]).unwrap()["content"], "content\n", "{named:?}");
    }
    let refused = post(&[("skynet-workspace", other.as_str())]);
    assert_eq!(refused.status, 400, "{refused:?}");
    assert!(refused.text.contains(&format!("this session is for `{project}`")), "{refused:?}");
    let twice = post(&[("skynet-workspace", project.as_str()), ("skynet-workspace", other.as_str())]);
    assert_eq!(twice.status, 400, "{twice:?}");
    // It is still there, and so is the other directory for who asks for it.
    assert_eq!(post(&[]).status, 200);
    let params = json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "t", "version": "1" } });
    let begin = json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params }).to_string();
    let begun = web.post(&[("skynet-workspace", other.as_str())], &begin).session.unwrap();
    let reply = web.request(&begun, "tools/call", call("files_read", json!({ "path": "f" })));
    assert_eq!(outcome(&reply.messages[0]).unwrap()["content"], "other\n");
    drop(daemon);
}

#[test]
fn a_stream_that_was_lost_goes_on_where_it_was() {
    let home = home();
    home.configure("[http]\nlisten = '127.0.0.1:0'\n[[policy.rules]]\nname = 'ask'\nverdict = 'ask'\ntools = ['files_write']\n");
    let _daemon = Daemon::start(&home);
    let web = Web::connect(&home, "t", &["read", "write"]);
    let session = web.begin("2025-11-25", json!({ "elicitation": {} }));
    let resume =
        |web: &Web, id: &str| web.stream("GET", &[("mcp-session-id", &session), ("last-event-id", id)], "");
    // The stream of a call breaks while a human is asked, and the answer comes when nobody listens.
    let params = call("files_write", json!({ "path": "new", "content": "x" }));
    let body = json!({ "jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": params }).to_string();
    let mut stream = web.stream("POST", &[("mcp-session-id", &session)], &body);
    let asked = stream.message();
    let last = stream.last_id.clone();
    drop(stream);
    let answer = json!({ "jsonrpc": "2.0", "id": asked["id"], "result": { "action": "accept", "content": { "approve": true } } });
    assert_eq!(web.post(&[("mcp-session-id", &session)], &answer.to_string()).status, 202);
    for _ in 0..2 {
        let mut rest = resume(&web, &last);
        let answer = rest.message();
        assert!(answer["id"] == 5 && outcome(&answer).is_ok(), "{answer}");
        assert!(rest.try_message().is_none());
    }
    // News of the session.
    let mut news = web.stream("GET", &[("mcp-session-id", &session)], "");
    let subscribed = web.request(&session, "resources/subscribe", json!({ "uri": "skynet://session/audit" }));
    assert_eq!(subscribed.status, 200);
    let list = || assert_eq!(web.request(&session, "tools/call", call("files_list", json!({}))).status, 200);
    list();
    news.message();
    let last = news.last_id.clone();
    drop(news);
    list();
    let mut news = resume(&web, &last);
    assert_eq!(news.message()["method"], "notifications/resources/updated");
    assert_ne!(news.last_id, last);
    // For nobody else, and only what there was.
    let status = |web: &Web, id: &str| {
        let request = format!(
            "GET /mcp HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\naccept: text/event-stream\r\nmcp-session-id: {session}\r\nlast-event-id: {id}\r\nconnection: close\r\n\r\n",
            web.address, web.token
        );
        web.raw(request.as_bytes()).0
    };
    assert_eq!(status(&Web::connect(&home, "other", &["read", "write"]), &last), 404);
    for unknown in ["0-1000", "77-1", "1-0", "x", ""] {
        assert_eq!(status(&web, unknown), 400, "{unknown}");
    }
}

#[test]
fn news_go_over_the_stream_of_the_session_or_of_the_subscription() {
    let home = home();
    let _daemon = Daemon::start(&home);
    let web = Web::connect(&home, "t", &["read"]);
    let session = web.begin("2025-11-25", json!({}));
    let mut news = web.stream("GET", &[("mcp-session-id", &session)], "");
    assert_eq!(
        web.request(&session, "resources/subscribe", json!({ "uri": "skynet://session/audit" })).status,
        200
    );
    assert_eq!(web.request(&session, "tools/call", call("files_list", json!({}))).status, 200);
    assert_eq!(news.message()["method"], "notifications/resources/updated");

    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let params = json!({ "notifications": { "toolsListChanged": true }, "_meta": meta });
    let body =
        json!({ "jsonrpc": "2.0", "id": 3, "method": "subscriptions/listen", "params": params }).to_string();
    let headers = [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "subscriptions/listen")];
    let mut listening = web.stream("POST", &headers, &body);
    assert_eq!(listening.message()["method"], "notifications/subscriptions/acknowledged");
    assert_eq!(home.ctl(&["toolset", "enable", "system", "--token", "t"]).0, 0);
    assert_eq!(listening.message()["method"], "notifications/tools/list_changed");
    let listed = web.modern("tools/list", json!({}), json!({})).messages[0].to_string();
    assert!(listed.contains("system_describe"));
}

#[test]
fn a_token_may_use_no_secrets() {
    let home = home();
    // Nobody is asked about what is denied anyway, and no name of a secret is told.
    home.configure("[http]\nlisten = '127.0.0.1:0'\n[[policy.rules]]\nname = 'all'\nverdict = 'ask'\ntools = ['exec_*']\n");
    let _daemon = Daemon::start(&home);
    let web = Web::connect(&home, "writer", &["read", "write"]);
    for (name, value) in
        [("X", "secret://deploy"), ("X", "secret://.env.skynet#A"), ("*", "secret://.env.skynet")]
    {
        let input = json!({ "script": "true", "environment": { name: value } });
        let answer = web.modern("tools/call", call("exec_run", input), json!({}));
        let refused = outcome(answer.messages.last().unwrap()).unwrap_err();
        assert!(
            refused.starts_with("denied: ") && refused.contains("`writer` may use no secrets"),
            "{refused}"
        );
    }
}

#[test]
fn what_a_token_does_not_allow_is_denied() {
    let home = home();
    let daemon = Daemon::start(&home);
    let web = Web::connect(&home, "reader", &["read"]);
    let write =
        || web.modern("tools/call", call("files_write", json!({ "path": "g", "content": "" })), json!({}));
    let refused = outcome(&write().messages[0]).unwrap_err();
    assert!(refused.starts_with("denied: ") && refused.contains("--effect write"), "{refused}");
    assert!(!home.project.join("g").exists());
    // A path of another workspace is none.
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    assert_eq!(web.post(&[("skynet-workspace", "/")], body).status, 403);
    // A token survives the daemon, and ends when it is revoked.
    daemon.kill();
    let _daemon = Daemon::start(&home);
    let (_, status, _) = home.ctl(&["--json", "status"]);
    let status: Value = serde_json::from_str(&status).unwrap();
    let url = status["http"].as_str().unwrap();
    let web = web.at(url.trim_start_matches("http://").trim_end_matches("/mcp"));
    assert_eq!(web.modern("tools/list", json!({}), json!({})).status, 200);
    assert_eq!(home.ctl(&["token", "revoke", "reader"]).0, 0);
    assert_eq!(web.modern("tools/list", json!({}), json!({})).status, 401);
    assert_eq!(web.with_token("").post(&[], body).status, 401);
}

#[test]
fn one_token_cannot_use_what_belongs_to_another() {
    let home = home();
    home.configure("[http]\nlisten = '127.0.0.1:0'\n[mcp]\ntask_after_seconds = 0\n");
    let _daemon = Daemon::start(&home);
    let (mine, other) = (Web::connect(&home, "mine", &["read"]), Web::connect(&home, "other", &["read"]));
    let session = mine.begin("2025-11-25", json!({}));
    assert_eq!(other.request(&session, "tools/list", json!({})).status, 404);
    let tasks = json!({ "extensions": { "io.modelcontextprotocol/tasks": {} } });
    let created = mine.modern("tools/call", call("files_list", json!({})), tasks.clone());
    let task = json!({ "taskId": created.messages[0]["result"]["taskId"] });
    assert!(mine.modern("tasks/get", task.clone(), tasks.clone()).messages[0].get("error").is_none());
    // The request that began it is over, and the task goes on.
    let long = call(
        "skynet_call_tool",
        json!({ "name": "system_show_resources", "arguments": { "interval_ms": 200 } }),
    );
    let created = mine.modern("tools/call", long, tasks.clone());
    let long = json!({ "taskId": created.messages[0]["result"]["taskId"] });
    let ended = loop {
        let shown = mine.modern("tasks/get", long.clone(), tasks.clone()).messages[0]["result"].clone();
        if shown["status"] != "working" {
            break shown;
        }
    };
    assert_eq!(ended["status"], "completed", "{ended}");
    for method in ["tasks/get", "tasks/cancel"] {
        let refused = other.modern(method, task.clone(), tasks.clone());
        assert_eq!(refused.messages[0]["error"]["code"], -32602, "{method}");
    }
}

#[test]
fn headers_and_bodies_that_disagree_are_refused() {
    let home = home();
    let _daemon = Daemon::start(&home);
    let web = Web::connect(&home, "t", &["read"]);
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let body = json!({ "jsonrpc": "2.0", "id": 4, "method": "tools/call", "params": { "name": "files_list", "_meta": meta } });
    let right =
        [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/call"), ("mcp-name", "files_list")];
    assert_eq!(web.post(&right, &body.to_string()).status, 200);
    for (place, wrong) in [(0, "2025-11-25"), (1, "tools/list"), (2, "files_write")] {
        let mut headers = right;
        headers[place].1 = wrong;
        let reply = web.post(&headers, &body.to_string());
        assert_eq!((reply.status, &reply.messages[0]["error"]["code"]), (400, &json!(-32020)), "{wrong}");
    }
    let reply = web.post(&right, "{nonsense");
    assert_eq!((reply.status, &reply.messages[0]["error"]["code"]), (400, &json!(-32700)));
    // What asks for nothing is refused, rather than waiting for an answer that never comes.
    let nothing = json!({ "jsonrpc": "2.0", "id": 4, "result": {}, "params": { "_meta": meta } });
    let reply = web.post(&[("mcp-protocol-version", "2026-07-28"), ("mcp-method", "")], &nothing.to_string());
    assert_eq!((reply.status, &reply.messages[0]["error"]["code"]), (400, &json!(-32600)));
    for (name, value, status) in [
        ("host", "evil.example", 403),
        ("origin", "http://evil.example", 403),
        ("accept", "text/html", 406),
        ("content-type", "text/plain", 415),
    ] {
        let mut lines = vec![
            ("host", web.address.as_str()),
            ("accept", "application/json, text/event-stream"),
            ("content-type", "application/json"),
        ];
        lines.retain(|(known, _)| *known != name);
        lines.push((name, value));
        let lines: String = lines.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let request = format!(
            "POST /mcp HTTP/1.1\r\n{lines}authorization: Bearer {}\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{{}}",
            web.token
        );
        assert_eq!(web.raw(request.as_bytes()).0, status, "{name}");
    }
}

/// Two lengths, or a length beside chunks, are read differently by different programs (RFC 9112, section 6.3).
#[test]
fn a_second_request_cannot_hide_in_the_first() {
    let home = home();
    let _daemon = Daemon::start(&home);
    let web = Web::connect(&home, "t", &["read"]);
    let usual = format!(
        "host: {}\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\naccept: */*\r\nconnection: close\r\n",
        web.address, web.token
    );
    let hidden = "POST /mcp HTTP/1.1\r\nhost: localhost\r\n\r\n";
    for framing in [
        "content-length: 2\r\ncontent-length: 60\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 2\r\n",
        "transfer-encoding: chunked, identity\r\n",
        "content-length: +2\r\n",
        "content-length : 2\r\n",
    ] {
        let request = format!("POST /mcp HTTP/1.1\r\n{usual}{framing}\r\n{{}}{hidden}");
        let (status, text) = web.raw(request.as_bytes());
        assert!(
            text.matches("HTTP/1.1 ").count() <= 1 && (status == 0 || status >= 400),
            "{framing}: {text}"
        );
    }
    assert_eq!(web.modern("tools/list", json!({}), json!({})).status, 200);
}

#[test]
fn large_and_deep_bodies_are_refused_and_the_next_is_served() {
    let home = home();
    let _daemon = Daemon::start(&home);
    let web = Web::connect(&home, "t", &["read"]);
    let head = format!(
        "POST /mcp HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\naccept: */*\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        web.address,
        web.token,
        17 << 20
    );
    assert_eq!(web.raw(&[head.as_bytes(), &vec![b' '; 17 << 20]].concat()).0, 413);
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let reply = web.post(&[], &deep);
    assert_eq!(reply.status, 400, "{}", reply.text);
    let arguments = format!("{}1{}", r#"{"a":"#.repeat(120), "}".repeat(120));
    let session = web.begin("2025-11-25", json!({}));
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"files_list","arguments":{arguments}}}}}"#
    );
    let reply = web.post(&[("mcp-session-id", &session)], &body);
    assert!(reply.status == 400 || reply.messages[0].to_string().contains("nested"), "{reply:?}");
    assert_eq!(web.modern("tools/list", json!({}), json!({})).status, 200);
}

#[test]
fn a_client_that_goes_away_or_reads_nothing_costs_no_other_client_anything() {
    let home = home();
    let _daemon = Daemon::start(&home);
    let web = Web::connect(&home, "t", &["read"]);
    // Half a request, and streams that nobody reads.
    let half: Vec<_> = (0..20).map(|_| say(&web, "POST /mcp HTTP/1.1\r\nhost: ")).collect();
    let session = web.begin("2025-11-25", json!({}));
    let _unread = web.stream("GET", &[("mcp-session-id", &session)], "");
    assert_eq!(
        web.request(&session, "resources/subscribe", json!({ "uri": "skynet://session/audit" })).status,
        200
    );
    for _ in 0..200 {
        let reply = web.request(&session, "tools/call", call("files_list", json!({})));
        assert!(outcome(&reply.messages[0]).is_ok());
    }
    drop(half);
    assert_eq!(web.modern("tools/list", json!({}), json!({})).status, 200);
}

#[test]
fn a_connection_that_asks_nothing_ends() {
    let (_home, _daemon, web) = served("max_connections = 2\nheader_timeout_seconds = 1\n");
    let mut idle = ["", "POST /mcp HTTP/1.1\r\nhost: "].map(|said| say(&web, said));
    // Both places are taken; this one has its turn once they are free.
    assert_eq!(web.modern("tools/list", json!({}), json!({})).status, 200);
    for stream in &mut idle {
        // Closed, whatever was said of why.
        let _ = stream.read_to_end(&mut Vec::new());
    }
}

#[test]
fn one_connection_more_than_there_may_be_waits_for_another_to_end() {
    let (_home, _daemon, web) = served("max_connections = 1\n");
    let ask =
        format!("GET /nothing HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\n\r\n", web.token);
    let mut first = say(&web, &ask);
    let answered = |stream: &mut TcpStream| stream.read(&mut [0; 1024]).unwrap() > 0;
    assert!(answered(&mut first));
    let mut second = say(&web, &ask);
    for _ in 0..50 {
        first.write_all(ask.as_bytes()).unwrap();
        assert!(answered(&mut first));
    }
    second.set_nonblocking(true).unwrap();
    assert_eq!(second.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
    second.set_nonblocking(false).unwrap();
    drop(first);
    assert!(answered(&mut second));
    // Without a token nobody keeps his connection.
    drop(second);
    let mut stranger = say(&web, "GET /mcp HTTP/1.1\r\nhost: localhost\r\n\r\n");
    let mut all = String::new();
    stranger.read_to_string(&mut all).unwrap();
    assert!(all.starts_with("HTTP/1.1 401") && all.contains("connection: close"), "{all}");
}

fn say(web: &Web, what: &str) -> TcpStream {
    let mut stream = TcpStream::connect(&web.address).unwrap();
    stream.write_all(what.as_bytes()).unwrap();
    stream
}

#[test]
fn only_loopback_is_listened_on() {
    let home = Home::new();
    home.configure("[http]\nlisten = '0.0.0.0:0'\n");
    let refused = Daemon::try_start(&home).err().unwrap();
    assert!(refused.contains("not a loopback address"), "{refused}");
}

#[test]
fn a_daemon_that_stops_answers_what_is_under_way() {
    let home = home();
    let daemon = Daemon::start(&home);
    let web = Web::connect(&home, "t", &["read"]);
    let session = web.begin("2025-11-25", json!({}));
    let mut news = web.stream("GET", &[("mcp-session-id", &session)], "");
    assert!(daemon.terminate().success());
    assert!(news.try_message().is_none());
}
