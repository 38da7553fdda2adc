use super::*;
use proptest::prelude::*;
use skynet_store::Tables;
use std::{fs, path::Path};

/// A file that is not on a disk.
struct Given(Mutex<Option<Vec<u8>>>);

/// One that somebody else reads, who may fail; how often he was asked.
#[derive(Default)]
struct Far {
    fails: Mutex<Option<Error>>,
    asked: Mutex<u32>,
}

#[async_trait]
impl ProjectFile for Arc<Far> {
    async fn read(&self, _caller: &Caller) -> Result<Option<Vec<u8>>> {
        *self.asked.lock().unwrap() += 1;
        self.fails.lock().unwrap().take().map_or_else(|| Ok(Some(DENIES.to_vec())), Err)
    }

    fn is_far(&self) -> bool {
        true
    }
}

const DENIES: &[u8] = b"[[rules]]\nname = 'a'\nverdict = 'deny'\n";

#[async_trait]
impl ProjectFile for Arc<Given> {
    async fn read(&self, _caller: &Caller) -> Result<Option<Vec<u8>>> {
        Ok(self.0.lock().unwrap().clone())
    }
}

fn caller(workspace: Workspace) -> Caller {
    Caller {
        uid: 7,
        user: "ann".into(),
        groups: Arc::default(),
        pid: 1,
        client: "test".into(),
        no_workspace: None,
        workspace: Some(Arc::new(workspace)),
        token: None,
        home: Path::new("/nonexistent").into(),
        connection: skynet_core::Connection::own(),
        ssh_agent: None,
    }
}

#[test]
fn only_what_narrows_is_a_rule_of_a_project() {
    let rules =
        parse(b"[[rules]]\nname = 'a'\nverdict = 'deny'\ntools = ['git_push']\nhours = '22:00-06:00'\narguments = { branch = 'main' }\n");
    assert_eq!(rules.unwrap().len(), 1);
    assert!(parse(b"").unwrap().is_empty());
    for (text, part) in [
        ("[[rules]]\nname = 'a'\nverdict = 'allow'\n", ".skynet.toml:3: unknown variant `allow`"),
        ("[[rules]]\nname = 'a'\nverdict = 'ask'\nusers = ['x']\n", ".skynet.toml:4: unknown field `users`"),
        ("[[rules]]\nname = 'a'\nverdict = 'ask'\nroles = ['x']\n", "unknown field `roles`"),
        ("[[rules]]\nname = 'a'\nverdict = 'ask'\ngroups = ['x']\n", "unknown field `groups`"),
        ("[[rules]]\nname = 'a'\nverdict = 'ask'\nworkspaces = ['x']\n", "unknown field `workspaces`"),
        ("[[commands]]\nname = 'a'\n", "unknown field `commands`"),
        ("[[rules]]\nname = 'a'\nverdict = 'ask'\ntools = ['[']\n", ".skynet.toml: rule `a`: tool pattern"),
        ("rules = 3", ".skynet.toml:1: "),
    ] {
        let err = parse(text.as_bytes()).err().unwrap_or_else(|| panic!("{text}"));
        assert!(err.message.contains(part), "{text}: {err}");
    }
    assert!(parse(b"\xff").is_err());
}

#[test]
fn only_a_small_regular_file_of_the_workspace_is_read() {
    let keep = tempfile::tempdir().unwrap();
    let work = keep.path().join("work");
    fs::create_dir(&work).unwrap();
    let workspace = Workspace::open(&work).unwrap();
    let file = work.join(PROJECT_FILE);
    assert!(read(&workspace).unwrap().is_none());
    fs::write(&file, "x".repeat(64 << 10)).unwrap();
    assert_eq!(read(&workspace).unwrap().unwrap().len(), 64 << 10);
    fs::write(&file, "x".repeat((64 << 10) + 1)).unwrap();
    assert!(read(&workspace).unwrap_err().message.contains("more than 65536 bytes"));
    fs::rename(&file, work.join("other")).unwrap();
    std::os::unix::fs::symlink("other", &file).unwrap();
    assert!(read(&workspace).unwrap_err().message.contains("cannot be read"));
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    assert!(read(&workspace).unwrap_err().message.contains("no regular file"));
}

#[tokio::test]
async fn a_file_counts_while_exactly_it_is_trusted() {
    let keep = tempfile::tempdir().unwrap();
    let tables = Tables::open(&keep.path().join("state")).unwrap();
    let file = Arc::new(Given(Mutex::new(None)));
    let projects = Projects::new(Box::new(file.clone()), Trust::open(&tables));
    let caller = caller(Workspace::open(keep.path()).unwrap());
    let registry = Registry::default();
    let set = |text: &str| *file.0.lock().unwrap() = Some(text.as_bytes().to_vec());
    let session = Uuid::nil();
    let counts = async || projects.rules(session, &caller).await.unwrap().is_some();
    assert!(!counts().await);
    assert_eq!(projects.trust_now(&caller, &registry).await.unwrap_err().kind, ErrorKind::NotFound);
    let first = "[[rules]]\nname = 'a'\nverdict = 'deny'\n";
    set(first);
    fs::write(keep.path().join(PROJECT_FILE), first).unwrap();
    assert!(projects.idle().is_empty() && !counts().await);
    let [told] = &projects.idle()[..] else { panic!("{:?}", projects.idle()) };
    assert!(told.contains("/.skynet.toml do not count: it is not trusted"), "{told}");
    projects.trust_now(&caller, &registry).await.unwrap();
    assert!(projects.idle().is_empty() && counts().await);
    set("[[rules]]\nname = 'b'\nverdict = 'ask'\n");
    assert!(!counts().await, "another text is another file");
    set(first);
    assert!(counts().await);
    set("[[rules]]\nname = 'b'\nverdict = 'allow'\n");
    assert!(projects.trust_now(&caller, &registry).await.is_err());
    set(first);
    let other = Caller { uid: 8, ..caller.clone() };
    assert!(projects.rules(session, &other).await.unwrap().is_none(), "trust is one user's");
    projects.trust().remove(7, keep.path()).unwrap();
    assert!(!counts().await);
    // Trusted by a version that understood it.
    set("[[rules]]\nname = 'c'\nverdict = 'defer'\n");
    let strange = projects.find(&caller).await.unwrap().unwrap();
    let path = caller.workspace.as_ref().unwrap().path();
    projects.trust().add(7, path, &strange.sha256, 1).unwrap();
    let err = projects.rules(session, &caller).await.err().unwrap();
    assert_eq!(err.kind, ErrorKind::Denied);
    assert!(projects.is_news(session, "x") && !projects.is_news(session, "x"));
}

#[tokio::test]
async fn another_process_is_asked_where_something_is_trusted_and_what_it_cannot_tell_denies() {
    let keep = tempfile::tempdir().unwrap();
    let tables = Tables::open(&keep.path().join("state")).unwrap();
    let far = Arc::new(Far::default());
    let projects = Projects::new(Box::new(far.clone()), Trust::open(&tables));
    let caller = caller(Workspace::open(keep.path()).unwrap());
    let (one, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
    for session in [one, one, other] {
        assert!(projects.rules(session, &caller).await.unwrap().is_none());
    }
    assert_eq!((*far.asked.lock().unwrap(), projects.idle()), (2, Vec::new()));
    projects.trust_now(&caller, &Registry::default()).await.unwrap();
    assert!(projects.rules(one, &caller).await.unwrap().is_some());
    let fail = |err: Error| *far.fails.lock().unwrap() = Some(err);
    fail(Error::unavailable("dead"));
    assert_eq!(projects.rules(one, &caller).await.err().unwrap().kind, ErrorKind::Unavailable);
    // A file that is none counts for nothing, as it does where it is near.
    fail(Error::invalid_input("a directory"));
    assert!(projects.rules(one, &caller).await.unwrap().is_none());
}

prop_compose! {
    fn any_rule()(
        verdict in "allow|ask|deny",
        tools in prop::option::of("files_\\*|git_\\*"),
        effects in prop::option::of("read|write"),
        users in prop::option::weighted(0.1, "ann"),
    ) -> String {
        let list = |key: &str, value: Option<String>| value.map_or_else(String::new, |value| format!("{key} = ['{value}']\n"));
        format!("[[rules]]\nname = 'r'\nverdict = '{verdict}'\n{}{}{}", list("tools", tools), list("effects", effects), list("users", users))
    }
}

proptest! {
    #[test]
    fn no_file_of_a_project_says_allow(rules in prop::collection::vec(any_rule(), 0..5), effect in prop_oneof![Just(Effect::Read), Just(Effect::External)]) {
        let text = rules.concat();
        let parsed = parse(text.as_bytes());
        let is_wider = text.contains("'allow'") || text.contains("users");
        prop_assert_eq!(parsed.is_err(), is_wider, "{}", text);
        let who = Who { user: "ann", uid: 7, groups: &[], home: Path::new("/h"), workspace: None };
        let (schema, input) = (serde_json::Map::new(), Canonical::parse(b"{}").unwrap());
        let facts = Facts {
            who: &who,
            tool: "git_push",
            toolset: "git",
            schema: &schema,
            effect,
            also: &[],
            input: Some(&input),
            at: jiff::Timestamp::UNIX_EPOCH,
            paths: crate::Paths::Here,
        };
        let said = parsed.ok().and_then(|rules| rules.matching(&facts));
        prop_assert!(said.is_none_or(|said| said.verdict > Verdict::Allow));
    }
}
