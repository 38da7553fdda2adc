//! What is found by meaning, with the models that `cargo xtask env up models` installed, and that nothing is embedded twice.

use super::{Bench, kills};
use serde_json::{Value, json};
use skynet_tests::{
    components,
    programs::{Daemon, Home, Shim},
};
use std::{
    fs,
    os::unix::fs::{DirBuilderExt as _, symlink},
};

impl Bench {
    /// With the models that were installed for the tests; `None` without them.
    pub(super) fn with_models() -> Option<Self> {
        let record = components::find("models", "multilingual-e5-small/installed.json")?;
        let installed = record.parent()?.parent()?;
        let home = Home::new();
        fs::DirBuilder::new().mode(0o700).create(&home.state).unwrap();
        symlink(installed, home.state.join("models")).unwrap();
        let daemon = Daemon::start(&home);
        let shim = Shim::connected(&home, "2025-11-25", json!({}));
        Some(Self { shim, daemon: Some(daemon), home })
    }

    fn listed(&mut self) -> Value {
        self.call("knowledge_list_collections", json!({}))["collections"][0].clone()
    }

    /// Passages, those of them that have a vector, and vectors made since the daemon started.
    fn vectors(&mut self) -> (u64, u64, u64) {
        counts(&self.listed())
    }

    /// How many vectors this daemon made, once there are so many and it makes no more: they are counted a moment after they are
    /// there.
    pub(super) fn embedded(&mut self, wanted: u64) -> u64 {
        let mut before = Value::Null;
        loop {
            let listed = self.listed();
            let (_, vectors, embedded) = counts(&listed);
            if vectors >= wanted && listed["doing"].is_null() && listed == before {
                return embedded;
            }
            before = listed;
        }
    }
}

fn counts(listed: &Value) -> (u64, u64, u64) {
    let vectors = listed["vectors"].as_array().unwrap().iter().map(|of| of["count"].as_u64().unwrap()).sum();
    (listed["passages"].as_u64().unwrap(), vectors, listed["embedded"].as_u64().unwrap())
}

#[test]
fn what_means_the_same_is_found_in_other_words_and_languages() {
    let Some(mut bench) = Bench::with_models() else { return };
    bench.write("garage.md", "The mechanic replaced the brake pads of her car and changed the oil.");
    bench.write("bakery.md", "Sourdough needs flour, water, salt and a night of patience.");
    bench.write("orbit.md", "The probe entered an elliptical path around the planet Saturn.");
    bench.write(
        "pare-feu.md",
        "Pour laisser passer le trafic du serveur, ouvrez le port dans la configuration du pare-feu.",
    );
    bench.write("sauvegarde.md", "Chaque nuit, toutes les données sont copiées vers un deuxième disque dur.");
    bench.write("src/list.py", "def deduplicate(items):\n    seen = set()\n    return [item for item in items if not (item in seen or seen.add(item))]\n");
    bench.add();
    let made = bench.embedded(6);
    assert_eq!(made, 6);
    for (query, path) in [
        ("automobile repair", "garage.md"),
        ("baking bread", "bakery.md"),
        ("spacecraft circling a gas giant", "orbit.md"),
        ("autoriser des connexions réseau entrantes", "pare-feu.md"),
        ("où les données sont-elles dupliquées tous les soirs", "sauvegarde.md"),
        ("remove repeated elements of an array", "src/list.py"),
    ] {
        let answer = bench.call("knowledge_search", json!({ "query": query }));
        assert_eq!(answer["found"][0]["path"], path, "{query}: {answer}");
        assert_eq!(answer["notes"], Value::Null, "{answer}");
    }
    let similar = bench.call("knowledge_find_similar", json!({ "collection": "all", "id": "garage.md#0" }));
    assert!(similar["found"].as_array().unwrap().iter().all(|one| one["path"] != "garage.md"), "{similar}");
    let why = bench.call(
        "knowledge_explain_result",
        json!({ "collection": "all", "id": "garage.md#0", "query": "automobile repair" }),
    );
    assert!(why["parts"]["vector"].as_f64().unwrap() > 0.2, "{why}");
}

#[test]
fn nothing_is_embedded_twice() {
    let Some(mut bench) = Bench::with_models() else { return };
    let section = |number: usize, word: &str| {
        format!(
            "## Part {number}\n\n{} {}\n\n",
            word,
            format!("Part {number} tells of matter {number}. ").repeat(30)
        )
    };
    let book = |word: &str| {
        (0..40).map(|number| section(number, if number == 7 { word } else { "Words." })).collect::<String>()
    };
    bench.write("book.md", book("first"));
    bench.add();
    let (passages, ..) = bench.vectors();
    assert_eq!(bench.embedded(passages), passages);
    bench.write("book.md", book("second"));
    bench.wait_for("second", Some("book.md"));
    assert_eq!(bench.embedded(passages + 1), passages + 1, "one passage changed");
    fs::rename(bench.path("book.md"), bench.path("volume.md")).unwrap();
    bench.wait_for("second", Some("volume.md"));
    assert_eq!(bench.vectors(), (passages, passages + 1, passages + 1), "a new name changes no meaning");

    // What was made is there after any kill.
    for number in 0..20 {
        bench.write(
            &format!("more/{number}.md"),
            book(&format!("more{number}")).replace("matter", &format!("subject{number}")),
        );
    }
    bench.call("knowledge_refresh_collection", json!({ "name": "all" }));
    let (all, ..) = bench.vectors();
    let mut kept = 0;
    // Each time there is something left to make.
    let step = (all / u64::from(kills() + 1)).min(64);
    for _ in 0..kills() {
        while bench.vectors().1 < kept + step {}
        bench.restart();
        let (_, vectors, made) = bench.vectors();
        assert!(vectors - made >= kept, "{vectors} of {kept} are left");
        kept = vectors - made;
        bench.search("subject3");
    }
    let made = bench.embedded(all + 1);
    let (_, vectors, _) = bench.vectors();
    assert_eq!(vectors, all + 1);
    assert_eq!(kept + made, all + 1, "what was made before the last kill was not made again");
}

#[test]
fn what_is_similar_is_found_behind_what_a_passage_said_before() {
    let Some(mut bench) = Bench::with_models() else { return };
    let text = |keeper: u64| {
        format!("A lighthouse stands on the island and warns all ships of the rocks, says keeper{keeper}.")
    };
    bench.write("a.md", text(0));
    bench.write(
        "b.md",
        "A lighthouse stands on the island and warns all ships of the storm, wrote the captain of the ferry.",
    );
    bench.add();
    bench.embedded(2);
    for keeper in 1..6 {
        bench.write("a.md", text(keeper));
        bench.wait_for(&format!("keeper{keeper}"), Some("a.md"));
        bench.embedded(2 + keeper);
    }
    let asked = json!({ "collection": "all", "id": "a.md#0", "limit": 1 });
    let similar = bench.call("knowledge_find_similar", asked);
    assert_eq!(similar["found"][0]["path"], "b.md", "{similar}");
}

#[test]
fn damaged_vectors_are_made_anew_while_words_answer() {
    let Some(mut bench) = Bench::with_models() else { return };
    for number in 0..5 {
        bench.write(&format!("{number}.md"), format!("Lighthouse {number} stands on island {number}."));
    }
    bench.add();
    assert_eq!(bench.embedded(5), 5);
    bench.daemon.take().unwrap().kill();
    let index = fs::read_dir(bench.home.state.join("index")).unwrap().next().unwrap().unwrap().path();
    let stores = || fs::read_dir(index.join("vectors")).unwrap().flatten().map(|entry| entry.path());
    let spoilt: Vec<_> = stores().collect();
    for store in &spoilt {
        fs::write(store.join("log"), "no log of vectors at all".repeat(40)).unwrap();
    }
    bench.daemon = Some(Daemon::start(&bench.home));
    assert_eq!(bench.search("lighthouse").len(), 5, "words answer whatever becomes of vectors");
    assert_eq!(bench.embedded(5), 5, "each was made again");
    let answer = bench.call("knowledge_search", json!({ "query": "beacon on an island" }));
    assert!(!answer["found"].as_array().unwrap().is_empty(), "{answer}");
    let aside = stores().filter(|path| path.extension().is_some_and(|extension| extension == "damaged"));
    assert_eq!(aside.count(), spoilt.len());
}

#[test]
fn what_another_collection_of_the_user_has_is_not_embedded_again() {
    let Some(mut bench) = Bench::with_models() else { return };
    let all = 300;
    for number in 0..all {
        bench.write(&format!("{number}.md"), format!("Lighthouse {number} stands on island {number}."));
    }
    bench.add();
    assert_eq!(bench.embedded(all), all);
    bench.call("knowledge_add_collection", json!({ "name": "twin" }));
    loop {
        let listed = bench.call("knowledge_list_collections", json!({}));
        let of = |name: &str| {
            listed["collections"].as_array().unwrap().iter().find(|one| one["name"] == name).unwrap().clone()
        };
        let twin = of("twin");
        let counts = twin["vectors"].as_array().unwrap().iter();
        if counts.map(|vectors| vectors["count"].as_u64().unwrap()).sum::<u64>() == all {
            // Those of a first state of the index are few perhaps, and are made.
            assert!(twin["embedded"].as_u64().unwrap() < all, "{listed}");
            assert_eq!(of("all")["embedded"], all, "{listed}");
            break;
        }
    }
}

#[test]
fn a_long_text_is_cut_where_it_turns_to_something_else() {
    let Some(mut bench) = Bench::with_models() else { return };
    let bread = "Flour, water and salt are mixed in a bowl until no dry spots are left. The dough rests under a cloth for an hour. It is folded from all four sides and rests again. A hot oven with steam gives the loaf its crust. The baker taps the bottom of the loaf and listens for a hollow sound. ";
    let packets = "A sender keeps a window of segments that were not acknowledged yet. When an acknowledgement is missing, the congestion window is halved. A router drops packets when its queue is full. The receiver tells how many bytes its buffer has room for. Retransmission timers follow the round-trip time of the connection. ";
    // Halves of the same length would end in the middle of the second.
    let text = |rest: usize| format!("{}{}", bread.repeat(2), packets.repeat(rest));
    bench.write("notes.txt", text(5));
    bench.write("short.txt", bread);
    bench.add();
    let made = bench.embedded(3);
    assert_eq!(made, 3, "two of the long text, and one of the short");
    let first =
        bench.call("knowledge_read_chunk", json!({ "collection": "all", "id": "notes.txt#0", "around": 0 }));
    let first = first["chunks"][0]["text"].as_str().unwrap().to_owned();
    assert!(first.ends_with("hollow sound.") && !first.contains("congestion"), "{first}");
    // Cut so, it is found as it is; what is added elsewhere does not move it, and is all that is read again.
    bench.write("notes.txt", format!("{}\n\nIn short: bread rises, packets fall.", text(5)));
    bench.wait_for("rises", Some("notes.txt"));
    let first_now = |bench: &mut Bench| {
        let read = json!({ "collection": "all", "id": "notes.txt#0", "around": 0 });
        bench.call("knowledge_read_chunk", read)["chunks"][0]["text"].as_str().unwrap().to_owned()
    };
    while first_now(&mut bench) != first {}
    let (passages, _, _) = bench.vectors();
    assert_eq!(bench.embedded(passages + 1), made + 1, "of what follows, which is another now");
}
