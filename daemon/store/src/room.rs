//! Room on the disk for records that must not be refused, taken before there is anything to record.
//!
//! A call that changes something begins only once there is room for what is recorded of its end. That room is its own: on a
//! full disk, records that reserved nothing are refused before they take it.

use crate::{
    Ledger, Position, Result, at,
    ledger::{Shared, Writer, members_of, now},
    segment,
};
use rustix::{
    fs::{FallocateFlags, fallocate},
    io::Errno,
};
use std::fs::File;

/// Taken beyond what is asked for, so that not every record asks the filesystem.
const AHEAD_BYTES: u64 = 1 << 20;

/// What is written of a record besides its own members: hash, number and time.
const HEAD_BYTES: u64 = 160;

/// How room is taken: of a file, from an offset, so many bytes. A test says that there is none.
pub(crate) type Take = fn(&File, u64, u64) -> rustix::io::Result<()>;

/// Room in a ledger for one record. What is not used is given back when it is dropped.
pub struct Room {
    ledger: Ledger,
    bytes: u64,
}

impl Room {
    /// Writes one record, as [`Ledger::append`] does, into this room. A longer one is written where the disk has room for
    /// it besides what others reserved; where it has not, this room is kept, for a shorter one.
    ///
    /// # Errors
    /// Those of `append`.
    pub fn append(&mut self, object: &[u8]) -> Result<Position> {
        let members = members_of(object)?;
        let shared = self.ledger.shared();
        let mut writer = shared.lock();
        shared.refuse_if_stopped()?;
        // While this room counts, so that the next segment has it too.
        shared.rotate_if_due(&mut writer)?;
        writer.reserved = writer.reserved.saturating_sub(self.bytes);
        // A line that the disk cuts short costs all that was taken in advance, so it is not tried.
        let written = shared
            .hold(&mut writer, members.len() as u64 + HEAD_BYTES)
            .and_then(|()| shared.write(&mut writer, &now(), members));
        match written {
            Ok(_) => self.bytes = 0,
            Err(_) => writer.reserved += self.bytes,
        }
        let position = written?;
        shared.sign_if_many(&mut writer);
        Ok(position)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut writer = self.ledger.lock();
        writer.reserved = writer.reserved.saturating_sub(self.bytes);
    }
}

impl Ledger {
    /// Takes room for a record that is at most so long.
    ///
    /// # Errors
    /// `Io` when the disk has none; `Stopped` after a failed sync.
    pub fn reserve(&self, bytes: u64) -> Result<Room> {
        let shared = self.shared();
        let mut writer = shared.lock();
        shared.refuse_if_stopped()?;
        shared.hold(&mut writer, bytes)?;
        writer.reserved += bytes;
        drop(writer);
        Ok(Room { ledger: self.clone(), bytes })
    }
}

impl Shared {
    /// Makes sure that the disk has room for so many bytes in this segment, besides all that is reserved.
    pub(crate) fn hold(&self, writer: &mut Writer, bytes: u64) -> Result<()> {
        let needed = writer.reserved.saturating_add(bytes);
        if writer.length.saturating_add(needed) <= writer.allocated {
            return Ok(());
        }
        let taken = ahead(writer.take, &writer.file, writer.length, needed)
            .map_err(|err| at(segment::path(&self.directory, writer.segment))(err.into()))?;
        writer.allocated = writer.allocated.max(writer.length + taken);
        Ok(())
    }
}

/// Takes room, and more where the disk has it; how much was taken.
pub(crate) fn ahead(take: Take, file: &File, from: u64, needed: u64) -> rustix::io::Result<u64> {
    let more = needed.saturating_add(AHEAD_BYTES);
    if take(file, from, more).is_ok() {
        return Ok(more);
    }
    match take(file, from, needed) {
        Ok(()) => Ok(needed),
        // fallocate(2): not every filesystem can promise room.
        Err(Errno::OPNOTSUPP) => Ok(0),
        Err(err) => Err(err),
    }
}

/// Asks the filesystem.
pub(crate) fn take(file: &File, from: u64, bytes: u64) -> rustix::io::Result<()> {
    fallocate(file, FallocateFlags::KEEP_SIZE, from, bytes)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// On a full disk.
    pub(crate) fn nothing(_file: &File, _from: u64, _bytes: u64) -> rustix::io::Result<()> {
        Err(Errno::NOSPC)
    }

    fn record(bytes: usize) -> Vec<u8> {
        format!(r#"{{"x":"{}"}}"#, "y".repeat(bytes)).into_bytes()
    }

    #[test]
    fn what_a_call_reserved_is_not_taken_by_others() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(directory.path(), 1 << 30).unwrap();
        let mut rooms = [ledger.reserve(4096).unwrap(), ledger.reserve(4096).unwrap()];
        ledger.lock().take = nothing;
        let refused = (0..100).find_map(|_| ledger.append(&record(100_000)).err()).unwrap();
        assert!(refused.is_disk_full(), "{refused}");
        // No more calls, and the small records of others only up to what is reserved.
        while ledger.append(&record(100)).is_ok() {}
        assert!(ledger.reserve(4096).err().unwrap().is_disk_full());
        for room in &mut rooms {
            assert!(room.append(&record(100_000)).unwrap_err().is_disk_full(), "longer than what is left");
            room.append(&record(3800)).unwrap();
        }
        assert_eq!(ledger.verify().unwrap().faults, Vec::<String>::new());
        // Room that is not used is everybody's.
        ledger.lock().take = take;
        drop(ledger.reserve(1 << 20).unwrap());
        assert_eq!(ledger.lock().reserved, 0);
    }

    #[test]
    fn a_segment_outgrows_its_size_while_there_is_no_room_for_the_next() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(directory.path(), 600).unwrap();
        let mut room = ledger.reserve(4096).unwrap();
        ledger.lock().take = nothing;
        for _ in 0..10 {
            ledger.append(&record(300)).unwrap();
        }
        room.append(&record(3800)).unwrap();
        assert_eq!(segment::list(directory.path()).unwrap(), [1]);
        // The next segment has the room of calls that began in this one.
        ledger.lock().take = take;
        let mut room = ledger.reserve(4096).unwrap();
        ledger.append(&record(1)).unwrap();
        assert_eq!(segment::list(directory.path()).unwrap(), [1, 2]);
        ledger.lock().take = nothing;
        room.append(&record(3800)).unwrap();
        let verdict = ledger.verify().unwrap();
        assert_eq!((verdict.records, verdict.faults), (13, Vec::new()));
    }
}
