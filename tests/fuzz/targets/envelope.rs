//! A line of a client: read or refused, and every refusal is one line of JSON.
#![no_main]

#[allow(dead_code, reason = "not all of it is read here")]
#[path = "../../../daemon/src/mcp/envelope.rs"]
mod envelope;

use bytes::Bytes;
use envelope::{Body, Refusal};
use libfuzzer_sys::fuzz_target;
use rmcp::model::{CallToolRequest, ClientJsonRpcMessage};
use serde_json::Value;

fuzz_target!(|raw: &[u8]| {
    let line = Bytes::copy_from_slice(raw);
    if envelope::is_batch(&line) {
        match envelope::read_batch(&line) {
            Ok(parts) => parts.iter().for_each(read),
            Err(refusal) => check(&refusal),
        }
    } else {
        read(&line);
    }
});

fn read(line: &Bytes) {
    match envelope::read(line) {
        Err(refusal) => check(&refusal),
        Ok(envelope) => match envelope.body {
            // Whether it fits is for rmcp to say; that it can be asked is what counts.
            Body::Line(line) => drop(serde_json::from_slice::<ClientJsonRpcMessage>(&line)),
            Body::Call { name, members, arguments, .. } => {
                let request = envelope::request_of(&name, &members);
                serde_json::from_str::<Value>(&request).expect("the parts of a call are JSON");
                drop(serde_json::from_str::<CallToolRequest>(&request));
                assert!(arguments.is_empty() || serde_json::from_slice::<Value>(&arguments).is_ok());
            }
        },
    }
}

fn check(refusal: &Refusal) {
    let json = refusal.to_json();
    assert!(!json.contains(&b'\n'));
    let value: Value = serde_json::from_slice(&json).expect("a refusal is JSON");
    assert!(value["error"]["code"].is_i64());
}
