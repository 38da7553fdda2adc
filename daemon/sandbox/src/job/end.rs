//! How a job ended, in a file: written once, and either whole or not there.
//!
//! The keeper has a descriptor and no directory to rename in, so a checksum says whether a record is whole: eight bytes that
//! say what it is, its length and its CRC-32, both little-endian, and the protobuf.

use crate::protocol::{Ended, Refused};
use prost::Message as _;
use std::{fs::File, io, os::unix::fs::FileExt as _};

const MAGIC: &[u8; 8] = b"SKYEND\0\x01";
const HEADER_BYTES: usize = 16;

/// Of the file.
pub(super) const MOST_BYTES: u64 = 64 << 10;

/// Of the paths in it, together.
const MOST_PATHS_BYTES: usize = 32 << 10;

/// How a job ended. One that is neither ended nor refused is lost: its keeper was killed, and somebody found that.
#[derive(Clone, PartialEq, prost::Message)]
pub struct End {
    /// In milliseconds since 1970.
    #[prost(int64, tag = "1")]
    pub at_ms: i64,
    /// If the command was executed. The names it holds are the first ones.
    #[prost(message, optional, tag = "2")]
    pub ended: Option<Ended>,
    /// If it was not, or how it ended is not known.
    #[prost(message, optional, tag = "3")]
    pub refused: Option<Refused>,
    /// Bytes of output that the disk did not take.
    #[prost(uint64, tag = "4")]
    pub unwritten_bytes: u64,
}

impl End {
    /// Writes it; it is on the disk when this returns.
    ///
    /// # Errors
    /// What the filesystem says.
    pub fn write(mut self, file: &File) -> io::Result<()> {
        if let Some(ended) = &mut self.ended {
            let mut room = MOST_PATHS_BYTES;
            ended.quarantined.retain(|path| {
                let fits = path.len() <= room;
                room = room.saturating_sub(path.len());
                fits
            });
        }
        let body = self.encode_to_vec();
        let length = u32::try_from(body.len()).map_err(io::Error::other)?;
        let mut record = MAGIC.to_vec();
        record.extend(length.to_le_bytes());
        record.extend(crc32fast::hash(&body).to_le_bytes());
        record.extend(body);
        file.write_all_at(&record, 0)?;
        file.sync_data()
    }

    /// Reads it; `None` where there is no whole one.
    ///
    /// # Errors
    /// What the filesystem says.
    pub fn read(file: &File) -> io::Result<Option<Self>> {
        let length = usize::try_from(file.metadata()?.len().min(MOST_BYTES)).map_err(io::Error::other)?;
        let mut record = vec![0; length];
        match file.read_exact_at(&mut record, 0) {
            Err(err) if err.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            read => read?,
        }
        Ok(Self::parse(&record))
    }

    fn parse(record: &[u8]) -> Option<Self> {
        let (header, rest) = record.split_at_checked(HEADER_BYTES)?;
        let numbers = header.strip_prefix(MAGIC)?;
        let (length, crc) = numbers.split_at_checked(4)?;
        let length = usize::try_from(u32::from_le_bytes(length.try_into().ok()?)).ok()?;
        let body = rest.get(..length)?;
        let is_whole = crc32fast::hash(body) == u32::from_le_bytes(crc.try_into().ok()?);
        Self::decode(body).ok().filter(|_| is_whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_whole_or_not_there() {
        let file = tempfile::tempfile().unwrap();
        assert_eq!(End::read(&file).unwrap(), None);
        let end = End { at_ms: 7, unwritten_bytes: 3, ..End::default() };
        end.clone().write(&file).unwrap();
        assert_eq!(End::read(&file).unwrap(), Some(end));
        let mut record = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
        file.read_exact_at(&mut record, 0).unwrap();
        for length in 0..record.len() {
            assert_eq!(End::parse(&record[..length]), None, "{length}");
        }
        for place in 0..record.len() {
            let mut damaged = record.clone();
            damaged[place] ^= 0x10;
            assert_eq!(End::parse(&damaged), None, "{place}");
        }
    }

    #[test]
    fn an_end_with_many_names_fits_its_file() {
        let quarantined = vec![vec![b'x'; 1000]; 1000];
        let end = End { ended: Some(Ended { quarantined, ..Ended::default() }), ..End::default() };
        let file = tempfile::tempfile().unwrap();
        end.write(&file).unwrap();
        assert_eq!(End::read(&file).unwrap().unwrap().ended.unwrap().quarantined.len(), 32);
    }
}
