//! The nine layers.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use skynet_core::{
    CallCtx, CallId, Effect, ErrorKind, Place, Result, Tool, Toolset,
    call::{Ask, Asked, Question},
};
use skynet_policy::{ApprovalState, Limits, Verdict};
use skynet_tests::workbench::{Manner, Setup, Workbench, rule};
use std::{
    num::NonZeroU32,
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
        _ => {}
    }
    Ok(Output { runs, text: "x".repeat(input.size) })
}

/// One tool per effect, counting how often it ran.
struct ProbeRead(Arc<AtomicU32>);
struct ProbeWrite(Arc<AtomicU32>);
struct ProbeDestroy(Arc<AtomicU32>);
struct ProbeCached(Arc<AtomicU32>);

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

impl Tool for ProbeCached {
    const NAME: &'static str = "probe_cached";
    const SUMMARY: &'static str = "Stays true for a while.";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Daemon;
    const CACHE_FOR: Option<Duration> = Some(Duration::from_secs(60));
    type Input = Input;
    type Output = Output;

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        act(&self.0, ctx, input).await
    }
}

fn bench(mut setup: Setup) -> (Workbench, Arc<AtomicU32>) {
    let runs = Arc::new(AtomicU32::new(0));
    setup.toolsets = vec![
        Toolset::new("probe", "probes")
            .with(ProbeRead(runs.clone()))
            .with(ProbeWrite(runs.clone()))
            .with(ProbeDestroy(runs.clone()))
            .with(ProbeCached(runs.clone())),
    ];
    (Workbench::new(setup), runs)
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
        ["trace", "audit", "permit", "quota", "validate", "confirm", "cache", "bound", "deadline"]
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
    assert_eq!(bench.audit()[0]["confirmed_by"], "client");
}

#[tokio::test]
async fn an_approval_is_for_one_identical_call() {
    let (bench, runs) = bench(Setup::default());
    let call = || bench.call("probe_destroy", json!({ "size": 3 }));
    call().await.unwrap_err();
    let queued = bench.services.approvals.list();
    assert_eq!((queued.len(), queued[0].input.as_str()), (1, r#"{"size":3}"#));
    bench.services.approvals.decide(&queued[0].id, ApprovalState::Approved).unwrap();
    let other = bench.call("probe_destroy", json!({ "size": 4 })).await.unwrap_err();
    assert!(other.starts_with("needs_confirmation"), "{other}");
    call().await.unwrap();
    call().await.unwrap_err();
    assert_eq!(runs.load(Ordering::SeqCst), 1, "an approval is used once");
    assert!(bench.services.approvals.decide(&queued[0].id, ApprovalState::Approved).is_err());
}

#[tokio::test]
async fn a_call_waits_while_somebody_watches_the_queue() {
    let (bench, _) = bench(Setup { confirm_wait: Duration::from_secs(60), ..Setup::default() });
    let _watching = bench.services.approvals.attend();
    let human = async {
        let mut changes = bench.services.approvals.changes();
        loop {
            if let Some(pending) = bench.services.approvals.list().first() {
                return bench.services.approvals.decide(&pending.id, ApprovalState::Approved).unwrap();
            }
            changes.changed().await.unwrap();
        }
    };
    let (result, _) = tokio::join!(bench.call("probe_destroy", json!({})), human);
    result.unwrap();
    assert_eq!(bench.audit()[0]["confirmed_by"], "skynetctl");
}

#[tokio::test]
async fn cached_answers_are_served_to_the_same_question_only() {
    let (bench, runs) = bench(Setup::default());
    for input in [json!({ "size": 1 }), json!({ "size": 1 }), json!({ "size": 2 })] {
        bench.call("probe_cached", input).await.unwrap();
    }
    assert_eq!(runs.load(Ordering::SeqCst), 2);
    assert_eq!(bench.audit()[1]["from_cache"], true);
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
    let (bench, _) = bench(Setup::default());
    let cancel = CancellationToken::new();
    cancel.cancel();
    bench
        .call_raw("probe_write", br#"{"mode":"hang"}"#, Manner { cancel, ..Manner::default() })
        .await
        .unwrap();
    let err = bench.call("probe_write", json!({ "mode": "panic" })).await.unwrap_err();
    assert_eq!(err, "internal: `probe_write` failed by a defect of Skynet");
    bench.call("probe_write", json!({})).await.unwrap();
}
