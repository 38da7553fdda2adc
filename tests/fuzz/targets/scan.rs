//! The shim's look at a line: the same in one piece and in two, and an id that can be put into an answer.
#![no_main]

#[allow(dead_code, reason = "not all of it is used here")]
#[path = "../../../shim/src/scan.rs"]
mod scan;

use libfuzzer_sys::fuzz_target;
use scan::Scanner;
use serde_json::Value;

fuzz_target!(|input: (usize, &[u8])| {
    let (cut, line) = input;
    let (mut whole, mut parts) = (Scanner::default(), Scanner::default());
    whole.feed(line);
    let (head, tail) = line.split_at(cut % (line.len() + 1));
    parts.feed(head);
    parts.feed(tail);
    assert_eq!((whole.kind(), whole.id()), (parts.kind(), parts.id()));
    if serde_json::from_slice::<Value>(line).is_ok() {
        serde_json::from_str::<Value>(&whole.id()).expect("the id of JSON is JSON");
    }
});
