//! Secrets on the disk: a directory per user and a file per secret. A file is replaced whole or not at all, and a file
//! that cannot be read hides no other. Nobody is asked here who he is: `owner` is what the kernel told the daemon.

use crate::{
    Error, MasterKey, Name, Named, Purpose, Result, at,
    grant::{Grant, Terms},
    learned::{self, Learned},
    purpose::is_private_key,
    record::{Content, MOST_PREVIOUS, Record},
};
use jiff::Timestamp;
use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
};
use serde::Serialize;
use std::{
    ffi::OsStr,
    fs::{self, DirBuilder, File},
    io::{self, Read as _, Write as _},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};
use zeroize::Zeroizing;

/// Of one value, in bytes: room for any key or certificate chain, and little enough to look for.
pub const LONGEST_VALUE: usize = 65_536;

/// Of one user: all of them are looked for in all that is written for him.
const MOST_SECRETS: usize = 64;

/// No file of ours is longer: all values, tokens of a grant that come after values of before, and a header, as many hosts as there
/// may be included.
const LONGEST_FILE: u64 = ((MOST_PREVIOUS + 1) * LONGEST_VALUE + (512 << 10)) as u64;

/// What becomes of a secret that is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// It stays, and nothing is set.
    Fail,
    /// It gets the new value and the new purpose; its values of before are remembered as after a rotation.
    Replace,
}

/// What may be shown of a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Metadata {
    /// Its name.
    pub name: Name,
    /// 1 for the first value, one more for each that came after it.
    pub version: u64,
    /// When the first value was set.
    pub created_at: Timestamp,
    /// When the newest value was set.
    pub updated_at: Timestamp,
    /// What it is for.
    #[serde(flatten)]
    pub purpose: Purpose,
    /// Where the value is, if it is kept elsewhere.
    pub link: Option<String>,
    /// Where the next value comes from, if it is an access token.
    pub grant: Option<Terms>,
    /// Whether the newest value is one: what Git then uses for remotes by SSH.
    pub is_private_key: bool,
    /// Of the newest value; zero where it is kept elsewhere.
    pub size_bytes: usize,
}

/// What could be read of somebody's secrets, and what could not.
#[derive(Debug)]
pub struct Readable<T> {
    /// By name.
    pub found: Vec<T>,
    /// One `Damaged` or `Io` for each secret that is there and cannot be read.
    pub damaged: Vec<Error>,
}

/// Everybody's secrets. All methods may be called from any thread; readers never wait for writers. One process at a
/// time is meant to write.
#[derive(Debug)]
pub struct Secrets {
    directory: PathBuf,
    key: MasterKey,
    /// Held from the look at what is there until what comes in its place is on the disk.
    writer: Mutex<()>,
}

impl Secrets {
    /// Opens the store in `directory`, which is made with mode 0700 if it is not there.
    ///
    /// # Errors
    /// `Io`.
    pub fn open(directory: &Path, key: MasterKey) -> Result<Self> {
        make_directory(directory)?;
        Ok(Self { directory: directory.to_owned(), key, writer: Mutex::new(()) })
    }

    /// Gives `owner` a secret: 1 to [`LONGEST_VALUE`] bytes, and what they are for.
    ///
    /// # Errors
    /// `Exists`, unless it may be replaced; `Invalid` for a value or a purpose that is none; `Damaged` when what is there
    /// cannot be read: delete it first, as its values of before would be forgotten; `Io`, and then nothing changed.
    pub fn set(
        &self,
        owner: u32,
        name: &Name,
        value: &[u8],
        purpose: &Purpose,
        existing: Existing,
    ) -> Result<Metadata> {
        check_value(value)?;
        let value = Zeroizing::new(value.to_vec());
        self.put(owner, name, Content { value, link: None, grant: None }, purpose, existing)
    }

    /// Gives `owner` a secret whose value is kept elsewhere, at `link`.
    ///
    /// # Errors
    /// Those of [`Secrets::set`].
    pub fn link(
        &self,
        owner: u32,
        name: &Name,
        link: &str,
        hosts: &[String],
        existing: Existing,
    ) -> Result<Metadata> {
        let purpose = Purpose { hosts: hosts.to_vec(), git: None };
        let content = Content { value: Zeroizing::default(), link: Some(link.to_owned()), grant: None };
        self.put(owner, name, content, &purpose, existing)
    }

    pub(crate) fn put(
        &self,
        owner: u32,
        name: &Name,
        content: Content,
        purpose: &Purpose,
        existing: Existing,
    ) -> Result<Metadata> {
        purpose.check()?;
        let _writer = self.lock();
        let now = Timestamp::now();
        let record = match (self.find(owner, name)?, existing) {
            (None, _) if self.list(owner)?.found.len() >= MOST_SECRETS => {
                return Err(Error::Invalid(format!("a user has at most {MOST_SECRETS} secrets")));
            }
            (None, _) => {
                let Content { value, link, grant } = content;
                Record {
                    version: 1,
                    created_at: now,
                    updated_at: now,
                    purpose: purpose.clone(),
                    link,
                    grant,
                    value,
                    previous: Vec::new(),
                }
            }
            (Some(_), Existing::Fail) => return Err(Error::Exists(name.clone())),
            (Some(mut record), Existing::Replace) => {
                record.replace(content, now);
                record.purpose = purpose.clone();
                record
            }
        };
        self.write(owner, name, &record)
    }

    /// Gives a secret a new value. The last four before it stay, encrypted, so that they are still found in what is
    /// written.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` for a value that is none, and for a secret that is kept elsewhere; `Damaged`; `Io`, and then nothing
    /// changed.
    pub fn rotate(&self, owner: u32, name: &Name, value: &[u8]) -> Result<Metadata> {
        check_value(value)?;
        let _writer = self.lock();
        let mut record = self.read(owner, name)?;
        refuse_elsewhere(name, &record)?;
        record.advance(value, Timestamp::now());
        self.write(owner, name, &record)
    }

    /// Forgets a secret and its values of before; also one that cannot be read. Its blocks on the disk are not
    /// overwritten: they are encrypted, and few disks write in place.
    ///
    /// # Errors
    /// `NotFound`, `Io`.
    pub fn delete(&self, owner: u32, name: &Name) -> Result<()> {
        let _writer = self.lock();
        let path = self.path(owner, name);
        match fs::remove_file(&path) {
            Ok(()) => sync_directory(&self.home(owner)),
            Err(err) if err.kind() == io::ErrorKind::NotFound => Err(Error::NotFound(name.clone())),
            Err(err) => Err(at(path)(err)),
        }
    }

    /// Remembers values that are kept elsewhere and that a command of `owner` is about to get, each with the name to show
    /// in its place; says whether any was new. The newest 256 are remembered, in at most 1 MiB.
    ///
    /// # Errors
    /// `Invalid` for a value that is longer than [`LONGEST_VALUE`], or for more than can be remembered; `Io`. Then nothing changed,
    /// and the command must not get them.
    pub fn learn(&self, owner: u32, values: &[Named]) -> Result<bool> {
        learned::check(values)?;
        let _writer = self.lock();
        // What cannot be read cannot be saved either.
        let mut learned = match self.read_learned(owner) {
            Err(Error::Damaged { .. }) => Learned::default(),
            other => other?,
        };
        let is_new = learned.add(values);
        if is_new {
            let path = self.home(owner).join(LEARNED);
            self.write_file(owner, &path, &learned.seal(&self.key, owner)?, learned::LONGEST_FILE)?;
        }
        Ok(is_new)
    }

    /// What may be shown of one secret.
    ///
    /// # Errors
    /// `NotFound`, `Damaged`, `Io`.
    pub fn metadata(&self, owner: u32, name: &Name) -> Result<Metadata> {
        Ok(show(name, &self.read(owner, name)?))
    }

    /// What may be shown of all secrets of `owner`.
    ///
    /// # Errors
    /// `Io` when the directory cannot be read.
    pub fn list(&self, owner: u32) -> Result<Readable<Metadata>> {
        let mut all = self.collect(owner, |name, record| vec![show(&name, &record)])?;
        all.damaged.extend(self.read_learned(owner).err());
        Ok(all)
    }

    /// The newest value of a secret.
    ///
    /// # Errors
    /// `Invalid` for one that is kept elsewhere, `NotFound`, `Damaged`, `Io`.
    pub fn value(&self, owner: u32, name: &Name) -> Result<Zeroizing<Vec<u8>>> {
        let record = self.read(owner, name)?;
        refuse_elsewhere(name, &record)?;
        Ok(record.value)
    }

    /// What may be shown of a secret, and its newest value unless it is kept elsewhere or is an access token: of one file, as it was at one
    /// moment.
    ///
    /// # Errors
    /// `NotFound`, `Damaged`, `Io`.
    pub fn reveal(&self, owner: u32, name: &Name) -> Result<(Metadata, Option<Zeroizing<Vec<u8>>>)> {
        let record = self.read(owner, name)?;
        let metadata = show(name, &record);
        let is_here = record.link.is_none() && record.grant.is_none();
        Ok((metadata, is_here.then_some(record.value)))
    }

    /// Who has secrets.
    ///
    /// # Errors
    /// `Io` when the directory cannot be read.
    pub fn owners(&self) -> Result<Vec<u32>> {
        let mut owners = Vec::new();
        for entry in fs::read_dir(&self.directory).map_err(at(&self.directory))? {
            let file = entry.map_err(at(&self.directory))?.file_name();
            owners.extend(file.to_str().and_then(|text| text.parse::<u32>().ok()));
        }
        Ok(owners)
    }

    /// All values of all secrets of `owner`, newest first, those of before and those that were learned included, and all that is
    /// secret of a grant: what a scanner looks for.
    ///
    /// # Errors
    /// `Io` when the directory cannot be read.
    pub fn all_values(&self, owner: u32) -> Result<Readable<Named>> {
        let mut all = self.collect(owner, |name, record| {
            let hidden: Vec<_> = record.grant.iter().flat_map(Grant::hidden).cloned().collect();
            let values = std::iter::once(record.value).chain(record.previous).chain(hidden);
            values.map(|value| (name.to_string(), value)).collect()
        })?;
        match self.read_learned(owner) {
            Ok(learned) => all.found.extend(learned.into_values()),
            Err(err) => all.damaged.push(err),
        }
        Ok(all)
    }

    fn collect<T>(&self, owner: u32, take: impl Fn(Name, Record) -> Vec<T>) -> Result<Readable<T>> {
        let mut readable = Readable { found: Vec::new(), damaged: Vec::new() };
        for file in self.files(owner)? {
            let Some(name) = file.to_str().and_then(|text| Name::parse(text).ok()) else {
                readable.damaged.push(Error::Damaged {
                    name: file.to_string_lossy().into_owned(),
                    reason: "its file has no name of a secret; somebody put it there".to_owned(),
                });
                continue;
            };
            match self.find(owner, &name) {
                Ok(Some(record)) => readable.found.extend(take(name, record)),
                // Deleted since the directory was read.
                Ok(None) => {}
                Err(err) => readable.damaged.push(err),
            }
        }
        Ok(readable)
    }

    /// Names of files, sorted, without those that a write in progress or one cut short left.
    fn files(&self, owner: u32) -> Result<Vec<std::ffi::OsString>> {
        let home = self.home(owner);
        let entries = match fs::read_dir(&home) {
            Ok(entries) => entries,
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(err) => return Err(at(home)(err)),
        };
        let mut files = Vec::new();
        for entry in entries {
            let file = entry.map_err(at(&home))?.file_name();
            if !file.as_encoded_bytes().starts_with(TEMPORARY.as_bytes()) && file != LEARNED {
                files.push(file);
            }
        }
        files.sort();
        Ok(files)
    }

    pub(crate) fn read(&self, owner: u32, name: &Name) -> Result<Record> {
        self.find(owner, name)?.ok_or_else(|| Error::NotFound(name.clone()))
    }

    fn find(&self, owner: u32, name: &Name) -> Result<Option<Record>> {
        let damaged = |reason: &str| Error::Damaged { name: name.to_string(), reason: reason.to_owned() };
        let bytes = read_file(&self.path(owner, name), LONGEST_FILE, damaged)?;
        bytes.map(|bytes| Record::open(&bytes, &self.key, owner, name)).transpose()
    }

    pub(crate) fn write(&self, owner: u32, name: &Name, record: &Record) -> Result<Metadata> {
        let sealed = record.seal(&self.key, owner, name)?;
        self.write_file(owner, &self.path(owner, name), &sealed, LONGEST_FILE)?;
        Ok(show(name, record))
    }

    fn write_file(&self, owner: u32, path: &Path, sealed: &[u8], longest: u64) -> Result<()> {
        let length = sealed.len();
        if length as u64 > longest {
            return Err(Error::Invalid(format!(
                "what is to be kept has {length} bytes, and at most {longest} are read back"
            )));
        }
        let home = self.home(owner);
        make_directory(&home)?;
        // Made with O_EXCL and mode 0600 (tempfile).
        let mut file = tempfile::Builder::new().prefix(TEMPORARY).tempfile_in(&home).map_err(at(&home))?;
        file.write_all(sealed).and_then(|()| file.as_file().sync_all()).map_err(at(path))?;
        file.persist(path).map_err(|err| at(path)(err.error))?;
        sync_directory(&home)
    }

    fn read_learned(&self, owner: u32) -> Result<Learned> {
        let damaged = |reason: &str| Error::Damaged {
            name: LEARNED.to_owned(),
            reason: format!(
                "{reason}; values of files and vaults that commands were given are not looked for until they are given again"
            ),
        };
        let bytes = read_file(&self.home(owner).join(LEARNED), learned::LONGEST_FILE, damaged)?;
        let Some(bytes) = bytes else { return Ok(Learned::default()) };
        Learned::open(&bytes, &self.key, owner)
            .ok_or_else(|| damaged("its file was altered, or is that of another user or master key"))
    }

    /// What encrypts.
    pub(crate) const fn key(&self) -> &MasterKey {
        &self.key
    }

    fn home(&self, owner: u32) -> PathBuf {
        self.directory.join(owner.to_string())
    }

    fn path(&self, owner: u32, name: &Name) -> PathBuf {
        self.home(owner).join(name.as_str())
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, ()> {
        // A panic while holding it leaves the old file or the new one.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// No name of a secret begins with a dot.
const TEMPORARY: &str = ".new-";
const LEARNED: &str = ".learned";

/// `None` if there is no file; what is wrong with one becomes an error by `damaged`.
fn read_file(path: &Path, longest: u64, damaged: impl Fn(&str) -> Error) -> Result<Option<Vec<u8>>> {
    // What is no regular file must neither make this wait (fifo(7)) nor lead elsewhere.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT) => return Ok(None),
        Err(Errno::LOOP) => return Err(damaged("its file is a symbolic link; delete it")),
        Err(err) => return Err(at(path)(err.into())),
    };
    if !file.metadata().map_err(at(path))?.is_file() {
        return Err(damaged("its file is no regular file; remove it"));
    }
    let mut bytes = Vec::new();
    file.take(longest + 1).read_to_end(&mut bytes).map_err(at(path))?;
    if bytes.len() as u64 > longest {
        return Err(damaged("its file is longer than that of any secret; restore it, or delete it"));
    }
    Ok(Some(bytes))
}

pub(crate) fn show(name: &Name, record: &Record) -> Metadata {
    Metadata {
        name: name.clone(),
        version: record.version,
        created_at: record.created_at,
        updated_at: record.updated_at,
        purpose: record.purpose.clone(),
        link: record.link.clone(),
        grant: record.grant.as_ref().map(|grant| grant.terms.clone()),
        is_private_key: is_private_key(&record.value),
        size_bytes: record.value.len(),
    }
}

/// # Errors
/// `Invalid` for a secret that is kept elsewhere, and for an access token.
fn refuse_elsewhere(name: &Name, record: &Record) -> Result<()> {
    if let Some(Grant { terms: Terms { provider, .. }, .. }) = &record.grant {
        return Err(Error::Invalid(format!(
            "`{name}` is an access token of `{provider}`: commands alone get it, and its values come from there"
        )));
    }
    match &record.link {
        None => Ok(()),
        Some(link) => Err(Error::Invalid(format!(
            "the value of `{name}` is kept elsewhere, at `{link}`: change it there"
        ))),
    }
}

fn check_value(value: &[u8]) -> Result<()> {
    if (1..=LONGEST_VALUE).contains(&value.len()) {
        return Ok(());
    }
    let length = value.len();
    Err(Error::Invalid(format!("a secret has 1 to {LONGEST_VALUE} bytes, and this value has {length}")))
}

fn make_directory(directory: &Path) -> Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(at(directory))?;
    match directory.parent() {
        Some(parent) if parent != OsStr::new("") => sync_directory(parent),
        Some(_) | None => Ok(()),
    }
}

fn sync_directory(directory: &Path) -> Result<()> {
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(at(directory))
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
