//! Many clients on one daemon, in small; `cargo xtask crowd` does it with a thousand, and
//! measures what a flood costs the others.

use serde_json::json;
use skynet_tests::programs::{Daemon, Home, Shim};
use std::fs;

const CLIENTS: usize = 40;
const CALLS: usize = 5;

#[test]
fn every_call_of_every_client_is_answered() {
    let home = Home::new();
    fs::write(home.project.join("f"), "content\n").unwrap();
    let _daemon = Daemon::start(&home);
    let mut clients: Vec<Shim> =
        (0..CLIENTS).map(|_| Shim::connected(&home, "2025-11-25", json!({}))).collect();
    for _ in 0..CALLS {
        let params = json!({ "name": "files_stat", "arguments": { "path": "f" } });
        let ids: Vec<i64> =
            clients.iter_mut().map(|client| client.post("tools/call", params.clone())).collect();
        for (client, id) in clients.iter_mut().zip(ids) {
            assert_eq!(client.answer(id)["result"]["structuredContent"]["size_bytes"], 8);
        }
    }
    let (_, audit, _) = home.ctl(&["audit", "verify"]);
    assert!(audit.contains(&format!("{} records", CLIENTS * CALLS)), "{audit}");
}
