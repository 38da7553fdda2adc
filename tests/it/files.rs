//! The files family.

mod attributes;

use serde_json::{Value, json};
use skynet_tests::workbench::{Setup, Workbench};
use std::{
    fs,
    os::unix::{ffi::OsStrExt as _, fs::PermissionsExt as _, fs::symlink},
    path::Path,
    sync::Arc,
};

fn bench() -> Workbench {
    Workbench::new(Setup::default())
}

fn make_fifo(bench: &Workbench, path: &str) {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    mknodat(CWD, bench.root.join(path), FileType::Fifo, Mode::RUSR, 0).unwrap();
}

const HELLO: &str = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";

#[tokio::test]
async fn listing_shows_links_and_survives_dangling_ones() {
    let bench = bench();
    bench.write("b/inner", "x");
    bench.write("a.txt", "hello\n");
    bench.write(".hidden", "");
    symlink("a.txt", bench.root.join("good")).unwrap();
    symlink("nowhere", bench.root.join("lost")).unwrap();
    symlink("/etc", bench.root.join("out")).unwrap();
    let link = |name: &str, target: &str, leads: &str| json!({ "name": name, "kind": "symlink", "target": target, "leads": leads });
    let entries = json!([
        { "name": "a.txt" },
        { "name": "b", "kind": "directory" },
        link("good", "a.txt", "inside"),
        link("lost", "nowhere", "dangling"),
        link("out", "/etc", "outside"),
    ]);
    bench.check("files_list", json!({}), json!({ "entries": entries, "total": 5, "truncated": false })).await;
    let page = json!({ "entries": [{ "name": "b", "kind": "directory" }], "total": 4, "truncated": true });
    bench.check("files_list", json!({ "after": "a.txt", "limit": 1 }), page).await;
    bench.check_refused("files_list", json!({ "path": "out" }), "denied", "leads out of the workspace").await;
    bench.check_refused("files_list", json!({ "path": "a.txt" }), "invalid_input", "not a directory").await;
}

#[tokio::test]
async fn names_that_are_no_utf8_are_listed() {
    let bench = bench();
    fs::write(bench.root.join(std::ffi::OsStr::from_bytes(b"bad\xff")), "x").unwrap();
    let entries = json!([{ "name": "bad\u{fffd}" }]);
    bench.check("files_list", json!({}), json!({ "entries": entries, "total": 1, "truncated": false })).await;
    let tree = json!({ "tree": "bad\u{fffd}\n", "directories": 0, "files": 1, "truncated": false });
    bench.check("files_tree", json!({}), tree).await;
}

#[tokio::test]
async fn a_tree_respects_ignore_files_and_depth() {
    let bench = bench();
    for path in ["src/deep/er/x.rs", "target/out", "README", ".git/config"] {
        bench.write(path, "");
    }
    bench.write(".gitignore", "target/\n");
    let tree = json!({ "tree": "README\nsrc/\n  deep/\n", "directories": 2, "files": 1, "truncated": false });
    bench.check("files_tree", json!({ "depth": 2 }), tree).await;
}

#[tokio::test]
async fn reading_by_lines_and_encodings() {
    let bench = bench();
    bench.write("a", "one\ntwo\nthree\n");
    let second = json!({
        "content": "two\n", "encoding": "UTF-8", "size_bytes": 14,
        "sha256": "b6285c57e8797db5d4c51c80d6f11938afda9b11c6a003549709189e9b4b92a2",
        "start_line": 2, "total_lines": 3, "next": 3,
    });
    bench.check("files_read", json!({ "path": "a", "start_line": 2, "line_count": 1 }), second).await;
    bench.write("latin", b"caf\xe9");
    assert_eq!(bench.call("files_read", json!({ "path": "latin" })).await.unwrap()["content"], "café");
    bench.write("binary", b"\0\x01\x02");
    bench
        .check_refused("files_read", json!({ "path": "binary" }), "invalid_input", "binary file of 3 bytes")
        .await;
    let bytes = bench.call("files_read", json!({ "path": "binary", "encoding": "base64" })).await.unwrap();
    assert_eq!(bytes["content"], "AAEC");
    bench
        .check_refused("files_read", json!({ "path": "a", "start_line": 9 }), "invalid_input", "has 3 lines")
        .await;
}

#[tokio::test]
async fn what_is_no_file_of_the_workspace_cannot_be_read() {
    let bench = bench();
    bench.write("dir/file", "x");
    make_fifo(&bench, "fifo");
    symlink("/dev/zero", bench.root.join("zero")).unwrap();
    symlink("loop", bench.root.join("loop")).unwrap();
    let sparse = fs::File::create(bench.root.join("sparse")).unwrap();
    sparse.set_len(10 << 30).unwrap();
    for (path, kind, part) in [
        ("fifo", "invalid_input", "no regular file but a Fifo"),
        ("zero", "denied", "leads out of the workspace"),
        ("/dev/zero", "denied", "outside of the workspace"),
        ("../outside", "denied", "leads out of the workspace"),
        ("dir/../../outside", "denied", "leads out of the workspace"),
        ("a\0b", "invalid_input", "NUL"),
        ("", "invalid_input", "empty"),
        ("loop", "invalid_input", "loop of symbolic links"),
        ("dir", "invalid_input", "is a directory"),
        ("missing", "not_found", "does not exist"),
        ("sparse", "invalid_input", "binary file of 10737418240 bytes"),
    ] {
        bench.check_refused("files_read", json!({ "path": path }), kind, part).await;
    }
    let end = json!({ "path": "sparse", "encoding": "base64", "offset_bytes": (10_u64 << 30) - 3 });
    assert_eq!(bench.call("files_read", end).await.unwrap()["content"], "AAAA");
}

#[tokio::test]
async fn a_large_text_file_is_read_in_parts() {
    let bench = bench();
    let line = "0123456789abcde\n";
    bench.write("large", line.repeat(1 << 20));
    let found = bench
        .call("files_read", json!({ "path": "large", "start_line": 1_000_000, "line_count": 1 }))
        .await
        .unwrap();
    assert_eq!((&found["content"], &found["next"]), (&json!(line), &json!(1_000_001)));
    bench
        .check_refused(
            "files_read",
            json!({ "path": "large", "start_line": 2_000_000 }),
            "invalid_input",
            "lines",
        )
        .await;
}

#[tokio::test]
async fn writing_is_guarded_atomic_and_keeps_permissions() {
    let bench = bench();
    let written = json!({ "path": "new/dir/f", "sha256": HELLO, "size_bytes": 6, "created": true });
    bench.check("files_write", json!({ "path": "new/dir/f", "content": "hello\n" }), written).await;
    let path = bench.root.join("new/dir/f");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o751)).unwrap();
    let wrong = json!({ "path": "new/dir/f", "content": "x", "expected_sha256": "0".repeat(64) });
    bench.check_refused("files_write", wrong, "conflict", "was changed since you read it").await;
    let right = json!({ "path": "new/dir/f", "content": "x", "expected_sha256": HELLO });
    assert_eq!(bench.call("files_write", right).await.unwrap()["created"], false);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o751);
    let fail = json!({ "path": "new/dir/f", "content": "y", "if_exists": "fail" });
    bench.check_refused("files_write", fail, "conflict", "exists already").await;
    assert_eq!(bench.read("new/dir/f"), "x");
    let left: Vec<_> =
        fs::read_dir(bench.root.join("new/dir")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["f"], "no temporary file stays");
}

#[tokio::test]
async fn what_other_programs_run_cannot_be_written() {
    let bench = bench();
    bench.write(".git/hooks/sample", "");
    bench.write("sub/x", "");
    symlink(".git", bench.root.join("innocent")).unwrap();
    for path in [
        ".git/hooks/pre-commit",
        "innocent/hooks/pre-commit",
        "sub/.envrc",
        ".mcp.json",
        ".VSCODE/tasks.json",
        "sub/.git",
    ] {
        bench
            .check_refused(
                "files_write",
                json!({ "path": path, "content": "x" }),
                "denied",
                "what other programs of the user run",
            )
            .await;
    }
    bench
        .check_refused("files_move", json!({ "from": "sub", "to": ".claude" }), "denied", "cannot be changed")
        .await;
    bench.check_refused("files_delete", json!({ "path": ".git" }), "denied", "cannot be changed").await;
}

#[tokio::test]
async fn writing_follows_links_that_stay_inside_only() {
    let bench = bench();
    bench.write("real", "old");
    symlink("real", bench.root.join("link")).unwrap();
    symlink("/tmp/skynet-test-outside", bench.root.join("out")).unwrap();
    assert_eq!(
        bench.call("files_write", json!({ "path": "link", "content": "new" })).await.unwrap()["path"],
        "real"
    );
    assert_eq!(bench.read("real"), "new");
    assert!(bench.root.join("link").is_symlink());
    bench.check_refused("files_write", json!({ "path": "out", "content": "x" }), "denied", "leads out").await;
    assert!(!Path::new("/tmp/skynet-test-outside").exists());
}

#[tokio::test]
async fn a_read_only_directory_is_said_and_left_as_it_is() {
    let bench = bench();
    bench.write("locked/f", "x");
    fs::set_permissions(bench.root.join("locked"), fs::Permissions::from_mode(0o555)).unwrap();
    if !rustix::process::geteuid().is_root() {
        bench
            .check_refused(
                "files_write",
                json!({ "path": "locked/f", "content": "y" }),
                "denied",
                "permission denied",
            )
            .await;
        bench
            .check_refused("files_delete", json!({ "path": "locked/f" }), "denied", "permission denied")
            .await;
    }
    assert_eq!(bench.read("locked/f"), "x");
    fs::set_permissions(bench.root.join("locked"), fs::Permissions::from_mode(0o755)).unwrap();
}

#[tokio::test]
async fn edits_are_all_or_nothing() {
    let bench = bench();
    bench.write("f", "one\ntwo\n");
    let edits = json!([{ "old": "one", "new": "1" }, { "old": "missing", "new": "" }]);
    bench
        .check_refused(
            "files_edit",
            json!({ "path": "f", "edits": edits }),
            "conflict",
            "edit 2: `old` is not in the file",
        )
        .await;
    assert_eq!(bench.read("f"), "one\ntwo\n");
    let edit = json!({ "path": "f", "edits": [{ "old": "one", "new": "1" }] });
    let diff = "--- a/f\n+++ b/f\n@@ -1,2 +1,2 @@\n-one\n+1\n two\n";
    let mut dry = edit.clone();
    dry["dry_run"] = true.into();
    let shown = bench.call("files_edit", dry).await.unwrap();
    assert_eq!((&shown["diff"], &shown["written"]), (&json!(diff), &json!(false)));
    assert_eq!(bench.call("files_edit", edit).await.unwrap()["written"], true);
    let back = "--- a/f\n+++ b/f\n@@ -1,2 +1,2 @@\n-1\n+one\n two\n";
    assert_eq!(
        bench.call("files_edit", json!({ "path": "f", "diff": back })).await.unwrap()["written"],
        true
    );
    assert_eq!(bench.read("f"), "one\ntwo\n");
    bench
        .check_refused("files_edit", json!({ "path": "f" }), "invalid_input", "give `edits` or `diff`")
        .await;
    bench.check_refused("files_edit", json!({ "path": "g", "diff": back }), "not_found", "files_write").await;
}

#[tokio::test]
async fn searching_is_like_ripgrep() {
    let bench = bench();
    bench.write("src/a.rs", "fn main() {}\n// Fn\n");
    bench.write("src/b.txt", "fn other\n");
    bench.write("ignored/c.rs", "fn hidden\n");
    bench.write("binary", b"fn\0");
    bench.write(".gitignore", "ignored\n");
    let found = |path: &str, line: u64, text: &str| json!({ "path": path, "line": line, "text": text });
    let rust = json!({ "matches": [found("src/a.rs", 1, "fn main() {}"), found("src/a.rs", 2, "// Fn")], "files_searched": 1, "truncated": false });
    bench.check("files_search", json!({ "pattern": "fn", "glob": "*.rs" }), rust).await;
    let one = json!({ "matches": [found("src/a.rs", 2, "// Fn")], "files_searched": 3, "truncated": false });
    bench.check("files_search", json!({ "pattern": "Fn" }), one).await;
    let after = json!({ "path": "src/a.rs", "line": 2, "text": "// Fn", "context": true });
    let context = json!({ "matches": [found("src/a.rs", 1, "fn main() {}"), after], "files_searched": 1, "truncated": false });
    let search = json!({ "pattern": "fn \\w+\\(", "context": 1, "limit": 1, "path": "src/a.rs" });
    bench.check("files_search", search, context).await;
    bench
        .check_refused("files_search", json!({ "pattern": "(" }), "invalid_input", "no regular expression")
        .await;
    assert_eq!(
        bench.call("files_search", json!({ "pattern": "main()", "literal": true })).await.unwrap()["matches"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    let limited = bench.call("files_search", json!({ "pattern": "fn", "limit": 1 })).await.unwrap();
    assert_eq!((limited["matches"].as_array().unwrap().len(), &limited["truncated"]), (1, &json!(true)));
}

#[tokio::test]
async fn finding_by_glob() {
    let bench = bench();
    for path in ["src/a.rs", "src/deep/b.rs", "c.txt", ".x/d.rs"] {
        bench.write(path, "");
    }
    let answer = |paths: Value| json!({ "paths": paths, "truncated": false });
    bench
        .check("files_find", json!({ "pattern": "*.rs" }), answer(json!(["src/a.rs", "src/deep/b.rs"])))
        .await;
    bench.check("files_find", json!({ "pattern": "src/*.rs" }), answer(json!(["src/a.rs"]))).await;
    bench
        .check(
            "files_find",
            json!({ "pattern": "*", "kind": "directory" }),
            answer(json!(["src", "src/deep"])),
        )
        .await;
    bench
        .check(
            "files_find",
            json!({ "pattern": "*.rs", "path": "src/deep" }),
            answer(json!(["src/deep/b.rs"])),
        )
        .await;
    bench.check_refused("files_find", json!({ "pattern": "[" }), "invalid_input", "no glob").await;
}

#[tokio::test]
async fn stat_describes_a_link_and_not_its_target() {
    let bench = bench();
    bench.write("f", "hello\n");
    symlink("f", bench.root.join("l")).unwrap();
    let file = bench.call("files_stat", json!({ "path": "f" })).await.unwrap();
    assert_eq!(
        (&file["kind"], &file["size_bytes"], &file["sha256"]),
        (&json!("file"), &json!(6), &json!(HELLO))
    );
    let link = bench.call("files_stat", json!({ "path": "l" })).await.unwrap();
    assert_eq!(
        (&link["kind"], &link["link"]),
        (&json!("symlink"), &json!({ "target": "f", "leads": "inside" }))
    );
}

#[tokio::test]
async fn moving_and_copying_never_replace_unasked() {
    let bench = bench();
    bench.write("a/one", "1");
    bench.write("two", "2");
    symlink("one", bench.root.join("a/link")).unwrap();
    bench
        .check("files_move", json!({ "from": "two", "to": "b/two" }), json!({ "from": "two", "to": "b/two" }))
        .await;
    bench
        .check_refused("files_move", json!({ "from": "a/one", "to": "b/two" }), "conflict", "exists already")
        .await;
    bench
        .check(
            "files_copy",
            json!({ "from": "a", "to": "c" }),
            json!({ "to": "c", "files": 1, "size_bytes": 1, "skipped": [] }),
        )
        .await;
    assert!(bench.root.join("c/link").is_symlink());
    bench.check_refused("files_copy", json!({ "from": "a", "to": "c" }), "conflict", "exists already").await;
    bench
        .check_refused("files_copy", json!({ "from": "a", "to": "a/b" }), "invalid_input", "lies inside")
        .await;
    for from in [".", "a/../a"] {
        bench
            .check_refused(
                "files_copy",
                json!({ "from": from, "to": "a/in" }),
                "invalid_input",
                "lies inside",
            )
            .await;
    }
    let replaced = json!({ "to": "b/two", "files": 1, "size_bytes": 1, "skipped": [] });
    bench.check("files_copy", json!({ "from": "a/one", "to": "b/two", "overwrite": true }), replaced).await;
    assert_eq!(bench.read("b/two"), "1");
}

#[tokio::test]
async fn a_copy_is_whole_or_not_there() {
    let bench = bench();
    bench.write("tree/a", "1");
    bench.write("tree/deep/secret", "2");
    let secret = bench.root.join("tree/deep/secret");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o000)).unwrap();
    let copy = json!({ "from": "tree", "to": "copy" });
    bench.check_refused("files_copy", copy.clone(), "denied", "tree/deep/secret").await;
    let names = || {
        let mut names: Vec<_> =
            fs::read_dir(&bench.root).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(names(), ["tree"]);
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o640)).unwrap();
    // Together these three would be a repository, with a configuration that names programs.
    for name in ["HEAD", "objects", "refs", ".envrc"] {
        bench.write(&format!("tree/{name}"), "x");
    }
    let answer = bench.call("files_copy", copy).await.unwrap();
    assert_eq!((&answer["files"], answer["skipped"].as_array().unwrap().len()), (&json!(4), 2), "{answer}");
    assert_eq!(names(), ["copy", "tree"]);
    let mode = fs::metadata(bench.root.join("copy/deep/secret")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
    let onto = json!({ "from": "tree/a", "to": "copy", "overwrite": true });
    bench.check_refused("files_copy", onto, "conflict", "neither merged nor replaced").await;
    make_fifo(&bench, "fifo");
    let fifo = json!({ "from": "fifo", "to": "other" });
    bench.check_refused("files_copy", fifo, "invalid_input", "cannot be copied").await;
}

#[tokio::test]
async fn what_is_deleted_can_be_restored() {
    let bench = bench();
    for content in ["first", "second"] {
        bench.write("d/f", content);
        bench.call("files_delete", json!({ "path": "d/f" })).await.unwrap();
    }
    assert!(!bench.root.join("d/f").exists());
    bench.check_refused("files_restore", json!({ "trash_id": "x" }), "not_found", "`f` (was `d/f`)").await;
    assert_eq!(bench.call("files_restore", json!({ "trash_id": "f.2" })).await.unwrap()["path"], "d/f");
    assert_eq!(bench.read("d/f"), "second");
    bench.check_refused("files_restore", json!({ "trash_id": "f" }), "conflict", "exists already").await;
    assert_eq!(
        bench.call("files_restore", json!({ "trash_id": "f", "to": "g" })).await.unwrap()["path"],
        "g"
    );
    let uid = rustix::process::getuid().as_raw();
    bench
        .check_refused(
            "files_write",
            json!({ "path": format!(".Trash-{uid}/files/x"), "content": "" }),
            "denied",
            "cannot be changed",
        )
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn calls_that_change_one_file_are_made_one_after_the_other() {
    let bench = Arc::new(bench());
    bench.write("log", "end");
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..40 {
        // A path is the same however it is written.
        let path = ["log", "./log"][number % 2];
        let input = json!({ "path": path, "edits": [{ "old": "end", "new": format!("{number},end") }] });
        let bench = bench.clone();
        calls.spawn(async move { bench.call("files_edit", input).await.unwrap() });
    }
    calls.join_all().await;
    let text = bench.read("log");
    assert_eq!(text.split(',').count(), 41, "{text}");
}

#[tokio::test]
async fn a_copy_has_the_holes_of_what_it_is_of() {
    use std::os::unix::fs::{FileExt as _, MetadataExt as _};
    let bench = bench();
    let file = fs::File::create_new(bench.root.join("sparse")).unwrap();
    let length = 256 << 20;
    file.set_len(length).unwrap();
    file.write_all_at(b"middle", 100 << 20).unwrap();
    let held = file.metadata().unwrap().blocks() * 512;
    if held == length {
        skynet_tests::components::skip("holes", "this filesystem has none");
        return;
    }
    let answer = bench.call("files_copy", json!({ "from": "sparse", "to": "copy" })).await.unwrap();
    assert_eq!(answer["size_bytes"], json!(length));
    let copy = fs::File::open(bench.root.join("copy")).unwrap();
    let metadata = copy.metadata().unwrap();
    assert_eq!(metadata.len(), length);
    assert!(metadata.blocks() * 512 < 16 << 20, "{} blocks", metadata.blocks());
    let mut middle = [0; 8];
    copy.read_exact_at(&mut middle, (100 << 20) - 1).unwrap();
    assert_eq!(&middle, b"\0middle\0");
}
