//! Collections where many users are served: each has his own, of what he may read himself.

use serde_json::json;
use skynet_tests::host::Host;
use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

fn share(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn what_a_user_may_not_read_is_in_no_answer_of_his() {
    let Some(mut host) = Host::start() else { return };
    fs::write(host.path.join("config.toml"), "[policy]\nworkspaces = ['/var/tmp/*']\n").unwrap();
    host.replace_daemon();
    let [ann, bob] = host.users();
    // Both work in one directory; one of its files is hers alone.
    let shared = tempfile::tempdir_in("/var/tmp").unwrap();
    share(shared.path(), 0o777);
    fs::write(shared.path().join("open.md"), "# Menu\n\nThe canteen serves lentils.\n").unwrap();
    share(&shared.path().join("open.md"), 0o644);
    let private = shared.path().join("private.md");
    fs::write(&private, "# Salaries\n\nThe canteen pays the zymurgist in truffles.\n").unwrap();
    std::os::unix::fs::chown(&private, Some(ann.uid), Some(ann.gid)).unwrap();
    share(&private, 0o600);
    fs::write(shared.path().join("code.py"), "def zymurgist_wage():\n    return 7\n").unwrap();
    std::os::unix::fs::chown(shared.path().join("code.py"), Some(ann.uid), Some(ann.gid)).unwrap();
    share(&shared.path().join("code.py"), 0o600);

    let mut annes = host.client(&ann, shared.path(), json!({}));
    let mut bobs = host.client(&bob, shared.path(), json!({}));
    let added = annes.call("knowledge_add_collection", json!({ "name": "canteen" })).unwrap();
    assert_eq!((&added["files"], &added["skipped"]), (&json!(3), &json!(0)), "{added}");
    let found = annes.call("knowledge_search", json!({ "query": "zymurgist truffles" })).unwrap();
    assert_eq!(found["found"][0]["path"], "private.md", "{found}");

    // Hers is not there for him, by any name.
    let listed = bobs.call("knowledge_list_collections", json!({})).unwrap();
    assert_eq!(listed["collections"], json!([]), "{listed}");
    for (tool, input) in [
        ("knowledge_search", json!({ "query": "zymurgist", "collections": ["canteen"] })),
        ("knowledge_search", json!({ "query": "zymurgist" })),
        ("knowledge_find_symbol", json!({ "name": "zymurgist" })),
        ("knowledge_read_chunk", json!({ "collection": "canteen", "id": "private.md#0" })),
        ("knowledge_outline_file", json!({ "path": "code.py" })),
        ("knowledge_find_similar", json!({ "collection": "canteen", "id": "private.md#0" })),
        (
            "knowledge_explain_result",
            json!({ "collection": "canteen", "id": "private.md#0", "query": "truffles" }),
        ),
        ("knowledge_refresh_collection", json!({ "name": "canteen" })),
        ("knowledge_remove_collection", json!({ "name": "canteen" })),
    ] {
        let refused = bobs.call(tool, input).unwrap_err();
        for word in ["truffles", "Salaries", "wage", "private.md: "] {
            assert!(!refused.contains(word), "{tool}: {refused}");
        }
    }
    // His own, by the same name, is of what he can read.
    let added = bobs.call("knowledge_add_collection", json!({ "name": "canteen" })).unwrap();
    assert_eq!((&added["files"], &added["skipped"]), (&json!(3), &json!(2)), "{added}");
    for query in ["zymurgist", "truffles salaries", "canteen", "wage"] {
        let answer = bobs.call("knowledge_search", json!({ "query": query })).unwrap();
        let answer = answer.to_string();
        for word in ["truffles", "Salaries", "zymurgist_wage"] {
            assert!(!answer.contains(word), "{query}: {answer}");
        }
    }
    let symbols = bobs.call("knowledge_find_symbol", json!({ "name": "wage" })).unwrap();
    assert_eq!(symbols["definitions"], json!([]), "{symbols}");
    let listed = bobs.call("knowledge_list_collections", json!({})).unwrap();
    assert_eq!(listed["collections"][0]["passages"], 1, "of the open file alone: {listed}");
    // Nor did his change hers.
    let found = annes.call("knowledge_search", json!({ "query": "zymurgist truffles" })).unwrap();
    assert_eq!(found["found"][0]["path"], "private.md", "{found}");
    // What she makes unreadable for herself is gone from her answers as well.
    share(&private, 0o000);
    annes.call("knowledge_refresh_collection", json!({ "name": "canteen" })).unwrap();
    let found = annes.call("knowledge_search", json!({ "query": "truffles" })).unwrap();
    assert!(!found["found"].to_string().contains("truffles"), "{found}");
}
