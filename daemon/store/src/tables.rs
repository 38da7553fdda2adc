//! sled behind typed tables. Everything here can be rebuilt: a value that does not check is treated as absent,
//! and a database that does not open is set aside.

use crate::{Error, Result, at};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    fs::{self, File},
    marker::PhantomData,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

/// The layout of values: version byte, CRC-32 of the JSON (little-endian), JSON.
const VERSION: u8 = 1;
const HEADER_BYTES: usize = 5;

/// The open database.
#[derive(Clone)]
pub struct Tables {
    db: sled::Db,
    directory: PathBuf,
}

impl Tables {
    /// Opens the database in `directory`. One that does not open is renamed to `<directory>.corrupt-<time>` and
    /// replaced by an empty one.
    ///
    /// # Errors
    /// When even an empty database cannot be made.
    pub fn open(directory: &Path) -> Result<Self> {
        fs::create_dir_all(directory).map_err(at(directory))?;
        let open =
            || sled::Config::new().path(directory).cache_capacity(4 << 20).flush_every_ms(Some(500)).open();
        // sled 0.34 can also panic on a damaged log; either way the content is rebuildable.
        let db = match catch_unwind(AssertUnwindSafe(open)) {
            Ok(Ok(db)) => db,
            failed => {
                let reason = failed.map_or_else(
                    |_| "panic".to_owned(),
                    |result| result.map_or_else(|err| err.to_string(), |_| String::new()),
                );
                let aside =
                    directory.with_extension(format!("corrupt-{}", jiff::Timestamp::now().as_millisecond()));
                tracing::error!(reason, moved_to = %aside.display(), "the state database is damaged; starting with an empty one");
                fs::rename(directory, &aside).map_err(at(directory))?;
                open()?
            }
        };
        Ok(Self { db, directory: directory.to_owned() })
    }

    /// The table of that name.
    ///
    /// # Errors
    /// What sled says.
    pub fn table<V>(&self, name: &str) -> Result<Table<V>> {
        Ok(Table { tree: self.db.open_tree(name)?, value: PhantomData })
    }

    /// Makes everything written so far survive a power cut. sled's own `flush` is `sync_file_range` on Linux,
    /// which promises nothing about the disk's cache, so the file is synced as well.
    ///
    /// # Errors
    /// What sled or the filesystem says.
    pub fn sync(&self) -> Result<()> {
        self.db.flush()?;
        let path = self.directory.join("db");
        File::open(&path).and_then(|file| file.sync_all()).map_err(at(&path))
    }
}

/// Values of one type by text key.
#[derive(Clone)]
pub struct Table<V> {
    tree: sled::Tree,
    value: PhantomData<fn() -> V>,
}

impl<V: Serialize + DeserializeOwned> Table<V> {
    /// The value under `key`; a damaged one is absent.
    ///
    /// # Errors
    /// What sled says.
    pub fn get(&self, key: &str) -> Result<Option<V>> {
        Ok(self.tree.get(key)?.and_then(|bytes| decode(key, &bytes)))
    }

    /// Stores a value.
    ///
    /// # Errors
    /// What sled says.
    pub fn put(&self, key: &str, value: &V) -> Result<()> {
        self.tree.insert(key, encode(value)?)?;
        Ok(())
    }

    /// Removes a value.
    ///
    /// # Errors
    /// What sled says.
    pub fn remove(&self, key: &str) -> Result<()> {
        self.tree.remove(key)?;
        Ok(())
    }

    /// Changes a value atomically; returns the new one.
    ///
    /// # Errors
    /// What sled says.
    pub fn update(&self, key: &str, change: impl Fn(Option<V>) -> Option<V>) -> Result<Option<V>> {
        let after = self.tree.update_and_fetch(key, |old| {
            let new = change(old.and_then(|bytes| decode(key, bytes)));
            // A value that cannot be encoded stays as it was.
            new.map_or(Ok(None), |value| encode(&value).map(Some)).unwrap_or_else(|_| old.map(<[u8]>::to_vec))
        })?;
        Ok(after.and_then(|bytes| decode(key, &bytes)))
    }

    /// All readable entries in order of key.
    pub fn iter(&self) -> impl Iterator<Item = (String, V)> + use<V> {
        self.tree.iter().filter_map(|entry| {
            let (key, bytes) = entry.ok()?;
            let key = String::from_utf8(key.to_vec()).ok()?;
            let value = decode(&key, &bytes)?;
            Some((key, value))
        })
    }
}

fn encode<V: Serialize>(value: &V) -> Result<Vec<u8>> {
    let json = serde_json::to_vec(value).map_err(|err| Error::Corrupt(format!("value: {err}")))?;
    let mut bytes = Vec::with_capacity(json.len() + HEADER_BYTES);
    bytes.push(VERSION);
    bytes.extend_from_slice(&crc32fast::hash(&json).to_le_bytes());
    bytes.extend_from_slice(&json);
    Ok(bytes)
}

fn decode<V: DeserializeOwned>(key: &str, bytes: &[u8]) -> Option<V> {
    let value = bytes.split_first_chunk::<HEADER_BYTES>().and_then(|(&[version, a, b, c, d], json)| {
        let is_whole = version == VERSION && crc32fast::hash(json).to_le_bytes() == [a, b, c, d];
        is_whole.then(|| serde_json::from_slice(json).ok()).flatten()
    });
    if value.is_none() {
        tracing::warn!(key, "a damaged value in the state database is ignored");
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_and_damaged_ones_do_not() {
        let directory = tempfile::tempdir().unwrap();
        let tables = Tables::open(directory.path()).unwrap();
        let table = tables.table::<Vec<u32>>("numbers").unwrap();
        table.put("a", &vec![1, 2]).unwrap();
        table
            .update("a", |old| {
                old.map(|mut list| {
                    list.push(3);
                    list
                })
            })
            .unwrap();
        tables.sync().unwrap();
        assert_eq!(table.get("a").unwrap(), Some(vec![1, 2, 3]));
        let mut bytes = table.tree.get("a").unwrap().unwrap().to_vec();
        *bytes.last_mut().unwrap() ^= 1;
        table.tree.insert("a", bytes).unwrap();
        assert_eq!(table.get("a").unwrap(), None);
        assert_eq!(table.iter().count(), 0);
    }

    #[test]
    fn a_damaged_database_is_set_aside() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("state");
        drop(Tables::open(&directory).unwrap());
        fs::remove_file(directory.join("db")).unwrap();
        fs::create_dir(directory.join("db")).unwrap();
        let tables = Tables::open(&directory).unwrap();
        tables.table::<u32>("t").unwrap().put("k", &1).unwrap();
        let names: Vec<_> =
            fs::read_dir(parent.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(names.iter().any(|name| name.to_string_lossy().contains("corrupt-")), "{names:?}");
    }
}
