//! Documents of every kind: any bytes are read and cut or refused, each passage is of the text, and a section that was cut is cut
//! anywhere else.
#![no_main]

use libfuzzer_sys::fuzz_target;
use skynet_documents::{Reading, Section, work::Reader};
use std::cell::RefCell;

/// One name for each way of reading.
const NAMES: [&str; 20] = [
    "a.md", "a.html", "a.txt", "a.csv", "a.pdf", "a.docx", "a.odt", "a.1", "a.rs", "a.py", "a.c", "a.go", "a.ts", "a.java",
    "a.rb", "a.sh", "a.json", "a.8.gz", "a.cpp", "Makefile",
];

thread_local! {
    static READER: RefCell<Reader> = RefCell::new(Reader::new().expect("the patterns of secrets"));
}

fuzz_target!(|input: (usize, usize, &[u8])| {
    let (name, cut, bytes) = input;
    let reading = READER.with_borrow_mut(|reader| reader.read(NAMES[name % NAMES.len()], bytes));
    let Reading::Document(document) = reading else { return };
    for passage in &document.passages {
        assert!(passage.first_line <= passage.last_line && !passage.text.trim().is_empty(), "{passage:?}");
    }
    for section in Section::of(&document.passages) {
        let pieces = section.pieces();
        assert_eq!(pieces.iter().map(|piece| piece.len()).sum::<usize>(), section.text.len());
        let end = pieces[cut % pieces.len()].end;
        if end < section.text.len() {
            assert!(!section.cut(&[end]).is_empty());
        }
    }
});
