//! The git family, on repositories of the real program.

use serde_json::{Value, json};
use skynet_core::call::{Ask, Asked, Question};
use skynet_policy::Verdict;
use skynet_tests::workbench::{Manner, Setup, Workbench, rule};
use std::{fs, os::unix::fs::MetadataExt as _, path::Path, process::Command, sync::Arc};

/// Asks Git itself; what it printed.
pub(crate) fn git(directory: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .current_dir(directory)
        .args(["-c", "user.name=T", "-c", "user.email=t@x", "-c", "init.defaultBranch=main"])
        .args(arguments)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A repository with one commit, whose own configuration names the committer.
fn bench() -> Workbench {
    let bench = Workbench::new(Setup::default());
    git(&bench.root, &["init", "--quiet"]);
    git(&bench.root, &["config", "user.name", "Ann"]);
    git(&bench.root, &["config", "user.email", "ann@x"]);
    bench.write("f", "one\ntwo\n");
    git(&bench.root, &["add", "."]);
    git(&bench.root, &["commit", "--quiet", "-m", "first\n\nbody"]);
    bench
}

struct Agree;

#[async_trait::async_trait]
impl Ask for Agree {
    async fn ask(&self, _question: Question<'_>) -> Asked {
        Asked::Yes
    }
}

async fn confirmed(bench: &Workbench, tool: &str, input: Value) -> Value {
    let manner = Manner { ask: Some(Arc::new(Agree)), ..Manner::default() };
    let answer = bench.call_raw(tool, input.to_string().as_bytes(), manner).await.unwrap();
    serde_json::from_slice(&answer.json).unwrap()
}

/// What was wrong with what a human agreed to.
async fn confirmed_refusal(bench: &Workbench, tool: &str, input: Value) -> String {
    let manner = Manner { ask: Some(Arc::new(Agree)), ..Manner::default() };
    match bench.call_raw(tool, input.to_string().as_bytes(), manner).await {
        Ok(_) => panic!("{tool} {input}"),
        Err(err) => err.message.into_owned(),
    }
}

#[tokio::test]
async fn a_change_goes_from_the_working_tree_into_the_history() {
    let bench = bench();
    bench.write("f", "one\n2\n");
    bench.write("new file", "x\n");
    let status = bench.call("git_status", json!({})).await.unwrap();
    let entries = json!([{ "path": "f", "index": ".", "worktree": "M" }, { "path": "new file", "index": "?", "worktree": "?" }]);
    assert_eq!(
        (&status["branch"], &status["clean"], &status["entries"]),
        (&json!("main"), &json!(false), &entries)
    );
    let diff = bench.call("git_diff", json!({ "paths": ["f"] })).await.unwrap();
    assert!(diff["diff"].as_str().unwrap().contains("-two\n+2\n"), "{diff}");
    bench.check_refused("git_commit", json!({ "message": "m" }), "conflict", "nothing is staged").await;
    bench.check("git_add", json!({ "all": true }), json!({ "staged": "M\tf\nA\tnew file\n" })).await;
    bench
        .check("git_add", json!({ "paths": ["new file"], "unstage": true }), json!({ "staged": "M\tf\n" }))
        .await;
    let commit = bench.call("git_commit", json!({ "message": "second" })).await.unwrap();
    assert_eq!(
        (&commit["commit"]["author"], &commit["commit"]["subject"]),
        (&json!("Ann <ann@x>"), &json!("second"))
    );
    let log = bench.call("git_log", json!({ "limit": 1 })).await.unwrap();
    assert_eq!((&log["commits"][0], &log["truncated"]), (&commit["commit"], &json!(true)));
    let log = bench.call("git_log", json!({ "grep": "first" })).await.unwrap();
    assert_eq!(log["commits"][0]["body"], "body");
}

#[tokio::test]
async fn history_is_shown_by_commit_file_and_line() {
    let bench = bench();
    bench.write("f", "one\n2\n");
    git(&bench.root, &["commit", "--quiet", "-am", "second"]);
    let show = bench.call("git_show", json!({ "revision": "HEAD" })).await.unwrap();
    assert!(show["content"].as_str().unwrap().contains("-two\n+2"), "{show}");
    let old = bench.call("git_show", json!({ "revision": "HEAD~1", "path": "f" })).await.unwrap();
    assert_eq!((&old["content"], &old["commit"]["subject"]), (&json!("one\ntwo\n"), &json!("first")));
    let blame = bench.call("git_blame", json!({ "path": "f" })).await.unwrap();
    let runs: Vec<_> = blame["runs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|run| (run["line"].clone(), run["subject"].clone(), run["text"].clone()))
        .collect();
    assert_eq!(runs, [(json!(1), json!("first"), json!("one")), (json!(2), json!("second"), json!("2"))]);
    bench.check_refused("git_show", json!({ "revision": "nope" }), "not_found", "nope").await;
    bench
        .check_refused("git_show", json!({ "revision": "--output=/tmp/x" }), "invalid_input", "revision")
        .await;
    let between =
        bench.call("git_diff", json!({ "from": "HEAD~1", "to": "HEAD", "stat": true })).await.unwrap();
    assert!(between["diff"].as_str().unwrap().contains("1 file changed"), "{between}");
}

#[tokio::test]
async fn branches_and_what_destroys_them() {
    let bench = bench();
    let names = |answer: &Value| {
        answer["branches"]
            .as_array()
            .unwrap()
            .iter()
            .map(|branch| branch["name"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let created = bench.call("git_branch", json!({ "action": "create", "name": "topic" })).await.unwrap();
    assert_eq!(names(&created), ["main", "topic"]);
    // While Git wrote it anew, a command could.
    let configuration = fs::metadata(bench.root.join(".git/config")).unwrap().ino();
    bench
        .call("git_branch", json!({ "action": "rename", "name": "topic", "new_name": "work" }))
        .await
        .unwrap();
    bench
        .check_refused(
            "git_branch",
            json!({ "action": "create", "name": "work" }),
            "conflict",
            "already exists",
        )
        .await;
    let switched = bench.call("git_checkout", json!({ "target": "work" })).await.unwrap();
    assert_eq!(switched["branch"], "work");
    bench.write("f", "changed\n");
    bench.call("git_commit", json!({ "message": "on work", "all": true })).await.unwrap();
    bench.call("git_checkout", json!({ "target": "main" })).await.unwrap();
    bench
        .check_refused(
            "git_branch",
            json!({ "action": "delete", "name": "work" }),
            "conflict",
            "not fully merged",
        )
        .await;
    let force = json!({ "action": "delete", "name": "work", "force": true });
    bench
        .check_refused("git_branch", force.clone(), "needs_confirmation", "skynetctl approvals approve")
        .await;
    assert_eq!(names(&confirmed(&bench, "git_branch", force).await), ["main"]);
    assert_eq!(fs::metadata(bench.root.join(".git/config")).unwrap().ino(), configuration);
    bench.check_refused("git_checkout", json!({ "target": "nope" }), "not_found", "nope").await;
    assert_eq!(
        bench.call("git_checkout", json!({ "target": "fresh", "create": true })).await.unwrap()["branch"],
        "fresh"
    );
}

#[tokio::test]
async fn taking_files_back_asks_and_stashing_does_not() {
    let bench = bench();
    bench.write("f", "mine\n");
    bench
        .check_refused("git_checkout", json!({ "paths": ["f"] }), "needs_confirmation", "git_checkout")
        .await;
    assert_eq!(bench.read("f"), "mine\n");
    let pushed = bench.call("git_stash", json!({ "action": "push", "message": "later" })).await.unwrap();
    assert_eq!(
        (bench.read("f").as_str(), &pushed["entries"]),
        ("one\ntwo\n", &json!(["stash@{0}: On main: later"]))
    );
    let shown = bench.call("git_stash", json!({ "action": "show" })).await.unwrap();
    assert!(shown["diff"].as_str().unwrap().contains("+mine"));
    assert_eq!(bench.call("git_stash", json!({ "action": "pop" })).await.unwrap()["entries"], json!([]));
    assert_eq!(bench.read("f"), "mine\n");
    confirmed(&bench, "git_checkout", json!({ "paths": ["f"] })).await;
    assert_eq!(bench.read("f"), "one\ntwo\n");
    bench.check_refused("git_stash", json!({ "action": "pop", "index": 4 }), "not_found", "stash").await;
}

#[tokio::test]
async fn linked_worktrees_stay_in_the_workspace() {
    let bench = Workbench::new(Setup::default());
    fs::create_dir(bench.root.join("repo")).unwrap();
    let repository = bench.root.join("repo");
    git(&repository, &["init", "--quiet"]);
    git(&repository, &["commit", "--quiet", "--allow-empty", "-m", "first"]);
    let add = json!({ "repository": "repo", "action": "add", "path": "side", "branch": "topic" });
    let trees = bench.call("git_worktree", add).await.unwrap();
    assert_eq!(trees["worktrees"][1]["branch"], "topic");
    assert_eq!(bench.call("git_status", json!({ "repository": "side" })).await.unwrap()["branch"], "topic");
    let out = json!({ "repository": "repo", "action": "add", "path": "../out", "branch": "x" });
    bench.check_refused("git_worktree", out, "denied", "leads out").await;
    let taken = json!({ "repository": "repo", "action": "add", "path": "side", "branch": "y" });
    bench.check_refused("git_worktree", taken, "conflict", "exists already").await;
    let planted = json!({ "repository": "repo", "action": "add", "path": ".claude", "branch": "y" });
    bench.check_refused("git_worktree", planted, "denied", "cannot be changed").await;
    bench.write("side/x", "");
    let remove = json!({ "repository": "repo", "action": "remove", "path": "side" });
    bench.check_refused("git_worktree", remove, "needs_confirmation", "git_worktree").await;
    bench.check_refused("git_status", json!({ "repository": "." }), "not_found", "no Git repository").await;
    bench.write("fake/.git", "gitdir: ../repo/.git\n");
    bench.check_refused("git_status", json!({ "repository": "fake" }), "denied", "points back").await;
}

/// A command may commit what it cannot write: then no tool puts it where the user's programs read it.
#[tokio::test]
async fn what_other_programs_run_comes_from_no_commit() {
    let bench = bench();
    let plant = "git update-index --add --cacheinfo 100644,$(echo evil | git hash-object -w --stdin),.husky/pre-commit; \
         git update-ref refs/heads/evil $(git commit-tree -p HEAD -m evil $(git write-tree)); git read-tree HEAD";
    let planted = Command::new("sh").args(["-c", plant]).current_dir(&bench.root).status();
    assert!(planted.unwrap().success());
    for (tool, input) in [
        ("git_checkout", json!({ "target": "evil" })),
        ("git_worktree", json!({ "action": "add", "path": "side", "branch": "evil" })),
    ] {
        bench.check_refused(tool, input, "denied", ".husky/pre-commit").await;
    }
    assert!(!bench.root.join(".husky").exists() && !bench.root.join("side").exists());
    // What the user has there himself is in his other working trees too.
    fs::create_dir(bench.root.join(".husky")).unwrap();
    bench.write(".husky/pre-commit", "evil\n");
    bench.call("git_worktree", json!({ "action": "add", "path": "side", "branch": "evil" })).await.unwrap();
    assert!(bench.root.join("side/.husky/pre-commit").exists());
}

/// Has a shell do what a command could, with `$blob` for an object with something to run.
fn plant(bench: &Workbench, script: &str) {
    let script = format!("set -e; blob=$(echo evil | git hash-object -w --stdin); {script}");
    let planted = Command::new("sh").args(["-c", &script]).current_dir(&bench.root).status();
    assert!(planted.unwrap().success(), "{script}");
}

#[tokio::test]
async fn what_other_programs_run_is_put_back_by_no_stash() {
    let bench = bench();
    plant(
        &bench,
        "git update-index --add --cacheinfo 100644,$blob,.envrc; git commit -q -m planted; echo mine > f",
    );
    for all in [false, true] {
        let push = json!({ "action": "push", "include_untracked": all });
        bench.check_refused("git_stash", push, "denied", "`.envrc`").await;
    }
    // Nor where Git is told not to look for it.
    plant(&bench, "git update-index --assume-unchanged .envrc");
    bench.check_refused("git_stash", json!({ "action": "push" }), "conflict", "`.envrc`").await;
    let refused = confirmed_refusal(&bench, "git_checkout", json!({ "target": "HEAD", "force": true })).await;
    assert!(refused.contains("`.envrc`"), "{refused}");
    assert!(!bench.root.join(".envrc").exists());
    assert_eq!((bench.read("f").as_str(), git(&bench.root, &["stash", "list"]).as_str()), ("mine\n", ""));
}

#[tokio::test]
async fn what_other_programs_run_comes_from_no_stash() {
    let commit = "commit() { git commit-tree -m x \"$@\"; }";
    // The tree $1 and one more file in it.
    let evil = r"evil() { { git ls-tree $1; printf '100644 blob %s\t.envrc\n' $blob; } | git mktree; }; none=$(git mktree </dev/null)";
    let store =
        "git stash store -m evil $(commit -p HEAD -p $(commit -p HEAD HEAD^{tree}) -p $untracked $tree)";
    for (what, script) in [
        // `git stash show` fails where both have the file, and `git stash apply` writes the first.
        ("in both", "tree=$(evil HEAD); untracked=$(commit $(evil $none))"),
        // It lists nothing that is in the commit before and gone, and then untracked.
        (
            "as before",
            "git update-index --add --cacheinfo 100644,$blob,.envrc; git commit -q -m planted; \
             tree=$(git rev-parse HEAD~1^{tree}); untracked=$(commit $(evil $none))",
        ),
    ] {
        let bench = bench();
        plant(&bench, &format!("{commit}; {evil}; {script}; {store}"));
        for action in ["apply", "pop"] {
            bench.check_refused("git_stash", json!({ "action": action }), "denied", "`.envrc`").await;
        }
        assert!(!bench.root.join(".envrc").exists(), "{what}");
        assert_eq!(git(&bench.root, &["stash", "list"]), "stash@{0}: evil\n", "{what}");
    }
}

/// Git follows a file to the name that it has by now.
#[tokio::test]
async fn what_was_put_aside_is_followed_to_no_name_that_other_programs_run() {
    let bench = bench();
    plant(
        &bench,
        "seq 20 > g; git add g; git commit -q -m g; seq 21 > g; git stash push -q; \
         git update-index --add --cacheinfo 100644,$(git rev-parse HEAD:g),.envrc; \
         git update-index --force-remove g; git update-index --assume-unchanged .envrc; rm g; git commit -q -m renamed",
    );
    bench.check_refused("git_stash", json!({ "action": "pop" }), "denied", "`.envrc`").await;
    assert!(!bench.root.join(".envrc").exists());
}

#[tokio::test]
async fn an_entry_is_brought_back_and_dropped_by_its_number_also_where_a_branch_has_the_name() {
    let bench = bench();
    for content in ["first\n", "second\n"] {
        bench.write("f", content);
        bench.call("git_stash", json!({ "action": "push", "message": content.trim() })).await.unwrap();
    }
    git(&bench.root, &["branch", "stash"]);
    let popped = bench.call("git_stash", json!({ "action": "pop", "index": 1 })).await.unwrap();
    assert_eq!(popped["entries"], json!(["stash@{0}: On main: second"]));
    assert_eq!(bench.read("f"), "first\n");
}

/// Everything that a hostile repository can make Git run leaves a mark; none may be left.
#[tokio::test]
async fn a_repository_that_runs_programs_runs_none() {
    let bench = bench();
    let mark = bench.root.join("mark");
    let evil = format!("sh -c 'touch {}' --", mark.display());
    for key in [
        "core.fsmonitor",
        "core.sshCommand",
        "core.pager",
        "core.editor",
        "sequence.editor",
        "credential.helper",
        "diff.external",
        "gpg.program",
        "filter.evil.clean",
        "filter.evil.smudge",
        "filter.evil.process",
        "diff.evil.textconv",
        "diff.evil.command",
        "merge.evil.driver",
        "core.alternateRefsCommand",
        "core.askPass",
        "pager.log",
        "alias.status",
        "core.gitProxy",
    ] {
        git(&bench.root, &["config", key, &evil]);
    }
    git(&bench.root, &["config", "commit.gpgSign", "true"]);
    git(&bench.root, &["config", "filter.evil.required", "true"]);
    bench.write(".git/info/attributes", "* filter=evil diff=evil merge=evil\n");
    for hook in [
        "pre-commit",
        "post-commit",
        "commit-msg",
        "prepare-commit-msg",
        "post-checkout",
        "post-index-change",
        "reference-transaction",
        "fsmonitor-watchman",
    ] {
        bench.write(&format!(".git/hooks/{hook}"), format!("#!/bin/sh\ntouch {}\n", mark.display()));
        let path = bench.root.join(".git/hooks").join(hook);
        fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    bench.write("f", "changed\n");
    bench.write("g", "new\n");
    for (tool, input) in [
        ("git_status", json!({})),
        ("git_diff", json!({})),
        ("git_add", json!({ "all": true })),
        ("git_diff", json!({ "staged": true })),
        ("git_commit", json!({ "message": "m" })),
        ("git_log", json!({})),
        ("git_show", json!({ "revision": "HEAD" })),
        ("git_blame", json!({ "path": "f" })),
        ("git_checkout", json!({ "target": "topic", "create": true })),
        ("git_branch", json!({ "action": "create", "name": "b" })),
    ] {
        // Every file goes through the hostile filter, so what would record content is refused.
        match (tool, bench.call(tool, input.clone()).await) {
            ("git_add", outcome) => assert!(outcome.unwrap_err().contains("filter"), "{input}"),
            ("git_commit", outcome) => assert!(outcome.unwrap_err().contains("nothing is staged")),
            (_, outcome) => drop(outcome.unwrap_or_else(|err| panic!("{tool} {input}: {err}"))),
        }
        assert!(!mark.exists(), "{tool} {input} ran a program");
    }
    bench.write(".git/info/attributes", "* diff=evil merge=evil\n");
    for (tool, input) in [
        ("git_add", json!({ "all": true })),
        ("git_commit", json!({ "message": "m" })),
        ("git_show", json!({ "revision": "HEAD" })),
    ] {
        bench.call(tool, input).await.unwrap();
        assert!(!mark.exists(), "{tool} ran a program");
    }
    bench.write("f", "again\n");
    bench.call("git_stash", json!({ "action": "push" })).await.unwrap();
    bench.call("git_stash", json!({ "action": "pop" })).await.unwrap();
    assert!(!mark.exists(), "git_stash ran a program");
    git(&bench.root, &["config", "future.runcommand", &evil]);
    bench.check_refused("git_status", json!({}), "denied", "`future.runcommand`").await;
}

/// Ways to a configuration that Git reads under another name than a naive reader, each of which ran a program.
#[tokio::test]
async fn configurations_under_other_names_run_nothing() {
    for (header, attribute, expected) in [
        ("[filter.EVIL]", "evil", None),
        ("[filter \"a=b\"]", "a=b", Some("cannot be overridden")),
        ("[FILTER \"Mixed\"]", "Mixed", None),
    ] {
        let bench = bench();
        let mark = bench.root.join("mark");
        let config = bench.root.join(".git/config");
        let mut text = fs::read_to_string(&config).unwrap();
        text.push_str(&format!("{header}\n\tclean = touch {}\n", mark.display()));
        fs::write(&config, text).unwrap();
        bench.write(".git/info/attributes", format!("* filter={attribute}\n"));
        bench.write("f", "ONE\nTWO\n");
        let status = bench.call("git_status", json!({})).await;
        assert_eq!(
            status.err().map(|err| err.contains("cannot be overridden")),
            expected.map(|_| true),
            "{header}"
        );
        assert!(!mark.exists(), "{header} ran a program");
    }
}

#[tokio::test]
async fn content_that_a_filter_should_see_is_not_recorded_without_it() {
    let bench = bench();
    bench.write(".gitattributes", "secret filter=crypt\n");
    bench.write("secret", "password\n");
    for (tool, input) in [("git_add", json!({ "all": true })), ("git_stash", json!({ "action": "push" }))] {
        bench.check_refused(tool, input, "denied", "`secret` changed and goes through a filter").await;
    }
}

#[tokio::test]
async fn links_inside_a_repository_are_refused() {
    for place in ["COMMIT_EDITMSG", "logs/HEAD", "refs/heads/x"] {
        let bench = bench();
        let path = bench.root.join(".git").join(place);
        // What Git made there itself.
        let _ = fs::remove_file(&path);
        std::os::unix::fs::symlink("/etc/hostname", &path).unwrap();
        bench.check_refused("git_log", json!({}), "denied", "is a link or a special file").await;
    }
    let bench = bench();
    bench.write(".git/objects/info/alternates", "/tmp\n");
    bench.check_refused("git_log", json!({}), "denied", "objects of another repository").await;
    fs::remove_file(bench.root.join(".git/objects/info/alternates")).unwrap();
    bench.write(".git/commondir", "elsewhere \n");
    bench.write(".git/elsewhere /config", "[core]\n\tfsmonitor = touch mark\n[future]\n\trunCommand = x\n");
    bench.check_refused("git_status", json!({}), "denied", "`future.runcommand`").await;
}

#[tokio::test]
async fn a_hostile_submodule_runs_nothing() {
    let bench = bench();
    let sub = bench.root.join("sub");
    fs::create_dir(&sub).unwrap();
    git(&sub, &["init", "--quiet"]);
    bench.write("sub/s", "one\n");
    git(&sub, &["add", "."]);
    git(&sub, &["commit", "--quiet", "-m", "s"]);
    git(&bench.root, &["add", "sub"]);
    git(&bench.root, &["commit", "--quiet", "-m", "sub"]);
    let mark = bench.root.join("mark");
    git(&sub, &["config", "filter.evil.clean", &format!("touch {}", mark.display())]);
    bench.write("sub/.git/info/attributes", "* filter=evil\n");
    bench.write("sub/s", "TWO\n");
    bench.write("f", "changed\n");
    for (tool, input) in [
        ("git_status", json!({})),
        ("git_diff", json!({})),
        ("git_add", json!({ "paths": ["f"] })),
        ("git_commit", json!({ "message": "m" })),
        ("git_stash", json!({ "action": "push" })),
    ] {
        // Whether it succeeds is not the question.
        let _ = bench.call(tool, input).await;
        assert!(!mark.exists(), "{tool} ran a program of the submodule");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn calls_that_change_one_repository_wait_for_each_other() {
    let bench = Arc::new(bench());
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..12 {
        let name = format!("n{number}");
        bench.write(&name, "x");
        let bench = bench.clone();
        // Two of them at once find the lock of the index (git(1), `index.lock`).
        calls.spawn(async move {
            bench.call("git_commit", json!({ "paths": [name], "message": "m" })).await.unwrap()
        });
    }
    calls.join_all().await;
    assert_eq!(git(&bench.root, &["rev-list", "--count", "HEAD"]).trim(), "13");
}

#[tokio::test]
async fn what_may_not_be_staged_is_not_committed_by_its_path() {
    let deny = rule("kept", Verdict::Deny, &["git_add"], &[]);
    let bench = Workbench::new(Setup { rules: vec![deny], ..Setup::default() });
    bench.check_refused("git_commit", json!({ "message": "m", "paths": ["f"] }), "denied", "kept").await;
}
