//! Calls that end before they are done, and what is left of them.

use super::{bench, probes};
use async_trait::async_trait;
use serde_json::json;
use skynet_core::{
    CallId, ErrorKind,
    call::{Ask, Asked, Question},
};
use skynet_tests::workbench::{Manner, Setup};
use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Shows a question for good, and notes whether it was taken back.
#[derive(Default)]
struct Showing(AtomicU32);

#[async_trait]
impl Ask for Showing {
    async fn ask(&self, _question: Question<'_>) -> Asked {
        std::future::pending().await
    }

    async fn withdraw(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn a_question_is_withdrawn_when_nobody_waits_for_its_answer() {
    let (bench, _) = bench(Setup::default());
    let canceled = CancellationToken::new();
    canceled.cancel();
    for (cancel, expected) in
        [(CancellationToken::new(), ErrorKind::NeedsConfirmation), (canceled, ErrorKind::Canceled)]
    {
        let showing = Arc::<Showing>::default();
        let manner = Manner { ask: Some(showing.clone()), cancel, ..Manner::default() };
        let refused = bench.call_raw("probe_destroy", b"{}", manner).await.unwrap_err();
        assert_eq!((refused.kind, showing.0.load(Ordering::SeqCst)), (expected, 1));
    }
}

#[tokio::test]
async fn a_call_whose_task_ends_before_it_does_is_recorded() {
    let (bench, runs) = bench(Setup::default());
    let id = CallId { session: Uuid::new_v4(), sequence: 5, index: 0 };
    let manner = Manner { id: Some(id), ..Manner::default() };
    tokio::select! {
        outcome = bench.call_raw("probe_write", br#"{"mode":"hang"}"#, manner.clone()) => panic!("{outcome:?}"),
        () = async { while runs.load(Ordering::SeqCst) == 0 { tokio::task::yield_now().await } } => {}
    }
    let audit = bench.audit();
    assert_eq!(audit.len(), 1, "{audit:?}");
    assert_eq!(
        (&audit[0]["outcome"], &audit[0]["call"], &audit[0]["tool"]),
        (&json!("interrupted"), &json!(id.to_string()), &json!("probe_write"))
    );
    // It may have happened, so it is not run again, and the next start has nothing to tell of it.
    let again = bench.call_raw("probe_write", b"{}", Manner { resend: true, ..manner }).await.unwrap_err();
    assert_eq!((again.kind, runs.load(Ordering::SeqCst)), (ErrorKind::Interrupted, 1));
    let bench = bench.restarted(Setup { toolsets: probes(&runs), ..Setup::default() }).await;
    assert_eq!(bench.services.journal.ended(1 << 20).unwrap().0.len(), 0);
    assert_eq!(bench.audit().len(), 1);
    assert!(bench.services.journal.leave(id).is_none(), "the journal knows that it is recorded");
}
