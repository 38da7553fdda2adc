//! Makes the vectors that a collection lacks, in the background, once its words are found.

use crate::{
    collection::{Collection, blocking, lock, vectors_in},
    topics,
    vector_log::Fault,
    vectors::Vectors,
};
use skynet_core::Result;
use skynet_models::{Embedder, Language, Use};
use std::{collections::HashSet, path::PathBuf, sync::Arc};
use tantivy::DocAddress;

/// Passages that a model refuses one after the other, before it is the model that is taken for broken.
const MOST_FAILURES: usize = 3;

/// Texts that a model gets at once. Of similar length, as it takes them in order of that.
const TEXTS: usize = 64;

/// Where fewer vectors are missing, they are made: a model is as fast as a look at what other collections have.
const LENT_FROM: usize = 64;

/// Vectors of another collection that are held at once.
const LENT_AT_ONCE: usize = 4096;

/// Makes the vectors that a collection lacks; one at a time. What one of `lenders` has, which are the directories of other collections of
/// the same user, is taken from there: a repository and its worktree say the same. Another user's are never looked at, as the time that
/// takes would tell whether he has such a text.
///
/// # Errors
/// Those of a model, and `Unavailable` when the disk refuses. What was made stays.
pub(crate) async fn embed(
    collection: &Arc<Collection>,
    embedders: &[(Language, Arc<dyn Embedder>)],
    lenders: &[PathBuf],
) -> Result<()> {
    // Of many that are asked for while one is under way, the next is enough: it finds all that is missing then.
    let Ok(next) = collection.embedding_next.try_lock() else { return Ok(()) };
    let _embedding = collection.embedding.lock().await;
    drop(next);
    let _told = Told(collection);
    topics::settle(collection, embedders).await?;
    let mut failed = Ok(());
    for (language, embedder) in embedders {
        // What keeps one model from it keeps no other.
        if let Err(err) = embed_by(collection, *language, &**embedder, lenders).await {
            failed = failed.and(Err(err));
        }
    }
    failed
}

/// Makes those that one model is for.
async fn embed_by(
    collection: &Arc<Collection>,
    language: Language,
    embedder: &dyn Embedder,
    lenders: &[PathBuf],
) -> Result<()> {
    let (opened, model) = (collection.clone(), embedder.model().clone());
    let vectors = blocking(move || opened.vectors(&model)).await?;
    let mut missing = lacking(collection, &vectors, language).await?;
    if missing.len() >= LENT_FROM && !lenders.is_empty() {
        borrow(collection, &vectors, &missing, lenders).await?;
        missing = lacking(collection, &vectors, language).await?;
    }
    // The places are those of one state of the index; a change since begins a new round, which finds what this one misses.
    let searcher = collection.lexical.searcher();
    let all = missing.len() as u64;
    for (part, done) in missing.chunks(TEXTS).zip((0_u64..).step_by(TEXTS)) {
        collection.progress.send_modify(|progress| progress.vectors = Some((done, all)));
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
        let made = make(collection, embedder, texts.into_iter().flatten().collect()).await?;
        let kept = vectors.clone();
        blocking(move || kept.add(&made)).await?;
    }
    vectors.complete();
    let opened = collection.clone();
    blocking(move || {
        if let Err(err) = opened.compact(&vectors) {
            tracing::warn!(error = %err, "vectors that nobody uses are kept");
        }
        // All of them are in the log: without it the next start takes longer, and nothing else.
        if let Err(err) = vectors.save() {
            tracing::warn!(collection = opened.record.name, error = %err, "it is tried again after the next vectors");
        }
        Ok(())
    })
    .await
}

/// What has no vector yet.
async fn lacking(
    collection: &Arc<Collection>,
    vectors: &Arc<Vectors>,
    language: Language,
) -> Result<Vec<(u64, DocAddress)>> {
    let (opened, vectors) = (collection.clone(), vectors.clone());
    blocking(move || opened.without_vector(&vectors, language)).await
}

/// Takes over what other collections of the user have of what is missing.
async fn borrow(
    collection: &Arc<Collection>,
    vectors: &Arc<Vectors>,
    missing: &[(u64, DocAddress)],
    lenders: &[PathBuf],
) -> Result<()> {
    let wanted: Arc<HashSet<u64>> = Arc::new(missing.iter().map(|(key, _)| *key).collect());
    let (mut done, all) = (0, wanted.len() as u64);
    for lender in lenders {
        loop {
            let (kept, wanted, directory) = (vectors.clone(), wanted.clone(), vectors_in(lender));
            let found = blocking(move || Ok(kept.found_in(&directory, &wanted, LENT_AT_ONCE))).await?;
            let found = match found {
                Ok(found) => found,
                Err(Fault::Missing | Fault::OfOthers) => break,
                // It is told where that collection is used.
                Err(fault @ (Fault::Damaged(_) | Fault::OutOfReach(_))) => {
                    tracing::debug!(lender = %lender.display(), %fault, "no vectors are taken from a collection");
                    break;
                }
            };
            if found.is_empty() {
                break;
            }
            for part in found.chunks(TEXTS) {
                collection.progress.send_modify(|progress| progress.vectors = Some((done, all)));
                let (kept, part) = (vectors.clone(), part.to_vec());
                done += part.len() as u64;
                blocking(move || kept.keep(&part)).await?;
            }
        }
    }
    Ok(())
}

/// However the making of vectors ends, it is over.
struct Told<'a>(&'a Collection);

impl Drop for Told<'_> {
    fn drop(&mut self) {
        self.0.progress.send_modify(|progress| progress.vectors = None);
    }
}

/// The vectors of some passages. Where a model refuses all of them together it is asked for each, so that one that it cannot read
/// costs only itself; such a one is not tried again while this daemon runs.
async fn make(
    collection: &Collection,
    embedder: &dyn Embedder,
    passages: Vec<(u64, String)>,
) -> Result<Vec<(u64, Vec<f32>)>> {
    let (keys, texts): (Vec<u64>, Vec<String>) = passages.into_iter().unzip();
    let refused = match embedder.embed(&texts, Use::Passage).await {
        Ok(made) => return Ok(keys.into_iter().zip(made).collect()),
        Err(err) => err,
    };
    let (mut made, mut failures, mut unreadable) = (Vec::new(), 0, Vec::new());
    for (key, text) in keys.into_iter().zip(texts) {
        match embedder.embed(&[text], Use::Passage).await {
            Ok(one) => {
                failures = 0;
                made.extend(one.into_iter().next().map(|vector| (key, vector)));
            }
            Err(_) if failures < MOST_FAILURES => {
                failures += 1;
                unreadable.push(key);
            }
            // It is the model.
            Err(_) => return Err(refused),
        }
    }
    // A model that reads none of them is one that is not there.
    if made.is_empty() {
        return Err(refused);
    }
    lock(&collection.unembeddable).extend(unreadable);
    Ok(made)
}
