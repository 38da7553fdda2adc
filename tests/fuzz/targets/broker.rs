//! What daemon, broker and slots read of each other: a packet is a message or an error, and what was read is what is sent on. A
//! preview is whole or an error, and its paths stay below where they begin.
#![no_main]

use libfuzzer_sys::fuzz_target;
use prost::Message;
use rustix::net::{SendFlags, send};
use skynet_sandbox::{
    channel::{self, BlockingSocket, Buffer},
    preview::{MOST_CHANGES, Reader, plain_path},
    protocol::{FromBroker, ToBroker},
};
use std::{cell::RefCell, path::Component};

thread_local! {
    static BUFFER: RefCell<Buffer> = RefCell::default();
}

fn receive<M: Message + Default + PartialEq>(raw: &[u8]) {
    let (here, there) = channel::pair().expect("a pair of sockets");
    if raw.is_empty() || send(&here, raw, SendFlags::NOSIGNAL).is_err() {
        return;
    }
    drop(here);
    let socket = BlockingSocket::new(there);
    BUFFER.with_borrow_mut(|buffer| {
        while let Ok(Some((message, descriptors))) = socket.receive::<M>(buffer) {
            assert!(descriptors.is_empty());
            assert!(M::decode(&*message.encode_to_vec()).is_ok_and(|again| again == message));
        }
    });
}

fuzz_target!(|raw: &[u8]| {
    receive::<ToBroker>(raw);
    receive::<FromBroker>(raw);
    let mut reader = Reader::new(raw);
    let mut count = 0;
    while let Ok(Some(change)) = reader.next_change() {
        if let Some(path) = plain_path(&change) {
            assert!(path.components().all(|part| matches!(part, Component::Normal(_))));
        }
        count += 1;
        assert!(count <= MOST_CHANGES.max(raw.len()));
    }
});
