//! Tables and the audit log on a disk that gets full, and a log as an auditor meets it.

use skynet_store::{Cadence, Keep, Ledger, Seal, Tables};
use skynet_tests::components;
use std::{
    fs::{self, File},
    io::Write as _,
    num::NonZeroU64,
    path::Path,
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// Takes all room that is left.
/// There is one small disk, which one test at a time can fill.
static SMALL_DISK: Mutex<()> = Mutex::new(());

fn fill(disk: &Path) {
    let mut file = File::create(disk.join("filler")).unwrap();
    for block in [1 << 20, 4096, 1] {
        while file.write_all(&vec![0; block]).is_ok() {}
    }
}

/// Opens again what was closed: threads of sled hold its lock for moments.
fn open_again(directory: &Path) -> skynet_store::Result<Tables> {
    let file = File::open(directory.join("db")).unwrap();
    rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).unwrap();
    drop(file);
    Tables::open(directory)
}

#[test]
fn tables_serve_from_memory_while_the_disk_is_full_and_store_it_later() {
    let Some(disk) = components::small_disk() else { return };
    let _alone = SMALL_DISK.lock().unwrap_or_else(PoisonError::into_inner);
    let directory = disk.join("tables");
    let tables = Tables::open(&directory).unwrap();
    let table = tables.table::<String>("words");
    table.put_durably("synced", &"before".into()).unwrap();
    for round in 0..3 {
        let long = format!("{round}{}", "x".repeat(1000));
        fill(&disk);
        // Room that a file has already is written to until it is used up.
        let refusal =
            (0..5000).find_map(|number| table.put_durably(&format!("durable-{number}"), &long).err());
        let refusal = refusal.expect("a full disk is never noticed");
        assert!(refusal.is_disk_full(), "{refusal}");
        assert!(tables.sync().unwrap_err().is_disk_full());

        // What was read is read; what is written is there; what was refused is not.
        assert_eq!(table.get("synced").unwrap().unwrap(), "before");
        table.put("kept", &long).unwrap();
        table.put("removed", &long).unwrap();
        table.remove("removed").unwrap();
        table.offer("offered", &long).unwrap();
        table.update("counted", |old| Some(format!("{}+", old.unwrap_or_default()))).unwrap();
        assert!(table.put_durably("refused", &long).is_err());
        assert!(table.put_durably("kept", &"other".into()).is_err());
        assert!(table.remove_durably("refused").is_err());
        assert_eq!(table.get("kept").unwrap().unwrap(), long);
        for absent in ["removed", "offered", "refused"] {
            assert_eq!(table.get(absent).unwrap(), None, "{absent}");
        }
        let all: Vec<_> = table.iter().map(|(key, _)| key).collect();
        assert!(
            all.is_sorted() && ["counted", "kept", "synced"].iter().all(|key| all.contains(&(*key).into()))
        );

        // With room again it is stored.
        fs::remove_file(disk.join("filler")).unwrap();
        table.put_durably("room", &long).unwrap();
        assert_eq!(table.get("kept").unwrap().unwrap(), long);
    }
    drop((table, tables));
    let tables = open_again(&directory).unwrap();
    let table = tables.table::<String>("words");
    assert_eq!(table.get("synced").unwrap().unwrap(), "before");
    assert_eq!(table.get("counted").unwrap().unwrap(), "+++");
    assert!(table.get("kept").unwrap().unwrap().starts_with('2'));
    assert!(table.get("room").unwrap().unwrap().starts_with('2'));
    assert_eq!(table.get("removed").unwrap(), None);
    // A database that cannot be opened for want of room is not taken for a damaged one.
    drop((table, tables));
    fs::write(directory.join("snap.7FFFFFFFFFFFFFFF.generating"), "half").unwrap();
    fill(&disk);
    let opened = open_again(&directory);
    assert!(opened.as_ref().err().is_none_or(skynet_store::Error::is_disk_full), "{:?}", opened.err());
    drop(opened);
    fs::remove_file(disk.join("filler")).unwrap();
    let table = open_again(&directory).unwrap().table::<String>("words");
    assert_eq!(table.get("synced").unwrap().unwrap(), "before");
    drop(table);
    fs::remove_dir_all(&directory).unwrap();
}

/// The audit log below `root`, with a checkpoint every `records`.
fn audit_log(root: &Path, records: u64) -> Ledger {
    let seal = Seal::open(&root.join("keys"), &root.join("ledger/audit.newest")).unwrap();
    let cadence = Cadence { records, interval: Duration::from_secs(3600) };
    Ledger::open_sealed(&root.join("ledger/audit"), 16 << 10, seal.every(cadence)).unwrap()
}

#[test]
fn an_audit_log_on_a_full_disk_is_signed_again_once_there_is_room() {
    let Some(disk) = components::small_disk() else { return };
    let _alone = SMALL_DISK.lock().unwrap_or_else(PoisonError::into_inner);
    let root = disk.join("audit");
    let ledger = audit_log(&root, 10);
    let record = format!(r#"{{"kind":"call","pad":"{}"}}"#, "x".repeat(500));
    for _ in 0..15 {
        ledger.append(record.as_bytes()).unwrap();
    }
    fill(&disk);
    let refusal = (0..5000).find_map(|_| ledger.append(record.as_bytes()).err());
    let refusal = refusal.expect("a full disk is never noticed");
    assert!(refusal.is_disk_full(), "{refusal}");
    assert_eq!(ledger.verify().unwrap().faults, Vec::<String>::new());
    drop(ledger);
    // Reads are served by a daemon that starts with a full disk.
    let ledger = audit_log(&root, 10);
    assert_eq!(ledger.verify().unwrap().faults, Vec::<String>::new());

    fs::remove_file(disk.join("filler")).unwrap();
    ledger.append(record.as_bytes()).unwrap();
    ledger.checkpoint().unwrap();
    let verdict = ledger.verify().unwrap();
    assert_eq!(verdict.faults, Vec::<String>::new());
    assert_eq!(verdict.signed.unwrap().records + 1, verdict.records);
    drop(ledger);
    fs::remove_dir_all(&root).unwrap();
}

#[test]
fn a_log_that_forgot_its_oldest_segments_and_was_restarted_verifies_until_one_more_is_cut() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let keep = Keep { days: 1, bytes: NonZeroU64::new(64 << 10).unwrap() };
    for _ in 0..4 {
        let ledger = audit_log(root, 50);
        for number in 0..200 {
            let record = format!(r#"{{"kind":"call","number":{number},"pad":"{}"}}"#, "x".repeat(200));
            ledger.append(record.as_bytes()).unwrap();
        }
        ledger.retain(keep).unwrap();
        ledger.checkpoint().unwrap();
        let verdict = ledger.verify().unwrap();
        assert!(verdict.faults.is_empty() && verdict.checkpoints > 0, "{:?}", verdict.faults);
    }
    let log = root.join("ledger/audit");
    let mut segments: Vec<_> = fs::read_dir(&log).unwrap().map(|entry| entry.unwrap().path()).collect();
    segments.sort();
    assert!(!segments[0].ends_with("0000000001.jsonl"));
    fs::remove_file(&segments[0]).unwrap();
    let faults = audit_log(root, 50).verify().unwrap().faults;
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(faults[0].contains("truncated: the log begins here"), "{faults:?}");
}
