//! The canonical form of an input: it is its own canonical form, and stands for the same JSON.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use skynet_core::Canonical;

fuzz_target!(|raw: &[u8]| {
    let Ok(input) = Canonical::parse(raw) else { return };
    let again = Canonical::parse(input.bytes()).expect("the canonical form is an input");
    assert_eq!(input.bytes(), again.bytes());
    if !raw.is_empty() {
        let plain: Value = serde_json::from_slice(raw).expect("an input is JSON");
        assert_eq!(Some(input.members()), plain.as_object());
    }
});
