use super::*;
use proptest::prelude::*;
use serde_json::json;
use skynet_core::{Group, Workspace};
use std::{collections::BTreeMap, fs, os::unix::fs::symlink, path::Path};

/// A workspace with a directory `src`, a link `link` to it, a secret, and ways out.
struct Ground {
    _keep: tempfile::TempDir,
    workspace: Workspace,
}

impl Ground {
    fn new() -> Self {
        let keep = tempfile::tempdir().unwrap();
        let work = keep.path().join("home/projects/app");
        fs::create_dir_all(work.join("src/deep")).unwrap();
        fs::create_dir_all(work.join("secret")).unwrap();
        fs::write(work.join("secret/key"), "").unwrap();
        for (to, name) in
            [("src", "link"), ("secret/key", "src/innocent"), ("../../..", "out"), ("nothing", "dangling")]
        {
            symlink(to, work.join(name)).unwrap();
        }
        let workspace = Workspace::open(&work).unwrap();
        Self { _keep: keep, workspace }
    }

    /// The parent of the home of everybody in these tests, as the kernel calls it.
    fn root(&self) -> &Path {
        self.workspace.path().ancestors().nth(3).unwrap()
    }

    /// What these rules say to a call.
    fn decide(&self, rules: &Rules, call: &Attempt) -> (Verdict, String) {
        self.with_facts(call, |facts| {
            let decision = rules.decide(facts);
            (decision.verdict, decision.rule)
        })
    }

    /// Has a call of ann, 7, of the groups `devs` (100) and `ops` (200), judged.
    fn with_facts<T>(&self, call: &Attempt, judge: impl FnOnce(&Facts<'_>) -> T) -> T {
        let groups =
            [(100, "devs"), (200, "ops")].map(|(gid, name)| Group { gid, name: name.into() }).to_vec();
        let home = self.root().join("home");
        let workspace = call.has_workspace.then_some(&self.workspace);
        let who = Who { user: "ann", uid: 7, groups: &groups, home: &home, workspace };
        let schema = json!({ "properties": { "branch": { "default": "main" }, "path": {} } });
        let input = call.input.as_ref().map(|input| Canonical::parse(input.to_string().as_bytes()).unwrap());
        let facts = Facts {
            who: &who,
            tool: call.tool,
            toolset: "files_more",
            schema: schema.as_object().unwrap(),
            effect: call.effect,
            also: &[],
            input: input.as_ref(),
            at: call.at.parse().unwrap(),
            paths: call.paths,
        };
        judge(&facts)
    }

    fn rules(&self, text: &str) -> Result<Rules, String> {
        #[derive(serde::Deserialize)]
        struct Policy {
            #[serde(default)]
            rules: Vec<Rule>,
            #[serde(default)]
            roles: Roles,
        }
        let text = text.replace("$ROOT", &self.root().to_string_lossy());
        let policy: Policy = toml::from_str(&text).map_err(|err| err.to_string())?;
        Rules::new(policy.rules, &policy.roles).map_err(|err| err.message.to_string())
    }
}

struct Attempt {
    tool: &'static str,
    effect: Effect,
    input: Option<Value>,
    at: &'static str,
    has_workspace: bool,
    paths: Paths,
}

/// A Wednesday.
const NOON: &str = "2026-03-04T12:00:00Z";

fn attempt(input: Value) -> Attempt {
    Attempt {
        tool: "files_write",
        effect: Effect::Write,
        input: Some(input),
        at: NOON,
        has_workspace: true,
        paths: Paths::Here,
    }
}

/// Whether a rule of each verdict with these conditions matches: `(deny, allow)`.
fn matches(ground: &Ground, conditions: &str, call: &Attempt) -> (bool, bool) {
    let one = |verdict: &str| {
        let text = format!(
            "[roles.lead]\nusers = ['ann', 'bob']\n[roles.night]\ngroups = ['200']\n[roles.none]\nusers = ['eve']\n[[rules]]\nname = 'it'\nverdict = '{verdict}'\n{conditions}\n"
        );
        let rules = ground.rules(&text).unwrap_or_else(|err| panic!("{text}: {err}"));
        ground.decide(&rules, call).1 == "it"
    };
    (one("deny"), one("allow"))
}

#[test]
fn every_condition_of_a_rule() {
    let ground = Ground::new();
    let call = attempt(json!({ "path": "src/a.rs" }));
    for (conditions, expected) in [
        ("", true),
        ("users = ['ann']", true),
        ("users = ['7']", true),
        ("users = ['bob', '8']", false),
        ("groups = ['devs']", true),
        ("groups = ['200']", true),
        ("groups = ['wheel', '300']", false),
        ("roles = ['lead']", true),
        ("roles = ['night']", true),
        ("roles = ['none']", false),
        ("roles = ['none', 'lead']", true),
        ("users = ['ann']\ngroups = ['wheel']", false),
        ("users = ['ann']\nroles = ['none']", false),
        ("tools = ['files_*']", true),
        ("tools = ['git_*', 'files_rea?']", false),
        ("families = ['files']", true),
        ("families = ['files_more']", true),
        ("families = ['git', 'system']", false),
        ("effects = ['write']", true),
        ("effects = ['read', 'destroy']", false),
        ("workspaces = ['~/projects/*']", true),
        ("workspaces = ['~/*']", false),
        ("workspaces = ['~/**']", true),
        ("workspaces = ['~']", false),
        ("workspaces = ['$ROOT/*/projects/app']", true),
        ("workspaces = ['/srv/**']", false),
        ("hours = 'mon-fri 08:00-18:00'\ntimezone = 'UTC'", true),
        ("hours = 'mon-fri 08:00-12:00'\ntimezone = 'UTC'", false),
        ("hours = ['sat,sun', '11:00-13:00']\ntimezone = 'UTC'", true),
        ("hours = '22:00-06:00'\ntimezone = 'UTC'", false),
    ] {
        assert_eq!(matches(&ground, conditions, &call), (expected, expected), "{conditions}");
    }
    let nowhere = Attempt { has_workspace: false, ..attempt(json!({})) };
    assert_eq!(matches(&ground, "workspaces = ['~/**']", &nowhere), (false, false));
    let night = Attempt { at: "2026-03-07T01:30:00Z", ..attempt(json!({})) };
    for (conditions, expected) in [
        ("hours = 'fri 22:00-06:00'\ntimezone = 'UTC'", true),
        ("hours = 'sat 22:00-06:00'\ntimezone = 'UTC'", false),
        ("hours = 'mon-fri'\ntimezone = 'UTC'", false),
    ] {
        assert_eq!(matches(&ground, conditions, &night), (expected, expected), "{conditions}");
    }
}

#[test]
fn every_matcher_of_an_argument() {
    let ground = Ground::new();
    let whole = ground.workspace.path().join("src//./deep").display().to_string();
    // Whether a rule that denies and a rule that allows take it for a match.
    for (argument, input, deny, allow) in [
        ("path = '*.rs'", json!({ "path": "a.rs" }), true, true),
        ("path = '*.rs'", json!({ "path": "src/a.rs" }), true, false),
        ("path = '**/*.rs'", json!({ "path": "src/a.rs" }), true, true),
        ("path = ['*.md', '*.rs']", json!({ "path": "a.rs" }), true, true),
        ("path = 'src/**'", json!({ "path": "src/../secret/key" }), true, false),
        ("path = '*.md'", json!({ "path": "a.rs" }), false, false),
        ("path = '*.md'", json!({}), false, false),
        ("path = { glob = '*.md', or_absent = true }", json!({}), true, true),
        ("path = '4?'", json!({ "path": 42 }), true, true),
        ("path = 'true'", json!({ "path": true }), true, true),
        ("path = '*'", json!({ "path": {} }), true, false),
        ("branch = 'main'", json!({}), true, true),
        ("branch = 'main'", json!({ "branch": "topic" }), false, false),
        ("paths = '*.rs'", json!({ "paths": ["a.md", "b.rs"] }), true, false),
        ("paths = '*.rs'", json!({ "paths": ["a.rs", "b.rs"] }), true, true),
        ("paths = '*.rs'", json!({ "paths": [] }), false, false),
        ("path = { under = 'src' }", json!({ "path": "src" }), true, true),
        ("path = { under = 'src' }", json!({ "path": "src/new/file" }), true, true),
        ("path = { under = 'src' }", json!({ "path": "./src//deep/" }), true, true),
        ("path = { under = 'src' }", json!({ "path": "secret/../src/x" }), true, true),
        ("path = { under = 'src' }", json!({ "path": whole }), true, true),
        ("path = { under = 'src' }", json!({ "path": "srcs/x" }), false, false),
        ("path = { under = 'src' }", json!({ "path": "src/../secret/key" }), false, false),
        ("path = { under = 'src' }", json!({ "path": "link/x" }), true, true),
        ("path = { under = 'link' }", json!({ "path": "src/x" }), true, true),
        // The link is there, and leads elsewhere: some tools follow it and some do not.
        ("path = { under = 'src' }", json!({ "path": "src/innocent" }), true, false),
        ("path = { under = 'secret' }", json!({ "path": "src/innocent" }), true, false),
        ("path = { under = 'secret' }", json!({ "path": "src/x" }), false, false),
        ("path = { under = 'src' }", json!({ "path": "out/x" }), true, false),
        ("path = { under = 'src' }", json!({ "path": "dangling" }), true, false),
        ("path = { under = 'src' }", json!({ "path": "missing/../src/x" }), true, false),
        ("path = { under = 'src' }", json!({ "path": "/etc/passwd" }), true, false),
        ("path = { under = 'src' }", json!({ "path": "" }), true, false),
        ("path = { under = 'src' }", json!({ "path": 3 }), true, false),
        ("path = { under = ['docs', 'src'] }", json!({ "path": "src/x" }), true, true),
        ("path = { under = '.' }", json!({ "path": "secret/key" }), true, true),
        ("path = { under = 'src', glob = '*.rs' }", json!({ "path": "secret/a.rs" }), false, false),
        ("size = { max = 10 }", json!({ "size": 10 }), true, true),
        ("size = { max = 10 }", json!({ "size": 10.5 }), false, false),
        ("size = { min = 2, max = 10 }", json!({ "size": 1 }), false, false),
        (
            "size = { min = 9223372036854775807 }",
            json!({ "size": 18_446_744_073_709_551_615_u64 }),
            true,
            true,
        ),
        ("size = { min = 2 }", json!({ "size": "3" }), true, false),
        ("size = { equals = 1 }", json!({ "size": 1.0 }), true, true),
        ("force = { equals = true }", json!({ "force": true }), true, true),
        ("force = { equals = true }", json!({ "force": false }), false, false),
        ("force = { equals = true }", json!({}), false, false),
        ("list = { equals = ['a', 'b'] }", json!({ "list": ["a", "b"] }), true, true),
        ("list = { equals = ['a'] }", json!({ "list": ["a", "b"] }), false, false),
        ("'limits.memory' = { min = 5 }", json!({ "limits": { "memory": 6 } }), true, true),
        ("'limits.memory' = { min = 5 }", json!({ "limits": 6 }), false, false),
        ("'edits.path' = 'a'", json!({ "edits": [{ "path": "b" }, { "path": "a" }] }), true, false),
        ("'edits.path' = 'a'", json!({ "edits": [{ "path": "a" }, {}] }), true, false),
        ("path = 'a'\nsize = { max = 1 }", json!({ "path": "a", "size": 2 }), false, false),
    ] {
        let conditions = format!("[rules.arguments]\n{argument}");
        assert_eq!(
            matches(&ground, &conditions, &attempt(input.clone())),
            (deny, allow),
            "{argument} {input}"
        );
    }
    let touching = |path: &str| {
        let rules =
            "[[rules]]\nname = 'it'\nverdict = 'deny'\narguments = { path = { touches = 'src/deep' } }";
        ground.decide(&ground.rules(rules).unwrap(), &attempt(json!({ "path": path }))).1 == "it"
    };
    assert!(touching(".") && touching("src") && touching("link") && touching("src/deep/x"));
    assert!(!touching("src/x") && !touching("secret"));
    let nowhere = Attempt { has_workspace: false, ..attempt(json!({ "path": "src/x" })) };
    assert_eq!(matches(&ground, "arguments = { path = { under = 'src' } }", &nowhere), (true, false));
}

#[test]
fn paths_of_elsewhere_are_where_they_are_written() {
    let ground = Ground::new();
    let whole = ground.workspace.path().join("secret/key").display().to_string();
    for (argument, path, deny, allow) in [
        ("path = { under = 'secret' }", "secret/key", true, true),
        // What is there in the workspace of who asks says nothing of it: neither that `link` leads to `src`, nor whose `..` it is.
        ("path = { under = 'src' }", "link/x", false, false),
        ("path = { under = 'link' }", "link/x", true, true),
        ("path = { under = 'src' }", "src/innocent", true, true),
        ("path = { under = 'secret' }", "src/innocent", false, false),
        ("path = { under = 'secret' }", "src/../secret/key", true, false),
        ("path = { under = 'secret' }", whole.as_str(), false, false),
        ("path = { under = ['docs', '.'] }", "secret/key", true, true),
        ("path = '**/secret/*'", whole.as_str(), true, true),
        ("path = 'secret/*'", "secret/key", true, true),
    ] {
        let call = Attempt { paths: Paths::Elsewhere, ..attempt(json!({ "path": path })) };
        let conditions = format!("[rules.arguments]\n{argument}");
        assert_eq!(matches(&ground, &conditions, &call), (deny, allow), "{argument} {path}");
    }
    let rules = "[[rules]]\nname = 'it'\nverdict = 'deny'\narguments = { path = { touches = 'src/deep' } }";
    let touching = |path: &str| {
        let call = Attempt { paths: Paths::Elsewhere, ..attempt(json!({ "path": path })) };
        ground.decide(&ground.rules(rules).unwrap(), &call).1 == "it"
    };
    assert!(touching("src") && touching("src/deep/x") && !touching("link") && !touching("secret"));
}

#[test]
fn deny_beats_ask_beats_allow_beats_the_default_and_arguments_wait() {
    let ground = Ground::new();
    let rules = ground
        .rules(
            "[[rules]]\nname = 'all'\nverdict = 'allow'\nusers = ['ann']\n\
             [[rules]]\nname = 'git asks'\nverdict = 'ask'\ntools = ['git_*']\neffects = ['write']\n\
             [[rules]]\nname = 'no push'\nverdict = 'deny'\ntools = ['git_push']\n\
             [[rules]]\nname = 'no secrets'\nverdict = 'deny'\narguments = { path = { under = 'secret' } }\n",
        )
        .unwrap();
    for (tool, effect, input, verdict, name) in [
        ("files_read", Effect::Read, None, Verdict::Allow, "all"),
        ("x", Effect::Destroy, None, Verdict::Allow, "all"),
        ("git_commit", Effect::Write, None, Verdict::Ask, "git asks"),
        ("git_push", Effect::Write, None, Verdict::Deny, "no push"),
        ("git_commit", Effect::Write, Some(json!({ "path": "secret/x" })), Verdict::Deny, "no secrets"),
        ("git_commit", Effect::Write, Some(json!({ "path": "src/x" })), Verdict::Ask, "git asks"),
        ("files_read", Effect::Read, Some(json!({ "path": "link/../secret" })), Verdict::Deny, "no secrets"),
    ] {
        let call = Attempt { tool, effect, input, ..attempt(json!({})) };
        assert_eq!(ground.decide(&rules, &call), (verdict, name.to_owned()), "{tool} {:?}", call.input);
    }
    let none = ground.rules("").unwrap();
    for (effect, verdict) in [
        (Effect::Read, Verdict::Allow),
        (Effect::Write, Verdict::Allow),
        (Effect::Destroy, Verdict::Ask),
        (Effect::External, Verdict::Ask),
    ] {
        let found = ground.decide(&none, &Attempt { effect, ..attempt(json!({})) });
        assert_eq!(found, (verdict, format!("default for {effect}")));
    }
}

#[test]
fn what_could_refuse_a_tool_is_told_before_its_input_is_known() {
    let ground = Ground::new();
    let reads = || Attempt {
        tool: "files_read",
        effect: Effect::Read,
        input: None,
        ..attempt(json!({ "path": "src/a.rs" }))
    };
    let could_refuse = |text: &str, call: &Attempt| {
        let rules = ground.rules(text).unwrap_or_else(|err| panic!("{text}: {err}"));
        ground.with_facts(call, |facts| rules.could_refuse(facts))
    };
    let secret = "arguments = { path = { under = 'secret' } }";
    for (verdict, conditions, expected) in [
        ("deny", secret, true),
        ("ask", secret, true),
        ("allow", secret, false),
        ("deny", "", true),
        ("deny", "tools = ['files_*']", true),
        ("deny", "tools = ['git_*']", false),
        ("deny", "users = ['eve']", false),
        ("deny", "effects = ['write']", false),
    ] {
        let text = format!("[[rules]]\nname = 'it'\nverdict = '{verdict}'\n{conditions}\n");
        assert_eq!(could_refuse(&text, &reads()), expected, "{text}");
    }
    assert!(!could_refuse("", &reads()));
    assert!(could_refuse("", &Attempt { effect: Effect::Destroy, ..reads() }), "a human is asked");
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let ground = Ground::new();
    for (text, part) in [
        ("tools = ['[a']", "rule `it`: tool pattern `[a`"),
        ("workspaces = ['[a']", "in `workspaces`"),
        ("workspaces = ['~bob/x']", "`~` is the caller's home"),
        ("roles = ['leed']", "did you mean `lead`?"),
        ("hours = 'noon'", "`noon` in `hours`"),
        ("hours = '08:00-18:00'\ntimezone = 'Mars/Olympus'", "no time zone `Mars/Olympus`"),
        ("timezone = 'UTC'", "`timezone` belongs to `hours`"),
        ("arguments = { 'a..b' = 'x' }", "is no name of an argument"),
        ("arguments = { a = '[x' }", "`[x` for `a` in `arguments`"),
        ("arguments = { a = { touches = 'x' } }", "`touches` is for rules that deny or ask"),
        ("arguments = { a = { undr = 'x' } }", "unknown field `undr`"),
        ("grups = ['x']", "unknown field `grups`"),
    ] {
        let text =
            format!("[roles.lead]\nusers = ['x']\n[[rules]]\nname = 'it'\nverdict = 'allow'\n{text}\n");
        let err = ground.rules(&text).err().unwrap_or_else(|| panic!("{text}"));
        assert!(err.contains(part), "{text}: {err}");
    }
    assert!(ground.rules("[roles.nobody]\n").err().unwrap().contains("neither users nor groups"));
}

#[test]
fn the_smallest_change_is_said() {
    let ground = Ground::new();
    let groups = [Group { gid: 100, name: "devs".into() }];
    let who = Who {
        user: "ann",
        uid: 7,
        groups: &groups,
        home: Path::new("/h"),
        workspace: Some(&ground.workspace),
    };
    let schema = Map::new();
    let input = Canonical::parse(b"{\"path\":\"x\"}").unwrap();
    let facts = Facts {
        who: &who,
        tool: "files_write",
        toolset: "files",
        schema: &schema,
        effect: Effect::Write,
        also: &[],
        input: Some(&input),
        at: NOON.parse().unwrap(),
        paths: Paths::Here,
    };
    for (conditions, expected) in [
        ("users = ['bob', 'ann']", "taking `ann` out of `users` of the rule `it`"),
        ("groups = ['100', 'x']", "taking `100` out of `groups` of the rule `it`"),
        ("tools = ['files_write', 'git_push']", "taking `files_write` out of `tools` of the rule `it`"),
        ("users = ['ann', '7']", "narrowing the rule `it`, so that"),
        ("tools = ['files_write', 'files_*']", "narrowing the rule `it`, so that"),
        ("tools = ['files_write']", "narrowing the rule `it`, so that"),
        ("arguments = { path = 'x' }", "or this value of `path`"),
    ] {
        let rules =
            ground.rules(&format!("[[rules]]\nname = 'it'\nverdict = 'deny'\n{conditions}\n")).unwrap();
        let text = change::exemption(&rules.strongest(&facts), &facts);
        assert!(text.contains(expected), "{conditions}: {text}");
    }
    let granted = change::grant(&facts).replace("[[policy.rules]]", "[[rules]]");
    assert_eq!(ground.rules(&granted).unwrap().decide(&facts).rule, "files_write for ann", "{granted}");
}

fn any_verdict() -> impl Strategy<Value = Verdict> {
    prop_oneof![Just(Verdict::Allow), Just(Verdict::Ask), Just(Verdict::Deny)]
}

prop_compose! {
    fn any_rule()(
        verdict in any_verdict(),
        users in prop::collection::vec("ann|bob", 0..2),
        groups in prop::collection::vec("devs|wheel", 0..2),
        tools in prop::collection::vec("files_\\*|git_\\*|files_write", 0..2),
        effects in prop::collection::vec(prop_oneof![Just(Effect::Read), Just(Effect::Write)], 0..2),
        argument in prop::option::of(prop_oneof![Just("src"), Just("secret")]),
        name in "[a-z]{4}",
    ) -> Rule {
        let arguments: BTreeMap<_, _> = argument
            .map(|under| ("path".to_owned(), Matcher { under: vec![under.to_owned()], ..Matcher::default() }))
            .into_iter()
            .collect();
        Rule { users, groups, tools, effects, arguments, ..Rule::new(name, verdict) }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_deny_more_never_allows_and_the_order_never_matters(
        rules in prop::collection::vec(any_rule(), 0..6),
        more in any_rule(),
        rotation in 0_usize..6,
        path in "(src|secret|link|out|\\.\\.)/(x|\\.\\.|innocent)",
        is_known: bool,
    ) {
        let ground = Ground::new();
        let call = Attempt { input: is_known.then(|| json!({ "path": path })), ..attempt(json!({})) };
        let judge = |rules: Vec<Rule>| ground.decide(&Rules::new(rules, &Roles::new()).unwrap(), &call).0;
        let before = judge(rules.clone());
        let mut denied = rules.clone();
        denied.push(Rule { verdict: Verdict::Deny, ..more });
        prop_assert!(judge(denied) >= before);
        let mut turned = rules.clone();
        turned.rotate_left(rotation.min(rules.len()));
        prop_assert_eq!(judge(turned), before);
        prop_assert_eq!(judge(rules.into_iter().rev().collect()), before);
    }
}
