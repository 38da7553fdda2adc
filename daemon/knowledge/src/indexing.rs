//! Keeps a collection as its files are. Hands list and read them; what they say is written down here, words first, which
//! takes seconds. Vectors follow, in a task of their own.

use crate::{
    collection::{Collection, Record, blocking, lock},
    gathering::Runners,
    languages::Languages,
    lexical::Writing,
    stored::{FileState, StoredPassage, key_of},
    topics::{self, Topics},
};
use futures_util::{StreamExt as _, stream};
use jiff::Timestamp;
use skynet_core::{CallCtx, Error, Result};
use skynet_documents::{About, Document, Entry, MOST_DEFINITIONS, MOST_FILES, Passage, Reading, SourceKind};
use skynet_secrets::{Keyring, Scanner};
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

/// Of one file: passages, names of one passage; and bytes of a passage and a name.
const MOST_PASSAGES: usize = 20_000;
const MOST_NAMES: usize = 100;
const LONGEST_TEXT: usize = 8192;
const LONGEST_NAME: usize = 300;

/// No document that is read has more.
const MOST_LINES: u32 = 1 << 28;

/// Of one document, which each of its passages repeats: tags, and bytes of one.
const MOST_TAGS: usize = 20;
const LONGEST_TAG: usize = 100;

/// Names of documents are terms of the index, in bytes; a path is no longer (limits.h, `PATH_MAX`).
const LONGEST_PATH: usize = 4096;

/// Stands for two passages that hold a secret only together.
const ACROSS: &str = "[redacted: a secret stands across these passages]";

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

/// Makes the words of a collection those of its files, as `record` says which these are. One at a time; what was written
/// when it fails stays. It is a task of its own, so that whoever no longer waits for it leaves nobody writing behind its back: it is canceled then, and ends by itself.
///
/// # Errors
/// Those of hands, `Canceled`, and `Unavailable` when the disk refuses.
pub(crate) async fn refresh(
    collection: &Arc<Collection>,
    record: Record,
    runners: &Runners,
    keyring: &Arc<Keyring>,
    ctx: &CallCtx,
) -> Result<Refreshed> {
    let (collection, runners, keyring, mut ctx) =
        (collection.clone(), runners.clone(), keyring.clone(), ctx.clone());
    ctx.cancel = ctx.cancel.child_token();
    let _canceled_with_this = ctx.cancel.clone().drop_guard();
    let task = tokio::spawn(async move {
        let writing = collection.writing.lock().await;
        let uid = collection.record.uid;
        let scanner = blocking(move || {
            let unreadable = |err| {
                Error::unavailable("nothing is indexed while secrets cannot be looked for").with_source(err)
            };
            keyring.scanner(uid).map_err(unreadable)
        })
        .await;
        let refreshed = match scanner {
            Ok(scanner) => look(&collection, &record, &runners, &scanner, &ctx).await,
            Err(err) => Err(err),
        };
        collection.progress.send_modify(|progress| {
            progress.doing = None;
            progress.failure = refreshed.as_ref().err().map(ToString::to_string);
            if refreshed.is_ok() {
                progress.checked_at = Some(Timestamp::now());
            }
        });
        drop(writing);
        refreshed
    });
    task.await.map_err(|err| Error::internal("a look at a collection failed").with_source(err))?
}

async fn look(
    collection: &Arc<Collection>,
    record: &Record,
    runners: &Runners,
    scanner: &Arc<Scanner>,
    ctx: &CallCtx,
) -> Result<Refreshed> {
    collection
        .progress
        .send_modify(|progress| (progress.doing, progress.done) = (Some("listing files"), (0, 0)));
    let cursor = collection.lexical.cursor();
    let mut gathered = runners.list(ctx, record, cursor.clone()).await?;
    let mut listed = std::mem::take(&mut gathered.listing.files);
    listed.retain(|entry| entry.path.len() <= LONGEST_PATH);
    let listing = &gathered.listing;
    if listing.is_partial && listed.is_empty() && listing.cursor == cursor {
        let opened = collection.lexical.clone();
        let (files, _) = blocking(move || opened.count()).await?;
        return Ok(Refreshed { files, ..Refreshed::default() });
    }
    let opened = collection.lexical.clone();
    let known = blocking(move || opened.files()).await?;
    let mut known: HashMap<String, FileState> =
        known.into_iter().map(|file| (file.path.clone(), file)).collect();
    let mut files = listed.len() as u64;
    let mut skipped = listing.unreadable;
    let (mut changed, mut topics, mut has_strangers) = (Vec::new(), HashMap::new(), false);
    for mut entry in listed {
        match known.remove(&entry.path) {
            Some(file) if file.stamp == entry.stamp && is_of_same_author(&entry, &file) => {
                skipped += u64::from(file.skipped.is_some());
            }
            Some(file) => {
                // A source need not tell again what it told before.
                entry.about.author = entry.about.author.or(file.source_author);
                topics.insert(entry.path.clone(), file.topics);
                changed.push(entry);
            }
            None => {
                has_strangers |= entry.about.author.is_none();
                changed.push(entry);
            }
        }
    }
    let removed: Vec<String> = if listing.is_partial {
        // Of what was not listed nothing changed.
        files += known.len() as u64;
        skipped += known.values().filter(|file| file.skipped.is_some()).count() as u64;
        Vec::new()
    } else {
        // A page that cannot be had now is what it was.
        let is_kept = |url: &String| matches!(&record.source, SourceKind::Pages(urls) if urls.contains(url));
        known.into_keys().filter(|path| !is_kept(path)).collect()
    };
    let mut refreshed =
        Refreshed { changed: changed.len() as u64, removed: removed.len() as u64, files, skipped };
    if changed.is_empty() && removed.is_empty() && listing.cursor == cursor {
        return Ok(refreshed);
    }
    let is_of_files = record.source == SourceKind::Files;
    let total = changed.len() as u64;
    let tell = |done: u64| {
        collection
            .progress
            .send_modify(|progress| (progress.doing, progress.done) = (Some("reading files"), (done, total)));
        #[expect(clippy::cast_precision_loss, reason = "numbers of files are far below 2^52")]
        ctx.progress(done as f64, Some(total as f64), "reading files");
    };
    tell(0);
    let mut draft = Draft {
        writer: collection.lexical.write()?,
        languages: lock(&collection.languages).clone(),
        cursor,
        topics,
        scanner: Some(scanner.clone()),
    };
    let (removing, opened) = (removed, collection.clone());
    draft = blocking(move || {
        removing.iter().try_for_each(|path| draft.remove(&opened, path))?;
        Ok(draft)
    })
    .await?;
    let read = |batch| runners.read(ctx, record, &gathered, batch);
    let mut reading = stream::iter(batches(changed)).map(read).buffered(BATCHES);
    let (mut done, mut committed_at) = (0, Instant::now());
    let written = loop {
        let read = match reading.next().await {
            None => break Ok(()),
            Some(Err(err)) => break Err(err),
            Some(Ok(read)) => read,
        };
        if let Err(err) = ctx.check_canceled() {
            break Err(err);
        }
        done += read.len() as u64;
        let is_due = committed_at.elapsed() >= COMMIT_EVERY;
        let collection = collection.clone();
        let (back, newly_skipped) = blocking(move || {
            let skipped = draft.write(&collection, read)?;
            if is_due {
                draft.commit(&collection)?;
            }
            Ok((draft, skipped))
        })
        .await?;
        draft = back;
        refreshed.skipped += newly_skipped;
        if is_due {
            committed_at = Instant::now();
        }
        tell(done);
    };
    if written.is_ok() {
        // Only now there is nothing left of what it began with. Who wrote files that are new without a commit, such as one that was away,
        // the next look asks for.
        let is_told = !has_strangers || !is_of_files || gathered.listing.cursor != draft.cursor;
        draft.cursor = gathered.listing.cursor.clone().filter(|_| is_told);
    }
    let opened = collection.clone();
    blocking(move || {
        // What was read before it failed is as good as the rest.
        draft.commit(&opened)?;
        draft.writer.finish()
    })
    .await?;
    written.map(|()| refreshed)
}

/// Whether nothing else is known now of who wrote a file.
fn is_of_same_author(entry: &Entry, file: &FileState) -> bool {
    file.skipped.is_some() || entry.about.author.is_none() || entry.about.author == file.source_author
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

/// What is about to be committed.
pub(crate) struct Draft {
    pub(crate) writer: Writing,
    pub(crate) languages: Languages,
    /// [`skynet_documents::Listing::cursor`].
    pub(crate) cursor: Option<String>,
    /// Where sections were cut of each document that is there and about to be written again.
    pub(crate) topics: HashMap<String, Vec<Topics>>,
    /// Finds the values of the user's secrets; none where documents are nobody's.
    pub(crate) scanner: Option<Arc<Scanner>>,
}

impl Draft {
    /// Takes a file away.
    pub(crate) fn remove(&mut self, collection: &Collection, path: &str) -> Result<()> {
        self.discount(collection, path)?;
        self.writer.remove(path);
        Ok(())
    }

    /// Counts what is committed of a file no more.
    fn discount(&mut self, collection: &Collection, path: &str) -> Result<()> {
        let passages = collection.lexical.passages_of(path)?;
        passages.iter().for_each(|passage| self.languages.remove(passage));
        Ok(())
    }

    /// Writes what was read of some files, each once; returns how many of them were not.
    pub(crate) fn write(&mut self, collection: &Collection, read: Vec<(Entry, Reading)>) -> Result<u64> {
        let mut skipped = 0;
        for (entry, reading) in read {
            if self.topics.contains_key(&entry.path) {
                self.discount(collection, &entry.path)?;
            }
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
                about: About::default(),
                source_author: entry.about.author.clone(),
                skipped: None,
                topics: Vec::new(),
                is_coarse: false,
            };
            let passages = match reading {
                Reading::Skipped(why) => {
                    skipped += 1;
                    file.skipped = Some(why);
                    Vec::new()
                }
                Reading::Document(mut document) => {
                    // What a source knows is truer than what a document says.
                    let mut about = entry.about;
                    about.complete(std::mem::take(&mut document.about));
                    document.about = about;
                    self.take(&mut file, document)
                }
            };
            file.passages = u32::try_from(passages.len()).unwrap_or(u32::MAX);
            self.writer.put(&file, &passages)?;
        }
        Ok(skipped)
    }

    /// What hands say came from a parser that a document may have taken over: whatever it is, it is bounded.
    fn take(&mut self, file: &mut FileState, mut document: Document) -> Vec<StoredPassage> {
        document.passages.truncate(MOST_PASSAGES);
        document.outline.truncate(MOST_DEFINITIONS);
        for passage in &mut document.passages {
            passage.chain.truncate(MOST_NAMES);
            passage.defines.truncate(MOST_NAMES);
            shorten(&mut passage.text, LONGEST_TEXT);
            passage.language = passage.language.take().filter(|language| language.len() <= 3);
            passage.first_line = passage.first_line.clamp(1, MOST_LINES);
            passage.last_line = passage.last_line.clamp(passage.first_line, MOST_LINES);
        }
        document.outline.iter_mut().for_each(|definition| definition.parents.truncate(MOST_NAMES));
        document.about.tags.truncate(MOST_TAGS);
        document.about.tags.iter_mut().for_each(|tag| shorten(tag, LONGEST_TAG));
        document.names_mut().into_iter().for_each(|name| shorten(name, LONGEST_NAME));
        self.clean(&mut document);
        let mut passages = std::mem::take(&mut document.passages);
        document.hash.truncate(document.hash.floor_char_boundary(64));
        let known = self.topics.remove(&file.path).unwrap_or_default();
        (passages, file.topics, file.is_coarse) = topics::apply(passages, &known);
        let words: Vec<String> =
            passages.iter().map(|passage| self.languages.place(&document, passage)).collect();
        let stored =
            passages.into_iter().zip(words).zip(0..).map(|((passage, words), sequence)| StoredPassage {
                path: file.path.clone(),
                sequence,
                key: key_of(&passage),
                words,
                format: document.format,
                code: document.code.clone(),
                about: document.about.clone(),
                passage,
            });
        let stored = stored.collect();
        file.format = Some(document.format);
        (file.hash, file.title, file.outline) = (document.hash, document.title, document.outline);
        (file.code, file.secrets, file.about) = (document.code, document.secrets, document.about);
        stored
    }

    /// Takes the values of the user's secrets out of it. There is almost never one: one look at all of it.
    fn clean(&self, document: &mut Document) {
        let Some(scanner) = &self.scanner else { return };
        let texts = document.passages.iter().map(|passage| passage.text.as_str());
        let mut all = texts.collect::<Vec<_>>().join("\n");
        for name in document.names_mut() {
            all.push('\n');
            all.push_str(name);
        }
        if scanner.redact(all.as_bytes()).found.is_empty() {
            return;
        }
        let clean = |text: &mut String| {
            let clean = scanner.redact(text.as_bytes());
            if !clean.found.is_empty() {
                *text = String::from_utf8_lossy(&clean.bytes).into_owned();
            }
        };
        document.passages.iter_mut().for_each(|passage| clean(&mut passage.text));
        // A value may stand across a cut.
        let is_across = |pair: &[Passage]| {
            let texts: Vec<&str> = pair.iter().map(|passage| passage.text.as_str()).collect();
            !scanner.redact(texts.join("\n").as_bytes()).found.is_empty()
        };
        let across: Vec<usize> = (0..document.passages.len())
            .filter(|at| document.passages.get(*at..at + 2).is_some_and(is_across))
            .collect();
        for at in across {
            let pair = document.passages.get_mut(at..at + 2).into_iter().flatten();
            pair.for_each(|passage| passage.text = ACROSS.into());
        }
        document.names_mut().into_iter().for_each(clean);
    }

    /// Makes it durable and visible.
    pub(crate) fn commit(&mut self, collection: &Collection) -> Result<()> {
        self.writer.commit(&self.languages, self.cursor.as_deref())?;
        lock(&collection.languages).clone_from(&self.languages);
        Ok(())
    }
}

/// No longer than so many bytes.
fn shorten(text: &mut String, longest: usize) {
    text.truncate(text.floor_char_boundary(longest));
}
