//! How vectors lie on the disk: a header that names the weights that made them, then a record for each. It is only ever appended to, or
//! replaced as a whole. A record that is damaged costs only itself.

use crc32fast::hash;
use half::f16;
use rustix::io::Errno;
use skynet_models::Model;
use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, BufReader, Read as _, Write as _},
    ops::ControlFlow,
    path::Path,
};

/// What a log begins with: the format; the dimensions and the hash of the weights follow.
const MAGIC: &[u8; 8] = b"SKYVEC1\n";

/// The key of a passage, and its vector.
pub(crate) type Keyed = (u64, Vec<f32>);

/// Why a log is not read.
#[derive(Debug)]
pub(crate) enum Fault {
    /// There is none.
    Missing,
    /// It is of other weights, whose vectors are of no use to this model; or what names these is damaged, which cannot be told from that.
    OfOthers,
    /// It is not what was written, or the disk gives it back no more.
    Damaged(String),
    /// It is out of reach, and may not be in a moment.
    OutOfReach(io::Error),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("there is none"),
            Self::OfOthers => f.write_str("it is of other weights"),
            Self::Damaged(why) => f.write_str(why),
            Self::OutOfReach(err) => err.fmt(f),
        }
    }
}

impl From<io::Error> for Fault {
    fn from(err: io::Error) -> Self {
        match err.kind() {
            io::ErrorKind::NotFound => Self::Missing,
            io::ErrorKind::InvalidData
            | io::ErrorKind::UnexpectedEof
            | io::ErrorKind::IsADirectory
            | io::ErrorKind::NotADirectory => Self::Damaged(err.to_string()),
            _ if Errno::from_io_error(&err) == Some(Errno::IO) => Self::Damaged(err.to_string()),
            _ => Self::OutOfReach(err),
        }
    }
}

/// How much of a log is what was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extent {
    /// Up to the end of the last whole record, with the header; 0 where not even that is whole.
    pub(crate) whole_bytes: u64,
    /// Records before that which are damaged. What comes behind it is what a crash cut off.
    pub(crate) damaged: usize,
}

/// The header of a log.
pub(crate) fn header(model: &Model) -> Vec<u8> {
    let mut header = MAGIC.to_vec();
    header.extend(u32::try_from(model.dimensions).unwrap_or(0).to_le_bytes());
    header.extend(model.sha256.as_bytes());
    header.push(b'\n');
    header
}

/// Key, half-precision numbers (IEEE 754 binary16, little endian), and CRC-32 of both.
pub(crate) const fn record_bytes(model: &Model) -> usize {
    8 + model.dimensions * 2 + 4
}

/// Writes a record behind `bytes`.
pub(crate) fn append(bytes: &mut Vec<u8>, key: u64, vector: &[f32]) {
    let start = bytes.len();
    bytes.extend(key.to_le_bytes());
    bytes.extend(vector.iter().flat_map(|number| f16::from_f32(*number).to_le_bytes()));
    let crc = hash(bytes.get(start..).unwrap_or_default());
    bytes.extend(crc.to_le_bytes());
}

/// The numbers of a record as a vector.
pub(crate) fn vector_of(numbers: &[u8]) -> Vec<f32> {
    numbers.as_chunks::<2>().0.iter().map(|bytes| f16::from_le_bytes(*bytes).to_f32()).collect()
}

/// Puts a log of just these vectors in the place of the one in a directory, and tells where the next are written.
///
/// # Errors
/// What the filesystem says; then the one that was there stays.
pub(crate) fn replace(directory: &Path, model: &Model, vectors: &[Keyed]) -> io::Result<File> {
    let mut bytes = header(model);
    for (key, vector) in vectors {
        append(&mut bytes, *key, vector);
    }
    let temporary = directory.join("log.new");
    let mut new = OpenOptions::new().append(true).create(true).open(&temporary)?;
    // A crash may have left a part of one.
    new.set_len(0)
        .and_then(|()| new.write_all(&bytes))
        .and_then(|()| new.sync_all())
        .and_then(|()| fs::rename(&temporary, directory.join("log")))
        .inspect_err(|_| {
            // Or a disk that is full would stay so.
            let _ = fs::remove_file(&temporary);
        })?;
    Ok(new)
}

/// All whole records, and how much of the log is what was written.
///
/// # Errors
/// Why it is not read.
pub(crate) fn read(path: &Path, model: &Model) -> Result<(Vec<Keyed>, Extent), Fault> {
    let mut vectors = Vec::new();
    let extent = scan(path, model, |key, numbers| {
        vectors.push((key, vector_of(numbers)));
        ControlFlow::Continue(())
    })?;
    Ok((vectors, extent))
}

/// Shows each whole record, as key and numbers, until `take` has had enough. Somebody may append to it or replace it meanwhile.
///
/// # Errors
/// Why it is not read.
pub(crate) fn scan(
    path: &Path,
    model: &Model,
    mut take: impl FnMut(u64, &[u8]) -> ControlFlow<()>,
) -> Result<Extent, Fault> {
    let mut file = BufReader::with_capacity(1 << 20, File::open(path)?);
    let expected = header(model);
    let mut found = vec![0; expected.len()];
    match file.read_exact(&mut found) {
        Ok(()) => {}
        // A crash came before all of it was written.
        Err(err) if err.kind() == io::ErrorKind::UnexpectedEof => return Ok(Extent::default()),
        Err(err) => return Err(err.into()),
    }
    if found != expected {
        return Err(if found.starts_with(MAGIC) {
            Fault::OfOthers
        } else {
            Fault::Damaged("its header is none".into())
        });
    }
    let mut at = expected.len() as u64;
    let mut extent = Extent { whole_bytes: at, damaged: 0 };
    let mut since_whole = 0;
    let mut record = vec![0; record_bytes(model)];
    loop {
        match file.read_exact(&mut record) {
            Ok(()) => at += record.len() as u64,
            Err(err) if err.kind() == io::ErrorKind::UnexpectedEof => return Ok(extent),
            // What comes behind it is still there, and must not be taken for cut off.
            Err(err) => return Err(err.into()),
        }
        let Some((key, numbers)) = parsed(&record) else {
            since_whole += 1;
            continue;
        };
        extent = Extent { whole_bytes: at, damaged: extent.damaged + since_whole };
        since_whole = 0;
        if take(key, numbers).is_break() {
            return Ok(extent);
        }
    }
}

/// Key and numbers of a record, if its checksum is right.
fn parsed(record: &[u8]) -> Option<(u64, &[u8])> {
    let (content, crc) = record.split_last_chunk::<4>()?;
    let (key, numbers) = content.split_first_chunk::<8>()?;
    (hash(content) == u32::from_le_bytes(*crc)).then_some((u64::from_le_bytes(*key), numbers))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model() -> Model {
        Model { id: "small".into(), sha256: "0".repeat(64), dimensions: 3 }
    }

    fn written(keys: &[u64]) -> Vec<u8> {
        let mut bytes = header(&model());
        keys.iter().for_each(|key| append(&mut bytes, *key, &[1.0, 0.5, 0.0]));
        bytes
    }

    fn keys(path: &Path) -> (Vec<u64>, Extent) {
        let (vectors, extent) = read(path, &model()).unwrap();
        (vectors.into_iter().map(|(key, _)| key).collect(), extent)
    }

    #[test]
    fn a_damaged_record_costs_only_itself() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let whole = written(&[1, 2, 3]);
        let (start, each) = (header(&model()).len(), record_bytes(&model()));
        fs::write(&path, &whole).unwrap();
        let all = Extent { whole_bytes: whole.len() as u64, damaged: 0 };
        assert_eq!(keys(&path), (vec![1, 2, 3], all));

        let mut bytes = whole.clone();
        bytes[start + each + 9] ^= 1;
        fs::write(&path, &bytes).unwrap();
        assert_eq!(keys(&path), (vec![1, 3], Extent { damaged: 1, ..all }), "what is behind it stays");

        // At the end it is what a crash cut off.
        let mut bytes = whole.clone();
        bytes[start + 2 * each + 9] ^= 1;
        fs::write(&path, &bytes).unwrap();
        let shorter = Extent { whole_bytes: (start + 2 * each) as u64, damaged: 0 };
        assert_eq!(keys(&path), (vec![1, 2], shorter));
        fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        assert_eq!(keys(&path), (vec![1, 2], shorter));
        fs::write(&path, &whole[..start - 1]).unwrap();
        assert_eq!(keys(&path), (vec![], Extent::default()));
    }

    #[test]
    fn what_is_no_log_is_told_from_one_of_other_weights_and_from_none() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        assert!(matches!(read(&path, &model()), Err(Fault::Missing)));
        fs::write(&path, written(&[1])).unwrap();
        let other = Model { sha256: "1".repeat(64), ..model() };
        assert!(matches!(read(&path, &other), Err(Fault::OfOthers)));
        fs::write(&path, "x".repeat(200)).unwrap();
        assert!(matches!(read(&path, &model()), Err(Fault::Damaged(_))));
        assert!(matches!(read(&path.join("log"), &model()), Err(Fault::Damaged(_))), "below a file");
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(matches!(read(&path, &model()), Err(Fault::Damaged(_))), "a directory");
    }

    #[test]
    fn who_has_seen_enough_is_shown_no_more() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        fs::write(&path, written(&[1, 2, 3])).unwrap();
        let mut seen = Vec::new();
        let shown = scan(&path, &model(), |key, numbers| {
            assert_eq!(vector_of(numbers), [1.0, 0.5, 0.0]);
            seen.push(key);
            if key == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        shown.unwrap();
        assert_eq!(seen, [1, 2]);
    }
}
