//! What calls changed is shown, and taken back.

use crate::preview::tree_of;
use serde_json::{Value, json};
use skynet_tests::programs::{Daemon, Home, Shim};
use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

struct Bench {
    shim: Shim,
    home: Home,
    daemon: Option<Daemon>,
}

impl Bench {
    fn new() -> Self {
        let home = Home::new();
        home.configure("[[policy.rules]]\nname = 'all'\nverdict = 'allow'\neffects = ['destroy']\n");
        let daemon = Some(Daemon::start(&home));
        let shim = Shim::connected(&home, "2025-11-25", json!({}));
        let bench = Self { shim, home, daemon };
        for (name, content) in
            [("a", "one\n"), ("b", "two\n"), ("run.sh", "#!/bin/sh\n"), ("dir/c", "three\n")]
        {
            fs::create_dir_all(bench.path(name).parent().unwrap()).unwrap();
            fs::write(bench.path(name), content).unwrap();
        }
        fs::set_permissions(bench.path("run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
        bench
    }

    fn call(&mut self, tool: &str, input: Value) -> Value {
        self.shim.call(tool, input.clone()).unwrap_or_else(|err| panic!("{tool} {input}: {err}"))
    }

    /// The newest call that changed something.
    fn newest(&mut self) -> Value {
        self.call("undo_list_changes", json!({ "limit": 1, "diffs": true }))["calls"][0].clone()
    }

    fn revert(&mut self, call: &Value) -> Result<Value, String> {
        self.shim.call("undo_revert_call", json!({ "call": call["call"] }))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.project.join(name)
    }

    /// Without the trash, where things stay.
    fn tree(&self) -> BTreeMap<PathBuf, String> {
        let mut tree = tree_of(&self.home.project);
        tree.retain(|path, _| !path.to_string_lossy().contains(".Trash"));
        tree
    }
}

fn edit(path: &str, old: &str, new: &str) -> (&'static str, Value) {
    ("files_edit", json!({ "path": path, "edits": [{ "old": old, "new": new }] }))
}

#[test]
fn each_change_of_a_file_is_taken_back_exactly_and_so_is_that() {
    let mut bench = Bench::new();
    let calls = [
        edit("a", "one", "uno"),
        ("files_write", json!({ "path": "new/deep/file", "content": "x" })),
        ("files_write", json!({ "path": "run.sh", "content": "#!/bin/false\n", "if_exists": "replace" })),
        ("files_delete", json!({ "path": "b" })),
        ("files_move", json!({ "from": "a", "to": "dir/moved" })),
        ("files_move", json!({ "from": "a", "to": "b", "overwrite": true })),
        ("files_copy", json!({ "from": "a", "to": "copy" })),
        ("files_delete", json!({ "path": "dir" })),
        ("files_move", json!({ "from": "dir", "to": "new/deep/dir" })),
        ("files_copy", json!({ "from": "dir", "to": "new/copy" })),
    ];
    for (tool, input) in calls {
        let before = bench.tree();
        bench.call(tool, input.clone());
        let changed = bench.tree();
        assert_ne!(changed, before, "{tool} {input}");
        let call = bench.newest();
        assert_eq!((&call["tool"], call.get("not_undoable")), (&json!(tool), None), "{call}");
        bench.revert(&call).unwrap_or_else(|err| panic!("{tool} {input}: {err}"));
        assert_eq!(bench.tree(), before, "{tool} {input}");
        // Taking back is a change like any other.
        let undone = bench.newest();
        assert_eq!(undone["tool"], "undo_revert_call");
        bench.revert(&undone).unwrap();
        assert_eq!(bench.tree(), changed, "{tool} {input}");
        let again = bench.newest();
        bench.revert(&again).unwrap();
    }
}

#[test]
fn changes_are_shown_with_diffs_by_path_and_call() {
    let mut bench = Bench::new();
    let (tool, input) = edit("a", "one", "uno");
    bench.call(tool, input);
    bench.call("files_write", json!({ "path": "dir/d", "content": "new\n" }));
    let all = bench.call("undo_list_changes", json!({ "diffs": true }));
    assert_eq!(all["calls_count"], 2);
    let edited = &all["calls"][1];
    assert_eq!(edited["changes"][0]["diff"], "--- a/a\n+++ b/a\n@@ -1 +1 @@\n-one\n+uno\n");
    let below = bench.call("undo_list_changes", json!({ "path": "dir" }));
    assert_eq!((&below["calls_count"], &below["calls"][0]["tool"]), (&json!(1), &json!("files_write")));
    let one = bench.call("undo_list_changes", json!({ "call": edited["call"] }));
    assert_eq!(one["calls"][0]["call"], edited["call"]);
    // A later change leaves both versions kept.
    let (tool, input) = edit("a", "uno", "ein");
    bench.call(tool, input);
    let one = bench.call("undo_list_changes", json!({ "call": edited["call"], "diffs": true }));
    assert_eq!(one["calls"][0]["changes"][0]["diff"], edited["changes"][0]["diff"]);
    // To look at what would happen changes nothing.
    let before = bench.tree();
    let newest = bench.newest();
    let shown = bench.call("undo_revert_call", json!({ "call": newest["call"], "dry_run": true }));
    assert_eq!((&shown["applied"], &shown["changes"][0]["happens"]), (&json!(false), &json!("changed")));
    assert_eq!(bench.tree(), before);
}

#[test]
fn what_was_changed_since_is_never_touched() {
    let mut bench = Bench::new();
    let (tool, input) = edit("a", "one", "uno");
    bench.call(tool, input);
    let edited = bench.newest();
    bench.call("files_write", json!({ "path": "made/x", "content": "x" }));
    let written = bench.newest();
    fs::write(bench.path("a"), "mine\n").unwrap();
    let refused = bench.revert(&edited).unwrap_err();
    assert!(refused.contains("`a` was changed since by something else"), "{refused}");
    assert_eq!(fs::read_to_string(bench.path("a")).unwrap(), "mine\n");
    // One conflict is enough for nothing of a session to be taken back.
    let refused = bench.shim.call("undo_revert_session", json!({})).unwrap_err();
    assert!(refused.contains("conflict") && bench.path("made/x").exists(), "{refused}");
    // A link in its place is not followed.
    fs::remove_file(bench.path("made/x")).unwrap();
    fs::write(bench.home.path.join("outside"), "x").unwrap();
    std::os::unix::fs::symlink(bench.home.path.join("outside"), bench.path("made/x")).unwrap();
    let refused = bench.revert(&written).unwrap_err();
    assert!(refused.contains("`made/x` was changed since"), "{refused}");
    // A directory that the call made stays for what else is in it.
    fs::remove_file(bench.path("made/x")).unwrap();
    fs::write(bench.path("made/x"), "x").unwrap();
    fs::set_permissions(bench.path("made/x"), fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(bench.path("made/other"), "").unwrap();
    let taken = bench.revert(&written).unwrap();
    assert_eq!(taken["kept_directories"], json!(["made"]), "{taken}");
    assert!(!bench.path("made/x").exists() && bench.path("made/other").exists());
}

#[test]
fn a_directory_comes_back_only_as_it_was_left() {
    let mut bench = Bench::new();
    bench.call("files_move", json!({ "from": "dir", "to": "moved" }));
    let moved = bench.newest();
    bench.call("files_copy", json!({ "from": "moved", "to": "copy" }));
    let copied = bench.newest();
    bench.call("files_delete", json!({ "path": "copy" }));
    let deleted = bench.newest();
    let left = bench.tree();
    let shown = bench.call("undo_revert_call", json!({ "call": moved["call"], "dry_run": true }));
    let happens: Vec<_> = shown["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|change| (change["path"].as_str().unwrap(), change["happens"].as_str().unwrap()))
        .collect();
    assert_eq!(happens, [("moved", "deleted"), ("dir", "created")]);
    assert_eq!(bench.tree(), left);
    // It is not there as it was left: deleted, changed inside, or its place is taken.
    let refused = bench.revert(&copied).unwrap_err();
    assert!(refused.starts_with("conflict") && refused.contains("`copy`"), "{refused}");
    fs::write(bench.path("moved/mine"), "mine").unwrap();
    let refused = bench.revert(&moved).unwrap_err();
    assert!(refused.starts_with("conflict") && refused.contains("`moved`"), "{refused}");
    fs::create_dir(bench.path("copy")).unwrap();
    let refused = bench.revert(&deleted).unwrap_err();
    assert!(refused.starts_with("conflict") && refused.contains("`copy` exists again"), "{refused}");
    fs::remove_dir(bench.path("copy")).unwrap();
    assert_eq!(fs::read_to_string(bench.path("moved/mine")).unwrap(), "mine");
    // Where other calls of the session changed what it holds, each is taken back by itself.
    let (tool, input) = edit("moved/c", "three", "drei");
    bench.call(tool, input);
    let taken = bench.call("undo_revert_session", json!({ "dry_run": true }));
    let why: Vec<_> =
        taken["left"].as_array().unwrap().iter().map(|left| left["why"].as_str().unwrap()).collect();
    assert!(why.iter().any(|why| why.contains("one by one")), "{taken}");
    bench.revert(&deleted).unwrap();
    assert_eq!(fs::read_to_string(bench.path("copy/c")).unwrap(), "three\n");
    // What the trash does not hold any more is not brought back.
    bench.call("files_delete", json!({ "path": "copy" }));
    let deleted = bench.newest();
    let uid = rustix::process::getuid().as_raw();
    fs::remove_dir_all(bench.path(&format!(".Trash-{uid}"))).unwrap();
    let refused = bench.revert(&deleted).unwrap_err();
    assert!(refused.contains("cannot be brought back"), "{refused}");
}

#[test]
fn nobody_is_given_more_than_he_had() {
    let mut bench = Bench::new();
    let path = bench.path("a");
    let nobody = u32::MAX;
    let mut list = 2_u32.to_le_bytes().to_vec();
    // For somebody else too (linux/posix_acl_xattr.h).
    for (kind, rights, id) in
        [(1_u16, 6_u16, nobody), (2, 7, 12_345), (4, 4, nobody), (16, 7, nobody), (32, 4, nobody)]
    {
        list.extend([kind.to_le_bytes(), rights.to_le_bytes()].concat());
        list.extend(id.to_le_bytes());
    }
    let attribute = "system.posix_acl_access";
    match rustix::fs::setxattr(&path, attribute, &list, rustix::fs::XattrFlags::empty()) {
        Err(rustix::io::Errno::NOTSUP) => {
            skynet_tests::components::skip(attribute, "this filesystem has no such attribute");
            return;
        }
        set => set.unwrap(),
    }
    let mode = |path: &PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o674);
    bench.call("files_delete", json!({ "path": "a" }));
    let call = bench.newest();
    // The file that comes is a new one without the list: its mask would now be what the group may, and whom it denied what
    // everybody could nobody knows.
    let taken = bench.revert(&call).unwrap();
    assert_eq!(taken["narrowed"], json!(["a"]), "{taken}");
    assert_eq!(mode(&path), 0o600);
    assert_eq!(fs::read_to_string(&path).unwrap(), "one\n");
    // What is recorded is what it really has, so it can be taken back too.
    let undone = bench.newest();
    bench.revert(&undone).unwrap();
    assert!(!path.exists());
}

/// Runs Git of this host in a repository.
fn git_in(project: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new("git");
    // Or `git status` and `git diff` would write the index.
    command.arg("-C").arg(project).args(["-c", "diff.autoRefreshIndex=false"]).args(arguments);
    command.env("GIT_OPTIONAL_LOCKS", "0");
    let output = command.output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A repository with one commit, of `a`.
fn make_repository(project: &Path) {
    for arguments in [
        &["init", "-q", "-b", "main"][..],
        &["config", "user.name", "a"],
        &["config", "user.email", "a@x"],
        &["add", "a"],
        &["commit", "-q", "-m", "first"],
    ] {
        git_in(project, arguments);
    }
}

#[test]
fn a_session_is_taken_back_but_for_a_directory_that_was_changed_and_moved() {
    let mut bench = Bench::new();
    for (tool, input) in [
        // Changed again by the next one, which stays.
        edit("b", "two", "zwei"),
        ("files_move", json!({ "from": "b", "to": "dir/b" })),
        edit("dir/c", "three", "drei"),
        ("files_move", json!({ "from": "dir", "to": "moved" })),
        edit("a", "one", "uno"),
    ] {
        bench.call(tool, input);
    }
    let before = bench.tree();
    let shown = bench.call("undo_revert_session", json!({ "dry_run": true }));
    assert_eq!(bench.tree(), before);
    let taken = bench.call("undo_revert_session", json!({}));
    for answer in [&shown, &taken] {
        assert_eq!(answer["calls"].as_array().unwrap().len(), 1, "{answer}");
        let left = answer["left"].as_array().unwrap();
        assert_eq!(left.len(), 4, "{answer}");
        assert!(left.iter().all(|left| left["why"].as_str().unwrap().contains("one by one")), "{answer}");
    }
    assert_eq!(fs::read_to_string(bench.path("a")).unwrap(), "one\n");
    assert_eq!(fs::read_to_string(bench.path("moved/c")).unwrap(), "drei\n");
    assert_eq!(fs::read_to_string(bench.path("moved/b")).unwrap(), "zwei\n");
}

#[test]
fn what_would_be_refused_is_not_shown_either() {
    let mut bench = Bench::new();
    let (tool, input) = edit("a", "one", "uno");
    bench.call(tool, input);
    fs::write(bench.path("a"), "mine\n").unwrap();
    let refused = bench.shim.call("undo_revert_session", json!({ "dry_run": true })).unwrap_err();
    assert!(refused.starts_with("conflict") && refused.contains("`a` was changed since"), "{refused}");
}

#[test]
fn what_no_tool_may_write_blocks_no_other_call() {
    let mut bench = Bench::new();
    make_repository(&bench.home.project.clone());
    let (tool, input) = edit("a", "one", "uno");
    bench.call(tool, input);
    // A name that other programs read, also below the branches.
    bench.call("git_branch", json!({ "action": "create", "name": "opencode.json" }));
    let call = bench.newest();
    assert!(call["not_undoable"].as_str().unwrap().contains("/opencode.json`"), "{call}");
    let refused = bench.revert(&call).unwrap_err();
    assert!(refused.starts_with("denied") && refused.contains("/opencode.json`"), "{refused}");
    let taken = bench.call("undo_revert_session", json!({}));
    assert_eq!(taken["calls"].as_array().unwrap().len(), 1, "{taken}");
    assert_eq!(taken["left"][0]["tool"], "git_branch", "{taken}");
    assert_eq!(fs::read_to_string(bench.path("a")).unwrap(), "one\n");
}

#[test]
fn what_a_linked_worktree_remembers_is_taken_back() {
    let mut bench = Bench::new();
    let project = bench.home.project.clone();
    make_repository(&project);
    bench.call("git_worktree", json!({ "action": "add", "path": "side", "branch": "side" }));
    let side = project.join("side");
    fs::write(side.join("x"), "x\n").unwrap();
    let look = || {
        let questions: [&[&str]; 2] = [&["status", "--porcelain=v2"], &["log", "--format=%H"]];
        questions.map(|question| git_in(&side, question))
    };
    for (tool, input) in [
        ("git_add", json!({ "repository": "side", "paths": ["side/x"] })),
        ("git_commit", json!({ "repository": "side", "message": "x" })),
    ] {
        let before = look();
        bench.call(tool, input.clone());
        let changed = look();
        assert_ne!(changed, before, "{tool}");
        let call = bench.newest();
        bench.revert(&call).unwrap_or_else(|err| panic!("{tool} {input}: {err}"));
        assert_eq!(look(), before, "{tool}");
        let undone = bench.newest();
        bench.revert(&undone).unwrap_or_else(|err| panic!("{tool} {input}, again: {err}"));
        assert_eq!(look(), changed, "{tool}");
    }
}

#[test]
fn what_is_put_aside_is_taken_back() {
    let mut bench = Bench::new();
    let project = bench.home.project.clone();
    make_repository(&project);
    git_in(&project, &["add", "run.sh"]);
    fs::write(bench.path("a"), "changed\n").unwrap();
    fs::write(bench.path(".gitignore"), ".Trash-*\n").unwrap();
    for input in [
        json!({ "action": "push" }),
        json!({ "action": "pop" }),
        json!({ "action": "push", "message": "all of it", "include_untracked": true }),
        json!({ "action": "apply" }),
        json!({ "action": "drop" }),
    ] {
        let look = || {
            let questions: [&[&str]; 3] =
                [&["status", "--porcelain=v2"], &["stash", "list"], &["diff", "HEAD"]];
            let mut tree = tree_of(&project);
            tree.retain(|path, _| !path.to_string_lossy().contains(".git/"));
            (questions.map(|question| git_in(&project, question)), tree)
        };
        let before = look();
        bench.call("git_stash", input.clone());
        let changed = look();
        assert_ne!(changed, before, "{input}");
        assert_eq!(bench.path("b").exists(), input["include_untracked"] != true, "{input}");
        let call = bench.newest();
        assert_eq!((&call["tool"], call.get("not_undoable")), (&json!("git_stash"), None), "{call}");
        bench.revert(&call).unwrap_or_else(|err| panic!("{input}: {err}"));
        assert_eq!(look(), before, "{input}");
        let undone = bench.newest();
        bench.revert(&undone).unwrap_or_else(|err| panic!("{input}, again: {err}"));
        assert_eq!(look(), changed, "{input}");
    }
    git_in(&project, &["fsck", "--strict"]);
    // Upon another commit Git merges, and nobody can tell before what that changes.
    bench.call("git_stash", json!({ "action": "push", "include_untracked": true }));
    git_in(&project, &["commit", "-q", "--allow-empty", "-m", "second"]);
    bench.call("git_stash", json!({ "action": "pop" }));
    let call = bench.newest();
    assert!(call["not_undoable"].is_string(), "{call}");
    // What other programs trust would not come back.
    fs::write(bench.path(".envrc"), "").unwrap();
    let put_aside = json!({ "action": "push", "include_untracked": true });
    let refused = bench.shim.call("git_stash", put_aside).unwrap_err();
    assert!(refused.starts_with("denied: ") && refused.contains("`.envrc`"), "{refused}");
    assert!(bench.path(".envrc").exists() && bench.path("b").exists());
}

#[test]
fn what_git_remembers_is_taken_back() {
    let mut bench = Bench::new();
    let project = bench.home.project.clone();
    make_repository(&project);
    let git = |arguments: &[&str]| git_in(&project, arguments);
    for (tool, input) in [
        ("git_add", json!({ "paths": ["b", "dir"] })),
        ("git_commit", json!({ "message": "second" })),
        ("git_commit", json!({ "message": "second, again", "amend": true })),
        ("git_branch", json!({ "action": "create", "name": "feature/one" })),
        ("git_branch", json!({ "action": "delete", "name": "feature/one" })),
        ("git_checkout", json!({ "target": "HEAD~1" })),
        ("git_checkout", json!({ "target": "main" })),
        ("git_checkout", json!({ "target": "feature/two", "create": true })),
        ("git_checkout", json!({ "paths": ["a"], "target": "HEAD" })),
    ] {
        if input["paths"][0] == "a" && tool == "git_checkout" {
            fs::write(bench.path("a"), "not committed\n").unwrap();
        }
        let look = || {
            let questions: [&[&str]; 4] = [
                &["status", "--porcelain=v2"],
                &["log", "--all", "--format=%H %s"],
                &["reflog"],
                &["branch"],
            ];
            let files = format!(
                "{:?}",
                tree_of(&project)
                    .into_iter()
                    .filter(|(path, _)| !path.to_string_lossy().contains(".git"))
                    .collect::<Vec<_>>()
            );
            (questions.map(git), files)
        };
        let before = look();
        bench.call(tool, input.clone());
        let changed = look();
        assert_ne!(changed, before, "{tool} {input}");
        let call = bench.newest();
        assert_eq!((&call["tool"], call.get("not_undoable")), (&json!(tool), None), "{call}");
        bench.revert(&call).unwrap_or_else(|err| panic!("{tool} {input}: {err}"));
        assert_eq!(look(), before, "{tool} {input}");
        let undone = bench.newest();
        bench.revert(&undone).unwrap();
        assert_eq!(look(), changed, "{tool} {input}");
    }
    git(&["fsck", "--strict"]);
    // A preview that commits is taken back as well.
    let before = git(&["log", "--format=%H"]);
    let preview = bench.call("exec_preview", json!({ "script": "git commit -q --allow-empty -m third" }));
    bench.call("exec_apply_preview", json!({ "preview": preview["preview"] }));
    assert_ne!(git(&["log", "--format=%H"]), before);
    let call = bench.newest();
    bench.revert(&call).unwrap();
    assert_eq!(git(&["log", "--format=%H"]), before);
}

#[test]
fn directories_that_may_not_be_written_are_no_obstacle() {
    let mut bench = Bench::new();
    let before = bench.tree();
    for script in [
        "rm dir/c; chmod 555 dir",
        "mkdir -p cache/mod; echo x > cache/mod/f; chmod 555 cache/mod cache",
        "chmod 500 dir; chmod 400 a",
    ] {
        let preview = bench.call("exec_preview", json!({ "script": script }));
        bench.call("exec_apply_preview", json!({ "preview": preview["preview"] }));
        let changed = bench.tree();
        assert_ne!(changed, before, "{script}");
        let call = bench.newest();
        bench.revert(&call).unwrap_or_else(|err| panic!("{script}: {err}"));
        assert_eq!(bench.tree(), before, "{script}");
        let undone = bench.newest();
        bench.revert(&undone).unwrap_or_else(|err| panic!("{script}, again: {err}"));
        assert_eq!(bench.tree(), changed, "{script}");
        let again = bench.newest();
        bench.revert(&again).unwrap();
    }
}

#[test]
fn what_cannot_be_taken_back_says_why() {
    let mut bench = Bench::new();
    fs::create_dir_all(bench.path("deep").join("d/".repeat(101))).unwrap();
    fs::create_dir(bench.path("empty")).unwrap();
    for (tool, input, part) in [
        ("exec_run", json!({ "script": "echo x > by_command" }), "recorded only by `exec_preview`"),
        ("files_move", json!({ "from": "dir", "to": "empty", "overwrite": true }), "replaced as a whole"),
        ("files_delete", json!({ "path": "deep" }), "`files_restore` brings it back"),
    ] {
        bench.call(tool, input);
        let call = bench.newest();
        assert!(call["not_undoable"].as_str().unwrap().contains(part), "{call}");
        let refused = bench.revert(&call).unwrap_err();
        assert!(refused.contains(part), "{refused}");
    }
    let unknown = json!({ "call": "00000000000000000000000000000000.1" });
    assert!(bench.shim.call("undo_revert_call", unknown).unwrap_err().contains("no call"));
    let unknown = json!({ "session": "00000000000000000000000000000000" });
    assert!(bench.shim.call("undo_revert_session", unknown).unwrap_err().contains("no call of that session"));
}

#[test]
fn a_session_is_taken_back_as_a_whole_across_a_restart() {
    let mut bench = Bench::new();
    let before = bench.tree();
    for (tool, input) in [
        edit("a", "one", "uno"),
        edit("a", "uno", "ein"),
        ("files_write", json!({ "path": "made/x", "content": "x" })),
        ("files_write", json!({ "path": "made/y", "content": "y" })),
        ("files_move", json!({ "from": "made/x", "to": "made/z" })),
        ("files_move", json!({ "from": "b", "to": "dir/b" })),
        edit("dir/b", "two", "zwei"),
    ] {
        bench.call(tool, input);
    }
    let preview = bench.call(
        "exec_preview",
        json!({ "script": "rm -r dir; mkdir -p lib/deep; echo l > lib/deep/l; ln -s a link; chmod 600 a" }),
    );
    bench.call("exec_apply_preview", json!({ "preview": preview["preview"] }));
    bench.call("exec_run", json!({ "command": ["true"] }));
    drop(bench.daemon.take());
    bench.daemon = Some(Daemon::start(&bench.home));
    let taken = bench.call("undo_revert_session", json!({}));
    assert_eq!(taken["calls"].as_array().unwrap().len(), 8, "{taken}");
    assert_eq!(taken["left"][0]["tool"], "exec_run", "{taken}");
    assert_eq!(bench.tree(), before);
}
