//! The graph in which usearch finds the nearest of some vectors (HNSW). It holds what a log holds and can be built from that; a file of it is
//! believed only by its checksum, because what reads it is C++.

use crate::vector_log::Keyed;
use crc32fast::Hasher;
use skynet_core::{Error, Result};
use skynet_models::Model;
use std::{
    collections::HashSet,
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
};
use usearch::{Index, IndexOptions, MetricKind, ScalarKind};

/// Edges of a node, and nodes looked at to add one and to find one (Malkov and Yashunin 2016, M and ef): the recall of the ten nearest of
/// 100,000 is above .99 with these.
const CONNECTIVITY: usize = 16;
const EXPANSION_ADD: usize = 128;
const EXPANSION_SEARCH: usize = 96;

/// Room for so many more is made at once.
const GROWTH: usize = 4096;

/// The graph of some vectors, and which they are.
pub(crate) struct Graph {
    pub(crate) index: Index,
    pub(crate) keys: HashSet<u64>,
    /// Of the log, when it was last saved.
    pub(crate) saved: usize,
    /// Since it was opened.
    pub(crate) added: u64,
}

impl Graph {
    /// One of nothing.
    ///
    /// # Errors
    /// `Internal` when usearch refuses.
    pub(crate) fn new(model: &Model) -> Result<Self> {
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

    /// Adds a vector, unless there is one for its key.
    ///
    /// # Errors
    /// `Internal` when usearch refuses.
    pub(crate) fn add(&mut self, key: u64, vector: &[f32]) -> Result<()> {
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
///
/// # Errors
/// `Internal` when usearch refuses.
pub(crate) fn restore(directory: &Path, model: &Model, vectors: &[Keyed]) -> Result<Graph> {
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

/// As most models make them, but not all.
pub(crate) fn of_length_one(vector: &[f32]) -> Vec<f32> {
    let length = vector.iter().map(|number| number * number).sum::<f32>().sqrt();
    let length = if length > 0.0 { length } else { 1.0 };
    vector.iter().map(|number| number / length).collect()
}

/// The graphs that were saved.
pub(crate) fn graphs(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("graph-")))
        .collect()
}

/// Of a whole file, CRC-32.
///
/// # Errors
/// What the filesystem says.
pub(crate) fn checksum(path: &Path) -> io::Result<u32> {
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

/// What is said where usearch refuses.
pub(crate) fn refused(err: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::internal("the index of vectors refuses").with_source(err)
}
