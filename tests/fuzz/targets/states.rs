//! A request state that comes back changed, or was never ours, is worth nothing.
#![no_main]

#[path = "../../../daemon/src/mcp/states.rs"]
mod states;

use libfuzzer_sys::fuzz_target;
use states::States;
use std::sync::LazyLock;

static STATES: LazyLock<States> = LazyLock::new(|| States::new().expect("a key of the right length"));

fuzz_target!(|raw: &[u8]| {
    if let Ok(text) = std::str::from_utf8(raw) {
        assert_eq!(STATES.unseal("owner", text), None);
    }
    let Some((place, rest)) = raw.split_first() else { return };
    let ours = STATES.seal("owner", "digest").expect("a state is sealed");
    let mut changed = ours.clone().into_bytes();
    let start = usize::from(*place) % changed.len();
    for (byte, other) in changed.iter_mut().skip(start).zip(rest) {
        *byte ^= other;
    }
    if let Ok(changed) = String::from_utf8(changed)
        && changed != ours
    {
        assert_eq!(STATES.unseal("owner", &changed), None);
    }
    assert_eq!(STATES.unseal("other", &ours), None);
    assert_eq!(STATES.unseal("owner", &ours).as_deref(), Some("digest"));
    assert_eq!(STATES.unseal("owner", &ours), None);
});
