//! Agents side by side: what one session has leased, others do not change.

use crate::git::git;
use async_trait::async_trait;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use skynet_core::{
    CallCtx, CallId, Caller, Effect, Outbox, Place, Result, Subject, Token, Tool, Toolset,
    call::{Ask, Asked, Question},
    change::Extent,
    ctx::{Origin, Progress},
};
use skynet_lease_tools::Board;
use skynet_leases::{Commands, Leases, Settings, Wanted};
use skynet_policy::Verdict;
use skynet_tests::workbench::{Manner, Setup, Workbench, rule};
use std::{
    fs,
    os::{fd::OwnedFd, unix::fs::symlink},
    sync::{Arc, atomic::Ordering},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// One client that stays connected.
struct Agent {
    session: Uuid,
    caller: Caller,
}

impl Agent {
    fn new(bench: &Workbench, client: &str) -> Self {
        Self { session: Uuid::new_v4(), caller: Caller { client: client.into(), ..bench.caller() } }
    }

    fn manner(&self) -> Manner {
        let id =
            Some(CallId { session: self.session, sequence: Uuid::new_v4().as_u64_pair().0 >> 32, index: 0 });
        Manner { id, caller: Some(self.caller.clone()), ..Manner::default() }
    }

    async fn try_call(
        &self,
        bench: &Workbench,
        tool: &str,
        input: Value,
    ) -> std::result::Result<Value, String> {
        let answer = bench.call_raw(tool, input.to_string().as_bytes(), self.manner()).await;
        answer
            .map(|answer| serde_json::from_slice(&answer.json).unwrap())
            .map_err(|err| format!("{}: {}", err.kind, err.message))
    }

    async fn call(&self, bench: &Workbench, tool: &str, input: Value) -> Value {
        let answer = self.try_call(bench, tool, input.clone()).await;
        answer.unwrap_or_else(|err| panic!("{tool} {input}: {err}"))
    }

    /// The error of a call that must not succeed.
    async fn refused(&self, bench: &Workbench, tool: &str, input: Value) -> String {
        let answer = self.try_call(bench, tool, input.clone()).await;
        answer.expect_err(&format!("{tool} {input}"))
    }

    async fn lease(&self, bench: &Workbench, path: &str) -> String {
        let taken =
            self.call(bench, "lease_acquire", json!({ "path": path, "purpose": "split the parser" })).await;
        taken["id"].as_str().unwrap().to_owned()
    }
}

fn write(path: &str) -> (&'static str, Value) {
    ("files_write", json!({ "path": path, "content": "new", "if_exists": "replace" }))
}

/// A repository in which the branch `other` has another `g`.
fn repository(setup: Setup) -> Workbench {
    let bench = Workbench::new(setup);
    git(&bench.root, &["init", "--quiet"]);
    git(&bench.root, &["config", "user.name", "Ann"]);
    git(&bench.root, &["config", "user.email", "ann@x"]);
    bench.write("f", "one\n");
    bench.write("g", "one\n");
    git(&bench.root, &["add", "."]);
    git(&bench.root, &["commit", "--quiet", "-m", "first"]);
    git(&bench.root, &["checkout", "--quiet", "-b", "other"]);
    bench.write("g", "two\n");
    git(&bench.root, &["commit", "--quiet", "-a", "-m", "second"]);
    git(&bench.root, &["checkout", "--quiet", "main"]);
    bench
}

#[tokio::test]
async fn what_one_session_has_leased_no_other_changes() {
    let bench = Workbench::new(Setup::default());
    bench.write("src/a", "old");
    bench.write("src/deep/b", "old");
    bench.write("other", "old");
    symlink("src", bench.root.join("link")).unwrap();
    let (one, two) = (Agent::new(&bench, "one 1"), Agent::new(&bench, "two 1"));
    let input = json!({ "path": "link", "purpose": "split the parser" });
    let taken = one.call(&bench, "lease_acquire", input).await;
    assert_eq!((&taken["path"], &taken["is_own"]), (&json!("src"), &json!(true)), "links are resolved");
    assert!(taken["owner"].as_str().unwrap().starts_with("`one 1` of `tester`, session "), "{taken}");
    let at = |field: &str| taken[field].as_str().unwrap().parse::<Timestamp>().unwrap();
    assert_eq!(at("expires_at").as_second() - at("acquired_at").as_second(), 600);
    let id = taken["id"].as_str().unwrap();

    let refused = [
        write("src/a"),
        write("src/new"),
        write("link/a"),
        write("./src//deep/../a"),
        ("files_edit", json!({ "path": "src/a", "edits": [{ "old": "old", "new": "new" }] })),
        ("files_move", json!({ "from": "src/a", "to": "a" })),
        ("files_move", json!({ "from": "other", "to": "src/other" })),
        ("files_copy", json!({ "from": "other", "to": "src/other" })),
        ("files_delete", json!({ "path": "src/deep/b" })),
        ("files_delete", json!({ "path": "src" })),
        ("env_create_project", json!({ "name": "p", "kind": "rust", "directory": "src/p" })),
    ];
    for (tool, input) in refused {
        let err = two.refused(&bench, tool, input.clone()).await;
        let expires_at = taken["expires_at"].as_str().unwrap();
        for part in ["conflict: ", "`one 1` of `tester`", "split the parser", id, expires_at, "git_worktree"]
        {
            assert!(err.contains(part), "{tool} {input}: {err} lacks {part}");
        }
    }
    assert_eq!([bench.read("src/a"), bench.read("src/deep/b"), bench.read("other")], ["old"; 3]);
    assert!(!bench.root.join("src/new").exists() && !bench.root.join("src/p").exists());

    // Others read on and work elsewhere, and whoever holds it works there.
    assert_eq!(two.call(&bench, "files_read", json!({ "path": "src/a" })).await["content"], "old");
    for (agent, (tool, input)) in [(&two, write("other")), (&two, write("srcs")), (&one, write("src/a"))] {
        agent.call(&bench, tool, input).await;
    }
    let seen = two.call(&bench, "lease_list", json!({})).await;
    assert_eq!((&seen["leases"][0]["id"], &seen["leases"][0]["is_own"]), (&json!(id), &json!(false)));
    one.call(&bench, "lease_release", json!({ "id": id })).await;
    let (tool, input) = write("src/new");
    two.call(&bench, tool, input).await;
    assert_eq!(two.call(&bench, "lease_list", json!({})).await, json!({ "leases": [] }));
}

#[tokio::test]
async fn leases_that_overlap_are_of_one_session_alone() {
    let bench = Workbench::new(Setup::default());
    bench.write("src/deep/a", "");
    let (one, two) = (Agent::new(&bench, "one 1"), Agent::new(&bench, "two 1"));
    let id = one.lease(&bench, "src/deep").await;
    for path in ["src/deep", "src", ".", "src/deep/a", "src/deep/new"] {
        let err = two.refused(&bench, "lease_acquire", json!({ "path": path, "purpose": "the same" })).await;
        assert!(err.starts_with("conflict: ") && err.contains("`one 1`") && err.contains(&id), "{err}");
    }
    two.lease(&bench, "src/other").await;
    one.lease(&bench, "src/deep/a").await;
    let again = one.refused(&bench, "lease_acquire", json!({ "path": "src/deep", "purpose": "x" })).await;
    assert!(again.starts_with("conflict: ") && again.contains("lease_renew"), "{again}");
    for tool in ["lease_renew", "lease_release"] {
        let err = two.refused(&bench, tool, json!({ "id": id })).await;
        assert!(err.starts_with("denied: ") && err.contains("skynetctl leases end"), "{err}");
        let err = two.refused(&bench, tool, json!({ "id": "ffffffff" })).await;
        assert!(err.starts_with("not_found: "), "{err}");
    }
    for path in ["../elsewhere", "/etc"] {
        let err = one.refused(&bench, "lease_acquire", json!({ "path": path, "purpose": "x" })).await;
        assert!(err.contains("outside of the workspace") || err.contains("leads out"), "{err}");
    }
    let err = one.refused(&bench, "lease_acquire", json!({ "path": "x", "purpose": "a\nb" })).await;
    assert!(err.starts_with("invalid_input: "), "{err}");
}

#[tokio::test]
async fn a_lease_ends_with_its_time_its_session_or_by_a_human() {
    let bench = Workbench::new(Setup::default());
    let (one, two) = (Agent::new(&bench, "one 1"), Agent::new(&bench, "two 1"));
    let (tool, input) = write("f");
    let asked = json!({ "path": "f", "purpose": "x", "lasts_seconds": 60 });
    let id = one.call(&bench, "lease_acquire", asked.clone()).await["id"].clone();
    one.call(&bench, "lease_renew", json!({ "id": id, "lasts_seconds": 600 })).await;
    bench.ahead.store(100, Ordering::SeqCst);
    two.refused(&bench, tool, input.clone()).await;
    bench.ahead.store(700, Ordering::SeqCst);
    two.call(&bench, tool, input.clone()).await;
    let err = one.refused(&bench, "lease_renew", json!({ "id": id })).await;
    assert!(err.starts_with("not_found: "), "what is over is not renewed: {err}");

    one.call(&bench, "lease_acquire", asked).await;
    two.refused(&bench, tool, input.clone()).await;
    bench.services.leases.end_session(one.session);
    two.call(&bench, tool, input.clone()).await;

    let id = one.lease(&bench, "f").await;
    two.refused(&bench, tool, input.clone()).await;
    assert!(bench.services.leases.end(&id, Some(u32::MAX)).is_err(), "it is of another user");
    bench.services.leases.end(&id, None).unwrap();
    two.call(&bench, tool, input).await;
}

#[tokio::test]
async fn a_lease_outlives_the_daemon() {
    let bench = Workbench::new(Setup::default());
    let (one, two) = (Agent::new(&bench, "one 1"), Agent::new(&bench, "two 1"));
    let (session, id) = (one.session, one.lease(&bench, "f").await);
    drop((one, two));
    let bench = bench.restarted(Setup::default()).await;
    let (one, two) = (Agent { session, ..Agent::new(&bench, "one 1") }, Agent::new(&bench, "two 1"));
    let (tool, input) = write("f");
    assert!(two.refused(&bench, tool, input.clone()).await.contains(&id));
    one.call(&bench, tool, input.clone()).await;
    one.call(&bench, "lease_release", json!({ "id": id })).await;
    two.call(&bench, tool, input).await;
}

#[tokio::test]
async fn what_a_call_finds_out_is_judged_before_it_is_changed() {
    let bench = repository(Setup::default());
    let (one, two) = (Agent::new(&bench, "one 1"), Agent::new(&bench, "two 1"));
    let other = json!({ "target": "other" });
    let g = one.lease(&bench, "g").await;
    let err = two.refused(&bench, "git_checkout", other.clone()).await;
    assert!(err.starts_with("conflict: `g` is leased to `one 1`"), "{err}");
    assert_eq!(bench.read("g"), "one\n");
    one.call(&bench, "lease_release", json!({ "id": g })).await;
    // It changes `g` alone.
    one.lease(&bench, "f").await;
    two.call(&bench, "git_checkout", other).await;
    assert_eq!(bench.read("g"), "two\n");

    // Where a deleted file comes back is in the trash.
    let deleted = two.call(&bench, "files_delete", json!({ "path": "g" })).await;
    one.lease(&bench, "g").await;
    let err = two.refused(&bench, "files_restore", json!({ "trash_id": deleted["trash_id"] })).await;
    assert!(err.starts_with("conflict: `g` is leased"), "{err}");
    assert!(!bench.root.join("g").exists());
}

#[tokio::test]
async fn a_working_tree_is_changed_by_git_if_nothing_of_it_is_leased() {
    let bench = repository(Setup::default());
    git(&bench.root, &["worktree", "add", "--quiet", "tree", "other"]);
    let (one, two) = (Agent::new(&bench, "one 1"), Agent::new(&bench, "two 1"));
    let push = json!({ "action": "push" });
    bench.write("f", "changed\n");
    let id = one.lease(&bench, "g").await;
    let err = two.refused(&bench, "git_stash", push.clone()).await;
    assert!(err.starts_with("conflict: ") && err.contains("`g`"), "{err}");
    assert_eq!(bench.read("f"), "changed\n");
    // What is recorded in the repository changes no file.
    two.call(&bench, "git_add", json!({ "paths": ["f"] })).await;
    one.call(&bench, "lease_release", json!({ "id": id })).await;
    // A working tree that lies in this one is another.
    one.lease(&bench, "tree/g").await;
    two.call(&bench, "git_stash", push).await;
    assert_eq!(bench.read("f"), "one\n");
    let remove = json!({ "action": "remove", "path": "tree" });
    let err = two.refused(&bench, "git_worktree", remove).await;
    assert!(err.starts_with("conflict: "), "before anybody is asked: {err}");
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Serialize, JsonSchema)]
struct Ran {
    /// Whether it did.
    ran: bool,
}

/// Stands for whatever starts a command.
struct ProbeStart;

impl Tool for ProbeStart {
    const NAME: &'static str = "probe_start";
    const SUMMARY: &'static str = "Starts something.";
    const EFFECT: Effect = Effect::Write;
    const PLACE: Place = Place::Daemon;
    type Input = Nothing;
    type Output = Ran;

    fn changes(&self, _input: &Nothing) -> Vec<Subject> {
        vec![Subject::Anywhere]
    }

    async fn call(&self, _ctx: &CallCtx, _input: Nothing) -> Result<Ran> {
        Ok(Ran { ran: true })
    }
}

#[tokio::test]
async fn commands_are_told_what_is_leased_or_refused() {
    let board = Arc::<Board>::default();
    let toolsets =
        vec![skynet_lease_tools::toolset(&board), Toolset::new("probe", "probes").with(ProbeStart)];
    let bench = Workbench::new(Setup { toolsets, ..Setup::default() });
    board.fill(&bench.services.leases);
    let (one, two) = (Agent::new(&bench, "one 1"), Agent::new(&bench, "two 1"));
    let notices = async |agent: &Agent| {
        let answer = bench.call_raw("probe_start", b"{}", agent.manner()).await;
        answer.map(|answer| answer.notices).map_err(|err| format!("{}: {}", err.kind, err.message))
    };
    assert_eq!(notices(&two).await, Ok(Vec::new()));
    one.lease(&bench, "src").await;
    let told = notices(&two).await.unwrap();
    assert!(told.len() == 1 && told[0].starts_with("`src` is leased to `one 1`"), "{told:?}");
    assert!(told[0].contains("exec_preview"), "{told:?}");
    assert_eq!(notices(&one).await, Ok(Vec::new()), "its own command");

    bench.services.leases.configure(Settings { commands: Commands::Refuse });
    let err = notices(&two).await.unwrap_err();
    assert!(err.starts_with("conflict: `src` is leased to `one 1`") && err.contains("exec_preview"), "{err}");
    assert_eq!(notices(&one).await, Ok(Vec::new()));

    // A call that is sent again is told the same again.
    bench.services.leases.configure(Settings { commands: Commands::Warn });
    let manner = two.manner();
    let first = bench.call_raw("probe_start", b"{}", manner.clone()).await.unwrap();
    let again = bench.call_raw("probe_start", b"{}", Manner { resend: true, ..manner }).await.unwrap();
    assert_eq!((first.notices.len(), &again), (1, &first));
}

struct Nowhere;

#[async_trait]
impl Outbox for Nowhere {
    fn progress(&self, _progress: Progress) {}

    async fn keep_before(&self, _path: &str, _file: Option<OwnedFd>, _extent: Extent) -> Result<()> {
        Ok(())
    }

    async fn store_blob(&self, _file: OwnedFd, _name: &str, _media_type: &str) -> Result<String> {
        Ok(String::new())
    }
}

/// A human who agrees, after another session has taken the path.
struct Slow {
    leases: Arc<Leases>,
    caller: Caller,
}

#[async_trait]
impl Ask for Slow {
    async fn ask(&self, _question: Question<'_>) -> Asked {
        let workspace = self.caller.workspace.clone();
        let origin =
            Origin { session: Uuid::new_v4(), owner: self.caller.owner(), caller: self.caller.clone() };
        let ctx = CallCtx::new(CancellationToken::new(), 1024, Effect::Write, workspace, Arc::new(Nowhere))
            .with_origin(origin);
        let wanted = Wanted { path: "g".into(), purpose: "meanwhile".into(), lasts_seconds: 60 };
        self.leases.acquire(&ctx, wanted).await.unwrap();
        Asked::Yes
    }
}

#[tokio::test]
async fn nobody_is_asked_about_what_is_leased_and_a_yes_does_not_end_a_lease() {
    let ask = rule("careful", Verdict::Ask, &["git_stash", "files_write"], &[]);
    let bench = repository(Setup { rules: vec![ask], ..Setup::default() });
    let (one, two) = (Agent::new(&bench, "one 1"), Agent::new(&bench, "two 1"));
    one.lease(&bench, "f").await;
    let (tool, input) = write("f");
    let err = two.refused(&bench, tool, input).await;
    assert!(err.starts_with("conflict: "), "{err}");
    let (tool, input) = write("x");
    let err = two.refused(&bench, tool, input).await;
    assert!(err.starts_with("needs_confirmation: "), "{err}");
    bench.services.leases.end_session(one.session);

    bench.write("g", "changed\n");
    let slow = Slow { leases: bench.services.leases.clone(), caller: one.caller.clone() };
    let manner = Manner { ask: Some(Arc::new(slow)), ..two.manner() };
    let err = bench.call_raw("git_stash", br#"{"action":"push"}"#, manner).await.unwrap_err();
    assert!(err.to_string().contains("meanwhile"), "{err}");
    assert_eq!(bench.read("g"), "changed\n");
}

#[tokio::test]
async fn another_user_is_kept_out_too_and_only_who_may_write_keeps_others_out() {
    let bench = Workbench::new(Setup::default());
    bench.write("f", "old");
    fs::create_dir(bench.root.join("for-all")).unwrap();
    let open = <fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o777);
    fs::set_permissions(bench.root.join("for-all"), open).unwrap();
    let one = Agent::new(&bench, "one 1");
    let mut two = Agent::new(&bench, "two 1");
    two.caller = Caller { uid: one.caller.uid + 1, user: "guest".into(), ..two.caller };
    let err = two.refused(&bench, "lease_acquire", json!({ "path": "f", "purpose": "x" })).await;
    assert!(err.starts_with("denied: ") && err.contains("`guest`"), "{err}");
    two.lease(&bench, "for-all/new").await;
    let (tool, input) = write("for-all/new");
    assert!(one.refused(&bench, tool, input).await.contains("`two 1` of `guest`"));
    one.lease(&bench, "f").await;
    let (tool, input) = write("f");
    assert!(two.refused(&bench, tool, input).await.contains("`one 1` of `tester`"));
}

#[tokio::test]
async fn without_sessions_a_token_holds_its_leases() {
    let bench = Workbench::new(Setup::default());
    bench.services.leases.know_sessions(|_| false);
    let token = |id: &str| {
        let token = Token { id: id.into(), name: format!("t{id}"), effects: Effect::ALL.to_vec() };
        Some(Arc::new(token))
    };
    let agent = |token: Option<Arc<Token>>| {
        let agent = Agent::new(&bench, "web 1");
        Agent { caller: Caller { token, ..agent.caller }, ..agent }
    };
    let id = agent(token("1")).lease(&bench, "f").await;
    let (tool, input) = write("f");
    // Each call has a session of its own.
    agent(token("1")).call(&bench, tool, input.clone()).await;
    assert!(agent(token("2")).refused(&bench, tool, input.clone()).await.contains("token t1"));
    let err = agent(None).refused(&bench, "lease_acquire", json!({ "path": "x", "purpose": "x" })).await;
    assert!(err.starts_with("invalid_input: "), "{err}");
    agent(token("1")).call(&bench, "lease_renew", json!({ "id": id })).await;
    bench.services.leases.end_token("1");
    agent(token("2")).call(&bench, tool, input).await;
}
