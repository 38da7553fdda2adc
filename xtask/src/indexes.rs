//! How fast the indexes of a large collection are, with vectors that are made up: what a model takes is measured by itself.
//!
//! Documents are of topics, with words as rare as those of a language are (Zipf 1949). The vector of a text is the sum of one
//! direction for each of its words, so what shares words lies close, as with a model, and the true neighbors are known. As those of
//! models do, vectors fill few of the directions that they have numbers for (Facco et al. 2017, Scientific Reports 7, count them).

use crate::{
    figures::{median, percentile, show},
    processes::status_kb,
    random::Random,
    shell,
};
use anyhow::{Context as _, Result};
use async_trait::async_trait;
use rustix::time::{ClockId, clock_gettime};
use skynet_documents::{Reading, work::Reader};
use skynet_knowledge::{Leg, Sample};
use skynet_models::{Embedder, Language, Model, Use};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// As the model for English has (all-MiniLM-L6-v2).
const DIMENSIONS: usize = 384;

/// In how many directions texts differ.
const DIRECTIONS: usize = 24;

/// Words of the language, and of one topic.
const WORDS: usize = 30_000;
const WORDS_OF_TOPIC: usize = 40;

/// One in so many documents is of the same topic.
const TOPICS: usize = 2000;

/// Words of a document, and of a question.
const LENGTH: usize = 60;
const ASKED: usize = 5;

/// Questions; as many answers to each are compared with the true ones.
const QUESTIONS: usize = 300;
const DEPTH: usize = 10;

pub(crate) fn run(passages: usize) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(measure(passages))
}

async fn measure(passages: usize) -> Result<()> {
    let scratch = tempfile::tempdir_in("/var/tmp")?;
    let mut language = Made(Random::new(7));
    shell::step(&format!("reading {passages} documents"));
    let texts: Vec<String> = (0..passages).map(|number| language.document(number % TOPICS)).collect();
    let begun = processor_time();
    let documents = read(&texts)?;
    tell("reading and cutting", per_second(passages, begun), "documents per CPU-second", "");
    shell::step("indexing words");
    let begun = processor_time();
    let sample = Sample::of(&scratch.path().join("first"), documents).await?;
    tell("words", per_second(passages, begun), "documents per CPU-second", ">= 10000");

    shell::step("indexing vectors");
    let model = Arc::new(Directions::new());
    let embedder: Arc<dyn Embedder> = model.clone();
    // No language is told of words that nobody speaks.
    let embedders = [(Language::English, embedder.clone()), (Language::Other, embedder)];
    let (begun, before) = (processor_time(), status_kb("self", "VmRSS"));
    sample.embed(&embedders).await?;
    let took = processor_time() - begun;
    let grown = status_kb("self", "VmRSS").saturating_sub(before) * 1024 / passages as u64;
    tell("vectors, with making them up", per_second_of(passages, took), "vectors per CPU-second", "");
    tell("memory of a passage", grown as f64, "bytes", "<= 2048");

    let questions: Vec<String> =
        (0..QUESTIONS).map(|number| language.question(number * 7 % TOPICS)).collect();
    recall(&sample, &model, &texts, &questions)?;
    let (middle, slow) = ask(&sample, &embedders, &questions).await?;
    println!("{:<34} {:>12} {:>12}  p95 <= 25 ms", "hybrid query, idle", show(middle), show(slow));

    // Another collection is indexed meanwhile, again and again.
    let (more, directory) = (read(&texts)?, scratch.path().join("second"));
    let busy = tokio::spawn(async move {
        loop {
            Sample::of(&directory, more.clone()).await?;
            tokio::task::yield_now().await;
        }
        #[expect(unreachable_code, reason = "it tells the type of the task")]
        Ok::<(), skynet_core::Error>(())
    });
    let (middle, slow) = ask(&sample, &embedders, &questions).await?;
    busy.abort();
    println!("{:<34} {:>12} {:>12}  p95 <= 40 ms", "hybrid query, while indexing", show(middle), show(slow));
    Ok(())
}

fn read(texts: &[String]) -> Result<Vec<(String, Reading)>> {
    let mut reader = Reader::new()?;
    let named = texts.iter().enumerate();
    Ok(named
        .map(|(number, text)| (format!("{number}.md"), reader.read("document.md", text.as_bytes())))
        .collect())
}

/// The nearest by the graph beside the nearest of all, which are looked for one by one.
fn recall(sample: &Sample, model: &Directions, texts: &[String], questions: &[String]) -> Result<()> {
    let vectors: Vec<Vec<f32>> = texts.iter().map(|text| model.of(text)).collect();
    let (mut hits, mut took) = (0, Duration::ZERO);
    for question in questions {
        let asked = model.of(question);
        let begun = processor_time();
        let found = sample.nearest(&model.model, &asked, DEPTH)?;
        took += processor_time() - begun;
        let mut all: Vec<f32> = vectors.iter().map(|vector| dot(&asked, vector)).collect();
        let (_, last, _) = all.select_nth_unstable_by(DEPTH - 1, |a, b| b.total_cmp(a));
        // What is kept has eleven bits of each number.
        let enough = *last - 1e-3;
        hits += found.iter().filter(|cosine| **cosine >= enough).count();
    }
    let recall = hits as f64 / (questions.len() * DEPTH) as f64;
    println!("{:<34} {recall:>12.4} {:>12}  >= 0.99", "recall@10 of the graph", "");
    let each = took / u32::try_from(questions.len()).context("questions")?;
    println!("{:<34} {:>12} {:>12}  <= 200 us of CPU", "nearest by the graph", show(each), "");
    Ok(())
}

async fn ask(
    sample: &Sample,
    embedders: &[(Language, Arc<dyn Embedder>)],
    questions: &[String],
) -> Result<(Duration, Duration)> {
    let mut times = Vec::new();
    for question in questions {
        let begun = Instant::now();
        sample.ask(question, embedders, Leg::Both, DEPTH).await?;
        times.push(begun.elapsed());
    }
    Ok((median(&mut times), percentile(&mut times, 95)))
}

/// Words that nobody speaks.
struct Made(Random);

impl Made {
    /// A word that is as rare as its number says.
    fn word(&mut self) -> usize {
        let rank = (WORDS as f64).powf(self.0.part());
        (rank as usize).min(WORDS - 1)
    }

    fn of_topic(&mut self, topic: usize) -> usize {
        (topic * 7919 + (self.0.part() * WORDS_OF_TOPIC as f64) as usize * 104_729) % WORDS
    }

    fn document(&mut self, topic: usize) -> String {
        let words = (0..LENGTH).map(|place| if place % 2 == 0 { self.word() } else { self.of_topic(topic) });
        spell(words)
    }

    fn question(&mut self, topic: usize) -> String {
        let words = (0..ASKED).map(|_| self.of_topic(topic));
        spell(words)
    }
}

/// Letters in place of numbers, as words of a language have.
fn spell(words: impl Iterator<Item = usize>) -> String {
    let spell = |mut number: usize| {
        let mut word = String::new();
        for letters in [b"bdfgklmnprstvz".as_slice(), b"aeiou"].into_iter().cycle().take(8) {
            word.push(char::from(letters.get(number % letters.len()).copied().unwrap_or(b'x')));
            number /= letters.len();
        }
        word
    };
    words.map(spell).collect::<Vec<_>>().join(" ")
}

/// Makes vectors of words.
struct Directions {
    model: Model,
    /// Where each direction leads.
    axes: Vec<Vec<f32>>,
}

impl Directions {
    fn new() -> Self {
        let mut random = Random::new(3);
        Self {
            model: Model { id: "directions".into(), sha256: "0".repeat(64), dimensions: DIMENSIONS },
            axes: (0..DIRECTIONS).map(|_| vector(&mut random, DIMENSIONS)).collect(),
        }
    }

    fn of(&self, text: &str) -> Vec<f32> {
        let mut meaning = vec![0.0_f32; DIRECTIONS];
        for word in text.split_whitespace() {
            let seed = word.bytes().fold(0_u64, |seed, byte| seed.wrapping_mul(31).wrapping_add(byte.into()));
            add(&mut meaning, &vector(&mut Random::new(seed), DIRECTIONS), 1.0);
        }
        let mut sum = vec![0.0_f32; DIMENSIONS];
        for (axis, far) in self.axes.iter().zip(meaning) {
            add(&mut sum, axis, far);
        }
        let length = dot(&sum, &sum).sqrt().max(f32::EPSILON);
        sum.iter().map(|number| number / length).collect()
    }
}

#[async_trait]
impl Embedder for Directions {
    fn model(&self) -> &Model {
        &self.model
    }

    async fn embed(&self, texts: &[String], _: Use) -> skynet_core::Result<Vec<Vec<f32>>> {
        Ok(texts.iter().map(|text| self.of(text)).collect())
    }
}

fn vector(random: &mut Random, dimensions: usize) -> Vec<f32> {
    (0..dimensions).map(|_| random.part() as f32 - 0.5).collect()
}

fn add(sum: &mut [f32], other: &[f32], times: f32) {
    sum.iter_mut().zip(other).for_each(|(sum, other)| *sum += other * times);
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Of all threads of this process (clock_gettime(2)).
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

fn per_second(count: usize, since: Duration) -> f64 {
    per_second_of(count, processor_time() - since)
}

fn per_second_of(count: usize, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}

fn tell(name: &str, figure: f64, unit: &str, goal: &str) {
    println!("{name:<34} {figure:>12.0} {unit}  {goal}");
}
