//! What a job writes, in a file that does not grow beyond its limit: the beginning is kept, and of the rest what came last.
//!
//! The file is a page of numbers, the beginning, and a ring: a byte is found by its place in everything that was written,
//! and that place never changes. Readers are other processes, who take nothing on trust: the writer says how far it will
//! write before it does, and how far it has written afterwards, so that a reader knows what was overwritten under it.

use std::{fs::File, io, os::unix::fs::FileExt as _};

const MAGIC: &[u8; 8] = b"SKYOUT\0\x01";

/// Where the bytes begin. Before them: what it is, and four little-endian numbers of 64 bits.
const HEADER_BYTES: u64 = 4096;
const NUMBERS: usize = 4;
const WRITTEN_AT: u64 = 32;

/// Of the beginning. The first lines of a build or a server say what went wrong as often as the last ones.
const HEAD_BYTES: u64 = 1 << 20;

/// Of the rest.
const RING_BYTES: u64 = 7 << 20;

/// What a reader believes: of either.
const MOST_BYTES: u64 = 1 << 30;

/// An output file.
pub struct Output {
    file: File,
    layout: Layout,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Layout {
    head: u64,
    ring: u64,
    /// Up to here bytes may be written at this moment.
    reserved: u64,
    /// Up to here they are.
    written: u64,
}

/// Where to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// At that byte of everything that was written.
    Offset(u64),
    /// So that the last one is among them.
    Tail,
}

/// A part of the output.
#[derive(Debug, PartialEq, Eq)]
pub struct Part {
    /// Where it begins; later than asked for if what was there is gone.
    pub offset: u64,
    /// Itself.
    pub bytes: Vec<u8>,
    /// How much was written in all.
    pub written: u64,
}

impl Layout {
    const NEW: Self = Self { head: HEAD_BYTES, ring: RING_BYTES, reserved: 0, written: 0 };

    fn read(file: &File) -> io::Result<Self> {
        let mut header = [0; MAGIC.len() + NUMBERS * 8];
        match file.read_exact_at(&mut header, 0) {
            // Its keeper has not begun, or never will.
            Err(err) if err.kind() == io::ErrorKind::UnexpectedEof => return Ok(Self::NEW),
            read => read?,
        }
        let (magic, numbers) = header.split_at(MAGIC.len());
        let number = |bytes: &[u8]| bytes.try_into().map(u64::from_le_bytes).unwrap_or_default();
        let mut numbers = numbers.chunks(8).map(number);
        let mut next = || numbers.next().unwrap_or_default();
        let layout = Self { head: next(), ring: next(), reserved: next(), written: next() };
        let is_sound = layout.head <= MOST_BYTES && (1..=MOST_BYTES).contains(&layout.ring);
        if magic == MAGIC && is_sound {
            Ok(layout)
        } else {
            Err(io::Error::new(io::ErrorKind::InvalidData, "no output that this version can read"))
        }
    }

    /// Where the byte at `offset` is in the file, and how many follow it there.
    fn find(self, offset: u64) -> (u64, u64) {
        match offset.checked_sub(self.head) {
            None => (HEADER_BYTES + offset, self.head - offset),
            Some(beyond) => {
                let place = beyond % self.ring;
                (HEADER_BYTES + self.head + place, self.ring - place)
            }
        }
    }

    /// The first byte after the beginning that is still there.
    fn oldest(self) -> u64 {
        self.reserved.saturating_sub(self.ring).max(self.head)
    }
}

impl Output {
    /// That of `file`, empty if that is.
    ///
    /// # Errors
    /// When it is none, or what the filesystem says.
    pub fn new(file: File) -> io::Result<Self> {
        let layout = Layout::read(&file)?;
        Ok(Self { file, layout })
    }

    /// How much was written, as far as this one knows: by itself, or until it last read.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.layout.written
    }

    /// Adds to it. There must be one writer.
    ///
    /// # Errors
    /// What the filesystem says; then the bytes are not there.
    pub fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let length = u64::try_from(bytes.len()).map_err(io::Error::other)?;
        let reserved = self.layout.written + length;
        self.layout.reserved = reserved;
        let mut header = MAGIC.to_vec();
        for number in [self.layout.head, self.layout.ring, reserved, self.layout.written] {
            header.extend(number.to_le_bytes());
        }
        self.file.write_all_at(&header, 0)?;
        let (mut offset, mut rest) = (self.layout.written, bytes);
        while !rest.is_empty() {
            let (place, room) = self.layout.find(offset);
            let (now, later) = rest.split_at(rest.len().min(usize::try_from(room).unwrap_or(usize::MAX)));
            self.file.write_all_at(now, place)?;
            offset += u64::try_from(now.len()).map_err(io::Error::other)?;
            rest = later;
        }
        self.layout.written = reserved;
        self.file.write_all_at(&reserved.to_le_bytes(), WRITTEN_AT)
    }

    /// Reads at most `most` bytes. What follows a part that ends where the beginning does may lie far behind it.
    ///
    /// # Errors
    /// What the filesystem says.
    pub fn read(&mut self, from: From, most: usize) -> io::Result<Part> {
        let most = u64::try_from(most).unwrap_or(u64::MAX);
        self.layout = Layout::read(&self.file)?;
        let Layout { head, written, .. } = self.layout;
        let mut start = match from {
            From::Offset(offset) => offset.min(written),
            From::Tail => written.saturating_sub(most),
        };
        if start >= head {
            start = start.max(self.layout.oldest()).min(written);
        }
        let mut end = written.min(start.saturating_add(most));
        if start < head && self.layout.oldest() > head {
            end = end.min(head);
        }
        let mut bytes = Vec::new();
        let mut offset = start;
        while offset < end {
            let (place, room) = self.layout.find(offset);
            let length = room.min(end - offset);
            let before = bytes.len();
            bytes.resize(before + usize::try_from(length).map_err(io::Error::other)?, 0);
            self.file.read_exact_at(bytes.get_mut(before..).unwrap_or_default(), place)?;
            offset += length;
        }
        // What was overwritten meanwhile is something else.
        let oldest = Layout::read(&self.file)?.oldest().min(end);
        if oldest > start.max(head) {
            if start < head {
                bytes.truncate(usize::try_from(head - start).map_err(io::Error::other)?);
            } else {
                bytes.drain(..usize::try_from(oldest - start).map_err(io::Error::other)?);
                start = oldest;
            }
        }
        Ok(Part { offset: start, bytes, written })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn empty(head: u64, ring: u64) -> (Output, Output) {
        let file = tempfile::tempfile().unwrap();
        let layout = Layout { head, ring, ..Layout::NEW };
        let writer = Output { file: file.try_clone().unwrap(), layout };
        (writer, Output { file, layout })
    }

    fn byte(offset: u64) -> u8 {
        u8::try_from(offset % 251).unwrap()
    }

    proptest! {
        #[test]
        fn what_is_read_is_what_was_written_there(
            lengths in proptest::collection::vec(0_u64..40, 1..40),
            from in 0_u64..1000,
            most in 1_usize..60,
        ) {
            let (mut writer, mut reader) = empty(64, 100);
            let mut total = 0;
            for length in lengths {
                let bytes: Vec<u8> = (total..total + length).map(byte).collect();
                writer.append(&bytes).unwrap();
                total += length;
            }
            let oldest = total.saturating_sub(100).max(64);
            for from in [From::Offset(from), From::Offset(from % 64), From::Tail] {
                let part = reader.read(from, most).unwrap();
                prop_assert_eq!(part.written, total);
                for (place, found) in (part.offset..).zip(&part.bytes) {
                    prop_assert_eq!(*found, byte(place));
                    prop_assert!(place < 64 || place >= oldest);
                }
                match from {
                    From::Tail => prop_assert_eq!(part.offset + part.bytes.len() as u64, total.min(if part.offset < 64 && oldest > 64 { 64 } else { total })),
                    From::Offset(offset) => {
                        let is_there = offset < 64.min(total) || (oldest..total).contains(&offset);
                        prop_assert!(!is_there || (part.offset == offset && !part.bytes.is_empty()));
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_overwritten_while_it_is_read_is_left_out() {
        let (mut writer, mut reader) = empty(4, 8);
        writer.append(b"headringring").unwrap();
        // As if the writer were at it: it has said so, and nothing more.
        let reserved = writer.layout.written + 3;
        writer.file.write_all_at(&reserved.to_le_bytes(), WRITTEN_AT - 8).unwrap();
        let part = reader.read(From::Offset(4), 100).unwrap();
        assert_eq!((part.offset, &part.bytes[..]), (7, &b"gring"[..]));
    }

    #[test]
    fn a_file_of_something_else_is_refused() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&[b'x'; 100], 0).unwrap();
        assert!(Output::new(file).is_err());
    }
}
