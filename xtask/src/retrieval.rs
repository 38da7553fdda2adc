//! How well what is looked for is found: sets of questions, documents and judgments in the layout of BEIR (Thakur et al. 2021),
//! asked of the indexes that the daemon has.

use crate::{build, shell};
use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use skynet_documents::{Reading, work::Reader};
use skynet_knowledge::{Leg, Sample};
use skynet_models::{Embedder, Language, Models, Settings, Use};
use skynet_sandbox::Slots;
use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

/// Answers that count.
const DEPTH: usize = 10;

/// What documents may be if they are code, and if they are not.
const EXTENSIONS: [&str; 7] = ["py", "js", "java", "go", "rb", "php", "rs"];
const PROSE: &str = "md";

/// Documents that tell what all of a set are.
const LOOKED_AT: usize = 200;

#[derive(Deserialize)]
struct Line {
    #[serde(rename = "_id")]
    id: String,
    #[serde(default)]
    title: String,
    text: String,
}

/// Means over the questions of a set.
#[derive(Default)]
struct Scores {
    gain: f64,
    recall: f64,
    rank: f64,
    questions: f64,
}

/// Vectors are kept in `keep`, so that the next run need not make them again.
pub(crate) fn run(data: &Path, models: &Path, keep: Option<&Path>) -> Result<()> {
    let broker = build::broker()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(measure(data, models, keep, broker))
}

async fn measure(data: &Path, models: &Path, keep: Option<&Path>, broker: PathBuf) -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let homes = scratch.path().join("homes");
    fs::create_dir(&homes)?;
    let models = Models::open(Slots::new(broker, 1, homes), models, Settings::default())?;
    let languages = [Language::English, Language::Other].into_iter();
    let embedders: Vec<(Language, Arc<dyn Embedder>)> =
        languages.filter_map(|language| Some((language, models.embedder(language)?))).collect();
    if let Some(why) = models.why_not() {
        println!("without vectors: {why}");
    }
    for (_, embedder) in &embedders {
        let began = Instant::now();
        embedder.embed(&["a first text".to_owned()], Use::Query).await?;
        eprintln!("{}: first vector after {} ms", embedder.model().id, began.elapsed().as_millis());
    }
    println!("{:<14} {:<8} {:>8} {:>8} {:>8}", "set", "leg", "nDCG@10", "rec@10", "MRR");
    for set in sets(data)? {
        let name = set.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let sample = index(&set, &keep.unwrap_or(scratch.path()).join(&name)).await?;
        let began = Instant::now();
        sample.embed(&embedders).await?;
        if !embedders.is_empty() {
            eprintln!(
                "{name}: {} passages embedded in {:.0} s",
                sample.passages()?,
                began.elapsed().as_secs_f64()
            );
        }
        for (leg, label) in [(Leg::Words, "words"), (Leg::Vectors, "vectors"), (Leg::Both, "both")] {
            if leg != Leg::Words && embedders.is_empty() {
                continue;
            }
            let scores = ask(&set, &sample, &embedders, leg).await?;
            let of = |sum: f64| sum / scores.questions.max(1.0);
            println!(
                "{name:<14} {label:<8} {:>8.3} {:>8.3} {:>8.3}",
                of(scores.gain),
                of(scores.recall),
                of(scores.rank)
            );
        }
    }
    Ok(())
}

/// The directories below `data` that have a corpus, or itself.
fn sets(data: &Path) -> Result<Vec<PathBuf>> {
    if data.join("corpus.jsonl").is_file() {
        return Ok(vec![data.to_owned()]);
    }
    let entries = fs::read_dir(data).with_context(|| format!("`{}`", data.display()))?;
    let mut sets: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.join("corpus.jsonl").is_file())
        .collect();
    sets.sort();
    if sets.is_empty() {
        bail!("`{}` has no directory with a `corpus.jsonl`", data.display());
    }
    Ok(sets)
}

async fn index(set: &Path, directory: &Path) -> Result<Sample> {
    shell::step(&format!("indexing {}", set.display()));
    let lines = lines(&set.join("corpus.jsonl"))?;
    let mut reader = Reader::new()?;
    let extension = extension(&mut reader, &lines);
    eprintln!("{} documents, read as .{extension}", lines.len());
    let documents = lines.iter().map(|line| {
        let is_titled = extension == PROSE && !line.title.is_empty();
        let text = if is_titled { format!("# {}\n\n{}", line.title, line.text) } else { line.text.clone() };
        (line.id.clone(), reader.read(&format!("document.{extension}"), text.as_bytes()))
    });
    Ok(Sample::of(directory, documents.collect()).await?)
}

/// What the files of a set would be called: it does not tell. Parsers recover from anything and find a definition in prose now and
/// then, so it is code only if there is one in most of its documents.
fn extension(reader: &mut Reader, lines: &[Line]) -> &'static str {
    let some: Vec<&Line> = lines.iter().take(LOOKED_AT).collect();
    let mut is_code = |extension: &&str| {
        let defines = |line: &&&Line| {
            let reading = reader.read(&format!("document.{extension}"), line.text.as_bytes());
            matches!(reading, Reading::Document(document) if !document.outline.is_empty())
        };
        some.iter().filter(defines).count() * 4 > some.len() * 3
    };
    EXTENSIONS.into_iter().find(|extension| is_code(extension)).unwrap_or(PROSE)
}

async fn ask(
    set: &Path,
    sample: &Sample,
    embedders: &[(Language, Arc<dyn Embedder>)],
    leg: Leg,
) -> Result<Scores> {
    let judgments = judgments(&set.join("qrels.tsv"))?;
    let mut scores = Scores::default();
    for question in lines(&set.join("queries.jsonl"))? {
        let Some(judged) = judgments.get(&question.id) else { continue };
        let found = sample.ask(&question.text, embedders, leg, DEPTH).await?;
        scores.add(&found, judged);
    }
    Ok(scores)
}

impl Scores {
    /// nDCG with linear gains (Järvelin and Kekäläinen 2002, as trec_eval has it), recall, and reciprocal rank.
    #[expect(clippy::cast_precision_loss, reason = "a handful of documents")]
    fn add(&mut self, found: &[String], judged: &HashMap<String, f64>) {
        let discount = |place: usize| (place as f64 + 2.0).log2();
        let relevance = |id: &String| judged.get(id).copied().unwrap_or_default();
        let gained: f64 = found.iter().enumerate().map(|(place, id)| relevance(id) / discount(place)).sum();
        let mut ideal: Vec<f64> = judged.values().copied().collect();
        ideal.sort_by(|a, b| b.total_cmp(a));
        let most: f64 =
            ideal.iter().take(DEPTH).enumerate().map(|(place, gain)| gain / discount(place)).sum();
        let relevant = judged.values().filter(|score| **score > 0.0).count();
        let hits = found.iter().filter(|id| relevance(id) > 0.0).count();
        if most > 0.0 {
            self.gain += gained / most;
            self.recall += hits as f64 / relevant as f64;
        }
        self.rank +=
            found.iter().position(|id| relevance(id) > 0.0).map_or(0.0, |place| 1.0 / (place as f64 + 1.0));
        self.questions += 1.0;
    }
}

fn lines(path: &Path) -> Result<Vec<Line>> {
    let text = fs::read_to_string(path).with_context(|| format!("`{}`", path.display()))?;
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines
        .map(|line| serde_json::from_str(line).with_context(|| format!("`{}`: {line}", path.display())))
        .collect()
}

fn judgments(path: &Path) -> Result<HashMap<String, HashMap<String, f64>>> {
    let text = fs::read_to_string(path).with_context(|| format!("`{}`", path.display()))?;
    let mut judgments: HashMap<String, HashMap<String, f64>> = HashMap::new();
    for line in text.lines().skip(1) {
        let mut cells = line.split('\t');
        if let (Some(question), Some(document), Some(score)) = (cells.next(), cells.next(), cells.next()) {
            judgments
                .entry(question.to_owned())
                .or_default()
                .insert(document.to_owned(), score.trim().parse()?);
        }
    }
    Ok(judgments)
}
