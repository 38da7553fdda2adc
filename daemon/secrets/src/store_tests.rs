//! Every secret through a store in a directory of its own.

use super::*;
use crate::{
    Git,
    purpose::{LONGEST_HOST, LONGEST_LABEL, MOST_HOSTS},
};
use proptest::prelude::*;
use std::os::unix::fs::{MetadataExt as _, symlink};

fn sample() -> (tempfile::TempDir, Secrets) {
    let directory = tempfile::tempdir().unwrap();
    let secrets = open(&directory, 1);
    (directory, secrets)
}

fn open(directory: &tempfile::TempDir, key: u8) -> Secrets {
    Secrets::open(&directory.path().join("secrets"), MasterKey::from_bytes([key; 32])).unwrap()
}

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn to(hosts: &[String]) -> Purpose {
    Purpose { hosts: hosts.to_vec(), git: None }
}

fn values(secrets: &Secrets, owner: u32) -> Vec<(String, Vec<u8>)> {
    let readable = secrets.all_values(owner).unwrap();
    readable.found.into_iter().map(|(name, value)| (name, value.to_vec())).collect()
}

#[test]
fn a_secret_is_there_after_a_restart() {
    let (directory, secrets) = sample();
    let hosts = vec!["api.example.com".to_owned(), "*.example.org".to_owned(), "127.0.0.1".to_owned()];
    let set = secrets.set(7, &name("token"), b"value one", &to(&hosts), Existing::Fail).unwrap();
    assert_eq!((set.version, set.size_bytes, &set.purpose.hosts), (1, 9, &hosts));
    assert_eq!(set.created_at, set.updated_at);
    drop(secrets);
    let secrets = open(&directory, 1);
    assert_eq!(secrets.metadata(7, &name("token")).unwrap(), set);
    assert_eq!(&**secrets.value(7, &name("token")).unwrap(), b"value one");
    assert_eq!(secrets.list(7).unwrap().found, [set]);
}

#[test]
fn what_a_secret_is_for_is_there_after_a_restart() {
    let (directory, secrets) = sample();
    let purpose = Purpose { hosts: vec!["git.example.com".to_owned()], git: Some(Git::new("ann")) };
    let set = secrets.set(7, &name("token"), b"value", &purpose, Existing::Fail).unwrap();
    assert_eq!((&set.purpose, set.is_private_key), (&purpose, false));
    let key = b"-----BEGIN OPENSSH PRIVATE KEY-----\nx";
    assert!(secrets.set(7, &name("key"), key, &purpose, Existing::Fail).unwrap().is_private_key);
    assert_eq!(open(&directory, 1).metadata(7, &name("token")).unwrap(), set);
}

#[test]
fn nothing_is_replaced_by_accident() {
    let (_keep, secrets) = sample();
    let first = secrets.set(7, &name("a"), b"one", &to(&["h".to_owned()]), Existing::Fail).unwrap();
    let err = secrets.set(7, &name("a"), b"two", &Purpose::default(), Existing::Fail).unwrap_err();
    assert!(matches!(err, Error::Exists(_)), "{err}");
    assert_eq!(&**secrets.value(7, &name("a")).unwrap(), b"one");
    let second = secrets.set(7, &name("a"), b"two", &Purpose::default(), Existing::Replace).unwrap();
    assert_eq!((second.version, second.created_at, second.purpose.hosts.len()), (2, first.created_at, 0));
    assert_eq!(values(&secrets, 7), [("a".to_owned(), b"two".to_vec()), ("a".to_owned(), b"one".to_vec())]);
    assert_eq!(
        secrets.set(7, &name("b"), b"new", &Purpose::default(), Existing::Replace).unwrap().version,
        1
    );
}

#[test]
fn a_rotated_secret_remembers_its_last_four_values() {
    let (_keep, secrets) = sample();
    assert!(matches!(secrets.rotate(7, &name("a"), b"v"), Err(Error::NotFound(_))));
    secrets.set(7, &name("a"), b"0", &to(&["h".to_owned()]), Existing::Fail).unwrap();
    for version in 1..=6_u8 {
        let metadata = secrets.rotate(7, &name("a"), &[b'0' + version]).unwrap();
        assert_eq!((metadata.version, metadata.purpose.hosts.len()), (u64::from(version) + 1, 1));
        assert!(metadata.updated_at >= metadata.created_at);
    }
    let all: Vec<u8> = values(&secrets, 7).into_iter().flat_map(|(_, value)| value).collect();
    assert_eq!(all, b"65432");
    assert_eq!(&**secrets.value(7, &name("a")).unwrap(), b"6");
}

#[test]
fn a_deleted_secret_is_gone_with_its_values_of_before() {
    let (directory, secrets) = sample();
    secrets.set(7, &name("a"), b"one", &Purpose::default(), Existing::Fail).unwrap();
    secrets.rotate(7, &name("a"), b"two").unwrap();
    secrets.delete(7, &name("a")).unwrap();
    assert!(matches!(secrets.delete(7, &name("a")), Err(Error::NotFound(_))));
    assert!(matches!(secrets.value(7, &name("a")), Err(Error::NotFound(_))));
    assert!(values(&secrets, 7).is_empty());
    assert_eq!(fs::read_dir(directory.path().join("secrets/7")).unwrap().count(), 0);
}

#[test]
fn users_never_see_each_others() {
    let (directory, secrets) = sample();
    secrets.set(7, &name("a"), b"of seven", &Purpose::default(), Existing::Fail).unwrap();
    secrets.set(8, &name("a"), b"of eight", &Purpose::default(), Existing::Fail).unwrap();
    assert_eq!(&**secrets.value(7, &name("a")).unwrap(), b"of seven");
    assert!(secrets.list(9).unwrap().found.is_empty() && values(&secrets, 9).is_empty());
    secrets.delete(8, &name("a")).unwrap();
    assert_eq!(values(&secrets, 7).len(), 1);
    // Not even when somebody moves the file.
    let base = directory.path().join("secrets");
    fs::copy(base.join("7/a"), base.join("8/a")).unwrap();
    let err = secrets.value(8, &name("a")).unwrap_err().to_string();
    assert!(err.contains("`a`") && err.contains("altered"), "{err}");
    fs::copy(base.join("7/a"), base.join("7/b")).unwrap();
    assert!(matches!(secrets.value(7, &name("b")), Err(Error::Damaged { .. })));
}

#[test]
fn one_that_cannot_be_read_hides_no_other() {
    let (directory, secrets) = sample();
    let base = directory.path().join("secrets/7");
    for text in ["a", "good", "z"] {
        secrets.set(7, &name(text), text.as_bytes(), &Purpose::default(), Existing::Fail).unwrap();
    }
    let whole = fs::read(base.join("a")).unwrap();
    let mut altered = whole.clone();
    *altered.last_mut().unwrap() ^= 1;
    let long = vec![0; usize::try_from(LONGEST_FILE).unwrap() + 1];
    for broken in [&altered[..], &whole[..20], &whole[..10], b"", b"SKYSEC\x00\x02rest", &long] {
        fs::write(base.join("a"), broken).unwrap();
        let readable = secrets.list(7).unwrap();
        let found: Vec<_> = readable.found.iter().map(|metadata| metadata.name.as_str()).collect();
        assert_eq!(found, ["good", "z"]);
        assert_eq!(readable.damaged.len(), 1);
        assert!(readable.damaged[0].to_string().contains("`a`"), "{}", readable.damaged[0]);
        assert_eq!(values(&secrets, 7).len(), 2);
        assert!(matches!(secrets.rotate(7, &name("a"), b"v"), Err(Error::Damaged { .. })));
        let again = secrets.set(7, &name("a"), b"v", &Purpose::default(), Existing::Replace);
        assert!(matches!(again, Err(Error::Damaged { .. })));
    }
    fs::remove_file(base.join("a")).unwrap();
    symlink(base.join("good"), base.join("a")).unwrap();
    fs::create_dir(base.join("directory")).unwrap();
    fs::write(base.join("No Name"), "").unwrap();
    fs::write(base.join(".new-cut-short"), "").unwrap();
    let readable = secrets.list(7).unwrap();
    assert_eq!((readable.found.len(), readable.damaged.len()), (2, 3), "{readable:?}");
    // It can be deleted, and set again.
    secrets.delete(7, &name("a")).unwrap();
    secrets.set(7, &name("a"), b"v", &Purpose::default(), Existing::Fail).unwrap();
    assert_eq!(&**secrets.value(7, &name("good")).unwrap(), b"good");
}

#[test]
fn another_master_key_is_told_from_damage() {
    let (directory, secrets) = sample();
    secrets.set(7, &name("a"), b"one", &Purpose::default(), Existing::Fail).unwrap();
    let other = open(&directory, 2);
    let err = other.value(7, &name("a")).unwrap_err().to_string();
    assert!(err.contains("`a`") && err.contains("another master key"), "{err}");
    other.set(7, &name("b"), b"two", &Purpose::default(), Existing::Fail).unwrap();
    assert_eq!(other.list(7).unwrap().found.len(), 1);
}

#[test]
fn values_and_hosts_have_limits() {
    let (_keep, secrets) = sample();
    let set =
        |value: &[u8], hosts: &[String]| secrets.set(7, &name("a"), value, &to(hosts), Existing::Replace);
    assert!(set(b"", &[]).unwrap_err().to_string().contains("1 to 65536"));
    assert!(set(&vec![b'x'; LONGEST_VALUE + 1], &[]).is_err());
    for host in ["", "A.example", "https://a", "a:443", "a/b", "a..b", ".a", "-a", "a-", "*", "a.*", "é"] {
        assert!(set(b"v", &[host.to_owned()]).is_err(), "{host}");
    }
    assert!(set(b"v", &vec!["a".to_owned(); MOST_HOSTS + 1]).is_err());
    assert!(secrets.list(7).unwrap().found.is_empty());
    // The largest that may be is read back.
    let label = "a".repeat(LONGEST_LABEL);
    let longest = [label.clone(), label.clone(), label.clone(), "a".repeat(61)].join(".");
    assert_eq!(longest.len(), LONGEST_HOST);
    for round in 0..=MOST_PREVIOUS {
        let value = vec![u8::try_from(round).unwrap(); LONGEST_VALUE];
        set(&value, &vec![longest.clone(); MOST_HOSTS]).unwrap();
    }
    assert_eq!(values(&secrets, 7).len(), 1 + MOST_PREVIOUS);
}

#[test]
fn files_are_private_and_tell_nothing() {
    let (directory, secrets) = sample();
    secrets
        .set(7, &name("a"), b"plainly visible", &to(&["host.example".to_owned()]), Existing::Fail)
        .unwrap();
    let base = directory.path().join("secrets");
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
    assert_eq!((mode(&base), mode(&base.join("7")), mode(&base.join("7/a"))), (0o700, 0o700, 0o600));
    let bytes = fs::read(base.join("7/a")).unwrap();
    for text in [&b"plainly"[..], b"host.example"] {
        assert!(!bytes.windows(text.len()).any(|window| window == text));
    }
    assert!(!format!("{secrets:?}").contains("1, 1"), "{secrets:?}");
}

#[test]
fn of_many_who_set_it_at_once_one_wins() {
    let (_keep, secrets) = sample();
    let set = |value: u8| secrets.set(7, &name("a"), &[value], &Purpose::default(), Existing::Fail).is_ok();
    let winners = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|value| scope.spawn(move || set(value))).collect();
        threads.into_iter().map(|thread| usize::from(thread.join().unwrap())).sum::<usize>()
    });
    assert_eq!((winners, values(&secrets, 7).len()), (1, 1));
}

#[test]
fn a_value_that_is_kept_elsewhere_is_not_here() {
    let (directory, secrets) = sample();
    let set = secrets.link(7, &name("db"), "db#password", &["h".into()], Existing::Fail).unwrap();
    assert_eq!((set.version, set.size_bytes, set.link.as_deref()), (1, 0, Some("db#password")));
    assert!(matches!(secrets.link(7, &name("db"), "x#y", &[], Existing::Fail), Err(Error::Exists(_))));
    drop(secrets);
    let secrets = open(&directory, 1);
    assert_eq!(secrets.metadata(7, &name("db")).unwrap(), set);
    for refused in [secrets.value(7, &name("db")).err(), secrets.rotate(7, &name("db"), b"value").err()] {
        let err = refused.unwrap().to_string();
        assert!(err.contains("kept elsewhere, at `db#password`"), "{err}");
    }
    assert_eq!(secrets.reveal(7, &name("db")).unwrap(), (set, None));
    // From one kind to the other and back, what was a value is still looked for.
    secrets.set(7, &name("db"), b"value one", &Purpose::default(), Existing::Replace).unwrap();
    let (metadata, value) = secrets.reveal(7, &name("db")).unwrap();
    assert_eq!((metadata.link, value.unwrap().as_slice()), (None, &b"value one"[..]));
    assert!(matches!(secrets.reveal(7, &name("other")), Err(Error::NotFound(_))));
    assert_eq!(values(&secrets, 7), [("db".to_owned(), b"value one".to_vec())]);
    secrets.link(7, &name("db"), "db#other", &[], Existing::Replace).unwrap();
    let linked = secrets.metadata(7, &name("db")).unwrap();
    assert_eq!(
        (linked.version, linked.link.as_deref(), linked.purpose.hosts.len()),
        (3, Some("db#other"), 0)
    );
    let mut known = values(&secrets, 7);
    known.retain(|(_, value)| !value.is_empty());
    assert_eq!(known, [("db".to_owned(), b"value one".to_vec())]);
}

#[test]
fn what_commands_were_given_is_known_after_a_restart() {
    let (directory, secrets) = sample();
    let given = |value: &[u8]| vec![("env:A".to_owned(), Zeroizing::new(value.to_vec()))];
    secrets.set(7, &name("a"), b"of seven", &Purpose::default(), Existing::Fail).unwrap();
    assert!(secrets.learn(7, &given(b"value one")).unwrap());
    assert!(!secrets.learn(7, &given(b"value one")).unwrap());
    assert!(values(&secrets, 8).is_empty());
    drop(secrets);
    let secrets = open(&directory, 1);
    let known = [("a".to_owned(), b"of seven".to_vec()), ("env:A".to_owned(), b"value one".to_vec())];
    assert_eq!(values(&secrets, 7), known);
    assert_eq!(secrets.list(7).unwrap().found.len(), 1, "it is no secret of its own");
    let path = directory.path().join("secrets/7/.learned");
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
    // Damaged, it hides nothing else, is told, and is made anew.
    fs::write(&path, "damaged").unwrap();
    assert_eq!(values(&secrets, 7).len(), 1);
    let damaged = secrets.list(7).unwrap().damaged;
    assert!(damaged.len() == 1 && damaged[0].to_string().contains("not looked for until"), "{damaged:?}");
    assert!(secrets.learn(7, &given(b"value one")).unwrap());
    assert_eq!(values(&secrets, 7), known);
    assert!(secrets.list(7).unwrap().damaged.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_bytes_come_back(value in prop::collection::vec(any::<u8>(), 1..300), text in "[a-z][a-z0-9_.-]{0,63}") {
        let (_keep, secrets) = sample();
        secrets.set(7, &name(&text), &value, &Purpose::default(), Existing::Fail).unwrap();
        prop_assert_eq!(&**secrets.value(7, &name(&text)).unwrap(), &value[..]);
        prop_assert_eq!(secrets.list(7).unwrap().found.len(), 1);
    }
}
