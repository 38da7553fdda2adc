//! The vectors that one model made of the passages of a collection.
//!
//! A log keeps them: each is written once, when it was made, and what a crash cut off is made again. usearch finds the nearest; its
//! graph is a copy that is saved now and then, so that it need not be built at each start, and is built from the log where it
//! is damaged or missing. A log that cannot be read any more is set aside, and all of it is made again.

use crate::{
    aside,
    graph::{Graph, checksum, graphs, of_length_one, refused, restore},
    ranking::cosine,
    vector_log::{self, Fault, Keyed},
};
use sha2::{Digest as _, Sha256};
use skynet_core::{Error, Result, canonical::hex};
use skynet_models::Model;
use std::{
    collections::{HashMap, HashSet},
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    ops::ControlFlow,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, Ordering},
    },
};

/// Up to so many vectors, all of them are looked at: as fast as the graph, and misses none.
const EXACT_UP_TO: usize = 20_000;

/// The graph is saved when it lacks so many of the log, and at least a tenth of it.
const SAVE_AFTER: usize = 1000;

/// Vectors that no passage has any more are kept up to that number, or up to as many as are used.
const COMPACT_AFTER: usize = 1000;

/// The vectors of one model.
pub(crate) struct Vectors {
    model: Model,
    directory: PathBuf,
    graph: RwLock<Graph>,
    log: Mutex<File>,
    turn: Mutex<()>,
    /// Whether they were damaged or of other weights, and not all of them are made again yet.
    is_incomplete: AtomicBool,
}

impl Vectors {
    /// Opens those of `model` in `directory`, which may be made, but not what it is in. Vectors of other weights are of no use to the
    /// model, and are set aside as damaged ones are: a header that was damaged is one of other weights as well.
    ///
    /// # Errors
    /// `Unavailable` when the disk refuses.
    pub(crate) fn open(directory: &Path, model: &Model) -> Result<Self> {
        let cannot = |err: io::Error| {
            let message = format!("the vectors by `{}` cannot be opened: {err}", model.id);
            Error::unavailable(message).with_source(err)
        };
        let own = of_model(directory, model);
        let path = own.join("log");
        let mut is_incomplete = false;
        let (vectors, extent) = match vector_log::read(&path, model) {
            Ok(read) => read,
            Err(Fault::Missing) => Default::default(),
            Err(Fault::OfOthers) => {
                let aside = aside::set(&own).map_err(cannot)?;
                tracing::warn!(
                    model = model.id,
                    moved_to = %aside.display(),
                    "vectors of other weights are set aside and made anew"
                );
                is_incomplete = true;
                Default::default()
            }
            Err(Fault::Damaged(why)) => {
                // Where no directory is, nothing below it can be renamed.
                let damaged = if fs::metadata(directory).is_ok_and(|meta| !meta.is_dir()) {
                    directory
                } else {
                    own.as_path()
                };
                let aside = aside::set(damaged).map_err(cannot)?;
                tracing::error!(
                    model = model.id,
                    path = %damaged.display(),
                    moved_to = %aside.display(),
                    "vectors are damaged ({why}); they are set aside and made anew"
                );
                is_incomplete = true;
                Default::default()
            }
            Err(Fault::OutOfReach(err)) => return Err(cannot(err)),
        };
        make(directory).and_then(|()| make(&own)).map_err(cannot)?;
        for left in ["graph.new", "log.new"] {
            // What was cut short while it was written; there is almost never one.
            let _ = fs::remove_file(own.join(left));
        }
        if extent.damaged > 0 {
            let aside = own.join("log.damaged");
            // One of before gives way; there is almost never one.
            let _ = fs::remove_file(&aside);
            // It is there to be looked at, and nothing needs it: not every filesystem has links.
            let _ = fs::hard_link(&path, &aside);
            let is_mended = vector_log::replace(&own, model, &vectors).is_ok();
            tracing::error!(
                model = model.id,
                path = %path.display(),
                records = extent.damaged,
                is_mended,
                "some vectors are damaged; they are set aside and made anew"
            );
            is_incomplete = true;
        }
        let mut log = OpenOptions::new().append(true).create(true).open(&path).map_err(cannot)?;
        if extent.whole_bytes == 0 {
            log.set_len(0).and_then(|()| log.write_all(&vector_log::header(model))).map_err(cannot)?;
        } else {
            // What a crash cut off. Where nothing was, it is no longer than that.
            let length = log.metadata().map_err(cannot)?.len();
            log.set_len(extent.whole_bytes.min(length)).map_err(cannot)?;
        }
        let graph = restore(&own, model, &vectors)?;
        Ok(Self {
            model: model.clone(),
            directory: own,
            graph: RwLock::new(graph),
            log: Mutex::new(log),
            turn: Mutex::default(),
            is_incomplete: AtomicBool::new(is_incomplete),
        })
    }

    /// Whose they are.
    pub(crate) const fn model(&self) -> &Model {
        &self.model
    }

    /// Whether there is one for a key.
    pub(crate) fn contains(&self, key: u64) -> bool {
        self.read().keys.contains(&key)
    }

    /// How many there are, and how many of them were made since this was opened.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let graph = self.read();
        (graph.keys.len() as u64, graph.added)
    }

    /// Whether they were damaged or of other weights, and not all of them are made again yet.
    pub(crate) fn is_incomplete(&self) -> bool {
        self.is_incomplete.load(Ordering::Relaxed)
    }

    /// Notes that all are there that can be made.
    pub(crate) fn complete(&self) {
        self.is_incomplete.store(false, Ordering::Relaxed);
    }

    /// Adds vectors that were just made; they are durable when this returns.
    ///
    /// # Errors
    /// `Unavailable` when the disk refuses, `Internal` for vectors of another length.
    pub(crate) fn add(&self, vectors: &[Keyed]) -> Result<()> {
        self.keep(vectors)?;
        self.write().added += vectors.len() as u64;
        Ok(())
    }

    /// Those of some keys that the log of the same model in another directory has and this one has not, at most so many. Nothing is
    /// changed there.
    ///
    /// # Errors
    /// Why that log is not read.
    pub(crate) fn found_in(
        &self,
        directory: &Path,
        wanted: &HashSet<u64>,
        most: usize,
    ) -> std::result::Result<Vec<Keyed>, Fault> {
        let mut found = Vec::new();
        let path = of_model(directory, &self.model).join("log");
        vector_log::scan(&path, &self.model, |key, numbers| {
            if wanted.contains(&key) && !self.contains(key) {
                found.push((key, vector_log::vector_of(numbers)));
            }
            if found.len() < most { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        Ok(found)
    }

    /// Adds vectors, whoever made them; they are durable when this returns.
    ///
    /// # Errors
    /// Those of [`Vectors::add`].
    pub(crate) fn keep(&self, vectors: &[Keyed]) -> Result<()> {
        let mut bytes = Vec::with_capacity(vectors.len() * vector_log::record_bytes(&self.model));
        for (key, vector) in vectors {
            if vector.len() != self.model.dimensions {
                return Err(Error::internal(format!("a vector has {} dimensions", vector.len())));
            }
            vector_log::append(&mut bytes, *key, vector);
        }
        {
            let mut log = lock(&self.log);
            let end = log.metadata().map_err(cannot)?.len();
            log.write_all(&bytes).and_then(|()| log.sync_data()).map_err(|err| {
                // Behind half a record nothing would be read again.
                let _ = log.set_len(end);
                cannot(err)
            })?;
        }
        let mut graph = self.write();
        vectors.iter().try_for_each(|(key, vector)| graph.add(*key, vector))
    }

    /// The nearest to a vector: keys and cosines, best first.
    ///
    /// # Errors
    /// `Internal` when usearch refuses.
    pub(crate) fn search(&self, vector: &[f32], most: usize) -> Result<Vec<(u64, f32)>> {
        let vector = of_length_one(vector);
        let graph = self.read();
        // One at a time: usearch has a place for each thread that it was told of, and refuses further ones.
        let _turn = lock(&self.turn);
        let found = if graph.keys.len() <= EXACT_UP_TO {
            graph.index.exact_search(&vector, most)
        } else {
            graph.index.search(&vector, most)
        };
        let found = found.map_err(refused)?;
        Ok(nearest(found.keys, found.distances))
    }

    /// The nearest among those of some keys.
    ///
    /// # Errors
    /// `Internal` when usearch refuses.
    pub(crate) fn search_within<T>(
        &self,
        vector: &[f32],
        keys: &HashMap<u64, T>,
        most: usize,
    ) -> Result<Vec<(u64, f32)>> {
        let vector = of_length_one(vector);
        let graph = self.read();
        if keys.len() > EXACT_UP_TO {
            let _turn = lock(&self.turn);
            let found = graph.index.filtered_search(&vector, most, |key| keys.contains_key(&key));
            let found = found.map_err(refused)?;
            return Ok(nearest(found.keys, found.distances));
        }
        let mut own = vec![0.0_f32; self.model.dimensions];
        let mut near = Vec::new();
        for key in keys.keys().filter(|key| graph.keys.contains(key)) {
            if graph.index.get(*key, &mut own).is_ok_and(|count| count > 0) {
                near.push((*key, cosine(&vector, &own)));
            }
        }
        near.sort_by(|(key, near), (other, nearer)| nearer.total_cmp(near).then(key.cmp(other)));
        near.truncate(most);
        Ok(near)
    }

    /// The vectors of these keys, where there are some.
    pub(crate) fn vectors_of(&self, keys: impl IntoIterator<Item = u64>) -> HashMap<u64, Vec<f32>> {
        let graph = self.read();
        let mut found = HashMap::new();
        for key in keys.into_iter().filter(|key| graph.keys.contains(key)) {
            let mut vector = vec![0.0_f32; self.model.dimensions];
            if graph.index.get(key, &mut vector).is_ok_and(|count| count > 0) {
                found.insert(key, vector);
            }
        }
        found
    }

    /// Saves the graph if much was added since the last time. While that fails, the one that was saved last stays, and it is tried again
    /// the next time.
    ///
    /// # Errors
    /// `Unavailable` when the disk refuses.
    pub(crate) fn save(&self) -> Result<()> {
        let (count, saved) = {
            let graph = self.read();
            (graph.keys.len(), graph.saved)
        };
        if count - saved.min(count) < SAVE_AFTER.max(count / 10) || !self.is_in_place() {
            return Ok(());
        }
        let temporary = self.directory.join("graph.new");
        let old = graphs(&self.directory);
        let path = self.write_graph(&temporary).inspect_err(|_| {
            // Or a disk that is full would stay so.
            let _ = fs::remove_file(&temporary);
        })?;
        for old in old.into_iter().filter(|old| *old != path) {
            fs::remove_file(old).map_err(cannot)?;
        }
        self.write().saved = count;
        Ok(())
    }

    /// Writes the graph to `temporary`, and gives it its name once all of it is durable.
    fn write_graph(&self, temporary: &Path) -> Result<PathBuf> {
        let unsaved = |why: &dyn std::fmt::Display| {
            Error::unavailable(format!(
                "the graph of the vectors by `{}` cannot be saved: {why}",
                self.model.id
            ))
        };
        let failed = |err: io::Error| unsaved(&err).with_source(err);
        let bytes = {
            let graph = self.read();
            graph.index.save(&temporary.to_string_lossy()).map_err(|err| unsaved(&err))?;
            graph.index.serialized_length() as u64
        };
        let file = File::open(temporary).map_err(failed)?;
        let written = file.metadata().map_err(failed)?.len();
        // usearch does not look whether its file was closed well, which is when the last of it is written.
        if written < bytes {
            return Err(unsaved(&format_args!("the disk took {written} of {bytes} bytes")));
        }
        file.sync_all().map_err(failed)?;
        let crc = checksum(temporary).map_err(failed)?;
        let path = self.directory.join(format!("graph-{crc:08x}"));
        fs::rename(temporary, &path).map_err(failed)?;
        Ok(path)
    }

    /// Makes log and graph anew of the vectors that `is_used` says are used, if most are not: whoever changes documents for years would
    /// keep all that they ever said. The fewer go with the next time: of what was removed much comes back, such as with a branch.
    /// Nobody adds any meanwhile.
    ///
    /// # Errors
    /// `Unavailable` when the disk refuses; what is used stays.
    pub(crate) fn compact(&self, is_used: impl Fn(u64) -> bool) -> Result<()> {
        let (all, unused) = {
            let graph = self.read();
            (graph.keys.len(), graph.keys.iter().filter(|key| !is_used(**key)).count())
        };
        if unused < COMPACT_AFTER || unused * 2 < all || !self.is_in_place() {
            return Ok(());
        }
        let path = self.directory.join("log");
        let (mut vectors, _) = vector_log::read(&path, &self.model).map_err(|fault| {
            Error::unavailable(format!("the vectors by `{}` cannot be read: {fault}", self.model.id))
        })?;
        vectors.retain(|(key, _)| is_used(*key));
        let mut graph = Graph::new(&self.model)?;
        graph.index.reserve(vectors.len()).map_err(refused)?;
        vectors.iter().try_for_each(|(key, vector)| graph.add(*key, vector))?;
        let mut log = lock(&self.log);
        *log = vector_log::replace(&self.directory, &self.model, &vectors).map_err(cannot)?;
        {
            let mut current = self.write();
            graph.added = current.added;
            *current = graph;
        }
        File::open(&self.directory).and_then(|directory| directory.sync_all()).map_err(cannot)?;
        // What a crash leaves of them has more than the log, and is not used.
        graphs(&self.directory).into_iter().try_for_each(fs::remove_file).map_err(cannot)
    }

    /// Whether its log is still the one in the directory. Where weights were exchanged while vectors were made, that is another's: a graph
    /// beside it would be believed, as it is of the same keys.
    fn is_in_place(&self) -> bool {
        let own = lock(&self.log).metadata();
        let there = fs::metadata(self.directory.join("log"));
        matches!((own, there), (Ok(own), Ok(there)) if (own.dev(), own.ino()) == (there.dev(), there.ino()))
    }

    fn read(&self) -> RwLockReadGuard<'_, Graph> {
        // A vector that was half added is one that is not found.
        self.graph.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Graph> {
        self.graph.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where the vectors of a model are. A provider's model may be called anything, a path included.
fn of_model(directory: &Path, model: &Model) -> PathBuf {
    directory.join(hex(&Sha256::digest(&model.id)))
}

/// Makes a directory unless it is there, and none above it: what was just removed is not to come back.
fn make(directory: &Path) -> io::Result<()> {
    match fs::create_dir(directory) {
        Err(err) if err.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

/// Keys and cosines.
fn nearest(keys: Vec<u64>, distances: Vec<f32>) -> Vec<(u64, f32)> {
    keys.into_iter().zip(distances.into_iter().map(|distance| 1.0 - distance)).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn cannot(err: io::Error) -> Error {
    Error::unavailable("the vectors of the collection cannot be kept").with_source(err)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of so many numbers.
    const SIDE: u64 = 64;

    fn model() -> Model {
        Model { id: "small".into(), sha256: "0".repeat(64), dimensions: usize::try_from(SIDE).unwrap() }
    }

    /// Another one for each key below 4096: keys with the same remainder are nearest to each other.
    fn vector(key: u64) -> Vec<f32> {
        let weight = |at: u64, of: u64, weight: f32| if at == of { weight } else { 0.0 };
        (0..SIDE).map(|at| weight(at, key % SIDE, 1.0) + weight(at, key / SIDE, 0.5)).collect()
    }

    fn log_bytes(directory: &Path) -> u64 {
        let own = fs::read_dir(directory).unwrap().next().unwrap().unwrap().path();
        fs::metadata(own.join("log")).unwrap().len()
    }

    #[test]
    fn vectors_that_nobody_uses_go_once_they_are_the_most() {
        let directory = tempfile::tempdir().unwrap();
        let vectors = Vectors::open(directory.path(), &model()).unwrap();
        let all: Vec<Keyed> = (0..4000).map(|key| (key, vector(key))).collect();
        vectors.add(&all).unwrap();
        vectors.save().unwrap();
        let before = log_bytes(directory.path());
        vectors.compact(|key| key < 2500).unwrap();
        assert_eq!(vectors.counts(), (4000, 4000), "what may come back is kept while most is used");
        assert_eq!(log_bytes(directory.path()), before);

        let nearest = |vectors: &Vectors| -> Vec<u64> {
            let found = vectors.search(&vector(2000), 3).unwrap();
            found.into_iter().map(|(key, _)| key).collect()
        };
        assert_eq!(nearest(&vectors)[0], 2000);
        vectors.compact(|key| key < 1000).unwrap();
        assert_eq!(vectors.counts(), (1000, 4000));
        assert!(nearest(&vectors).iter().all(|key| *key < 1000 && key % SIDE == 2000 % SIDE));
        assert!(log_bytes(directory.path()) * 3 < before);
        vectors.add(&[(7000, vector(2000))]).unwrap();
        assert_eq!(nearest(&vectors)[0], 7000);
        drop(vectors);
        let again = Vectors::open(directory.path(), &model()).unwrap();
        assert_eq!(again.counts(), (1001, 0));
        assert_eq!(nearest(&again)[0], 7000);
    }

    #[test]
    fn a_graph_that_has_more_than_the_log_is_not_used() {
        let directory = tempfile::tempdir().unwrap();
        let vectors = Vectors::open(directory.path(), &model()).unwrap();
        let all: Vec<Keyed> = (0..3000).map(|key| (key, vector(key))).collect();
        vectors.add(&all).unwrap();
        vectors.save().unwrap();
        let old = graphs(&vectors.directory).remove(0);
        let graph = fs::read(&old).unwrap();
        vectors.compact(|key| key < 1000).unwrap();
        assert!(!old.exists());
        // As if a crash had come between the two.
        fs::write(&old, graph).unwrap();
        drop(vectors);
        let again = Vectors::open(directory.path(), &model()).unwrap();
        assert_eq!(again.counts().0, 1000);
        let found = again.search(&vector(2000), 1).unwrap();
        assert!(found[0].0 < 1000, "{found:?}");
    }

    #[test]
    fn a_log_that_cannot_be_read_is_set_aside() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("vectors");
        let vectors = Vectors::open(&root, &model()).unwrap();
        vectors.add(&[(1, vector(1))]).unwrap();
        assert!(!vectors.is_incomplete());
        let own = vectors.directory.clone();
        drop(vectors);
        let aside = PathBuf::from(format!("{}.damaged", own.display()));
        let spoil: [&dyn Fn(); 2] = [&|| fs::write(own.join("log"), "x".repeat(500)).unwrap(), &|| {
            fs::remove_file(own.join("log")).unwrap();
            fs::create_dir(own.join("log")).unwrap();
        }];
        for spoil in spoil {
            spoil();
            let again = Vectors::open(&root, &model()).unwrap();
            assert_eq!((again.counts().0, again.is_incomplete()), (0, true));
            assert!(aside.join("log").exists());
            again.add(&[(1, vector(1))]).unwrap();
            again.complete();
            assert!(!again.is_incomplete());
            drop(again);
            assert_eq!(Vectors::open(&root, &model()).unwrap().counts(), (1, 0));
        }
        // Not even the directory of all of them is one.
        fs::remove_dir_all(&root).unwrap();
        fs::write(&root, "").unwrap();
        assert!(Vectors::open(&root, &model()).unwrap().is_incomplete());
        assert!(directory.path().join("vectors.damaged").is_file());
    }

    #[test]
    fn a_log_with_a_damaged_header_is_set_aside() {
        let directory = tempfile::tempdir().unwrap();
        let vectors = Vectors::open(directory.path(), &model()).unwrap();
        let own = vectors.directory.clone();
        drop(vectors);
        // Its dimensions, and the hash of the weights.
        for at in [8, 20] {
            let vectors = Vectors::open(directory.path(), &model()).unwrap();
            vectors.add(&[(at, vector(at))]).unwrap();
            drop(vectors);
            let mut bytes = fs::read(own.join("log")).unwrap();
            bytes[usize::try_from(at).unwrap()] ^= 1;
            fs::write(own.join("log"), &bytes).unwrap();
            let again = Vectors::open(directory.path(), &model()).unwrap();
            assert_eq!((again.counts().0, again.is_incomplete()), (0, true));
            let aside = PathBuf::from(format!("{}.damaged", own.display()));
            assert_eq!(fs::read(aside.join("log")).unwrap(), bytes, "all of it is still there");
        }
    }

    #[test]
    fn a_log_that_is_out_of_reach_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let vectors = Vectors::open(directory.path(), &model()).unwrap();
        let log = vectors.directory.join("log");
        drop(vectors);
        fs::remove_file(&log).unwrap();
        std::os::unix::fs::symlink("log", &log).unwrap();
        let refused = Vectors::open(directory.path(), &model()).map(drop).unwrap_err().to_string();
        assert!(refused.contains("the vectors by `small` cannot be opened"), "{refused}");
        assert!(log.is_symlink());
        // Nor is anything made where the collection was just removed.
        let gone = directory.path().join("gone/vectors");
        assert!(Vectors::open(&gone, &model()).is_err());
        assert!(!directory.path().join("gone").exists());
    }

    #[test]
    fn of_a_log_with_a_damaged_record_the_rest_stays() {
        let directory = tempfile::tempdir().unwrap();
        let vectors = Vectors::open(directory.path(), &model()).unwrap();
        let all: Vec<Keyed> = (0..3000).map(|key| (key, vector(key))).collect();
        vectors.add(&all).unwrap();
        vectors.save().unwrap();
        let log = vectors.directory.join("log");
        drop(vectors);
        let mut bytes = fs::read(&log).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&log, bytes).unwrap();
        let again = Vectors::open(directory.path(), &model()).unwrap();
        assert_eq!((again.counts().0, again.is_incomplete()), (2999, true));
        assert!(log.with_extension("damaged").exists());
        assert_eq!(again.search(&vector(2999), 1).unwrap()[0].0, 2999);
        drop(again);
        let mended = Vectors::open(directory.path(), &model()).unwrap();
        assert_eq!((mended.counts().0, mended.is_incomplete()), (2999, false));
    }

    #[test]
    fn a_graph_that_the_disk_does_not_take_leaves_the_last_one() {
        let directory = tempfile::tempdir().unwrap();
        let vectors = Vectors::open(directory.path(), &model()).unwrap();
        let add = |keys: std::ops::Range<u64>| {
            vectors.add(&keys.map(|key| (key, vector(key))).collect::<Vec<Keyed>>()).unwrap();
        };
        add(0..1500);
        vectors.save().unwrap();
        let saved = graphs(&vectors.directory);
        assert_eq!(saved.len(), 1);
        add(1500..3000);
        let temporary = vectors.directory.join("graph.new");
        std::os::unix::fs::symlink("/dev/full", &temporary).unwrap();
        let refused = vectors.save().unwrap_err().to_string();
        assert!(refused.contains("the graph of the vectors by `small` cannot be saved"), "{refused}");
        assert!(temporary.symlink_metadata().is_err(), "what was begun is gone");
        assert_eq!(graphs(&vectors.directory), saved);
        vectors.save().unwrap();
        let next = graphs(&vectors.directory);
        assert!(next.len() == 1 && next != saved, "{next:?}");
    }

    #[test]
    fn a_graph_of_weights_that_were_exchanged_is_not_saved() {
        let directory = tempfile::tempdir().unwrap();
        let vectors = Vectors::open(directory.path(), &model()).unwrap();
        let all: Vec<Keyed> = (0..1500).map(|key| (key, vector(key))).collect();
        vectors.add(&all).unwrap();
        let other = Model { sha256: "1".repeat(64), ..model() };
        let next = Vectors::open(directory.path(), &other).unwrap();
        assert_eq!(next.counts().0, 0);
        vectors.save().unwrap();
        vectors.compact(|_| false).unwrap();
        assert!(graphs(&vectors.directory).is_empty());
        next.add(&[(1, vector(2))]).unwrap();
        drop((vectors, next));
        assert_eq!(Vectors::open(directory.path(), &other).unwrap().counts().0, 1);
    }

    #[test]
    fn vectors_that_another_log_has_are_told_from_what_is_wanted() {
        let directory = tempfile::tempdir().unwrap();
        let (here, there) = (directory.path().join("here"), directory.path().join("there"));
        let lender = Vectors::open(&there, &model()).unwrap();
        lender.add(&(0..100).map(|key| (key, vector(key))).collect::<Vec<Keyed>>()).unwrap();
        let vectors = Vectors::open(&here, &model()).unwrap();
        vectors.add(&[(7, vector(7))]).unwrap();
        let wanted: HashSet<u64> = [7, 8, 9, 500].into();
        let found = vectors.found_in(&there, &wanted, 10).unwrap();
        assert_eq!(found.iter().map(|(key, _)| *key).collect::<Vec<_>>(), [8, 9]);
        assert_eq!(vectors.found_in(&there, &wanted, 1).unwrap().len(), 1);
        vectors.keep(&found).unwrap();
        assert_eq!(vectors.counts(), (3, 1), "nobody made them here");
        assert_eq!(vectors.search(&vector(8), 1).unwrap()[0].0, 8);
        let other = Model { sha256: "1".repeat(64), ..model() };
        let others = Vectors::open(&directory.path().join("other"), &other).unwrap();
        assert!(matches!(others.found_in(&there, &wanted, 10), Err(Fault::OfOthers)));
        assert!(matches!(vectors.found_in(&directory.path().join("none"), &wanted, 10), Err(Fault::Missing)));
    }

    #[test]
    fn the_nearest_of_some_keys_are_found_however_far_they_are() {
        let directory = tempfile::tempdir().unwrap();
        let vectors = Vectors::open(directory.path(), &model()).unwrap();
        let all: Vec<Keyed> = (0..3000).map(|key| (key, vector(key))).collect();
        vectors.add(&all).unwrap();
        let few: HashMap<u64, ()> = [(2999, ()), (2990, ()), (5000, ())].into();
        let asked = vector(2999 % SIDE);
        let found = vectors.search_within(&asked, &few, 2).unwrap();
        let keys: Vec<u64> = found.iter().map(|(key, _)| *key).collect();
        assert_eq!(keys, [2999, 2990]);
        let best = vectors.search(&asked, 1).unwrap();
        assert!(best[0].0 == 2999 % SIDE && best[0].1 > found[0].1, "{best:?} {found:?}");
    }
}
