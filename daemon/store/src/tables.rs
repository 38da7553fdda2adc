//! sled behind typed tables. Everything here can be rebuilt: a value that does not check is treated as absent,
//! and a database that does not open is set aside.

use crate::{
    Error, Result, at,
    database::{Database, Unstored},
};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    io::{self, BufRead as _, BufReader, Read, Write},
    marker::PhantomData,
    path::Path,
    sync::Arc,
};

/// The layout of values: version byte, CRC-32 of the JSON (little-endian), JSON.
const VERSION: u8 = 1;
const HEADER_BYTES: usize = 5;

/// The open database.
#[derive(Clone)]
pub struct Tables {
    database: Arc<Database>,
}

impl Tables {
    /// Opens the database in `directory`. One that is damaged is renamed to `<directory>.corrupt-<time>` and
    /// replaced by an empty one.
    ///
    /// # Errors
    /// When the disk is full or refuses otherwise.
    pub fn open(directory: &Path) -> Result<Self> {
        Ok(Self { database: Arc::new(Database::open(directory)?) })
    }

    /// The table of that name.
    #[must_use]
    pub fn table<V>(&self, name: &'static str) -> Table<V> {
        Table { database: self.database.clone(), name, value: PhantomData }
    }

    /// Writes every row of every table, each as it is at one moment: the lengths in bytes of the table's name, of the key and of the
    /// value, 32 bits each, little-endian, then these three.
    ///
    /// # Errors
    /// When they cannot be read, or what `out` says.
    pub fn export(&self, out: &mut dyn Write) -> Result<()> {
        for table in self.database.names() {
            for (key, value) in self.database.iter(&table) {
                let parts = [table.as_bytes(), key.as_bytes(), &value];
                for part in parts {
                    let length = u32::try_from(part.len()).unwrap_or(u32::MAX);
                    out.write_all(&length.to_le_bytes()).map_err(at("the rows"))?;
                }
                for part in parts {
                    out.write_all(part).map_err(at("the rows"))?;
                }
            }
        }
        Ok(())
    }

    /// Stores the rows that [`Tables::export`] wrote, over those of the same key.
    ///
    /// # Errors
    /// When they are cut off or none, or cannot be stored.
    pub fn import(&self, rows: &mut dyn Read) -> Result<()> {
        let mut rows = BufReader::new(rows);
        while !rows.fill_buf().map_err(at("the rows"))?.is_empty() {
            let mut length = [[0; 4]; 3];
            for bytes in &mut length {
                rows.read_exact(bytes).map_err(at("the rows"))?;
            }
            let [table, key, value] = length.map(|bytes| {
                let length = u64::from(u32::from_le_bytes(bytes));
                let mut part = Vec::new();
                let read = rows.by_ref().take(length).read_to_end(&mut part);
                let is_whole = |read: usize| if read as u64 == length { Ok(part) } else { Err(cut_off()) };
                read.and_then(is_whole).map_err(at("the rows"))
            });
            let text = |bytes: Vec<u8>| String::from_utf8(bytes).map_err(|_| at("the rows")(cut_off()));
            self.database.write(&text(table?)?, &text(key?)?, Some(&value?), Unstored::Kept)?;
        }
        Ok(())
    }

    /// Makes everything written so far survive a power cut.
    ///
    /// # Errors
    /// When the disk is full or refuses otherwise.
    pub fn sync(&self) -> Result<()> {
        self.database.sync(None)
    }
}

fn cut_off() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "cut off, or no rows")
}

/// Values of one type by text key. While the disk takes no writes they are kept in memory.
#[derive(Clone)]
pub struct Table<V> {
    database: Arc<Database>,
    name: &'static str,
    value: PhantomData<fn() -> V>,
}

impl<V: Serialize + DeserializeOwned> Table<V> {
    /// The value under `key`; a damaged one is absent.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn get(&self, key: &str) -> Result<Option<V>> {
        Ok(self.database.read(self.name, key)?.and_then(|bytes| decode(key, &bytes)))
    }

    /// Stores a value, or keeps it in memory until it can be stored.
    ///
    /// # Errors
    /// When even memory has no room for it.
    pub fn put(&self, key: &str, value: &V) -> Result<()> {
        self.database.write(self.name, key, Some(&encode(value)?), Unstored::Kept)?;
        Ok(())
    }

    /// Stores a value that nobody misses: dropped if the disk takes no writes.
    ///
    /// # Errors
    /// When it cannot be encoded.
    pub fn offer(&self, key: &str, value: &V) -> Result<()> {
        self.database.write(self.name, key, Some(&encode(value)?), Unstored::Dropped)?;
        Ok(())
    }

    /// Stores a value that survives a power cut from then on.
    ///
    /// # Errors
    /// When that cannot be promised; then nothing has changed.
    pub fn put_durably(&self, key: &str, value: &V) -> Result<()> {
        let before = self.database.read(self.name, key)?;
        self.write_durably(key, Some(&encode(value)?)).inspect_err(|_| {
            // Where not even that can be kept, the value was not either.
            let _ = self.database.write(self.name, key, before.as_deref(), Unstored::Kept);
        })
    }

    /// Removes a value.
    ///
    /// # Errors
    /// When even memory has no room for that.
    pub fn remove(&self, key: &str) -> Result<()> {
        self.database.write(self.name, key, None, Unstored::Kept)?;
        Ok(())
    }

    /// Removes a value for good.
    ///
    /// # Errors
    /// When that cannot be promised; then it is gone until a restart, and for good once the disk takes writes again.
    pub fn remove_durably(&self, key: &str) -> Result<()> {
        self.write_durably(key, None)
    }

    fn write_durably(&self, key: &str, bytes: Option<&[u8]>) -> Result<()> {
        let write = || {
            let epoch = self.database.write(self.name, key, bytes, Unstored::Kept)?;
            self.database.promise(epoch)
        };
        // What fails the first time may find the database opened again the second time.
        write().or_else(|_| write())
    }

    /// Changes a value atomically; returns the new one.
    ///
    /// # Errors
    /// When the old one cannot be read.
    pub fn update(&self, key: &str, change: impl Fn(Option<V>) -> Option<V>) -> Result<Option<V>> {
        let after = self.database.update(self.name, key, |old| {
            let new = change(old.and_then(|bytes| decode(key, bytes)));
            // A value that cannot be encoded stays as it was.
            new.map_or(Ok(None), |value| encode(&value).map(Some)).unwrap_or_else(|_| old.map(<[u8]>::to_vec))
        })?;
        Ok(after.and_then(|bytes| decode(key, &bytes)))
    }

    /// All readable entries in order of key.
    pub fn iter(&self) -> impl Iterator<Item = (String, V)> + use<V> {
        self.database.iter(self.name).filter_map(|(key, bytes)| {
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
    use crate::promises::{PROMISES, Promises};
    use std::fs;

    #[test]
    fn values_come_back_and_damaged_ones_do_not() {
        let directory = tempfile::tempdir().unwrap();
        let tables = Tables::open(directory.path()).unwrap();
        let table = tables.table::<Vec<u32>>("numbers");
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
        let mut bytes = table.database.read("numbers", "a").unwrap().unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        table.database.write("numbers", "a", Some(&bytes), Unstored::Kept).unwrap();
        assert_eq!(table.get("a").unwrap(), None);
        assert_eq!(table.iter().count(), 0);
    }

    #[test]
    fn after_a_failure_it_is_opened_again_with_what_was_synced_and_what_came_later() {
        let directory = tempfile::tempdir().unwrap();
        let tables = Tables::open(directory.path()).unwrap();
        let table = tables.table::<u32>("numbers");
        table.put_durably("synced", &1).unwrap();
        let reason = || sled::Error::Io(io::Error::other("on purpose"));
        let epoch = table.database.write("numbers", "before", Some(&[]), Unstored::Kept).unwrap();
        let reader = table.iter();
        table.database.fail(epoch, reason());
        table.put("later", &2).unwrap();
        table.offer("offered", &3).unwrap();
        // It was written before, and may be lost with what failed.
        assert!(table.database.sync(Some(epoch)).is_err());
        let seen = || table.iter().map(|(key, _)| key).collect::<Vec<_>>();
        assert_eq!(seen(), ["later", "synced"]);
        // Whoever still reads keeps the database from being closed.
        assert!(tables.sync().is_err());
        assert_eq!(reader.count(), 1);
        tables.sync().unwrap();
        assert_eq!(seen(), ["later", "synced"]);
        table.put_durably("last", &4).unwrap();
        drop((table, tables));
        // Threads of sled hold the lock for moments.
        let file = fs::File::open(directory.path().join("db")).unwrap();
        rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).unwrap();
        drop(file);
        let table = Tables::open(directory.path()).unwrap().table::<u32>("numbers");
        assert_eq!(
            table.iter().collect::<Vec<_>>(),
            [("last".into(), 4), ("later".into(), 2), ("synced".into(), 1)]
        );
    }

    #[test]
    fn what_was_promised_is_missed() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("state");
        let tables = Tables::open(&directory).unwrap();
        for number in 0..3 {
            tables.table::<u32>("t").put_durably(&number.to_string(), &number).unwrap();
        }
        let missed = |stored: Option<&[u8]>| Promises::beside(&directory).missed(stored);
        assert_eq!(missed(tables.database.read(PROMISES, PROMISES).unwrap().as_deref()), 0);
        assert_eq!((missed(Some(&2_u64.to_le_bytes())), missed(None)), (1, 3));
        // It is said once.
        assert_eq!(Promises::beside(&directory).compare(Some(&2_u64.to_le_bytes())), 2);
        assert_eq!(missed(Some(&2_u64.to_le_bytes())), 0);
        fs::write(parent.path().join("state.promised"), "damaged").unwrap();
        assert_eq!(missed(None), 0);
    }

    #[test]
    fn a_damaged_database_is_set_aside() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("state");
        drop(Tables::open(&directory).unwrap());
        fs::remove_file(directory.join("db")).unwrap();
        fs::create_dir(directory.join("db")).unwrap();
        let tables = Tables::open(&directory).unwrap();
        tables.table::<u32>("t").put("k", &1).unwrap();
        let names: Vec<_> =
            fs::read_dir(parent.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(names.iter().any(|name| name.to_string_lossy().contains("corrupt-")), "{names:?}");
    }
}
