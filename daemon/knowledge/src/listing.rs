//! What is told of collections: how far they are, and how much there is of everything. Counts of what a caller may not see are not told: how
//! many texts differ, asked before and after a change, says whether a hidden file has one.

use crate::{
    Knowledge,
    collection::{Collection, Progress, Record, blocking, lock},
    sight::Sight,
    views::View,
};
use skynet_core::{CallCtx, Result};
use std::{fs, path::Path, sync::Arc};

/// A collection as it is now.
#[derive(Clone, Debug)]
pub struct Status {
    /// What it is, with name and path as the caller calls them.
    pub record: Record,
    /// Whether it is the caller's, of this workspace, and not shared by somebody. Of another's, and of one of which he may not see all,
    /// vectors, languages and sizes are not told; nor is how many files and passages there are, where he may see none.
    pub is_own: bool,
    /// How far it is.
    pub progress: Progress,
    /// Files that were looked at.
    pub files: u64,
    /// Passages of them.
    pub passages: u64,
    /// Passages that differ, and that have a vector, by each model that is installed.
    pub vectors: Vec<(String, u64)>,
    /// Vectors that were made since it was opened.
    pub embedded: u64,
    /// Languages of its prose, ISO 639-3, with passages of each.
    pub languages: Vec<(String, u64)>,
    /// What its index takes of the disk.
    pub size_bytes: u64,
}

/// How much there is of everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Collections of all users.
    pub collections: u64,
    /// Passages of those that are in use.
    pub passages: u64,
    /// Files and passages of those that are still to be read or embedded.
    pub backlog: u64,
    /// What the indexes take of the disk.
    pub size_bytes: u64,
}

impl Knowledge {
    /// The collections that the caller may ask, by name.
    ///
    /// # Errors
    /// `Unavailable` when an index cannot be read.
    pub async fn list(self: &Arc<Self>, ctx: &CallCtx) -> Result<Vec<Status>> {
        let views = self.seen_by(&ctx.origin()?.caller).await?;
        let sights = self.sights(ctx, &views).await?;
        let mut all = Vec::with_capacity(views.len());
        for (view, sight) in views.into_iter().zip(sights) {
            let is_own = view.elsewhere.is_none();
            match self.status(view).await {
                Ok(status) => all.push(told(status, sight)),
                Err(err) if is_own => return Err(err),
                Err(err) => tracing::warn!(error = %err, "a shared collection cannot be listed"),
            }
        }
        Ok(all)
    }

    async fn status(self: &Arc<Self>, view: View) -> Result<Status> {
        let models: Vec<_> =
            self.embedders().into_iter().map(|(_, embedder)| embedder.model().clone()).collect();
        blocking(move || {
            let collection = &view.collection;
            let (files, passages) = collection.lexical.count()?;
            let mut vectors = Vec::new();
            let mut embedded = 0;
            let mut progress = collection.progress.borrow().clone();
            for model in models {
                // The rest of it is as it is.
                let (count, added) = match collection.vectors(&model) {
                    Ok(vectors) => vectors.counts(),
                    Err(err) => {
                        progress.failure.get_or_insert_with(|| err.to_string());
                        (0, 0)
                    }
                };
                embedded += added;
                vectors.push((model.id, count));
            }
            Ok(Status {
                vectors,
                embedded,
                languages: lock(&collection.languages).counts(),
                progress,
                size_bytes: size_of(collection.directory()),
                record: Record {
                    name: view.name.clone(),
                    path: view.outside(collection.record.path.clone()),
                    ..collection.record.clone()
                },
                is_own: view.elsewhere.is_none(),
                files,
                passages,
            })
        })
        .await
    }

    /// Of all users together. Blocks.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let open: Vec<Arc<Collection>> =
            lock(&self.open).values().filter_map(|open| open.cell.get().cloned()).collect();
        let mut totals = Totals {
            collections: self.table.iter().count() as u64,
            size_bytes: size_of(&self.directory),
            ..Totals::default()
        };
        for collection in open {
            // One that cannot be counted just now counts again when it can.
            totals.passages += collection.lexical.count().map_or(0, |(_, passages)| passages);
            let (done, all) = collection.progress.borrow().done;
            totals.backlog += all.saturating_sub(done);
        }
        totals
    }
}

/// What of it is told to whoever sees so much of the collection.
fn told(status: Status, sight: Sight) -> Status {
    // In what is another's, what was there before it was shared is still counted.
    if sight == Sight::All && status.is_own {
        return status;
    }
    let progress = Progress { vectors: None, ..status.progress };
    let status =
        Status { progress, vectors: Vec::new(), languages: Vec::new(), embedded: 0, size_bytes: 0, ..status };
    match sight {
        Sight::All | Sight::Part => status,
        Sight::Nothing => {
            let progress = Progress { done: (0, 0), doing: None, failure: None, ..status.progress };
            Status { progress, files: 0, passages: 0, ..status }
        }
    }
}

fn size_of(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => size_of(&entry.path()),
            Ok(metadata) => metadata.len(),
            // It was just removed.
            Err(_) => 0,
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;
    use uuid::Uuid;

    #[test]
    fn counts_of_what_is_hidden_are_not_told() {
        let whole = |is_own: bool| Status {
            record: sample::record(Uuid::nil()),
            is_own,
            progress: Progress {
                doing: Some("reading"),
                done: (1, 2),
                vectors: Some((3, 4)),
                failure: Some("a file is gone".into()),
                ..Progress::default()
            },
            files: 5,
            passages: 6,
            vectors: vec![("small".into(), 7)],
            embedded: 8,
            languages: vec![("eng".into(), 9)],
            size_bytes: 10,
        };
        let all = told(whole(true), Sight::All);
        assert_eq!((all.progress.vectors, all.embedded, all.size_bytes), (Some((3, 4)), 8, 10));
        assert_eq!((all.vectors.len(), all.languages.len()), (1, 1));
        let (part, shared) = (told(whole(true), Sight::Part), told(whole(false), Sight::All));
        let nothing = told(whole(true), Sight::Nothing);
        for status in [&part, &shared, &nothing] {
            assert_eq!((status.progress.vectors, status.embedded, status.size_bytes), (None, 0, 0));
            assert!(status.vectors.is_empty() && status.languages.is_empty(), "{status:?}");
        }
        assert_eq!((part.files, part.passages, part.progress.done), (5, 6, (1, 2)));
        assert_eq!((nothing.files, nothing.passages, nothing.progress.done), (0, 0, (0, 0)));
        assert!(nothing.progress.doing.is_none() && nothing.progress.failure.is_none(), "{nothing:?}");
    }
}
