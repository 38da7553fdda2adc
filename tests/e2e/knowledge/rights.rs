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
