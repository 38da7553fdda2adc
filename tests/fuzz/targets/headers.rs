//! The headers and the body of a request over HTTP: what contradicts is said, nothing panics.
#![no_main]

#[allow(dead_code, reason = "not all of it is read here")]
#[path = "../../../daemon/src/http/headers.rs"]
mod headers;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use headers::Body;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|raw: &[u8]| {
    // Lines of headers, an empty line, a body.
    let end = raw.windows(2).position(|pair| pair == b"\n\n").unwrap_or(raw.len());
    let (head, body) = raw.split_at(end);
    let mut map = HeaderMap::new();
    for line in head.split(|byte| *byte == b'\n') {
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let (Some(name), Some(value)) = (parts.next(), parts.next()) else { continue };
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            map.append(name, value);
        }
    }
    let Ok(parsed) = serde_json::from_slice::<Body<'_>>(body) else { return };
    if parsed.is_modern(&map) && parsed.contradiction(&map).is_none() {
        assert_eq!(map.get(headers::VERSION).and_then(|value| value.to_str().ok()).map(str::trim), parsed.version());
    }
    parsed.is_gone();
});
