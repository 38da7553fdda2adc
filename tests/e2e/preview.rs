//! Commands whose changes are looked at first, and then made or not.

use serde_json::{Value, json};
use skynet_tests::programs::{Daemon, Home, Shim};
use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
};

struct Bench {
    shim: Shim,
    home: Home,
    _daemon: Daemon,
}

impl Bench {
    fn new() -> Self {
        let home = Home::new();
        let daemon = Daemon::start(&home);
        let shim = Shim::connected(&home, "2025-11-25", json!({}));
        Self { shim, home, _daemon: daemon }
    }

    /// With something to change.
    fn filled() -> Self {
        let bench = Self::new();
        for (name, content) in [
            ("changed", "one\n"),
            ("gone", "x"),
            ("mode", "x"),
            ("tree/a/b", "x"),
            ("tree/c", "x"),
            ("again/old", "x"),
            ("was_directory/a", "x"),
            ("was_file", "x"),
            ("same", "x"),
            ("moved", "m"),
            ("untouched", "x"),
        ] {
            bench.write(name, content);
        }
        symlink("gone", bench.path("pointer")).unwrap();
        bench
    }

    fn preview(&mut self, script: &str) -> Value {
        self.shim.call("exec_preview", json!({ "script": script })).unwrap_or_else(|err| panic!("{err}"))
    }

    fn apply(&mut self, preview: &Value) -> Result<Value, String> {
        self.shim.call("exec_apply_preview", json!({ "preview": preview["preview"] }))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.project.join(name)
    }

    fn write(&self, name: &str, content: &str) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), content).unwrap();
    }

    fn tree(&self) -> BTreeMap<PathBuf, String> {
        tree_of(&self.home.project)
    }
}

/// All that a change can change below a directory, by path.
pub(crate) fn tree_of(directory: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    look(directory, &mut found);
    found
}

fn look(directory: &Path, found: &mut BTreeMap<PathBuf, String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let metadata = fs::symlink_metadata(&path).unwrap();
        let mode = metadata.permissions().mode() & 0o7777;
        let what = if metadata.is_dir() {
            look(&path, found);
            format!("directory {mode:o}")
        } else if metadata.is_symlink() {
            format!("link to {}", fs::read_link(&path).unwrap().display())
        } else {
            format!("file {mode:o} {}", String::from_utf8_lossy(&fs::read(&path).unwrap()))
        };
        found.insert(path, what);
    }
}

fn changes(preview: &Value) -> BTreeMap<String, String> {
    let all = preview["changes"].as_array().unwrap().iter();
    all.map(|change| {
        (change["path"].as_str().unwrap().to_owned(), change["happens"].as_str().unwrap().to_owned())
    })
    .collect()
}

const CHANGING: &str = "
echo two >> changed; echo new > new; rm gone; chmod 755 mode; rm -r tree; ln -s new link
mkdir -p deep/er; echo x > deep/er/file; chmod 555 deep/er
rm -r again; mkdir again; echo fresh > again/fresh
rm -r was_directory; echo now > was_directory; rm was_file; mkdir was_file; echo in > was_file/in
touch same; mv moved elsewhere; ln -sf changed pointer; mkfifo pipe; touch tree_of_whiteouts
";

#[test]
fn what_a_command_would_do_is_told_and_then_done_exactly() {
    let mut bench = Bench::filled();
    let before = bench.tree();
    let preview = bench.preview(&format!("set -e\n{CHANGING}"));
    assert_eq!(preview["run"]["exit_code"], 0, "{preview}");
    assert_eq!(bench.tree(), before, "a preview changes nothing");
    let expected: BTreeMap<String, String> = [
        ("changed", "changed"),
        ("new", "created"),
        ("gone", "deleted"),
        ("mode", "changed"),
        ("tree", "deleted"),
        ("tree/a", "deleted"),
        ("tree/a/b", "deleted"),
        ("tree/c", "deleted"),
        ("link", "created"),
        ("deep", "created"),
        ("deep/er", "created"),
        ("deep/er/file", "created"),
        ("again/old", "deleted"),
        ("again/fresh", "created"),
        ("was_directory/a", "deleted"),
        ("was_directory", "changed"),
        ("was_file", "changed"),
        ("was_file/in", "created"),
        ("moved", "deleted"),
        ("elsewhere", "created"),
        ("pointer", "changed"),
        ("tree_of_whiteouts", "created"),
    ]
    .map(|(path, happens)| (path.to_owned(), happens.to_owned()))
    .into();
    assert_eq!(changes(&preview), expected, "{preview}");
    assert_eq!(preview["left_out"], 1);
    let of = |path: &str| {
        preview["changes"].as_array().unwrap().iter().find(|one| one["path"] == path).unwrap().clone()
    };
    assert_eq!(of("changed")["diff"], "--- a/changed\n+++ b/changed\n@@ -1 +1,2 @@\n one\n+two\n");
    assert_eq!((&of("mode")["mode"], &of("mode")["diff"]), (&json!("0755"), &Value::Null));
    assert_eq!(of("link")["target"], "new");

    let applied = bench.apply(&preview).unwrap();
    assert_eq!(applied, json!({ "created": 9, "changed": 5, "deleted": 8 }), "{applied}");
    let after = bench.tree();
    // What the command itself does in a place that is the same.
    let mut other = Bench::filled();
    other.shim.call("exec_run", json!({ "script": CHANGING })).unwrap();
    fs::remove_file(other.path("pipe")).unwrap();
    let names = |bench: &Bench, tree: BTreeMap<PathBuf, String>| -> BTreeMap<PathBuf, String> {
        let strip = |path: PathBuf| path.strip_prefix(&bench.home.project).unwrap().to_owned();
        tree.into_iter().map(|(path, what)| (strip(path), what)).collect()
    };
    assert_eq!(names(&bench, after), names(&other, other.tree()));
    // It is done once.
    let again = bench.apply(&preview).expect_err("it is done already");
    assert!(again.contains("is not what it was"), "{again}");
}

#[test]
fn a_preview_of_what_has_changed_since_is_refused_as_a_whole() {
    let mut bench = Bench::new();
    bench.write("a", "1");
    bench.write("dir/b", "1");
    fs::create_dir(bench.path("real")).unwrap();
    let preview = bench.preview("echo 2 > a; echo 2 > dir/b; rm -f c; echo 3 > d; echo 4 > real/e");
    type Spoil = fn(&Bench);
    let spoil: [(&str, Spoil); 5] = [
        ("content", |bench| bench.write("dir/b", "other")),
        ("mode", |bench| {
            fs::set_permissions(bench.path("dir/b"), fs::Permissions::from_mode(0o600)).unwrap();
        }),
        ("new", |bench| bench.write("d", "mine")),
        ("gone", |bench| fs::remove_file(bench.path("dir/b")).unwrap()),
        ("link", |bench| {
            fs::rename(bench.path("real"), bench.path("moved")).unwrap();
            symlink("moved", bench.path("real")).unwrap();
        }),
    ];
    for (what, spoil) in spoil {
        spoil(&bench);
        let before = bench.tree();
        let refused = bench.apply(&preview).expect_err(what);
        assert!(refused.starts_with("conflict"), "{what}: {refused}");
        assert_eq!(bench.tree(), before, "{what}");
        let _ = fs::remove_file(bench.path("d"));
        let _ = fs::remove_file(bench.path("dir/b"));
        if what == "link" {
            fs::remove_file(bench.path("real")).unwrap();
            fs::rename(bench.path("moved"), bench.path("real")).unwrap();
        }
        bench.write("dir/b", "1");
    }
    assert_eq!(bench.apply(&preview).unwrap()["changed"], 2);

    for unknown in ["0".repeat(64), "../x".into()] {
        let refused =
            bench.shim.call("exec_apply_preview", json!({ "preview": unknown })).expect_err("unknown");
        assert!(refused.contains("not kept") || refused.contains("invalid_input"), "{refused}");
    }
    // What else is kept for the same caller is no preview.
    let spilled = bench
        .shim
        .request("tools/call", json!({ "name": "exec_run", "arguments": { "command": ["seq", "100000"] } }));
    let uri = spilled["result"]["content"][1]["uri"].as_str().unwrap();
    let digest = uri.strip_prefix("skynet://result/").unwrap();
    let refused =
        bench.shim.call("exec_apply_preview", json!({ "preview": digest })).expect_err("no preview");
    assert!(refused.contains("not kept"), "{refused}");
}

#[test]
fn what_fails_in_the_middle_is_put_back() {
    let mut bench = Bench::new();
    for name in ["a", "gone", "old/x", "other/f"] {
        bench.write(name, "one");
    }
    fs::set_permissions(bench.path("a"), fs::Permissions::from_mode(0o640)).unwrap();
    let preview = bench.preview("echo 2 > a; rm -r gone old; mkdir new; echo 3 > new/f; echo 4 > other/f");
    // Nothing of it is another now, and yet nothing can be written there.
    fs::set_permissions(bench.path("other"), fs::Permissions::from_mode(0o555)).unwrap();
    let before = bench.tree();
    let refused = bench.apply(&preview).expect_err("a directory that may not be written");
    assert!(refused.contains("was put back, so nothing is changed"), "{refused}");
    assert_eq!(bench.tree(), before);
    fs::set_permissions(bench.path("other"), fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(bench.apply(&preview).unwrap()["created"], 2);
}

#[test]
fn a_preview_is_guarded_as_a_command_is_and_has_its_limits() {
    let mut bench = Bench::new();
    let git = |arguments: &[&str]| {
        let status = Command::new("git").arg("-C").arg(&bench.home.project).args(arguments).status();
        assert!(status.unwrap().success());
    };
    git(&["init", "-q"]);
    git(&["-c", "user.name=a", "-c", "user.email=a@x", "commit", "-q", "--allow-empty", "-m", "first"]);
    let before = bench.tree();
    let preview = bench.preview("echo evil > .envrc; echo evil > .git/hooks/pre-commit; git -c user.name=a -c user.email=a@x commit --allow-empty -qm x; mkdir ../out; touch ~/kept");
    let told = changes(&preview);
    assert!(told.contains_key(".envrc.quarantined") && !told.contains_key(".envrc"), "{told:?}");
    assert!(!told.keys().any(|path| path.starts_with(".git/hooks/pre-commit")), "{told:?}");
    assert_eq!(bench.tree(), before);
    let head = |bench: &mut Bench| {
        bench.shim.call("git_log", json!({ "limit": 1 })).unwrap()["commits"][0]["subject"].clone()
    };
    let old = head(&mut bench);
    bench.apply(&preview).unwrap();
    assert!(head(&mut bench) == "x" && old != "x");
    assert!(!bench.path(".envrc").exists());

    // More directories than one process may have open.
    let deep = bench.preview("for i in $(seq 5000); do echo d$i; done | xargs mkdir");
    assert_eq!(bench.apply(&deep).unwrap()["created"], 5000);

    // More than its scratch takes, and more than can be shown.
    let full = bench
        .shim
        .call(
            "exec_preview",
            json!({ "script": "head -c 64M /dev/zero > big", "limits": { "scratch_mib": 8 } }),
        )
        .unwrap();
    assert_ne!(full["run"]["exit_code"], 0, "{full}");
    let many = bench.preview("for i in $(seq 300); do seq 300 > file$i; done");
    assert_eq!((many["changes_count"].as_u64(), many["changes"].as_array().unwrap().len()), (Some(300), 200));
    let diffs: usize =
        many["changes"].as_array().unwrap().iter().filter_map(|one| one["diff"].as_str()).map(str::len).sum();
    assert!(diffs <= 48 << 10 && diffs > 40 << 10, "{diffs}");
}
