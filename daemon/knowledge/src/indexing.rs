//! Keeps a collection as its files are. Hands list and read them; what they say is written down here, words first, which
//! takes seconds. Vectors follow, in a task of their own.

use crate::{
    collection::{Collection, blocking, lock},
    lexical::Writing,
    stored::{FileState, StoredPassage, key_of},
};
use futures_util::{StreamExt as _, stream};
use jiff::Timestamp;
use serde::{Serialize, de::DeserializeOwned};
use skynet_core::{CallCtx, Canonical, Error, Result, Run};
use skynet_documents::{Entry, LIST, List, Listing, MOST_FILES, READ, Read, Reading, Readings};
use skynet_models::{Embedder, Language, Use};
use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

/// Files that hands read at once, in bytes and number.
const BATCH_BYTES: u64 = 8 << 20;

/// Batches under way: hands read the next while the last is written.
const BATCHES: usize = 2;

/// What was read is found after that time at the latest.
const COMMIT_EVERY: Duration = Duration::from_secs(5);

/// Texts that a model gets at once. Of similar length, as it takes them in order of that.
const TEXTS: usize = 64;

/// What a look at all files found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refreshed {
    /// Files that are new or changed.
    pub changed: u64,
    /// Files that are gone.
    pub removed: u64,
    /// Files in all.
    pub files: u64,
    /// Those that could not be read, or are not worth it.
    pub skipped: u64,
}

/// Runs what hands do for the daemon.
pub(crate) async fn ask<T: Serialize + Sync, D: DeserializeOwned>(
    hands: &dyn Run,
    ctx: &CallCtx,
    name: &'static str,
    input: &T,
) -> Result<D> {
    let unusable = |err: serde_json::Error| {
        Error::internal(format!("`{name}` answered something else")).with_source(err)
    };
    let json = serde_json::to_vec(input).map_err(unusable)?;
    let answer = hands.run(ctx, name, &Canonical::parse(&json)?).await?;
    serde_json::from_slice(&answer).map_err(unusable)
}

/// Makes the words of a collection those of its files. One at a time; what was written when it fails stays.
///
/// # Errors
/// Those of hands, `Canceled`, and `Unavailable` when the disk refuses.
pub(crate) async fn refresh(
    collection: &Arc<Collection>,
    hands: &dyn Run,
    ctx: &CallCtx,
) -> Result<Refreshed> {
    let _writing = collection.writing.lock().await;
    let refreshed = look(collection, hands, ctx).await;
    collection.progress.send_modify(|progress| {
        progress.doing = None;
        progress.failure = refreshed.as_ref().err().map(ToString::to_string);
        if refreshed.is_ok() {
            progress.checked_at = Some(Timestamp::now());
        }
    });
    refreshed
}

async fn look(collection: &Arc<Collection>, hands: &dyn Run, ctx: &CallCtx) -> Result<Refreshed> {
    let record = &collection.record;
    collection
        .progress
        .send_modify(|progress| (progress.doing, progress.done) = (Some("listing files"), (0, 0)));
    let list =
        List { path: record.path.clone(), include: record.include.clone(), exclude: record.exclude.clone() };
    let listing: Listing = ask(hands, ctx, LIST, &list).await?;
    let (opened, max_bytes) = (collection.lexical.clone(), record.max_file_bytes);
    let known = blocking(move || opened.files()).await?;
    let mut known: HashMap<String, FileState> =
        known.into_iter().map(|file| (file.path.clone(), file)).collect();
    let files = listing.files.len() as u64;
    let mut skipped = listing.unreadable;
    let mut changed = Vec::new();
    for entry in listing.files {
        match known.remove(&entry.path) {
            Some(file) if file.stamp == entry.stamp => skipped += u64::from(file.skipped.is_some()),
            _ => changed.push(entry),
        }
    }
    let removed: Vec<String> = known.into_keys().collect();
    let mut refreshed =
        Refreshed { changed: changed.len() as u64, removed: removed.len() as u64, files, skipped };
    if changed.is_empty() && removed.is_empty() {
        return Ok(refreshed);
    }
    let total = changed.len() as u64;
    let tell = |done: u64| {
        collection
            .progress
            .send_modify(|progress| (progress.doing, progress.done) = (Some("reading files"), (done, total)));
        #[expect(clippy::cast_precision_loss, reason = "numbers of files are far below 2^52")]
        ctx.progress(done as f64, Some(total as f64), "reading files");
    };
    tell(0);
    let mut writer = collection.lexical.write()?;
    for path in &removed {
        writer.remove(path);
    }
    let mut reading = stream::iter(batches(changed))
        .map(|batch| async {
            let paths = batch.iter().map(|entry| entry.path.clone()).collect();
            let read: Result<Readings> = ask(hands, ctx, READ, &Read { paths, max_bytes }).await;
            read.map(|read| (batch, read.readings))
        })
        .buffered(BATCHES);
    let (mut done, mut committed_at) = (0, Instant::now());
    while let Some(read) = reading.next().await {
        let (batch, readings) = read?;
        ctx.check_canceled()?;
        done += batch.len() as u64;
        let is_due = committed_at.elapsed() >= COMMIT_EVERY;
        let collection = collection.clone();
        let (back, newly_skipped) =
            blocking(move || write(&collection, writer, batch, readings, is_due)).await?;
        writer = back;
        refreshed.skipped += newly_skipped;
        if is_due {
            committed_at = Instant::now();
        }
        tell(done);
    }
    let opened = collection.clone();
    blocking(move || {
        let languages = lock(&opened.languages).clone();
        writer.commit(&languages)?;
        writer.finish()
    })
    .await?;
    Ok(refreshed)
}

/// As many files at once as hands take, and not too many bytes of them.
fn batches(changed: Vec<Entry>) -> Vec<Vec<Entry>> {
    let mut batches: Vec<Vec<Entry>> = Vec::new();
    let mut bytes = 0;
    for entry in changed {
        let size = entry.stamp.0;
        match batches.last_mut() {
            Some(batch) if batch.len() < MOST_FILES && bytes + size <= BATCH_BYTES => {
                bytes += size;
                batch.push(entry);
            }
            _ => {
                bytes = size;
                batches.push(vec![entry]);
            }
        }
    }
    batches
}

/// Writes what was read of some files; returns how many of them were not.
pub(crate) fn write(
    collection: &Collection,
    mut writer: Writing,
    batch: Vec<Entry>,
    readings: Vec<Reading>,
    is_due: bool,
) -> Result<(Writing, u64)> {
    let mut skipped = 0;
    let mut languages = lock(&collection.languages).clone();
    for (entry, reading) in batch.into_iter().zip(readings) {
        let mut file = FileState {
            path: entry.path,
            stamp: entry.stamp,
            hash: String::new(),
            format: None,
            code: None,
            title: None,
            outline: Vec::new(),
            passages: 0,
            secrets: 0,
            skipped: None,
        };
        let passages = match reading {
            Reading::Skipped(why) => {
                skipped += 1;
                file.skipped = Some(why);
                Vec::new()
            }
            Reading::Document(mut document) => {
                let passages = std::mem::take(&mut document.passages);
                let words: Vec<String> =
                    passages.iter().map(|passage| languages.place(&document, passage)).collect();
                file.format = Some(document.format);
                file.code.clone_from(&document.code);
                (file.hash, file.title, file.outline) = (document.hash, document.title, document.outline);
                file.secrets = document.secrets;
                let passages =
                    passages.into_iter().zip(words).zip(0..).map(|((passage, words), sequence)| {
                        StoredPassage {
                            path: file.path.clone(),
                            sequence,
                            key: key_of(&passage),
                            words,
                            format: document.format,
                            code: document.code.clone(),
                            passage,
                        }
                    });
                passages.collect()
            }
        };
        file.passages = u32::try_from(passages.len()).unwrap_or(u32::MAX);
        writer.put(&file, &passages)?;
    }
    if is_due {
        writer.commit(&languages)?;
    }
    *lock(&collection.languages) = languages;
    Ok((writer, skipped))
}

/// Makes the vectors that a collection lacks; one at a time.
///
/// # Errors
/// Those of the model, and `Unavailable` when the disk refuses. What was made stays.
pub(crate) async fn embed(
    collection: &Arc<Collection>,
    embedders: &[(Language, Arc<dyn Embedder>)],
) -> Result<()> {
    let _embedding = collection.embedding.lock().await;
    for (language, embedder) in embedders {
        let (opened, model, language) = (collection.clone(), embedder.model().clone(), *language);
        let (vectors, missing) = blocking(move || {
            let vectors = opened.vectors(&model)?;
            let missing = opened.without_vector(&vectors, language)?;
            Ok((vectors, missing))
        })
        .await?;
        // The places are those of one state of the index; a change since begins a new round, which finds what this one misses.
        let searcher = collection.lexical.searcher();
        for part in missing.chunks(TEXTS) {
            let (opened, searcher, part) = (collection.clone(), searcher.clone(), part.to_vec());
            let texts = blocking(move || {
                part.iter()
                    .map(|(key, address)| {
                        let stored = opened.lexical.passage(&searcher, *address)?;
                        // Another state of the index may have another passage there.
                        Ok((stored.key == *key).then(|| (*key, stored.passage.in_context())))
                    })
                    .collect::<Result<Vec<_>>>()
            })
            .await?;
            let (keys, texts): (Vec<u64>, Vec<String>) = texts.into_iter().flatten().unzip();
            let made = embedder.embed(&texts, Use::Passage).await?;
            let made: Vec<(u64, Vec<f32>)> = keys.into_iter().zip(made).collect();
            let (count, kept) = (made.len() as u64, vectors.clone());
            blocking(move || kept.add(&made)).await?;
            collection.progress.send_modify(|progress| progress.embedded += count);
        }
        blocking(move || vectors.save()).await?;
    }
    Ok(())
}
