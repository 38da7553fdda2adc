//! What the model for English takes for a text, beside the same file in Python's onnxruntime and in transformers.js. Each runs
//! on one thread, and processor time is what counts: of texts that fill the model, and of questions.

use crate::{
    build, environment,
    figures::{median, show},
    processes::{descendants, processor_time},
    random::Random,
    shell,
};
use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::json;
use skynet_models::{Embedder, Language, Models, Settings, Use};
use skynet_sandbox::Slots;
use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

/// The model that is measured: it has 256 tokens at most.
const MODEL: &str = "all-minilm-l6-v2";

/// Texts of each length, and words of them: more than the model reads, and as many as a long question has.
const LONG: (usize, usize) = (64, 400);
const SHORT: (usize, usize) = (256, 28);

/// As the peers do.
const BATCH: usize = 16;

/// In turns; the best of each counts, as whatever else the machine does only takes away.
const ROUNDS: usize = 3;

/// Questions, one by one.
const QUESTIONS: usize = 200;

/// What `embed.py` and `embed.mjs` print: milliseconds to the first vector, and texts per second of the processor.
#[derive(Clone, Copy, Default, Deserialize)]
struct Figures {
    first_ms: f64,
    long: f64,
    short: f64,
}

#[derive(Serialize)]
struct Texts {
    long: Vec<String>,
    short: Vec<String>,
}

pub(crate) fn run(models: &Path) -> Result<()> {
    environment::up(&["bench-models-python", "bench-models-node"])?;
    let directory = models.join(MODEL);
    if !directory.join("model.onnx").exists() {
        bail!("`{}` has no `{MODEL}`; install it by `skynetctl models install`", models.display());
    }
    let broker = build::broker()?;
    let scratch = tempfile::tempdir()?;
    let peers = Peers::prepare(scratch.path(), &directory)?;
    let texts = texts();
    fs::write(&peers.texts, serde_json::to_vec(&texts)?)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut ours, mut python, mut node) = (Figures::default(), Figures::default(), Figures::default());
    shell::step("measuring");
    for round in 0..ROUNDS {
        let homes = scratch.path().join(format!("homes{round}"));
        fs::create_dir(&homes)?;
        ours = best(ours, runtime.block_on(measure(models, &broker, &homes, &texts))?);
        python = best(python, peers.python()?);
        node = best(node, peers.node()?);
    }
    println!("{:<34} {:>9} {:>9} {:>9} {:>9} {:>9}", "", "Skynet", "Python", "ratio", "js", "ratio");
    for (name, of, goal) in [
        (
            "texts of 256 tokens, per CPU-second",
            (|one: Figures| one.long) as fn(Figures) -> f64,
            ">= 1.05, >= 1.1",
        ),
        ("texts of 32 tokens, per CPU-second", |one| one.short, ">= 1.3 of js"),
        ("ms to the first vector", |one| one.first_ms, "<= 1000"),
    ] {
        let (a, b, c) = (of(ours), of(python), of(node));
        println!("{name:<34} {a:>9.1} {b:>9.1} {:>9.2} {c:>9.1} {:>9.2}  {goal}", a / b, a / c);
    }
    let homes = scratch.path().join("homes");
    fs::create_dir(&homes)?;
    let mut times = runtime.block_on(questions(models, &broker, &homes, &texts.short))?;
    println!("{:<34} {:>9}  <= 5000 us", "a question, median", show(median(&mut times)));
    Ok(())
}

fn best(a: Figures, b: Figures) -> Figures {
    let first_ms = if a.first_ms == 0.0 { b.first_ms } else { a.first_ms.min(b.first_ms) };
    Figures { first_ms, long: a.long.max(b.long), short: a.short.max(b.short) }
}

fn embedder(models: &Path, broker: &Path, homes: &Path) -> Result<Arc<dyn Embedder>> {
    let models =
        Models::open(Slots::new(broker.to_owned(), 1, homes.to_owned()), models, Settings::default())?;
    let why = models.why_not().unwrap_or_default();
    models.embedder(Language::English).context(why)
}

async fn measure(models: &Path, broker: &Path, homes: &Path, texts: &Texts) -> Result<Figures> {
    let begun = Instant::now();
    let embedder = embedder(models, broker, homes)?;
    embedder.embed(&["a first text".to_owned()], Use::Passage).await?;
    let first_ms = begun.elapsed().as_secs_f64() * 1e3;
    let mut told = [0.0; 2];
    for (told, texts) in told.iter_mut().zip([&texts.long, &texts.short]) {
        let begun = used();
        for part in texts.chunks(BATCH) {
            embedder.embed(part, Use::Passage).await?;
        }
        *told = texts.len() as f64 / used().saturating_sub(begun).as_secs_f64();
    }
    let [long, short] = told;
    Ok(Figures { first_ms, long, short })
}

async fn questions(models: &Path, broker: &Path, homes: &Path, texts: &[String]) -> Result<Vec<Duration>> {
    let embedder = embedder(models, broker, homes)?;
    embedder.embed(&["a first text".to_owned()], Use::Query).await?;
    let mut times = Vec::new();
    for text in texts.iter().cycle().take(QUESTIONS) {
        let begun = Instant::now();
        embedder.embed(std::slice::from_ref(text), Use::Query).await?;
        times.push(begun.elapsed());
    }
    Ok(times)
}

/// By this process and the workers that it has now.
fn used() -> Duration {
    descendants(std::process::id()).into_iter().map(processor_time).sum()
}

/// Words in an order that repeats nothing.
fn texts() -> Texts {
    const WORDS: [&str; 17] = [
        "the", "of", "model", "system", "file", "kernel", "process", "memory", "network", "driver", "queue",
        "lock", "request", "buffer", "page", "signal", "thread",
    ];
    let mut random = Random::new(7);
    let mut text = |words: usize| {
        let word = |_| WORDS.get((random.part() * WORDS.len() as f64) as usize).copied().unwrap_or_default();
        (0..words).map(word).collect::<Vec<_>>().join(" ")
    };
    let mut texts = |(count, words): (usize, usize)| (0..count).map(|_| text(words)).collect();
    Texts { long: texts(LONG), short: texts(SHORT) }
}

/// The same file as others read it.
struct Peers {
    model: PathBuf,
    /// As transformers.js wants its directories.
    models: PathBuf,
    texts: PathBuf,
}

impl Peers {
    fn prepare(scratch: &Path, model: &Path) -> Result<Self> {
        let of_node = scratch.join("models/model");
        fs::create_dir_all(of_node.join("onnx"))?;
        symlink(model.join("model.onnx"), of_node.join("onnx/model_quantized.onnx"))?;
        symlink(model.join("tokenizer.json"), of_node.join("tokenizer.json"))?;
        let config = json!({ "model_type": "bert", "hidden_size": 384, "num_attention_heads": 12, "num_hidden_layers": 6 });
        fs::write(of_node.join("config.json"), config.to_string())?;
        let tokenizer = json!({ "tokenizer_class": "BertTokenizer", "model_max_length": 256 });
        fs::write(of_node.join("tokenizer_config.json"), tokenizer.to_string())?;
        Ok(Self {
            model: model.to_owned(),
            models: scratch.join("models"),
            texts: scratch.join("texts.json"),
        })
    }

    fn python(&self) -> Result<Figures> {
        let mut command = Command::new(environment::directory().join("bench-models-python/bin/python"));
        command.args(["-c", include_str!("peers/embed.py")]);
        command.arg(self.model.join("model.onnx")).arg(self.model.join("tokenizer.json")).arg(&self.texts);
        figures(&mut command)
    }

    fn node(&self) -> Result<Figures> {
        let mut command = Command::new("node");
        // What a script imports is looked for where it is run.
        command.current_dir(environment::directory().join("bench-models-node"));
        command.args(["--input-type=module", "-e", include_str!("peers/embed.mjs")]);
        figures(command.arg(&self.models).arg(&self.texts))
    }
}

fn figures(command: &mut Command) -> Result<Figures> {
    let told = shell::capture(command)?;
    let line = told.lines().last().unwrap_or_default();
    serde_json::from_str(line).with_context(|| format!("`{line}` are no figures"))
}
