//! Values that commands were given and that are kept elsewhere: in an encrypted file of a workspace, or in a vault. They are
//! remembered, so that they are found in what is written, also by a daemon that starts later: a job outlives the daemon
//! that gave it a value. One file per user:
//!
//! ```text
//! 8 bytes   magic: `SKYUSE`, and the version of the format, 16 bits, big-endian
//! 8 bytes   fingerprint of the master key
//! 24 bytes  nonce
//! rest      XChaCha20-Poly1305 of, for each value, newest first: length of its name, length of it (both 32 bits,
//!           big-endian), the name, the value
//! ```
//!
//! The associated data is magic, fingerprint and owner (32 bits, big-endian).

use crate::{Error, MasterKey, Result, cipher, scan::SHORTEST_VALUE, store::LONGEST_VALUE};
use zeroize::Zeroizing;

/// Of version 1.
const MAGIC: [u8; 8] = *b"SKYUSE\x00\x01";

/// What is remembered, newest first. All variables of a file fit several times.
const MOST_VALUES: usize = 256;
const MOST_BYTES: usize = 1 << 20;

/// No file of ours is longer.
pub(crate) const LONGEST_FILE: u64 = (MOST_BYTES + (64 << 10)) as u64;

/// # Errors
/// `Invalid` if not all of these would be remembered.
pub(crate) fn check(values: &[Named]) -> Result<()> {
    if let Some((name, value)) = values.iter().find(|(_, value)| value.len() > LONGEST_VALUE) {
        let length = value.len();
        return Err(Error::Invalid(format!(
            "`{name}` has {length} bytes, and a command gets at most {LONGEST_VALUE}"
        )));
    }
    let bytes: usize = values.iter().map(|(name, value)| name.len() + value.len()).sum();
    if values.len() > MOST_VALUES || bytes > MOST_BYTES {
        return Err(Error::Invalid("these are more values than can be looked for".into()));
    }
    Ok(())
}

/// A name to show in place of a value, and the value.
pub type Named = (String, Zeroizing<Vec<u8>>);

/// What is remembered of one user.
#[derive(Default)]
pub(crate) struct Learned(Vec<Named>);

impl Learned {
    /// Puts these in front; says whether that changed anything.
    pub(crate) fn add(&mut self, values: &[Named]) -> bool {
        let mut has_changed = false;
        for (name, value) in values.iter().rev() {
            // What is not looked for need not be remembered.
            if value.len() < SHORTEST_VALUE {
                continue;
            }
            match self.0.iter().position(|(_, known)| known == value) {
                Some(place) => {
                    has_changed |= place >= values.len();
                    self.0.get_mut(..=place).unwrap_or_default().rotate_right(1);
                }
                None => {
                    has_changed = true;
                    self.0.insert(0, (name.clone(), value.clone()));
                }
            }
        }
        self.0.truncate(MOST_VALUES);
        let mut bytes = 0;
        self.0.retain(|(name, value)| {
            bytes += name.len() + value.len();
            bytes <= MOST_BYTES
        });
        has_changed
    }

    /// All of it.
    pub(crate) fn into_values(self) -> Vec<Named> {
        self.0
    }

    /// The content of the file.
    ///
    /// # Errors
    /// `Random`; `Invalid` for a length that cannot be written, which none is.
    pub(crate) fn seal(&self, key: &MasterKey, owner: u32) -> Result<Vec<u8>> {
        let size = self.0.iter().map(|(name, value)| 8 + name.len() + value.len()).sum();
        let mut plain = Zeroizing::new(Vec::with_capacity(size));
        for (name, value) in &self.0 {
            for length in [name.len(), value.len()] {
                let length = u32::try_from(length).map_err(|err| Error::Invalid(err.to_string()))?;
                plain.extend_from_slice(&length.to_be_bytes());
            }
            plain.extend_from_slice(name.as_bytes());
            plain.extend_from_slice(value);
        }
        let sealed = cipher::seal(key, &context(key, owner), &plain)?;
        Ok([&MAGIC[..], &key.fingerprint(), &sealed].concat())
    }

    /// Reads the content of the file; `None` if it is another.
    pub(crate) fn open(file: &[u8], key: &MasterKey, owner: u32) -> Option<Self> {
        let sealed = file.strip_prefix(&MAGIC)?.strip_prefix(&key.fingerprint())?;
        let plain = cipher::open(key, &context(key, owner), sealed)?;
        let mut rest = plain.as_slice();
        let mut values = Vec::new();
        while !rest.is_empty() {
            let (name_length, after) = rest.split_first_chunk::<4>()?;
            let (value_length, after) = after.split_first_chunk::<4>()?;
            let length = |bytes: &[u8; 4]| usize::try_from(u32::from_be_bytes(*bytes)).ok();
            let (name, after) = after.split_at_checked(length(name_length)?)?;
            let (value, after) = after.split_at_checked(length(value_length)?)?;
            values.push((String::from_utf8(name.to_vec()).ok()?, Zeroizing::new(value.to_vec())));
            rest = after;
        }
        Some(Self(values))
    }
}

fn context(key: &MasterKey, owner: u32) -> Vec<u8> {
    [&MAGIC[..], &key.fingerprint(), &owner.to_be_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str, value: impl Into<Vec<u8>>) -> Named {
        (name.to_owned(), Zeroizing::new(value.into()))
    }

    fn names(learned: &Learned) -> Vec<&str> {
        learned.0.iter().map(|(name, _)| name.as_str()).collect()
    }

    #[test]
    fn the_newest_values_are_remembered_once_each() {
        let mut learned = Learned::default();
        assert!(learned.add(&[named("a", "value a"), named("b", "value b")]));
        assert!(!learned.add(&[named("other", "value a"), named("short", "12345")]));
        assert!(learned.add(&[named("a", "value c")]));
        assert_eq!(names(&learned), ["a", "a", "b"]);
        let many: Vec<_> =
            (0..MOST_VALUES).map(|index| named(&format!("m{index}"), format!("many {index}"))).collect();
        assert!(learned.add(&many));
        assert_eq!((learned.0.len(), names(&learned)[0]), (MOST_VALUES, "m0"));
        // What was crowded out is learned again when it is used again.
        assert!(learned.add(&[named("b", "value b")]));
        let long: Vec<_> = (0..20_u8).map(|index| named("long", vec![index; 65_536])).collect();
        learned.add(&long);
        let bytes: usize = learned.0.iter().map(|(name, value)| name.len() + value.len()).sum();
        assert!(bytes <= MOST_BYTES && learned.0.len() == 15, "{bytes} {}", learned.0.len());
    }

    #[test]
    fn what_would_not_be_remembered_is_refused() {
        check(&[named("a", vec![0; LONGEST_VALUE])]).unwrap();
        let err = check(&[named("a", vec![0; LONGEST_VALUE + 1])]).unwrap_err().to_string();
        assert!(err.contains("`a` has 65537 bytes"), "{err}");
        for many in [vec![named("a", "x"); MOST_VALUES + 1], vec![named("a", vec![0; LONGEST_VALUE]); 17]] {
            assert!(check(&many).unwrap_err().to_string().contains("more values than"));
        }
    }

    #[test]
    fn what_was_learned_is_read_back_by_its_owner_with_its_key() {
        let key = MasterKey::from_bytes([1; 32]);
        let mut learned = Learned::default();
        learned.add(&[named("env:A", "value a"), named("é", [0, 255, 1, 2, 3, 4])]);
        let sealed = learned.seal(&key, 7).unwrap();
        assert!(sealed.len() as u64 <= LONGEST_FILE);
        assert_eq!(Learned::open(&sealed, &key, 7).unwrap().0, learned.0);
        assert!(Learned::open(&sealed, &key, 8).is_none());
        assert!(Learned::open(&sealed, &MasterKey::from_bytes([2; 32]), 7).is_none());
        for end in [0, 10, 20, sealed.len() - 1] {
            assert!(Learned::open(&sealed[..end], &key, 7).is_none());
        }
    }
}
