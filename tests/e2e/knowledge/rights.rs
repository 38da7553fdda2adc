//! That nobody learns, by asking, what files say that a rule keeps from him.

use super::Bench;
use serde_json::json;
use skynet_tests::programs::Daemon;

const RULE: &str = "[[policy.rules]]\nname = 'vault'\nverdict = 'deny'\ntools = ['files_read']\narguments = { path = { under = 'vault' } }\n";

impl Bench {
    /// The same under other rules.
    fn ruled(&mut self, rules: &str) {
        self.daemon.take().unwrap().kill();
        self.home.configure(rules);
        self.daemon = Some(Daemon::start(&self.home));
    }

    /// What BM25 gives the file that may be seen for a word of those that may not.
    fn score(&mut self) -> f64 {
        let asked = json!({ "collection": "all", "id": "open/a.md#0", "query": "recipe with pistachio" });
        let why = self.call("knowledge_explain_result", asked);
        why["parts"]["words"].as_f64().unwrap()
    }
}

#[test]
fn how_often_hidden_files_say_a_word_is_in_no_score() {
    let mut bench = Bench::new();
    bench.write("open/a.md", "The recipe for nougat takes pistachio.");
    bench.write("open/b.md", "The recipe for bread takes flour, and nothing else.");
    bench.write("vault/0.md", "Pistachio is bought in secret.");
    bench.add();
    let whole = bench.score();
    bench.ruled(RULE);
    let before = bench.score();
    for number in 1..40 {
        bench.write(&format!("vault/{number}.md"), format!("Pistachio number {number} is bought in secret."));
    }
    let refreshed = bench.call("knowledge_refresh_collection", json!({ "name": "all" }));
    assert_eq!(refreshed["files"], 42, "{refreshed}");
    let after = bench.score();
    assert!((before - after).abs() < 1e-5, "{before} {after}");
    // Whether any of them says a word is not told either.
    for query in ["pistachio", "flour"] {
        let answer = bench.call("knowledge_search", json!({ "query": query }));
        assert_eq!(answer["found"].as_array().unwrap().len(), 1, "{answer}");
        assert!(answer["notes"].to_string().contains("a rule keeps from you are left out"), "{answer}");
    }
    bench.ruled("");
    let all = bench.score();
    assert!((all - whole).abs() > 1e-3, "without the rule they count: {all} {whole}");
}

#[test]
fn hidden_files_take_no_place_of_what_is_defined() {
    let mut bench = Bench::new();
    bench.write("alpha/a.py", "def brew_tea():\n    return 1\n");
    bench.write("zeta/z.py", "def brew_coffee():\n    return 2\n");
    for number in 0..60 {
        bench.write(&format!("vault/{number}.py"), format!("def brew_secret_{number}():\n    return 3\n"));
    }
    bench.add();
    bench.ruled(RULE);
    let found = bench.call("knowledge_find_symbol", json!({ "name": "brew", "limit": 2 }));
    let paths: Vec<_> = found["definitions"].as_array().unwrap().iter().map(|one| &one["path"]).collect();
    assert_eq!(paths, ["alpha/a.py", "zeta/z.py"], "{found}");
}

#[test]
fn counts_of_hidden_text_are_not_listed() {
    let mut bench = Bench::new();
    bench.write("open/a.md", "The recipe for nougat takes pistachio.");
    bench.write("vault/b.md", "Pistachio is bought in secret.");
    bench.add();
    let listed = bench.call("knowledge_list_collections", json!({}))["collections"][0].clone();
    assert!(listed["size_bytes"].as_u64().unwrap() > 0, "{listed}");
    bench.ruled(RULE);
    let listed = bench.call("knowledge_list_collections", json!({}))["collections"][0].clone();
    let told = (&listed["size_bytes"], &listed["embedded"], &listed["vectors"], &listed["languages"]);
    assert_eq!(told, (&json!(0), &json!(0), &json!([]), &json!([])), "{listed}");
    assert_eq!(listed["files"], 2, "{listed}");
}

#[test]
fn hidden_texts_that_are_nearer_take_no_place_of_what_is_similar() {
    let Some(mut bench) = Bench::with_models() else { return };
    let text = |keeper: usize| {
        format!("A lighthouse stands on the island and warns all ships of the rocks, says keeper{keeper}.")
    };
    bench.write("open/a.md", text(0));
    bench.write(
        "open/b.md",
        "A lighthouse stands on the island and warns all ships of the storm, wrote the captain of the ferry.",
    );
    // One of these says the very same.
    for keeper in 0..8 {
        bench.write(&format!("vault/{keeper}.md"), text(keeper));
    }
    bench.add();
    bench.embedded(9);
    let asked = json!({ "collection": "all", "id": "open/a.md#0", "limit": 1 });
    let similar = bench.call("knowledge_find_similar", asked.clone());
    assert!(similar["found"][0]["path"].as_str().unwrap().starts_with("vault/"), "{similar}");
    bench.ruled(RULE);
    let similar = bench.call("knowledge_find_similar", asked);
    assert_eq!(similar["found"][0]["path"], "open/b.md", "{similar}");
}
