//! Makes the vectors of entries that were kept while no model was there, or another one: in the background, some at a time.

use crate::kept::Kept;
use skynet_core::{Error, Result};
use skynet_models::{Embedder, Use};
use std::sync::Arc;

/// Entries of one user at a time; the next recall goes on.
const MOST_AT_ONCE: usize = 256;

/// Texts that a model gets at once.
const TEXTS: usize = 16;

/// Texts that a model refuses one after the other, before it is the model that is taken for broken.
const MOST_FAILURES: usize = 3;

/// Makes vectors that entries of a user lack; how many were made. While somebody does that already, none.
///
/// # Errors
/// Those of the model, and `Unavailable` when the disk refuses. What was made stays.
pub(crate) async fn complete(kept: &Arc<Kept>, uid: u32, embedder: &dyn Embedder) -> Result<usize> {
    let Some(_completing) = kept.begin_completing(uid) else { return Ok(0) };
    let weights = embedder.model().sha256.clone();
    let missing = kept.without_vector(uid, &weights, MOST_AT_ONCE)?;
    let (mut count, mut failures) = (0, 0);
    for part in missing.chunks(TEXTS) {
        let texts: Vec<String> = part.iter().map(|(_, text)| text.clone()).collect();
        let made: Vec<Option<Vec<f32>>> = match embedder.embed(&texts, Use::Passage).await {
            Ok(made) => made.into_iter().map(Some).collect(),
            // One that it cannot read costs only itself.
            Err(refused) => {
                let mut made = Vec::with_capacity(texts.len());
                for text in texts {
                    match embedder.embed(&[text], Use::Passage).await {
                        Ok(one) => {
                            failures = 0;
                            made.push(one.into_iter().next());
                        }
                        Err(_) if failures < MOST_FAILURES => {
                            failures += 1;
                            made.push(None);
                        }
                        Err(_) => return Err(refused),
                    }
                }
                made
            }
        };
        count += made.iter().flatten().count();
        let (kept, part, weights) = (kept.clone(), part.to_vec(), weights.clone());
        let keeping = tokio::task::spawn_blocking(move || -> Result<()> {
            for ((id, text), vector) in part.into_iter().zip(made) {
                if let Some(vector) = vector {
                    kept.add_vector(uid, id, &text, (weights.clone(), vector))?;
                }
            }
            Ok(())
        });
        keeping.await.map_err(|err| Error::internal("keeping vectors failed").with_source(err))??;
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        entry::{Changes, Entry, Kind, State, Wanted},
        kept::lock,
    };
    use async_trait::async_trait;
    use jiff::Timestamp;
    use skynet_core::ErrorKind;
    use skynet_models::Model;
    use skynet_secrets::{MasterKey, SealedEntries};
    use std::path::Path;

    /// Says how long a text is, and reads none that has a curse in it.
    struct Lengths(Model);

    impl Lengths {
        fn of_weights(sha256: &str) -> Self {
            Self(Model { id: "lengths".into(), sha256: sha256.into(), dimensions: 1 })
        }
    }

    #[async_trait]
    impl Embedder for Lengths {
        fn model(&self) -> &Model {
            &self.0
        }

        async fn embed(&self, texts: &[String], _: Use) -> Result<Vec<Vec<f32>>> {
            if texts.iter().any(|text| text.contains("curse")) {
                return Err(Error::internal("it cannot be read"));
            }
            #[expect(clippy::cast_precision_loss, reason = "short")]
            let vectors = texts.iter().map(|text| vec![text.len() as f32]).collect();
            Ok(vectors)
        }
    }

    fn kept(directory: &Path, most_bytes: u64) -> Arc<Kept> {
        let sealed = SealedEntries::open(directory, MasterKey::from_bytes([7; 32])).unwrap();
        Arc::new(Kept::new(sealed, most_bytes))
    }

    fn entry(text: &str) -> Entry {
        let wanted = Wanted {
            text: text.into(),
            kind: Kind::Fact,
            is_personal: true,
            tags: Vec::new(),
            source: None,
            confidence: 1.0,
            state: State::Accepted,
            lives_for: None,
            summarizes: Vec::new(),
        };
        Entry::new(wanted, None, Timestamp::now()).unwrap()
    }

    fn add(kept: &Kept, entry: Entry) {
        // Read before it is kept, or it would be there twice.
        let all = kept.of(1).unwrap();
        kept.keep(1, &entry).unwrap();
        lock(&all).push(entry);
    }

    #[tokio::test]
    async fn what_was_kept_without_a_model_gets_its_vector_when_there_is_one() {
        let directory = tempfile::tempdir().unwrap();
        let first = kept(directory.path(), 1 << 20);
        for number in 0..40 {
            add(&first, entry(&format!("Fact number {number}.")));
        }
        add(&first, entry("A curse."));
        let embedder = Lengths::of_weights("one");
        assert_eq!(complete(&first, 1, &embedder).await.unwrap(), 40);
        assert_eq!(complete(&first, 1, &embedder).await.unwrap(), 0, "nothing is made twice");
        let lacking = first.without_vector(1, "one", 100).unwrap();
        assert_eq!(lacking.into_iter().map(|(_, text)| text).collect::<Vec<_>>(), ["A curse."]);
        // It lasts, and other weights make their own.
        let again = kept(directory.path(), 1 << 20);
        assert_eq!(again.without_vector(1, "one", 100).unwrap().len(), 1);
        assert_eq!(complete(&again, 1, &Lengths::of_weights("two")).await.unwrap(), 40);
        assert_eq!(again.without_vector(1, "two", 100).unwrap().len(), 1);
    }

    #[tokio::test]
    async fn a_user_with_much_is_completed_bit_by_bit_and_by_one_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let kept = kept(directory.path(), 1 << 20);
        for number in 0..MOST_AT_ONCE + 4 {
            // On the disk they are once they have their vectors.
            lock(&kept.of(1).unwrap()).push(entry(&format!("Fact number {number}.")));
        }
        let embedder = Lengths::of_weights("one");
        let at_it = kept.begin_completing(1).unwrap();
        assert_eq!(complete(&kept, 1, &embedder).await.unwrap(), 0);
        drop(at_it);
        assert_eq!(complete(&kept, 1, &embedder).await.unwrap(), MOST_AT_ONCE);
        assert_eq!(complete(&kept, 1, &embedder).await.unwrap(), 4);
    }

    #[tokio::test]
    async fn a_vector_of_what_an_entry_says_no_longer_is_not_kept() {
        let directory = tempfile::tempdir().unwrap();
        let kept = kept(directory.path(), 1 << 20);
        let mut changed = entry("The meeting is on Monday.");
        let id = changed.id;
        let text = Changes { text: Some("The meeting is on Tuesday.".into()), ..Changes::default() };
        changed.change(text, Timestamp::now()).unwrap();
        add(&kept, changed);
        kept.add_vector(1, id, "The meeting is on Monday.", ("one".into(), vec![1.0])).unwrap();
        assert_eq!(kept.without_vector(1, "one", 9).unwrap().len(), 1);
    }

    #[test]
    fn what_one_user_says_is_bounded_in_bytes() {
        let directory = tempfile::tempdir().unwrap();
        let long = || entry(&"x".repeat(1000));
        let kept = kept(directory.path(), 2500);
        add(&kept, long());
        add(&kept, long());
        let all = lock(&kept.of(1).unwrap()).clone();
        let refused = kept.check_room(&all, &[long()]).unwrap_err();
        assert_eq!(refused.kind, ErrorKind::QuotaExceeded);
        let said = refused.to_string();
        assert!(
            said.contains("`2500` bytes (`memory.max_bytes`)") && said.contains("`2000` are used"),
            "{said}"
        );
        kept.check_room(&all, &[entry("short")]).unwrap();
        // What it said before stays with it, and counts.
        let change = |text: &str| {
            let mut new = all[0].clone();
            new.change(Changes { text: Some(text.into()), ..Changes::default() }, Timestamp::now()).unwrap();
            kept.check_change(&all, &all[0], &new)
        };
        change(&"y".repeat(400)).unwrap();
        assert_eq!(change(&"y".repeat(600)).unwrap_err().kind, ErrorKind::QuotaExceeded);
    }
}
