//! The tables on a disk that gets full.

use skynet_store::Tables;
use skynet_tests::components;
use std::{
    fs::{self, File},
    io::Write as _,
    path::Path,
};

/// Takes all room that is left.
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
