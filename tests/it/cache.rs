//! Which answers are given again, to whom, and when they are made anew.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use skynet_cache::{Seconds, Settings};
use skynet_core::{
    CallCtx, Caller, Canonical, Effect, Error, Group, Kind, Place, Result, Token, Tool, Toolset, Workspace,
};
use skynet_policy::{Limits, Roles, Rules, Verdict};
use skynet_secrets::{Existing, Name, Purpose};
use skynet_tests::workbench::{Manner, Setup, Workbench, product, rule};
use std::{
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Input {
    /// What to say.
    #[serde(default)]
    text: String,
    /// Whether to fail.
    #[serde(default)]
    fails: bool,
}

#[derive(Serialize, JsonSchema)]
struct Output {
    /// How often any of them ran.
    runs: u32,
    /// What was to be said.
    text: String,
}

fn act(runs: &AtomicU32, input: Input) -> Result<Output> {
    let runs = runs.fetch_add(1, Ordering::SeqCst) + 1;
    if input.fails { Err(Error::conflict("on purpose")) } else { Ok(Output { runs, text: input.text }) }
}

/// Answers about units, about packages, and two that change something.
struct ProbeUnits(Arc<AtomicU32>);
struct ProbePackages(Arc<AtomicU32>);
struct ProbeChange(Arc<AtomicU32>);
struct OtherChange(Arc<AtomicU32>);

impl Tool for ProbeUnits {
    const NAME: &'static str = "probe_units";
    const SUMMARY: &'static str = "Tells about units.";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Daemon;
    const KIND: Option<Kind> = Some(Kind::Units);
    type Input = Input;
    type Output = Output;

    async fn call(&self, _ctx: &CallCtx, input: Input) -> Result<Output> {
        act(&self.0, input)
    }
}

impl Tool for ProbePackages {
    const NAME: &'static str = "probe_packages";
    const SUMMARY: &'static str = "Tells about packages.";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Daemon;
    const KIND: Option<Kind> = Some(Kind::Packages);
    type Input = Input;
    type Output = Output;

    async fn call(&self, _ctx: &CallCtx, input: Input) -> Result<Output> {
        act(&self.0, input)
    }
}

impl Tool for ProbeChange {
    const NAME: &'static str = "probe_change";
    const SUMMARY: &'static str = "Changes units.";
    const EFFECT: Effect = Effect::Write;
    const PLACE: Place = Place::Daemon;
    type Input = Input;
    type Output = Output;

    async fn call(&self, _ctx: &CallCtx, input: Input) -> Result<Output> {
        act(&self.0, input)
    }
}

impl Tool for OtherChange {
    const NAME: &'static str = "other_change";
    const SUMMARY: &'static str = "Changes what no answer is about.";
    const EFFECT: Effect = Effect::Write;
    const PLACE: Place = Place::Daemon;
    type Input = Input;
    type Output = Output;

    async fn call(&self, _ctx: &CallCtx, input: Input) -> Result<Output> {
        act(&self.0, input)
    }
}

/// Of an hour, so that no answer is too old in a test.
fn long() -> Settings {
    Settings {
        ttl_seconds: Seconds { units: 3600, packages: 3600, ..Seconds::default() },
        ..Settings::default()
    }
}

fn bench(cache: Settings, limits: Limits) -> Workbench {
    let runs = Arc::new(AtomicU32::new(0));
    let toolsets = vec![
        Toolset::new("probe", "probes")
            .altering(&[Kind::Units])
            .with(ProbeUnits(runs.clone()))
            .with(ProbePackages(runs.clone()))
            .with(ProbeChange(runs.clone())),
        Toolset::new("other", "others").with(OtherChange(runs)).altering(&[]),
    ];
    Workbench::new(Setup { toolsets, cache, limits, ..Setup::default() })
}

/// The number of the run that an answer is of.
async fn run_of(bench: &Workbench, tool: &str, input: Value) -> Value {
    bench.call(tool, input).await.unwrap()["runs"].clone()
}

#[tokio::test]
async fn cached_answers_are_served_to_the_same_question_only() {
    let bench = bench(long(), Limits::default());
    let asked = [
        ("probe_units", "a", 1),
        ("probe_units", "a", 1),
        ("probe_units", "b", 2),
        ("probe_packages", "a", 3),
        ("probe_packages", "a", 3),
        ("probe_units", "b", 2),
    ];
    for (tool, text, expected) in asked {
        assert_eq!(run_of(&bench, tool, json!({ "text": text })).await, expected, "{tool} {text}");
    }
    let audit = bench.audit();
    let hits: Vec<_> = audit.iter().map(|line| line["from_cache"] == true).collect();
    assert_eq!(hits, [false, true, false, false, true, true]);
    assert!(audit.iter().all(|line| line["outcome"] == "ok"));
}

#[tokio::test]
async fn a_call_that_changes_something_empties_what_it_may_change() {
    let bench = bench(long(), Limits::default());
    for tool in ["probe_units", "probe_packages"] {
        let _ = run_of(&bench, tool, json!({})).await;
    }
    bench.call("other_change", json!({})).await.unwrap();
    assert_eq!(run_of(&bench, "probe_units", json!({})).await, 1);
    bench.call("probe_change", json!({})).await.unwrap();
    assert_eq!(run_of(&bench, "probe_units", json!({})).await, 5);
    // A call that failed may have done a part of what it was for.
    bench.call("probe_change", json!({ "fails": true })).await.unwrap_err();
    assert_eq!(run_of(&bench, "probe_units", json!({})).await, 7);
    assert_eq!(run_of(&bench, "probe_packages", json!({})).await, 2);
}

#[tokio::test]
async fn nobody_is_given_what_was_made_for_another() {
    let bench = bench(long(), Limits::default());
    let same = bench.caller();
    let token = Token { id: "t".into(), name: "t".into(), effects: vec![Effect::Read] };
    let elsewhere = tempfile::tempdir().unwrap();
    let others = [
        Caller { uid: same.uid + 1, ..same.clone() },
        Caller { groups: Arc::from([Group { gid: 7, name: "docker".into() }]), ..same.clone() },
        Caller { token: Some(Arc::new(token)), ..same.clone() },
        Caller { workspace: Some(Arc::new(Workspace::open(elsewhere.path()).unwrap())), ..same.clone() },
        Caller { workspace: None, ..same.clone() },
    ];
    let ask = async |caller: &Caller| {
        let manner = Manner { caller: Some(caller.clone()), ..Manner::default() };
        let answer = bench.call_raw("probe_units", b"{}", manner).await.unwrap();
        serde_json::from_slice::<Value>(&answer.json).unwrap()["runs"].clone()
    };
    assert_eq!(ask(&same).await, 1);
    for (caller, expected) in others.iter().zip(2..) {
        assert_eq!((ask(caller).await, ask(caller).await), (json!(expected), json!(expected)), "{caller:?}");
    }
    assert_eq!(ask(&same).await, 1);
}

#[tokio::test]
async fn an_error_is_not_kept() {
    let bench = bench(long(), Limits::default());
    for _ in 0..2 {
        bench.call("probe_units", json!({ "fails": true })).await.unwrap_err();
    }
    assert_eq!(run_of(&bench, "probe_units", json!({})).await, 3);
}

#[tokio::test]
async fn whether_answers_are_kept_is_said_by_the_configuration() {
    let off: Settings = toml::from_str("backend = 'off'").unwrap();
    let none: Settings = toml::from_str("[ttl_seconds]\nunits = 0\n").unwrap();
    for (settings, described) in [(off, "off: every answer is made anew"), (none, "containers 2 s")] {
        let bench = bench(settings, Limits::default());
        for expected in 1..=2 {
            assert_eq!(run_of(&bench, "probe_units", json!({})).await, expected);
        }
        let layers = bench.pipeline.layers();
        let told = layers.iter().find(|layer| layer.name() == "cache").unwrap().describe();
        assert!(told.contains(described) && !told.contains("units"), "{told}");
    }
}

#[tokio::test]
async fn what_is_kept_is_judged_and_counted_like_any_call() {
    let limits = Limits { calls_per_minute: NonZeroU32::new(2), ..Limits::default() };
    let limited = bench(long(), limits);
    let mut refused = 0;
    // A minute of the clock may begin in between, but not twice.
    for _ in 0..6 {
        let asked = limited.call("probe_units", json!({})).await;
        refused += u32::from(asked.is_err_and(|err| err.contains("calls_per_minute")));
    }
    assert!((2..=4).contains(&refused), "{refused}");

    let judged = bench(long(), Limits::default());
    assert_eq!(run_of(&judged, "probe_units", json!({})).await, 1);
    let deny = rule("no units", Verdict::Deny, &["probe_units"], &[]);
    judged.services.rules.store(Arc::new(Rules::new(vec![deny], &Roles::new()).unwrap()));
    let err = judged.call("probe_units", json!({})).await.unwrap_err();
    assert!(err.starts_with("denied: ") && err.contains("`no units`"), "{err}");
}

#[tokio::test]
async fn a_secret_that_is_set_later_is_taken_out_of_what_is_kept() {
    let bench = bench(long(), Limits::default());
    let input = json!({ "text": "hunter2-and-more" });
    let told = bench.call("probe_units", input.clone()).await.unwrap();
    assert_eq!(told["text"], "hunter2-and-more");
    let name = Name::parse("later").unwrap();
    let keyring = &bench.services.keyring;
    let owner = bench.caller().uid;
    keyring.set(owner, &name, b"hunter2-and-more", &Purpose::default(), Existing::Fail).unwrap();
    let told = bench.call("probe_units", input).await.unwrap();
    assert_eq!((&told["runs"], &told["text"]), (&json!(1), &json!("[redacted:later]")));
}

#[test]
fn only_what_reads_no_file_is_given_again() {
    let registry = product();
    let kept: Vec<_> = registry.iter().filter(|tool| tool.kind.is_some()).collect();
    let names: Vec<_> = kept.iter().map(|tool| tool.name).collect();
    assert_eq!(
        names,
        [
            "docker_list_containers",
            "docker_list_images",
            "docker_list_networks",
            "docker_list_projects",
            "docker_list_volumes",
            "service_list",
            "system_list_packages"
        ]
    );
    assert!(
        kept.iter()
            .all(|tool| tool.most == Effect::Read && matches!(tool.place, Place::Daemon | Place::Host))
    );
    let alters = |name: &str| registry.find(name).unwrap().alters;
    assert!(alters("files_write").is_empty());
    assert_eq!(alters("docker_run_container"), Kind::OF_ENGINE);
    for name in ["service_control", "exec_run", "env_install"] {
        assert_eq!(alters(name), Kind::ALL, "{name}");
    }
    let scoped = |scope: &str| {
        let input = Canonical::parse(json!({ "scope": scope }).to_string().as_bytes()).unwrap();
        registry.find("service_list").unwrap().kind_of(&input).unwrap()
    };
    assert_eq!((scoped("system"), scoped("user")), (Some(Kind::Units), None));
}
