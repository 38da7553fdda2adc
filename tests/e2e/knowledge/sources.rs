//! Collections of what is no file of the workspace: what a commit holds, commits, manual pages, pages of the web.

use super::Bench;
use serde_json::{Value, json};
use skynet_tests::programs::{Daemon, Home, Shim};
use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

fn git(directory: &Path, author: &str, date: &str, arguments: &[&str]) {
    let status = Command::new("git")
        .args(["-c", &format!("user.name={author}"), "-c", &format!("user.email={author}@example.org")])
        .args(arguments)
        .env("GIT_AUTHOR_DATE", date)
        .env("GIT_COMMITTER_DATE", date)
        .current_dir(directory)
        .status();
    assert!(status.unwrap().success(), "git {arguments:?}");
}

fn of_head(directory: &Path) -> String {
    let told = Command::new("git").args(["rev-parse", "HEAD"]).current_dir(directory).output().unwrap();
    String::from_utf8(told.stdout).unwrap().trim().to_owned()
}

impl Bench {
    /// A repository with a commit of ann's and one of bob's.
    fn with_history() -> Self {
        let bench = Self::new();
        let project = bench.home.project.clone();
        git(&project, "ann", "2026-01-10T12:00:00Z", &["init", "-q", "-b", "main"]);
        bench.write("src/queue.rs", "/// Holds what waits.\npub struct Queue;\n");
        bench.commit("ann", "2026-01-10T12:00:00Z", "Add a queue\n\nIt holds marmots until they are fed.");
        bench.write("src/pump.rs", "/// Drains the basin of the lock.\npub struct Pump;\n");
        bench.commit("bob", "2026-03-20T12:00:00Z", "Add a pump\n\nIt drains the basin, marmots or not.");
        bench
    }

    fn commit(&self, author: &str, date: &str, message: &str) {
        git(&self.home.project, author, date, &["add", "--all"]);
        git(&self.home.project, author, date, &["commit", "-q", "-m", message]);
    }

    fn found(&mut self, input: Value) -> Vec<Value> {
        self.call("knowledge_search", input)["found"].as_array().unwrap().clone()
    }
}

#[test]
fn commits_are_found_by_what_they_say_and_who_made_them() {
    let mut bench = Bench::with_history();
    let added = bench.call("knowledge_add_source", json!({ "kind": "commits" }));
    assert_eq!((&added["collection"], &added["files"]), (&json!("commits"), &json!(2)), "{added}");
    let found = bench.found(json!({ "query": "marmots" }));
    assert_eq!(found.len(), 2, "{found:?}");
    let name = of_head(&bench.home.project);
    let by_name = &bench.found(json!({ "query": &name[..7] }))[0];
    assert_eq!(by_name["path"], format!("commit/{name}"), "{by_name}");
    let of_pump = &bench.found(json!({ "query": "what touches src/pump.rs" }))[0];
    assert_eq!(of_pump["author"], "bob <bob@example.org>", "{of_pump}");
    assert_eq!(of_pump["at"], "2026-03-20T12:00:00Z", "{of_pump}");
    assert!(of_pump["path"].as_str().unwrap().starts_with("commit/"), "{of_pump}");
    for (filter, subject) in [
        (json!({ "author": "ANN@example" }), "Add a queue"),
        (json!({ "until": "2026-02-01" }), "Add a queue"),
        (json!({ "since": "2026-02-01" }), "Add a pump"),
        (json!({ "since": "2026-03-20T12:00:00Z" }), "Add a pump"),
    ] {
        let mut query = json!({ "query": "marmots" });
        query.as_object_mut().unwrap().extend(filter.as_object().unwrap().clone());
        let found = bench.found(query);
        assert_eq!(found.len(), 1, "{filter}: {found:?}");
        assert!(found[0]["text"].as_str().unwrap().contains(subject), "{filter}: {found:?}");
    }
    let refused =
        bench.shim.call("knowledge_search", json!({ "query": "a", "since": "yesterday" })).unwrap_err();
    assert!(refused.contains("`since` is no time"), "{refused}");

    // What is new is found at the next look, and what was rewritten is gone.
    bench.write("src/lock.rs", "pub struct Gate;\n");
    bench.commit("ann", "2026-04-01T12:00:00Z", "Add a gate for otters");
    let refreshed = bench.call("knowledge_refresh_collection", json!({ "name": "commits" }));
    assert_eq!((&refreshed["files"], &refreshed["changed"]), (&json!(3), &json!(1)), "{refreshed}");
    assert_eq!(bench.found(json!({ "query": "otters" })).len(), 1);
    let project = bench.home.project.clone();
    git(
        &project,
        "ann",
        "2026-04-02T12:00:00Z",
        &["commit", "-q", "--amend", "-m", "Add a gate for beavers"],
    );
    let refreshed = bench.call("knowledge_refresh_collection", json!({ "name": "commits" }));
    assert_eq!((&refreshed["files"], &refreshed["removed"]), (&json!(3), &json!(1)), "{refreshed}");
    assert_eq!(bench.found(json!({ "query": "otters" })), Vec::<Value>::new());
    assert_eq!(bench.found(json!({ "query": "beavers" })).len(), 1);
}

#[test]
fn a_branch_is_searched_as_it_is_and_followed_as_it_moves() {
    let mut bench = Bench::with_history();
    let project = bench.home.project.clone();
    git(&project, "ann", "2026-04-01T12:00:00Z", &["checkout", "-q", "-b", "topic"]);
    bench.write("src/siphon.rs", "/// Lifts water over the weir.\npub struct Siphon;\n");
    bench.write("notes/big.txt", "weir ".repeat(1000));
    bench.commit("ann", "2026-04-01T12:00:00Z", "Add a siphon");
    git(&project, "ann", "2026-04-01T12:00:00Z", &["checkout", "-q", "main"]);
    let added = bench.call(
        "knowledge_add_source",
        json!({ "kind": "revision", "revision": "topic", "name": "topic", "max_file_bytes": 4000 }),
    );
    assert_eq!((&added["files"], &added["skipped"]), (&json!(4), &json!(1)), "{added}");
    let listed = bench.call("knowledge_list_collections", json!({}));
    let listed = &listed["collections"][0];
    assert_eq!((&listed["source"], &listed["revision"]), (&json!("revision"), &json!("topic")), "{listed}");
    let siphon = &bench.found(json!({ "query": "weir water" }))[0];
    assert_eq!(
        (&siphon["path"], &siphon["author"]),
        (&json!("src/siphon.rs"), &json!("ann <ann@example.org>"))
    );
    let wrong = json!({ "kind": "revision", "revision": "topic", "name": "none", "include": ["zzz/**"] });
    let refused = bench.shim.call("knowledge_add_source", wrong).unwrap_err();
    assert!(refused.contains("nothing in it"), "{refused}");
    let wrong = json!({ "kind": "manuals", "sections": ["man5"] });
    let refused = bench.shim.call("knowledge_add_source", wrong).unwrap_err();
    assert!(refused.starts_with("invalid_input") && refused.contains("no section"), "{refused}");
    // Of the working tree, which has no such file, nothing is looked at.
    assert!(!project.join("src/siphon.rs").exists());
    let found = bench.call("knowledge_find_symbol", json!({ "name": "Siphon" }));
    assert_eq!(found["definitions"][0]["path"], "src/siphon.rs", "{found}");

    git(&project, "ann", "2026-04-03T12:00:00Z", &["branch", "-f", "topic", "main"]);
    let refreshed = bench.call("knowledge_refresh_collection", json!({ "name": "topic" }));
    assert_eq!((&refreshed["files"], &refreshed["removed"]), (&json!(2), &json!(2)), "{refreshed}");
    for (revision, why) in [("nowhere", "no commit `nowhere`"), ("--all", "must not"), ("a b", "must not")] {
        let wanted = json!({ "kind": "revision", "revision": revision, "name": "wrong" });
        let refused = bench.shim.call("knowledge_add_source", wanted).unwrap_err();
        assert!(refused.contains(why), "{refused}");
    }
    let listed = bench.call("knowledge_list_collections", json!({}));
    assert_eq!(
        listed["collections"].as_array().unwrap().len(),
        1,
        "nothing is left of what cannot be read: {listed}"
    );
}

#[test]
fn a_rule_about_the_history_is_one_about_its_collection() {
    let mut bench = Bench::with_history();
    bench.call("knowledge_add_source", json!({ "kind": "commits" }));
    assert_eq!(bench.found(json!({ "query": "marmots" })).len(), 2);
    bench.daemon.take().unwrap().kill();
    bench.home.configure("[[policy.rules]]\nname = 'past'\nverdict = 'deny'\ntools = ['git_log']\n");
    bench.daemon = Some(Daemon::start(&bench.home));
    let answer = bench.call("knowledge_search", json!({ "query": "marmots" }));
    assert_eq!(answer["found"], json!([]), "{answer}");
    assert!(!answer.to_string().contains("pump"), "{answer}");
}

#[test]
fn manual_pages_are_read_from_files_and_from_the_host() {
    let mut bench = Bench::new();
    bench.write(
        "man/greet.1",
        ".TH GREET 1\n.SH NAME\ngreet \\- say hello to gophers\n.SH OPTIONS\n.TP\n.BR \\-\\-loud\nSays it so that the \\fIburrow\\fP hears.\n",
    );
    bench.add();
    let found = &bench.found(json!({ "query": "burrow", "formats": ["manual"] }))[0];
    assert_eq!(found["within"][0], "greet(1)", "{found}");
    assert!(found["text"].as_str().unwrap().contains("--loud\nSays it so that the burrow hears."), "{found}");
    // A host may have no pages at all, which is said.
    let wanted =
        json!({ "kind": "manuals", "sections": ["1"], "include": ["git-status.1*", "bash.1*", "ls.1*"] });
    match bench.shim.call("knowledge_add_source", wanted) {
        Ok(added) => {
            assert!(added["files"].as_u64().unwrap() > 0, "{added}");
            let found = &bench.found(json!({ "query": "list", "tags": ["1"] }))[0];
            assert!(found["path"].as_str().unwrap().contains("/man/man1/"), "{found}");
            assert!(!found["text"].as_str().unwrap().contains("\\f"), "{found}");
        }
        Err(why) => assert!(why.contains("there are no such manual pages"), "{why}"),
    }
}

/// Serves two pages, one of a kind that is not read, and a redirect to its first argument.
const SITE: &str = r#"
import http.server, sys
PAGES = {
    '/guide': ('text/html; charset=utf-8', '<html><body><nav>menu</nav><h1>Guide</h1><p>Feed the axolotl at dusk.</p></body></html>'),
    '/plain': ('text/plain', 'The newt sleeps.'),
    '/movie': ('video/mp4', 'x'),
}
class Handler(http.server.BaseHTTPRequestHandler):
    count = 0
    def do_GET(self):
        if self.path == '/away':
            self.send_response(302)
            self.send_header('Location', sys.argv[1])
            self.end_headers()
            return
        kind, text = PAGES.get(self.path, (None, ''))
        Handler.count += 1
        self.send_response(200 if kind else 404)
        self.send_header('Content-Type', kind or 'text/plain')
        self.send_header('Last-Modified', 'Sat, 31 Jan 2026 12:00:00 GMT')
        self.end_headers()
        self.wfile.write((text + ' Seen %d times.' % Handler.count).encode())
    def log_message(self, *_): pass
server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"#;

struct Site {
    process: Child,
    address: String,
}

impl Site {
    fn start(elsewhere: &str) -> Self {
        let mut process =
            Command::new("python3").args(["-c", SITE, elsewhere]).stdout(Stdio::piped()).spawn().unwrap();
        let mut port = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut port).unwrap();
        Self { process, address: format!("http://127.0.0.1:{}", port.trim()) }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // It may be gone.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn pages_are_fetched_when_somebody_says_so_and_from_their_host_alone() {
    let other = Site::start("");
    let site = Site::start(&format!("{}/guide", other.address));
    let home = Home::new();
    let open = "[[policy.rules]]\nname = 'out'\nverdict = 'allow'\neffects = ['external']\n";
    home.configure(&format!("{open}[network]\nreachable = ['127.0.0.0/8']\n"));
    let daemon = Daemon::start(&home);
    let shim = Shim::connected(&home, "2025-11-25", json!({}));
    let mut bench = Bench { shim, daemon: Some(daemon), home };
    let at = |path: &str| format!("{}{path}", site.address);
    let pages = json!({ "kind": "pages", "name": "site", "urls": [at("/guide"), at("/plain")] });
    let added = bench.call("knowledge_add_source", pages.clone());
    assert_eq!(added["files"], 2, "{added}");
    let found = &bench.found(json!({ "query": "axolotl" }))[0];
    assert_eq!(
        (&found["path"], &found["at"]),
        (&json!(at("/guide")), &json!("2026-01-31T12:00:00Z")),
        "{found}"
    );
    let text = found["text"].as_str().unwrap();
    assert!(text.contains("Feed the axolotl at dusk.") && !text.contains("menu"), "{text}");
    // One that cannot be had does not keep the others away.
    let some = json!({ "kind": "pages", "name": "some", "urls": [at("/none"), at("/plain")] });
    let added = bench.call("knowledge_add_source", some);
    assert_eq!((&added["files"], &added["skipped"]), (&json!(1), &json!(1)), "{added}");
    bench.call("knowledge_remove_collection", json!({ "name": "some" }));
    // A search fetches nothing, and neither does a refresh.
    assert!(bench.found(json!({ "query": "newt" }))[0]["text"].as_str().unwrap().contains("Seen 2 times"));
    let refused = bench.shim.call("knowledge_refresh_collection", json!({ "name": "site" })).unwrap_err();
    assert!(refused.contains("knowledge_add_source"), "{refused}");
    let again = bench.call("knowledge_add_source", pages);
    assert_eq!((&again["files"], &again["changed"]), (&json!(2), &json!(2)), "{again}");
    assert!(bench.found(json!({ "query": "newt" }))[0]["text"].as_str().unwrap().contains("Seen 6 times"));

    for (url, why) in [
        (at("/none"), "there is no page"),
        (site.address.replace("127.0.0.1", "127.0.0.2"), "cannot be fetched"),
        (at("/movie"), "is not read"),
        (at("/away"), "cannot be fetched"),
        ("file:///etc/passwd".to_owned(), "neither `https` nor `http`"),
    ] {
        let wanted = json!({ "kind": "pages", "name": "wrong", "urls": [url] });
        let refused = bench.shim.call("knowledge_add_source", wanted).unwrap_err();
        assert!(refused.contains(why), "{url}: {refused}");
    }
    // A service of this host is no page, unless an administrator says so.
    bench.daemon.take().unwrap().kill();
    bench.home.configure(open);
    bench.daemon = Some(Daemon::start(&bench.home));
    let wanted = json!({ "kind": "pages", "name": "more", "urls": [at("/guide")] });
    let refused = bench.shim.call("knowledge_add_source", wanted.clone()).unwrap_err();
    assert!(refused.starts_with("denied") && refused.contains("network.reachable"), "{refused}");
    // Without that rule, a human is asked first.
    bench.daemon.take().unwrap().kill();
    bench.home.configure("");
    bench.daemon = Some(Daemon::start(&bench.home));
    let refused = bench.shim.call("knowledge_add_source", wanted).unwrap_err();
    assert!(refused.starts_with("needs_confirmation"), "{refused}");
}

#[test]
fn files_of_a_repository_are_known_by_who_committed_them_last() {
    let mut bench = Bench::with_history();
    bench.add();
    let by = |author: &str| json!({ "query": "queue pump marmot struct", "author": author });
    let paths = |found: Vec<Value>| {
        found.into_iter().map(|one| one["path"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(paths(bench.found(by("ann"))), ["src/queue.rs"]);
    assert_eq!(paths(bench.found(by("bob@example"))), ["src/pump.rs"]);
    // What is changed and not committed is still theirs.
    bench.write("src/pump.rs", "/// Drains the basin of the lock.\npub struct Pump;\npub struct Marmot;\n");
    bench.wait_for("Marmot", Some("src/pump.rs"));
    assert_eq!(paths(bench.found(by("bob"))), ["src/pump.rs"]);
    // Its lines are told one by one.
    let read = json!({ "collection": "all", "id": "src/pump.rs#0", "blame": true });
    let read = bench.call("knowledge_read_chunk", read);
    let writers = read["chunks"][0]["writers"].as_array().unwrap();
    let told: Vec<_> = writers.iter().map(|one| (&one["author"], one["lines"].as_u64().unwrap())).collect();
    assert_eq!(told, [(&json!("Not Committed Yet"), 1), (&json!("bob"), 2)], "{read}");
    assert_eq!(writers[1]["at"], "2026-03-20T12:00:00Z", "{read}");
    // A commit moves no file, and is seen.
    bench.commit("ann", "2026-05-01T12:00:00Z", "Name the marmot");
    bench.call("knowledge_refresh_collection", json!({ "name": "all" }));
    assert_eq!(paths(bench.found(by("bob"))), Vec::<String>::new());
    assert_eq!(paths(bench.found(by("ann"))).len(), 2);
    // What a file that nobody committed says of its author is what it says now.
    for author in ["carla", "dora"] {
        bench.write("note.md", format!("---\nauthor: {author}\n---\n# Burrows\n\nA burrow of {author}'s.\n"));
        bench.wait_for(author, Some("note.md"));
        let found = bench.found(json!({ "query": "burrow", "author": author }));
        assert_eq!(paths(found), ["note.md"], "{author}");
    }
    assert_eq!(paths(bench.found(json!({ "query": "burrow", "author": "carla" }))), Vec::<String>::new());
    bench.write("page.html", "<h1>Marmots</h1><p>They sleep through the winter.</p>");
    bench.wait_for("winter", Some("page.html"));
    let asked = json!({ "collection": "all", "id": "page.html#0", "blame": true });
    let read = bench.call("knowledge_read_chunk", asked);
    assert!(read["note"].as_str().unwrap().contains("no plain text"), "{read}");
}
