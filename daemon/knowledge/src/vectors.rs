//! The vectors that one model made of the passages of a collection.
//!
//! A log keeps them: each is written once, when it was made, and what a crash cut off is made again. usearch finds the nearest; its
//! graph is a copy that is saved now and then, so that it need not be built at each start, and is built from the log where it
//! is damaged or missing.

use crate::ranking::cosine;
use crc32fast::Hasher;
use half::f16;
use sha2::{Digest as _, Sha256};
use skynet_core::{Error, Result, canonical::hex};
use skynet_models::Model;
use std::{
    collections::{HashMap, HashSet},
    fs::{self, File, OpenOptions},
    io::{self, BufReader, Read as _, Write as _},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError, RwLock},
};
use usearch::{Index, IndexOptions, MetricKind, ScalarKind};

/// What a log begins with: the format, the hash of the weights, and the dimensions.
const MAGIC: &[u8; 8] = b"SKYVEC1\n";

/// Up to so many vectors, all of them are looked at: as fast as the graph, and misses none.
const EXACT_UP_TO: usize = 20_000;

/// Edges of a node, and nodes looked at to add one and to find one (Malkov and Yashunin 2016, M and ef): the recall of the ten nearest of
/// 100,000 is above .99 with these.
const CONNECTIVITY: usize = 16;
const EXPANSION_ADD: usize = 128;
const EXPANSION_SEARCH: usize = 96;

/// The graph is saved when it lacks so many of the log, and at least a tenth of it.
const SAVE_AFTER: usize = 1000;

/// Vectors that no passage has any more are kept up to that number, or up to as many as are used.
const COMPACT_AFTER: usize = 1000;

/// Room for so many more is made at once.
const GROWTH: usize = 4096;

/// The key of a passage, and its vector.
pub(crate) type Keyed = (u64, Vec<f32>);

/// The vectors of one model.
pub(crate) struct Vectors {
    model: Model,
    directory: PathBuf,
    graph: RwLock<Graph>,
    log: Mutex<File>,
    turn: Mutex<()>,
}

struct Graph {
    index: Index,
    keys: HashSet<u64>,
    /// Of the log, when it was last saved.
    saved: usize,
    /// Since it was opened.
    added: u64,
}

impl Vectors {
    /// Opens those of `model` in `directory`. Vectors of other weights are of no use to it, and are removed.
    ///
    /// # Errors
    /// `Unavailable` when the disk refuses.
    pub(crate) fn open(directory: &Path, model: &Model) -> Result<Self> {
        // A provider's model may be called anything, a path included.
        let directory = directory.join(hex(&Sha256::digest(&model.id)));
        fs::create_dir_all(&directory).map_err(cannot)?;
        let path = directory.join("log");
        let (vectors, whole_bytes) = match read_log(&path, model) {
            Ok(read) => read,
            Err(err) if err.kind() == io::ErrorKind::NotFound => (Vec::new(), 0),
            Err(err) if err.kind() == io::ErrorKind::InvalidData => {
                tracing::warn!(
                    model = model.id,
                    "vectors of another model, or damaged ones, are made anew: {err}"
                );
                fs::remove_dir_all(&directory)
                    .and_then(|()| fs::create_dir_all(&directory))
                    .map_err(cannot)?;
                (Vec::new(), 0)
            }
            Err(err) => return Err(cannot(err)),
        };
        let mut log = OpenOptions::new().append(true).create(true).open(&path).map_err(cannot)?;
        if whole_bytes == 0 {
            log.set_len(0).and_then(|()| log.write_all(&header(model))).map_err(cannot)?;
        } else {
            // What a crash cut off.
            log.set_len(whole_bytes).map_err(cannot)?;
        }
        let graph = restore(&directory, model, &vectors)?;
        Ok(Self {
            model: model.clone(),
            directory,
            graph: RwLock::new(graph),
            log: Mutex::new(log),
            turn: Mutex::default(),
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

    /// Adds vectors; they are durable when this returns.
    ///
    /// # Errors
    /// `Unavailable` when the disk refuses, `Internal` for vectors of another length.
    pub(crate) fn add(&self, vectors: &[Keyed]) -> Result<()> {
        let mut bytes = Vec::with_capacity(vectors.len() * record_bytes(&self.model));
        for (key, vector) in vectors {
            if vector.len() != self.model.dimensions {
                return Err(Error::internal(format!("a vector has {} dimensions", vector.len())));
            }
            append(&mut bytes, *key, vector);
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
        let mut graph = self.graph.write().unwrap_or_else(PoisonError::into_inner);
        for (key, vector) in vectors {
            graph.add(*key, vector)?;
            graph.added += 1;
        }
        Ok(())
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

    /// Saves the graph if much was added since the last time.
    ///
    /// # Errors
    /// `Unavailable` when the disk refuses.
    pub(crate) fn save(&self) -> Result<()> {
        let (count, saved) = {
            let graph = self.read();
            (graph.keys.len(), graph.saved)
        };
        if count - saved.min(count) < SAVE_AFTER.max(count / 10) {
            return Ok(());
        }
        let temporary = self.directory.join("graph.new");
        self.read().index.save(&temporary.to_string_lossy()).map_err(refused)?;
        let crc = checksum(&temporary).map_err(cannot)?;
        File::open(&temporary).and_then(|file| file.sync_all()).map_err(cannot)?;
        let old = graphs(&self.directory);
        let path = self.directory.join(format!("graph-{crc:08x}"));
        fs::rename(&temporary, &path).map_err(cannot)?;
        for old in old.into_iter().filter(|old| *old != path) {
            fs::remove_file(old).map_err(cannot)?;
        }
        self.graph.write().unwrap_or_else(PoisonError::into_inner).saved = count;
        Ok(())
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
        if unused < COMPACT_AFTER || unused * 2 < all {
            return Ok(());
        }
        let path = self.directory.join("log");
        let (mut vectors, _) = read_log(&path, &self.model).map_err(cannot)?;
        vectors.retain(|(key, _)| is_used(*key));
        let mut bytes = header(&self.model);
        for (key, vector) in &vectors {
            append(&mut bytes, *key, vector);
        }
        let mut graph = Graph::new(&self.model)?;
        graph.index.reserve(vectors.len()).map_err(refused)?;
        vectors.iter().try_for_each(|(key, vector)| graph.add(*key, vector))?;
        let temporary = self.directory.join("log.new");
        let mut log = lock(&self.log);
        let mut new = OpenOptions::new().append(true).create(true).open(&temporary).map_err(cannot)?;
        // A crash may have left a part of one.
        new.set_len(0)
            .and_then(|()| new.write_all(&bytes))
            .and_then(|()| new.sync_all())
            .and_then(|()| fs::rename(&temporary, &path))
            .inspect_err(|_| {
                // Or a disk that is full would stay so.
                let _ = fs::remove_file(&temporary);
            })
            .map_err(cannot)?;
        *log = new;
        {
            let mut current = self.graph.write().unwrap_or_else(PoisonError::into_inner);
            graph.added = current.added;
            *current = graph;
        }
        File::open(&self.directory).and_then(|directory| directory.sync_all()).map_err(cannot)?;
        // What a crash leaves of them has more than the log, and is not used.
        graphs(&self.directory).into_iter().try_for_each(fs::remove_file).map_err(cannot)
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Graph> {
        // A vector that was half added is one that is not found.
        self.graph.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Graph {
    fn new(model: &Model) -> Result<Self> {
        let options = IndexOptions {
            dimensions: model.dimensions,
            // Of vectors of length one it is the cosine, and takes two thirds of the time.
            metric: MetricKind::IP,
            quantization: ScalarKind::F16,
            connectivity: CONNECTIVITY,
            expansion_add: EXPANSION_ADD,
            expansion_search: EXPANSION_SEARCH,
            multi: false,
        };
        Ok(Self { index: Index::new(&options).map_err(refused)?, keys: HashSet::new(), saved: 0, added: 0 })
    }

    fn add(&mut self, key: u64, vector: &[f32]) -> Result<()> {
        if self.keys.contains(&key) {
            return Ok(());
        }
        if self.index.size() >= self.index.capacity() {
            let room = self.index.size() + GROWTH.max(self.index.size() / 4);
            self.index.reserve(room).map_err(refused)?;
        }
        self.index.add(key, &of_length_one(vector)).map_err(refused)?;
        self.keys.insert(key);
        Ok(())
    }
}

/// The graph as it was saved and what the log has besides, or all of the log.
fn restore(directory: &Path, model: &Model, vectors: &[Keyed]) -> Result<Graph> {
    let (mut graph, mut is_of_log) = (Graph::new(model)?, false);
    let saved = graphs(directory).into_iter().find(|path| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        checksum(path).is_ok_and(|crc| name == Some(format!("graph-{crc:08x}")))
    });
    // Its checksum says that it is what was saved, so it is safe to be read by C++.
    if let Some(path) = saved
        && graph.index.load(&path.to_string_lossy()).is_ok()
        && graph.index.dimensions() == model.dimensions
    {
        graph.keys = vectors.iter().map(|(key, _)| *key).filter(|key| graph.index.contains(*key)).collect();
        graph.saved = graph.keys.len();
        // One that has more than the log is of before the log was made anew.
        is_of_log = graph.index.size() == graph.keys.len();
    }
    if !is_of_log {
        graph = Graph::new(model)?;
    }
    let missing = vectors.iter().filter(|(key, _)| !graph.keys.contains(key)).cloned().collect::<Vec<_>>();
    graph.index.reserve(graph.index.size() + missing.len()).map_err(refused)?;
    missing.iter().try_for_each(|(key, vector)| graph.add(*key, vector))?;
    Ok(graph)
}

/// Keys and cosines.
fn nearest(keys: Vec<u64>, distances: Vec<f32>) -> Vec<(u64, f32)> {
    keys.into_iter().zip(distances.into_iter().map(|distance| 1.0 - distance)).collect()
}

/// As most models make them, but not all.
fn of_length_one(vector: &[f32]) -> Vec<f32> {
    let length = vector.iter().map(|number| number * number).sum::<f32>().sqrt();
    let length = if length > 0.0 { length } else { 1.0 };
    vector.iter().map(|number| number / length).collect()
}

fn graphs(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("graph-")))
        .collect()
}

fn header(model: &Model) -> Vec<u8> {
    let mut header = MAGIC.to_vec();
    header.extend(u32::try_from(model.dimensions).unwrap_or(0).to_le_bytes());
    header.extend(model.sha256.as_bytes());
    header.push(b'\n');
    header
}

/// Key, half-precision numbers (IEEE 754 binary16, little endian), and CRC-32 of both.
fn record_bytes(model: &Model) -> usize {
    8 + model.dimensions * 2 + 4
}

fn append(bytes: &mut Vec<u8>, key: u64, vector: &[f32]) {
    let start = bytes.len();
    bytes.extend(key.to_le_bytes());
    bytes.extend(vector.iter().flat_map(|number| f16::from_f32(*number).to_le_bytes()));
    let crc = crc32fast::hash(bytes.get(start..).unwrap_or_default());
    bytes.extend(crc.to_le_bytes());
}

/// All whole records, and how many bytes they take with the header.
fn read_log(path: &Path, model: &Model) -> io::Result<(Vec<Keyed>, u64)> {
    let mut file = BufReader::with_capacity(1 << 20, File::open(path)?);
    let expected = header(model);
    let mut found = vec![0; expected.len()];
    file.read_exact(&mut found).map_err(|_| io::ErrorKind::InvalidData)?;
    if found != expected {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the header is another one"));
    }
    let mut vectors = Vec::new();
    let mut whole_bytes = expected.len() as u64;
    let mut record = vec![0; record_bytes(model)];
    while file.read_exact(&mut record).is_ok() {
        let Some((content, crc)) = record.split_last_chunk::<4>() else { break };
        let Some((key, numbers)) = content.split_first_chunk::<8>() else { break };
        if crc32fast::hash(content) != u32::from_le_bytes(*crc) {
            break;
        }
        let numbers = numbers.as_chunks::<2>().0.iter().map(|bytes| f16::from_le_bytes(*bytes).to_f32());
        vectors.push((u64::from_le_bytes(*key), numbers.collect()));
        whole_bytes += record.len() as u64;
    }
    Ok((vectors, whole_bytes))
}

fn checksum(path: &Path) -> io::Result<u32> {
    let mut file = File::open(path)?;
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finalize()),
            count => hasher.update(buffer.get(..count).unwrap_or_default()),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn cannot(err: io::Error) -> Error {
    Error::unavailable("the vectors of the collection cannot be kept").with_source(err)
}

fn refused(err: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::internal("the index of vectors refuses").with_source(err)
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
