//! What retention drops and says.

use super::*;
use crate::Keep;

fn keep(days: u32, bytes: u64) -> Keep {
    Keep { days, bytes: NonZeroU64::new(bytes).unwrap() }
}

#[test]
fn retention_drops_the_oldest_and_says_so_before() {
    let scene = Scene::new();
    let ledger = scene.open(600);
    append(&ledger, 30);
    let before = segment::list(&scene.path("log")).unwrap();
    assert_eq!(ledger.retain(keep(1, LARGE)).unwrap(), 0, "all of it is young and small");
    let dropped = ledger.retain(keep(1, 3000)).unwrap();
    let after = segment::list(&scene.path("log")).unwrap();
    assert!(dropped > 2 && after == before[dropped..], "{before:?} {after:?}");
    let notes = ledger
        .records()
        .unwrap()
        .filter(|record| String::from_utf8_lossy(&record.json).contains(r#""kind":"retention","segment":"#));
    assert_eq!(notes.count(), dropped);
    assert_eq!(ledger.verify().unwrap().faults, Vec::<String>::new());
    // All but the newest is older than no day at all.
    append(&ledger, 10);
    ledger.retain(keep(0, LARGE)).unwrap();
    assert_eq!(segment::list(&scene.path("log")).unwrap().len(), 1);
    drop(ledger);
    let ledger = scene.open(600);
    append(&ledger, 3);
    assert_eq!(ledger.verify().unwrap().faults, Vec::<String>::new());
}

#[test]
fn a_crash_while_segments_go_verifies_and_a_front_that_was_cut_does_not() {
    let scene = Scene::new();
    let ledger = scene.open(600);
    append(&ledger, 30);
    let log = scene.path("log");
    let numbers = segment::list(&log).unwrap();
    let kept: Vec<(PathBuf, Vec<u8>)> = numbers
        .iter()
        .map(|number| segment::path(&log, *number))
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect();
    let dropped = ledger.retain(keep(1, 3000)).unwrap();
    drop(ledger);
    // Segments come back one by one, as if the daemon had died before they went.
    for (path, bytes) in kept[..dropped].iter().rev() {
        fs::write(path, bytes).unwrap();
        assert_eq!(scene.verify().faults, Vec::<String>::new(), "{}", path.display());
    }
    for (path, _) in &kept[..=dropped] {
        fs::remove_file(path).unwrap();
    }
    let faults = scene.verify().faults;
    assert!(faults[0].contains("truncated: the log begins here, and no signed record says"), "{faults:#?}");

    // A record of retention that is not signed with the key is none.
    let scene = Scene::filled();
    let lines = scene.lines();
    let mut forged = lines[2..].to_vec();
    let (last, hash) = (2, &lines[1][..64]);
    forged.push(format!(
        r#"{hash} {{"seq":9,"at":"2026-01-01T00:00:00.000000Z","kind":"retention","segment":1,"first":1,"last":{last},"hash":"{hash}","at":"x","key":"{}","signature":"AAAA"}}"#,
        scene.seal().keys.trusted()[0].id
    ));
    scene.write(&forged);
    let faults = scene.verify().faults;
    assert!(faults.iter().any(|fault| fault.contains("truncated: the log begins here")), "{faults:#?}");
}
