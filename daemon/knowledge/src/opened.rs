//! Which collections are in use. Each takes descriptors and, with its vectors, much memory: one that nobody asks is closed after a
//! while, and the one that was asked least lately where there are many.

use crate::{
    Knowledge,
    collection::{Collection, Record, blocking, lock},
    watching::{self, IDLE},
};
use skynet_core::{Error, Result};
use std::{
    collections::HashMap,
    io,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// So many are open, unless more are asked at the same time.
const MOST_OPEN: usize = 128;

/// How often it is looked for those that nobody asks.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// A directory into which something is still written is not empty when it was just emptied: it is removed so many times more, after that.
const REMOVALS: u32 = 5;
const REMOVE_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// A collection that is in use.
pub(crate) struct Open {
    /// Opened by the first who needs it; the others wait for just that.
    pub(crate) cell: Arc<OnceCell<Arc<Collection>>>,
    /// Ends everything that is done for it.
    pub(crate) end: CancellationToken,
    pub(crate) watch: watching::Watch,
    pub(crate) looked_at: Option<Instant>,
    /// Whether the next search looks, whatever was heard of.
    pub(crate) must_look: bool,
    asked_at: Instant,
}

impl Open {
    fn new() -> Self {
        Self {
            cell: Arc::default(),
            end: CancellationToken::new(),
            watch: watching::Watch::default(),
            looked_at: None,
            must_look: false,
            asked_at: Instant::now(),
        }
    }

    /// Whether nobody is at it: neither opens it, nor has it, nor watches its files.
    fn is_let_go(&self) -> bool {
        Arc::strong_count(&self.cell) == 1
            && self.cell.get().is_none_or(|collection| Arc::strong_count(collection) == 1)
    }
}

/// Takes out what nobody is at: all that nobody asked since `idle_since`, and of the rest those that were asked least lately until there
/// are at most so many.
fn close_idle(open: &mut HashMap<Uuid, Open>, idle_since: Option<Instant>, most: usize) -> Vec<Open> {
    let mut let_go: Vec<(Instant, Uuid)> =
        open.iter().filter(|(_, open)| open.is_let_go()).map(|(id, open)| (open.asked_at, *id)).collect();
    let_go.sort();
    let surplus = open.len().saturating_sub(most);
    let is_over = |number: usize, asked_at: Instant| {
        number < surplus || idle_since.is_some_and(|since| asked_at <= since)
    };
    let closed = let_go.into_iter().enumerate().filter(|(number, (asked_at, _))| is_over(*number, *asked_at));
    closed.filter_map(|(_, (_, id))| open.remove(&id)).collect()
}

impl Knowledge {
    /// Opens a collection, unless it is.
    pub(crate) async fn opened(&self, record: Record) -> Result<Arc<Collection>> {
        let (cell, end, closed) = {
            let mut open = lock(&self.open);
            let is_there = self.table.get(&record.id.to_string()).is_ok_and(|found| found.is_some());
            if !is_there {
                return Err(gone(&record));
            }
            let is_new = !open.contains_key(&record.id);
            let closed = if is_new { close_idle(&mut open, None, MOST_OPEN - 1) } else { Vec::new() };
            let one = open.entry(record.id).or_insert_with(Open::new);
            one.asked_at = Instant::now();
            (one.cell.clone(), one.end.clone(), closed)
        };
        if let Some(collection) = cell.get() {
            return Ok(collection.clone());
        }
        let directory = self.directory.clone();
        once(cell, move || {
            // What it holds is given back outside of the lock.
            drop(closed);
            // Who removes it waits for whoever opens it, and what was removed is not to come back.
            if end.is_cancelled() {
                return Err(gone(&record));
            }
            Collection::open(record, &directory).map(Arc::new)
        })
        .await
    }

    /// Lets go of a collection that nobody asked for a while, unless somebody is at it.
    pub(crate) fn close(&self, id: Uuid) {
        let mut open = lock(&self.open);
        if open.get(&id).is_some_and(Open::is_let_go) {
            open.remove(&id);
        }
    }

    /// Closes collections that nobody asks, for as long as the daemon runs.
    pub async fn sweep(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(SWEEP_EVERY);
        loop {
            ticks.tick().await;
            let closed = close_idle(&mut lock(&self.open), Instant::now().checked_sub(IDLE), MOST_OPEN);
            let count = closed.len();
            let closing = blocking(move || {
                drop(closed);
                Ok(())
            });
            match closing.await {
                Ok(()) if count > 0 => tracing::debug!(count, "collections that nobody asks are closed"),
                Ok(()) => {}
                Err(err) => tracing::warn!(error = %err, "collections that nobody asks are not closed"),
            }
        }
    }
}

/// What is in a cell, or is made now by what blocks. That goes on where a call is dropped meanwhile: nobody else begins before it is over.
async fn once<T: Clone + Send + Sync + 'static>(
    cell: Arc<OnceCell<T>>,
    make: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let making = tokio::spawn(async move { cell.get_or_try_init(|| blocking(make)).await.cloned() });
    making.await.map_err(|err| Error::internal("opening a collection failed").with_source(err))?
}

/// Removes the directory of a collection that nobody knows any more. One into which something is still written after a while is removed at
/// the next start.
///
/// # Errors
/// `Unavailable` when the disk refuses.
pub(crate) async fn remove(directory: PathBuf, remove: fn(PathBuf) -> io::Result<()>) -> Result<()> {
    for tried in 0..=REMOVALS {
        if tried > 0 {
            tokio::time::sleep(REMOVE_AGAIN_AFTER).await;
        }
        let path = directory.clone();
        match blocking(move || Ok(remove(path))).await? {
            Ok(()) => return Ok(()),
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(err) if err.kind() == io::ErrorKind::DirectoryNotEmpty => {}
            Err(err) => {
                let message = "the index of the collection cannot be removed";
                return Err(Error::unavailable(message).with_source(err));
            }
        }
    }
    tracing::warn!(directory = %directory.display(), "the index of a collection that was removed is still there");
    Ok(())
}

fn gone(record: &Record) -> Error {
    Error::not_found(format!("the collection `{}` was just removed", record.name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn opened(asked_before: &[u64], now: Instant) -> HashMap<Uuid, Open> {
        let open = |seconds: &u64| {
            let asked_at = now - Duration::from_secs(*seconds);
            (Uuid::from_u128(u128::from(*seconds)), Open { asked_at, ..Open::new() })
        };
        asked_before.iter().map(open).collect()
    }

    fn left(open: &HashMap<Uuid, Open>) -> Vec<u128> {
        let mut left: Vec<u128> = open.keys().map(|id| id.as_u128()).collect();
        left.sort_unstable();
        left
    }

    #[test]
    fn what_nobody_asks_is_closed_and_what_somebody_is_at_is_not() {
        let now = Instant::now() + IDLE * 10;
        let mut open = opened(&[5, 700, 900, 1000], now);
        // Somebody opens it.
        let opening = open.get(&Uuid::from_u128(900)).unwrap().cell.clone();
        let closed = close_idle(&mut open, now.checked_sub(IDLE), MOST_OPEN);
        assert_eq!((closed.len(), left(&open)), (2, vec![5, 900]));
        drop(opening);
        assert_eq!(close_idle(&mut open, now.checked_sub(IDLE), MOST_OPEN).len(), 1);
        assert_eq!(left(&open), [5]);
    }

    #[tokio::test]
    async fn what_a_dropped_call_began_to_open_is_opened_once() {
        let cell: Arc<OnceCell<u32>> = Arc::default();
        let (started, starts) = tokio::sync::oneshot::channel();
        let (go_on, goes_on) = std::sync::mpsc::channel();
        let first = once(cell.clone(), move || {
            started.send(()).unwrap();
            goes_on.recv().unwrap();
            Ok(1)
        });
        tokio::select! {
            biased;
            _ = first => panic!("it waits to be told to go on"),
            started = starts => started.unwrap(),
        }
        assert!(Arc::strong_count(&cell) > 1, "whoever would close it sees that somebody opens it");
        let second = once(cell.clone(), || Ok(2));
        let (second, ()) = tokio::join!(second, async { go_on.send(()).unwrap() });
        assert_eq!(second.unwrap(), 1);
    }

    /// Takes one file away, and is not done while there was one.
    fn remove_slowly(directory: PathBuf) -> io::Result<()> {
        match fs::read_dir(&directory)?.next() {
            Some(entry) => {
                fs::remove_file(entry?.path())?;
                Err(io::ErrorKind::DirectoryNotEmpty.into())
            }
            None => fs::remove_dir(directory),
        }
    }

    #[tokio::test]
    async fn a_directory_into_which_something_was_written_is_removed_again() {
        let place = tempfile::tempdir().unwrap();
        let of = |files: usize| {
            let directory = place.path().join("index");
            fs::create_dir(&directory).unwrap();
            (0..files).for_each(|number| fs::write(directory.join(number.to_string()), "").unwrap());
            directory
        };
        remove(of(2), remove_slowly).await.unwrap();
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
        remove(of(99), remove_slowly).await.unwrap();
        assert_eq!(
            fs::read_dir(place.path().join("index")).unwrap().count(),
            93,
            "the next start removes it"
        );
        remove(place.path().join("none"), fs::remove_dir_all).await.unwrap();
        let file = place.path().join("index/50");
        fs::write(&file, "").unwrap();
        assert!(remove(file, remove_slowly).await.is_err());
    }

    #[test]
    fn of_too_many_those_that_were_asked_least_lately_are_closed() {
        let now = Instant::now() + IDLE * 10;
        let mut open = opened(&[1, 2, 3, 4, 5], now);
        let at_it = open.get(&Uuid::from_u128(5)).unwrap().cell.clone();
        close_idle(&mut open, None, 3);
        assert_eq!(left(&open), [1, 2, 5]);
        drop(at_it);
        close_idle(&mut open, None, 2);
        assert_eq!(left(&open), [1, 2]);
    }
}
