use super::*;
use proptest::prelude::*;

const SMALL: u64 = 600;

fn fill(directory: &Path, count: u64) -> Ledger {
    let ledger = Ledger::open(directory, SMALL).unwrap();
    for number in 0..count {
        ledger.append(format!(r#"{{"number":{number}}}"#).as_bytes()).unwrap();
    }
    ledger
}

#[tokio::test]
async fn records_survive_reopening_and_the_chain_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let ledger = fill(directory.path(), 10);
    let position = ledger.append(br#"{"last":true}"#).unwrap();
    ledger.sync(position).await.unwrap();
    drop(ledger);
    let ledger = fill(directory.path(), 5);
    let verdict = ledger.verify().unwrap();
    assert_eq!((verdict.records, verdict.faults), (16, Vec::new()));
    assert!(segment::list(directory.path()).unwrap().len() > 2, "the segments must have rotated");
    let json = String::from_utf8(ledger.read(position).unwrap()).unwrap();
    assert!(json.starts_with(r#"{"seq":11,"at":""#) && json.ends_with(r#""last":true}"#), "{json}");
}

#[test]
fn a_torn_tail_is_set_aside_and_said() {
    let directory = tempfile::tempdir().unwrap();
    drop(fill(directory.path(), 2));
    let path = segment::path(directory.path(), 1);
    let mut bytes = fs::read(&path).unwrap();
    bytes.extend_from_slice(b"0123 {\"seq\":3,\"at");
    fs::write(&path, bytes).unwrap();
    let ledger = fill(directory.path(), 1);
    let verdict = ledger.verify().unwrap();
    assert_eq!((verdict.records, verdict.faults), (4, Vec::new()));
    let kinds: Vec<_> =
        ledger.records().unwrap().map(|record| String::from_utf8(record.json).unwrap()).collect();
    assert!(kinds[2].contains(r#""kind":"recovered","dropped_bytes":17"#), "{kinds:?}");
    let aside = fs::read_dir(directory.path())
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().path().to_string_lossy().contains("torn-"));
    assert_eq!(aside.count(), 1);
}

#[test]
fn a_full_disk_leaves_no_half_record() {
    // /dev/full takes no byte, as a disk without space.
    let directory = tempfile::tempdir().unwrap();
    let ledger = fill(directory.path(), 1);
    let full = OpenOptions::new().append(true).open("/dev/full").unwrap();
    let kept = std::mem::replace(&mut ledger.lock().file, Arc::new(full));
    assert!(ledger.append(br#"{"lost":true}"#).unwrap_err().is_disk_full());
    ledger.lock().file = kept;
    ledger.append(br#"{"kept":true}"#).unwrap();
    let verdict = ledger.verify().unwrap();
    assert_eq!((verdict.records, verdict.faults), (2, Vec::new()));
}

#[tokio::test]
async fn concurrent_appends_share_their_syncs_and_keep_order() {
    let directory = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(directory.path(), 1 << 20).unwrap();
    let tasks: Vec<_> = (0..50)
        .map(|number| {
            let ledger = ledger.clone();
            tokio::spawn(async move {
                let position = ledger.append(format!(r#"{{"number":{number}}}"#).as_bytes()).unwrap();
                ledger.sync(position).await.unwrap();
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let verdict = ledger.verify().unwrap();
    assert_eq!((verdict.records, verdict.faults), (50, Vec::new()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_tail_opens_and_takes_more(garbage in prop::collection::vec(any::<u8>(), 0..300)) {
        let directory = tempfile::tempdir().unwrap();
        drop(fill(directory.path(), 2));
        let path = segment::path(directory.path(), 1);
        let mut bytes = fs::read(&path).unwrap();
        bytes.extend_from_slice(&garbage);
        fs::write(&path, bytes).unwrap();
        let ledger = fill(directory.path(), 1);
        prop_assert!(ledger.verify().unwrap().records >= 3);
    }
}
