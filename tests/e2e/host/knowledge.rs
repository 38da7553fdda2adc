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

#[test]
fn a_shared_collection_is_found_by_all_in_what_they_may_read_themselves() {
    let Some(mut host) = Host::start() else { return };
    fs::write(
        host.path.join("config.toml"),
        "[policy]\nworkspaces = ['/var/tmp/*', '/var/tmp/*/*/*', '/home/*/*']\n",
    )
    .unwrap();
    host.replace_daemon();
    let [ann, bob] = host.users();
    let place = tempfile::tempdir_in("/var/tmp").unwrap();
    share(place.path(), 0o755);
    std::os::unix::fs::chown(place.path(), Some(ann.uid), Some(ann.gid)).unwrap();
    for (name, text, mode) in [
        ("guide.md", "# Guide\n\nThe zeppelin is refuelled at dawn.\n", 0o644),
        ("plans.md", "# Plans\n\nThe zeppelin will be sold.\n", 0o600),
        ("pump.py", "def refuel_zeppelin():\n    return 7\n", 0o644),
    ] {
        let _ = ann.sh(&format!(
            "printf '{text}' > {0}/{name} && chmod {mode:o} {0}/{name}",
            place.path().display()
        ));
    }
    let mut annes = host.client(&ann, place.path(), json!({}));
    annes.call("knowledge_add_collection", json!({ "name": "zeppelin" })).unwrap();
    let own = bob.project();
    let mut bobs = host.client(&bob, &own, json!({}));
    assert!(bobs.call("knowledge_search", json!({ "query": "zeppelin" })).is_err());

    // Neither she nor he may share it; what nobody can tell the readers of is not shared.
    let wanted = ["index", "share", "zeppelin", "--user", &ann.name];
    for user in [&ann, &bob] {
        let (code, _, refused) = host.ctl(Some(user), &wanted);
        assert!(code != 0 && refused.contains("sudo"), "{code} {refused}");
    }
    let (code, _, refused) = host.ctl(None, &["index", "share", "nothing", "--user", &ann.name]);
    assert!(code != 0 && refused.contains("has no collection `nothing`"), "{refused}");
    let (code, told, failed) = host.ctl(None, &wanted);
    assert_eq!(code, 0, "{told}{failed}");
    let name = format!("{}/zeppelin", ann.name);

    // What is hers alone was indexed before: nobody sees it until her hands have looked again.
    assert!(bobs.call("knowledge_search", json!({ "query": "zeppelin" })).is_err());
    let found = annes.call("knowledge_search", json!({ "query": "zeppelin sold" })).unwrap();
    assert_eq!(found["found"][0]["collection"], "zeppelin", "{found}");
    assert!(!found.to_string().contains("will be sold"), "{found}");
    let found = bobs.call("knowledge_search", json!({ "query": "zeppelin" })).unwrap();
    let guide = place.path().join("guide.md").display().to_string();
    let paths: Vec<_> = found["found"].as_array().unwrap().iter().map(|one| one["path"].clone()).collect();
    assert!(paths.contains(&json!(guide)) && paths.len() == 2, "{found}");
    assert_eq!(found["found"][0]["collection"], name, "{found}");
    let id = format!("{guide}#0");
    let read = bobs.call("knowledge_read_chunk", json!({ "collection": name, "id": id })).unwrap();
    assert!(read["chunks"][0]["text"].as_str().unwrap().contains("at dawn"), "{read}");
    let symbols = bobs.call("knowledge_find_symbol", json!({ "name": "refuel" })).unwrap();
    assert_eq!(symbols["definitions"][0]["path"], json!(place.path().join("pump.py")), "{symbols}");
    let outline = bobs.call("knowledge_outline_file", json!({ "path": guide })).unwrap();
    assert_eq!(outline["title"], "Guide", "{outline}");
    let plans = place.path().join("plans.md").display().to_string();
    for (tool, input) in [
        ("knowledge_read_chunk", json!({ "collection": name, "id": format!("{plans}#0") })),
        ("knowledge_read_chunk", json!({ "collection": name, "id": "plans.md#0" })),
        ("knowledge_outline_file", json!({ "path": plans })),
        ("knowledge_find_similar", json!({ "collection": name, "id": format!("{plans}#0") })),
        ("knowledge_refresh_collection", json!({ "name": name })),
        ("knowledge_remove_collection", json!({ "name": name })),
    ] {
        let refused = bobs.call(tool, input.clone()).unwrap_err();
        assert!(!refused.contains("sold"), "{tool} {input}: {refused}");
    }
    let listed = bobs.call("knowledge_list_collections", json!({})).unwrap();
    let listed = &listed["collections"][0];
    assert_eq!(
        (&listed["name"], &listed["shared"], &listed["files"]),
        (&json!(name), &json!(true), &json!(2))
    );
    // What she closes is closed to him at once, before anybody looks.
    share(&place.path().join("guide.md"), 0o600);
    let found = bobs.call("knowledge_search", json!({ "query": "zeppelin dawn" })).unwrap();
    assert!(!found.to_string().contains("refuelled"), "{found}");
    assert!(!found["notes"].to_string().contains("may not read"), "{found}");

    let (_, shared, _) = host.ctl(Some(&bob), &["--json", "index", "shared"]);
    assert!(shared.contains(&name), "{shared}");
    let (code, told, failed) = host.ctl(None, &["index", "unshare", &name]);
    assert_eq!(code, 0, "{told}{failed}");
    assert!(bobs.call("knowledge_search", json!({ "query": "zeppelin" })).is_err());
    let found = annes.call("knowledge_search", json!({ "query": "zeppelin sold" })).unwrap();
    assert!(found.to_string().contains("will be sold"), "{found}");
}

#[test]
fn what_lies_below_a_closed_directory_is_shared_with_nobody() {
    let Some(mut host) = Host::start() else { return };
    fs::write(host.path.join("config.toml"), "[policy]\nworkspaces = ['/var/tmp/*/*/*', '/home/*/*']\n")
        .unwrap();
    host.replace_daemon();
    let [ann, bob] = host.users();
    let top = tempfile::tempdir_in("/var/tmp").unwrap();
    share(top.path(), 0o755);
    // For her alone, with a directory in it that is for everybody.
    let closed = top.path().join("closed");
    let docs = closed.join("docs");
    fs::create_dir_all(&docs).unwrap();
    fs::write(docs.join("open.md"), "# Open\n\nThe zeppelin is blue.\n").unwrap();
    for path in [&closed, &docs, &docs.join("open.md")] {
        std::os::unix::fs::chown(path, Some(ann.uid), Some(ann.gid)).unwrap();
    }
    share(&closed, 0o700);
    share(&docs, 0o755);
    let mut annes = host.client(&ann, &docs, json!({}));
    let added = annes.call("knowledge_add_collection", json!({ "name": "docs" })).unwrap();
    assert_eq!(added["files"], 1, "{added}");
    let (code, told, failed) = host.ctl(None, &["index", "share", "docs", "--user", &ann.name]);
    assert_eq!(code, 0, "{told}{failed}");
    let found = annes.call("knowledge_search", json!({ "query": "zeppelin" })).unwrap();
    assert_eq!(found["found"], json!([]), "{found}");
    let mut bobs = host.client(&bob, &bob.project(), json!({}));
    let listed = bobs.call("knowledge_list_collections", json!({})).unwrap();
    assert_eq!(listed["collections"][0]["files"], 0, "{listed}");
    // Opened for all, it is found by all.
    share(&closed, 0o755);
    annes.call("knowledge_refresh_collection", json!({ "name": "docs" })).unwrap();
    let glob = format!("{}/**", docs.display());
    let found = bobs.call("knowledge_search", json!({ "query": "zeppelin", "path": glob })).unwrap();
    assert_eq!(found["found"][0]["path"], json!(docs.join("open.md")), "{found}");
}

#[test]
fn what_a_rule_denies_is_hidden_in_a_shared_collection_by_either_of_its_names() {
    let Some(mut host) = Host::start() else { return };
    let [ann, bob] = host.users();
    let place = tempfile::tempdir_in("/var/tmp").unwrap();
    share(place.path(), 0o755);
    std::os::unix::fs::chown(place.path(), Some(ann.uid), Some(ann.gid)).unwrap();
    let whole = place.path().display();
    fs::write(
        host.path.join("config.toml"),
        format!(
            "[policy]\nworkspaces = ['/var/tmp/*', '/var/tmp/*/*/*', '/home/*/*']\n\
             [[policy.rules]]\nname = 'by place'\nverdict = 'deny'\nusers = ['{0}']\ntools = ['files_read']\narguments = {{ path = {{ under = 'closed' }} }}\n\
             [[policy.rules]]\nname = 'by path'\nverdict = 'deny'\nusers = ['{0}']\ntools = ['files_read']\narguments = {{ path = '{whole}/hidden/*' }}\n",
            bob.name
        ),
    )
    .unwrap();
    host.replace_daemon();
    let write = "mkdir -p closed/inner hidden && for f in open closed/inner/one hidden/two; do printf 'The zeppelin of %s flies.' $f > $f.md; done && chmod -R a+rX .";
    let _ = ann.sh(&format!("cd {whole} && {write}"));
    let mut annes = host.client(&ann, place.path(), json!({}));
    annes.call("knowledge_add_collection", json!({ "name": "zeppelin" })).unwrap();
    let (code, told, failed) = host.ctl(None, &["index", "share", "zeppelin", "--user", &ann.name]);
    assert_eq!(code, 0, "{told}{failed}");
    let found = annes.call("knowledge_search", json!({ "query": "zeppelin" })).unwrap();
    assert_eq!(found["found"].as_array().unwrap().len(), 3, "{found}");

    // What is in his own workspace by that name says nothing of hers.
    let own = bob.project();
    let _ = bob
        .sh(&format!("cd {} && mkdir -p closed elsewhere && ln -s ../elsewhere closed/inner", own.display()));
    let mut bobs = host.client(&bob, &own, json!({}));
    let found = bobs.call("knowledge_search", json!({ "query": "zeppelin" })).unwrap();
    let paths: Vec<_> = found["found"].as_array().unwrap().iter().map(|one| one["path"].clone()).collect();
    assert_eq!(paths, [json!(place.path().join("open.md"))], "{found}");
    let name = format!("{}/zeppelin", ann.name);
    for hidden in ["closed/inner/one.md", "hidden/two.md"] {
        let path = place.path().join(hidden).display().to_string();
        let id = format!("{path}#0");
        for (tool, input) in [
            ("knowledge_read_chunk", json!({ "collection": name, "id": id })),
            ("knowledge_outline_file", json!({ "path": path })),
        ] {
            let refused = bobs.call(tool, input).unwrap_err();
            assert!(!refused.contains("flies"), "{tool} {hidden}: {refused}");
        }
    }
}
