//! A segment that holds anything: the ledger opens, takes one more record, and can say what is wrong.
#![no_main]

use libfuzzer_sys::fuzz_target;
use skynet_store::Ledger;
use std::fs;

fuzz_target!(|content: &[u8]| {
    let directory = tempfile::tempdir().expect("a directory");
    fs::write(directory.path().join("0000000001.jsonl"), content).expect("a segment");
    let ledger = Ledger::open(directory.path(), 1 << 20).expect("a ledger with a damaged tail opens");
    let position = ledger.append(br#"{"kind":"test"}"#).expect("it takes a record");
    assert!(ledger.read(position).expect("which can be read").ends_with(br#""kind":"test"}"#));
    assert!(ledger.verify().expect("and verified").records >= 1);
});
