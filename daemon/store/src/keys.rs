//! The key that signs checkpoints (Ed25519, RFC 8032), and the public keys that are believed.
//!
//! A directory holds `audit.key`, the private key, readable by its owner alone; `audit.pub`, its public half; and
//! `retired/<id>.pub`, the public halves of earlier keys, whose signatures still count. Both forms are the PEM
//! (RFC 7468) that `openssl pkey` reads and writes (RFC 8410). The private key is never written anywhere else.

use crate::{Error, Result, aside, at};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use rustix::fs::OFlags;
use sha2::{Digest as _, Sha256};
use skynet_core::canonical::hex;
use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

/// What precedes the 32 bytes of a private key in `OneAsymmetricKey` (RFC 8410, section 7).
const PRIVATE_PREFIX: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// What precedes the 32 bytes of a public key in `SubjectPublicKeyInfo` (RFC 8410, section 4).
const PUBLIC_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// Labels of PEM (RFC 7468, sections 10 and 13).
const PRIVATE_LABEL: &str = "PRIVATE KEY";
const PUBLIC_LABEL: &str = "PUBLIC KEY";

/// A key's name is that many bytes of the SHA-256 of its 32 public bytes: nobody finds a second key of that name.
const ID_BYTES: usize = 16;

/// No file of a key is longer.
const LONGEST_FILE_BYTES: u64 = 4096;

/// A public key that is believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    /// The first 16 bytes of the SHA-256 of the key, in hexadecimal.
    pub id: String,
    key: VerifyingKey,
}

impl PublicKey {
    fn new(key: VerifyingKey) -> Self {
        let digest = Sha256::digest(key.as_bytes());
        Self { id: hex(digest.get(..ID_BYTES).unwrap_or(&digest)), key }
    }

    /// The 32 bytes of RFC 8032, section 5.1.5, in base64.
    #[must_use]
    pub fn to_base64(&self) -> String {
        STANDARD.encode(self.key.as_bytes())
    }

    /// Whether `signature`, 64 bytes in base64, is this key's of `text`. Strict: no two signatures of a text are
    /// accepted for one, and no key of low order.
    pub(crate) fn has_signed(&self, text: &str, signature: &str) -> bool {
        let bytes = STANDARD.decode(signature).ok();
        let signature = bytes.and_then(|bytes| Signature::from_slice(&bytes).ok());
        signature.is_some_and(|signature| self.key.verify_strict(text.as_bytes(), &signature).is_ok())
    }
}

/// The key that signs, and all that are believed.
pub(crate) struct Keys {
    signing: SigningKey,
    /// The current one first.
    trusted: Vec<PublicKey>,
}

impl Keys {
    /// The keys of a directory, or `None` if no private key is there yet.
    ///
    /// # Errors
    /// `Key` when the private key is not its owner's alone, is unreadable, or is not that of `audit.pub`.
    pub(crate) fn load(directory: &Path) -> Result<Option<Self>> {
        let path = directory.join("audit.key");
        let Some(text) = read_private(&path)? else { return Ok(None) };
        let seed = from_pem(&text, PRIVATE_LABEL, &PRIVATE_PREFIX).ok_or_else(|| {
            Error::Key(format!(
                "`{}` is not a private key of Ed25519 in PEM; restore it from a backup, or remove it, and a new key is made at the next start",
                path.display()
            ))
        })?;
        let keys = Self::new(SigningKey::from_bytes(&seed), directory);
        let public = directory.join("audit.pub");
        let ours = keys.signing.verifying_key();
        match fs::read(&public).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()) {
            Ok(text) if text == keys.public_pem() => {}
            Ok(text)
                if from_pem(&text, PUBLIC_LABEL, &PUBLIC_PREFIX)
                    .is_some_and(|key| key != *ours.as_bytes()) =>
            {
                return Err(Error::Key(format!(
                    "`{}` and `{}` do not belong together; restore the pair, or move `audit.pub` to `retired/` if the key was replaced",
                    path.display(),
                    public.display()
                )));
            }
            // The daemon died between the two.
            Err(err) if err.kind() == io::ErrorKind::NotFound => keys.save_public(directory)?,
            Ok(_) | Err(_) => {
                aside::set(&public, "a damaged public key, which is made anew from the private one")?;
                keys.save_public(directory)?;
            }
        }
        Ok(Some(keys))
    }

    /// A new key, not saved yet. The public key of one that was taken away is retired.
    ///
    /// # Errors
    /// What the filesystem or the kernel's random numbers say.
    pub(crate) fn generate(directory: &Path) -> Result<Self> {
        let retired = directory.join("retired");
        aside::unless_directory(&retired)?;
        DirBuilder::new().mode(0o700).recursive(true).create(&retired).map_err(at(&retired))?;
        let public = directory.join("audit.pub");
        match read_public(&public) {
            Ok(key) => {
                let to = retired.join(format!("{}.pub", key.id));
                fs::rename(&public, &to).map_err(at(&public))?;
                sync_directory(&retired)?;
            }
            Err(_) if !public.exists() => {}
            Err(err) => drop(aside::set(
                &public,
                &format!("the public key of before, which cannot be retired: {err}"),
            )?),
        }
        let mut seed = [0; 32];
        getrandom::fill(&mut seed)
            .map_err(|err| Error::Key(format!("no random numbers for a key: {err}")))?;
        Ok(Self::new(SigningKey::from_bytes(&seed), directory))
    }

    fn new(signing: SigningKey, directory: &Path) -> Self {
        let mut trusted = vec![PublicKey::new(signing.verifying_key())];
        let retired = directory.join("retired");
        let mut paths: Vec<PathBuf> = match fs::read_dir(&retired) {
            Ok(entries) => entries.filter_map(|entry| Some(entry.ok()?.path())).collect(),
            Err(err) if err.kind() == io::ErrorKind::NotFound => Vec::new(),
            // What they signed is told by `verify` then.
            Err(err) => {
                tracing::error!(path = %retired.display(), error = %err, "no retired key is believed");
                Vec::new()
            }
        };
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "pub"));
        paths.sort();
        for path in paths {
            match read_public(&path) {
                Ok(key) => trusted.push(key),
                Err(err) => tracing::error!(error = %err, "a retired key is not believed"),
            }
        }
        Self { signing, trusted }
    }

    /// Writes both halves; survives a power cut when it returns. An existing private key is never replaced.
    ///
    /// # Errors
    /// What the filesystem says.
    pub(crate) fn save(&self, directory: &Path) -> Result<()> {
        let path = directory.join("audit.key");
        let unfinished = directory.join("audit.key.new");
        // Of a daemon that died while it wrote it; nothing was signed with that key.
        let _ = fs::remove_file(&unfinished);
        write_new(&unfinished, 0o600, &to_pem(PRIVATE_LABEL, &PRIVATE_PREFIX, self.signing.as_bytes()))?;
        // Unlike rename(2), link(2) fails if the name is taken.
        fs::hard_link(&unfinished, &path).map_err(at(&path))?;
        fs::remove_file(&unfinished).map_err(at(&unfinished))?;
        sync_directory(directory)?;
        self.save_public(directory)
    }

    fn save_public(&self, directory: &Path) -> Result<()> {
        write_new(&directory.join("audit.pub"), 0o644, &self.public_pem())?;
        sync_directory(directory)
    }

    fn public_pem(&self) -> String {
        to_pem(PUBLIC_LABEL, &PUBLIC_PREFIX, self.signing.verifying_key().as_bytes())
    }

    /// All keys that are believed; the first signs.
    pub(crate) fn trusted(&self) -> &[PublicKey] {
        &self.trusted
    }

    /// The believed key of that name.
    pub(crate) fn find(&self, id: &str) -> Option<&PublicKey> {
        self.trusted.iter().find(|key| key.id == id)
    }

    /// Signs a text; the name of the key, and 64 bytes in base64.
    pub(crate) fn sign(&self, text: &str) -> (String, String) {
        let id = self.trusted.first().map_or_else(String::new, |key| key.id.clone());
        (id, STANDARD.encode(self.signing.sign(text.as_bytes()).to_bytes()))
    }
}

/// The text of a private key; `None` if there is none.
fn read_private(path: &Path) -> Result<Option<String>> {
    let no_follow = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or_default();
    let file = match OpenOptions::new().read(true).custom_flags(no_follow).open(path) {
        Ok(file) => file,
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(err) => return Err(at(path)(err)),
    };
    // Of the open file: what the name stands for may change.
    let found = file.metadata().map_err(at(path))?;
    let (mode, uid) = (found.mode() & 0o7777, rustix::process::geteuid().as_raw());
    if !found.is_file() || mode != 0o600 || found.uid() != uid {
        return Err(Error::Key(format!(
            "`{}` must be a regular file of mode 0600 owned by uid {uid}; it has mode {mode:04o} and uid {}. Whoever could read it can sign a forged audit log: if that is possible, remove it, and a new key is made at the next start",
            path.display(),
            found.uid()
        )));
    }
    let mut bytes = Vec::new();
    file.take(LONGEST_FILE_BYTES).read_to_end(&mut bytes).map_err(at(path))?;
    // What is no text is no key either, which the caller says.
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

fn read_public(path: &Path) -> Result<PublicKey> {
    let text = fs::read_to_string(path).map_err(at(path))?;
    from_pem(&text, PUBLIC_LABEL, &PUBLIC_PREFIX)
        .and_then(|bytes| VerifyingKey::from_bytes(&bytes).ok())
        .map(PublicKey::new)
        .ok_or_else(|| Error::Key(format!("`{}` is not a public key of Ed25519 in PEM", path.display())))
}

/// All of it fits one line of the 64 characters that RFC 7468, section 2, wants.
fn to_pem(label: &str, prefix: &[u8], key: &[u8; 32]) -> String {
    let body = STANDARD.encode([prefix, key].concat());
    format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
}

fn from_pem(text: &str, label: &str, prefix: &[u8]) -> Option<[u8; 32]> {
    let body = text.trim().strip_prefix(&format!("-----BEGIN {label}-----"))?;
    let body = body.strip_suffix(&format!("-----END {label}-----"))?;
    STANDARD.decode(body.trim()).ok()?.strip_prefix(prefix)?.try_into().ok()
}

fn write_new(path: &Path, mode: u32, text: &str) -> Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path).map_err(at(path))?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(at(path))
}

fn sync_directory(directory: &Path) -> Result<()> {
    File::open(directory).and_then(|file| file.sync_all()).map_err(at(directory))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn made(directory: &Path) -> Keys {
        let keys = Keys::generate(directory).unwrap();
        keys.save(directory).unwrap();
        keys
    }

    #[test]
    fn a_key_is_made_once_and_a_replaced_one_is_still_believed() {
        let directory = tempfile::tempdir().unwrap();
        assert!(Keys::load(directory.path()).unwrap().is_none());
        let first = made(directory.path());
        assert!(first.save(directory.path()).is_err(), "a private key is never replaced");
        fs::remove_file(directory.path().join("audit.key.new")).unwrap();
        let again = Keys::load(directory.path()).unwrap().unwrap();
        assert_eq!(again.trusted(), first.trusted());
        let (id, signature) = again.sign("text");
        assert!(first.find(&id).unwrap().has_signed("text", &signature));
        assert!(!first.find(&id).unwrap().has_signed("text2", &signature));

        fs::remove_file(directory.path().join("audit.key")).unwrap();
        let second = made(directory.path());
        assert_eq!(second.trusted().len(), 2);
        assert!(second.find(&id).unwrap().has_signed("text", &signature));
        assert_ne!(second.sign("text").0, id);
        // The daemon may die between the two halves.
        fs::remove_file(directory.path().join("audit.pub")).unwrap();
        Keys::load(directory.path()).unwrap().unwrap();
        assert!(directory.path().join("audit.pub").exists());
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        made(directory.path());
        let path = directory.path().join("audit.key");
        for mode in [0o640, 0o604, 0o400, 0o700] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let err = Keys::load(directory.path()).err().unwrap().to_string();
            assert!(
                err.contains("must be a regular file of mode 0600") && err.contains(&format!("{mode:04o}"))
            );
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::rename(&path, directory.path().join("elsewhere")).unwrap();
        std::os::unix::fs::symlink(directory.path().join("elsewhere"), &path).unwrap();
        assert!(Keys::load(directory.path()).is_err());
        fs::remove_file(&path).unwrap();
        let other = tempfile::tempdir().unwrap();
        made(other.path());
        fs::copy(other.path().join("audit.key"), &path).unwrap();
        let err = Keys::load(directory.path()).err().unwrap().to_string();
        assert!(err.contains("do not belong together"), "{err}");
    }

    #[test]
    fn a_damaged_public_key_is_made_anew_from_the_private_one() {
        let directory = tempfile::tempdir().unwrap();
        let first = made(directory.path());
        let public = directory.path().join("audit.pub");
        let text = fs::read_to_string(&public).unwrap();
        for damaged in ["", &text[..text.len() - 1], &text[..text.len() / 2], &text.replacen('-', "x", 1)] {
            fs::write(&public, damaged).unwrap();
            assert_eq!(Keys::load(directory.path()).unwrap().unwrap().trusted(), first.trusted());
            assert_eq!(fs::read_to_string(&public).unwrap(), text);
        }
        fs::remove_file(&public).unwrap();
        fs::create_dir(&public).unwrap();
        Keys::load(directory.path()).unwrap().unwrap();
        // One of before that is damaged keeps no daemon from starting, nor a new key from being made.
        fs::create_dir_all(directory.path().join("retired")).unwrap();
        fs::write(directory.path().join("retired/0.pub"), "damaged").unwrap();
        assert_eq!(Keys::load(directory.path()).unwrap().unwrap().trusted().len(), 1);
        fs::remove_file(directory.path().join("audit.key")).unwrap();
        fs::write(&public, "damaged").unwrap();
        assert_eq!(made(directory.path()).trusted().len(), 1);
    }

    #[test]
    fn signatures_are_those_of_rfc_8032() {
        // Section 7.1, test 2.
        let seed = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb";
        let seed: Vec<u8> =
            (0..32).map(|index| u8::from_str_radix(&seed[index * 2..index * 2 + 2], 16).unwrap()).collect();
        let directory = tempfile::tempdir().unwrap();
        let signing = SigningKey::from_bytes(&seed.try_into().unwrap());
        let keys = Keys::new(signing, directory.path());
        let signature = STANDARD.decode(keys.sign("r").1).unwrap();
        assert!(
            hex(&signature).starts_with("92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da")
        );
    }
}
