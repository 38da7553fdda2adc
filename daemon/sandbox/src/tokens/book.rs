//! The tokens of a host's users: a file of root's, replaced as a whole whenever one is made or ended. It holds no secret,
//! only hashes. A book that is torn knows nobody, and is put aside.

use prost::Message as _;
use sha2::{Digest as _, Sha256};
use skynet_core::{Effect, Error, Result, canonical::hex};
use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// What every token starts with, so that scanners for leaked secrets find it.
const PREFIX: &str = "skynet_";

/// What the file begins with: what it is, and in which version.
const MAGIC: &[u8] = b"skynet tokens 1\n";

/// Of a SHA-256.
const DIGEST_BYTES: usize = 32;

/// Names are shown in tables and in the audit log.
const LONGEST_NAME: usize = 64;

/// Tokens of one user, and of all.
const MOST_OF_USER: usize = 32;
const MOST: usize = 4096;

/// Directories of one token, and how long the path of one may be (limits.h, `PATH_MAX`).
const MOST_WORKSPACES: usize = 16;
const LONGEST_PATH: usize = 4096;

/// One token.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Entry {
    /// Names it; not secret.
    #[prost(string, tag = "1")]
    pub(crate) id: String,
    /// What its maker called it, once per user.
    #[prost(string, tag = "2")]
    pub(crate) name: String,
    /// SHA-256 of the secret, which has 256 random bits, so nothing slower is needed.
    #[prost(bytes = "vec", tag = "3")]
    pub(crate) hash: Vec<u8>,
    /// As whom it acts.
    #[prost(uint32, tag = "4")]
    pub(crate) uid: u32,
    /// Where, each as it really is.
    #[prost(string, repeated, tag = "5")]
    pub(crate) workspaces: Vec<String>,
    /// Names of effects.
    #[prost(string, repeated, tag = "6")]
    pub(crate) effects: Vec<String>,
    /// In seconds since 1970.
    #[prost(int64, tag = "7")]
    pub(crate) created_at: i64,
    /// The first second in which it no longer holds.
    #[prost(int64, optional, tag = "8")]
    pub(crate) expires_at: Option<i64>,
}

impl Entry {
    pub(crate) fn is_alive(&self, now: i64) -> bool {
        self.expires_at.is_none_or(|expires_at| expires_at > now)
    }
}

/// What the file holds.
#[derive(Clone, PartialEq, prost::Message)]
struct Pages {
    #[prost(message, repeated, tag = "1")]
    entries: Vec<Entry>,
}

/// What a new token is to allow.
pub(crate) struct Wanted {
    pub(crate) name: String,
    pub(crate) uid: u32,
    pub(crate) workspaces: Vec<String>,
    pub(crate) effects: Vec<String>,
    pub(crate) lives_for: Option<Duration>,
}

/// All of them.
pub(crate) struct Book {
    path: PathBuf,
    entries: Vec<Entry>,
}

impl Book {
    /// The one at `path`, in a directory that only this user can write; empty if there is none, or none that is whole.
    ///
    /// # Errors
    /// When it is not of this user alone, or what the filesystem says.
    pub(crate) fn open(path: PathBuf) -> io::Result<Self> {
        let found = match fs::symlink_metadata(&path) {
            Ok(found) => found,
            Err(err) if err.kind() == io::ErrorKind::NotFound => {
                return Ok(Self { path, entries: Vec::new() });
            }
            Err(err) => return Err(about(&path, &err)),
        };
        let own = rustix::process::geteuid().as_raw();
        if !found.is_file() || found.uid() != own || found.mode() & 0o077 != 0 {
            let path = path.display();
            return Err(io::Error::other(format!(
                "`{path}` must be a file of mode 0600 owned by uid {own}: whoever can write it makes tokens for all users"
            )));
        }
        let bytes = fs::read(&path).map_err(|err| about(&path, &err))?;
        let Some(entries) = parse(&bytes) else {
            let aside = path.with_added_extension(format!("damaged-{}", now()));
            fs::rename(&path, &aside).map_err(|err| about(&path, &err))?;
            writeln!(
                io::stderr(),
                "the tokens of `{}` are damaged, and none of them holds; the file is `{}` now",
                path.display(),
                aside.display()
            )?;
            return Ok(Self { path, entries: Vec::new() });
        };
        Ok(Self { path, entries })
    }

    /// Makes a token; the secret is told this once.
    ///
    /// # Errors
    /// `InvalidInput` for what makes no sense, `Conflict` for a name in use, `QuotaExceeded` for one too many, `Unavailable`
    /// when it cannot be stored.
    pub(crate) fn create(&mut self, wanted: Wanted, now: i64) -> Result<(Entry, String)> {
        let name = wanted.name.trim();
        check(name, &wanted)?;
        let expires_at = wanted.lives_for.map(|time| end_of(time, now)).transpose()?;
        // Those that ended take no place.
        let mut entries: Vec<Entry> =
            self.entries.iter().filter(|entry| entry.is_alive(now)).cloned().collect();
        let uid = wanted.uid;
        let own = || entries.iter().filter(move |entry| entry.uid == uid);
        if own().any(|entry| entry.name == name) {
            let message = format!("there is a token named `{name}` already; revoke it first");
            return Err(Error::conflict(message));
        }
        if own().count() >= MOST_OF_USER || entries.len() >= MOST {
            let message = format!(
                "there are too many tokens: {MOST_OF_USER} of one user and {MOST} in all; revoke one first"
            );
            return Err(Error::quota_exceeded(message));
        }
        let (id, secret) = self.draw()?;
        let entry = Entry {
            id,
            name: name.to_owned(),
            hash: Sha256::digest(&secret).to_vec(),
            uid,
            workspaces: wanted.workspaces,
            effects: wanted.effects,
            created_at: now,
            expires_at,
        };
        entries.push(entry.clone());
        self.write(&entries).map_err(|err| {
            Error::unavailable("the token is not made, because it cannot be stored").with_source(err)
        })?;
        self.entries = entries;
        Ok((entry, secret))
    }

    /// An id that no token has, and a secret that begins with it.
    fn draw(&self) -> Result<(String, String)> {
        loop {
            let (mut id, mut secret) = ([0; 4], [0; DIGEST_BYTES]);
            for bytes in [&mut id[..], &mut secret[..]] {
                getrandom::fill(bytes).map_err(|err| {
                    Error::unavailable("the kernel gives no random bytes").with_source(io::Error::from(err))
                })?;
            }
            let id = hex(&id);
            if self.entries.iter().all(|entry| entry.id != id) {
                let secret = format!("{PREFIX}{id}_{}", hex(&secret));
                return Ok((id, secret));
            }
        }
    }

    /// Those of that user, or all, by user and name; also those that have ended and were not replaced yet.
    pub(crate) fn list(&self, uid: Option<u32>) -> Vec<&Entry> {
        let mut found: Vec<&Entry> =
            self.entries.iter().filter(|entry| uid.is_none_or(|uid| entry.uid == uid)).collect();
        found.sort_by(|a, b| (a.uid, &a.name).cmp(&(b.uid, &b.name)));
        found
    }

    /// Ends the token of that name or id, of that user or of any.
    ///
    /// # Errors
    /// `NotFound`, `InvalidInput` when several users have one of that name, `Unavailable` when that cannot be stored: then
    /// it is refused all the same, for as long as this broker lives.
    pub(crate) fn revoke(&mut self, name: &str, uid: Option<u32>) -> (Option<Entry>, Result<()>) {
        let is_meant = |entry: &Entry| {
            uid.is_none_or(|uid| entry.uid == uid) && (entry.id == name || entry.name == name)
        };
        let mut found = self.entries.iter().filter(|entry| is_meant(entry)).map(|entry| entry.id.clone());
        let Some(id) = found.next() else {
            let message = format!("there is no token `{name}`; see `skynetctl token list`");
            return (None, Err(Error::not_found(message)));
        };
        if found.next().is_some() {
            let message = format!("several tokens are called `{name}`; give the id of one, or `--user`");
            return (None, Err(Error::invalid_input(message)));
        }
        let (gone, stored) = self.remove(&id);
        let stored = stored.map_err(|err| {
            let message =
                "the token is refused from now on, but that cannot be stored: with the next broker it may hold again";
            Error::unavailable(message).with_source(err)
        });
        (gone, stored)
    }

    /// Forgets the token of that id; what is known here no longer has it, whatever becomes of the file.
    pub(crate) fn remove(&mut self, id: &str) -> (Option<Entry>, io::Result<()>) {
        let at = self.entries.iter().position(|entry| entry.id == id);
        let gone = at.map(|at| self.entries.remove(at));
        (gone, self.write(&self.entries))
    }

    /// The token whose secret this is, if it is one that holds.
    pub(crate) fn shown(&self, secret: &str, now: i64) -> Option<&Entry> {
        let (id, _) = secret.strip_prefix(PREFIX)?.split_once('_')?;
        let entry = self.entries.iter().find(|entry| entry.id == id)?;
        (is_equal(&entry.hash, &Sha256::digest(secret)) && entry.is_alive(now)).then_some(entry)
    }

    /// Whether that very token is still here and holds.
    pub(crate) fn holds(&self, known: &Entry, now: i64) -> bool {
        known.is_alive(now) && self.entries.contains(known)
    }

    /// Replaces the file. Whoever reads it finds what was there before, or all of this.
    fn write(&self, entries: &[Entry]) -> io::Result<()> {
        let body = Pages { entries: entries.to_vec() }.encode_to_vec();
        let directory = self.path.parent().ok_or_else(|| io::Error::other("it needs a directory"))?;
        // Of mode 0600 (tempfile).
        let mut file = tempfile::Builder::new().prefix(".tokens-").tempfile_in(directory)?;
        for part in [MAGIC, &Sha256::digest(&body)[..], &body[..]] {
            file.write_all(part)?;
        }
        file.as_file().sync_all()?;
        file.persist(&self.path)?;
        File::open(directory)?.sync_all()
    }
}

/// The time, in seconds since 1970.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    // By a clock that is before that, whatever has an end has ended.
    since.ok().and_then(|since| i64::try_from(since.as_secs()).ok()).unwrap_or(i64::MAX)
}

fn about(path: &Path, err: &io::Error) -> io::Error {
    io::Error::new(err.kind(), format!("`{}`: {err}", path.display()))
}

/// What a file holds, if it is whole.
fn parse(bytes: &[u8]) -> Option<Vec<Entry>> {
    let (digest, body) = bytes.strip_prefix(MAGIC)?.split_at_checked(DIGEST_BYTES)?;
    if Sha256::digest(body)[..] != *digest {
        return None;
    }
    Some(Pages::decode(body).ok()?.entries)
}

/// Takes as long wherever they differ.
fn is_equal(one: &[u8], other: &[u8]) -> bool {
    let differing = one.iter().zip(other).fold(0, |differing, (one, other)| differing | (one ^ other));
    one.len() == other.len() && std::hint::black_box(differing) == 0
}

fn end_of(time: Duration, now: i64) -> Result<i64> {
    let end = i64::try_from(time.as_secs()).ok().and_then(|seconds| now.checked_add(seconds));
    // As far as RFC 3339 goes.
    end.filter(|end| *end < 253_402_300_800).ok_or_else(|| {
        Error::invalid_input("no token lives that long; leave the time out for one that does not expire")
    })
}

fn check(name: &str, wanted: &Wanted) -> Result<()> {
    let refused = |message: String| Err(Error::invalid_input(message));
    if name.is_empty() || name.len() > LONGEST_NAME || name.chars().any(char::is_control) {
        return refused(format!("a token's name has 1 to {LONGEST_NAME} printable bytes"));
    }
    if wanted.workspaces.is_empty() || wanted.workspaces.len() > MOST_WORKSPACES {
        return refused(format!("a token is bound to 1 to {MOST_WORKSPACES} workspaces"));
    }
    for path in &wanted.workspaces {
        // With nothing in it that another path could spell otherwise: it is compared with where a directory really is.
        let plain: PathBuf = Path::new(path).components().collect();
        let is_plain = path.starts_with('/')
            && path != "/"
            && path.len() < LONGEST_PATH
            && !path.chars().any(char::is_control)
            && plain.as_os_str() == path.as_str()
            && !path.split('/').any(|part| part == "..");
        if !is_plain {
            return refused(format!(
                "`{}` is no absolute path of a directory as it really is",
                path.escape_debug()
            ));
        }
    }
    let names: Vec<&str> = Effect::ALL.iter().map(|effect| effect.as_str()).collect();
    if wanted.effects.is_empty() || wanted.effects.len() > names.len() {
        return refused("a token is bound to at least one effect, and to each once".to_owned());
    }
    match wanted.effects.iter().find(|effect| !names.contains(&effect.as_str())) {
        Some(effect) => {
            refused(format!("`{}` is no effect; there are {}", effect.escape_debug(), names.join(", ")))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    const NOW: i64 = 1_700_000_000;

    fn wanted(name: &str, uid: u32) -> Wanted {
        Wanted {
            name: name.into(),
            uid,
            workspaces: vec!["/home/a/project".into()],
            effects: vec!["read".into()],
            lives_for: None,
        }
    }

    fn book(directory: &tempfile::TempDir) -> Book {
        Book::open(directory.path().join("tokens")).unwrap()
    }

    #[test]
    fn a_token_is_known_by_its_secret_also_to_the_next_broker() {
        let directory = tempfile::tempdir().unwrap();
        let (entry, secret) = book(&directory).create(wanted("a", 1), NOW).unwrap();
        let book = book(&directory);
        assert_eq!(book.shown(&secret, NOW), Some(&entry));
        assert_eq!(entry.uid, 1);
        let file = fs::read(directory.path().join("tokens")).unwrap();
        assert!(!file.windows(secret.len()).any(|part| part == secret.as_bytes()), "the secret is stored");
        let mode = fs::metadata(directory.path().join("tokens")).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
        let id = &entry.id;
        let other =
            format!("{}{}", &secret[..secret.len() - 1], if secret.ends_with('0') { '1' } else { '0' });
        for wrong in
            ["", "skynet_", &format!("skynet_{id}_"), &other, &secret[1..], &secret[..secret.len() - 1]]
        {
            assert!(book.shown(wrong, NOW).is_none(), "{wrong}");
        }
    }

    #[test]
    fn a_token_ends_by_its_time_and_by_being_revoked() {
        let directory = tempfile::tempdir().unwrap();
        let mut book = book(&directory);
        let for_a_minute = Wanted { lives_for: Some(Duration::from_secs(60)), ..wanted("short", 1) };
        let (short, secret) = book.create(for_a_minute, NOW).unwrap();
        assert!(book.shown(&secret, NOW + 59).is_some() && book.holds(&short, NOW + 59));
        assert!(book.shown(&secret, NOW + 60).is_none() && !book.holds(&short, NOW + 60));
        // Its name and its place are free again.
        book.create(wanted("short", 1), NOW + 60).unwrap();
        assert_eq!(book.list(Some(1)).len(), 1);

        let (entry, secret) = book.create(wanted("b", 1), NOW).unwrap();
        let (gone, stored) = book.revoke("b", Some(1));
        stored.unwrap();
        assert_eq!(gone, Some(entry.clone()));
        assert!(book.shown(&secret, NOW).is_none() && !book.holds(&entry, NOW));
        assert!(Book::open(directory.path().join("tokens")).unwrap().shown(&secret, NOW).is_none());
        assert_eq!(book.revoke("b", Some(1)).1.unwrap_err().kind, skynet_core::ErrorKind::NotFound);
    }

    #[test]
    fn nobody_ends_or_sees_the_token_of_another() {
        let directory = tempfile::tempdir().unwrap();
        let mut book = book(&directory);
        let (ann, secret) = book.create(wanted("ci", 1), NOW).unwrap();
        let (bob, _) = book.create(wanted("ci", 2), NOW).unwrap();
        assert_eq!(book.list(Some(1)), [&ann]);
        for name in [&ann.id, "nothing"] {
            let (gone, refused) = book.revoke(name, Some(2));
            assert!(gone.is_none());
            assert_eq!(refused.unwrap_err().kind, skynet_core::ErrorKind::NotFound);
        }
        // Root has to say whose.
        assert_eq!(book.revoke("ci", None).1.unwrap_err().kind, skynet_core::ErrorKind::InvalidInput);
        assert_eq!(book.revoke("ci", Some(2)).0, Some(bob));
        assert_eq!(book.shown(&secret, NOW), Some(&ann));
        assert_eq!(book.revoke(&ann.id, None).0, Some(ann.clone()));
    }

    #[test]
    fn a_torn_book_knows_nobody_and_is_kept_aside() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tokens");
        let (_, secret) = book(&directory).create(wanted("a", 1), NOW).unwrap();
        let whole = fs::read(&path).unwrap();
        let mut turned = whole.clone();
        *turned.last_mut().unwrap() ^= 1;
        let cut = |at: usize| whole[..at].to_vec();
        let damages = [turned, cut(whole.len() - 1), cut(MAGIC.len()), cut(3), Vec::new()];
        for (at, damaged) in damages.iter().enumerate() {
            fs::write(&path, damaged).unwrap();
            let book = book(&directory);
            assert!(book.shown(&secret, NOW).is_none() && book.list(None).is_empty(), "{at}");
            assert!(!path.exists(), "{at}");
            let aside = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().path());
            let kept: Vec<_> = aside.filter(|path| path.to_string_lossy().contains("damaged-")).collect();
            assert_eq!(kept.len(), 1, "{kept:?}");
            assert_eq!(fs::read(&kept[0]).unwrap(), *damaged);
            fs::remove_file(&kept[0]).unwrap();
            fs::write(&path, &whole).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        }
        assert!(book(&directory).shown(&secret, NOW).is_some());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o620)).unwrap();
        assert!(Book::open(path.clone()).is_err(), "others could write it");
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
        assert!(Book::open(path).is_err(), "it lies elsewhere");
    }

    #[test]
    fn what_makes_no_sense_or_is_too_much_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let mut book = book(&directory);
        let in_directory = |path: &str| Wanted { workspaces: vec![path.into()], ..wanted("a", 1) };
        let with_effects = |effects: &[&str]| Wanted {
            effects: effects.iter().map(|name| (*name).into()).collect(),
            ..wanted("a", 1)
        };
        for refused in [
            wanted(" ", 1),
            wanted("a\nb", 1),
            wanted(&"a".repeat(65), 1),
            in_directory("/"),
            in_directory("home/a"),
            in_directory("/home/a/"),
            in_directory("/home/./a"),
            in_directory("/home//a"),
            in_directory("/home/a/../b"),
            in_directory("/home/a\0"),
            Wanted { workspaces: Vec::new(), ..wanted("a", 1) },
            with_effects(&[]),
            with_effects(&["all"]),
            with_effects(&["read"; 5]),
            Wanted { lives_for: Some(Duration::MAX), ..wanted("a", 1) },
        ] {
            let err = book.create(refused, NOW).unwrap_err();
            assert_eq!(err.kind, skynet_core::ErrorKind::InvalidInput, "{err}");
        }
        assert!(!directory.path().join("tokens").exists());
        for number in 0..MOST_OF_USER {
            book.create(wanted(&format!("t{number}"), 1), NOW).unwrap();
        }
        let err = book.create(wanted("more", 1), NOW).unwrap_err();
        assert_eq!(err.kind, skynet_core::ErrorKind::QuotaExceeded);
        let err = book.create(wanted("t0", 1), NOW).unwrap_err();
        assert_eq!(err.kind, skynet_core::ErrorKind::Conflict);
        book.create(wanted("t0", 2), NOW).unwrap();
    }
}
