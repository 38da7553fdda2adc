//! Models as their users meet them: installed, read with, damaged, and their workers killed.

mod source;

use serde_json::{Value, json};
use skynet_tests::{
    components,
    programs::{Daemon, Home, give},
};
use source::Server;
use std::{
    fs::{self, OpenOptions},
    os::unix::fs::FileExt as _,
    path::PathBuf,
};

const ENGLISH: &str = "all-minilm-l6-v2";
const OTHER: &str = "multilingual-e5-small";

/// Where `cargo xtask env up models` installed them.
fn models() -> Option<String> {
    let record = components::find("models", "multilingual-e5-small/installed.json")?;
    Some(record.parent()?.parent()?.display().to_string())
}

fn json_of(home: &Home, arguments: &[&str]) -> Value {
    let (code, text, said) = home.ctl(&[&["--json", "models"], arguments].concat());
    assert_eq!(code, 0, "{arguments:?}: {said}{text}");
    serde_json::from_str(&text).unwrap()
}

/// Each line, and the line that is nearest to it.
fn nearest(home: &Home, id: &str, lines: &[&str]) -> Vec<(String, String)> {
    let mut command = home.command("skynetctl");
    command.arg("--socket").arg(home.socket()).args(["--json", "models", "bench", id, "--stdin"]);
    let (code, text) = give(&mut command, &lines.join("\n"));
    assert_eq!(code, 0, "{text}");
    let found: Value = serde_json::from_str(&text).unwrap();
    let found = found["nearest"].as_array().unwrap().iter();
    let nearest = found.map(|one| lines[usize::try_from(one["text"].as_u64().unwrap()).unwrap()]);
    lines.iter().zip(nearest).map(|(line, near)| ((*line).to_owned(), near.to_owned())).collect()
}

/// Lines that come in pairs of one meaning.
fn check_pairs(home: &Home, id: &str, lines: &[&str]) {
    for (pair, found) in lines.chunks(2).zip(nearest(home, id, lines).chunks(2)) {
        let expected = [(pair[0], pair[1]), (pair[1], pair[0])];
        assert_eq!(found, expected.map(|(line, near)| (line.to_owned(), near.to_owned())), "{id}");
    }
}

fn workers(home: &Home) -> Vec<i64> {
    let listed = json_of(home, &["list"]);
    listed["workers"].as_array().unwrap().iter().map(|pid| pid.as_i64().unwrap()).collect()
}

/// Which they were.
fn kill_workers(home: &Home) -> Vec<i64> {
    let workers = workers(home);
    for pid in &workers {
        let pid = rustix::process::Pid::from_raw(i32::try_from(*pid).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    }
    workers
}

#[test]
fn models_are_installed_and_find_what_means_the_same() {
    let Some(from) = models() else { return };
    let home = Home::new();
    let _daemon = Daemon::start(&home);
    let listed = json_of(&home, &["list"]);
    assert!(listed["missing"].as_str().unwrap().contains("`skynetctl models install`"), "{listed}");
    let (code, _, said) = home.ctl(&["models", "bench", ENGLISH]);
    assert!(code == 1 && said.contains("is not installed"), "{said}");

    let installed = json_of(&home, &["install", "--from", &from]);
    let ids: Vec<_> = installed.as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["onnxruntime", ENGLISH, OTHER]);
    assert_eq!(json_of(&home, &["install"]), json!([]));
    let listed = json_of(&home, &["list"]);
    assert_eq!((&listed["missing"], &listed["workers"]), (&Value::Null, &json!([])));

    check_pairs(
        &home,
        ENGLISH,
        &[
            "restart a service",
            "start the daemon again",
            "fn add(a: i32, b: i32) -> i32 { a + b }",
            "a function that sums two integers",
            "the cat sleeps on the sofa",
            "a kitten naps on the couch",
        ],
    );
    check_pairs(
        &home,
        OTHER,
        &[
            "redémarrer un service systemd",
            "relancer une unité avec systemctl",
            "le chat dort sur le canapé",
            "un chaton fait la sieste sur le divan",
            "ouvrir un port dans le pare-feu",
            "autoriser le trafic entrant avec le firewall",
        ],
    );

    // One stream of work has one worker; killed, it is replaced.
    let before = kill_workers(&home);
    assert!(!before.is_empty());
    let measured = json_of(&home, &["bench", ENGLISH]);
    assert_eq!(measured["texts"], 64, "{measured}");
    let after = workers(&home);
    assert!(!after.is_empty() && after.iter().all(|pid| !before.contains(pid)), "{before:?} {after:?}");

    assert_eq!(json_of(&home, &["remove", OTHER]), json!({ "id": OTHER }));
    let (code, _, said) = home.ctl(&["models", "remove", OTHER]);
    assert!(code == 1 && said.contains("is not installed"), "{said}");
}

#[test]
fn a_damaged_model_is_found_and_refused_until_it_is_installed_again() {
    let Some(from) = models() else { return };
    let home = Home::new();
    home.configure("[models]\nworkers = 1\n");
    let _daemon = Daemon::start(&home);
    json_of(&home, &["install", "onnxruntime", ENGLISH, "--from", &from]);
    let faults = json!([{ "id": "onnxruntime", "faults": [] }, { "id": ENGLISH, "faults": [] }]);
    assert_eq!(json_of(&home, &["verify"]), faults);

    let damage = |path: PathBuf| {
        let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, 4_000_000).unwrap();
        file.write_all_at(&[!byte[0]], 4_000_000).unwrap();
    };
    damage(home.state.join("models").join(ENGLISH).join("model.onnx"));
    let (code, text, _) = home.ctl(&["models", "verify"]);
    assert!(code == 1 && text.contains("onnxruntime is whole"), "{text}");
    assert!(text.contains("`model.onnx` is damaged") && text.contains("models install"), "{text}");
    let (code, _, said) = home.ctl(&["models", "bench", ENGLISH]);
    assert!(code == 1 && said.contains("are damaged; `skynetctl models install"), "{said}");
    json_of(&home, &["install", ENGLISH, "--from", &from]);
    json_of(&home, &["bench", ENGLISH]);

    // The same for what runs them, once no worker has it any more.
    kill_workers(&home);
    damage(home.state.join("models/onnxruntime/libonnxruntime.so"));
    let (code, _, said) = home.ctl(&["models", "bench", ENGLISH]);
    assert!(code == 1 && said.contains("`skynetctl models install onnxruntime` replaces it"), "{said}");
}

#[test]
fn the_index_of_pip_conf_is_asked_and_what_it_sends_is_checked() {
    let server = Server::start();
    let home = Home::new();
    fs::create_dir_all(home.path.join(".config/pip")).unwrap();
    let index = format!("{}/root/simple", server.address());
    fs::write(home.path.join(".config/pip/pip.conf"), format!("[global]\nindex-url = {index}/\n")).unwrap();
    let _daemon = Daemon::start(&home);
    let (code, _, said) = home.ctl(&["models", "install", "onnxruntime", "--from", "pypi"]);
    assert!(code == 1 && said.contains(&format!("`{index}` has no `onnxruntime-")), "{said}");
    let asked = server.asked();
    assert_eq!(asked[0].0, "/root/simple/onnxruntime/", "{asked:?}");

    // The right name and size, and something else in it.
    let file = format!("onnxruntime-1.32.0-cp311-cp311-manylinux_2_28_{}.whl", std::env::consts::ARCH);
    let size = if std::env::consts::ARCH == "aarch64" { 23_195_070 } else { 27_773_237 };
    let page = format!("<html><body><a href=\"../../files/{file}#sha256=00\">{file}</a></body></html>");
    server.put("/root/simple/onnxruntime/", page.into_bytes(), &[("content-type", "text/html")]);
    server.put(&format!("/root/files/{file}"), vec![7; size], &[]);
    let (code, _, said) = home.ctl(&["models", "install", "onnxruntime", "--from", "pypi"]);
    assert!(code == 1 && said.contains("is not what it should be: its sha256 is"), "{said}");
    let listed = json_of(&home, &["list"]);
    assert_eq!(listed["models"][0]["is_installed"], false, "{listed}");
    // Nothing of it is left.
    let left = fs::read_dir(home.state.join("models/.downloads")).unwrap().count();
    assert_eq!(left, 0);
    assert!(!home.state.join("models/.onnxruntime.new").exists());
}

#[test]
fn a_reranker_comes_from_a_hub_in_two_pieces_and_scores() {
    let Some(from) = models() else { return };
    let server = Server::start();
    let weights = source::cross_encoder(&server, "cross-encoder/ms-marco-MiniLM-L6-v2");
    let home = Home::new();
    home.configure(&format!("[models]\nhub = '{}'\nworkers = 1\n", server.address()));
    let _daemon = Daemon::start(&home);
    json_of(&home, &["install", "onnxruntime", "--from", &from]);
    // The connection breaks in the middle, each time it is made.
    server.break_after(Some(weights / 3));
    json_of(&home, &["install", "ms-marco-minilm-l6-v2"]);
    let ranges: Vec<_> = server.asked().into_iter().filter_map(|(_, range)| range).collect();
    assert_eq!(ranges[..2], [format!("bytes={}-", weights / 3), format!("bytes={}-", weights / 3 * 2)]);

    let scores = |lines: &[&str]| -> Vec<f64> {
        let mut command = home.command("skynetctl");
        command.arg("--socket").arg(home.socket()).args([
            "--json",
            "models",
            "bench",
            "ms-marco-minilm-l6-v2",
        ]);
        let (code, text) = give(command.args(["--stdin", "--question", "what is good"]), &lines.join("\n"));
        assert_eq!(code, 0, "{text}");
        let found: Value = serde_json::from_str(&text).unwrap();
        found["nearest"].as_array().unwrap().iter().map(|one| one["similarity"].as_f64().unwrap()).collect()
    };
    let found = scores(&["good good good", "bad bad", "good bad", "good good good"]);
    assert!(found[0] > found[2] && found[2] > found[1], "{found:?}");
    assert_eq!(found[0], found[3]);
    // What stands beside a text does not change what is said of it.
    assert_eq!(scores(&["good bad"]), [found[2]]);
}
