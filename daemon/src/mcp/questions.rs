//! Our own requests to one client that are neither answered nor withdrawn. Of those that are, an answer that comes late
//! counts for nothing.

use rmcp::model::RequestId;
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};
use tokio_util::sync::{CancellationToken, DropGuard};

/// By what rmcp knows them by; set once they are on their way.
#[derive(Default)]
pub(super) struct Questions(Mutex<HashMap<RequestId, CancellationToken>>);

impl Questions {
    /// Notes one that is about to be sent. The guard is dropped when it was.
    pub(super) fn ask(&self, id: RequestId) -> DropGuard {
        let sent = CancellationToken::new();
        self.lock().insert(id, sent.clone());
        sent.drop_guard()
    }

    /// Whether somebody waits for this answer.
    pub(super) fn answer(&self, id: &RequestId) -> bool {
        self.lock().remove(id).is_some()
    }

    /// Takes one back; what has to be set before the client may be told, or `None` if it was answered.
    pub(super) fn withdraw(&self, id: &RequestId) -> Option<CancellationToken> {
        self.lock().remove(id)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RequestId, CancellationToken>> {
        // Each change is one insert or remove, so a panic leaves it whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_answer_counts_and_none_that_is_late() {
        let questions = Questions::default();
        let [first, second] = [1, 2].map(RequestId::Number);
        let guards = [&first, &second].map(|id| questions.ask(id.clone()));
        assert!(questions.answer(&first) && !questions.answer(&first));
        assert!(questions.withdraw(&first).is_none(), "it was answered");
        let sent = questions.withdraw(&second).unwrap();
        assert!(!sent.is_cancelled(), "it is not on its way yet");
        drop(guards);
        assert!(sent.is_cancelled() && !questions.answer(&second));
    }
}
