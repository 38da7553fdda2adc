//! What is installed, in one directory: below it one per model, with its files and a list of their hashes.

use crate::{
    install::hash_of,
    manifest::{Entry, Manifest},
};
use serde::{Deserialize, Serialize};
use skynet_core::{Error, Result};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
};

/// The name of ONNX Runtime among the models.
pub const RUNTIME: &str = "onnxruntime";

/// Its library.
pub(crate) const LIBRARY: &str = "libonnxruntime.so";

/// The files of a model.
pub(crate) const MODEL: &str = "model.onnx";
pub(crate) const TOKENIZER: &str = "tokenizer.json";

/// What was installed.
pub(crate) const RECORD: &str = "installed.json";

/// Downloads that are not done.
const DOWNLOADS: &str = ".downloads";

/// What was installed, and as what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Of the manifest.
    pub id: String,
    /// Where it came from.
    pub source: String,
    /// Their sha256 in hexadecimal, and their sizes.
    pub files: BTreeMap<String, FileRecord>,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// In hexadecimal.
    pub sha256: String,
    /// Its size.
    pub size_bytes: u64,
}

impl Record {
    /// Of the files that are in `directory`, where it is written down.
    pub(crate) fn of(directory: &Path, id: &str, source: String) -> Result<Self> {
        let make = || {
            let mut files = BTreeMap::new();
            for name in [LIBRARY, MODEL, TOKENIZER] {
                let path = directory.join(name);
                if path.is_file() {
                    let size_bytes = path.metadata()?.len();
                    files.insert(name.to_owned(), FileRecord { sha256: hash_of(&path)?, size_bytes });
                }
            }
            let record = Self { id: id.into(), source, files };
            let mut file = File::create(directory.join(RECORD))?;
            file.write_all(&serde_json::to_vec_pretty(&record)?)?;
            file.sync_all()?;
            Ok(record)
        };
        make().map_err(|err: std::io::Error| {
            Error::unavailable(format!("`{id}` cannot be written: {err}")).with_source(err)
        })
    }

    /// The one in `directory`.
    pub(crate) fn read(directory: &Path) -> Result<Self> {
        let path = directory.join(RECORD);
        let read = fs::read(&path).and_then(|bytes| Ok(serde_json::from_slice(&bytes)?));
        read.map_err(|err| {
            Error::unavailable(format!("`{}` cannot be read; install the model again", path.display()))
                .with_source(err)
        })
    }

    pub(crate) fn sha256(&self, name: &str) -> Option<&str> {
        self.files.get(name).map(|file| file.sha256.as_str())
    }

    /// All files together.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.files.values().map(|file| file.size_bytes).sum()
    }
}

/// The directory.
#[derive(Clone, Debug)]
pub struct Store {
    directory: PathBuf,
    /// Where files of Hugging Face are, if not there.
    pub(crate) hub: Option<String>,
}

impl Store {
    /// That of `directory`, which is made.
    ///
    /// # Errors
    /// `Unavailable` when it cannot be.
    pub fn open(directory: &Path) -> Result<Self> {
        fs::create_dir_all(directory).map_err(|err| {
            Error::unavailable(format!("the directory of models `{}` cannot be made", directory.display()))
                .with_source(err)
        })?;
        Ok(Self { directory: directory.to_owned(), hub: None })
    }

    /// The same with a mirror of Hugging Face.
    #[must_use]
    pub fn with_hub(self, hub: Option<String>) -> Self {
        Self { hub, ..self }
    }

    /// Where it is.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    pub(crate) fn downloads(&self) -> PathBuf {
        self.directory.join(DOWNLOADS)
    }

    /// Those that are done; an interrupted one stays, to go on.
    pub(crate) fn forget_downloads(&self) {
        let entries = fs::read_dir(self.downloads()).into_iter().flatten().flatten();
        for path in entries.map(|entry| entry.path()) {
            if path.extension().is_none() {
                // They take room, and no more.
                let _ = fs::remove_file(path);
            }
        }
    }

    /// What is installed under that name, if anything is.
    ///
    /// # Errors
    /// `Unavailable` when it cannot be told.
    pub fn find(&self, id: &str) -> Result<Option<Record>> {
        let directory = self.directory.join(id);
        if directory.join(RECORD).is_file() { Record::read(&directory).map(Some) } else { Ok(None) }
    }

    /// The first of these models that is installed.
    pub(crate) fn first<'a>(&self, models: impl Iterator<Item = &'a Entry>) -> Option<(&'a Entry, Record)> {
        models
            .filter_map(|model| Some((model, self.find(&model.id).ok()??)))
            .find(|(_, record)| record.sha256(MODEL).is_some() && record.sha256(TOKENIZER).is_some())
    }

    /// The path of a file of what is installed.
    pub(crate) fn path(&self, id: &str, file: &str) -> PathBuf {
        self.directory.join(id).join(file)
    }

    /// Removes it.
    ///
    /// # Errors
    /// `NotFound` when it is not installed.
    pub fn remove(&self, id: &str) -> Result<()> {
        if id != RUNTIME {
            Manifest::own()?.find(id)?;
        }
        if self.find(id)?.is_none() {
            return Err(Error::not_found(format!("`{id}` is not installed")));
        }
        fs::remove_dir_all(self.directory.join(id))
            .map_err(|err| Error::unavailable(format!("`{id}` cannot be removed: {err}")).with_source(err))
    }

    /// Reads all of it again; what is wrong with it. Waits.
    ///
    /// # Errors
    /// `NotFound` when it is not installed.
    pub fn verify(&self, id: &str) -> Result<Vec<String>> {
        let record = self.find(id)?.ok_or_else(|| Error::not_found(format!("`{id}` is not installed")))?;
        let mut faults = Vec::new();
        for (name, expected) in &record.files {
            match hash_of(&self.path(id, name)) {
                Ok(found) if found == expected.sha256 => {}
                Ok(found) => faults.push(format!(
                    "`{name}` is damaged: its sha256 is {found}, expected {}; run `skynetctl models install {id}`",
                    expected.sha256
                )),
                Err(err) => faults.push(format!(
                    "`{name}` cannot be read ({err}); run `skynetctl models install {id}`"
                )),
            }
        }
        Ok(faults)
    }
}
