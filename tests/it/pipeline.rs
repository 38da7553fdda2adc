//! The ten layers.

mod ends;

use crate::grants::root;
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use skynet_core::{
    CallCtx, CallId, Effect, Error, ErrorKind, Place, Result, Tool, Toolset, Usage,
    call::{Ask, Asked, Question},
    change::{Changed, Entry, Kind},
};
use skynet_policy::{ApprovalState, Limit, Limits, Verdict, Who, Window};
use skynet_tests::workbench::{Manner, Setup, Workbench, rule};
use std::{
    num::{NonZeroU32, NonZeroU64},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Input {
    /// What to do.
    #[serde(default)]
    mode: String,
    /// How much.
    #[serde(default)]
    #[schemars(range(min = 0, max = 100_000_000))]
    size: usize,
    /// Not to be written down.
    #[serde(default)]
    #[schemars(extend("writeOnly" = true))]
    #[allow(dead_code)]
    secret: String,
}

#[derive(Serialize, JsonSchema)]
struct Output {
    /// How often it ran.
    runs: u32,
    /// As much as was asked for.
    text: String,
}

async fn act(counter: &AtomicU32, ctx: &CallCtx, input: Input) -> Result<Output> {
    let runs = counter.fetch_add(1, Ordering::SeqCst) + 1;
    match input.mode.as_str() {
        "panic" => panic!("on purpose"),
        "hang" => ctx.cancel.cancelled().await,
        "stuck" => std::future::pending().await,
        "compute" => ctx.charge(Usage { cpu: Duration::from_millis(1500), ..Usage::default() }),
        "compute and fail" => {
            ctx.charge(Usage { cpu: Duration::from_millis(1500), ..Usage::default() });
            return Err(Error::conflict("on purpose"));
        }
        "write" => ctx.note_changes(vec![written(input.size)]),
        "jobs" => {
            let jobs = ctx.jobs.as_ref().map(|jobs| format!("{} by {}", jobs.most, jobs.name));
            return Ok(Output { runs, text: jobs.unwrap_or_default() });
        }
        _ => {}
    }
    Ok(Output { runs, text: "x".repeat(input.size) })
}

/// A new file of that size.
fn written(size: usize) -> Changed {
    let sha256 = "a".repeat(64);
    let after = Entry {
        kind: Kind::File,
        mode: 0o644,
        size_bytes: size as u64,
        sha256,
        target: String::new(),
        rights: None,
    };
    Changed { path: "new".into(), before: None, after: Some(after), lost: None, tree: None }
}

/// One tool per effect, counting how often it ran.
struct ProbeRead(Arc<AtomicU32>);
struct ProbeWrite(Arc<AtomicU32>);
struct ProbeDestroy(Arc<AtomicU32>);

impl Tool for ProbeRead {
    const NAME: &'static str = "probe_read";
    const SUMMARY: &'static str = "Reads.";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Daemon;
    const TIMEOUT: Duration = Duration::from_millis(300);
    type Input = Input;
    type Output = Output;

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        act(&self.0, ctx, input).await
    }
}

impl Tool for ProbeWrite {
    const NAME: &'static str = "probe_write";
    const SUMMARY: &'static str = "Writes.";
    const EFFECT: Effect = Effect::Write;
    const PLACE: Place = Place::Daemon;
    type Input = Input;
    type Output = Output;

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        act(&self.0, ctx, input).await
    }
}

impl Tool for ProbeDestroy {
    const NAME: &'static str = "probe_destroy";
    const SUMMARY: &'static str = "Destroys.";
    const EFFECT: Effect = Effect::Destroy;
    const PLACE: Place = Place::Daemon;
    type Input = Input;
    type Output = Output;

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        act(&self.0, ctx, input).await
    }
}

fn bench(mut setup: Setup) -> (Workbench, Arc<AtomicU32>) {
    let runs = Arc::new(AtomicU32::new(0));
    setup.toolsets = probes(&runs);
    (Workbench::new(setup), runs)
}

fn probes(runs: &Arc<AtomicU32>) -> Vec<Toolset> {
    vec![
        Toolset::new("probe", "probes")
            .with(ProbeRead(runs.clone()))
            .with(ProbeWrite(runs.clone()))
            .with(ProbeDestroy(runs.clone())),
    ]
}

struct Answering(Asked);

#[async_trait]
impl Ask for Answering {
    async fn ask(&self, question: Question<'_>) -> Asked {
        assert!(question.text.contains("`probe_destroy` (destroy)"), "{question:?}");
        self.0
    }
}

#[test]
fn the_layers_stand_in_the_order_of_the_architecture() {
    let (bench, _) = bench(Setup::default());
    let names: Vec<_> = bench.pipeline.layers().iter().map(|layer| layer.name()).collect();
    assert_eq!(
        names,
        ["trace", "audit", "permit", "quota", "validate", "lease", "confirm", "cache", "bound", "deadline"]
    );
}

#[tokio::test]
async fn every_outcome_leaves_one_redacted_line() {
    let deny = rule("no writes", Verdict::Deny, &["probe_write"], &[]);
    let (bench, _) = bench(Setup { rules: vec![deny], ..Setup::default() });
    let calls = [
        ("probe_read", json!({ "size": 1, "secret": "hunter2" })),
        ("probe_read", json!({ "unknown": "hunter2" })),
        ("probe_write", json!({})),
        ("probe_destroy", json!({})),
        ("probe_read", json!({ "mode": "panic" })),
        ("probe_read", json!({ "mode": "stuck" })),
    ];
    for (tool, input) in calls {
        // Whether it succeeded is for the log to say.
        let _ = bench.call(tool, input).await;
    }
    let audit = bench.audit();
    let outcomes: Vec<_> = audit.iter().map(|line| line["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["ok", "invalid_input", "denied", "needs_confirmation", "internal", "timed_out"]);
    assert!(!json!(audit).to_string().contains("hunter2"), "{audit:?}");
    assert_eq!(audit[0]["input"], json!({ "size": 1, "secret": audit[0]["input"]["secret"] }));
    assert_eq!(bench.services.audit.verify().unwrap().faults, Vec::<String>::new());
}

#[tokio::test]
async fn a_denial_names_the_rule_and_what_would_help() {
    let deny = rule("no writes", Verdict::Deny, &["probe_*"], &[Effect::Write]);
    let (bench, runs) = bench(Setup { rules: vec![deny], ..Setup::default() });
    let err = bench.call("probe_write", json!({})).await.unwrap_err();
    for part in ["denied: ", "`no writes`", "`tester`", "`probe_write`", "effect `write`"] {
        assert!(err.contains(part), "{part}: {err}");
    }
    assert_eq!(runs.load(Ordering::SeqCst), 0);
    bench.call("probe_read", json!({})).await.unwrap();
}

#[tokio::test]
async fn bad_input_is_refused_in_words_and_never_runs() {
    let (bench, runs) = bench(Setup::default());
    for (raw, part) in [
        (r#"{"size":1,"size":2}"#, "`size` appears twice"),
        (r#"{"size":-1}"#, "argument `size`"),
        (r#"{"size":100000001}"#, "argument `size`"),
        (r#"{"size":1.5}"#, "argument `size`"),
        (r#"{"size":"1"}"#, "argument `size`"),
        (r#"{"sise":1}"#, "arguments are: mode, secret, size"),
        ("[]", "must be a JSON object"),
        ("{", "not usable JSON"),
    ] {
        let err = bench.call_raw("probe_write", raw.as_bytes(), Manner::default()).await.unwrap_err();
        assert_eq!(err.kind, ErrorKind::InvalidInput);
        assert!(err.message.contains(part), "{raw}: {err}");
    }
    assert_eq!(runs.load(Ordering::SeqCst), 0);
    bench.call_raw("probe_write", br#"{"mode":null}"#, Manner::default()).await.unwrap();
}

#[tokio::test]
async fn quotas_count_calls_per_minute_and_at_once() {
    let limits = Limits { calls_per_minute: NonZeroU32::new(2), ..Limits::default() };
    let (limited, _) = bench(Setup { limits, ..Setup::default() });
    let mut refusals = 0;
    // A minute of the clock may begin in between, but not twice.
    for _ in 0..6 {
        refusals += u32::from(
            limited.call("probe_read", json!({})).await.is_err_and(|err| err.contains("calls_per_minute")),
        );
    }
    assert!((2..=4).contains(&refusals), "{refusals}");

    let limits = Limits { concurrent_calls: NonZeroU32::MIN, ..Limits::default() };
    let (single, runs) = bench(Setup { limits, ..Setup::default() });
    let cancel = CancellationToken::new();
    let manner = Manner { cancel: cancel.clone(), ..Manner::default() };
    let first = single.call_raw("probe_write", br#"{"mode":"hang"}"#, manner);
    let second = async {
        while runs.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        let refused = single.call("probe_read", json!({})).await.unwrap_err();
        cancel.cancel();
        refused
    };
    let (first, refused) = tokio::join!(first, second);
    first.unwrap();
    assert!(refused.starts_with("quota_exceeded: 1 calls of this user are running"), "{refused}");
    single.call("probe_read", json!({})).await.unwrap();
}

/// Limits with these entries.
fn limited<const N: usize>(limits: [Limit; N]) -> Setup {
    let limits = Limits { limits: limits.into(), ..Limits::default() };
    Setup { limits, ..Setup::default() }
}

/// A limit in thirty days, so that no window ends under a test but once in a blue moon.
fn limit(name: &str) -> Limit {
    Limit { name: name.into(), window: Some(Window::ThirtyDays), ..Limit::default() }
}

/// What is used of each limit in a window.
fn used(bench: &Workbench) -> Vec<(String, f64)> {
    let caller = bench.caller();
    let standings = bench.services.quotas.standings(&Who::of(&caller), 0).unwrap();
    let counted = standings.into_iter().filter(|standing| standing.window.is_some());
    counted.map(|standing| (standing.name, standing.used)).collect()
}

#[tokio::test]
async fn a_limit_holds_across_a_restart_and_until_an_administrator_resets_it() {
    let small = || Limit { calls: NonZeroU64::new(3), ..limit("small") };
    let (bench, runs) = bench(limited([small()]));
    for _ in 0..2 {
        bench.call("probe_read", json!({})).await.unwrap();
    }
    let setup = || {
        let large = Limit { calls: NonZeroU64::new(100), ..limit("large") };
        Setup { toolsets: probes(&runs), ..limited([large, small()]) }
    };
    let bench = bench.restarted(setup()).await;
    bench.call("probe_write", json!({})).await.unwrap();
    for _ in 0..3 {
        let refused = bench.call("probe_read", json!({})).await.unwrap_err();
        let uid = rustix::process::getuid().as_raw();
        let reset = format!("`skynetctl quota reset --uid {uid} --limit 'small'`");
        for part in [
            "quota_exceeded: the limit `small` allows 3 `calls` in 30d, of which 3 are used",
            "free again in ",
            &reset,
        ] {
            assert!(refused.contains(part), "{refused}");
        }
    }
    let bench = bench.restarted(setup()).await;
    bench.call("probe_read", json!({})).await.unwrap_err();
    assert_eq!(runs.load(Ordering::SeqCst), 3);
    // What was refused is not counted, for no limit.
    assert_eq!(used(&bench), [("large".to_owned(), 3.0), ("small".to_owned(), 3.0)]);

    bench.services.quotas.reset(rustix::process::getuid().as_raw(), "small").unwrap();
    bench.call("probe_read", json!({})).await.unwrap();
    let bench = bench.restarted(setup()).await;
    assert_eq!(used(&bench), [("large".to_owned(), 4.0), ("small".to_owned(), 1.0)]);
}

#[tokio::test]
async fn processor_time_counts_when_a_call_ends_however_it_ends() {
    let cpu = Limit { cpu_seconds: NonZeroU64::new(3), ..limit("cpu") };
    let (bench, _) = bench(limited([cpu]));
    bench.call("probe_read", json!({ "mode": "compute" })).await.unwrap();
    bench.call("probe_read", json!({})).await.unwrap();
    assert_eq!(used(&bench), [("cpu".to_owned(), 1.5)]);
    let failed = bench.call("probe_read", json!({ "mode": "compute and fail" })).await.unwrap_err();
    assert_eq!(failed, "conflict: on purpose");
    let refused = bench.call("probe_read", json!({})).await.unwrap_err();
    assert!(refused.contains("`cpu` allows 3 `cpu_seconds` in 30d, of which 3.000 are used"), "{refused}");
}

#[tokio::test]
async fn bytes_of_answers_and_of_files_count_when_a_call_ends() {
    let answers = Limit { answer_bytes: NonZeroU64::new(1000), ..limit("answers") };
    let files = Limit { written_bytes: NonZeroU64::new(5000), ..limit("files") };
    let (bench, runs) = bench(limited([answers, files]));
    let answer = bench.call_raw("probe_read", br#"{"size":400}"#, Manner::default()).await.unwrap();
    assert_eq!(used(&bench), [("answers".to_owned(), answer.json.len() as f64), ("files".to_owned(), 0.0)]);
    // The last call may go beyond the limit: what it will need is not known before.
    bench.call("probe_read", json!({ "size": 4000 })).await.unwrap();
    let refused = bench.call("probe_read", json!({})).await.unwrap_err();
    assert!(refused.contains("`answers` allows 1000 `answer_bytes`"), "{refused}");

    let files = Limit { written_bytes: NonZeroU64::new(5000), ..limit("files") };
    let bench = bench.restarted(Setup { toolsets: probes(&runs), ..limited([files]) }).await;
    bench.call("probe_write", json!({ "mode": "write", "size": 4999 })).await.unwrap();
    bench.call("probe_write", json!({ "mode": "write", "size": 1 })).await.unwrap();
    let refused = bench.call("probe_write", json!({})).await.unwrap_err();
    assert!(
        refused.contains("`files` allows 5000 `written_bytes` in 30d, of which 5000 are used"),
        "{refused}"
    );
}

#[tokio::test]
async fn a_tool_that_starts_jobs_is_told_how_many_there_may_be() {
    let jobs = |most| Limit { concurrent_jobs: NonZeroU32::new(most), ..Limit::default() };
    let all = [Limit { name: "many".into(), ..jobs(4) }, Limit { name: "few".into(), ..jobs(2) }];
    for (setup, expected) in [(limited(all), "2 by few"), (Setup::default(), "")] {
        let (bench, _) = bench(setup);
        let answer = bench.call("probe_read", json!({ "mode": "jobs" })).await.unwrap();
        assert_eq!(answer["text"], expected);
    }
}

#[tokio::test]
async fn of_what_is_kept_for_a_user_the_oldest_goes() {
    let kept = Limit { name: "kept".into(), kept_bytes: NonZeroU64::new(1_500_000), ..Limit::default() };
    let (bench, _) = bench(limited([kept]));
    let uid = rustix::process::getuid().as_raw();
    let mut links = Vec::new();
    for size in [1_000_000, 1_000_001, 400_000] {
        let raw = json!({ "size": size }).to_string();
        let answer = bench.call_raw("probe_read", raw.as_bytes(), Manner::default()).await.unwrap();
        links.push(answer.links[0].uri.strip_prefix("skynet://result/").unwrap().to_owned());
    }
    let kept = |digest: &String| {
        bench.services.blobs.read(&format!("result/{uid}"), digest, 0, 1).unwrap().is_some()
    };
    assert_eq!(links.iter().map(kept).collect::<Vec<_>>(), [false, true, true]);
    assert!(bench.services.blobs.bytes_of_user(uid) <= 1_500_000);
}

#[tokio::test]
async fn what_destroys_waits_for_a_human_at_the_client() {
    let (bench, runs) = bench(Setup::default());
    for (answer, expected) in [
        (Asked::Yes, None),
        (Asked::No, Some(ErrorKind::Denied)),
        (Asked::Cannot, Some(ErrorKind::NeedsConfirmation)),
        (Asked::Later, Some(ErrorKind::NeedsConfirmation)),
    ] {
        let manner = Manner { ask: Some(Arc::new(Answering(answer))), ..Manner::default() };
        let result = bench.call_raw("probe_destroy", b"{}", manner).await;
        assert_eq!(result.err().map(|err| err.kind), expected, "{answer:?}");
    }
    assert_eq!(runs.load(Ordering::SeqCst), 1);
    // The word is that of the caller, whoever sits at his client.
    let caller = bench.caller();
    let lines = bench.audit();
    let who = [&lines[0]["confirmed_by"], &lines[0]["confirmed_uid"], &lines[0]["confirmed_user"]];
    assert_eq!(who, [&json!("client"), &json!(caller.uid), &json!(&*caller.user)]);
    assert!(lines[0].get("grant").is_none() && lines[1].get("confirmed_by").is_none(), "{lines:?}");
}

#[tokio::test]
async fn an_approval_is_for_one_identical_call() {
    let (bench, runs) = bench(Setup::default());
    let call = || bench.call("probe_destroy", json!({ "size": 3 }));
    call().await.unwrap_err();
    let queued = bench.services.approvals.list();
    assert_eq!((queued.len(), queued[0].input.as_str()), (1, r#"{"size":3}"#));
    bench.services.approvals.decide(&queued[0].id, ApprovalState::Approved, root()).unwrap();
    let other = bench.call("probe_destroy", json!({ "size": 4 })).await.unwrap_err();
    assert!(other.starts_with("needs_confirmation"), "{other}");
    call().await.unwrap();
    call().await.unwrap_err();
    assert_eq!(runs.load(Ordering::SeqCst), 1, "an approval is used once");
    assert!(bench.services.approvals.decide(&queued[0].id, ApprovalState::Approved, root()).is_err());
}

#[tokio::test]
async fn a_call_waits_while_somebody_watches_the_queue() {
    let (bench, _) = bench(Setup { confirm_wait: Duration::from_secs(60), ..Setup::default() });
    let _watching = bench.services.approvals.attend(None);
    let human = async {
        let mut changes = bench.services.approvals.changes();
        loop {
            if let Some(pending) = bench.services.approvals.list().first() {
                return bench
                    .services
                    .approvals
                    .decide(&pending.id, ApprovalState::Approved, root())
                    .unwrap();
            }
            changes.changed().await.unwrap();
        }
    };
    let (result, _) = tokio::join!(bench.call("probe_destroy", json!({})), human);
    result.unwrap();
    let lines = bench.audit();
    let who = [&lines[0]["confirmed_by"], &lines[0]["confirmed_uid"], &lines[0]["confirmed_user"]];
    assert_eq!(who, [&json!("skynetctl"), &json!(0), &json!("root")]);
}

#[tokio::test]
async fn a_long_answer_is_cut_and_kept_whole() {
    let (bench, _) = bench(Setup::default());
    let answer = bench.call_raw("probe_read", br#"{"size":1000000}"#, Manner::default()).await.unwrap();
    assert!(answer.json.len() < 70_000, "{}", answer.json.len());
    let shown: serde_json::Value = serde_json::from_slice(&answer.json).unwrap();
    assert!(shown["text"].as_str().unwrap().contains("bytes left out"));
    let digest = answer.links[0].uri.strip_prefix("skynet://result/").unwrap().to_owned();
    let owner = format!("result/{}", rustix::process::getuid().as_raw());
    let (whole, size) = bench.services.blobs.read(&owner, &digest, 0, 2_000_000).unwrap().unwrap();
    assert_eq!((whole.len() as u64, size), (answer.links[0].size_bytes, answer.links[0].size_bytes));
    assert!(size > 1_000_000);
}

#[tokio::test]
async fn a_call_sent_again_runs_once() {
    let (bench, runs) = bench(Setup::default());
    let id = CallId { session: Uuid::new_v4(), sequence: 5, index: 0 };
    let first =
        bench.call_raw("probe_write", b"{}", Manner { id: Some(id), ..Manner::default() }).await.unwrap();
    let again = Manner { id: Some(id), resend: true, ..Manner::default() };
    let second = bench.call_raw("probe_write", b"{}", again.clone()).await.unwrap();
    assert_eq!((first.json, runs.load(Ordering::SeqCst)), (second.json, 1));

    let other = CallId { sequence: 6, ..id };
    bench
        .call_raw("probe_read", b"{}", Manner { id: Some(other), resend: true, ..Manner::default() })
        .await
        .unwrap();
    assert_eq!(runs.load(Ordering::SeqCst), 2, "a read that was never answered runs");
}

#[tokio::test]
async fn cancellation_and_panics_are_outcomes() {
    let (bench, runs) = bench(Setup::default());
    let cancel = CancellationToken::new();
    let manner = Manner { cancel: cancel.clone(), ..Manner::default() };
    let running = bench.call_raw("probe_write", br#"{"mode":"hang"}"#, manner.clone());
    let stopping = async {
        while runs.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        cancel.cancel();
    };
    let (stopped, ()) = tokio::join!(running, stopping);
    stopped.unwrap();
    // What is taken back before it began does not begin.
    let err = bench.call_raw("probe_write", b"{}", manner).await.unwrap_err();
    assert_eq!((err.kind, runs.load(Ordering::SeqCst)), (ErrorKind::Canceled, 1));
    let err = bench.call("probe_write", json!({ "mode": "panic" })).await.unwrap_err();
    assert_eq!(err, "internal: `probe_write` failed by a defect of Skynet");
    bench.call("probe_write", json!({})).await.unwrap();
}
