//! An append-only, hash-chained record in numbered segments, with group commit.
//!
//! A record is *written* when `append` returns: it survives the death of the process. It is *synced* once
//! `sync` returns: it survives a power cut. Records nobody waits for are synced within 20 ms.

use crate::{
    Error, Result, Verdict, at,
    segment::{self, sequence_of},
    verify,
};
use rustix::{
    fs::{FallocateFlags, fallocate},
    io::Errno,
};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::watch;

/// How long a written record may stay unsynced.
const SYNC_WITHIN: Duration = Duration::from_millis(20);

/// Room on the disk that is taken in advance; enough for what is recorded of 500 calls, when half of it is left.
const ROOM_BYTES: u64 = 1 << 20;

/// Where a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Counts the records of the ledger from 1.
    pub sequence: u64,
    segment: u64,
    offset: u64,
    length: u32,
}

/// One record read back.
#[derive(Clone, Debug)]
pub struct Record {
    /// Where it is.
    pub position: Position,
    /// One object with `seq` and `at` first.
    pub json: Vec<u8>,
    /// As written before it.
    pub hash: String,
}

/// An open ledger. Clones share it; when the last is dropped, what is written is synced and its thread ends.
#[derive(Clone)]
pub struct Ledger(Arc<Handle>);

struct Handle(Arc<Shared>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.wake.notify_one();
    }
}

struct Shared {
    directory: PathBuf,
    segment_bytes: u64,
    writer: Mutex<Writer>,
    wake: Condvar,
    synced: watch::Sender<std::result::Result<u64, String>>,
    /// The newest sequence written, for followers.
    written: watch::Sender<u64>,
}

struct Writer {
    file: Arc<File>,
    segment: u64,
    length: u64,
    /// Up to here the disk has room for this segment.
    allocated: u64,
    sequence: u64,
    head: String,
    /// Something was written since the last sync began.
    is_dirty: bool,
    /// Somebody waits for a sync right now.
    urgent: bool,
    closed: bool,
}

impl Ledger {
    /// Opens or creates the ledger in `directory`. A torn last line, left by a crash in mid-write, is moved to a
    /// file beside the segment, and a record of kind `recovered` says so.
    ///
    /// # Errors
    /// What the filesystem says.
    pub fn open(directory: &Path, segment_bytes: u64) -> Result<Self> {
        fs::create_dir_all(directory).map_err(at(directory))?;
        let numbers = segment::list(directory)?;
        let current = numbers.last().copied().unwrap_or(1);
        let mut head = segment::GENESIS.to_owned();
        let mut sequence = 0;
        // The newest record may be in the segment before, if the newest segment is empty.
        for number in numbers.iter().rev().skip(1) {
            if let Some((last, hash)) = last_record(directory, *number)? {
                (sequence, head) = (last, hash);
                break;
            }
        }
        let path = segment::path(directory, current);
        let tail = if path.exists() { scan_tail(&path)? } else { Tail::default() };
        if let Some((last, hash)) = tail.last {
            (sequence, head) = (last, hash);
        }
        let file = open_segment(&path)?;
        if tail.torn_bytes > 0 {
            quarantine(&path, &file, tail.whole_bytes)?;
        }
        sync_directory(directory)?;
        let writer = Writer {
            file: Arc::new(file),
            segment: current,
            length: tail.whole_bytes,
            allocated: 0,
            sequence,
            head,
            is_dirty: false,
            urgent: false,
            closed: false,
        };
        let shared = Arc::new(Shared {
            directory: directory.to_owned(),
            segment_bytes,
            writer: Mutex::new(writer),
            wake: Condvar::new(),
            synced: watch::Sender::new(Ok(sequence)),
            written: watch::Sender::new(sequence),
        });
        start_syncer(shared.clone())?;
        let ledger = Self(Arc::new(Handle(shared)));
        if tail.torn_bytes > 0 {
            let note = format!(r#"{{"kind":"recovered","dropped_bytes":{}}}"#, tail.torn_bytes);
            ledger.append(note.as_bytes())?;
        }
        Ok(ledger)
    }

    /// Makes sure that the disk has room for the records of what is about to happen.
    ///
    /// # Errors
    /// `Io` when it has not.
    pub fn make_room(&self) -> Result<()> {
        let mut writer = self.lock();
        if writer.length + ROOM_BYTES / 2 <= writer.allocated {
            return Ok(());
        }
        match fallocate(&*writer.file, FallocateFlags::KEEP_SIZE, writer.length, ROOM_BYTES) {
            Ok(()) => writer.allocated = writer.length + ROOM_BYTES,
            // fallocate(2): not every filesystem can promise room.
            Err(Errno::OPNOTSUPP) => {}
            Err(err) => return Err(at(segment::path(&self.shared().directory, writer.segment))(err.into())),
        }
        Ok(())
    }

    /// Writes one record: a non-empty JSON object, to which `seq` and `at` are added.
    ///
    /// # Errors
    /// `Io` when the disk refuses; then nothing of the record remains. `Stopped` after a failed sync.
    pub fn append(&self, object: &[u8]) -> Result<Position> {
        let members = object
            .strip_prefix(b"{")
            .filter(|rest| rest.len() > 1)
            .ok_or_else(|| Error::Corrupt("a ledger record must be a non-empty JSON object".into()))?;
        let mut writer = self.lock();
        if let Err(reason) = &*self.shared().synced.borrow() {
            return Err(Error::Stopped(reason.clone()));
        }
        // Before the record: one that is refused must leave nothing behind.
        if writer.length >= self.shared().segment_bytes {
            self.rotate(&mut writer)?;
        }
        let sequence = writer.sequence + 1;
        let mut json = format!(r#"{{"seq":{sequence},"at":"{}","#, now()).into_bytes();
        json.extend_from_slice(members);
        let hash = segment::chain(&writer.head, &json);
        let mut line = Vec::with_capacity(json.len() + segment::PREFIX_BYTES + 1);
        line.extend_from_slice(hash.as_bytes());
        line.push(b' ');
        line.extend_from_slice(&json);
        line.push(b'\n');

        let path = segment::path(&self.shared().directory, writer.segment);
        let offset = writer.length;
        if let Err(err) = (&*writer.file).write_all(&line) {
            // Half a line must not stay: the next append would glue its record to it. If even that fails,
            // the next open finds a torn line and quarantines it.
            if let Err(cut) = writer.file.set_len(offset) {
                tracing::error!(error = %cut, "a partial ledger line could not be removed");
            }
            writer.allocated = 0;
            return Err(at(path)(err));
        }
        writer.length += line.len() as u64;
        writer.sequence = sequence;
        writer.head = hash;
        let position = Position {
            sequence,
            segment: writer.segment,
            offset,
            length: u32::try_from(line.len()).unwrap_or(u32::MAX),
        };
        self.shared().written.send_replace(sequence);
        // Once it is awake, the syncer waits for its time, not for more records.
        let was_clean = !std::mem::replace(&mut writer.is_dirty, true);
        drop(writer);
        if was_clean {
            self.shared().wake.notify_one();
        }
        Ok(position)
    }

    /// Waits until the record at `position` survives a power cut. Cancel-safe.
    ///
    /// # Errors
    /// `Stopped` when a sync failed.
    pub async fn sync(&self, position: Position) -> Result<()> {
        {
            let mut writer = self.lock();
            writer.urgent = true;
            self.shared().wake.notify_one();
        }
        let mut synced = self.shared().synced.subscribe();
        let reached = synced
            .wait_for(|state| state.as_ref().map_or(true, |sequence| *sequence >= position.sequence))
            .await
            .map_err(|_| Error::Stopped("the ledger was closed".into()))?;
        reached.as_ref().map(|_| ()).map_err(|reason| Error::Stopped(reason.clone()))
    }

    /// Announces the newest written sequence.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.shared().written.subscribe()
    }

    /// The number of records.
    #[must_use]
    pub fn len(&self) -> u64 {
        *self.shared().written.borrow()
    }

    /// Whether there is no record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads one record back.
    ///
    /// # Errors
    /// `Corrupt` if the bytes there are no record.
    pub fn read(&self, position: Position) -> Result<Vec<u8>> {
        let path = segment::path(&self.shared().directory, position.segment);
        let file = File::open(&path).map_err(at(&path))?;
        let mut bytes = vec![0; position.length as usize];
        file.read_exact_at(&mut bytes, position.offset).map_err(at(&path))?;
        let line = segment::Line { offset: position.offset, bytes };
        let (_, json) = line
            .parts()
            .ok_or_else(|| Error::Corrupt(format!("{}: no record at {}", path.display(), position.offset)))?;
        Ok(json.to_vec())
    }

    /// All whole records, oldest first. Lines that are no records are skipped; `verify` reports them.
    ///
    /// # Errors
    /// What the filesystem says.
    pub fn records(&self) -> Result<impl Iterator<Item = Record> + use<>> {
        let directory = self.shared().directory.clone();
        let numbers = segment::list(&directory)?;
        Ok(numbers.into_iter().flat_map(move |number| {
            // A segment that vanished meanwhile was dropped by retention.
            let lines = segment::lines(&segment::path(&directory, number)).ok();
            lines.into_iter().flatten().filter_map(move |line| {
                let line = line.ok()?;
                let (hash, json) = line.parts()?;
                let position = Position {
                    sequence: sequence_of(json)?,
                    segment: number,
                    offset: line.offset,
                    length: u32::try_from(line.bytes.len()).ok()?,
                };
                Some(Record { position, json: json.to_vec(), hash: hash.to_owned() })
            })
        }))
    }

    /// Recomputes the chain.
    ///
    /// # Errors
    /// What the filesystem says; a broken chain is a verdict, not an error.
    pub fn verify(&self) -> Result<Verdict> {
        // Nothing is appended meanwhile, or the newest line could be seen half-written.
        let _writer = self.lock();
        verify::directory(&self.shared().directory)
    }

    /// Deletes whole segments older than the one that holds `oldest_kept`, never the newest.
    ///
    /// # Errors
    /// What the filesystem says.
    pub fn drop_before(&self, oldest_kept: Position) -> Result<()> {
        for number in segment::list(&self.shared().directory)? {
            if number < oldest_kept.segment {
                let path = segment::path(&self.shared().directory, number);
                fs::remove_file(&path).map_err(at(&path))?;
            }
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Writer> {
        self.shared().lock()
    }

    fn shared(&self) -> &Shared {
        &self.0.0
    }

    fn rotate(&self, writer: &mut Writer) -> Result<()> {
        let directory = &self.shared().directory;
        if let Err(err) = writer.file.sync_data() {
            // The kernel reports such a failure once; the syncer would never hear of it.
            let _ = self.shared().synced.send_replace(Err(err.to_string()));
            return Err(at(segment::path(directory, writer.segment))(err));
        }
        // The room that this segment does not need; without it nothing but that room is lost.
        let _ = writer.file.set_len(writer.length);
        let path = segment::path(directory, writer.segment + 1);
        writer.file = Arc::new(open_segment(&path)?);
        writer.segment += 1;
        writer.length = 0;
        writer.allocated = 0;
        sync_directory(directory)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Writer> {
        // A panic while holding it leaves the writer as it was before the append.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn start_syncer(shared: Arc<Shared>) -> Result<()> {
    let directory = shared.directory.clone();
    std::thread::Builder::new()
        .name("ledger-sync".into())
        .spawn(move || while sync_once(&shared) {})
        .map_err(at(directory))?;
    Ok(())
}

/// Waits for something to sync and syncs it; false when the ledger is closed or broken.
fn sync_once(shared: &Shared) -> bool {
    let guard = shared.lock();
    let idle = |writer: &mut Writer| !writer.is_dirty && !writer.urgent && !writer.closed;
    let Ok(guard) = shared.wake.wait_while(guard, idle) else {
        return false;
    };
    // Something is unsynced: give others a moment to join, unless somebody waits.
    let calm = |writer: &mut Writer| !writer.urgent && !writer.closed;
    let Ok((mut guard, _)) = shared.wake.wait_timeout_while(guard, SYNC_WITHIN, calm) else {
        return false;
    };
    guard.urgent = false;
    guard.is_dirty = false;
    let (file, sequence, closed) = (guard.file.clone(), guard.sequence, guard.closed);
    drop(guard);
    // After a failed fsync the kernel may have dropped the dirty pages: trying again would report success
    // for data that is gone. So the ledger stops for good.
    let result = file.sync_data().map(|()| sequence).map_err(|err| err.to_string());
    let is_broken = result.is_err();
    if let Err(reason) = &result {
        tracing::error!(reason, "the ledger cannot be synced; mutating calls are refused from now on");
    }
    shared.synced.send_modify(|state| {
        // A failure is for good.
        if state.is_ok() {
            *state = result;
        }
    });
    !closed && !is_broken
}

#[derive(Default)]
struct Tail {
    whole_bytes: u64,
    torn_bytes: u64,
    last: Option<(u64, String)>,
}

/// Finds the end of the last whole record of a segment.
fn scan_tail(path: &Path) -> Result<Tail> {
    let mut tail = Tail::default();
    let mut end = 0;
    for line in segment::lines(path)? {
        let line = line?;
        end = line.offset + line.bytes.len() as u64;
        // A line that has its shape and its line feed was written whole; whether it is genuine is for verify.
        if let Some((hash, json)) = line.parts()
            && let Some(sequence) = sequence_of(json)
        {
            tail.whole_bytes = end;
            tail.last = Some((sequence, hash.to_owned()));
        }
    }
    tail.torn_bytes = end - tail.whole_bytes;
    Ok(tail)
}

fn last_record(directory: &Path, number: u64) -> Result<Option<(u64, String)>> {
    Ok(scan_tail(&segment::path(directory, number))?.last)
}

/// Moves what follows the last whole record into a file of its own.
fn quarantine(path: &Path, file: &File, whole_bytes: u64) -> Result<()> {
    let bytes = fs::read(path).map_err(at(path))?;
    let torn = bytes.get(usize::try_from(whole_bytes).unwrap_or(usize::MAX)..).unwrap_or_default();
    let aside = path.with_extension(format!("torn-{}", now().replace([':', '.'], "")));
    fs::write(&aside, torn).map_err(at(&aside))?;
    file.set_len(whole_bytes).map_err(at(path))?;
    tracing::warn!(bytes = torn.len(), moved_to = %aside.display(), "a torn ledger tail was set aside");
    Ok(())
}

fn open_segment(path: &Path) -> Result<File> {
    OpenOptions::new().create(true).append(true).read(true).mode(0o600).open(path).map_err(at(path))
}

fn sync_directory(directory: &Path) -> Result<()> {
    File::open(directory).and_then(|file| file.sync_all()).map_err(at(directory))
}

/// RFC 3339, UTC, microseconds.
fn now() -> String {
    format!("{:.6}", jiff::Timestamp::now())
}

impl From<Error> for io::Error {
    fn from(err: Error) -> Self {
        match err {
            Error::Io { source, .. } => source,
            other => Self::other(other.to_string()),
        }
    }
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
