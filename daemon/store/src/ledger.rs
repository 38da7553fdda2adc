//! An append-only, hash-chained record in numbered segments, with group commit.
//!
//! A record is *written* when `append` returns: it survives the death of the process. It is *synced* once
//! `sync` returns: it survives a power cut. Records nobody waits for are synced within 20 ms.

use crate::{
    Error, Result, Verdict, aside, at,
    room::{self, Take},
    seal::Seal,
    segment,
    tail::{self, Tail},
    unsigned::Unsigned,
    verify::{self, Expected},
};
use prometheus_client::metrics::histogram::Histogram;
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::watch;

/// How long a written record may stay unsynced.
const SYNC_WITHIN: Duration = Duration::from_millis(20);

/// Upper bounds in seconds of what a sync takes: from memory that keeps its content to a disk that seeks under load.
const SYNC_BUCKETS: [f64; 10] = [0.000_1, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5];

/// Where a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Counts the records of the ledger from 1.
    pub sequence: u64,
    pub(crate) segment: u64,
    pub(crate) offset: u64,
    pub(crate) length: u32,
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

/// What the clones of a ledger and its thread share.
pub(crate) struct Shared {
    pub(crate) directory: PathBuf,
    segment_bytes: u64,
    pub(crate) writer: Mutex<Writer>,
    wake: Condvar,
    synced: watch::Sender<std::result::Result<u64, String>>,
    /// How long syncs took, in seconds.
    sync_seconds: Histogram,
    /// The newest sequence written, for followers.
    written: watch::Sender<u64>,
    /// The number of the newest segment, for who drops old ones.
    newest_segment: watch::Sender<u64>,
    /// Held while segments are dropped, and while all are read by `verify`, which must not miss one under way.
    pub(crate) upkeep: Mutex<()>,
    pub(crate) seal: Option<Seal>,
}

/// Where the next record goes.
pub(crate) struct Writer {
    pub(crate) file: Arc<File>,
    pub(crate) segment: u64,
    pub(crate) length: u64,
    /// Up to here the disk has room for this segment.
    pub(crate) allocated: u64,
    /// Of that room, what is for records of calls under way.
    pub(crate) reserved: u64,
    pub(crate) take: Take,
    pub(crate) sequence: u64,
    pub(crate) head: String,
    /// What no checkpoint covers yet.
    pub(crate) unsigned: Unsigned,
    /// Something was written since the last sync began.
    is_dirty: bool,
    /// Somebody waits for a sync right now.
    urgent: bool,
    closed: bool,
}

impl Ledger {
    /// Opens or creates the ledger in `directory`. A torn last line, left by a crash in mid-write, is moved to a
    /// file beside the segment, and a record of kind `recovered` says so. What lies there under the name of a segment and is
    /// no file is set aside.
    ///
    /// # Errors
    /// What the filesystem says.
    pub fn open(directory: &Path, segment_bytes: u64) -> Result<Self> {
        Self::open_with(directory, segment_bytes, None)
    }

    pub(crate) fn open_with(directory: &Path, segment_bytes: u64, seal: Option<Seal>) -> Result<Self> {
        fs::create_dir_all(directory).map_err(at(directory))?;
        let mut numbers = segment::list(directory)?;
        for number in &numbers {
            let path = segment::path(directory, *number);
            if path.is_dir() {
                aside::set(&path, "a directory where a segment of a ledger should be")?;
            }
        }
        numbers.retain(|number| segment::path(directory, *number).exists());
        let current = numbers.last().copied().unwrap_or(1);
        let path = segment::path(directory, current);
        let tail = if path.exists() { tail::scan(&path)? } else { Tail::default() };
        let mut last = tail.last;
        // The newest record may be in the segment before, if the newest segment is empty.
        let mut older = numbers.iter().rev().skip(1);
        while last.is_none()
            && let Some(number) = older.next()
        {
            last = tail::scan(&segment::path(directory, *number))?.last;
        }
        let unsigned = Unsigned::after(last.as_ref().map(|(.., json)| json.as_slice()));
        let (sequence, head, _) = last.unwrap_or_else(|| (0, segment::GENESIS.to_owned(), Vec::new()));
        let file = open_segment(&path)?;
        if tail.torn_bytes > 0 {
            tail::quarantine(&path, &file, tail.whole_bytes)?;
        }
        sync_directory(directory)?;
        let writer = Writer {
            file: Arc::new(file),
            segment: current,
            length: tail.whole_bytes,
            allocated: 0,
            reserved: 0,
            take: room::take,
            sequence,
            head,
            unsigned,
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
            sync_seconds: Histogram::new(SYNC_BUCKETS),
            written: watch::Sender::new(sequence),
            newest_segment: watch::Sender::new(current),
            upkeep: Mutex::default(),
            seal,
        });
        start_syncer(shared.clone())?;
        let ledger = Self(Arc::new(Handle(shared)));
        if tail.torn_bytes > 0 {
            let note = format!(r#"{{"kind":"recovered","dropped_bytes":{}}}"#, tail.torn_bytes);
            ledger.append(note.as_bytes())?;
        }
        Ok(ledger)
    }

    /// Writes one record: a non-empty JSON object, to which `seq` and `at` are added.
    ///
    /// # Errors
    /// `Io` when the disk refuses; then nothing of the record remains. `Stopped` after a failed sync.
    pub fn append(&self, object: &[u8]) -> Result<Position> {
        let members = members_of(object)?;
        let shared = self.shared();
        let mut writer = self.lock();
        shared.refuse_if_stopped()?;
        // Before the record: one that is refused must leave nothing behind.
        shared.rotate_if_due(&mut writer)?;
        let position = shared.write(&mut writer, &now(), members)?;
        shared.sign_if_many(&mut writer);
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

    /// Makes all that is written survive a power cut, in this thread.
    ///
    /// # Errors
    /// What the filesystem says; `Stopped` after a failed sync.
    pub fn sync_now(&self) -> Result<()> {
        let (file, segment) = {
            let writer = self.lock();
            (writer.file.clone(), writer.segment)
        };
        self.shared().refuse_if_stopped()?;
        self.shared().sync_here(&file, segment)
    }

    /// Announces the newest written sequence.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.shared().written.subscribe()
    }

    /// Whether what is written can still be synced: after a failure it never can again.
    #[must_use]
    pub fn is_working(&self) -> bool {
        self.shared().synced.borrow().is_ok()
    }

    /// How long syncs took since the ledger was opened, in seconds.
    #[must_use]
    pub fn sync_seconds(&self) -> Histogram {
        self.shared().sync_seconds.clone()
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

    /// Announces the number of the newest segment: when it changes, one was filled.
    #[must_use]
    pub fn segments(&self) -> watch::Receiver<u64> {
        self.shared().newest_segment.subscribe()
    }

    /// Recomputes the chain and, in a sealed ledger, checks what was signed. Reads everything in this thread; records
    /// that are appended meanwhile are not looked at.
    ///
    /// # Errors
    /// What the filesystem says; a broken chain is a verdict, not an error.
    pub fn verify(&self) -> Result<Verdict> {
        let shared = self.shared();
        let _upkeep = shared.keep_segments();
        // Before the end is known, so that the log cannot be behind it.
        let note = shared.seal.as_ref().map(|seal| seal.note.genuine(&seal.keys));
        let writer = self.lock();
        let expected = Expected {
            segment: writer.segment,
            length: writer.length,
            sequence: writer.sequence,
            head: writer.head.clone(),
            keys: shared.seal.as_ref().map(|seal| &seal.keys),
            note,
        };
        drop(writer);
        verify::directory(&shared.directory, &expected)
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

    pub(crate) fn lock(&self) -> MutexGuard<'_, Writer> {
        self.shared().lock()
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.0.0
    }
}

impl Shared {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Writer> {
        // A panic while holding it leaves the writer as it was before the append.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// While it is held no segment is dropped.
    pub(crate) fn keep_segments(&self) -> MutexGuard<'_, ()> {
        self.upkeep.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn refuse_if_stopped(&self) -> Result<()> {
        self.synced.borrow().as_ref().map(|_| ()).map_err(|reason| Error::Stopped(reason.clone()))
    }

    /// Writes one record. `members` is its object behind `at`, with the closing brace.
    pub(crate) fn write(&self, writer: &mut Writer, at_time: &str, members: &[u8]) -> Result<Position> {
        // A damaged log may end with any number.
        let sequence = writer.sequence.saturating_add(1);
        let mut json = format!(r#"{{"seq":{sequence},"at":"{at_time}","#).into_bytes();
        json.extend_from_slice(members);
        let hash = segment::chain(writer.head.as_bytes(), &json);
        let mut line = Vec::with_capacity(json.len() + segment::PREFIX_BYTES + 1);
        line.extend_from_slice(&hash);
        line.push(b' ');
        line.extend_from_slice(&json);
        line.push(b'\n');

        if writer.reserved > 0 {
            self.hold(writer, line.len() as u64)?;
        }
        let path = segment::path(&self.directory, writer.segment);
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
        writer.head = segment::text(&hash);
        writer.unsigned.count(Instant::now());
        self.written.send_replace(sequence);
        // Once it is awake, the syncer waits for its time, not for more records.
        if !std::mem::replace(&mut writer.is_dirty, true) {
            self.wake.notify_one();
        }
        Ok(Position {
            sequence,
            segment: writer.segment,
            offset,
            length: u32::try_from(line.len()).unwrap_or(u32::MAX),
        })
    }

    /// Makes what is written survive a power cut, in this thread.
    pub(crate) fn sync_here(&self, file: &File, segment: u64) -> Result<()> {
        file.sync_data().map_err(|err| {
            // The kernel reports such a failure once; the syncer would never hear of it.
            let _ = self.synced.send_replace(Err(err.to_string()));
            at(segment::path(&self.directory, segment))(err)
        })
    }

    /// Begins the next segment when this one is full. On a full disk it grows beyond its size: what calls under way reserved
    /// is here.
    pub(crate) fn rotate_if_due(&self, writer: &mut Writer) -> Result<()> {
        if writer.length < self.segment_bytes {
            return Ok(());
        }
        match self.rotate(writer) {
            Err(err) if err.is_disk_full() => Ok(()),
            other => other,
        }
    }

    fn rotate(&self, writer: &mut Writer) -> Result<()> {
        let path = segment::path(&self.directory, writer.segment + 1);
        let file = open_segment(&path)?;
        let mut allocated = 0;
        if writer.reserved > 0 {
            allocated = room::ahead(writer.take, &file, 0, writer.reserved).map_err(|err| {
                // An empty segment does no harm, if even that is refused.
                let _ = fs::remove_file(&path);
                at(&path)(err.into())
            })?;
        }
        self.sign_or_say(writer);
        self.sync_here(&writer.file, writer.segment)?;
        // The room that this segment does not need; without it nothing but that room is lost.
        let _ = writer.file.set_len(writer.length);
        writer.file = Arc::new(file);
        writer.segment += 1;
        writer.length = 0;
        writer.allocated = allocated;
        self.newest_segment.send_replace(writer.segment);
        sync_directory(&self.directory)
    }
}

/// What is behind the brace of a record.
pub(crate) fn members_of(object: &[u8]) -> Result<&[u8]> {
    object
        .strip_prefix(b"{")
        .filter(|rest| rest.len() > 1)
        .ok_or_else(|| Error::Corrupt("a ledger record must be a non-empty JSON object".into()))
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
    let due_in = shared.seal.as_ref().and_then(|seal| guard.unsigned.due_in(seal.cadence));
    let awake = match due_in {
        None => shared.wake.wait_while(guard, idle).ok(),
        Some(left) => shared.wake.wait_timeout_while(guard, left, idle).ok().map(|(guard, _)| guard),
    };
    let Some(mut guard) = awake else { return false };
    if !guard.closed {
        shared.sign_if_old(&mut guard);
    }
    // Something is unsynced: give others a moment to join, unless somebody waits.
    let calm = |writer: &mut Writer| writer.is_dirty && !writer.urgent && !writer.closed;
    let Ok((mut guard, _)) = shared.wake.wait_timeout_while(guard, SYNC_WITHIN, calm) else {
        return false;
    };
    guard.urgent = false;
    guard.is_dirty = false;
    let (file, sequence, closed) = (guard.file.clone(), guard.sequence, guard.closed);
    let noted = guard.unsigned.newest();
    drop(guard);
    // After a failed fsync the kernel may have dropped the dirty pages: trying again would report success
    // for data that is gone. So the ledger stops for good.
    let begun = Instant::now();
    let result = file.sync_data().map(|()| sequence).map_err(|err| err.to_string());
    shared.sync_seconds.observe(begun.elapsed().as_secs_f64());
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
    if let (Some(seal), Some(noted), false) = (&shared.seal, noted, is_broken) {
        seal.note.offer(&noted);
    }
    !closed && !is_broken
}

fn open_segment(path: &Path) -> Result<File> {
    OpenOptions::new().create(true).append(true).read(true).mode(0o600).open(path).map_err(at(path))
}

pub(crate) fn sync_directory(directory: &Path) -> Result<()> {
    File::open(directory).and_then(|file| file.sync_all()).map_err(at(directory))
}

/// RFC 3339, UTC, microseconds.
pub(crate) fn now() -> String {
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
