//! Makes the vectors that a collection lacks, in the background, once its words are found.

use crate::{
    collection::{Collection, blocking, lock},
    topics,
};
use skynet_core::Result;
use skynet_models::{Embedder, Language, Use};
use std::sync::Arc;

/// Passages that a model refuses one after the other, before it is the model that is taken for broken.
const MOST_FAILURES: usize = 3;

/// Texts that a model gets at once. Of similar length, as it takes them in order of that.
const TEXTS: usize = 64;

/// Makes the vectors that a collection lacks; one at a time.
///
/// # Errors
/// Those of the model, and `Unavailable` when the disk refuses. What was made stays.
pub(crate) async fn embed(
    collection: &Arc<Collection>,
    embedders: &[(Language, Arc<dyn Embedder>)],
) -> Result<()> {
    // Of many that are asked for while one is under way, the next is enough: it finds all that is missing then.
    let Ok(next) = collection.embedding_next.try_lock() else { return Ok(()) };
    let _embedding = collection.embedding.lock().await;
    drop(next);
    let _told = Told(collection);
    topics::settle(collection, embedders).await?;
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
            let made = make(collection, &**embedder, texts.into_iter().flatten().collect()).await?;
            let kept = vectors.clone();
            blocking(move || kept.add(&made)).await?;
        }
        let opened = collection.clone();
        blocking(move || {
            if let Err(err) = opened.compact(&vectors) {
                tracing::warn!(error = %err, "vectors that nobody uses are kept");
            }
            vectors.save()
        })
        .await?;
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
