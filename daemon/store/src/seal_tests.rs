#[path = "seal_retention_tests.rs"]
mod retention;

use super::*;
use crate::{Verdict, segment};
use std::{fs, num::NonZeroU64, path::PathBuf};

/// A ledger with its keys and its note, and what a forger may do to them.
struct Scene {
    directory: tempfile::TempDir,
}

const LARGE: u64 = 1 << 20;
const NEVER: Cadence = Cadence { records: u64::MAX, interval: Duration::from_secs(3600) };

impl Scene {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn seal(&self) -> Seal {
        Seal::open(&self.path("keys"), &self.path("newest")).unwrap().every(NEVER)
    }

    fn open(&self, segment_bytes: u64) -> Ledger {
        Ledger::open_sealed(&self.path("log"), segment_bytes, self.seal()).unwrap()
    }

    /// Six records, a checkpoint after the third and the sixth: lines 1, 2, 3, C4, 5, 6, 7, C8.
    fn filled() -> Self {
        let scene = Self::new();
        let ledger = scene.open(LARGE);
        append(&ledger, 3);
        ledger.checkpoint().unwrap();
        append(&ledger, 3);
        ledger.checkpoint().unwrap();
        scene
    }

    /// What verify says of the files as they are; nothing is opened to write.
    fn verify(&self) -> Verdict {
        let seal = self.seal();
        let numbers = segment::list(&self.path("log")).unwrap();
        let segment = numbers.last().copied().unwrap_or(1);
        let expected = crate::verify::Expected {
            segment,
            length: u64::MAX,
            sequence: 0,
            head: String::new(),
            keys: Some(&seal.keys),
            note: Some(seal.note.genuine(&seal.keys)),
        };
        crate::verify::directory(&self.path("log"), &expected).unwrap()
    }

    fn lines(&self) -> Vec<String> {
        let text = fs::read_to_string(segment::path(&self.path("log"), 1)).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    fn write(&self, lines: &[String]) {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        fs::write(segment::path(&self.path("log"), 1), text).unwrap();
    }
}

fn append(ledger: &Ledger, count: u64) {
    for number in 0..count {
        ledger.append(format!(r#"{{"kind":"call","number":{number}}}"#).as_bytes()).unwrap();
    }
}

/// Computes all hashes anew, and the numbers too, as a forger would who knows the format.
fn chained(lines: &[String]) -> Vec<String> {
    let mut previous = segment::GENESIS.to_owned();
    let rewrite = |(index, line): (usize, &String)| {
        let json = &line[segment::PREFIX_BYTES..];
        let rest = &json[json.find(",\"at\"").unwrap()..];
        let json = format!("{{\"seq\":{}{rest}", index + 1);
        previous = segment::text(&segment::chain(previous.as_bytes(), json.as_bytes()));
        format!("{previous} {json}")
    };
    lines.iter().enumerate().map(rewrite).collect()
}

fn edited(mut lines: Vec<String>, index: usize) -> Vec<String> {
    lines[index] = lines[index].replace("\"call\"", "\"tall\"");
    lines
}

/// What it is called, what it makes of the lines, and what is found, where.
type Tampering = (&'static str, fn(Vec<String>) -> Vec<String>, &'static [&'static str]);

const TAMPERINGS: &[Tampering] = &[
    (
        "a byte is changed",
        |lines| edited(lines, 1),
        &["segment 1, line 2: changed: record 2 does not follow the one before it"],
    ),
    (
        "a byte of a hash is changed",
        |mut lines| {
            let digit = if lines[4].starts_with('0') { "1" } else { "0" };
            lines[4].replace_range(..1, digit);
            lines
        },
        &["segment 1, line 5: changed: record 5 does not follow"],
    ),
    (
        "a line is no record",
        |mut lines| {
            lines[1] = "nothing".into();
            lines
        },
        &["segment 1, line 2: changed: not a record"],
    ),
    (
        "a record is deleted",
        |mut lines| {
            lines.remove(1);
            lines
        },
        &["segment 1, line 2: removed: records 2 to 2 are missing before record 3"],
    ),
    (
        "two neighbors are swapped",
        |mut lines| {
            lines.swap(1, 2);
            lines
        },
        &["segment 1, line 2: reordered: record 3 stands before record 2"],
    ),
    (
        "two records are swapped",
        |mut lines| {
            lines.swap(1, 4);
            lines
        },
        &[
            "segment 1, line 2: reordered: record 5 stands before record 4",
            "segment 1, line 5: reordered: record 2 stands after record 5",
        ],
    ),
    (
        "one is inserted that fits no place",
        |mut lines| {
            lines.insert(2, lines[0].replace("\"seq\":1,", "\"seq\":77,"));
            lines
        },
        &["segment 1, line 3: inserted: record 77 follows no record"],
    ),
    (
        "one is added with the highest number there is",
        |mut lines| {
            lines.push(lines[0].replace("\"seq\":1,", "\"seq\":18446744073709551615,"));
            lines
        },
        &["segment 1, line 9: removed: records 9 to 18446744073709551614 are missing"],
    ),
    (
        "one is inserted in place of the next",
        |mut lines| {
            lines.insert(2, lines[0].replace("\"seq\":1,", "\"seq\":3,"));
            lines
        },
        &["segment 1, line 3: inserted: a second record 3"],
    ),
    (
        "one is inserted that follows",
        |lines| {
            let more = [&lines[..2], &lines[..1]].concat();
            let more = chained(&more);
            [&more[..], &lines[2..]].concat()
        },
        &["segment 1, line 4: inserted: a second record 3"],
    ),
    (
        "the tail is cut before the last checkpoint",
        |mut lines| {
            lines.truncate(5);
            lines
        },
        &[
            "segment 1, line 5: truncated: the log ends with record 5, but a checkpoint of 7 records was signed at",
        ],
    ),
    (
        "the last checkpoint alone is cut",
        |mut lines| {
            lines.truncate(7);
            lines
        },
        &[
            "segment 1, line 7: truncated: the log ends with record 7, but a checkpoint of 7 records was signed at",
        ],
    ),
    ("all is cut", |_| Vec::new(), &["truncated: the log ends with record 0, but a checkpoint of 7 records"]),
    (
        "the front is cut",
        |lines| lines[2..].to_vec(),
        &[
            "segment 1, line 1: truncated: the log begins here, and no signed record says that retention dropped records 1 to 2",
        ],
    ),
    (
        "the chain is computed anew without the key",
        |lines| chained(&edited(lines, 1)),
        &[
            "segment 1, line 4: changed: the checkpoint vouches for other records than those before it: some of 1 to 3 were",
            "segment 1, line 8: changed: the checkpoint vouches for other records than those before it: some of 1 to 7 were",
            "segment 1, line 8: changed: the log goes on otherwise",
        ],
    ),
    (
        "a record is deleted and the chain computed anew",
        |mut lines| {
            lines.remove(4);
            chained(&lines)
        },
        &[
            "segment 1, line 7: changed: the checkpoint vouches for other records than those before it: some of 4 to 6 were",
        ],
    ),
    (
        "the checkpoints are left out and the chain computed anew",
        |mut lines| {
            lines = edited(lines, 1);
            lines.retain(|line| !line.contains("checkpoint"));
            lines.extend(lines.clone());
            chained(&lines)
        },
        &[
            "segment 1, line 12: changed: the log goes on otherwise, but a checkpoint of 7 records was signed at",
        ],
    ),
    (
        "a checkpoint is forged with its own head",
        |lines| {
            let mut lines = chained(&edited(lines, 1));
            let (old, new) = (lines[3].find("\"head\":\"").unwrap() + 8, lines[2][..64].to_owned());
            lines[3].replace_range(old..old + 64, &new);
            chained(&lines)
        },
        &["segment 1, line 4: forged: the signature is not that of key"],
    ),
    (
        "the time of a checkpoint is changed",
        |lines| {
            let mut lines = lines;
            lines[3] = lines[3].replacen("\"at\":\"2", "\"at\":\"3", 1);
            chained(&lines)
        },
        &["segment 1, line 4: forged: the signature is not that of key"],
    ),
    (
        "a checkpoint is no longer one",
        |lines| {
            let mut lines = lines;
            lines[3] = lines[3].replacen("\"signature\"", "\"signed\"", 1);
            chained(&lines)
        },
        &["segment 1, line 4: forged: record 4 should be signed and is not"],
    ),
];

#[test]
fn verify_says_what_was_done_and_where() {
    for (name, tamper, expected) in TAMPERINGS {
        let scene = Scene::filled();
        assert_eq!(scene.verify().faults, Vec::<String>::new(), "{name}: before");
        scene.write(&tamper(scene.lines()));
        let faults = scene.verify().faults;
        for part in *expected {
            assert!(faults.iter().any(|fault| fault.contains(part)), "{name}: {faults:#?} lacks {part}");
        }
    }
}

#[test]
fn where_one_thing_was_done_one_thing_is_said() {
    for name in [
        "a byte is changed",
        "a byte of a hash is changed",
        "two neighbors are swapped",
        "one is inserted that follows",
    ] {
        let (_, tamper, _) = TAMPERINGS.iter().find(|(found, ..)| *found == name).unwrap();
        let scene = Scene::filled();
        scene.write(&tamper(scene.lines()));
        assert_eq!(scene.verify().faults.len(), 1, "{name}: {:#?}", scene.verify().faults);
    }
}

#[test]
fn any_changed_byte_is_found() {
    let scene = Scene::filled();
    let path = segment::path(&scene.path("log"), 1);
    let bytes = fs::read(&path).unwrap();
    for place in (0..bytes.len()).step_by(7).chain([bytes.len() - 1]) {
        let mut changed = bytes.clone();
        changed[place] ^= 1;
        fs::write(&path, changed).unwrap();
        assert!(!scene.verify().faults.is_empty(), "byte {place}");
    }
}

#[test]
fn a_whole_log_verifies_and_says_what_is_signed() {
    let scene = Scene::filled();
    let verdict = scene.verify();
    assert_eq!((verdict.records, verdict.checkpoints, verdict.faults), (8, 2, Vec::new()));
    let signed = verdict.signed.unwrap();
    assert_eq!(signed.records, 7);
    assert!(signed.at.ends_with('Z') && signed.at.len() == 27, "{}", signed.at);
    // Nothing new, nothing signed.
    let ledger = scene.open(LARGE);
    ledger.checkpoint().unwrap();
    assert_eq!((ledger.len(), ledger.keys().len()), (8, 1));
}

#[test]
fn a_log_cut_while_nobody_looked_is_noticed_at_the_start_and_for_good() {
    for (name, tamper, expected) in TAMPERINGS {
        let is_cut = name.contains("is cut") || name.contains("left out");
        if !is_cut || name.contains("front") {
            continue;
        }
        let scene = Scene::filled();
        scene.write(&tamper(scene.lines()));
        for _ in 0..2 {
            let ledger = scene.open(LARGE);
            append(&ledger, 20);
            ledger.checkpoint().unwrap();
            let faults = ledger.verify().unwrap().faults;
            assert_eq!(faults.len(), 1, "{name}: {faults:#?}");
            assert!(
                faults[0].contains("found at a start: ") && faults[0].contains("7 records"),
                "{expected:?}: {faults:#?}"
            );
        }
    }
}

#[test]
fn a_note_that_is_gone_forged_or_older_is_noticed() {
    for (expected, tamper) in [
        (
            "of the newest checkpoint is missing",
            (|_, path| fs::remove_file(path).unwrap()) as fn(&Scene, PathBuf),
        ),
        ("of the newest checkpoint is unreadable", |_, path| fs::write(path, "{}").unwrap()),
        ("of the newest checkpoint is forged", |_, path| {
            let text = fs::read_to_string(&path).unwrap();
            fs::write(path, text.replace("\"records\":7", "\"records\":3")).unwrap();
        }),
        // An older checkpoint is in the log for everyone to take, but it is not signed as a note.
        ("of the newest checkpoint is forged", |scene, path| {
            let mut note: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            let line = scene.lines()[3].clone();
            note["checkpoint"] = serde_json::from_str(&line[segment::PREFIX_BYTES..]).unwrap();
            note["segment"] = 1.into();
            fs::write(path, note.to_string()).unwrap();
            scene.write(&scene.lines()[..4]);
        }),
    ] {
        let scene = Scene::filled();
        tamper(&scene, scene.path("newest"));
        let faults = scene.verify().faults;
        assert!(faults.len() == 1 && faults[0].contains(expected), "{expected}: {faults:#?}");
        let faults = scene.open(LARGE).verify().unwrap().faults;
        assert!(
            faults.len() == 1 && faults[0].contains("found at a start: the note"),
            "{expected}: {faults:#?}"
        );
    }
}

#[test]
fn a_key_of_ones_own_is_no_key() {
    // The forger signs everything anew with a key of his.
    let scene = Scene::filled();
    let forger = Scene::filled();
    fs::copy(segment::path(&forger.path("log"), 1), segment::path(&scene.path("log"), 1)).unwrap();
    fs::copy(forger.path("newest"), scene.path("newest")).unwrap();
    let verdict = scene.verify();
    assert_eq!(verdict.checkpoints, 0);
    let unknown = verdict.faults.iter().filter(|fault| fault.contains("signed with the unknown key `"));
    assert_eq!(unknown.count(), 3, "{:#?}", verdict.faults);
}

#[test]
fn checkpoints_of_a_retired_key_count_and_those_of_a_forgotten_one_do_not() {
    let scene = Scene::filled();
    fs::remove_file(scene.path("keys/audit.key")).unwrap();
    let ledger = scene.open(LARGE);
    append(&ledger, 1);
    ledger.checkpoint().unwrap();
    let verdict = ledger.verify().unwrap();
    assert_eq!((ledger.keys().len(), verdict.checkpoints, verdict.faults), (2, 3, Vec::new()));
    drop(ledger);
    fs::remove_dir_all(scene.path("keys/retired")).unwrap();
    let faults = scene.verify().faults;
    assert_eq!(faults.len(), 2, "{faults:#?}");
    assert!(faults[0].contains("forged: signed with the unknown key"), "{faults:#?}");
}

#[test]
fn a_torn_tail_and_a_lost_one_verify_after_a_crash() {
    let scene = Scene::filled();
    let ledger = scene.open(LARGE);
    append(&ledger, 2);
    drop(ledger);
    // A power cut takes what was not synced, and leaves half of a line.
    let mut text = scene.lines()[..9].join("\n");
    text.push_str("\n0123456789abcdef {\"seq\":10,\"at");
    fs::write(segment::path(&scene.path("log"), 1), text).unwrap();
    let ledger = scene.open(LARGE);
    append(&ledger, 1);
    let verdict = ledger.verify().unwrap();
    // Nine, one that says what was torn, the checkpoint of the start, one more.
    assert_eq!((verdict.records, verdict.checkpoints, verdict.faults), (12, 3, Vec::new()));
}

#[test]
fn what_is_done_to_the_files_of_a_running_ledger_is_found() {
    let scene = Scene::new();
    let ledger = scene.open(LARGE);
    append(&ledger, 5);
    let lines = scene.lines();
    scene.write(&lines[..3]);
    let faults = ledger.verify().unwrap().faults;
    assert_eq!(
        faults,
        ["segment 1, line 3: truncated: the log ends with record 3, but record 5 was written"]
    );
    // No checkpoint tells of it, but its writer remembers.
    scene.write(&chained(&edited(lines, 4)));
    let faults = ledger.verify().unwrap().faults;
    assert_eq!(faults, ["segment 1, line 5: changed: record 5 is not the one that was written"]);
}

#[test]
fn checkpoints_come_with_many_records_with_time_and_with_a_new_segment() {
    let scene = Scene::new();
    let seal = scene.seal().every(Cadence { records: 10, ..NEVER });
    let ledger = Ledger::open_sealed(&scene.path("log"), LARGE, seal).unwrap();
    append(&ledger, 25);
    assert_eq!((ledger.len(), ledger.verify().unwrap().checkpoints), (27, 2));
    drop(ledger);

    let scene = Scene::new();
    let seal = scene.seal().every(Cadence { interval: Duration::from_millis(30), ..NEVER });
    let ledger = Ledger::open_sealed(&scene.path("log"), LARGE, seal).unwrap();
    let mut written = ledger.watch();
    append(&ledger, 3);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let reached = runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(30), written.wait_for(|last| *last == 4)).await.map(|_| ())
    });
    reached.expect("time alone makes a checkpoint");
    assert_eq!(ledger.verify().unwrap().checkpoints, 1);
    drop(ledger);

    let scene = Scene::new();
    let ledger = scene.open(600);
    append(&ledger, 20);
    let segments = segment::list(&scene.path("log")).unwrap();
    assert!(segments.len() > 3);
    let verdict = ledger.verify().unwrap();
    assert_eq!((verdict.checkpoints, verdict.faults), (segments.len() as u64 - 1, Vec::new()));
    assert_eq!(*ledger.segments().borrow(), *segments.last().unwrap());
}
