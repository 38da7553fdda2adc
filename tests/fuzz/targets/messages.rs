//! What hands and broker send to the daemon, and what the daemon sends to them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use prost::Message as _;
use skynet_hands::protocol::{FromHands, ToHands};
use skynet_sandbox::protocol::{FromBroker, ToBroker};

fuzz_target!(|packet: &[u8]| {
    if let Ok(message) = FromHands::decode(packet) {
        assert_eq!(FromHands::decode(&*message.encode_to_vec()).as_ref(), Ok(&message));
    }
    if let Ok(message) = ToHands::decode(packet) {
        assert_eq!(ToHands::decode(&*message.encode_to_vec()).as_ref(), Ok(&message));
    }
    if let Ok(message) = ToBroker::decode(packet) {
        assert_eq!(ToBroker::decode(&*message.encode_to_vec()).as_ref(), Ok(&message));
    }
    if let Ok(message) = FromBroker::decode(packet) {
        assert_eq!(FromBroker::decode(&*message.encode_to_vec()).as_ref(), Ok(&message));
    }
});
