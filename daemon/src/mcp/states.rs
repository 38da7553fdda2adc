//! What a client keeps for us between two calls, sealed.

use rmcp::model::{RequestStateCodec, RequestStateError, SealOptions};
use serde::{Deserialize, Serialize};
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};
use uuid::Uuid;

/// A question is void after that time, as an approval is.
const ANSWER_WITHIN: Duration = Duration::from_secs(15 * 60);

/// Questions that may be open at the same time; the oldest is void beyond it.
const MOST_OPEN: usize = 4096;

/// What a request state holds besides its seal.
#[derive(Serialize, Deserialize)]
struct Sealed {
    nonce: Uuid,
    digest: String,
}

/// Seals what a client keeps for us between two calls. The state travels through the client, so nothing in it is
/// believed but by its seal: it is bound to its owner, it ends, and it counts once. A restart of the daemon
/// voids it: the key is never stored.
pub(crate) struct States {
    codec: RequestStateCodec,
    open: Mutex<HashMap<Uuid, Instant>>,
}

impl States {
    pub(crate) fn new() -> Result<Self, RequestStateError> {
        let key =
            [Uuid::new_v4().into_bytes(), Uuid::new_v4().into_bytes(), Uuid::new_v4().into_bytes()].concat();
        Ok(Self { codec: RequestStateCodec::try_new(key)?, open: Mutex::default() })
    }

    pub(crate) fn seal(&self, owner: &str, digest: &str) -> Option<String> {
        let sealed = Sealed { nonce: Uuid::new_v4(), digest: digest.to_owned() };
        let options = SealOptions::new().associated_data(owner.as_bytes()).ttl(ANSWER_WITHIN);
        let state = self.codec.seal_json_with(&sealed, &options).ok()?;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, since| since.elapsed() < ANSWER_WITHIN);
        if open.len() >= MOST_OPEN
            && let Some(oldest) = open.iter().min_by_key(|(_, since)| **since).map(|(nonce, _)| *nonce)
        {
            open.remove(&oldest);
        }
        open.insert(sealed.nonce, Instant::now());
        Some(state)
    }

    /// The digest that was sealed, once.
    pub(crate) fn unseal(&self, owner: &str, state: &str) -> Option<String> {
        let sealed: Sealed = self.codec.open_json_with(state, owner.as_bytes()).ok()?;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.remove(&sealed.nonce).map(|_| sealed.digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_counts_once_for_its_owner() {
        let states = States::new().unwrap();
        let state = states.seal("7", "digest").unwrap();
        assert_eq!(states.unseal("8", &state), None);
        let mut forged = state.clone();
        forged.replace_range(10..11, if &state[10..11] == "A" { "B" } else { "A" });
        assert_eq!(states.unseal("7", &forged), None);
        assert_eq!(states.unseal("7", &state), Some("digest".into()));
        assert_eq!(states.unseal("7", &state), None);
        assert_eq!(States::new().unwrap().unseal("7", &state), None);
    }
}
