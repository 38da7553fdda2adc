//! The key that everything else is encrypted with: a systemd credential, or a file of the daemon's user that is made on
//! first use. The key is never shown, logged or written anywhere else.

use crate::{Error, Result, at};
use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
};
use sha2::{Digest as _, Sha256};
use std::{
    fmt,
    fs::{self, File},
    io::{self, Read as _, Write as _},
    os::unix::fs::MetadataExt as _,
    path::Path,
};
use zeroize::Zeroizing;

/// Of XChaCha20 (draft-irtf-cfrg-xchacha-03, section 2.3).
const KEY_BYTES: usize = 32;

/// As named in the unit: `LoadCredentialEncrypted=skynet-master-key` (systemd.exec(5)).
const CREDENTIAL: &str = "skynet-master-key";

/// Where systemd puts the credentials of a unit (systemd.exec(5), "Credentials").
const CREDENTIALS_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

/// 32 random bytes, wiped when dropped.
pub struct MasterKey(Zeroizing<[u8; KEY_BYTES]>);

/// Who else may have looked at the file of a key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keeper {
    /// systemd: the file is root's or the service user's, on a filesystem of its own.
    Systemd,
    /// This user, and nobody else.
    User,
}

impl MasterKey {
    /// The credential `skynet-master-key` if systemd passed one, or else the key in `key_file`, which is made if it is
    /// not there.
    ///
    /// # Errors
    /// `Key` when the file may be known to others, holds no key, or is gone while there is something below `sealed` that
    /// was sealed with it; `Io` when it cannot be read or made.
    pub fn load(key_file: &Path, sealed: &Path) -> Result<Self> {
        if let Some(directory) = std::env::var_os(CREDENTIALS_DIRECTORY)
            && let Some(key) = Self::from_credential(Path::new(&directory))?
        {
            return Ok(key);
        }
        let is_gone =
            matches!(fs::symlink_metadata(key_file), Err(err) if err.kind() == io::ErrorKind::NotFound);
        if is_gone && fs::read_dir(sealed).is_ok_and(|mut entries| entries.next().is_some()) {
            return Err(Error::Key {
                path: key_file.to_owned(),
                reason: format!(
                    "it is gone, and `{}` is sealed with it; put it back from a backup, or remove that directory to begin anew",
                    sealed.display()
                ),
            });
        }
        Self::from_file(key_file)
    }

    /// The credential in a directory of systemd's; `None` if there is none of that name.
    ///
    /// # Errors
    /// `Key` when it holds no key, `Io` when it cannot be read.
    pub fn from_credential(directory: &Path) -> Result<Option<Self>> {
        read(&directory.join(CREDENTIAL), Keeper::Systemd)
    }

    /// The key in a file that only this user can read; it is made if it is not there.
    ///
    /// # Errors
    /// `Key` when others can read it, it is somebody else's, or no key; `Io` when it cannot be read or made.
    pub fn from_file(path: &Path) -> Result<Self> {
        if let Some(key) = read(path, Keeper::User)? {
            return Ok(key);
        }
        create(path)?;
        // Whoever was faster, this is the key that is there.
        read(path, Keeper::User)?.ok_or_else(|| refuse(path, "it vanished right after it was made"))
    }

    /// These bytes, which the caller chose at random.
    #[must_use]
    pub fn from_bytes(bytes: [u8; KEY_BYTES]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// A key for another purpose, which tells nothing of this one: SHA-256 of the purpose and this key, which is random.
    #[must_use]
    pub fn derive(&self, purpose: &str) -> Self {
        let digest =
            Sha256::new().chain_update(purpose).chain_update([0]).chain_update(self.0.as_slice()).finalize();
        Self(Zeroizing::new(digest.into()))
    }

    pub(crate) fn bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }

    /// Tells keys apart without telling anything of them: 64 bits of a hash of 256 random bits.
    pub(crate) fn fingerprint(&self) -> [u8; 8] {
        let digest =
            Sha256::new().chain_update(b"skynet master key 1").chain_update(self.0.as_slice()).finalize();
        digest.first_chunk().copied().unwrap_or_default()
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("MasterKey(hidden)")
    }
}

/// `None` if there is no file.
fn read(path: &Path, keeper: Keeper) -> Result<Option<MasterKey>> {
    // What is no regular file must not make this wait (fifo(7)) or lead elsewhere.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT) => return Ok(None),
        // open(2): what O_NOFOLLOW says to a symbolic link.
        Err(Errno::LOOP) => return Err(refuse(path, "it is a symbolic link; name the file itself")),
        // open(2): a socket, or a device without a driver.
        Err(Errno::NXIO) => return Err(refuse(path, "it is no regular file")),
        Err(err) => return Err(at(path)(err.into())),
    };
    let metadata = file.metadata().map_err(at(path))?;
    if !metadata.is_file() {
        return Err(refuse(path, "it is no regular file"));
    }
    if keeper == Keeper::User {
        let user = rustix::process::geteuid().as_raw();
        if metadata.uid() != user {
            let owner = metadata.uid();
            return Err(refuse(
                path,
                &format!("it belongs to user {owner}, and this is user {user}; `chown` it"),
            ));
        }
        if metadata.mode() & 0o077 != 0 {
            let mode = metadata.mode() & 0o7777;
            return Err(refuse(
                path,
                &format!("its mode is {mode:04o}, so others may know it; make a new one, or `chmod 0600` it"),
            ));
        }
    }
    let mut bytes = Zeroizing::new([0; KEY_BYTES]);
    let size = metadata.len();
    if size != KEY_BYTES as u64 || file.read_exact(&mut *bytes).is_err() {
        return Err(refuse(
            path,
            &format!("it has {size} bytes, and a key is {KEY_BYTES} random bytes; restore it from a backup"),
        ));
    }
    Ok(Some(MasterKey(bytes)))
}

/// Makes the file, whole or not at all, unless there is one meanwhile.
fn create(path: &Path) -> Result<()> {
    let directory = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => return Err(refuse(path, "it is no regular file")),
    };
    let mut bytes = Zeroizing::new([0; KEY_BYTES]);
    getrandom::fill(bytes.as_mut_slice()).map_err(Error::Random)?;
    // Made with O_EXCL and mode 0600, and given its name when it is on the disk: a crash leaves no half of a key.
    let mut file = tempfile::NamedTempFile::new_in(directory).map_err(at(directory))?;
    file.write_all(bytes.as_slice()).and_then(|()| file.as_file().sync_all()).map_err(at(path))?;
    match file.persist_noclobber(path) {
        Ok(_) => {}
        Err(err) if err.error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(err) => return Err(at(path)(err.error)),
    }
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(at(directory))
}

fn refuse(path: &Path, reason: &str) -> Error {
    Error::Key { path: path.to_owned(), reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        fs,
        os::unix::fs::{PermissionsExt as _, symlink},
    };

    #[test]
    fn a_key_is_made_once_and_for_this_user_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let key = MasterKey::from_file(&path).unwrap();
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!((metadata.mode() & 0o7777, metadata.len()), (0o600, 32));
        assert_eq!(MasterKey::from_file(&path).unwrap().bytes(), key.bytes());
        assert_eq!(fs::read(&path).unwrap(), key.bytes());
        let other = MasterKey::from_file(&directory.path().join("other")).unwrap();
        assert_ne!(other.bytes(), key.bytes());
        assert_ne!(other.fingerprint(), key.fingerprint());
        assert_eq!(format!("{key:?}"), "MasterKey(hidden)");
        // Nothing but the two keys is left.
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
    }

    #[test]
    fn what_others_may_know_is_no_key() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let refused = |path: &Path| MasterKey::from_file(path).unwrap_err().to_string();
        fs::write(&path, [1; 32]).unwrap();
        for mode in [0o640, 0o604, 0o620, 0o601] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert!(refused(&path).contains(&format!("{mode:04o}")), "{}", refused(&path));
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        assert_eq!(MasterKey::from_file(&path).unwrap().bytes(), &[1; 32]);
        let link = directory.path().join("link");
        symlink(&path, &link).unwrap();
        assert!(refused(&link).contains("symbolic link"), "{}", refused(&link));
        let dangling = directory.path().join("dangling");
        symlink(directory.path().join("nothing"), &dangling).unwrap();
        assert!(refused(&dangling).contains("symbolic link"));
        assert!(refused(directory.path()).contains("no regular file"));
        let pipe = directory.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, Mode::RWXU, 0).unwrap();
        assert!(refused(&pipe).contains("no regular file"));
        for length in [0, 31, 33] {
            let path = directory.path().join(length.to_string());
            fs::write(&path, vec![1; length]).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            assert!(refused(&path).contains(&format!("{length} bytes")), "{}", refused(&path));
        }
        assert!(matches!(MasterKey::from_file(&directory.path().join("a/b")), Err(Error::Io { .. })));
    }

    #[test]
    fn a_key_of_somebody_else_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        fs::write(&path, [1; 32]).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let foreign = if std::os::unix::fs::chown(&path, Some(12345), None).is_ok() {
            path
        } else {
            // Without root's power: any file of root's that can be opened.
            std::path::PathBuf::from("/etc/passwd")
        };
        let err = MasterKey::from_file(&foreign).unwrap_err().to_string();
        assert!(err.contains("belongs to user"), "{err}");
    }

    #[test]
    fn a_credential_may_be_roots() {
        let directory = tempfile::tempdir().unwrap();
        assert!(MasterKey::from_credential(directory.path()).unwrap().is_none());
        let path = directory.path().join(CREDENTIAL);
        fs::write(&path, [3; 32]).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o440)).unwrap();
        assert_eq!(MasterKey::from_credential(directory.path()).unwrap().unwrap().bytes(), &[3; 32]);
        // One of that mode is written by root alone.
        fs::remove_file(&path).unwrap();
        fs::write(&path, "short").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o440)).unwrap();
        assert!(MasterKey::from_credential(directory.path()).unwrap_err().to_string().contains("5 bytes"));
    }
}
